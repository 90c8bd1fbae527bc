//! From a partition's state and the wish to change it to the one record that does so.
//!
//! Every change of a partition goes through here, whatever asks for it: a broker
//! that is fenced, an in-sync set that shrinks, a reassignment, an election. The
//! steps are always the same: finish a reassignment that has caught up, keep the
//! eligible leader replicas (KIP-966), elect, and write down only what differs.
//!
//! Two rules carry the safety. Without eligible leader replicas the in-sync set
//! never becomes empty: its last member stays in it, dead or not, because it alone
//! has every committed record. With them it may, and the set remembers who had.
//!
//! Replay raises the leader epoch when the record names a leader, and the partition
//! epoch always.

use std::collections::BTreeMap;

use metadata::{LeaderRecoveryState, Partition};
use model::{DirectoryId, NodeId, PartitionIndex, TopicId};
use proto::metadata::PartitionChangeRecord;

use crate::elect::{Candidates, Elected, Election, elect};

/// In the record: no leader any more.
const NO_LEADER: i32 = -1;
/// In the record: the leader stays, and so does its epoch.
const NO_LEADER_CHANGE: i32 = -2;

/// What holds for the partition's topic.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `min.insync.replicas`, at most the number of replicas.
    pub min_insync_replicas: usize,
    /// Whether eligible leader replicas are kept (KIP-966).
    pub elr_enabled: bool,
}

/// A change in the making: what the partition shall become.
#[derive(Clone, Debug)]
pub struct PartitionChange<'a> {
    before: &'a Partition,
    rules: Rules,
    /// The in-sync set to be.
    pub isr: Vec<NodeId>,
    /// The replicas to be.
    pub replicas: Vec<NodeId>,
    /// The replicas to remove.
    pub removing: Vec<NodeId>,
    /// The replicas to add.
    pub adding: Vec<NodeId>,
    /// Whether the leader still recovers from an unclean election.
    pub recovering: bool,
    /// A broker that lost what it had not flushed: eligible no more.
    pub unclean_shutdown: Option<NodeId>,
    /// What kind of election is held.
    pub election: Election,
    /// Directories that differ from those before.
    pub directories: BTreeMap<NodeId, DirectoryId>,
}

impl<'a> PartitionChange<'a> {
    /// No change yet, but for what an election brings.
    pub fn new(before: &'a Partition, rules: Rules) -> Self {
        Self {
            before,
            rules,
            isr: before.isr.to_vec(),
            replicas: before.replicas.to_vec(),
            removing: before.removing.to_vec(),
            adding: before.adding.to_vec(),
            recovering: is_recovering(before),
            unclean_shutdown: None,
            election: Election::Online,
            directories: BTreeMap::new(),
        }
    }

    /// The record that brings it about; `None` when there is nothing to do. Leaders are elected among
    /// those for whom `acceptable` holds; a new replica lies in the directory `default_dir` names.
    pub fn build(
        mut self,
        (topic, partition): (TopicId, PartitionIndex),
        acceptable: impl Fn(NodeId) -> bool,
        default_dir: impl Fn(NodeId) -> DirectoryId,
    ) -> Option<PartitionChangeRecord> {
        self.complete_reassignment();
        let mut elr = self.eligible();
        let elected = self.elect(&elr, acceptable);
        let leader_changes = elected.leader != self.before.leader;
        let unclean = leader_changes && elected.unclean;
        if let Some(leader) = elected.leader.filter(|_| leader_changes) {
            if elr.contains(&leader) || unclean {
                self.isr = vec![leader];
                elr.retain(|&node| node != leader);
            }
            self.recovering |= unclean;
        }
        if unclean || !self.rules.elr_enabled {
            elr.clear();
        }
        let mut record = PartitionChangeRecord {
            partition_id: partition.get(),
            topic_id: topic,
            leader: self.leader_field(elected, leader_changes),
            ..PartitionChangeRecord::default()
        };
        self.write_isr(&mut record, &elr, unclean);
        self.write_last_known(&mut record);
        self.write_assignment(&mut record, default_dir);
        if self.recovering != is_recovering(self.before) {
            record.leader_recovery_state = i8::from(self.recovering);
        }
        let nothing = PartitionChangeRecord {
            partition_id: record.partition_id,
            topic_id: topic,
            ..PartitionChangeRecord::default()
        };
        (record != nothing).then_some(record)
    }

    /// Ends the reassignment if all that it adds is in sync, and somebody in sync remains.
    fn complete_reassignment(&mut self) {
        if self.removing.is_empty() && self.adding.is_empty() {
            return;
        }
        let stays = |node: &&NodeId| !self.removing.contains(node);
        let isr: Vec<NodeId> = self.isr.iter().filter(stays).copied().collect();
        let replicas: Vec<NodeId> = self.replicas.iter().filter(stays).copied().collect();
        let caught_up = self.adding.iter().all(|node| isr.contains(node));
        // When a replication factor shrinks, those who stay must all be there before the rest goes.
        let shrinks = self.adding.len() < self.removing.len();
        let all_there = !shrinks || replicas.iter().all(|node| isr.contains(node));
        if isr.is_empty() || replicas.is_empty() || !caught_up || !all_there {
            return;
        }
        self.isr = isr;
        self.replicas = replicas;
        self.removing.clear();
        self.adding.clear();
    }

    /// The eligible leader replicas after the change of the in-sync set, before the election.
    fn eligible(&self) -> Vec<NodeId> {
        if !self.rules.elr_enabled {
            return self.before.elr.to_vec();
        }
        if self.isr.len() >= self.rules.min_insync_replicas {
            return Vec::new();
        }
        // Below the minimum nothing more is committed, so whoever was in sync has all that is.
        let mut elr: Vec<NodeId> = self.before.elr.iter().chain(&self.before.isr).copied().collect();
        // A replica that leaves with this very change is nobody's leader any more.
        elr.retain(|node| self.replicas.contains(node));
        elr.retain(|node| !self.isr.contains(node) && Some(*node) != self.unclean_shutdown);
        elr.sort_unstable();
        elr.dedup();
        elr
    }

    fn elect(&self, elr: &[NodeId], acceptable: impl Fn(NodeId) -> bool) -> Elected {
        let last_known = match &*self.before.last_known_elr {
            [only] if self.rules.elr_enabled => Some(*only),
            _ => None,
        };
        let stand = Candidates {
            replicas: &self.replicas,
            isr: &self.isr,
            elr,
            leader: self.before.leader,
            last_known,
        };
        elect(&stand, self.election, acceptable)
    }

    /// A replica that leaves must hear of it, so its leaving raises the leader epoch even when the
    /// leader stays.
    fn leader_field(&self, elected: Elected, leader_changes: bool) -> i32 {
        let replica_leaves = self.before.replicas.iter().any(|node| !self.replicas.contains(node));
        if leader_changes {
            elected.leader.map_or(NO_LEADER, NodeId::get)
        } else if replica_leaves {
            self.before.leader.map_or(NO_LEADER, NodeId::get)
        } else {
            NO_LEADER_CHANGE
        }
    }

    fn write_isr(&self, record: &mut PartitionChangeRecord, elr: &[NodeId], unclean: bool) {
        let may_be_written = !self.isr.is_empty() || self.rules.elr_enabled;
        if unclean || (may_be_written && *self.isr != *self.before.isr) {
            record.isr = Some(ids(&self.isr));
        }
        if *elr != *self.before.elr {
            record.eligible_leader_replicas = Some(ids(elr));
        }
    }

    /// Remembers the leader when the partition first goes without one, forgets it with the next.
    fn write_last_known(&self, record: &mut PartitionChangeRecord) {
        if !self.rules.elr_enabled {
            return;
        }
        let known = !self.before.last_known_elr.is_empty();
        match (record.leader, self.before.leader) {
            (NO_LEADER, Some(leader)) if !known => record.last_known_elr = Some(vec![leader.get()]),
            (0.., _) if known => record.last_known_elr = Some(Vec::new()),
            _ => {}
        }
    }

    fn write_assignment(
        &self,
        record: &mut PartitionChangeRecord,
        default_dir: impl Fn(NodeId) -> DirectoryId,
    ) {
        let before = self.before;
        let known: BTreeMap<NodeId, DirectoryId> =
            before.replicas.iter().copied().zip(before.directories.iter().copied()).collect();
        let directory = |node: &NodeId| {
            let given = self.directories.get(node).or_else(|| known.get(node));
            given.copied().unwrap_or_else(|| default_dir(*node))
        };
        if !self.directories.is_empty() || *self.replicas != *before.replicas {
            let directories: Vec<DirectoryId> = self.replicas.iter().map(directory).collect();
            record.directories = (*directories != *before.directories).then_some(directories);
        }
        let differing = |after: &[NodeId], before: &[NodeId]| (after != before).then(|| ids(after));
        record.replicas = differing(&self.replicas, &before.replicas);
        record.removing_replicas = differing(&self.removing, &before.removing);
        record.adding_replicas = differing(&self.adding, &before.adding);
    }
}

fn is_recovering(partition: &Partition) -> bool {
    partition.leader_recovery_state == LeaderRecoveryState::Recovering
}

/// Node ids as records carry them.
pub fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.get()).collect()
}

#[cfg(test)]
mod tests;
