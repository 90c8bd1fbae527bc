//! One pass over one log, from its beginning to its end or to whatever ends it early.
//!
//! The partition's lock is held to take the picture and for the renames of each swap;
//! reading, writing and syncing are done beside it. Between two steps a stop of the node,
//! a topic that is compacted no more and a log that went away are noticed.

use std::sync::Arc;

use log::LogError;
use log::cleaner::{Cleaned, Cleaning, CleaningError, CleaningLimits, CleaningReport, Step};
use model::Offset;

use crate::data::cleaner::look;
use crate::data::cleaner::pace::Pace;
use crate::data::partition::Partition;
use crate::data::plane::Plane;
use crate::data::rooms::Level;

/// How a pass ended.
pub enum Outcome {
    /// All below is clean.
    Cleaned { to: Offset },
    /// Something else happened to the log; it may be tried again soon.
    Left,
    /// The disk is full.
    Full,
    /// The log cannot be cleaned as it is.
    Barred,
}

/// Cleans a log that was clean up to `from`.
pub async fn clean(
    plane: Arc<Plane>,
    partition: Arc<Partition>,
    from: Option<Offset>,
    limits: CleaningLimits,
    pace: Arc<Pace>,
) -> (Arc<Partition>, Outcome) {
    let outcome = pass(&plane, &partition, from, limits, &pace).await;
    (partition, outcome)
}

async fn pass(
    plane: &Arc<Plane>,
    partition: &Arc<Partition>,
    from: Option<Offset>,
    limits: CleaningLimits,
    pace: &Pace,
) -> Outcome {
    let blocking = &plane.options.blocking;
    let (beginner, wall) = (partition.clone(), plane.options.clock.wall());
    let mut cleaning = match blocking.run(move || begin(&beginner, from, limits, wall)).await {
        Ok(Some(cleaning)) => cleaning,
        Ok(None) => return Outcome::Left,
        Err(error) => return refused(partition, &error),
    };
    loop {
        if plane.stop.is_cancelled() || !is_wanted(partition) {
            blocking.run(move || cleaning.abort()).await;
            return Outcome::Left;
        }
        if plane.rooms.level(partition.look().dir) == Level::Scarce {
            blocking.run(move || cleaning.abort()).await;
            tracing::warn!(partition = %partition.name, "no room to compact a log; tried again in a minute");
            return Outcome::Full;
        }
        let (back, step) = blocking
            .run(move || {
                let step = cleaning.step();
                (cleaning, step)
            })
            .await;
        cleaning = back;
        match step {
            Ok(Step::Worked(bytes)) => pace.pause(bytes).await,
            Ok(Step::Swap(cleaned)) => {
                let (swapper, at) = (plane.clone(), partition.clone());
                if let Err(error) = blocking.run(move || swap(&swapper, &at, *cleaned)).await {
                    return refused(partition, &error);
                }
            }
            Ok(Step::Done(report)) => return end(partition, &cleaning, report),
            Err(error) => {
                let outcome = failed(partition, &cleaning, error);
                blocking.run(move || cleaning.abort()).await;
                return outcome;
            }
        }
    }
}

fn is_wanted(partition: &Partition) -> bool {
    let state = partition.look();
    state.log.is_some() && state.settings.topic.cleanup.compact
}

fn begin(
    partition: &Partition,
    from: Option<Offset>,
    limits: CleaningLimits,
    wall: model::Timestamp,
) -> Result<Option<Cleaning>, LogError> {
    let mut state = partition.look();
    let Some(cleanable) = look(&mut state, from, wall)? else { return Ok(None) };
    let (Some(rules), Some(log)) = (state.settings.compaction(), &mut state.log) else { return Ok(None) };
    log.begin_cleaning(&cleanable, &rules, limits, wall).map(Some)
}

/// Puts a cleaned segment in its place, unless the log is not what it was or wants none.
fn swap(plane: &Plane, partition: &Partition, cleaned: Cleaned) -> Result<(), LogError> {
    {
        let mut state = partition.lock();
        let is_wanted = state.settings.topic.cleanup.compact;
        let begun = match &mut state.log {
            Some(log) if is_wanted => log.begin_swap(&cleaned),
            _ => Ok(false),
        };
        state.fail_if_poisoned();
        if !begun? {
            cleaned.discard();
            return Ok(());
        }
    }
    // Not under the lock: reads and writes go on.
    let synced = cleaned.sync_names();
    let mut state = partition.lock();
    let Some(log) = &mut state.log else { return Ok(()) };
    let swapped = log.finish_swap(cleaned, synced);
    plane.bury(&mut state);
    state.fail_if_poisoned();
    swapped.map(drop)
}

fn end(partition: &Partition, cleaning: &Cleaning, report: CleaningReport) -> Outcome {
    let mut state = partition.look();
    if !state.log.as_mut().is_some_and(|log| log.end_cleaning(cleaning)) {
        return Outcome::Left;
    }
    let CleaningReport { first_dirty, keys, bytes_before, bytes_after } = report;
    tracing::info!(
        partition = %partition.name, to = %first_dirty, keys, bytes_before, bytes_after,
        "a log was compacted"
    );
    Outcome::Cleaned { to: first_dirty }
}

fn failed(partition: &Partition, cleaning: &Cleaning, error: CleaningError) -> Outcome {
    let mut state = partition.lock();
    let stands = state.log.as_ref().is_some_and(|log| log.stands_since(cleaning));
    match error {
        // What was met is not there any more.
        _ if !stands => Outcome::Left,
        CleaningError::Gone(_) => Outcome::Left,
        CleaningError::Full(path) => {
            let path = path.display();
            tracing::error!(partition = %partition.name, %path, "no room to compact a log; tried again in a minute");
            Outcome::Full
        }
        CleaningError::Damaged { .. } | CleaningError::Unreadable { .. } => {
            tracing::error!(
                partition = %partition.name, %error,
                "a log cannot be compacted and grows; other logs are not concerned. Tried again in an hour; \
                 to have it mended, move this replica away and back"
            );
            Outcome::Barred
        }
        CleaningError::Log(_) | CleaningError::Unwritable { .. } => {
            tracing::error!(partition = %partition.name, %error, "the disk failed while a log was compacted");
            state.fail();
            Outcome::Barred
        }
    }
}

fn refused(partition: &Partition, error: &LogError) -> Outcome {
    tracing::error!(partition = %partition.name, %error, "a log cannot be compacted");
    partition.lock().fail_if_poisoned();
    Outcome::Barred
}
