//! The partitions of this node as they are at this moment, for metrics and checks.
//!
//! A plain picture of what is in memory, without IO. It is meant to be taken often: a
//! picture that is taken again reads only the partitions whose version grew, and
//! allocates only when partitions came or went.

use std::io;
use std::sync::{Arc, Weak};

use log::Log;
use model::{LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicPartition};
use replica::{Replica, Role};

use super::Data;
use super::partition::{Key, Partition, State};

/// This node's part in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It leads.
    Leader,
    /// It copies that node's log.
    Follower(NodeId),
    /// Nobody leads, or its log cannot be used.
    Offline,
}

/// A partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogInspection {
    /// The first offset that can be read.
    pub start: Offset,
    /// The next offset.
    pub end: Offset,
    /// Everything below survives a power cut.
    pub recovery_point: Offset,
    /// The epoch of the newest record, or of the newest leader that has begun.
    pub last_epoch: Option<LeaderEpoch>,
    /// Files that its batches lie in.
    pub segments: usize,
}

/// One partition on this node.
#[derive(Clone, Debug)]
pub struct PartitionInspection {
    /// The topic's id and the partition's number.
    pub key: Key,
    /// The topic's name and the partition's number.
    pub name: TopicPartition,
    /// This node's part.
    pub part: Part,
    /// The newest leader epoch it knows.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The newest partition epoch it knows.
    pub partition_epoch: Option<PartitionEpoch>,
    /// The committed in-sync set as a leader believes it to be; empty elsewhere.
    pub isr: Vec<NodeId>,
    /// `min.insync.replicas` in force, before it is cut to the number of replicas.
    pub min_isr: usize,
    /// Everything below is committed, as far as this node knows.
    pub high_watermark: Offset,
    /// Its log; `None` when it cannot be used.
    pub log: Option<LogInspection>,
    /// Which partition was looked at, and in which version.
    source: Weak<Partition>,
    version: u64,
}

impl PartitionInspection {
    fn of(partition: &Arc<Partition>) -> Self {
        let mut this = Self {
            key: partition.key,
            name: partition.name.clone(),
            part: Part::Offline,
            leader_epoch: None,
            partition_epoch: None,
            isr: Vec::new(),
            min_isr: 0,
            high_watermark: Offset::ZERO,
            log: None,
            source: Arc::downgrade(partition),
            version: 0,
        };
        this.take(partition);
        this
    }

    /// Whether it shows `partition`. The weak reference keeps the address from being used again.
    fn is_of(&self, partition: &Arc<Partition>) -> bool {
        std::ptr::eq(self.source.as_ptr(), Arc::as_ptr(partition))
    }

    fn take(&mut self, partition: &Partition) {
        // Read first: what changes after it is seen the next time.
        self.version = partition.version();
        let State { log, replica, settings, .. } = &*partition.look();
        self.leader_epoch = replica.leader_epoch();
        self.partition_epoch = replica.partition_epoch();
        self.min_isr = settings.leader.min_isr;
        self.high_watermark = replica.high_watermark();
        self.log = log.as_ref().map(log_of);
        self.take_part(replica);
    }

    fn take_part(&mut self, replica: &Replica) {
        self.isr.clear();
        self.part = match replica.role() {
            Role::Leader(leader) => {
                self.isr.extend(leader.isr());
                Part::Leader
            }
            Role::Follower(follower) => Part::Follower(follower.leader()),
            Role::Offline => Part::Offline,
        };
    }
}

fn log_of(log: &Log) -> LogInspection {
    LogInspection {
        start: log.start(),
        end: log.end(),
        recovery_point: log.recovery_point(),
        last_epoch: log.last_epoch(),
        segments: log.segment_count(),
    }
}

impl Data {
    /// Brings `known`, which is in the order of the keys, up to date, and appends to `changed` the places
    /// in it that were read anew. Answers whether partitions came or went; then all were read.
    pub(crate) fn inspect_into(
        &self,
        known: &mut Vec<PartitionInspection>,
        changed: &mut Vec<usize>,
    ) -> bool {
        let mut place = 0;
        let mut moved = false;
        self.plane.for_each(|partition| {
            match known.get_mut(place) {
                Some(seen) if !moved && seen.is_of(partition) => {
                    if seen.version != partition.version() {
                        seen.take(partition);
                        changed.push(place);
                    }
                }
                _ => moved = true,
            }
            place += 1;
        });
        if moved || place != known.len() {
            moved = true;
            known.clear();
            self.plane.for_each(|partition| known.push(PartitionInspection::of(partition)));
            changed.clear();
            changed.extend(0..known.len());
        }
        moved
    }

    /// Whether the logs were closed in order before this start.
    pub(crate) fn was_clean(&self) -> bool {
        self.plane.options.was_clean
    }

    /// Whole batches of a partition's log, committed or not, from the one that holds `from` up to `upto`,
    /// within `bytes_max` but at least one. Empty when there is nothing between the two.
    pub(crate) fn read_log(
        &self,
        key: Key,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
    ) -> io::Result<Vec<u8>> {
        let not_here = || io::Error::new(io::ErrorKind::NotFound, "the partition is not on this node");
        let partition = self.plane.partition(key).ok_or_else(not_here)?;
        let slice = {
            let mut state = partition.look();
            let log = state.log.as_mut().ok_or_else(not_here)?;
            log.read(from, bytes_max, upto, true).map_err(io::Error::other)?
        };
        slice.map_or(Ok(Vec::new()), |slice| slice.read())
    }
}
