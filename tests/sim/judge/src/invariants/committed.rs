//! What is committed is the same on every node, byte for byte, and stays so.
//!
//! A node's log below its own watermark is committed, whatever part the node has: it was
//! told so by a leader whose history it shares. So each batch there is compared with the
//! first copy that was seen of it, over all nodes and restarts, once for each process. The
//! logs of the in-sync set are equal up to the watermark because each equals that copy. A
//! log that was cut is compared again from the cut on; a restarted node's from its start.
//!
//! Of a compacted topic the records are compared instead of the batches: some may be
//! gone, those that are left are the same.
//!
//! For a lossy partition, and after that for what nobody was seen to have since, a batch of a later epoch replaces what was lost, and all are
//! compared with it anew. Two batches of one epoch at one offset are never excused, nor is
//! anything of the metadata log. The logs of a damaged node are left out.

use std::collections::{BTreeMap, BTreeSet};

use model::{LeaderEpoch, NodeId, Offset};
use wire::batch::BatchRef;

use super::{Bench, Rule};
use crate::view::{Key, Logs, NodeView};

/// As much of a batch's records is decompressed: clients here write little.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
/// Up to where base offset, length and leader epoch of a batch stand, and its last offset's delta.
const HEADER_BYTES: usize = 27;

/// A batch, in short; of a compacted topic, a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    base: i64,
    next: i64,
    epoch: LeaderEpoch,
    digest: u64,
}

/// The first copies of one log's batches, by base offset, and who was compared up to where.
#[derive(Debug, Default)]
struct Chain {
    batches: BTreeMap<i64, Batch>,
    /// Of those, the ones seen before a legal loss and on no node since: they may be gone.
    doubtful: BTreeSet<i64>,
    verified: BTreeMap<NodeId, i64>,
}

#[derive(Debug, Default)]
pub(super) struct Committed {
    partitions: BTreeMap<Key, Chain>,
    metadata: Chain,
    compared: u64,
    compacted: u64,
}

/// How a batch stands to the first copy.
enum Finding {
    New,
    Same,
    Other(Batch),
}

impl Committed {
    pub(super) fn compared(&self) -> u64 {
        self.compared
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(super) fn observe(&mut self, view: &NodeView, logs: &dyn Logs, bench: &mut Bench) {
        if bench.damaged.contains(&view.node) {
            return;
        }
        if let Some(log) = view.quorum.log.filter(|_| view.news.quorum) {
            let read = |from, upto| logs.metadata(from, upto);
            // Beside a snapshot that it does not reach, a log is what is left to be thrown away.
            let is_left = log.snapshot.is_some_and(|snapshot| snapshot > log.end);
            let upto = if is_left { log.start } else { view.quorum.committed };
            let extent = Extent { start: log.start, end: log.end, upto };
            let found = self.metadata.follow(view.node, extent, Kind::default(), read);
            self.compared += found.compared;
            if let Some(what) = found.broken {
                bench.break_of(Rule::MetadataAgrees, None, format!("the metadata log: {what}"));
            }
        }
        for key in &view.news.partitions {
            let seen = view.partitions.get(key);
            let Some((seen, log)) = seen.and_then(|seen| Some((seen, seen.log?))) else {
                if let Some(chain) = self.partitions.get_mut(key).filter(|_| seen.is_none()) {
                    chain.verified.remove(&view.node);
                }
                continue;
            };
            let read = |from, upto| logs.records(*key, from, upto);
            let extent = Extent { start: log.start, end: log.end, upto: seen.high_watermark };
            let chain = self.partitions.entry(*key).or_default();
            let kind = Kind { is_lossy: bench.is_lossy(*key), is_compacted: is_compacted(&seen.name) };
            let found = chain.follow(view.node, extent, kind, read);
            self.compared += found.compared;
            self.compacted += found.gone;
            if let Some(what) = found.broken {
                bench.break_of(Rule::LogsAgree, Some(*key), format!("{}: {what}", seen.name));
            }
        }
    }

    /// A time ended in which records of this partition may have been lost legally.
    pub(super) fn loss_ended(&mut self, key: Key) {
        if let Some(chain) = self.partitions.get_mut(&key) {
            chain.doubtful = chain.batches.keys().copied().collect();
        }
    }

    pub(super) fn restarted(&mut self, node: NodeId) {
        self.metadata.verified.remove(&node);
        for chain in self.partitions.values_mut() {
            chain.verified.remove(&node);
        }
    }
}

/// What there is of a node's log, and how much of it is committed.
#[derive(Clone, Copy)]
struct Extent {
    start: Offset,
    end: Offset,
    upto: Offset,
}

/// What is expected of a log.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    is_lossy: bool,
    is_compacted: bool,
}

/// What a comparison found.
#[derive(Debug, Default)]
struct Found {
    /// Pieces that had been seen on another occasion.
    compared: u64,
    /// Records that had been seen, and were compacted away here.
    gone: u64,
    /// What differs.
    broken: Option<String>,
}

impl Chain {
    /// Compares what is committed since the last time.
    fn follow(
        &mut self,
        node: NodeId,
        extent: Extent,
        kind: Kind,
        read: impl Fn(Offset, Offset) -> Option<Vec<u8>>,
    ) -> Found {
        let end = extent.end.get();
        let upto = extent.upto.get().min(end);
        let known = self.verified.get(&node).copied().unwrap_or(0);
        let mut from = known.min(end).max(extent.start.get());
        let mut found = Found::default();
        while from < upto && found.broken.is_none() {
            let bytes = read(Offset::new(from), Offset::new(upto)).unwrap_or_default();
            let before = from;
            for (batch, bytes) in batches_of(&bytes).filter(|(batch, _)| batch.next <= upto) {
                if kind.is_compacted {
                    found.gone += self.batches.range(from..batch.base.max(from)).count() as u64;
                }
                self.compare(batch, bytes, kind, &mut found);
                if found.broken.is_some() {
                    break;
                }
                from = batch.next.max(from);
            }
            if from == before {
                break;
            }
        }
        self.verified.insert(node, from);
        found
    }

    /// Compares one batch, or each of its records.
    fn compare(&mut self, batch: Batch, bytes: &[u8], kind: Kind, found: &mut Found) {
        let pieces = match kind.is_compacted {
            true => match records_of(batch, bytes) {
                Ok(records) => records,
                Err(what) => return found.broken = Some(what),
            },
            false => vec![batch],
        };
        if kind.is_compacted {
            let known = self.batches.range(batch.base..batch.next).count();
            found.gone += known.saturating_sub(pieces.len()) as u64;
        }
        for piece in pieces {
            match self.take(piece, kind.is_lossy) {
                Finding::New => {}
                Finding::Same => found.compared += 1,
                Finding::Other(first) => return found.broken = Some(told(&piece, &first)),
            }
        }
    }

    fn take(&mut self, batch: Batch, lossy: bool) -> Finding {
        let before = self.batches.range(..batch.next).next_back().map(|(_, before)| *before);
        match before {
            Some(first) if first == batch => {
                self.doubtful.remove(&first.base);
                Finding::Same
            }
            Some(first) if first.next > batch.base => {
                let lossy = lossy || self.doubtful.contains(&first.base);
                if lossy && batch.epoch > first.epoch {
                    self.replace(batch);
                    Finding::New
                } else if lossy && batch.epoch < first.epoch {
                    // The old copy of what was replaced; its node has yet to cut it off.
                    Finding::New
                } else {
                    Finding::Other(first)
                }
            }
            _ => {
                self.batches.insert(batch.base, batch);
                Finding::New
            }
        }
    }

    fn replace(&mut self, batch: Batch) {
        self.batches.retain(|_, known| known.next <= batch.base);
        self.batches.insert(batch.base, batch);
        for verified in self.verified.values_mut() {
            *verified = batch.base.min(*verified);
        }
    }
}

fn told(batch: &Batch, first: &Batch) -> String {
    let say = |batch: &Batch| {
        let Batch { base, next, epoch, digest } = batch;
        format!("offsets {base} to {} of epoch {epoch} ({digest:016x})", next - 1)
    };
    format!("holds {} as committed where {} was committed before", say(batch), say(first))
}

/// The topics of coordinators are compacted; whether they are in fact depends on the seed.
fn is_compacted(name: &str) -> bool {
    name.starts_with("__")
}

/// The whole batches that `bytes` hold, and their bytes.
fn batches_of(bytes: &[u8]) -> impl Iterator<Item = (Batch, &[u8])> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header: &[u8; HEADER_BYTES] = rest.first_chunk()?;
        let number = |at: usize| header[at..].first_chunk::<4>().map(|four| i32::from_be_bytes(*four));
        let base = i64::from_be_bytes(*header.first_chunk()?);
        let length = usize::try_from(number(8)?).ok()?.checked_add(12)?;
        let whole = rest.get(..length)?;
        rest = &rest[length..];
        let next = base.checked_add(i64::from(number(23)?))?.checked_add(1)?;
        Some((Batch { base, next, epoch: LeaderEpoch::new(number(12)?), digest: fnv(whole) }, whole))
    })
}

/// A batch's records, each as if it were one: a pass of the cleaner writes them into another batch.
fn records_of(batch: Batch, bytes: &[u8]) -> Result<Vec<Batch>, String> {
    let unreadable = |why: String| format!("the batch at {} cannot be read: {why}", batch.base);
    let parsed = BatchRef::parse(bytes).map_err(|error| unreadable(error.to_string()))?;
    let records = parsed.records(DECOMPRESSED_BYTES_MAX).map_err(|error| unreadable(error.to_string()))?;
    let each = records.iter().map(|record| {
        let record = record.map_err(|error| unreadable(error.to_string()))?;
        let base = record.offset.get();
        let said = format!("{} {:?} {:?}", record.timestamp.get(), record.key, record.value);
        Ok(Batch { base, next: base + 1, digest: fnv(said.as_bytes()), ..batch })
    });
    each.collect()
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
