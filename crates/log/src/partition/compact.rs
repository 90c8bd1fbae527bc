//! The log's side of compaction: what there is to clean, and the swap of a cleaned segment.
//!
//! ```text
//!  .cleaned  durable, beside the log      a crash removes it
//!  .swap     begin_swap renames it        a crash finishes the swap, or undoes it while it is not whole
//!            the names are synced, not under the log's lock
//!  .log      finish_swap: what it replaces becomes .deleted, and the suffix goes
//! ```
//!
//! In between the log may be cut: then the swap is abandoned, or a crash would bring back
//! what was cut off.

use std::io;
use std::ops::Range;

use model::{Offset, Timestamp};

use crate::cleaner::{
    Cleanable, Cleaned, Cleaning, CleaningError, CleaningLimits, CleaningReport, CompactionRules, Picture,
    Source, Step,
};
use crate::partition::{Log, LogError};
use crate::segment::{CLEANED_SUFFIX, SEGMENT_SUFFIXES, SWAP_SUFFIX, Walk, file_name};

impl Log {
    /// What there is to clean, given that all below `cleaned_to` was cleaned before and nothing from
    /// `stable` on may be: it is not committed, or a transaction there is open.
    pub fn cleanable(
        &mut self,
        rules: &CompactionRules,
        cleaned_to: Option<Offset>,
        stable: Offset,
        now: Timestamp,
    ) -> Result<Cleanable, LogError> {
        // Above the end: of another log of that name. Below the start: of what retention took.
        let cleaned_to = cleaned_to.filter(|offset| (self.start..=self.end).contains(offset));
        let first_dirty = cleaned_to.unwrap_or(self.start).min(self.lowest_cut).max(self.segments[0].base);
        let last = self.segments.len() - 1;
        let mut bound = (0..last).find(|&at| self.segments[at + 1].base > stable).unwrap_or(last);
        let first = self.segment_index(first_dirty);
        if !rules.lag_min.is_zero() {
            let youngest = before(now, rules.lag_min);
            for at in first..bound {
                self.load_indexes(at)?;
                if self.segments[at].newest.is_some_and(|newest| newest.timestamp > youngest) {
                    bound = at;
                    break;
                }
            }
        }
        let is_overdue = match rules.lag_max {
            Some(lag_max) => self.has_older_than(first..bound, before(now, lag_max))?,
            None => false,
        };
        let bytes = |range: Range<usize>| -> u64 {
            self.segments[range].iter().map(|segment| u64::from(segment.size)).sum()
        };
        let end = self.segments[bound].base;
        let dirty = if end > first_dirty { first..bound } else { bound..bound };
        Ok(Cleanable {
            first_dirty,
            end,
            clean_bytes: bytes(0..first.min(bound)),
            dirty_bytes: bytes(dirty),
            is_overdue,
        })
    }

    /// Whether one of these segments begins with a batch from before `oldest`.
    fn has_older_than(&mut self, range: Range<usize>, oldest: Timestamp) -> Result<bool, LogError> {
        for at in range {
            let segment = &self.segments[at];
            if segment.size == 0 {
                continue;
            }
            let mut walk = Walk::new(self.file_of(at)?, 0, segment.size);
            let first = walk.peek_header().map_err(|error| self.damaged(&self.segments[at], error))?;
            if (1..oldest.get()).contains(&first.max_timestamp.get()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Begins a pass over what is cleanable.
    pub fn begin_cleaning(
        &mut self,
        cleanable: &Cleanable,
        rules: &CompactionRules,
        limits: CleaningLimits,
        now: Timestamp,
    ) -> Result<Cleaning, LogError> {
        self.check_sound()?;
        let below = self.segments.partition_point(|segment| segment.base < cleanable.end);
        let sources = self.segments[..below.min(self.segments.len() - 1)].iter();
        let segments = sources.map(|segment| Source { base: segment.base, size: segment.size }).collect();
        let aborted = self.aborted_between(self.segments[0].base, cleanable.end)?;
        let picture = Picture {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            options: self.options.clone(),
            segments,
            first_dirty: cleanable.first_dirty,
            end: cleanable.end,
            cuts: self.cuts,
            last_batches: self.producers.last_batches(),
            aborted,
        };
        Ok(Cleaning::new(picture, limits, rules.tombstone_retention, now))
    }

    /// One pass from its beginning to its end, for who has the log alone.
    pub fn clean(
        &mut self,
        rules: &CompactionRules,
        limits: CleaningLimits,
        cleaned_to: Option<Offset>,
        stable: Offset,
        now: Timestamp,
    ) -> Result<CleaningReport, CleaningError> {
        let cleanable = self.cleanable(rules, cleaned_to, stable, now)?;
        let mut cleaning = self.begin_cleaning(&cleanable, rules, limits, now)?;
        loop {
            match cleaning.step() {
                Ok(Step::Worked(_)) => {}
                Ok(Step::Swap(cleaned)) => {
                    if self.begin_swap(&cleaned)? {
                        let synced = cleaned.sync_names();
                        self.finish_swap(*cleaned, synced)?;
                    }
                }
                Ok(Step::Done(report)) => {
                    self.end_cleaning(&cleaning);
                    return Ok(report);
                }
                Err(error) => {
                    cleaning.abort();
                    return Err(error);
                }
            }
        }
    }

    /// Whether the log was neither cut nor moved since `cleaning` began: what that met is still there.
    pub fn stands_since(&self, cleaning: &Cleaning) -> bool {
        let picture = cleaning.picture();
        self.cuts == picture.cuts && self.dir == picture.dir
    }

    /// A pass is done, and what it left of the log is clean. False when the log was cut in the meantime.
    pub fn end_cleaning(&mut self, cleaning: &Cleaning) -> bool {
        let stands = self.stands_since(cleaning);
        if stands {
            self.lowest_cut = Offset::new(i64::MAX);
        }
        stands
    }

    /// Begins to put a cleaned segment in place. False when what it replaces is not there any more:
    /// retention took it, or the log was cut. Otherwise [`Cleaned::sync_names`] and
    /// [`Log::finish_swap`] are to follow.
    pub fn begin_swap(&mut self, cleaned: &Cleaned) -> Result<bool, LogError> {
        self.check_sound()?;
        if self.place_of(cleaned).is_none() {
            return Ok(false);
        }
        let base = cleaned.segment.base;
        self.swapping = Some(base);
        self.poison_on(|log| log.rename_all(base, CLEANED_SUFFIX, SWAP_SUFFIX), "swap a segment of")?;
        Ok(true)
    }

    /// Puts a cleaned segment in place, whose names were synced. False when the swap was abandoned.
    pub fn finish_swap(&mut self, cleaned: Cleaned, synced: io::Result<()>) -> Result<bool, LogError> {
        self.poison_on(|_| synced, "sync")?;
        let place = self.place_of(&cleaned).filter(|_| self.swapping == Some(cleaned.segment.base));
        let Some(place) = place else {
            self.abandon_swap()?;
            return Ok(false);
        };
        self.check_sound()?;
        self.swapping = None;
        self.names_unsynced = true;
        for at in place.clone() {
            let retired = self.poison_on(
                |log| log.segments[at].retire(log.disk.as_ref(), &log.dir),
                "rename a segment of",
            )?;
            self.retired.extend(retired);
        }
        let base = cleaned.segment.base;
        self.poison_on(|log| log.rename_all(base, SWAP_SUFFIX, ""), "swap a segment of")?;
        self.segments.splice(place, [cleaned.segment]);
        let inner = |base: Offset| cleaned.sources[1..].iter().any(|source| source.base == base);
        self.remove_snapshots(|snapshot, _| inner(snapshot))?;
        self.check();
        Ok(true)
    }

    /// The log is about to be cut: what waits to be swapped in must not come back after a crash.
    pub(super) fn abandon_swap(&mut self) -> Result<(), LogError> {
        let Some(base) = self.swapping.take() else { return Ok(()) };
        self.poison_on(
            |log| {
                SEGMENT_SUFFIXES.into_iter().try_for_each(|suffix| {
                    let path = log.dir.join(file_name(base, suffix) + SWAP_SUFFIX);
                    missing_is_fine(log.disk.remove_file(&path))
                })
            },
            "remove a cleaned segment of",
        )
    }

    /// The segments that `cleaned` replaces, if they are what they were.
    fn place_of(&self, cleaned: &Cleaned) -> Option<Range<usize>> {
        let first = self.segments.iter().position(|segment| segment.base == cleaned.segment.base)?;
        let place = first..first + cleaned.sources.len();
        let is_same = |(segment, source): (&crate::segment::Segment, &Source)| {
            segment.base == source.base && segment.size == source.size
        };
        let stands = self.cuts == cleaned.cuts
            && self.dir == cleaned.dir
            && place.end < self.segments.len()
            && self.segments[place.clone()].iter().zip(&cleaned.sources).all(is_same);
        stands.then_some(place)
    }

    fn rename_all(&self, base: Offset, from: &str, to: &str) -> io::Result<()> {
        SEGMENT_SUFFIXES.into_iter().try_for_each(|suffix| {
            let name = self.dir.join(file_name(base, suffix));
            let with = |suffix: &str| {
                let mut name = name.clone().into_os_string();
                name.push(suffix);
                std::path::PathBuf::from(name)
            };
            missing_is_fine(self.disk.rename(&with(from), &with(to)))
        })
    }
}

fn missing_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn before(now: Timestamp, age: std::time::Duration) -> Timestamp {
    Timestamp::new(now.get().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests;
