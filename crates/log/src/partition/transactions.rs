//! Transactions in a log: how far it is stable, what was aborted, and how they end.
//!
//! A transaction index is believed once its entries were held against the log. Where
//! one does not hold, it is built anew from the batches and the producers' state at the
//! segment's beginning.

use std::sync::Arc;

use model::{Offset, Timestamp};
use wire::batch::{BatchHeader, BatchRef, EndMarker};

use crate::disk::{DiskFile, OpenMode, read_file};
use crate::partition::append::Appended;
use crate::partition::cut::SNAPSHOT_SUFFIX;
use crate::partition::open::SNAPSHOT_BYTES_MAX;
use crate::partition::read::FileSlice;
use crate::partition::{AppendError, Log, LogError};
use crate::producers::{Completed, Entrant, Guard, ProducerError, Producers, TransactionEnd};
use crate::segment::{Placed, Segment, file_name};
use crate::transactions::{Aborted, AbortedIndex, Persisted};

impl Log {
    /// How far readers of committed data may go while all below `high_watermark` is committed: to the
    /// first record of a transaction that is open, or whose end may be lost again.
    pub fn last_stable(&mut self, high_watermark: Offset) -> Offset {
        let unstable = self.producers.first_unstable(high_watermark);
        unstable.map_or(high_watermark, |first| first.max(self.start).min(high_watermark))
    }

    /// Whether a batch may open a transaction here only after its coordinator was asked: then the
    /// guard that it must be appended under.
    pub fn begin_verification(
        &mut self,
        entrant: &Entrant,
        now: Timestamp,
    ) -> Result<Option<Guard>, ProducerError> {
        let needed = self.producers.needs_verification(entrant)?;
        Ok(needed.then(|| self.verifications.begin(entrant, now)))
    }

    /// Ends a transaction: appends the marker that its coordinator sends, whether there is one open here
    /// or not.
    pub fn append_end(
        &mut self,
        end: &TransactionEnd,
        epoch: model::LeaderEpoch,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        self.check_sound()?;
        self.producers.judge_end(end)?;
        let first = self.end;
        let marker = EndMarker { commit: end.commit, coordinator_epoch: end.coordinator_epoch };
        let batch = marker.batch(end.producer, end.epoch, now, (first, epoch));
        let header = BatchHeader::parse(&batch)?;
        self.write(&[], &batch, &[header], now)?;
        self.check();
        Ok(Appended { first, last: first, log_append_time: None, is_duplicate: false })
    }

    /// As [`Log::read`], with what was aborted of it: at least that, and possibly some that lies behind.
    pub fn read_stable(
        &mut self,
        from: Offset,
        max_bytes: usize,
        upper: Offset,
        at_least_one: bool,
    ) -> Result<Option<(FileSlice, Vec<Aborted>)>, LogError> {
        let Some((index, slice)) = self.locate(from, max_bytes, upper, at_least_one)? else {
            return Ok(None);
        };
        let segment = &self.segments[index];
        let position = u32::try_from(slice.position + slice.len as u64).unwrap_or(u32::MAX);
        let segment_end = self.segments.get(index + 1).map_or(self.end, |next| next.base);
        let end = segment.ceiling_of_position(position).map_or(segment_end, |offset| offset.min(segment_end));
        let aborted = self.aborted_between(from, end.min(upper))?;
        Ok(Some((slice, aborted)))
    }

    /// The transactions with records between `from` and `upper` that were aborted, by their markers.
    pub fn aborted_between(&mut self, from: Offset, upper: Offset) -> Result<Vec<Aborted>, LogError> {
        let mut found = Vec::new();
        for index in self.segment_index(from)..self.segments.len() {
            self.load_aborted(index)?;
            found.extend(self.segments[index].aborted.between(from, upper));
        }
        Ok(found)
    }

    /// A batch is in the log now, the last of segment `index`.
    pub(super) fn note_producer(
        &mut self,
        index: usize,
        header: &BatchHeader,
        marker: Option<EndMarker>,
    ) -> Result<(), LogError> {
        self.verifications.note(header);
        if let Some(aborted) = self.producers.note(header, marker).as_ref().and_then(Aborted::of) {
            self.load_aborted(index)?;
            self.segments[index].aborted.push(aborted);
        }
        Ok(())
    }

    /// Reads the transaction index of segment `index`, and builds it anew if it does not hold.
    pub(super) fn load_aborted(&mut self, index: usize) -> Result<(), LogError> {
        if self.segments[index].aborted.is_loaded() {
            return Ok(());
        }
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        let segment = &mut self.segments[index];
        let path = segment.transaction_index_path(&dir);
        let is_whole = segment
            .aborted
            .load(disk.as_ref(), &path, segment.base)
            .map_err(LogError::io("read the index of", &path))?;
        let is_trusted = self.segments[index].is_aborted_checked;
        if is_whole && (is_trusted || self.holds(index)?) {
            self.segments[index].is_aborted_checked = true;
            return Ok(());
        }
        self.rebuild_aborted(index)
    }

    /// Whether each entry names a transaction of its producer and the marker that aborted it.
    fn holds(&mut self, index: usize) -> Result<bool, LogError> {
        for entry in self.segments[index].aborted.entries().to_vec() {
            let is_end = |header: &BatchHeader, marker: Option<EndMarker>| {
                header.producer_id == entry.producer.get() && marker.is_some_and(|marker| !marker.commit)
            };
            let is_begin = |header: &BatchHeader, _: Option<EndMarker>| {
                header.producer_id == entry.producer.get()
                    && header.is_transactional()
                    && !header.is_control()
            };
            // What lay before the log's first segment can be seen no more.
            let is_gone = entry.first < self.segments[0].base;
            if !self.stands(entry.last, is_end)? || !(is_gone || self.stands(entry.first, is_begin)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a batch that is as `wanted` begins at `offset`.
    fn stands(
        &mut self,
        offset: Offset,
        wanted: impl Fn(&BatchHeader, Option<EndMarker>) -> bool,
    ) -> Result<bool, LogError> {
        if offset >= self.end {
            return Ok(false);
        }
        let index = self.segment_index(offset);
        match self.find(index, offset)?.0 {
            Some(placed) if placed.header.base_offset == offset => {
                let marker = self.marker_of(index, &placed)?;
                Ok(wanted(&placed.header, marker))
            }
            _ => Ok(false),
        }
    }

    /// Builds the transaction index of segment `index` anew.
    fn rebuild_aborted(&mut self, index: usize) -> Result<(), LogError> {
        self.segments[index].aborted = AbortedIndex::empty();
        let (mut producers, from) = self.producers_at(self.segments[index].base)?;
        let mut found = Vec::new();
        self.replay(&mut producers, from, index, |at, aborted| {
            if at == index {
                found.push(aborted);
            }
        })?;
        let segment = &mut self.segments[index];
        found.into_iter().for_each(|aborted| segment.aborted.push(aborted));
        segment.is_aborted_checked = true;
        if index + 1 < self.segments.len() {
            // It only saves the next one the work: a disk that takes no writes still serves reads.
            let path = self.segments[index].transaction_index_path(&self.dir);
            let _ = self.segments[index].aborted.persist(self.disk.as_ref(), &path);
        }
        Ok(())
    }

    /// Builds the producers' state, and the transaction indexes of the segments that were emptied: those
    /// from `rebuilt_from` on.
    pub(super) fn reload_producers(&mut self, rebuilt_from: Offset) -> Result<(), LogError> {
        if self.size_bytes() == 0 {
            self.producers = Producers::default();
            return Ok(());
        }
        let (mut producers, from) = self.producers_at(rebuilt_from.min(self.end))?;
        let last = self.segments.len() - 1;
        let mut found = Vec::new();
        self.replay(&mut producers, from, last, |at, aborted| found.push((at, aborted)))?;
        for (at, aborted) in found {
            let segment = &mut self.segments[at];
            // Of the others the files have it.
            if segment.aborted.is_loaded() {
                segment.aborted.push(aborted);
            }
        }
        self.producers = producers;
        Ok(())
    }

    /// The producers by the newest snapshot that is not above `offset`, and where it was taken.
    fn producers_at(&mut self, offset: Offset) -> Result<(Producers, Offset), LogError> {
        let begin = self.segments[0].base;
        let usable = |snapshot: &Offset| (begin..=offset).contains(snapshot);
        for snapshot in self.snapshots()?.into_iter().rev().filter(usable) {
            let path = self.dir.join(file_name(snapshot, SNAPSHOT_SUFFIX));
            let bytes = read_file(self.disk.as_ref(), &path, SNAPSHOT_BYTES_MAX)
                .map_err(LogError::io("read", &path))?;
            match Producers::decode(&bytes) {
                Ok(producers) => return Ok((producers, snapshot)),
                // No loss: an older one and more of the log say the same.
                Err(error) => {
                    self.mended.push(format!("{}: {error}; the batches say the same", path.display()));
                    self.disk.remove_file(&path).map_err(LogError::io("remove", &path))?;
                }
            }
        }
        Ok((Producers::default(), begin))
    }

    /// Writes what the transaction index files lack and says which are to be synced: once the recovery
    /// point has gone past them, nobody builds them anew.
    pub(super) fn persist_aborted(&mut self) -> Result<bool, LogError> {
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        let mut is_renewed = false;
        let persisted = self.retry_if_full(
            |log| {
                log.segments.iter_mut().try_for_each(|segment| {
                    let path = segment.transaction_index_path(&dir);
                    is_renewed |= segment.aborted.persist(disk.as_ref(), &path)? == Persisted::Renewed;
                    Ok(())
                })
            },
            "write a transaction index of",
        );
        let is_unsynced = self.segments.iter().any(|segment| segment.aborted.is_unsynced());
        self.names_unsynced |= is_renewed && is_unsynced;
        persisted.map(|()| is_unsynced)
    }

    /// The files of the transaction indexes that are to be synced. They count as synced from now on: after a
    /// failure the whole log does.
    pub(super) fn take_unsynced_aborted(&mut self) -> Result<Vec<Arc<dyn DiskFile>>, LogError> {
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        self.poison_on(
            |log| {
                let unsynced = log.segments.iter_mut().filter(|segment| segment.aborted.is_unsynced());
                let open = |segment: &mut Segment| {
                    segment.aborted.take_unsynced();
                    disk.open(&segment.transaction_index_path(&dir), OpenMode::ReadWrite)
                };
                unsynced.map(open).collect()
            },
            "open a transaction index of",
        )
    }

    /// Has `producers` take note of the batches from `from` to the end of segment `last`; `ended` is
    /// told of each aborted transaction and the segment that its marker is in.
    fn replay(
        &mut self,
        producers: &mut Producers,
        from: Offset,
        last: usize,
        mut ended: impl FnMut(usize, Aborted),
    ) -> Result<(), LogError> {
        for index in self.segment_index(from)..=last {
            if self.segments[index].size == 0 || from >= self.end {
                continue;
            }
            let mut walk = self.walk_from(index, |segment| segment.floor_of_offset(from))?;
            while let Some(placed) =
                walk.next().map_err(|error| self.damaged(&self.segments[index], error))?
            {
                if placed.header.base_offset < from {
                    continue;
                }
                let marker = self.marker_of(index, &placed)?;
                let completed: Option<Completed> = producers.note(&placed.header, marker);
                if let Some(aborted) = completed.as_ref().and_then(Aborted::of) {
                    ended(index, aborted);
                }
            }
        }
        Ok(())
    }

    /// The marker in a batch of segment `index`.
    fn marker_of(&self, index: usize, placed: &Placed) -> Result<Option<EndMarker>, LogError> {
        if !placed.header.is_control() || placed.header.producer().is_none() {
            return Ok(None);
        }
        let slice = FileSlice {
            file: self.file_of(index)?,
            position: u64::from(placed.position),
            len: placed.header.size_bytes,
        };
        let path = self.segments[index].path(&self.dir);
        let bytes = slice.read().map_err(LogError::io("read", &path))?;
        Ok(BatchRef::parse(&bytes).ok().and_then(|batch| EndMarker::read(&batch)))
    }
}

#[cfg(test)]
mod tests;
