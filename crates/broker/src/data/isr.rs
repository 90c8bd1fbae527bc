//! In-sync sets on their way to the controller: proposals gathered, one request at a time.
//!
//! While a request is under way further proposals wait and leave together with the
//! next. What the controller's word means to the leader is `replica`'s to know; here
//! it is only told apart: committed, surely not applied, or unknown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{BrokerEpoch, ErrorCode, NodeId, PartitionEpoch, PartitionIndex, TopicId};
use replica::{Input, IsrAnswer, IsrProposal};
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use wire::messages::alter_partition_response::PartitionData as Answered;
use wire::messages::{
    AlterPartitionRequest, AlterPartitionResponse, BrokerId, ResponseKind, from_wire_uuid, to_wire_uuid,
};

use crate::data::partition::{Key, Partition};
use crate::data::plane::Plane;

/// The version that names followers with their epochs (KIP-903).
const VERSION: i16 = 3;
/// Partitions of one request; some 40 bytes each.
const PARTITIONS_MAX: usize = 5_000;
/// How long the controller is waited for.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Before what went unanswered is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

type Waiting = BTreeMap<Key, (Arc<Partition>, IsrProposal)>;

/// Proposals that wait for the next request.
#[derive(Default)]
pub struct IsrQueue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

impl IsrQueue {
    /// Sends `proposal` with the next request; it replaces an older one of the same partition.
    pub fn propose(&self, partition: Arc<Partition>, proposal: IsrProposal) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(partition.key, (partition, proposal));
        self.more.notify_one();
    }

    fn take(&self) -> Waiting {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() <= PARTITIONS_MAX {
            return std::mem::take(&mut waiting);
        }
        let rest = waiting.keys().nth(PARTITIONS_MAX).copied().expect("more than that are waiting");
        let later = waiting.split_off(&rest);
        self.more.notify_one();
        std::mem::replace(&mut waiting, later)
    }
}

/// Sends proposals until the node stops.
pub async fn run(plane: Arc<Plane>) {
    loop {
        tokio::select! {
            () = plane.isr.more.notified() => {}
            () = plane.stop.cancelled() => return,
        }
        let proposals = plane.isr.take();
        if proposals.is_empty() {
            continue;
        }
        let sent = tokio::select! {
            sent = send(&plane, &proposals) => sent,
            () = plane.stop.cancelled() => return,
        };
        let unknown = settle(&plane, &proposals, sent);
        if !unknown.is_empty() {
            tokio::time::sleep(RETRY_PAUSE).await;
            // A tick sends again what is still pending then; the metadata may have told before.
            let now = plane.options.clock.now();
            for partition in unknown {
                let outcome = partition.lock().step(now, Input::Ticked);
                plane.carry_out(&partition, outcome);
            }
        }
    }
}

async fn send(plane: &Plane, proposals: &Waiting) -> Option<AlterPartitionResponse> {
    let epoch = plane.options.broker.get().epoch?;
    let request = request(plane.options.node, epoch, proposals);
    match plane.options.controllers.request(VERSION, request, Instant::now() + TIMEOUT).await {
        Ok(ResponseKind::AlterPartition(response)) if response.error_code == ErrorCode::None.code() => {
            Some(response)
        }
        Ok(ResponseKind::AlterPartition(response)) => {
            let code = ErrorCode::from_code(response.error_code);
            tracing::info!(node = %plane.options.node, %code, "the controller refused a change of in-sync sets");
            None
        }
        Ok(_) => None,
        Err(error) => {
            tracing::info!(node = %plane.options.node, %error, "a change of in-sync sets went unanswered");
            None
        }
    }
}

fn request(node: NodeId, epoch: BrokerEpoch, proposals: &Waiting) -> AlterPartitionRequest {
    let mut topics: Vec<TopicData> = Vec::new();
    for (&(topic, index), (_, proposal)) in proposals {
        let members = proposal.isr.iter().map(|member| {
            BrokerState::default()
                .with_broker_id(BrokerId(member.node.get()))
                .with_broker_epoch(member.broker_epoch.map_or(-1, BrokerEpoch::get))
        });
        let data = PartitionData::default()
            .with_partition_index(index.get())
            .with_leader_epoch(proposal.leader_epoch.get())
            .with_new_isr_with_epochs(members.collect())
            .with_leader_recovery_state(0)
            .with_partition_epoch(proposal.partition_epoch.get());
        let id = to_wire_uuid(topic);
        match topics.last_mut().filter(|last| last.topic_id == id) {
            Some(last) => last.partitions.push(data),
            None => topics.push(TopicData::default().with_topic_id(id).with_partitions(vec![data])),
        }
    }
    AlterPartitionRequest::default()
        .with_broker_id(BrokerId(node.get()))
        .with_broker_epoch(epoch.get())
        .with_topics(topics)
}

/// Tells each leader what came of its proposal. Answers those of which that is not known.
fn settle(plane: &Plane, proposals: &Waiting, sent: Option<AlterPartitionResponse>) -> Vec<Arc<Partition>> {
    let mut answers: BTreeMap<Key, Answered> = BTreeMap::new();
    for topic in sent.into_iter().flat_map(|response| response.topics) {
        let id: TopicId = from_wire_uuid(topic.topic_id);
        let keyed =
            topic.partitions.into_iter().map(|it| ((id, PartitionIndex::new(it.partition_index)), it));
        answers.extend(keyed);
    }
    let now = plane.options.clock.now();
    let mut unknown = Vec::new();
    for (key, (partition, proposal)) in proposals {
        let answer = answers.get(key).map_or(IsrAnswer::Unknown, judge);
        if answer == IsrAnswer::Unknown {
            unknown.push(partition.clone());
        }
        let outcome = {
            let mut state = partition.lock();
            if !state.leads_in(proposal.leader_epoch) {
                continue;
            }
            state.step(now, Input::IsrAnswered(answer))
        };
        // A smaller set may be enough for writes that wait.
        partition.waiters.wake();
        plane.carry_out(partition, outcome);
    }
    unknown
}

/// What the controller's word means.
fn judge(answer: &Answered) -> IsrAnswer {
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => IsrAnswer::Committed {
            isr: answer.isr.iter().map(|node| NodeId::new(node.0)).collect(),
            partition_epoch: PartitionEpoch::new(answer.partition_epoch),
        },
        ErrorCode::IneligibleReplica
        | ErrorCode::OperationNotAttempted
        | ErrorCode::InvalidRequest
        | ErrorCode::UnknownTopicId
        | ErrorCode::UnknownTopicOrPartition => IsrAnswer::Refused,
        // The controller knows a newer state than this leader, or is none: the metadata will tell.
        _ => IsrAnswer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use model::ErrorCode;
    use replica::IsrAnswer;
    use wire::messages::BrokerId;

    use super::{Answered, judge};

    fn check(code: ErrorCode, outcome: &str) {
        let answer = Answered::default()
            .with_error_code(code.code())
            .with_isr(vec![BrokerId(1)])
            .with_partition_epoch(7);
        let said = match judge(&answer) {
            IsrAnswer::Committed { isr, partition_epoch } => format!("{isr:?} at {partition_epoch}"),
            IsrAnswer::Refused => "refused".to_owned(),
            IsrAnswer::Unknown => "unknown".to_owned(),
        };
        assert_eq!(said, outcome, "{code}");
    }

    #[test]
    fn only_what_was_surely_not_applied_is_a_refusal() {
        check(ErrorCode::None, "[NodeId(1)] at 7");
        check(ErrorCode::IneligibleReplica, "refused");
        check(ErrorCode::OperationNotAttempted, "refused");
        check(ErrorCode::InvalidUpdateVersion, "unknown");
        check(ErrorCode::FencedLeaderEpoch, "unknown");
        check(ErrorCode::NotController, "unknown");
        check(ErrorCode::RequestTimedOut, "unknown");
    }
}
