//! Compaction: the last record of each key stays, what it replaced goes (Kafka's log cleaner).
//!
//! ```text
//!  | cleaned before       | dirty: mapped now           | not yet: younger than the lag, |
//!  |                      |                             | undecided, or still growing    |
//!  ^ first segment        ^ first dirty offset          ^ first offset not to be cleaned
//! ```
//!
//! A pass reads the dirty part and remembers the last offset of each key. Then it writes
//! every segment below anew, without what a later record replaced, and swaps the new ones
//! in. It works on a picture of the log, a piece at a time and without holding it; only
//! the swaps need the log itself. It never changes an offset, nor the segment that grows.

mod filter;
mod offset_map;
mod pass;
mod reading;
mod transactions;
mod writing;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{Offset, ProducerId};

use crate::disk::Disk;
use crate::partition::{LogError, LogOptions};
use crate::producers::LastBatch;
use crate::transactions::Aborted;

pub use pass::{Cleaning, CleaningReport, Step};
pub use writing::Cleaned;

/// What a topic asks of its compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionRules {
    /// `min.compaction.lag.ms`: younger segments are left alone.
    pub lag_min: Duration,
    /// `max.compaction.lag.ms`: what is dirty for longer is cleaned however little it is; `None` for no limit.
    pub lag_max: Option<Duration>,
    /// `delete.retention.ms`: tombstones and markers stay so long once compaction has met them.
    pub tombstone_retention: Duration,
}

/// How much a pass may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleaningLimits {
    /// For the offsets of keys.
    pub map_bytes: usize,
    /// How full the map may become.
    pub load_factor: f64,
    /// As much is read in one step.
    pub step_bytes: usize,
}

/// What there is to clean in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// Where the dirty part begins.
    pub first_dirty: Offset,
    /// Where it ends: the base of the first segment that must wait.
    pub end: Offset,
    /// Bytes below the dirty part.
    pub clean_bytes: u64,
    /// Bytes in it.
    pub dirty_bytes: u64,
    /// It has been dirty for longer than `max.compaction.lag.ms`.
    pub is_overdue: bool,
}

impl Cleanable {
    /// The dirty part's share.
    pub fn dirty_ratio(&self) -> f64 {
        let total = self.clean_bytes + self.dirty_bytes;
        if total == 0 { 0.0 } else { self.dirty_bytes as f64 / total as f64 }
    }

    /// Whether it is worth a pass, given `min.cleanable.dirty.ratio`.
    pub fn is_due(&self, ratio_min: f64) -> bool {
        self.dirty_bytes > 0 && (self.is_overdue || self.dirty_ratio() > ratio_min)
    }
}

/// Why a pass ended early. What was swapped in before stays: it is right at any time.
#[derive(Debug, thiserror::Error)]
pub enum CleaningError {
    /// What stands in a segment is no batch. The rest of the log could not be written anew without it.
    #[error("{}, position {position}, behind offset {after}: {reason}", .path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        position: u32,
        /// The offset after the last sound batch.
        after: Offset,
        /// What is wrong.
        reason: String,
    },
    /// A segment cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The segment.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// A segment is not there any more.
    #[error("{} went away in the meantime", .0.display())]
    Gone(PathBuf),
    /// The disk is full; the log is as it was.
    #[error("no room for {}", .0.display())]
    Full(PathBuf),
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The disk refused a write or a sync.
    #[error("cannot write {}: {source}", .path.display())]
    Unwritable {
        /// The new file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl CleaningError {
    fn writing(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::StorageFull => Self::Full(path),
                // Its directory was renamed: the partition is being deleted.
                io::ErrorKind::NotFound => Self::Gone(path),
                _ => Self::Unwritable { path, source },
            }
        }
    }

    fn reading(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => Self::Gone(path),
                _ => Self::Unreadable { path, source },
            }
        }
    }
}

/// A segment to be cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub base: Offset,
    pub size: u32,
}

/// A log as it was when a pass began.
pub(crate) struct Picture {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub options: LogOptions,
    /// From the log's first to the last that is cleaned.
    pub segments: Vec<Source>,
    pub first_dirty: Offset,
    /// Where the last of them ends.
    pub end: Offset,
    /// How often the log had been cut.
    pub cuts: u64,
    /// The batches that tell where producers are stay, without records if need be.
    pub last_batches: BTreeMap<ProducerId, LastBatch>,
    pub aborted: Vec<Aborted>,
}
