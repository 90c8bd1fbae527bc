//! ListGroups: which groups there are, by state and kind if the client asks (KIP-518, KIP-848).

use wire::messages::list_groups_response::ListedGroup;
use wire::messages::{GroupId, ListGroupsRequest, ListGroupsResponse, StrBytes, text};

use crate::call::Call;
use crate::turn::Turn;

/// Answers at once.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &ListGroupsRequest) {
    let wanted = |filter: &[StrBytes], is: &str| {
        filter.is_empty() || filter.iter().any(|name| name.as_str().eq_ignore_ascii_case(is))
    };
    let groups = turn.core.groups.iter().filter(|(_, group)| {
        wanted(&request.states_filter, group.state()) && wanted(&request.types_filter, group.kind().name())
    });
    let listed = groups.map(|(id, group)| {
        ListedGroup::default()
            .with_group_id(GroupId(text(id)))
            .with_protocol_type(text(group.protocol_type()))
            .with_group_state(StrBytes::from_static_str(group.state()))
            .with_group_type(StrBytes::from_static_str(group.kind().name()))
    });
    let response = ListGroupsResponse::default().with_groups(listed.collect());
    turn.reply(call.caller, response);
}
