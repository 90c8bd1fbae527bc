//! A group of the new protocol becomes a classic one: the last member that spoke the new one has gone.

use std::sync::Arc;

use wire::messages::{Bytes, text};

use super::{Group, Id, Member, embedded};
use crate::call::Client;
use crate::cause::Because;
use crate::classic::{self, Waiting, rebalance};
use crate::record::Entry;
use crate::turn::Turn;

/// Whether the group is to become a classic one when these members go, and the others stay.
pub(crate) fn applies(turn: &Turn<'_>, group: &Group, leaving: &[Id]) -> bool {
    let mut rest = group.members().filter(|(id, _)| !leaving.contains(id)).peekable();
    let stay = group.members().len() - leaving.len();
    turn.settings.consumer.migration.downgrades()
        && stay <= turn.settings.members_max
        && rest.peek().is_some()
        && rest.all(|(_, member)| member.classic_member_metadata.is_some())
}

/// Turns it into one without those who leave. False when the others have no way to divide in common.
pub(crate) fn convert(turn: &mut Turn<'_>, id: &Arc<str>, leaving: &[Id]) -> bool {
    let group = turn.consumer_group(id);
    let stay = group.members().filter(|(id, _)| !leaving.contains(id));
    let members: Vec<classic::Member> =
        stay.filter_map(|(id, member)| downgraded(turn, &group, id, member)).collect();
    let Some(mut classic) = classic::Group::downgraded(group.epoch(), members, turn.now.time) else {
        return false;
    };
    classic.causes = turn.consumer(id).map(|watched| watched.causes).unwrap_or_default();
    turn.delete(id);
    turn.write(Entry::Classic(id.clone(), Some(classic.to_value())));
    let ids: Vec<_> = classic.members().map(|member| member.id.clone()).collect();
    for member in &ids {
        rebalance::hear(turn, id, &mut classic, member);
    }
    turn.put(id, classic);
    true
}

/// Lets the members of a group that was just converted join anew.
pub(crate) fn rebalance(turn: &mut Turn<'_>, id: &Arc<str>, because: Because) {
    let Some(mut group) = turn.classic(id) else { return };
    rebalance::prepare(turn, id, &mut group, because);
    turn.put(id, group);
}

fn downgraded(turn: &Turn<'_>, group: &Group, id: &Id, member: &Member) -> Option<classic::Member> {
    let known = member.classic_member_metadata.as_ref()?;
    let protocols: Arc<[classic::Protocol]> = known
        .supported_protocols
        .iter()
        .map(|protocol| classic::Protocol {
            name: text(&protocol.name),
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        })
        .collect();
    let target = group.target_of(id).cloned().unwrap_or_default();
    let parts = target.iter().map(|(topic, own)| (topic, own.clone()));
    let assignment = embedded::assignment_bytes(turn.cluster, version_of(member), parts);
    Some(classic::Member {
        id: text(id),
        instance: member.instance_id.as_deref().map(text),
        client: Client { id: text(&member.client_id), host: text(&member.client_host) },
        session_timeout_ms: known.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms.max(0),
        protocols,
        assignment: assignment.into(),
        waiting: Waiting::Nothing,
        is_new: false,
        alarm: Default::default(),
    })
}

/// In which version a member of the classic protocol reads its assignment: that of its own subscription.
pub(crate) fn version_of(member: &Member) -> i16 {
    let known = member.classic_member_metadata.as_ref();
    let first = known.and_then(|known| known.supported_protocols.first());
    let version = first.and_then(|protocol| protocol.metadata.first_chunk::<2>());
    version.map_or(0, |version| i16::from_be_bytes(*version).max(0))
}
