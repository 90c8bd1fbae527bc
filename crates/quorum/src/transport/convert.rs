//! Raft's vocabulary to and from the wire's.

use openraft::vote::{RaftVote, leader_id_std};
use proto::quorum as wire;

use crate::raft::types::{CommittedLeaderId, LogId, Term, Vote, VoterId};

/// The highest epoch taken from a peer: elections enough must remain after it.
const EPOCH_MAX: i32 = i32::MAX - 1_000_000;
/// The highest index taken from a peer: openraft adds to it without a care.
const INDEX_MAX: u64 = 1 << 62;

/// What is wrong with a message from a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("the message is cut short or garbled: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("the message has no {0}")]
    Missing(&'static str),
    #[error("the message has epoch {0}, between 0 and {EPOCH_MAX} are possible")]
    Epoch(i32),
    #[error("the message has a log index of {0}, at most {INDEX_MAX} are possible")]
    Index(u64),
    #[error("the batches do not hold together: {0}")]
    Batches(String),
}

pub(super) fn to_log_id(id: &LogId) -> wire::LogId {
    wire::LogId { epoch: id.committed_leader_id().term.0, index: id.index() }
}

pub(super) fn from_log_id(id: wire::LogId) -> Result<LogId, ConvertError> {
    if id.index > INDEX_MAX {
        return Err(ConvertError::Index(id.index));
    }
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

fn term(epoch: i32) -> Result<Term, ConvertError> {
    if (0..=EPOCH_MAX).contains(&epoch) { Ok(Term(epoch)) } else { Err(ConvertError::Epoch(epoch)) }
}

#[cfg(test)]
mod tests {
    use proto::quorum as wire;

    use super::{from_log_id, from_vote};

    fn check(epoch: i32, index: u64, outcome: &str) {
        let id = from_log_id(wire::LogId { epoch, index });
        let text = id.map_or_else(|error| error.to_string(), |id| id.to_string());
        assert!(text.contains(outcome), "{text}");
    }

    #[test]
    fn numbers_at_the_edge_of_their_range_are_refused() {
        check(4, 7, "4.7");
        check(-1, 7, "epoch -1");
        check(i32::MAX, 7, "epoch 2147483647");
        check(4, u64::MAX, "log index of 18446744073709551615");
        assert!(from_vote(None).is_err());
        assert!(from_vote(Some(wire::Vote { epoch: i32::MAX, node: 1, elected: true })).is_err());
    }
}
