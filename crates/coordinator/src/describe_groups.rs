//! DescribeGroups: classic groups with their members, and what a stable one has divided.

use model::ErrorCode;
use proto::rebalances::TAG;
use wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId, StrBytes, text};

use crate::call::Call;
use crate::classic::{self, Phase};
use crate::group::Group;
use crate::refusal::Refusal;
use crate::turn::Turn;

/// From which version on an unknown group is an error; before, it is dead (KIP-1043).
const KNOWS_UNKNOWN_GROUPS: i16 = 6;
/// What a group is called that is not there.
const DEAD: &str = "Dead";

/// Answers at once.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &DescribeGroupsRequest) {
    let asks_why = request.unknown_tagged_fields.contains_key(&TAG);
    let describe = |id: &GroupId| match turn.core.groups.get(id.as_str()) {
        Some(Group::Classic(group)) => {
            let described = described(id, group);
            match asks_why {
                true => described.with_unknown_tagged_field(TAG, group.causes.to_bytes()),
                false => described,
            }
        }
        Some(Group::Consumer(_)) => {
            dead(id, call.caller.version, Refusal::NotClassic { group: id.to_string() })
        }
        None => dead(id, call.caller.version, Refusal::GroupIdNotFound { group: id.to_string() }),
    };
    let groups = request.groups.iter().map(describe).collect();
    turn.reply(call.caller, DescribeGroupsResponse::default().with_groups(groups));
}

fn dead(id: &GroupId, version: i16, refusal: Refusal) -> DescribedGroup {
    let group = DescribedGroup::default().with_group_id(id.clone()).with_group_state(text(DEAD));
    if version < KNOWS_UNKNOWN_GROUPS {
        return group.with_error_code(ErrorCode::None.code());
    }
    group.with_error_code(refusal.code().code()).with_error_message(Some(text(&refusal.to_string())))
}

fn described(id: &GroupId, group: &classic::Group) -> DescribedGroup {
    let protocol = group.protocol().filter(|_| group.phase() == Phase::Stable);
    let member = |member: &std::sync::Arc<classic::Member>| {
        let described = DescribedGroupMember::default()
            .with_member_id(member.id.clone())
            .with_group_instance_id(member.instance.clone())
            .with_client_id(member.client.id.clone())
            .with_client_host(member.client.host.clone());
        match protocol {
            Some(protocol) => described
                .with_member_metadata(member.metadata(protocol).clone())
                .with_member_assignment(member.assignment.clone()),
            None => described,
        }
    };
    DescribedGroup::default()
        .with_group_id(id.clone())
        .with_group_state(StrBytes::from_static_str(group.phase().name()))
        .with_protocol_type(group.protocol_type().cloned().unwrap_or_default())
        .with_protocol_data(protocol.cloned().unwrap_or_default())
        .with_members(group.members().map(member).collect())
}
