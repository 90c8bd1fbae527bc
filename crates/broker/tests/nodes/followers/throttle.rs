//! Replicas that are moved within a bound (KIP-73), and what the bound is not for.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::records::{batch, check_led, configure, create_on, produce, reassign};
use crate::support::{Client, Cluster, run};

const LEADERS: &str = "leader.replication.throttled";
const FOLLOWERS: &str = "follower.replication.throttled";

/// Three megabytes in thirty batches.
async fn fill(client: &Client, name: &str) {
    let value = "v".repeat(100_000);
    for _ in 0..30 {
        assert!(produce(client, name, -1, batch(&[&value], None)).await.is_ok());
    }
}

/// A partition of three megabytes on 2 that moves to 3, and what is set before: `side`'s list of replicas, at
/// 200,000 bytes a second. How long it takes.
async fn moves(side: &str, list: &str) -> Duration {
    let cluster = Cluster::start_with(1, 3).await;
    let client = cluster.client(1).await;
    create_on(&client, "t", &[2], &[]).await;
    check_led(&client, "t", "2 [2]").await;
    fill(&cluster.client(2).await, "t").await;
    configure(&client, 4, "", &format!("{side}.rate"), "200000").await;
    configure(&client, 2, "t", &format!("{side}.replicas"), list).await;
    let begun = Instant::now();
    reassign(&client, "t", &[3]).await;
    check_led(&client, "t", "3 [3]").await;
    let took = begun.elapsed();
    cluster.stop_all().await;
    took
}

fn check(side: &'static str, list: &'static str, is_slow: bool) {
    run(async move {
        let took = moves(side, list).await;
        let expected = if is_slow { 8..=16 } else { 0..=2 };
        assert!(expected.contains(&took.as_secs()), "{side} {list}: {took:?}");
    });
}

#[test]
fn a_leader_sends_within_its_bound_to_a_replica_that_is_added() {
    check(LEADERS, "0:2", true);
    check(LEADERS, "*", true);
    check(LEADERS, "1:2,0:3", false);
}

#[test]
fn a_follower_fetches_within_its_bound_while_it_is_added() {
    check(FOLLOWERS, "0:3", true);
    check(FOLLOWERS, "*", true);
    check(FOLLOWERS, "1:3,0:2", false);
}

#[test]
fn replicas_in_sync_are_not_held_back_and_a_forgotten_bound_ends_with_the_move() {
    run(async {
        let mut cluster = Cluster::start_with(1, 3).await;
        let client = cluster.client(1).await;
        for (side, key) in [(LEADERS, "0:2"), (FOLLOWERS, "0:3")] {
            configure(&client, 4, "", &format!("{side}.rate"), "1000").await;
            for name in ["named", "starred"] {
                if side == LEADERS {
                    create_on(&client, name, &[2, 3], &[]).await;
                    check_led(&client, name, "2 [2, 3]").await;
                }
                let list = if name == "named" { key } else { "*" };
                configure(&client, 2, name, &format!("{side}.replicas"), list).await;
            }
        }
        let second = cluster.client(2).await;
        let begun = Instant::now();
        fill(&second, "starred").await;
        fill(&second, "named").await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?} in sync", begun.elapsed());
        cluster.stop(3).await;
        check_led(&client, "named", "2 [2]").await;
        fill(&second, "named").await;
        cluster.boot(3).await;
        cluster.ready(3).await;
        let begun = Instant::now();
        check_led(&client, "named", "2 [2, 3]").await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?} after a restart", begun.elapsed());
        cluster.stop_all().await;
    });
}
