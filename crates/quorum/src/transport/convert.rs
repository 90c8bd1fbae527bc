//! Raft's vocabulary to and from the wire's.

use openraft::vote::{RaftVote, leader_id_std};
use proto::quorum as wire;

use crate::raft::types::{CommittedLeaderId, LogId, Term, Vote, VoterId};

/// What is wrong with a message from a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("the message is cut short or garbled: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("the message has no {0}")]
    Missing(&'static str),
    #[error("the message has epoch {0}")]
    Epoch(i32),
    #[error("the batches do not hold together: {0}")]
    Batches(String),
}

pub(super) fn to_log_id(id: &LogId) -> wire::LogId {
    wire::LogId { epoch: id.committed_leader_id().term.0, index: id.index() }
}

pub(super) fn from_log_id(id: wire::LogId) -> Result<LogId, ConvertError> {
    Ok(LogId::new(CommittedLeaderId::new(term(id.epoch)?), id.index))
}

pub(super) fn from_optional(id: Option<wire::LogId>) -> Result<Option<LogId>, ConvertError> {
    id.map(from_log_id).transpose()
}

pub(super) fn to_vote(vote: &Vote) -> wire::Vote {
    let leader = vote.leader_id();
    wire::Vote { epoch: leader.term.0, node: leader.voted_for.0, elected: vote.is_committed() }
}

pub(super) fn from_vote(vote: Option<wire::Vote>) -> Result<Vote, ConvertError> {
    let vote = vote.ok_or(ConvertError::Missing("vote"))?;
    let leader_id = leader_id_std::LeaderId { term: term(vote.epoch)?, voted_for: VoterId(vote.node) };
    Ok(Vote::from_leader_id(leader_id, vote.elected))
}

/// The last epoch is never reached: an election in it could not be followed by another.
fn term(epoch: i32) -> Result<Term, ConvertError> {
    if (0..i32::MAX).contains(&epoch) { Ok(Term(epoch)) } else { Err(ConvertError::Epoch(epoch)) }
}
