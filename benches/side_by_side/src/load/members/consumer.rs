//! A member of the new protocol (KIP-848): what it is told to give up or take it has done at once, and says so.

use std::time::Duration;

use anyhow::{Result, bail};
use model::ErrorCode;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::consumer_group_heartbeat_response::Assignment;
use wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, ResponseKind, text, topic,
};

use super::connection::Connection;
use super::{Membership, PAUSE, Shared, passes};

const BEAT: i16 = 1;
const REBALANCE_MS: i32 = 300_000;
const LEAVE: i32 = -1;

/// Lives until it is told to leave.
pub async fn live(shared: &Shared, index: usize) -> Result<()> {
    let mut connection = Connection::open(shared.membership.port, &shared.dials).await?;
    let mut member = Member { id: format!("member-{index}"), ..Member::default() };
    let mut heard = 0;
    loop {
        if shared.is_to_leave(index) {
            shared.leave(index);
            member.epoch = LEAVE;
            beat(&mut connection, member.request(&shared.membership)).await?;
            shared.call_all();
            return Ok(());
        }
        let response = beat(&mut connection, member.request(&shared.membership)).await?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {}
            code if passes(code.code()) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                member = Member { id: member.id, ..Member::default() };
                continue;
            }
            code => bail!("a heartbeat was refused: {} {:?}", code.name(), response.error_message),
        }
        let interval = Duration::from_millis(u64::try_from(response.heartbeat_interval_ms)?);
        let has_news = member.take(response);
        shared.stand(index, member.epoch, member.partitions());
        // A consumer that did what it was told says so at once.
        if !has_news {
            shared.pause(&mut heard, interval).await;
        }
    }
}

#[derive(Default)]
struct Member {
    id: String,
    epoch: i32,
    owned: Vec<TopicPartitions>,
    /// It has something to say of what it has.
    says_owned: bool,
}

impl Member {
    fn request(&mut self, membership: &Membership) -> ConsumerGroupHeartbeatRequest {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(&membership.group)))
            .with_member_id(text(&self.id))
            .with_member_epoch(self.epoch);
        if self.epoch == 0 {
            return request
                .with_rebalance_timeout_ms(REBALANCE_MS)
                .with_subscribed_topic_names(Some(vec![topic(&membership.topic)]))
                .with_topic_partitions(Some(Vec::new()));
        }
        let says = std::mem::take(&mut self.says_owned);
        request.with_rebalance_timeout_ms(-1).with_topic_partitions(says.then(|| self.owned.clone()))
    }

    /// Does as it is told; true when that is news.
    fn take(&mut self, response: ConsumerGroupHeartbeatResponse) -> bool {
        self.epoch = response.member_epoch;
        let Some(assignment) = response.assignment else { return false };
        let owned = taken(assignment);
        let is_news = owned != self.owned;
        self.owned = owned;
        self.says_owned |= is_news;
        is_news
    }

    fn partitions(&self) -> i32 {
        self.owned.iter().map(|topic| topic.partitions.len() as i32).sum()
    }
}

fn taken(assignment: Assignment) -> Vec<TopicPartitions> {
    let topics = assignment.topic_partitions.into_iter();
    let one = |it: wire::messages::consumer_group_heartbeat_response::TopicPartitions| {
        TopicPartitions::default().with_topic_id(it.topic_id).with_partitions(it.partitions)
    };
    topics.map(one).collect()
}

async fn beat(
    connection: &mut Connection,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse> {
    match connection.call(BEAT, request).await? {
        ResponseKind::ConsumerGroupHeartbeat(response) => Ok(response),
        other => bail!("a heartbeat was answered with {other:?}"),
    }
}
