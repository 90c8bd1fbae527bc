//! ConsumerGroupDescribe: groups of the new protocol, with what each member has and is to have.

use proto::rebalances::TAG;
use wire::messages::consumer_group_describe_response::*;
use wire::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId, StrBytes, text, to_wire_uuid,
    topic as topic_name,
};

use super::{Group, Id, Parts, heartbeat};
use crate::call::Call;
use crate::cluster::Cluster;
use crate::group;
use crate::refusal::Refusal;
use crate::turn::Turn;

/// What a member speaks, as version 1 tells it.
const SPEAKS_CLASSIC: i8 = 0;
const SPEAKS_CONSUMER: i8 = 1;

/// Answers when what it tells of is committed.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &ConsumerGroupDescribeRequest) {
    turn.behind_all = true;
    let enabled = heartbeat::check_enabled(turn);
    let asks_why = request.unknown_tagged_fields.contains_key(&TAG);
    let describe = |id: &GroupId| match turn.core.groups.get(id.as_str()) {
        _ if enabled.is_err() => refused(id, &Refusal::NoConsumerProtocol),
        Some(group::Group::Consumer(watched)) => {
            let described = described(turn, id, watched.group());
            match asks_why {
                true => described.with_unknown_tagged_field(TAG, watched.causes.to_bytes()),
                false => described,
            }
        }
        Some(_) => refused(id, &Refusal::NotConsumer { group: id.to_string() }),
        None => refused(id, &Refusal::GroupIdNotFound { group: id.to_string() }),
    };
    let groups = request.group_ids.iter().map(describe).collect();
    turn.reply(call.caller, ConsumerGroupDescribeResponse::default().with_groups(groups));
}

fn refused(id: &GroupId, refusal: &Refusal) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id.clone())
        .with_error_code(refusal.code().code())
        .with_error_message(Some(text(&refusal.to_string())))
}

fn described(turn: &Turn<'_>, id: &GroupId, group: &Group) -> DescribedGroup {
    let default = turn.settings.consumer.assignors.first().map_or("", String::as_str);
    let members = group.members().map(|(id, _)| described_member(turn.cluster, group, id));
    DescribedGroup::default()
        .with_group_id(id.clone())
        .with_group_state(StrBytes::from_static_str(group.state()))
        .with_group_epoch(group.epoch())
        .with_assignment_epoch(group.target_epoch())
        .with_assignor_name(text(group.preferred_assignor().unwrap_or(default)))
        .with_members(members.collect())
}

fn described_member(cluster: &dyn Cluster, group: &Group, id: &Id) -> Member {
    let known = group.member(id).expect("it is one of them");
    let current = group.current(id);
    let target = group.target_of(id).cloned().unwrap_or_default();
    // What it has to give up it still has.
    let mut has = Parts::new();
    for (topic, partition) in current.places() {
        has.entry(topic).or_default().insert(partition);
    }
    let kind = if known.classic_member_metadata.is_some() { SPEAKS_CLASSIC } else { SPEAKS_CONSUMER };
    Member::default()
        .with_member_id(text(id))
        .with_instance_id(known.instance_id.as_deref().map(text))
        .with_rack_id(known.rack_id.as_deref().map(text))
        .with_member_epoch(current.epoch)
        .with_client_id(text(&known.client_id))
        .with_client_host(text(&known.client_host))
        .with_subscribed_topic_names(
            known.subscribed_topic_names.iter().map(|name| topic_name(name)).collect(),
        )
        .with_subscribed_topic_regex(known.subscribed_topic_regex.as_deref().map(text))
        .with_member_type(kind)
        .with_assignment(assignment(cluster, &has))
        .with_target_assignment(assignment(cluster, &target))
}

/// Topics that are no more are not told.
fn assignment(cluster: &dyn Cluster, parts: &Parts) -> Assignment {
    let told = parts.iter().filter_map(|(&id, partitions)| {
        let name = cluster.name_of(id)?;
        Some(
            TopicPartitions::default()
                .with_topic_id(to_wire_uuid(id))
                .with_topic_name(topic_name(name))
                .with_partitions(partitions.iter().copied().collect()),
        )
    });
    Assignment::default().with_topic_partitions(told.collect())
}
