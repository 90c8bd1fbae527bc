//! A classic group becomes one of the new protocol, while its members go on in the old one.
//!
//! It happens when the first member of the new protocol joins. Who waits in a rebalance is told to join again, and
//! finds itself in the new group ([`super::classic`]) with what it had.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{ErrorCode, TopicId};
use proto::offsets::*;

use super::embedded::{self, Subscription};
use super::member::{Current, Owned, Parts, State};
use super::{Id, Member, Watched, hash, heartbeat, leave, target, watch};
use crate::cause::{self, Because};
use crate::classic::{self, rebalance};
use crate::record::{ConsumerEntry, Entry};
use crate::refusal::Refusal;
use crate::turn::Turn;

/// One member on its way.
struct Moved {
    id: Id,
    member: Member,
    parts: Parts,
}

/// Turns the group into one of the new protocol, or says why that cannot be.
pub(crate) fn convert(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &classic::Group,
) -> Result<Watched, Refusal> {
    let settings = &turn.settings.consumer;
    let refuse = |why: &'static str| Err(Refusal::CannotUpgrade { group: id.to_string(), why });
    if !settings.migration.upgrades() {
        return refuse("online upgrade is disabled");
    }
    if !group.is_of_consumers() {
        return refuse("the group does not use the consumer embedded protocol");
    }
    if group.members().len() > settings.members_max {
        return refuse("the group size exceeds the consumer group maximum size");
    }
    let moved = read(turn, id, group)?;
    for member in group.members() {
        rebalance::dismiss(turn, member.waiting, &member.id, ErrorCode::RebalanceInProgress);
    }
    turn.delete(id);
    write(turn, id, group.generation(), &moved);
    let mut watched = Watched::loaded(turn.consumer_group(id));
    watched.causes = group.causes.clone();
    let because = Because::of_nobody("a member of the new protocol came: the group went over to it");
    cause::note(turn, id, &mut watched.causes, group.generation(), because);
    for moved in &moved {
        watch::hear(turn, id, &mut watched, &moved.id);
    }
    Ok(watched)
}

fn read(turn: &Turn<'_>, id: &Arc<str>, group: &classic::Group) -> Result<Vec<Moved>, Refusal> {
    let malformed = "the embedded consumer protocol is malformed";
    let refuse = |why: &'static str| Refusal::CannotUpgrade { group: id.to_string(), why };
    let mut taken: std::collections::BTreeSet<(TopicId, i32)> = Default::default();
    let mut moved = Vec::with_capacity(group.members().len());
    for member in group.members() {
        let protocol = group.protocol().cloned().or_else(|| Some(member.protocols.first()?.name.clone()));
        let metadata = member.metadata(&protocol.unwrap_or_default());
        let subscription = Subscription::from_bytes(metadata).map_err(|_| refuse(malformed))?;
        let parts = embedded::assignment(turn.cluster, &member.assignment).map_err(|_| refuse(malformed))?;
        let mut parts = parts.ok_or_else(|| refuse("an unsupported custom assignor is in use"))?;
        // An assignor may have given a partition twice; here it has one owner.
        for (&topic, own) in &mut parts {
            own.retain(|&partition| taken.insert((topic, partition)));
        }
        parts.retain(|_, own| !own.is_empty());
        moved.push(Moved { id: member.id.as_str().into(), member: described(member, subscription), parts });
    }
    Ok(moved)
}

fn described(member: &classic::Member, subscription: Subscription) -> Member {
    Member {
        instance_id: member.instance.as_ref().map(ToString::to_string),
        rack_id: subscription.rack,
        client_id: member.client.id.to_string(),
        client_host: member.client.host.to_string(),
        subscribed_topic_names: subscription.topics,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: member.session_timeout_ms,
            supported_protocols: protocols(&member.protocols),
        }),
        ..heartbeat::begun()
    }
}

/// The ways to divide that a member knows, as records have them.
pub(crate) fn protocols(protocols: &[classic::Protocol]) -> Vec<ClassicProtocol> {
    let written = |protocol: &classic::Protocol| ClassicProtocol {
        name: protocol.name.to_string(),
        metadata: protocol.metadata.to_vec(),
    };
    protocols.iter().map(written).collect()
}

/// The records of the new group, in Kafka's order.
fn write(turn: &mut Turn<'_>, id: &Arc<str>, epoch: i32, moved: &[Moved]) {
    let put = |turn: &mut Turn<'_>, entry| turn.write(Entry::Consumer(id.clone(), entry));
    for Moved { id: member, member: value, .. } in moved {
        put(turn, ConsumerEntry::Member(member.to_string(), Some(value.clone())));
    }
    let metadata_hash = hash::of_topics(turn.cluster, turn.consumer_group(id).topics());
    put(turn, ConsumerEntry::Group(Some(ConsumerGroupMetadataValue { epoch, metadata_hash })));
    for moved in moved {
        target::write_part(turn, id, &moved.id, &moved.parts);
    }
    // Not divided at any time: the next division need not wait.
    let value =
        ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: epoch, assignment_timestamp: 0 };
    put(turn, ConsumerEntry::Target(Some(value)));
    for moved in moved {
        let since = |own: &std::collections::BTreeSet<i32>| -> BTreeMap<i32, i32> {
            own.iter().map(|&partition| (partition, epoch)).collect()
        };
        let assigned: Owned = moved.parts.iter().map(|(&topic, own)| (topic, since(own))).collect();
        let current =
            Current { epoch, previous: epoch, state: State::Stable, assigned, revoking: Owned::new() };
        leave::write_current(turn, id, &moved.id, &current);
    }
}
