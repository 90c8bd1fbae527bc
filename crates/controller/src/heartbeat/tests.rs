//! Heartbeats and where they move a broker, as text.

use model::{Millis, NodeId};
use wire::messages::{BrokerHeartbeatRequest, BrokerId, to_wire_uuid};

use super::{decide, refuse};
use crate::testing::{TestCluster, assert_lines, cluster, directory, epoch, fields, ids};

/// `id=1 epoch=101 at=2000 fence stop offline=1` -> records, then `caught-up fenced may-stop`.
fn beat(cluster: &mut TestCluster, asked: &str) -> String {
    let fields = fields(asked);
    let number =
        |name: &str, default: i64| fields.get(name).map_or(default, |text| text.parse().expect(name));
    let id = i32::try_from(number("id", 1)).expect("an id");
    let request = BrokerHeartbeatRequest::default()
        .with_broker_id(BrokerId(id))
        .with_broker_epoch(number("epoch", epoch(id)))
        .with_current_metadata_offset(number("at", 2_000))
        .with_want_fence(asked.contains(" fence"))
        .with_want_shut_down(asked.contains(" stop"))
        .with_offline_log_dirs(
            ids(fields.get("offline").unwrap_or(&""))
                .into_iter()
                .map(|dir| to_wire_uuid(directory(dir)))
                .collect(),
        );
    let cordoned = ids(fields.get("cordoned").unwrap_or(&""));
    let cordoned: Vec<_> = cordoned.into_iter().map(|dir| to_wire_uuid(directory(dir))).collect();
    let request = wire::cordoned::with(request, &cordoned);
    match decide(&cluster.view(), &request) {
        Ok(decision) => {
            let (records, response) = cluster.take(decision);
            let mut words = Vec::new();
            words.extend(response.is_caught_up.then_some("caught-up"));
            words.extend(response.is_fenced.then_some("fenced"));
            words.extend(response.should_shut_down.then_some("may-stop"));
            format!("{records}\n-> {}", words.join(" "))
        }
        Err(error) => {
            assert_eq!(refuse(&error).error_code, error.code().code());
            format!("{}: {error}", error.code())
        }
    }
}

#[track_caller]
fn check(spec: &str, asked: &str, outcome: &str) {
    assert_lines(&beat(&mut cluster(spec), asked), outcome);
}

const THREE: &str = "
    broker 1
    broker 2
    broker 3
    t-0 replicas=1,2,3 isr=1,2,3 leader=1
    t-1 replicas=2,3,1 isr=2,3,1 leader=2
";

#[test]
fn only_the_registered_run_is_heard() {
    check(
        "broker 1",
        "id=1 epoch=7",
        "STALE_BROKER_EPOCH: Expected broker epoch 101, but got broker epoch 7",
    );
    check("broker 1", "id=2", "STALE_BROKER_EPOCH: No broker registration found for broker id 2");
}

#[test]
fn a_heartbeat_changes_nothing_when_all_is_well() {
    check("broker 1", "id=1", "-> caught-up");
}

#[test]
fn a_fenced_broker_is_unfenced_when_it_has_replayed_its_registration() {
    check("broker 1 fenced", "id=1 at=100", "-> fenced");
    check(
        "broker 1 fenced",
        "id=1 at=101",
        "
        broker 1 unfenced
        -> caught-up
        ",
    );
    check("broker 1 fenced", "id=1 fence", "-> caught-up fenced");
}

#[test]
fn a_broker_that_returns_leads_what_nobody_leads() {
    check(
        "
        broker 1 fenced
        broker 2 fenced
        t-0 replicas=1,2 isr=1
        t-1 replicas=2,1 isr=2
        ",
        "id=1",
        "
        broker 1 unfenced
        t-0 leader=1
        -> caught-up
        ",
    );
}

#[test]
fn the_directories_that_a_broker_cordons_are_noted_when_they_change() {
    const OPEN: &str = "broker 1 dirs=7,8";
    const CORDONED: &str = "broker 1 dirs=7,8 cordoned=8";
    check(OPEN, "id=1 cordoned=8", "broker 1 cordons 1 directories\n-> caught-up");
    check(CORDONED, "id=1 cordoned=8", "-> caught-up");
    check(CORDONED, "id=1 cordoned=7,8", "broker 1 cordons 2 directories\n-> caught-up");
    check(CORDONED, "id=1", "broker 1 cordons 0 directories\n-> caught-up");
    check(OPEN, "id=1", "-> caught-up");
    check(&format!("feature metadata.version=29\n{OPEN}"), "id=1 cordoned=8", "-> caught-up");
}

#[test]
fn a_broker_that_wants_a_fence_gets_it() {
    check(
        THREE,
        "id=1 fence",
        "
        t-0 leader=2 isr=2,3
        t-1 isr=2,3
        broker 1 fenced
        -> caught-up fenced
        ",
    );
}

#[test]
fn a_stopping_broker_hands_over_and_stops_when_all_others_know() {
    let mut cluster = cluster(THREE);
    cluster.hear(2, 900);
    cluster.hear(3, 900);
    assert_lines(
        &beat(&mut cluster, "id=1 stop"),
        "
        broker 1 stopping
        t-0 leader=2 isr=2,3
        t-1 isr=2,3
        -> caught-up
        ",
    );
    assert_lines(&beat(&mut cluster, "id=1 stop"), "-> caught-up");
    beat(&mut cluster, "id=2 at=1001");
    beat(&mut cluster, "id=3 at=1002");
    assert_lines(&beat(&mut cluster, "id=1 stop"), "-> caught-up");
    beat(&mut cluster, "id=2 at=1002");
    assert_lines(
        &beat(&mut cluster, "id=1 stop"),
        "
        broker 1 fenced
        -> caught-up fenced may-stop
        ",
    );
}

#[test]
fn a_broker_that_leads_nothing_stops_at_once() {
    check(
        "broker 1",
        "id=1 stop",
        "
        broker 1 fenced
        -> caught-up fenced may-stop
        ",
    );
    check("broker 1 fenced", "id=1 stop", "-> caught-up fenced may-stop");
    check("broker 1 fenced stopping", "id=1", "-> caught-up fenced may-stop");
}

#[test]
fn the_only_replica_stops_and_remains_the_set() {
    let mut cluster = cluster("broker 1\n t-0 replicas=1 isr=1 leader=1");
    assert_lines(
        &beat(&mut cluster, "id=1 stop"),
        "
        broker 1 stopping
        t-0 leader=-1
        -> caught-up
        ",
    );
    assert_lines(
        &beat(&mut cluster, "id=1 stop"),
        "
        broker 1 fenced
        -> caught-up fenced may-stop
        ",
    );
}

#[test]
fn partitions_leave_a_directory_that_failed() {
    check(
        "
        broker 1 dirs=1,8
        broker 2
        t-0 replicas=1,2 isr=1,2 leader=1
        ",
        "id=1 offline=1",
        "
        t-0 leader=2 isr=2
        broker 1 left with 1 directories
        -> caught-up
        ",
    );
    check("broker 1 dirs=1,8", "id=1 offline=9", "-> caught-up");
}

#[test]
fn a_silent_broker_is_fenced_when_its_session_expires() {
    let mut cluster = cluster(THREE);
    let mut expire = |at: u64, expected: &str| {
        cluster.now = Millis::new(at);
        cluster.hear(2, 5);
        cluster.hear(3, 5);
        let decision = crate::expire_one(&cluster.view());
        assert_lines(&cluster.take(decision).0, expected);
    };
    expire(58_999, "");
    expire(
        59_000,
        "
        t-0 leader=2 isr=2,3
        t-1 isr=2,3
        broker 1 fenced
        ",
    );
    expire(60_000, "");
}

#[test]
fn a_report_of_another_run_fences_nobody() {
    let cluster = cluster(THREE);
    let stale = crate::gone(&cluster.view(), NodeId::new(1), model::BrokerEpoch::new(7));
    assert!(stale.records.is_empty() && stale.contact.is_none());
}
