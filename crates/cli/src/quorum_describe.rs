//! `kastle quorum describe`: the metadata quorum's leader, and how far each replica has come.

use clap::Args;
use model::{ErrorCode, METADATA_TOPIC};
use serde_json::{Value, json};
use wire::messages::describe_quorum_request::{PartitionData as AskedPartition, TopicData as AskedTopic};
use wire::messages::describe_quorum_response::{PartitionData, ReplicaState};
use wire::messages::{DescribeQuorumRequest, from_wire_uuid, topic};

use crate::client::{Cluster, Target, To, answer, converse, refused, unexpected};
use crate::failure::{Outcome, say};
use crate::output;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| describe(cluster, arguments.target.json))
}

async fn describe(mut cluster: Cluster, as_json: bool) -> Outcome {
    let partition = AskedPartition::default().with_partition_index(0);
    let asked = AskedTopic::default().with_topic_name(topic(METADATA_TOPIC)).with_partitions(vec![partition]);
    let request = DescribeQuorumRequest::default().with_topics(vec![asked]);
    let response = answer!(DescribeQuorum, cluster.ask(To::Any, request).await?);
    check(response.error_code, response.error_message.as_deref())?;
    let found = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let Some(quorum) = found else { return Err(unexpected()) };
    check(quorum.error_code, quorum.error_message.as_deref())?;
    if as_json { output::json(&to_json(&quorum)) } else { show(&quorum) }
}

fn check(code: i16, message: Option<&str>) -> Outcome {
    let code = ErrorCode::from_code(code);
    if code.is_error() { Err(refused("describe the quorum", code, message)) } else { Ok(()) }
}

/// Voters first; each with its role.
fn replicas(quorum: &PartitionData) -> impl Iterator<Item = (&'static str, &ReplicaState)> {
    let leader = quorum.leader_id;
    let role = move |state: &ReplicaState| if state.replica_id == leader { "leader" } else { "voter" };
    let voters = quorum.current_voters.iter().map(move |state| (role(state), state));
    voters.chain(quorum.observers.iter().map(|state| ("observer", state)))
}

/// Records that the leader has and the replica has not.
fn lag(quorum: &PartitionData, state: &ReplicaState) -> i64 {
    let leader = quorum.current_voters.iter().find(|voter| voter.replica_id == quorum.leader_id);
    leader.map_or(0, |leader| (leader.log_end_offset - state.log_end_offset).max(0))
}

fn to_json(quorum: &PartitionData) -> Value {
    let one = |(role, state): (&'static str, &ReplicaState)| {
        json!({
            "node": state.replica_id.0, "directory": from_wire_uuid(state.replica_directory_id).to_string(),
            "role": role, "logEndOffset": state.log_end_offset, "lag": lag(quorum, state),
            "lastFetchTimestamp": state.last_fetch_timestamp, "lastCaughtUpTimestamp": state.last_caught_up_timestamp,
        })
    };
    json!({
        "leader": quorum.leader_id.0, "leaderEpoch": quorum.leader_epoch, "highWatermark": quorum.high_watermark,
        "replicas": replicas(quorum).map(one).collect::<Vec<_>>(),
    })
}

fn show(quorum: &PartitionData) -> Outcome {
    let (leader, epoch, watermark) = (quorum.leader_id.0, quorum.leader_epoch, quorum.high_watermark);
    say(format_args!("leader {leader}  epoch {epoch}  high watermark {watermark}"))?;
    let row = |(role, state): (&'static str, &ReplicaState)| {
        vec![
            state.replica_id.0.to_string(),
            from_wire_uuid(state.replica_directory_id).to_string(),
            role.to_owned(),
            state.log_end_offset.to_string(),
            lag(quorum, state).to_string(),
            state.last_caught_up_timestamp.to_string(),
        ]
    };
    let header = ["NODE", "DIRECTORY", "ROLE", "LOG-END", "LAG", "LAST-CAUGHT-UP-MS"];
    output::table(&header, replicas(quorum).map(row).collect())
}

#[cfg(test)]
mod tests {
    use wire::messages::BrokerId;
    use wire::messages::describe_quorum_response::{PartitionData, ReplicaState};

    use super::to_json;

    #[test]
    fn each_replica_has_its_role_and_lag() {
        let state = |id: i32, end: i64| {
            ReplicaState::default().with_replica_id(BrokerId(id)).with_log_end_offset(end)
        };
        let quorum = PartitionData::default()
            .with_leader_id(BrokerId(2))
            .with_current_voters(vec![state(1, 90), state(2, 100)])
            .with_observers(vec![state(5, 40)]);
        let json = to_json(&quorum);
        let shown: Vec<String> = json["replicas"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|replica| format!("{} {} {}", replica["node"], replica["role"], replica["lag"]))
            .collect();
        assert_eq!(shown, ["1 \"voter\" 10", "2 \"leader\" 0", "5 \"observer\" 60"]);
    }
}
