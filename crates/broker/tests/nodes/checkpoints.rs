//! What a node's checkpoints say of a log that is gone, or that came up with less than they say.
//!
//! A log that begins under the same name grows past the old numbers before the checkpoints are written
//! again. A start in between would take its records for durable, for committed and for deleted.

use std::path::Path;
use std::time::Duration;

use log::checkpoint::{self, OF_EACH_LOG};
use log::disk::{Disk, MemDisk};
use wire::messages::{DeleteTopicsRequest, ResponseKind, topic};

use crate::support::records::{batch, create, delete_records, produce};
use crate::support::{Client, Cluster, run};

/// The three checkpoints of `disk`, as `topic-partition@offset`.
fn said(disk: &MemDisk) -> [String; 3] {
    OF_EACH_LOG.map(|name| {
        let lines = checkpoint::read(disk, Path::new("/data"), name).expect("readable");
        let lines: Vec<String> = lines.iter().map(|(at, offset)| format!("{at}@{offset}")).collect();
        lines.join(" ")
    })
}

fn check(disk: &MemDisk, expected: [&str; 3]) {
    assert_eq!(said(disk), expected);
}

/// A node that stopped in order with three records in `t` and two in `u`, the first one of `t` deleted.
async fn stopped() -> Cluster {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client(1).await;
    for name in ["t", "u"] {
        create(&client, name, 1, 1, &[]).await;
    }
    produce(&client, "t", -1, batch(&["a", "b", "c"], None)).await.expect("taken");
    produce(&client, "u", -1, batch(&["a", "b"], None)).await.expect("taken");
    delete_records(&client, "t", 1, 5_000).await;
    cluster.stop(1).await;
    check(cluster.disk(1), ["t-0@3 u-0@2", "t-0@3 u-0@2", "t-0@1"]);
    cluster
}

async fn delete(client: &Client, name: &str) {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic(name)]).with_timeout_ms(5_000);
    match client.ask(5, request).await {
        ResponseKind::DeleteTopics(response) => assert_eq!(response.responses[0].error_code, 0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deleted_log_leaves_the_checkpoints_with_its_directory() {
    run(async {
        let mut cluster = stopped().await;
        cluster.boot(1).await;
        cluster.ready(1).await;
        delete(&cluster.client(1).await, "t").await;
        while cluster.disk(1).exists(Path::new("/data/t-0")).expect("no fault") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.kill(1);
        check(cluster.disk(1), ["u-0@2", "u-0@2", ""]);
    });
}

#[test]
fn a_start_drops_what_the_checkpoints_say_of_logs_that_are_not_there() {
    run(async {
        let mut cluster = stopped().await;
        cluster.disk(1).remove_dir_all(Path::new("/data/t-0")).expect("no fault");
        cluster.boot(1).await;
        cluster.kill(1);
        check(cluster.disk(1), ["u-0@2", "u-0@2", ""]);
    });
}

#[test]
fn a_start_lowers_the_checkpoints_to_what_is_left_of_a_log() {
    run(async {
        let mut cluster = stopped().await;
        let segment = Path::new("/data/u-0/00000000000000000000.log");
        cluster.disk(1).remove_file(segment).expect("no fault");
        cluster.boot(1).await;
        cluster.kill(1);
        check(cluster.disk(1), ["t-0@3 u-0@0", "t-0@3 u-0@0", "t-0@1"]);
    });
}
