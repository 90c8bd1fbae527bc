//! In-sync sets proposed, taken and refused, as text.

use wire::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use wire::messages::{AlterPartitionRequest, BrokerId, to_wire_uuid};

use super::{decide, refuse};
use crate::testing::{TestCluster, assert_lines, cluster, epoch, fields, ids, topic_id};

const THREE: &str = "
    broker 1
    broker 2
    broker 3
    t-0 replicas=1,2,3 isr=1,2,3 leader=1
";

/// `by=1 topic=t index=0 isr=1,2@103 leader-epoch=5 epoch=9 recovering`.
fn request(asked: &str) -> AlterPartitionRequest {
    let fields = fields(asked);
    let number =
        |name: &str, default: i32| fields.get(name).map_or(default, |text| text.parse().expect(name));
    let by = number("by", 1);
    let member = |word: &str| {
        let (id, run) = word.split_once('@').unwrap_or((word, ""));
        let id = ids(id)[0];
        let run = run.parse().unwrap_or_else(|_| epoch(id));
        BrokerState::default().with_broker_id(BrokerId(id)).with_broker_epoch(run)
    };
    let isr = fields.get("isr").unwrap_or(&"").split(',').filter(|word| !word.is_empty()).map(member);
    let partition = PartitionData::default()
        .with_partition_index(number("index", 0))
        .with_leader_epoch(number("leader-epoch", 5))
        .with_partition_epoch(number("epoch", 9))
        .with_leader_recovery_state(i8::from(asked.contains("recovering")))
        .with_new_isr_with_epochs(isr.collect());
    let topic = TopicData::default()
        .with_topic_id(to_wire_uuid(topic_id(fields.get("topic").unwrap_or(&"t"))))
        .with_partitions(vec![partition]);
    AlterPartitionRequest::default()
        .with_broker_id(BrokerId(by))
        .with_broker_epoch(i64::from(number("run", 100 + by)))
        .with_topics(vec![topic])
}

fn alter(cluster: &mut TestCluster, asked: &str) -> String {
    match decide(&cluster.view(), &request(asked)) {
        Err(error) => {
            assert_eq!(refuse(&error).error_code, error.code().code());
            error.code().to_string()
        }
        Ok(decision) => {
            let (records, response) = cluster.take(decision);
            let answer = &response.topics[0].partitions[0];
            let answer = match model::ErrorCode::from_code(answer.error_code) {
                model::ErrorCode::None => {
                    let isr: Vec<String> = answer.isr.iter().map(|id| id.0.to_string()).collect();
                    format!(
                        "leader={} isr={} epochs={}/{}",
                        answer.leader_id.0,
                        isr.join(","),
                        answer.leader_epoch,
                        answer.partition_epoch
                    )
                }
                error => error.to_string(),
            };
            format!("{records}\n-> {answer}")
        }
    }
}

#[track_caller]
fn check(spec: &str, asked: &str, outcome: &str) {
    assert_lines(&alter(&mut cluster(spec), asked), outcome);
}

#[test]
fn a_leader_shrinks_and_grows_its_set_without_a_new_leader_epoch() {
    check(
        THREE,
        "isr=1,3",
        "
        t-0 isr=1,3
        -> leader=1 isr=1,3 epochs=5/10
        ",
    );
    check(
        "broker 1\n broker 2\n t-0 replicas=1,2 isr=1 leader=1",
        "isr=1,2",
        "
        t-0 isr=1,2
        -> leader=1 isr=1,2 epochs=5/10
        ",
    );
}

#[test]
fn a_set_that_is_already_so_is_answered_and_not_written() {
    check(THREE, "isr=1,2,3", "-> leader=1 isr=1,2,3 epochs=5/9");
}

#[test]
fn only_the_present_leader_in_the_present_epochs_is_heard() {
    check(THREE, "isr=1 run=7", "STALE_BROKER_EPOCH");
    check(THREE, "isr=1 leader-epoch=4", "-> FENCED_LEADER_EPOCH");
    check(THREE, "isr=1 leader-epoch=6", "-> NOT_CONTROLLER");
    check(THREE, "isr=1 epoch=8", "-> INVALID_UPDATE_VERSION");
    check(THREE, "isr=1 epoch=10", "-> NOT_CONTROLLER");
    check(THREE, "by=2 isr=2", "-> INVALID_REQUEST");
    check(THREE, "isr=1 topic=u", "-> UNKNOWN_TOPIC_ID");
    check(THREE, "isr=1 index=7", "-> UNKNOWN_TOPIC_OR_PARTITION");
}

#[test]
fn the_set_holds_replicas_once_and_the_leader() {
    check(THREE, "isr=", "-> INVALID_REQUEST");
    check(THREE, "isr=2,3", "-> INVALID_REQUEST");
    check(THREE, "isr=1,1", "-> INVALID_REQUEST");
    check(THREE, "isr=1,4", "-> INVALID_REQUEST");
}

#[test]
fn who_is_fenced_stopping_or_restarted_does_not_join() {
    let with = |other: &str| format!("broker 1\n {other}\n t-0 replicas=1,2 isr=1 leader=1");
    check(&with("broker 2 fenced"), "isr=1,2", "-> INELIGIBLE_REPLICA");
    check(&with("broker 2 stopping"), "isr=1,2", "-> INELIGIBLE_REPLICA");
    check(&with("broker 2"), "isr=1,2@99", "-> INELIGIBLE_REPLICA");
    check(&with("broker 3"), "isr=1,2", "-> INELIGIBLE_REPLICA");
    check(
        &with("broker 2"),
        "isr=1,2@-1",
        "
        t-0 isr=1,2
        -> leader=1 isr=1,2 epochs=5/10
        ",
    );
}

#[test]
fn a_recovering_leader_is_alone_until_it_has_recovered() {
    let recovering = "broker 1\n broker 2\n t-0 replicas=1,2 isr=1 leader=1 recovering";
    check(recovering, "isr=1,2 recovering", "-> INVALID_REQUEST");
    check(recovering, "isr=1 recovering", "-> leader=1 isr=1 epochs=5/9");
    check(
        recovering,
        "isr=1",
        "
        t-0 recovering=0
        -> leader=1 isr=1 epochs=5/10
        ",
    );
    check(THREE, "isr=1 recovering", "-> INVALID_REQUEST");
}

#[test]
fn the_last_one_to_catch_up_completes_a_reassignment() {
    let moving = "
        broker 1
        broker 2
        broker 3
        t-0 replicas=2,3,1 isr=1,2 leader=1 adding=3 removing=1
    ";
    check(
        moving,
        "isr=1,2,3",
        "
        t-0 leader=2 isr=2,3 replicas=2,3 removing= adding= directories
        -> NEW_LEADER_ELECTED
        ",
    );
}

#[test]
fn below_the_minimum_the_lost_stay_eligible() {
    let elr =
        format!("feature eligible.leader.replicas.version=1\n config topic t min.insync.replicas=2\n{THREE}");
    check(
        &elr,
        "isr=1",
        "
        t-0 isr=1 elr=2,3
        -> leader=1 isr=1 epochs=5/10
        ",
    );
}
