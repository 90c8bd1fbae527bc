//! What is left of one batch: all of it, some records, a header, or nothing.
//!
//! The rules are Kafka's. A record goes when its key has a later one; a tombstone when its
//! delete horizon (KIP-534) has passed, too; a record of an aborted transaction at once. A
//! batch that says where its producer is, or where its segment ends, stays without records.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Mutant, Offset, ProducerId, Timestamp};
use wire::batch::{BatchHeader, BatchRef, Record, emptied};

use crate::cleaner::offset_map::OffsetMap;
use crate::cleaner::transactions::Transactions;
use crate::producers::LastBatch;

/// Records of one batch may decompress to as much, as when it was produced.
pub(super) const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// Decides about batches.
pub(super) struct Filter<'a> {
    pub(super) map: &'a OffsetMap,
    pub(super) last_batches: &'a BTreeMap<ProducerId, LastBatch>,
    pub(super) now: Timestamp,
    pub(super) tombstone_retention: Duration,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it was.
    Kept,
    /// Written anew, with fewer records or a delete horizon.
    Changed,
    /// Nothing is left.
    Gone,
}

/// A batch that was read, and what was found out about it.
struct Examined {
    /// By the records' places.
    kept: Vec<bool>,
    has_tombstones: bool,
}

impl Filter<'_> {
    /// Appends what is left of `batch` to `out`. With `is_last` it is its segment's end, which stays.
    pub(super) fn pass(
        &self,
        batch: &BatchRef<'_>,
        transactions: &mut Transactions,
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<Verdict, String> {
        let header = &batch.header;
        let horizon = header.has_delete_horizon().then_some(header.base_timestamp);
        let is_idle_marker = header.is_control() && transactions.is_idle(batch);
        let is_unwanted = match header.is_control() {
            true => is_idle_marker && horizon.is_some_and(|horizon| horizon <= self.now),
            false => transactions.is_aborted(header),
        };
        if is_unwanted || header.count == 0 {
            return Ok(self.empty(header, is_last, out));
        }
        let records = batch.records(DECOMPRESSED_BYTES_MAX).map_err(|error| error.to_string())?;
        let mut examined = Examined { kept: Vec::new(), has_tombstones: false };
        for record in records.iter() {
            let record = record.map_err(|error| error.to_string())?;
            let stays = header.is_control() || self.keeps(header, &record, horizon);
            examined.has_tombstones |= stays && record.value.is_none();
            examined.kept.push(stays);
        }
        if !examined.kept.contains(&true) {
            return Ok(self.empty(header, is_last, out));
        }
        let sets_horizon = (examined.has_tombstones || is_idle_marker) && horizon.is_none();
        if !examined.kept.contains(&false) && !sets_horizon {
            out.extend_from_slice(batch.bytes());
            return Ok(Verdict::Kept);
        }
        let retention = i64::try_from(self.tombstone_retention.as_millis()).unwrap_or(i64::MAX);
        let from_now = Timestamp::new(self.now.get().saturating_add(retention));
        let horizon = if sets_horizon { Some(from_now) } else { horizon };
        records.retain(&examined.kept, horizon, out).map_err(|error| error.to_string())?;
        Ok(Verdict::Changed)
    }

    /// Whether a record is the last of its key, and no tombstone whose time has come.
    fn keeps(&self, header: &BatchHeader, record: &Record<'_>, horizon: Option<Timestamp>) -> bool {
        let offset = placed(header, record);
        if Some(offset) > self.map.latest() {
            return true;
        }
        // Such a record was written before the topic was compacted; Kafka drops it too.
        let Some(key) = record.key else { return false };
        let is_latest = self.map.get(key).is_none_or(|latest| match Mutant::LatestCompacted.is_planted() {
            true => offset != latest,
            false => offset >= latest,
        });
        is_latest && (record.value.is_some() || horizon.is_none_or(|horizon| self.now < horizon))
    }

    /// Leaves the header of a batch that is needed for it, or nothing.
    fn empty(&self, header: &BatchHeader, is_last: bool, out: &mut Vec<u8>) -> Verdict {
        if !is_last && !self.is_last_of_producer(header) {
            return Verdict::Gone;
        }
        emptied(header, out);
        if header.count == 0 { Verdict::Kept } else { Verdict::Changed }
    }

    /// Whether a producer's sequence, or of its markers the epoch, is known from this batch.
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let Some(producer) = header.producer() else { return false };
        match self.last_batches.get(&producer.id) {
            None => false,
            Some(LastBatch { offset: Some(offset), .. }) => header.last_offset() == *offset,
            Some(LastBatch { offset: None, epoch }) => header.is_control() && producer.epoch == *epoch,
        }
    }
}

/// The offset of a record. In an uncompressed batch a producer may have written any number.
pub(super) fn placed(header: &BatchHeader, record: &Record<'_>) -> Offset {
    record.offset.clamp(header.base_offset, header.last_offset())
}
