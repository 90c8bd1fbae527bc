//! Blocks of producer ids, as text.

use proto::metadata::ProducerIdsRecord;
use wire::messages::{AllocateProducerIdsRequest, BrokerId};

use super::{decide, refuse};
use crate::testing::{TestCluster, assert_lines, cluster};

fn allocate(cluster: &mut TestCluster, broker: i32, epoch: i64) -> String {
    let request =
        AllocateProducerIdsRequest::default().with_broker_id(BrokerId(broker)).with_broker_epoch(epoch);
    match decide(&cluster.view(), &request) {
        Ok(decision) => {
            let (records, response) = cluster.take(decision);
            format!("{records}\n-> {} + {}", response.producer_id_start.0, response.producer_id_len)
        }
        Err(error) => {
            assert_eq!(refuse(&error).error_code, error.code().code());
            error.to_string()
        }
    }
}

#[test]
fn blocks_follow_each_other() {
    let mut cluster = cluster("broker 1\n broker 2");
    assert_lines(
        &allocate(&mut cluster, 1, 101),
        "
        producer ids up to 1000 of broker 1
        -> 0 + 1000
        ",
    );
    assert_lines(
        &allocate(&mut cluster, 2, 102),
        "
        producer ids up to 2000 of broker 2
        -> 1000 + 1000
        ",
    );
}

#[test]
fn only_the_registered_run_gets_a_block() {
    let mut cluster = cluster("broker 1");
    assert_lines(&allocate(&mut cluster, 1, 7), "Expected broker epoch 101, but got broker epoch 7");
    assert_lines(&allocate(&mut cluster, 3, 7), "No broker registration found for broker id 3");
}

#[test]
fn ids_end() {
    let mut cluster = cluster("broker 1");
    let last = ProducerIdsRecord { broker_id: 1, broker_epoch: 101, next_producer_id: i64::MAX - 999 };
    cluster.replay(&[last.into()]);
    assert!(allocate(&mut cluster, 1, 101).starts_with("Exhausted all producerIds"));
}
