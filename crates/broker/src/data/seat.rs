//! A partition that this node leads, for the coordinators within the broker.
//!
//! They append to it, read it from its beginning and wait for its high watermark, all
//! in one leader epoch: a seat of an epoch that is over refuses everything, so that
//! what a deposed coordinator decides goes nowhere.
//!
//! Nothing here waits but [`Seat::sync`], [`Seat::read`] and [`Seat::enter`].

use std::sync::Arc;

use log::producers::{Origin, TransactionEnd, Verification};
use log::{AppendError, Appended, Log};
use metadata::Image;
use model::{ErrorCode, LeaderEpoch, Millis, Offset, PartitionIndex, Timestamp, TopicId, TopicPartition};
use net::Blocking;
use replica::Role;

use crate::data::durability;
use crate::data::partition::{self, Partition, Refused, State, Unwritten};
use crate::data::plane::Plane;
use crate::data::verify::{self, Entering};
use crate::data::waiters::{Awaits, Waiter};

/// A partition's leader's office, for as long as the epoch lasts.
#[derive(Clone)]
pub struct Seat {
    plane: Arc<Plane>,
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    /// Hears of all progress but what the holder of the seat makes.
    waiter: Option<Arc<Waiter>>,
}

/// How far a log reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its first offset.
    pub start: Offset,
    /// Everything below is committed.
    pub high_watermark: Offset,
    /// The next offset to be appended.
    pub end: Offset,
}

/// What came of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The offset of the last record.
    pub last: Offset,
    /// Everything below is committed.
    pub high_watermark: Offset,
    /// `flush.messages` asks for a sync now.
    pub sync_is_due: bool,
}

/// Why a seat did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// The epoch is over, or the log is lost.
    #[error("this broker does not lead the partition any more: {0}")]
    Deposed(Refused),
    /// Fewer replicas in sync than `min.insync.replicas`.
    #[error(transparent)]
    Replicas(replica::WriteRefused),
    /// More than `max.message.bytes`.
    #[error("{size} bytes of records, max.message.bytes of the topic allows {allowed}")]
    TooLarge {
        /// The batch's size.
        size: usize,
        /// The bound.
        allowed: usize,
    },
    /// The log refused, or cannot be read.
    #[error(transparent)]
    Log(AppendError),
}

impl SeatError {
    /// What the sender of a marker is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Deposed(_) => ErrorCode::NotLeaderOrFollower,
            Self::Replicas(refused) => refused.code(),
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Log(error) => error.code(),
        }
    }
}

impl Seat {
    /// Those of `topic` that this node has now.
    pub(super) fn all_of(plane: &Arc<Plane>, topic: TopicId) -> Vec<Self> {
        let led = plane.partitions_of(topic).into_iter().filter_map(|partition| {
            let epoch = match partition.look().replica.role() {
                Role::Leader(leader) => leader.leader_epoch(),
                _ => return None,
            };
            Some(Self { plane: plane.clone(), partition, epoch, waiter: None })
        });
        led.collect()
    }

    /// The partition's number.
    pub fn index(&self) -> PartitionIndex {
        self.partition.key.1
    }

    /// Its topic's name and its number.
    pub fn name(&self) -> &TopicPartition {
        &self.partition.name
    }

    /// The epoch it lasts.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Whether it is the same office.
    pub fn is(&self, other: &Self) -> bool {
        self.partition.key == other.partition.key && self.epoch == other.epoch
    }

    /// What time it is, on both clocks.
    pub fn now(&self) -> (Millis, Timestamp) {
        (self.plane.options.clock.now(), self.plane.options.clock.wall())
    }

    /// Where work runs that waits for a disk.
    pub fn blocking(&self) -> &Blocking {
        &self.plane.options.blocking
    }

    /// How far the log reaches; `None` when the epoch is over.
    pub fn extent(&self) -> Option<Extent> {
        let state = self.partition.look();
        let (Role::Leader(leader), Some(log)) = (state.replica.role(), &state.log) else { return None };
        let extent = Extent { start: log.start(), high_watermark: leader.high_watermark(), end: log.end() };
        (leader.leader_epoch() == self.epoch).then_some(extent)
    }

    /// Appends one batch, for which as many replicas are asked as for `acks=all`; as part of its
    /// producer's transaction if [`Seat::enter`] said so.
    pub fn append(&self, batch: Vec<u8>, entered: Option<Verification>) -> Result<Placed, SeatError> {
        let (_, wall) = self.now();
        let rules = self.partition.look().settings.rules(wall);
        let (size, allowed) = (batch.len(), rules.batch.batch_bytes_max);
        let origin = entered.map_or(Origin::Client(Verification::Needed(None)), Origin::Coordinator);
        self.write(false, |log, epoch| log.append_from(origin, &batch, epoch, wall, &rules))
            .map_err(|unwritten| self.refused(unwritten, size, allowed))
    }

    /// Appends the end of a transaction.
    pub fn end_transaction(&self, end: &TransactionEnd) -> Result<Placed, SeatError> {
        let (_, wall) = self.now();
        self.write(true, |log, epoch| log.append_end(end, epoch, wall))
            .map_err(|unwritten| self.refused(unwritten, 0, usize::MAX))
    }

    /// Asks whether offsets may become part of a producer's transaction here, once its coordinator was
    /// asked where that has to be. Give what it says to [`Seat::append`].
    pub async fn enter(&self, image: &Image, entering: Entering) -> Result<Verification, ErrorCode> {
        verify::enter(&self.plane, image, &self.partition, self.epoch, entering).await
    }

    fn write(
        &self,
        is_end: bool,
        write: impl FnOnce(&mut Log, LeaderEpoch) -> Result<Appended, AppendError>,
    ) -> Result<Placed, Unwritten> {
        let (now, _) = self.now();
        let mut state = self.partition.lock();
        let (appended, outcome) = match state.append_with(now, Some(self.epoch), true, write) {
            Ok((appended, _, outcome)) => (appended, outcome),
            Err(unwritten) => {
                drop(state);
                self.partition.waiters.wake();
                return Err(unwritten);
            }
        };
        let high_watermark = match state.replica.role() {
            Role::Leader(leader) => leader.high_watermark(),
            _ => Offset::ZERO,
        };
        let sync_is_due = state.is_sync_due();
        drop(state);
        // Followers wait for what was appended, and readers of what is committed for the end of a transaction.
        let outcome = partition::Outcome { wake: outcome.wake || is_end, has_grown: true, ..outcome };
        self.plane.carry_out_for(&self.partition, outcome, self.waiter.as_ref());
        Ok(Placed { last: appended.last, high_watermark, sync_is_due })
    }

    /// Whole batches from the one that holds `from` on, about as many bytes as asked for, one batch at
    /// least; none at the log's end.
    pub async fn read(&self, from: Offset, bytes_max: usize) -> Result<Option<Vec<u8>>, SeatError> {
        let this = self.clone();
        self.blocking().run(move || this.read_now(from, bytes_max)).await
    }

    fn read_now(&self, from: Offset, bytes_max: usize) -> Result<Option<Vec<u8>>, SeatError> {
        let slice = {
            let mut state = self.partition.lock();
            state.used_at = Some(self.plane.options.clock.now());
            let (log, _) = state.lead_in(Some(self.epoch)).map_err(SeatError::Deposed)?;
            let end = log.end();
            log.read(from, bytes_max, end, true).map_err(|error| SeatError::Log(error.into()))?
        };
        let Some(slice) = slice else { return Ok(None) };
        slice.read().map(Some).map_err(|source| {
            let path = self.partition.name.to_string().into();
            SeatError::Log(log::LogError::Io { doing: "read", path, source }.into())
        })
    }

    /// A waiter that is woken whenever the partition moves on without this seat's doing: what an append through it
    /// commits at once is in its outcome.
    pub fn subscribe(&mut self) -> Arc<Waiter> {
        let waiter = Waiter::new();
        self.partition.waiters.subscribe(&waiter, Awaits::Commits);
        self.waiter = Some(waiter.clone());
        waiter
    }

    /// Returns when all that is appended survives a power cut, or when it never will.
    pub async fn sync(&self) {
        let Some(extent) = self.extent() else { return };
        if let Err(error) = durability::sync_to(&self.plane, &self.partition, extent.end).await {
            tracing::error!(partition = %self.partition.name, %error, "a coordinator's records were not synced");
        }
    }

    fn refused(&self, unwritten: Unwritten, size: usize, allowed: usize) -> SeatError {
        match unwritten {
            Unwritten::Partition(refused) => SeatError::Deposed(refused),
            Unwritten::Replicas(refused) => SeatError::Replicas(refused),
            Unwritten::Append(_) if size > allowed => SeatError::TooLarge { size, allowed },
            // Its producer's affair.
            Unwritten::Append(error @ AppendError::Producer(_)) => SeatError::Log(error),
            Unwritten::Append(error) => {
                tracing::error!(partition = %self.partition.name, %error, "a coordinator's records were not written");
                SeatError::Log(error)
            }
        }
    }
}

impl State {
    /// Whether as many records wait for a sync as `flush.messages` bears.
    pub(super) fn is_sync_due(&self) -> bool {
        self.settings.flush_records().is_some_and(|most| self.unsynced_records() >= most)
    }
}
