//! Appends: a leader's, which assigns offsets, and a follower's, which takes them as they are.

use std::borrow::Cow;

use model::{LeaderEpoch, Mutant, Offset, Timestamp};
use wire::batch::{
    BatchHeader, BatchRef, Batches, EndMarker, HEADER_BYTES, Rules, TimestampType, ValidBatch,
    ValidationError, patch, validate, validate_own,
};

use crate::disk::is_full;
use crate::partition::{AppendError, Log, LogError};
use crate::producers::{Origin, Verification};
use crate::segment::{Segment, Walk};

/// Room for the entries of one more append; the last one is made when the segment ends.
const INDEX_HEADROOM_BYTES: usize = 24;

/// What a leader asks of a client's batch.
#[derive(Clone, Copy, Debug)]
pub struct LeaderRules {
    /// What the batch itself must fulfil.
    pub batch: Rules,
    /// `message.timestamp.type=LogAppendTime`: the leader's clock is the records' time.
    pub log_append_time: bool,
}

/// Where batches went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub first: Offset,
    /// Offset of the last record.
    pub last: Offset,
    /// The time the leader gave the records, where the topic says so.
    pub log_append_time: Option<Timestamp>,
    /// They were in the log already: an idempotent producer sent them again.
    pub is_duplicate: bool,
}

/// A batch that was found whole and fulfils its topic's rules: what needs no log, and so no lock, is done.
#[derive(Clone, Copy, Debug)]
pub struct ClientBatch<'a> {
    bytes: &'a [u8],
    valid: ValidBatch,
    origin: Origin,
}

impl<'a> ClientBatch<'a> {
    /// Checks that `bytes` are one batch as `rules` have it.
    pub fn check(origin: Origin, bytes: &'a [u8], rules: &Rules) -> Result<Self, ValidationError> {
        let valid = match origin {
            Origin::Client(_) => validate(bytes, rules)?,
            Origin::Coordinator(_) => validate_own(bytes, rules)?,
        };
        if valid.header.size_bytes != bytes.len() {
            return Err(ValidationError::NotOneBatch);
        }
        Ok(Self { bytes, valid, origin })
    }
}

/// The batch with the leader's time where it counts, or the producer's true one where it lied.
fn timed(bytes: &[u8], valid: ValidBatch, log_append_time: Option<Timestamp>) -> Cow<'_, [u8]> {
    let claims = valid.header.max_timestamp != valid.max_timestamp
        || valid.header.timestamp_type() == TimestampType::LogAppendTime;
    match log_append_time {
        None if !claims => Cow::Borrowed(bytes),
        None => {
            // The time index and retention believe the header; its producer may have lied.
            let mut bytes = bytes.to_vec();
            patch::set_max_timestamp(&mut bytes, valid.max_timestamp);
            Cow::Owned(bytes)
        }
        Some(now) => {
            let mut bytes = bytes.to_vec();
            patch::stamp(&mut bytes, now);
            Cow::Owned(bytes)
        }
    }
}

impl Log {
    /// Appends one client's batch that is part of no transaction, as [`Log::append_from`].
    pub fn append_as_leader(
        &mut self,
        batch: &[u8],
        epoch: LeaderEpoch,
        now: Timestamp,
        rules: &LeaderRules,
    ) -> Result<Appended, AppendError> {
        self.append_from(Origin::Client(Verification::Needed(None)), batch, epoch, now, rules)
    }

    /// Appends one batch at the log's end, as [`Log::append_valid`].
    pub fn append_from(
        &mut self,
        origin: Origin,
        batch: &[u8],
        epoch: LeaderEpoch,
        now: Timestamp,
        rules: &LeaderRules,
    ) -> Result<Appended, AppendError> {
        self.check_sound()?;
        self.append_valid(&ClientBatch::check(origin, batch, &rules.batch)?, epoch, now, rules)
    }

    /// Appends a batch that was checked before. Base offset, epoch and, where the topic says so, the time
    /// are the log's; its other bytes stay the producer's.
    pub fn append_valid(
        &mut self,
        batch: &ClientBatch<'_>,
        epoch: LeaderEpoch,
        now: Timestamp,
        rules: &LeaderRules,
    ) -> Result<Appended, AppendError> {
        self.check_sound()?;
        let ClientBatch { bytes, valid, origin } = *batch;
        let log_append_time = rules.log_append_time.then_some(now);
        if let Some(written) = self.producers.judge(&valid.header, origin, &self.verifications)? {
            let log_append_time = rules.log_append_time.then_some(written.timestamp);
            let (first, last) = (written.first_offset, written.last_offset);
            return Ok(Appended { first, last, log_append_time, is_duplicate: true });
        }
        let bytes = timed(bytes, valid, log_append_time);
        // The header alone is copied: the rest goes to the file from where the request left it.
        let (head, body) = bytes.split_first_chunk::<HEADER_BYTES>().expect("a checked batch has its header");
        let mut head = *head;
        patch::place(&mut head, self.end, epoch);
        let header = BatchHeader::parse(&head)?;
        let first = self.end;
        self.write(&head, body, &[header], now)?;
        self.check();
        Ok(Appended { first, last: header.last_offset(), log_append_time, is_duplicate: false })
    }

    /// Appends what a leader sent: whole batches that continue this log, with the leader's offsets
    /// and epochs. A partial batch at the end is left out. `None` when there was no whole one.
    pub fn append_as_follower(
        &mut self,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Option<Appended>, AppendError> {
        self.check_sound()?;
        let start = self.start;
        self.begin_within(bytes)?;
        let (headers, len) = self.check_continues(bytes)?;
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else { return Ok(None) };
        // Compaction at the leader may leave gaps, so the first may begin behind our end.
        let appended = Appended {
            first: first.base_offset,
            last: last.last_offset(),
            log_append_time: None,
            is_duplicate: false,
        };
        self.write(&[], &bytes[..len], &headers, now)?;
        self.advance_start(start)?;
        self.check();
        Ok(Some(appended))
    }

    /// The leader's log may begin within a batch (DeleteRecords): an empty log takes that batch whole, and
    /// begins within it too.
    fn begin_within(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let Some(Ok(first)) = Batches::new(bytes).next() else { return Ok(()) };
        let holds = first.header.base_offset < self.end && self.end < first.header.next_offset();
        if self.start == self.end && holds && first.check_crc().is_ok() {
            self.restart_at(first.header.base_offset)?;
        }
        Ok(())
    }

    /// The headers of the whole batches in `bytes`, each with a right CRC and behind the one before.
    fn check_continues(&self, bytes: &[u8]) -> Result<(Vec<BatchHeader>, usize), AppendError> {
        let mut end = self.end;
        let mut len = 0;
        let mut headers = Vec::new();
        for batch in Batches::new(bytes) {
            let batch: BatchRef<'_> = match batch {
                Ok(batch) => batch,
                Err(wire::batch::BatchError::Partial { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            if !Mutant::ChecksumUnchecked.is_planted() {
                batch.check_crc()?;
            }
            // What one append brings must fit one segment's index.
            let span = batch.header.last_offset().since(self.end);
            if batch.header.base_offset < end || (span > i64::from(i32::MAX) && !headers.is_empty()) {
                return Err(AppendError::Gap { got: batch.header.base_offset, end });
            }
            end = batch.header.next_offset();
            len += batch.bytes().len();
            headers.push(batch.header);
        }
        Ok((headers, len))
    }

    /// Writes batches that belong at the end, in one segment. The first `head` of their bytes may lie
    /// elsewhere than the others, where none of them is a control batch.
    pub(super) fn write(
        &mut self,
        head: &[u8],
        bytes: &[u8],
        headers: &[BatchHeader],
        now: Timestamp,
    ) -> Result<(), AppendError> {
        let last = headers.last().expect("something to write");
        let is_split = !head.is_empty();
        assert!(!is_split || !headers.iter().any(BatchHeader::is_control), "a marker is read where it lies");
        self.persist_identity()?;
        self.date_active(now)?;
        if self.must_roll(head.len() + bytes.len(), last, now) {
            // Where this log ends, also when the leader's compaction left a gap there: segments meet, or
            // recovery would take the gap for a hole.
            let fits = last.last_offset().since(self.end) <= i64::from(i32::MAX);
            self.roll(if fits { self.end } else { headers[0].base_offset })?;
        }
        if headers.iter().any(BatchHeader::is_control) {
            self.load_aborted(self.segments.len() - 1)?;
        }
        self.write_bytes(head, bytes)?;
        let interval = self.options.index_interval_bytes;
        let (index, mut rest) = (self.segments.len() - 1, bytes);
        for header in headers {
            self.epochs.begin(header.leader_epoch, header.base_offset);
            let marker = if header.is_control() { EndMarker::read(&BatchRef::parse(rest)?) } else { None };
            rest = rest.get(header.size_bytes..).unwrap_or_default();
            self.note_producer(index, header, marker)?;
            let segment = self.active();
            segment.begun_at.get_or_insert(now);
            segment.note(header, header.max_timestamp, interval);
        }
        self.end = last.next_offset();
        Ok(())
    }

    /// Looks up when the active segment began, if it was not begun in this run: by its first batch,
    /// as its file's own time changes with every copy.
    fn date_active(&mut self, now: Timestamp) -> Result<(), LogError> {
        let index = self.segments.len() - 1;
        let segment = &self.segments[index];
        if segment.begun_at.is_some() || segment.size == 0 {
            return Ok(());
        }
        let mut walk = Walk::new(self.file_of(index)?, 0, segment.size);
        let first = walk.peek_header().map_err(|error| self.damaged(&self.segments[index], error))?;
        let known = first.max_timestamp > Timestamp::new(0);
        self.active().begun_at = Some(if known { first.max_timestamp.min(now) } else { now });
        Ok(())
    }

    /// A failed write leaves the file as it was, or the log poisoned.
    fn write_bytes(&mut self, head: &[u8], bytes: &[u8]) -> Result<(), LogError> {
        let segment = self.active_ref();
        // Named only where it is told: a path of its own for each append is two allocations.
        let failed = |doing, source| LogError::Io { doing, path: segment.path(&self.dir), source };
        let file = segment.file(self.disk.as_ref(), &self.dir).map_err(|source| failed("open", source))?;
        let position = u64::from(segment.size);
        let Err(source) = file.write_parts_at(head, bytes, position) else { return Ok(()) };
        // A full disk wrote a part at most, and can be had again; anything else cannot be trusted.
        let restored = is_full(&source) && file.truncate(position).is_ok();
        let error = failed("append to", source);
        self.poisoned |= !restored;
        Err(error)
    }

    fn must_roll(&self, bytes: usize, last: &BatchHeader, now: Timestamp) -> bool {
        let segment = self.active_ref();
        if segment.size == 0 {
            // An empty segment rolls only when its offsets would not fit its index.
            return last.last_offset().since(segment.base) > i64::from(i32::MAX);
        }
        let age = segment.begun_at.map_or(0, |begun| now.get().saturating_sub(begun.get()));
        segment.size as usize + bytes > self.options.segment_bytes as usize
            || segment.index_bytes() + INDEX_HEADROOM_BYTES > self.options.index_bytes_max as usize
            || u128::try_from(age).unwrap_or(0) > self.options.segment_age.as_millis()
            || last.last_offset().since(segment.base) > i64::from(i32::MAX)
    }

    /// Ends the active segment and begins one at `base`, the offset of the next batch.
    pub(super) fn roll(&mut self, base: Offset) -> Result<(), LogError> {
        if self.active_ref().size == 0 {
            // Nothing was written to it: it makes way, once its successor is there.
            self.poison_on(
                |log| log.active_ref().remove_files(log.disk.as_ref(), &log.dir),
                "remove a segment of",
            )?;
        } else {
            self.retry_if_full(
                |log| {
                    let disk = log.disk.clone();
                    let dir = log.dir.clone();
                    log.active().persist_indexes(disk.as_ref(), &dir, true)
                },
                "write",
            )?;
            // Taken over to where the next segment begins: a leader's compaction may have left a gap.
            self.write_producer_snapshot(base)?;
        }
        self.names_unsynced = true;
        let segment = Segment::new(base, 0);
        let path = segment.path(&self.dir);
        segment.file(self.disk.as_ref(), &self.dir).map_err(LogError::io("create", &path))?;
        if self.active_ref().size == 0 {
            self.segments.pop();
        }
        self.segments.push(segment);
        Ok(())
    }
}
