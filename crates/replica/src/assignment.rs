//! What the metadata says of a partition, and what that makes of this node's replica.
//!
//! Metadata arrives in order but more than once (a snapshot repeats what a
//! record said); a state with an older epoch than the one at hand is ignored.

use model::{LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};

use crate::follower::Follower;
use crate::leader::{Effect, Leader, LeaderOptions};

/// The part of a partition's metadata that replication acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Every node that shall hold the partition, preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The committed in-sync set.
    pub isr: Vec<NodeId>,
    /// The leader, if one could be elected.
    pub leader: Option<NodeId>,
    /// Counts leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts every change of the above.
    pub partition_epoch: PartitionEpoch,
}

/// This node's part.
#[derive(Debug)]
pub enum Role {
    /// Takes writes and serves followers.
    Leader(Box<Leader>),
    /// Copies the leader's log.
    Follower(Follower),
    /// There is no leader, or the metadata does not name this node a replica.
    Offline,
}

/// What the shell has to do after an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Nothing new: the state was known or is stale.
    None,
    /// Lead from now on: note in the log that the epoch begins at its end, stop fetching.
    Lead {
        /// The epoch to lead in.
        epoch: LeaderEpoch,
    },
    /// Still the leader of the same epoch; the in-sync set or the replicas changed.
    StillLeading,
    /// Follow from now on: fetch from this leader.
    Follow {
        /// The node to fetch from.
        leader: NodeId,
        /// The epoch to name in each fetch.
        epoch: LeaderEpoch,
    },
    /// Stop fetching and refuse clients until there is a leader.
    Stop,
}

/// One node's replica of one partition.
#[derive(Debug)]
pub struct Replica {
    me: NodeId,
    leader_epoch: Option<LeaderEpoch>,
    partition_epoch: Option<PartitionEpoch>,
    high_watermark: Offset,
    role: Role,
}

impl Replica {
    /// A replica that has a log but no role yet. `high_watermark` is the one checkpointed
    /// on disk, already cut to lie within the log.
    pub fn new(me: NodeId, high_watermark: Offset) -> Self {
        Self { me, leader_epoch: None, partition_epoch: None, high_watermark, role: Role::Offline }
    }

    /// Takes what the metadata says. `log_end` is the log's end at this moment.
    pub fn assign(
        &mut self,
        now: Millis,
        assignment: &Assignment,
        log_end: Offset,
        options: LeaderOptions,
        effects: &mut Vec<Effect>,
    ) -> Transition {
        if self.is_stale(assignment) {
            return Transition::None;
        }
        let same_epoch = self.leader_epoch == Some(assignment.leader_epoch);
        self.high_watermark = self.high_watermark().min(log_end);
        self.leader_epoch = Some(assignment.leader_epoch);
        self.partition_epoch = Some(assignment.partition_epoch);
        match (assignment.leader, &mut self.role) {
            (Some(leader), Role::Leader(state)) if leader == self.me && same_epoch => {
                state.assign(now, assignment, effects);
                Transition::StillLeading
            }
            (Some(leader), _) if leader == self.me => {
                let mut state =
                    Box::new(Leader::new(self.me, now, assignment, log_end, self.high_watermark, options));
                state.advance(now, effects);
                self.role = Role::Leader(state);
                Transition::Lead { epoch: assignment.leader_epoch }
            }
            (Some(leader), Role::Follower(state)) if same_epoch && state.leader() == leader => {
                Transition::None
            }
            (Some(leader), _) if assignment.replicas.contains(&self.me) => {
                let epoch = assignment.leader_epoch;
                self.role = Role::Follower(Follower::new(leader, epoch, self.high_watermark));
                Transition::Follow { leader, epoch }
            }
            _ => self.go_offline(),
        }
    }

    /// Takes the replica out of service: its log failed, or the partition left this node.
    pub fn go_offline(&mut self) -> Transition {
        self.high_watermark = self.high_watermark();
        self.role = Role::Offline;
        Transition::Stop
    }

    /// This node's part at the moment.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The leader's state, if this node leads.
    pub fn leader_mut(&mut self) -> Option<&mut Leader> {
        if let Role::Leader(leader) = &mut self.role { Some(leader) } else { None }
    }

    /// The follower's state, if this node follows.
    pub fn follower_mut(&mut self) -> Option<&mut Follower> {
        if let Role::Follower(follower) = &mut self.role { Some(follower) } else { None }
    }

    /// The newest leader epoch the metadata told of.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch
    }

    /// The newest partition epoch the metadata told of; a leader may have learned a newer one from the
    /// controller's answer.
    pub fn partition_epoch(&self) -> Option<PartitionEpoch> {
        match &self.role {
            Role::Leader(leader) => Some(leader.partition_epoch()),
            Role::Follower(_) | Role::Offline => self.partition_epoch,
        }
    }

    /// Everything below is committed, as far as this node knows.
    pub fn high_watermark(&self) -> Offset {
        match &self.role {
            Role::Leader(leader) => leader.high_watermark(),
            Role::Follower(follower) => follower.high_watermark(),
            Role::Offline => self.high_watermark,
        }
    }

    fn is_stale(&self, assignment: &Assignment) -> bool {
        let older = |had: Option<LeaderEpoch>| had.is_some_and(|had| assignment.leader_epoch < had);
        let known = |had: Option<PartitionEpoch>| had.is_some_and(|had| assignment.partition_epoch <= had);
        let offline_again = matches!(self.role, Role::Offline);
        older(self.leader_epoch) || (known(self.partition_epoch) && !offline_again)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};

    use super::{Assignment, Replica, Transition};
    use crate::leader::LeaderOptions;

    const OPTIONS: LeaderOptions =
        LeaderOptions { lag_max: Duration::from_secs(30), min_isr: 1, waits_for_sync: false };

    fn assignment(leader: i32, leader_epoch: i32, partition_epoch: i32) -> Assignment {
        let nodes = || [1, 2, 3].map(NodeId::new).to_vec();
        Assignment {
            replicas: nodes(),
            isr: nodes(),
            leader: NodeId::from_wire(leader),
            leader_epoch: LeaderEpoch::new(leader_epoch),
            partition_epoch: PartitionEpoch::new(partition_epoch),
        }
    }

    /// Node 1 takes each (leader, leader epoch, partition epoch) in turn; says what it did.
    fn check(steps: &[(i32, i32, i32)], outcome: &[&str]) {
        let mut replica = Replica::new(NodeId::new(1), Offset::ZERO);
        let said: Vec<String> = steps
            .iter()
            .map(|&(leader, leader_epoch, partition_epoch)| {
                let state = assignment(leader, leader_epoch, partition_epoch);
                let mut effects = Vec::new();
                match replica.assign(Millis::new(0), &state, Offset::ZERO, OPTIONS, &mut effects) {
                    Transition::None => "nothing".to_owned(),
                    Transition::Lead { epoch } => format!("lead in {epoch}"),
                    Transition::StillLeading => "still leading".to_owned(),
                    Transition::Follow { leader, epoch } => format!("follow {leader} in {epoch}"),
                    Transition::Stop => "stop".to_owned(),
                }
            })
            .collect();
        assert_eq!(said, outcome);
    }

    #[test]
    fn a_replica_leads_follows_and_stops_as_the_metadata_says() {
        check(
            &[(1, 0, 0), (2, 1, 1), (-1, 2, 2), (1, 3, 3)],
            &["lead in 0", "follow 2 in 1", "stop", "lead in 3"],
        );
    }

    #[test]
    fn a_change_of_the_isr_alone_keeps_the_leader_leading() {
        check(&[(1, 0, 0), (1, 0, 1)], &["lead in 0", "still leading"]);
    }

    #[test]
    fn a_repeated_or_stale_state_changes_nothing() {
        check(&[(2, 4, 7), (2, 4, 7), (1, 3, 6)], &["follow 2 in 4", "nothing", "nothing"]);
    }

    #[test]
    fn a_leader_re_elected_in_a_new_epoch_begins_anew() {
        check(&[(1, 0, 0), (1, 1, 1)], &["lead in 0", "lead in 1"]);
    }

    #[test]
    fn a_node_that_is_no_replica_stays_offline() {
        let mut replica = Replica::new(NodeId::new(9), Offset::ZERO);
        let mut effects = Vec::new();
        let said = replica.assign(Millis::new(0), &assignment(1, 0, 0), Offset::ZERO, OPTIONS, &mut effects);
        assert_eq!(said, Transition::Stop);
    }
}
