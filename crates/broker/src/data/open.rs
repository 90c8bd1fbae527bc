//! Opening the logs that a start finds, many at a time.
//!
//! Nothing is known of the metadata yet: which log is whose is seen when the first
//! assignments come. A log that cannot be opened keeps its partition offline and
//! nothing else; a directory that cannot be listed keeps the node from starting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use log::checkpoint::{self, CLEANED, HIGH_WATERMARK, Lines, OF_EACH_LOG, RECOVERY_POINT};
use log::{Disk, Log, LogError, LogOptions, Opening};
use model::{METADATA_TOPIC, Offset, PartitionIndex, TopicName, TopicPartition};

use crate::data::DataError;
use crate::data::attic::{DELETE_SUFFIX, STRAY_SUFFIX};
use crate::data::moves;

/// A log that was there.
pub struct Found {
    /// Which of the log directories it lies in.
    pub dir: usize,
    /// Where it lies.
    pub path: PathBuf,
    /// The log, or why it cannot be used.
    pub log: Result<Log, LogError>,
    /// The high watermark as last written down, within the log.
    pub high_watermark: Offset,
    /// To which of the log directories it was on its way.
    pub moving_to: Option<usize>,
    /// Records may be gone that were whole once, and may have been acknowledged.
    pub is_damaged: bool,
}

impl Found {
    /// What there is of that which the checkpoint `name` tells of. A log that cannot be used may be all there.
    fn holds(&self, name: &str) -> Offset {
        match (name, &self.log) {
            (HIGH_WATERMARK, Ok(_)) => self.high_watermark,
            (RECOVERY_POINT, Ok(log)) => log.recovery_point(),
            _ => Offset::new(i64::MAX),
        }
    }
}

/// How logs are opened.
pub struct OpenPlan {
    /// Where files live.
    pub disk: Arc<dyn Disk>,
    /// The log directories.
    pub dirs: Vec<PathBuf>,
    /// Settings until the metadata says better.
    pub options: LogOptions,
    /// The node stopped in order the last time.
    pub was_clean: bool,
    /// Whether the machine may have lost power since: a log that was cut and not synced then has its old end
    /// again, below a watermark that was written down for the new one.
    pub lost_power: bool,
    /// Logs opened at the same time.
    pub threads: usize,
}

/// One log to open.
struct Job {
    dir: usize,
    path: PathBuf,
    partition: TopicPartition,
    opening: Opening,
    high_watermark: Offset,
}

/// Opens every log in the log directories. Removes what was deleted before the stop.
pub fn open_all(plan: &OpenPlan) -> Result<BTreeMap<TopicPartition, Found>, DataError> {
    let (mut jobs, mut seen, mut moving) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let mut said = Vec::new();
    for (index, dir) in plan.dirs.iter().enumerate() {
        let lines = read_checkpoints(plan.disk.as_ref(), dir);
        collect(plan, (index, dir), &lines, &mut seen, &mut moving, &mut jobs)?;
        said.push(lines);
    }
    for job in jobs.iter().filter(|_| plan.dirs.len() > 1) {
        let unmarked = moves::unmark(plan.disk.as_ref(), &job.path);
        unmarked.map_err(|error| DataError::LogDir { dir: job.path.clone(), reason: error.to_string() })?;
    }
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let opened = open(plan, job);
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(job.partition.clone(), opened);
        }
    };
    if plan.threads <= 1 || jobs.len() <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..plan.threads.min(jobs.len()) {
                scope.spawn(work);
            }
        });
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (partition, to) in moving {
        if let Some(found) = found.get_mut(&partition).filter(|found| found.dir != to) {
            found.moving_to = Some(to);
        }
    }
    for (index, said) in said.iter().enumerate() {
        correct_checkpoints(plan, index, said, &jobs, &found)?;
    }
    Ok(found)
}

/// What the checkpoints of a log directory say, in the order of [`OF_EACH_LOG`].
type Said = [Lines; OF_EACH_LOG.len()];

/// One that cannot be read counts as empty: zero is always safe, more is read again.
fn read_checkpoints(disk: &dyn Disk, dir: &Path) -> Said {
    OF_EACH_LOG.map(|name| {
        checkpoint::read(disk, dir, name).unwrap_or_else(|error| {
            tracing::warn!(dir = %dir.display(), name, %error, "a checkpoint cannot be read; starting from zero");
            Lines::new()
        })
    })
}

/// A log that came up shorter than a checkpoint says grows again before the next is written, and so does
/// a new log with the name of one that is gone: killed in between, the node would take records for
/// committed, or for durable, that have the offsets of others.
fn correct_checkpoints(
    plan: &OpenPlan,
    index: usize,
    said: &Said,
    jobs: &[Job],
    found: &BTreeMap<TopicPartition, Found>,
) -> Result<(), DataError> {
    let here: BTreeSet<_> = jobs.iter().filter(|job| job.dir == index).map(|job| &job.partition).collect();
    let dir = &plan.dirs[index];
    for (name, said) in OF_EACH_LOG.into_iter().zip(said) {
        let lines = said.iter().filter(|(partition, _)| here.contains(partition));
        let held = lines.map(|(partition, &said)| {
            let found = found.get(partition).filter(|found| found.dir == index);
            (partition.clone(), found.map_or(said, |found| said.min(found.holds(name))))
        });
        let held: Lines = held.collect();
        if held != *said {
            checkpoint::write(plan.disk.as_ref(), dir, name, &held).map_err(|error| DataError::LogDir {
                dir: dir.clone(),
                reason: format!("the checkpoint {name} cannot be written: {error}"),
            })?;
        }
    }
    Ok(())
}

fn collect(
    plan: &OpenPlan,
    (index, dir): (usize, &Path),
    [recovery, watermark, start]: &Said,
    seen: &mut BTreeMap<TopicPartition, PathBuf>,
    moving: &mut BTreeMap<TopicPartition, usize>,
    jobs: &mut Vec<Job>,
) -> Result<(), DataError> {
    let disk = plan.disk.as_ref();
    let failed = |reason: String| DataError::LogDir { dir: dir.to_owned(), reason };
    let entries = disk.list(dir).map_err(|error| failed(error.to_string()))?;
    // One that cannot be read is told by the cleaner, which looks again.
    let cleaned = checkpoint::read(disk, dir, CLEANED).unwrap_or_default();
    for entry in entries.into_iter().filter(|entry| entry.is_dir) {
        let path = dir.join(&entry.name);
        if entry.name.ends_with(DELETE_SUFFIX) && entry.name.contains('.') {
            disk.remove_dir_all(&path).map_err(|error| failed(error.to_string()))?;
            continue;
        }
        if let Some(copied) = moves::copied(&entry.name) {
            moving.extend(parse(copied).map(|partition| (partition, index)));
            disk.remove_dir_all(&path).map_err(|error| failed(error.to_string()))?;
            continue;
        }
        let Some(partition) = parse(&entry.name) else {
            if !entry.name.ends_with(STRAY_SUFFIX) && !entry.name.starts_with(METADATA_TOPIC) {
                tracing::warn!(path = %path.display(), "not a partition's directory; left alone");
            }
            continue;
        };
        if let Some(other) = seen.insert(partition.clone(), path.clone()) {
            let Some(kept) = moves::tidy(disk, &other, &path).map_err(|error| failed(error.to_string()))?
            else {
                let other = other.display();
                return Err(failed(format!("{partition} is in {other} too; remove the one that is older")));
            };
            if kept == other {
                seen.insert(partition, other);
                continue;
            }
            jobs.retain(|job| job.path != other);
        }
        let at = |lines: &Lines| lines.get(&partition).copied().unwrap_or(Offset::ZERO);
        let opening = Opening {
            is_clean: plan.was_clean,
            recovery_point: at(recovery),
            start: at(start),
            cleaned: at(&cleaned),
        };
        jobs.push(Job { dir: index, path, opening, high_watermark: at(watermark), partition });
    }
    Ok(())
}

/// The partition whose directory has that name.
fn parse(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let is_number = !partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit());
    let topic = TopicName::new(topic).ok().filter(|topic| topic.as_str() != METADATA_TOPIC)?;
    let partition = is_number.then(|| partition.parse().ok()).flatten()?;
    Some(TopicPartition { topic, partition: PartitionIndex::new(partition) })
}

fn open(plan: &OpenPlan, job: &Job) -> Found {
    let mut is_damaged = false;
    let opened = Log::open(plan.disk.clone(), job.path.clone(), plan.options.clone(), job.opening);
    let log = opened.map(|(mut log, report)| {
        for what in log.take_mended() {
            tracing::warn!(partition = %job.partition, what, "a damaged file was made anew");
        }
        if let Some(report) = report {
            is_damaged = !report.is_torn;
            let (path, position) = (report.path.display(), report.position);
            let (bytes, reason) = (report.bytes, report.reason);
            tracing::warn!(partition = %job.partition, %path, position, bytes, reason, "cut a damaged log");
        }
        log
    });
    if let Err(error) = &log {
        tracing::error!(partition = %job.partition, %error, "a log cannot be opened: its partition is offline here");
    }
    let (start, end) = log.as_ref().map_or((Offset::ZERO, Offset::ZERO), |log| (log.start(), log.end()));
    let synced = if plan.lost_power { job.opening.recovery_point } else { end };
    let high_watermark = job.high_watermark.min(synced).clamp(start, end);
    Found { dir: job.dir, path: job.path.clone(), log, high_watermark, moving_to: None, is_damaged }
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn check(name: &str, outcome: Option<&str>) {
        assert_eq!(parse(name).map(|partition| partition.to_string()).as_deref(), outcome, "{name}");
    }

    #[test]
    fn directories_of_partitions_are_told_from_others() {
        check("orders-0", Some("orders-0"));
        check("a-b.c-12", Some("a-b.c-12"));
        check("__cluster_metadata-0", None);
        check("orders-0.0123456789abcdef0123456789abcdef-delete", None);
        check("orders-0.0123456789abcdef0123456789abcdef-stray", None);
        check("orders-", None);
        check("orders-99999999999", None);
        check("orders", None);
    }
}
