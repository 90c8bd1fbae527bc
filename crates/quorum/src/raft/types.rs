//! The types that openraft is instantiated with, named in our words.
//!
//! A term is Kafka's leader epoch, an entry one record batch. An entry that was
//! proposed here has no bytes until the log gives it an offset; one that was read or
//! received carries the batch as it stands in the file, and is passed on untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use model::{LeaderEpoch, NodeId, Offset, Timestamp};
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::vote::RaftTerm;
use openraft::vote::leader_id_std;

use super::runtime::Runtime;
use crate::voters::{Voter, Voters};

openraft::declare_raft_types!(
    /// openraft, as this crate uses it.
    pub(crate) Types:
        D = Proposal,
        R = Offset,
        NodeId = VoterId,
        Node = Voter,
        Term = Term,
        LeaderId = leader_id_std::LeaderId<Term, VoterId>,
        Vote = openraft::impls::Vote<leader_id_std::LeaderId<Term, VoterId>>,
        Payload = Payload,
        Entry = Entry,
        AsyncRuntime = Runtime,
);

pub(crate) type CommittedLeaderId = leader_id_std::CommittedLeaderId<Term>;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<Types>;
pub(crate) type Membership = openraft::Membership<VoterId, Voter>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// A log id from its parts.
pub(crate) fn log_id(epoch: LeaderEpoch, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(Term(epoch.get())), index)
}

/// The leader epoch of a log id.
pub(crate) fn epoch_of(id: &LogId) -> LeaderEpoch {
    LeaderEpoch::new(id.committed_leader_id().term.0)
}

/// Raft's term: a leader epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Term(pub(crate) i32);

impl RaftTerm for Term {
    fn next(&self) -> Self {
        Self(self.0.checked_add(1).expect("2^31 elections"))
    }

    fn as_u64(&self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A voter's node id. A type of its own because openraft's test suite draws ids from a `u64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VoterId(pub(crate) i32);

impl VoterId {
    pub(crate) fn node(self) -> NodeId {
        NodeId::new(self.0)
    }
}

impl From<NodeId> for VoterId {
    fn from(node: NodeId) -> Self {
        Self(node.get())
    }
}

impl fmt::Display for VoterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod from_u64 {
    impl From<u64> for super::Term {
        fn from(value: u64) -> Self {
            Self(value.try_into().expect("a test's term is small"))
        }
    }

    impl From<u64> for super::VoterId {
        fn from(value: u64) -> Self {
            Self(value.try_into().expect("a test's node id is small"))
        }
    }
}

/// The membership in which exactly `voters` vote.
pub(crate) fn membership_of(voters: &Voters) -> Membership {
    let ids: BTreeSet<VoterId> = voters.0.keys().copied().map(VoterId::from).collect();
    let nodes: BTreeMap<VoterId, Voter> =
        voters.0.iter().map(|(id, voter)| (VoterId::from(*id), voter.clone())).collect();
    Membership::new(vec![ids], nodes).expect("one set, not empty, with a node for each id")
}

/// The voters of a membership.
pub(crate) fn voters_of(membership: &Membership) -> Voters {
    let voting: BTreeSet<VoterId> = membership.voter_ids().collect();
    let nodes = membership.nodes().filter(|(id, _)| voting.contains(id));
    Voters(nodes.map(|(id, voter)| (id.node(), voter.clone())).collect())
}

/// Values to append as one batch; what `Quorum::append` proposes.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    /// The leader's clock when it proposed.
    pub(crate) timestamp: Timestamp,
    /// Where the proposer takes the log to end; anywhere else its records must not stand.
    pub(crate) base_offset: Option<Offset>,
    /// Framed record values (KIP-631).
    pub(crate) values: Arc<[Vec<u8>]>,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records", self.values.len())
    }
}

/// What an entry holds.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// A new leader's first entry.
    Blank,
    /// Records that were proposed here and have no bytes yet.
    Proposed(Proposal),
    /// Records of a batch that was read or received.
    Stored,
    /// Who votes.
    Voters(Membership),
}

impl RaftPayload for Payload {
    type D = Proposal;
    type NodeId = VoterId;
    type Node = Voter;

    fn blank() -> Self {
        Self::Blank
    }

    fn with_normal(self, data: Proposal) -> Self {
        Self::Proposed(data)
    }

    fn with_membership(self, membership: Membership) -> Self {
        Self::Voters(membership)
    }

    fn get_membership(&self) -> Option<Membership> {
        match self {
            Self::Voters(membership) => Some(membership.clone()),
            Self::Blank | Self::Proposed(_) | Self::Stored => None,
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("leader change"),
            Self::Proposed(proposal) => proposal.fmt(f),
            Self::Stored => f.write_str("records"),
            Self::Voters(membership) => write!(f, "voters {membership}"),
        }
    }
}

/// One entry of the Raft log: one record batch.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: LogId,
    pub(crate) payload: Payload,
    /// The batch as it stands in the file; `None` until the log gave it an offset.
    pub(crate) batch: Option<Bytes>,
}

impl RaftEntry for Entry {
    type CommittedLeaderId = CommittedLeaderId;
    type Payload = Payload;

    fn new(id: LogId, payload: Payload) -> Self {
        Self { id, payload, batch: None }
    }

    fn log_id_parts(&self) -> (&CommittedLeaderId, u64) {
        (self.id.committed_leader_id(), self.id.index())
    }

    fn set_log_id(&mut self, id: LogId) {
        self.id = id;
    }

    fn get_membership(&self) -> Option<Membership> {
        self.payload.get_membership()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.payload)
    }
}
