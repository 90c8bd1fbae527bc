//! Raft's own invariants, of the votes on disk and the logs of the voters.
//!
//! One leader a term; a node's term never goes back and its vote in a term never changes,
//! not even by a restart or a power cut: the vote is synced before it counts. The leader of
//! the newest term has everything that was ever seen committed. That committed entries never
//! differ is for `committed` to say. Never suspended, as long as a majority keeps its disks.

use std::collections::BTreeMap;

use model::{LeaderEpoch, NodeId, Offset};

use super::{Bench, Rule};
use crate::view::{Ballot, NodeView};

#[derive(Debug, Default)]
pub(super) struct Raft {
    elected: BTreeMap<LeaderEpoch, NodeId>,
    votes: BTreeMap<(NodeId, LeaderEpoch), NodeId>,
    terms: BTreeMap<NodeId, LeaderEpoch>,
    /// The end of all that any node knew to be committed.
    committed: Offset,
}

impl Raft {
    pub(super) fn observe(&mut self, view: &NodeView, bench: &mut Bench) {
        if !view.news.quorum {
            return;
        }
        if let Some(log) = view.quorum.log {
            let term = log.vote.map_or(LeaderEpoch::new(0), |vote| vote.term);
            if let Some(had) = self.terms.insert(view.node, term).filter(|had| term < *had) {
                bench.break_of(
                    Rule::TermGrows,
                    None,
                    format!("the vote went from term {had} back to {term}"),
                );
            }
            if let Some(vote) = log.vote {
                self.take_vote(view.node, vote, bench);
                self.check_leader(view.node, vote, log.end, bench);
            }
        }
        self.committed = self.committed.max(view.quorum.committed);
    }

    fn take_vote(&mut self, node: NodeId, vote: Ballot, bench: &mut Bench) {
        let Ballot { term, node: of, elected } = vote;
        if elected {
            // Whom a majority elected may be followed by one who voted for another.
            let first = *self.elected.entry(term).or_insert(of);
            if first != of {
                let what = format!("nodes {first} and {of} were both elected in term {term}");
                bench.break_of(Rule::OneLeaderPerTerm, None, what);
            }
        } else {
            let first = *self.votes.entry((node, term)).or_insert(of);
            if first != of {
                let what = format!("voted for node {first} and for node {of} in term {term}");
                bench.break_of(Rule::OneVotePerTerm, None, what);
            }
        }
    }

    fn check_leader(&self, node: NodeId, vote: Ballot, end: Offset, bench: &mut Bench) {
        let is_newest = self.elected.last_key_value().is_some_and(|(newest, _)| *newest == vote.term);
        if vote.elected && vote.node == node && is_newest && end < self.committed {
            let (term, committed) = (vote.term, self.committed);
            let what = format!("leads term {term} with a log that ends at {end}, committed is {committed}");
            bench.break_of(Rule::LeaderIsComplete, None, what);
        }
    }
}
