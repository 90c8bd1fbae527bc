//! One pass over a log, a step at a time.
//!
//! ```text
//!  mapping ──▶ choosing a group ──▶ writing it ──▶ swap ──┐
//!                    ▲                                    │
//!                    └────────────────────────────────────┘   until nothing is left below the map
//! ```
//!
//! Small segments that were shrunk before become one. The batch that ends a group stays,
//! without records if need be: so segments still meet, and recovery can tell a hole that
//! compaction made from one that a disk made.

use std::ops::Range;
use std::time::Duration;

use model::{Offset, Timestamp};
use wire::batch::{BatchHeader, Batches};

use crate::cleaner::filter::{DECOMPRESSED_BYTES_MAX, Filter, Verdict, placed};
use crate::cleaner::offset_map::OffsetMap;
use crate::cleaner::reading::Reading;
use crate::cleaner::transactions::Transactions;
use crate::cleaner::writing::{Cleaned, Writing};
use crate::cleaner::{CleaningError, CleaningLimits, Picture};
use crate::index::{Entry, TimeEntry};

/// What a step came to.
pub enum Step {
    /// So many bytes were read and written.
    Worked(u64),
    /// A segment waits to be swapped in. Whether it could be, the next steps are sound.
    Swap(Box<Cleaned>),
    /// Nothing is left to do.
    Done(CleaningReport),
}

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleaningReport {
    /// Where the dirty part begins now, if every swap was made.
    pub first_dirty: Offset,
    /// Keys of the dirty part.
    pub keys: usize,
    /// Bytes of the segments that were gone through.
    pub bytes_before: u64,
    /// Bytes that are left of them.
    pub bytes_after: u64,
}

enum Phase {
    /// Reading the dirty part, at this segment.
    Mapping {
        segment: usize,
        reading: Option<Reading>,
    },
    /// The next group begins with this segment.
    Choosing {
        segment: usize,
    },
    Writing(Box<Group>),
}

/// Segments that become one.
struct Group {
    sources: Range<usize>,
    /// The last of them that has batches.
    last: usize,
    segment: usize,
    reading: Option<Reading>,
    writing: Writing,
    bytes_written: u64,
    is_changed: bool,
}

/// A pass under way. What it leaves when it is dropped without [`Cleaning::abort`] is removed when the
/// log is opened.
pub struct Cleaning {
    picture: Picture,
    limits: CleaningLimits,
    map: OffsetMap,
    transactions: Transactions,
    now: Timestamp,
    tombstone_retention: Duration,
    phase: Option<Phase>,
    report: CleaningReport,
}

impl Cleaning {
    pub(crate) fn new(
        picture: Picture,
        limits: CleaningLimits,
        tombstone_retention: Duration,
        now: Timestamp,
    ) -> Self {
        let first_dirty = picture.first_dirty;
        let keys = u64::try_from(picture.end.since(first_dirty)).unwrap_or(0);
        let segment = picture.segments.partition_point(|it| it.base <= first_dirty).saturating_sub(1);
        Self {
            limits,
            map: OffsetMap::new(limits.map_bytes, limits.load_factor, keys),
            transactions: Transactions::new(&picture.aborted),
            now,
            tombstone_retention,
            phase: Some(Phase::Mapping { segment, reading: None }),
            report: CleaningReport { first_dirty, keys: 0, bytes_before: 0, bytes_after: 0 },
            picture,
        }
    }

    /// Goes on. After an error the pass is over; tell it to [`Cleaning::abort`].
    pub fn step(&mut self) -> Result<Step, CleaningError> {
        match self.phase.take() {
            Some(Phase::Mapping { segment, reading }) => self.map_some(segment, reading),
            Some(Phase::Choosing { segment }) => self.choose(segment),
            Some(Phase::Writing(group)) => self.write_some(group),
            None => Ok(Step::Done(self.report)),
        }
    }

    /// Removes what is under way.
    pub fn abort(self) {
        if let Some(Phase::Writing(group)) = self.phase {
            group.writing.discard();
        }
    }

    /// The log as it was when the pass began.
    pub(crate) fn picture(&self) -> &Picture {
        &self.picture
    }

    fn map_some(&mut self, segment: usize, reading: Option<Reading>) -> Result<Step, CleaningError> {
        let Some(source) = self.picture.segments.get(segment) else {
            self.end_mapping();
            return Ok(Step::Worked(0));
        };
        let mut reading = match reading {
            Some(reading) => reading,
            None => Reading::begin(&self.picture, *source)?,
        };
        let read = reading.next(self.limits.step_bytes)?;
        let bytes = read.len() as u64;
        let noted = note_keys(&mut self.map, &mut self.transactions, self.picture.first_dirty, read);
        let is_full = !noted.map_err(|reason| reading.damaged(reading.chunk_at(), &reason))?;
        if is_full {
            self.end_mapping();
        } else if reading.is_at_end() {
            // A gap at its end holds no keys either.
            let end = self.end_of(segment);
            self.map.note_latest(Offset::new(end.get() - 1));
            self.phase = Some(Phase::Mapping { segment: segment + 1, reading: None });
        } else {
            self.phase = Some(Phase::Mapping { segment, reading: Some(reading) });
        }
        Ok(Step::Worked(bytes))
    }

    fn end_mapping(&mut self) {
        let known_to = self.map.latest().map_or(self.picture.first_dirty, Offset::next);
        self.report.first_dirty = known_to.max(self.picture.first_dirty);
        self.report.keys = self.map.len();
        self.transactions = Transactions::new(&self.picture.aborted);
        self.phase = Some(Phase::Choosing { segment: 0 });
    }

    fn choose(&mut self, segment: usize) -> Result<Step, CleaningError> {
        let is_known = |at: usize| self.picture.segments[at].base < self.report.first_dirty;
        if segment >= self.picture.segments.len() || !is_known(segment) {
            return Ok(Step::Done(self.report));
        }
        let mut end = segment + 1;
        while end < self.picture.segments.len() && is_known(end) && self.fits(segment, end) {
            end += 1;
        }
        let last = (segment..end).rev().find(|&at| self.picture.segments[at].size > 0);
        let Some(last) = last else {
            self.phase = Some(Phase::Choosing { segment: end });
            return Ok(Step::Worked(0));
        };
        let writing = Writing::begin(&self.picture, self.picture.segments[segment])?;
        let sources = segment..end;
        let (reading, bytes_written, is_changed) = (None, 0, sources.len() > 1);
        let group = Group { sources, last, segment, reading, writing, bytes_written, is_changed };
        self.phase = Some(Phase::Writing(Box::new(group)));
        Ok(Step::Worked(0))
    }

    /// Whether segment `at` can join the group from `first` on.
    fn fits(&self, first: usize, at: usize) -> bool {
        let options = &self.picture.options;
        let sources = &self.picture.segments[first..=at];
        let bytes: u64 = sources.iter().map(|source| u64::from(source.size)).sum();
        let entries = bytes / (u64::from(options.index_interval_bytes) + 1) + 2;
        let span = self.end_of(at).since(sources[0].base);
        bytes <= u64::from(options.segment_bytes)
            && entries * TimeEntry::BYTES as u64 <= u64::from(options.index_bytes_max)
            && span <= i64::from(i32::MAX)
    }

    fn write_some(&mut self, mut group: Box<Group>) -> Result<Step, CleaningError> {
        if group.reading.is_none() {
            if group.segment == group.sources.end {
                return self.end_group(*group);
            }
            group.reading = Some(Reading::begin(&self.picture, self.picture.segments[group.segment])?);
        }
        let outcome = self.filter_some(&mut group);
        let is_at_end = group.reading.as_ref().is_none_or(Reading::is_at_end);
        if is_at_end {
            group.reading = None;
            group.segment += 1;
        }
        // Also after an error: the files are to be removed.
        self.phase = Some(Phase::Writing(group));
        outcome.map(Step::Worked)
    }

    fn filter_some(&mut self, group: &mut Group) -> Result<u64, CleaningError> {
        let reading = group.reading.as_mut().expect("begun by the caller");
        let bytes = reading.next(self.limits.step_bytes)?.to_vec();
        let ends_group = group.segment == group.last && reading.is_at_end();
        let filter = Filter {
            map: &self.map,
            last_batches: &self.picture.last_batches,
            now: self.now,
            tombstone_retention: self.tombstone_retention,
        };
        let (mut out, mut headers, mut at) = (Vec::new(), Vec::new(), 0);
        for batch in Batches::new(&bytes) {
            let batch = batch.map_err(|error| reading.damaged(reading.chunk_at(), &error))?;
            at += batch.bytes().len();
            let (begin, is_last) = (out.len(), ends_group && at == bytes.len());
            let verdict = filter.pass(&batch, &mut self.transactions, is_last, &mut out);
            let verdict = verdict.map_err(|reason| {
                let base = batch.header.base_offset;
                reading.damaged(reading.chunk_at(), &format!("the batch at offset {base}: {reason}"))
            })?;
            group.is_changed |= verdict != Verdict::Kept;
            if verdict != Verdict::Gone {
                self.transactions.note_left(&batch.header);
                let header = BatchHeader::parse(&out[begin..]);
                headers.push(header.map_err(|error| reading.damaged(reading.chunk_at(), &error))?);
            }
        }
        group.writing.append(&out, &headers)?;
        group.bytes_written += out.len() as u64;
        self.report.bytes_before += bytes.len() as u64;
        Ok((bytes.len() + out.len()) as u64)
    }

    fn end_group(&mut self, group: Group) -> Result<Step, CleaningError> {
        self.report.bytes_after += group.bytes_written;
        self.phase = Some(Phase::Choosing { segment: group.sources.end });
        let aborted = self.transactions.take_left();
        if !group.is_changed {
            group.writing.discard();
            return Ok(Step::Worked(0));
        }
        let sources = self.picture.segments[group.sources].to_vec();
        let cleaned = group.writing.finish(sources, self.picture.cuts, aborted)?;
        Ok(Step::Swap(Box::new(cleaned)))
    }

    /// The offset at which a segment ends, the gap behind its last batch included.
    fn end_of(&self, segment: usize) -> Offset {
        self.picture.segments.get(segment + 1).map_or(self.picture.end, |next| next.base)
    }
}

/// Notes the keys of whole batches, from `first_dirty` on. False when the map is full.
fn note_keys(
    map: &mut OffsetMap,
    transactions: &mut Transactions,
    first_dirty: Offset,
    bytes: &[u8],
) -> Result<bool, String> {
    for batch in Batches::new(bytes) {
        let batch = batch.map_err(|error| error.to_string())?;
        let header = batch.header;
        if header.is_control() {
            transactions.is_idle(&batch);
        } else if !transactions.is_aborted(&header) && header.last_offset() >= first_dirty && header.count > 0
        {
            let records = batch.records(DECOMPRESSED_BYTES_MAX);
            let records =
                records.map_err(|error| format!("the batch at offset {}: {error}", header.base_offset))?;
            for record in records.iter() {
                let record = record.map_err(|error| error.to_string())?;
                let offset = placed(&header, &record);
                if let Some(key) = record.key.filter(|_| offset >= first_dirty)
                    && !map.put(key, offset)
                {
                    return Ok(false);
                }
            }
        }
        if header.last_offset() >= first_dirty {
            map.note_latest(header.last_offset());
        }
    }
    Ok(true)
}
