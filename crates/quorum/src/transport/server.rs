//! The answering side: takes a request's body, asks openraft, makes the response's body.
//!
//! Bytes that mean nothing, and requests that are for someone else, get a refusal that
//! says why. Nothing here panics on what a peer sends.

use std::sync::Arc;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use prost::Message;
use proto::quorum as messages;
use wire::api::quorum as keys;

use super::convert::{ConvertError, from_optional, from_vote, to_log_id, to_vote};
use super::peers::{Peers, RouteError};
use super::receive::{ReceiveError, Receiving};
use crate::raft::machine::Machine;
use crate::raft::types::Types;
use crate::store::entries_of;

/// openraft with our state machine.
pub(crate) type Raft = openraft::Raft<Types, Machine>;

/// Answers the peers.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) raft: Raft,
    pub(crate) peers: Arc<Peers>,
    pub(crate) receiving: Receiving,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error("the metadata quorum of this node has stopped: {0}")]
    Stopped(String),
    #[error("leadership was not taken over: {0}")]
    Transfer(String),
}

fn refusal(error: &ServeError) -> Option<messages::Refusal> {
    if matches!(error, ServeError::Route(_)) {
        tracing::warn!(%error, "refusing a request to the metadata quorum");
    }
    Some(messages::Refusal { reason: error.to_string() })
}

impl Server {
    /// The response's body to a request's.
    pub(crate) async fn answer(&self, api_key: i16, body: Bytes) -> Vec<u8> {
        match api_key {
            keys::VOTE => {
                let answer = self.vote(body).await;
                let refuse =
                    |error| messages::VoteResponse { refusal: refusal(&error), ..Default::default() };
                answer.unwrap_or_else(refuse).encode_to_vec()
            }
            keys::APPEND_ENTRIES => {
                let answer = self.append(body).await;
                let refuse =
                    |error| messages::AppendResponse { refusal: refusal(&error), ..Default::default() };
                answer.unwrap_or_else(refuse).encode_to_vec()
            }
            keys::INSTALL_SNAPSHOT => {
                let answer = self.install(body).await;
                let refuse = |error| messages::SnapshotResponse { refusal: refusal(&error), vote: None };
                answer.unwrap_or_else(refuse).encode_to_vec()
            }
            keys::TRANSFER_LEADER => {
                let refusal = self.transfer(body).await.err().as_ref().and_then(refusal);
                messages::TransferResponse { refusal }.encode_to_vec()
            }
            // An empty body is a response of any kind with nothing in it, which the asker refuses.
            _ => Vec::new(),
        }
    }

    async fn vote(&self, body: Bytes) -> Result<messages::VoteResponse, ServeError> {
        let message = decode::<messages::VoteRequest>(body)?;
        self.peers.check(message.route.as_ref())?;
        let mut request = VoteRequest::new(from_vote(message.vote)?, from_optional(message.last_log_id)?);
        request.leadership_transfer = message.leadership_transfer;
        let answered =
            if message.pre_vote { self.raft.pre_vote(request).await } else { self.raft.vote(request).await };
        let response = answered.map_err(stopped)?;
        Ok(messages::VoteResponse {
            refusal: None,
            vote: Some(to_vote(&response.vote)),
            granted: response.vote_granted,
            last_log_id: response.last_log_id.as_ref().map(to_log_id),
        })
    }

    async fn append(&self, body: Bytes) -> Result<messages::AppendResponse, ServeError> {
        let message = decode::<messages::AppendRequest>(body)?;
        let from = self.peers.check(message.route.as_ref())?;
        let previous = from_optional(message.previous)?;
        let first = previous.as_ref().map_or(0, |previous| previous.index().saturating_add(1));
        let batches = Bytes::from(message.batches);
        let entries =
            entries_of(first, &batches).map_err(|error| ConvertError::Batches(error.to_string()))?;
        let request = AppendEntriesRequest {
            vote: from_vote(message.vote)?,
            prev_log_id: previous,
            entries,
            leader_commit: from_optional(message.committed)?,
        };
        let response = self.raft.append_entries(request).await.map_err(stopped)?;
        self.peers.note_heard(from);
        Ok(append_response(response))
    }

    async fn install(&self, body: Bytes) -> Result<messages::SnapshotResponse, ServeError> {
        let message = decode::<messages::SnapshotRequest>(body)?;
        let from = self.peers.check(message.route.as_ref())?;
        let vote = from_vote(message.vote)?;
        let Some(snapshot) = self.receiving.take(from, &message).await? else {
            return Ok(messages::SnapshotResponse::default());
        };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let response = installed.map_err(|error| ServeError::Stopped(error.to_string()))?;
        Ok(messages::SnapshotResponse { refusal: None, vote: Some(to_vote(&response.vote)) })
    }

    async fn transfer(&self, body: Bytes) -> Result<(), ServeError> {
        let message = decode::<messages::TransferRequest>(body)?;
        self.peers.check(message.route.as_ref())?;
        let from = from_vote(message.from_leader)?;
        let to = self.peers.node.into();
        let request = TransferLeaderRequest::new(from, to, from_optional(message.last_log_id)?);
        let taken = self.raft.handle_transfer_leader(request).await;
        let taken = taken.map_err(|error| ServeError::Stopped(error.to_string()))?;
        taken.map_err(|error| ServeError::Transfer(error.to_string()))
    }
}

fn decode<M: Message + Default>(body: Bytes) -> Result<M, ConvertError> {
    M::decode(body).map_err(ConvertError::Decode)
}

fn stopped(error: impl std::fmt::Display) -> ServeError {
    ServeError::Stopped(error.to_string())
}

fn append_response(response: AppendEntriesResponse<Types>) -> messages::AppendResponse {
    let outcome = |outcome: messages::Outcome| messages::AppendResponse {
        outcome: outcome.into(),
        ..Default::default()
    };
    match response {
        AppendEntriesResponse::Success => outcome(messages::Outcome::Success),
        AppendEntriesResponse::PartialSuccess(stored) => messages::AppendResponse {
            stored: stored.as_ref().map(to_log_id),
            ..outcome(messages::Outcome::Partial)
        },
        AppendEntriesResponse::Conflict => outcome(messages::Outcome::Conflict),
        AppendEntriesResponse::HigherVote(vote) => {
            messages::AppendResponse { vote: Some(to_vote(&vote)), ..outcome(messages::Outcome::HigherVote) }
        }
    }
}
