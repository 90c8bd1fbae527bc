//! DeleteTopics, by name or by id.
//!
//! One record removes a topic with its partitions; its configs go with it in replay.

use std::collections::BTreeSet;

use model::{ErrorCode, TopicId};
use proto::metadata::{MetadataRecord, RemoveTopicRecord};
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::delete_topics_response::DeletableTopicResult;
use wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse, from_wire_uuid, to_wire_uuid, topic};

use crate::decision::{Decision, Refusal};
use crate::view::View;

/// Why a topic is not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    /// `delete.topic.enable` is false.
    #[error("Topic deletion is disabled.")]
    Disabled {
        /// Whether the client knows the error of that name.
        has_code: bool,
    },
    /// Both, perhaps of two topics.
    #[error("You may not specify both topic name and topic id.")]
    NameAndId,
    /// Neither.
    #[error("Neither topic name nor id were specified.")]
    Nothing,
    /// A name twice.
    #[error("Duplicate topic name.")]
    NameTwice,
    /// An id twice.
    #[error("Duplicate topic id.")]
    IdTwice,
    /// A name and, elsewhere in the request, its id.
    #[error("The provided topic name maps to an ID that was already supplied.")]
    NameOfId,
    /// No such name.
    #[error("This server does not host this topic-partition.")]
    UnknownName,
    /// No such id.
    #[error("This server does not host this topic ID.")]
    UnknownId,
}

impl DeleteTopicError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Disabled { has_code: true } => ErrorCode::TopicDeletionDisabled,
            Self::UnknownName => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownId => ErrorCode::UnknownTopicId,
            _ => ErrorCode::InvalidRequest,
        }
    }
}

/// From this version on clients know that deletion can be disabled.
const DISABLED_FROM: i16 = 3;

/// Deletes what can be deleted. The answer is one for `version` of the API.
pub fn decide(
    view: &View<'_>,
    version: i16,
    request: &DeleteTopicsRequest,
) -> Decision<DeleteTopicsResponse> {
    let by_name =
        request.topic_names.iter().map(|name| DeleteTopicState::default().with_name(Some(name.clone())));
    let asked: Vec<DeleteTopicState> = request.topics.iter().cloned().chain(by_name).collect();
    let repeats = Repeats::of(&asked);
    let mut records = Vec::new();
    let mut results = Vec::new();
    let mut answered = BTreeSet::new();
    for state in &asked {
        // A repeated name is refused once, not once for each time it came.
        if !answered.insert((state.name.as_deref().map(ToString::to_string), state.topic_id)) {
            continue;
        }
        let result = DeletableTopicResult::default()
            .with_error_message(None)
            .with_name(state.name.clone())
            .with_topic_id(state.topic_id);
        let resolved = if view.settings.may_delete_topics {
            resolve(view, state, &repeats)
        } else {
            Err(DeleteTopicError::Disabled { has_code: version >= DISABLED_FROM })
        };
        results.push(match resolved {
            Ok(id) => {
                records.push(MetadataRecord::from(RemoveTopicRecord { topic_id: id }));
                let name = view.image.topic_by_id(id).map(|found| topic(found.name.as_str()));
                result.with_name(name).with_topic_id(to_wire_uuid(id))
            }
            Err(error) => {
                let refusal = Refusal::new(error.code(), error);
                result.with_error_code(refusal.code.code()).with_error_message(refusal.text())
            }
        });
    }
    Decision::new(records, DeleteTopicsResponse::default().with_responses(results))
}

/// What comes more than once, and every id that was given.
struct Repeats {
    names: BTreeSet<String>,
    ids: BTreeSet<TopicId>,
    given: BTreeSet<TopicId>,
}

impl Repeats {
    fn of(asked: &[DeleteTopicState]) -> Self {
        let mut repeats = Self { names: BTreeSet::new(), ids: BTreeSet::new(), given: BTreeSet::new() };
        let mut seen = BTreeSet::new();
        for state in asked {
            let id = from_wire_uuid(state.topic_id);
            match &state.name {
                Some(name) if !seen.insert(name.to_string()) => drop(repeats.names.insert(name.to_string())),
                None if !id.is_zero() && !repeats.given.insert(id) => drop(repeats.ids.insert(id)),
                _ => {}
            }
        }
        repeats
    }
}

fn resolve(
    view: &View<'_>,
    state: &DeleteTopicState,
    repeats: &Repeats,
) -> Result<TopicId, DeleteTopicError> {
    let id = from_wire_uuid(state.topic_id);
    match (&state.name, id.is_zero()) {
        (Some(_), false) => Err(DeleteTopicError::NameAndId),
        (None, true) => Err(DeleteTopicError::Nothing),
        (Some(name), true) if repeats.names.contains(name.as_str()) => Err(DeleteTopicError::NameTwice),
        (Some(name), true) => {
            let id = view.image.topic(name).ok_or(DeleteTopicError::UnknownName)?.id;
            if repeats.given.contains(&id) { Err(DeleteTopicError::NameOfId) } else { Ok(id) }
        }
        (None, false) if repeats.ids.contains(&id) => Err(DeleteTopicError::IdTwice),
        (None, false) => view.image.topic_by_id(id).map(|topic| topic.id).ok_or(DeleteTopicError::UnknownId),
    }
}

#[cfg(test)]
mod tests;
