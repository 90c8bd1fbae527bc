//! What is committed is the same on every node, byte for byte, and stays so.
//!
//! A node's log below its own watermark is committed, whatever part the node has: it was
//! told so by a leader whose history it shares. So each batch there is compared with the
//! first copy that was seen of it, over all nodes and restarts, once for each process. The
//! logs of the in-sync set are equal up to the watermark because each equals that copy. A
//! log that was cut is compared again from the cut on; a restarted node's from its start.
//!
//! For a lossy partition, and after that for what nobody was seen to have since, a batch of a later epoch replaces what was lost, and all are
//! compared with it anew. Two batches of one epoch at one offset are never excused, nor is
//! anything of the metadata log. The logs of a damaged node are left out.

use std::collections::{BTreeMap, BTreeSet};

use model::{LeaderEpoch, NodeId, Offset};

use super::{Bench, Rule};
use crate::view::{Key, Logs, NodeView};

/// Up to where base offset, length and leader epoch of a batch stand, and its last offset's delta.
const HEADER_BYTES: usize = 27;

/// A batch, in short.
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
            let (compared, broken) = self.metadata.follow(view.node, extent, false, read);
            self.compared += compared;
            if let Some(what) = broken {
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
            let (compared, broken) = chain.follow(view.node, extent, bench.is_lossy(*key), read);
            self.compared += compared;
            if let Some(what) = broken {
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

impl Chain {
    /// Compares what is committed since the last time. Answers how many batches had been seen on another
    /// occasion, and what differs.
    fn follow(
        &mut self,
        node: NodeId,
        extent: Extent,
        lossy: bool,
        read: impl Fn(Offset, Offset) -> Option<Vec<u8>>,
    ) -> (u64, Option<String>) {
        let end = extent.end.get();
        let upto = extent.upto.get().min(end);
        let known = self.verified.get(&node).copied().unwrap_or(0);
        let mut from = known.min(end).max(extent.start.get());
        let (mut compared, mut broken) = (0, None);
        while from < upto && broken.is_none() {
            let bytes = read(Offset::new(from), Offset::new(upto)).unwrap_or_default();
            let before = from;
            for batch in batches_of(&bytes).filter(|batch| batch.next <= upto) {
                match self.take(batch, lossy) {
                    Finding::New => {}
                    Finding::Same => compared += 1,
                    Finding::Other(first) => {
                        broken = Some(told(&batch, &first));
                        break;
                    }
                }
                from = batch.next.max(from);
            }
            if from == before {
                break;
            }
        }
        self.verified.insert(node, from);
        (compared, broken)
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

/// The whole batches that `bytes` hold.
fn batches_of(bytes: &[u8]) -> impl Iterator<Item = Batch> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header: &[u8; HEADER_BYTES] = rest.first_chunk()?;
        let number = |at: usize| header[at..].first_chunk::<4>().map(|four| i32::from_be_bytes(*four));
        let base = i64::from_be_bytes(*header.first_chunk()?);
        let length = usize::try_from(number(8)?).ok()?.checked_add(12)?;
        let whole = rest.get(..length)?;
        rest = &rest[length..];
        let next = base.checked_add(i64::from(number(23)?))?.checked_add(1)?;
        Some(Batch { base, next, epoch: LeaderEpoch::new(number(12)?), digest: fnv(whole) })
    })
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
