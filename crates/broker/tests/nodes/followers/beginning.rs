//! Logs that begin within a batch, for records below were deleted: whoever copies one begins there too.

use std::time::Duration;

use crate::support::records::{
    batch, check_led, create_on, delete_records, fetch, leader, offset_at, produce, reassign,
};
use crate::support::{Cluster, run};

#[test]
fn a_replica_can_be_added_to_a_log_that_begins_within_a_batch() {
    run(async {
        let mut cluster = Cluster::start_with(1, 3).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2], &[]).await;
        check_led(&client, "t", "2 [2]").await;
        let (_, id) = leader(&client, "t").await;
        let second = cluster.client(2).await;
        assert_eq!(produce(&second, "t", -1, batch(&["a", "b", "c", "d", "e"], None)).await, Ok(0));
        assert_eq!(delete_records(&second, "t", 3, 1_000).await, "low 3");
        reassign(&client, "t", &[2, 3]).await;
        check_led(&client, "t", "2 [2, 3]").await;
        assert_eq!(produce(&second, "t", -1, batch(&["f"], None)).await, Ok(5));
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.stop(2).await;
        check_led(&client, "t", "3 [3]").await;
        let third = cluster.client(3).await;
        assert_eq!((offset_at(&third, "t", -2).await, offset_at(&third, "t", -1).await), (3, 6));
        assert_eq!(fetch(&third, id, 3, 0).await, "@0 a b c d e @5 f hw=6");
        cluster.stop_all().await;
    });
}
