//! One partition: who holds it, who leads it, who is in sync, and how a record changes that.
//!
//! A million of these must fit: lists are boxed slices, and those that are empty in almost every
//! partition take a pointer each.

use model::{DirectoryId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId, Uuid};
use proto::metadata::{MetadataVersion, PartitionChangeRecord, PartitionRecord};

use crate::error::ReplayError;

/// A replica's directory in a cluster that did not keep it yet (before 3.7-IV2).
pub const DIRECTORY_MIGRATING: DirectoryId = Uuid::ZERO;
/// A replica's directory that its broker has not chosen yet.
pub const DIRECTORY_UNASSIGNED: DirectoryId = Uuid::from_u128(1);
/// A replica's directory that is offline.
pub const DIRECTORY_LOST: DirectoryId = Uuid::from_u128(2);

/// In a change record: the leader stays.
const NO_LEADER_CHANGE: i32 = -2;
/// In a record: there is no leader.
const NO_LEADER: i32 = -1;
/// In a change record: the recovery state stays.
const NO_RECOVERY_CHANGE: i8 = -1;

/// Whether a partition's leader may lack what was committed (KIP-704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    /// The leader has all of it.
    #[default]
    Recovered,
    /// The leader was elected uncleanly and has not made its log whole yet.
    Recovering,
}

impl LeaderRecoveryState {
    /// Kafka's number for it.
    pub const fn to_wire(self) -> i8 {
        match self {
            Self::Recovered => 0,
            Self::Recovering => 1,
        }
    }
}

/// A list of nodes that is almost always empty: 8 bytes then. Reads as a slice.
#[derive(Clone, Default, PartialEq, Eq)]
#[allow(clippy::box_collection, reason = "a boxed slice takes 16 bytes even when it is empty")]
pub struct FewNodes(Option<Box<Vec<NodeId>>>);

impl std::ops::Deref for FewNodes {
    type Target = [NodeId];

    fn deref(&self) -> &[NodeId] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl FromIterator<NodeId> for FewNodes {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let nodes: Vec<NodeId> = nodes.into_iter().collect();
        Self((!nodes.is_empty()).then(|| Box::new(nodes)))
    }
}

impl std::fmt::Debug for FewNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

/// A partition as the controller last set it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Who holds it, in preferred order.
    pub replicas: Box<[NodeId]>,
    /// The log directory of each replica, in the same order.
    pub directories: Box<[DirectoryId]>,
    /// Who has everything committed.
    pub isr: Box<[NodeId]>,
    /// Replicas that a reassignment takes away when it completes.
    pub removing: FewNodes,
    /// Replicas that a reassignment brings in.
    pub adding: FewNodes,
    /// Who has everything committed though not in sync any more (KIP-966).
    pub elr: FewNodes,
    /// Who led when the last eligible replica was lost (KIP-966).
    pub last_known_elr: FewNodes,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// Whether the leader may lack what was committed.
    pub leader_recovery_state: LeaderRecoveryState,
    /// Counts leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts changes.
    pub partition_epoch: PartitionEpoch,
}

impl Partition {
    /// The replica that leads when all is well.
    pub fn preferred_leader(&self) -> Option<NodeId> {
        self.replicas.first().copied()
    }

    /// Whether a reassignment is under way.
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The log directory of the replica on `broker`.
    pub fn directory(&self, broker: NodeId) -> Option<DirectoryId> {
        let position = self.replicas.iter().position(|replica| *replica == broker)?;
        self.directories.get(position).copied()
    }

    pub(crate) fn from_record(record: &PartitionRecord) -> Result<Self, ReplayError> {
        let place = Place::new("PartitionRecord", record.topic_id, record.partition_id);
        let recovery = place.recovery(record.leader_recovery_state)?;
        let partition = Self {
            replicas: nodes(&record.replicas),
            directories: filled(&record.directories, record.replicas.len()),
            isr: nodes(&record.isr),
            removing: nodes(&record.removing_replicas),
            adding: nodes(&record.adding_replicas),
            elr: nodes(record.eligible_leader_replicas.as_deref().unwrap_or(&[])),
            last_known_elr: nodes(record.last_known_elr.as_deref().unwrap_or(&[])),
            leader: place.leader(record.leader)?,
            leader_recovery_state: recovery,
            leader_epoch: LeaderEpoch::new(record.leader_epoch),
            partition_epoch: PartitionEpoch::new(record.partition_epoch),
        };
        place.check(partition)
    }

    /// The partition after a change: what the record leaves out stays. A record that names a leader
    /// begins an epoch of it, even of the same one.
    pub(crate) fn changed(&self, record: &PartitionChangeRecord) -> Result<Self, ReplayError> {
        let place = Place::new("PartitionChangeRecord", record.topic_id, record.partition_id);
        let mut next = self.clone();
        take(&mut next.replicas, record.replicas.as_ref());
        take(&mut next.isr, record.isr.as_ref());
        take(&mut next.removing, record.removing_replicas.as_ref());
        take(&mut next.adding, record.adding_replicas.as_ref());
        take(&mut next.elr, record.eligible_leader_replicas.as_ref());
        take(&mut next.last_known_elr, record.last_known_elr.as_ref());
        next.directories = match &record.directories {
            Some(directories) => filled(directories, next.replicas.len()),
            None => filled(&self.directories, next.replicas.len()),
        };
        if record.leader != NO_LEADER_CHANGE {
            next.leader = place.leader(record.leader)?;
            next.leader_epoch = LeaderEpoch::new(place.successor("leader epoch", self.leader_epoch.get())?);
        }
        if record.leader_recovery_state != NO_RECOVERY_CHANGE {
            next.leader_recovery_state = place.recovery(record.leader_recovery_state)?;
        }
        let epoch = place.successor("partition epoch", self.partition_epoch.get())?;
        next.partition_epoch = PartitionEpoch::new(epoch);
        place.check(next)
    }

    /// Whether it has replicas to elect from beyond the in-sync set, or remembers some.
    pub(crate) fn has_elr(&self) -> bool {
        !self.elr.is_empty() || !self.last_known_elr.is_empty()
    }

    /// The partition without them: one more change of it.
    pub(crate) fn without_elr(&self, topic: TopicId, index: PartitionIndex) -> Result<Self, ReplayError> {
        let place = Place::new("ClearElrRecord", topic, index.get());
        let epoch = place.successor("partition epoch", self.partition_epoch.get())?;
        let mut next = self.clone();
        next.elr = FewNodes::default();
        next.last_known_elr = FewNodes::default();
        next.partition_epoch = PartitionEpoch::new(epoch);
        Ok(next)
    }

    /// What `level` cannot say is left out.
    pub(crate) fn to_record(
        &self,
        topic_id: TopicId,
        partition: PartitionIndex,
        level: MetadataVersion,
    ) -> PartitionRecord {
        let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect::<Vec<_>>();
        let some = |nodes: &[NodeId]| (level.has_elr() && !nodes.is_empty()).then(|| numbers(nodes));
        PartitionRecord {
            partition_id: partition.get(),
            topic_id,
            replicas: numbers(&self.replicas),
            isr: numbers(&self.isr),
            removing_replicas: numbers(&self.removing),
            adding_replicas: numbers(&self.adding),
            leader: self.leader.map_or(NO_LEADER, NodeId::get),
            leader_recovery_state: self.leader_recovery_state.to_wire(),
            leader_epoch: self.leader_epoch.get(),
            partition_epoch: self.partition_epoch.get(),
            directories: if level.has_directories() { self.directories.to_vec() } else { Vec::new() },
            eligible_leader_replicas: some(&self.elr),
            last_known_elr: some(&self.last_known_elr),
        }
    }
}

/// Where a record is replayed, for its errors.
#[derive(Clone, Copy)]
struct Place {
    record: &'static str,
    topic: TopicId,
    partition: i32,
}

impl Place {
    fn new(record: &'static str, topic: TopicId, partition: i32) -> Self {
        Self { record, topic, partition }
    }

    fn invalid(self, what: &str, expected: impl ToString, got: impl ToString) -> ReplayError {
        let place = format!("{what} of partition {} of topic {}", self.partition, self.topic);
        ReplayError::invalid(self.record, place, expected, got)
    }

    fn leader(self, leader: i32) -> Result<Option<NodeId>, ReplayError> {
        match leader {
            NO_LEADER => Ok(None),
            0.. => Ok(Some(NodeId::new(leader))),
            _ => Err(self.invalid("leader", "a node or -1", leader)),
        }
    }

    fn recovery(self, state: i8) -> Result<LeaderRecoveryState, ReplayError> {
        match state {
            0 => Ok(LeaderRecoveryState::Recovered),
            1 => Ok(LeaderRecoveryState::Recovering),
            _ => Err(self.invalid("leader recovery state", "0 or 1", state)),
        }
    }

    fn successor(self, what: &str, epoch: i32) -> Result<i32, ReplayError> {
        epoch.checked_add(1).ok_or_else(|| self.invalid(what, "an epoch below 2147483647", epoch))
    }

    /// What must be true of every partition, whatever record made it.
    fn check(self, partition: Partition) -> Result<Partition, ReplayError> {
        let Partition { replicas, directories, isr, leader, .. } = &partition;
        let replicas_text = || format!("among replicas {}", text(replicas));
        if has_repetition(replicas) {
            return Err(self.invalid("replicas", "each node once", text(replicas)));
        }
        if let Some(leader) = leader.filter(|leader| !replicas.contains(leader)) {
            return Err(self.invalid("leader", replicas_text(), leader));
        }
        if !isr.iter().all(|node| replicas.contains(node)) || has_repetition(isr) {
            return Err(self.invalid("isr", replicas_text(), text(isr)));
        }
        if directories.len() != replicas.len() {
            let expected = format!("one for each of {} replicas", replicas.len());
            return Err(self.invalid("directories", expected, directories.len()));
        }
        Ok(partition)
    }
}

fn nodes<T: FromIterator<NodeId>>(ids: &[i32]) -> T {
    ids.iter().map(|id| NodeId::new(*id)).collect()
}

fn take<T: FromIterator<NodeId>>(field: &mut T, ids: Option<&Vec<i32>>) {
    if let Some(ids) = ids {
        *field = nodes(ids);
    }
}

/// Directories for `count` replicas: those given, or where none is known as many that say so.
fn filled(directories: &[DirectoryId], count: usize) -> Box<[DirectoryId]> {
    if directories.iter().all(|directory| *directory == DIRECTORY_MIGRATING) {
        return vec![DIRECTORY_MIGRATING; count].into();
    }
    directories.into()
}

pub(crate) fn has_repetition(nodes: &[NodeId]) -> bool {
    nodes.iter().enumerate().any(|(position, node)| nodes[..position].contains(node))
}

fn text(nodes: &[NodeId]) -> String {
    let ids: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    format!("[{}]", ids.join(", "))
}
