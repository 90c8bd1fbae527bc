//! DeleteGroups: empty groups go, with all they committed.

use std::sync::Arc;

use model::ErrorCode;
use wire::messages::delete_groups_response::DeletableGroupResult;
use wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::call::Call;
use crate::offsets::OffsetKey;
use crate::record::Entry;
use crate::refusal::Refusal;
use crate::turn::Turn;

/// Answers when the groups are gone for good.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &DeleteGroupsRequest) {
    turn.behind_all = true;
    let mut results = Vec::with_capacity(request.groups_names.len());
    for id in &request.groups_names {
        let outcome = delete(turn, &id.as_str().into());
        let code = outcome.map_or_else(|refusal| refusal.code(), |()| ErrorCode::None);
        results.push(DeletableGroupResult::default().with_group_id(id.clone()).with_error_code(code.code()));
    }
    turn.reply(call.caller, DeleteGroupsResponse::default().with_results(results));
}

fn delete(turn: &mut Turn<'_>, id: &Arc<str>) -> Result<(), Refusal> {
    let group = turn.core.groups.get(id.as_ref());
    let group = group.ok_or_else(|| Refusal::GroupIdNotFound { group: id.to_string() })?;
    if !group.is_empty() {
        return Err(Refusal::NonEmptyGroup);
    }
    let keys: Vec<OffsetKey> = turn.core.hard.offsets().of(id).map(|(key, _)| key).collect();
    for key in keys {
        turn.write(Entry::Offset(key, None));
    }
    turn.delete(id);
    Ok(())
}
