//! What happens by the clock: lagging followers, checkpoints, retention, overdue syncs.
//!
//! One task for all partitions. It sleeps until the next thing is due; what touches
//! the disk runs on other threads, one kind of work at a time.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::Log;
use log::checkpoint::{self, HIGH_WATERMARK, LOG_START, Lines, OF_EACH_LOG, RECOVERY_POINT};
use model::{Millis, Offset};
use replica::Input;

use crate::data::durability;
use crate::data::partition::{Partition, State};
use crate::data::plane::Plane;

/// How often overdue syncs (`flush.ms`) and directories to be removed are looked for.
const SHORT: Duration = Duration::from_secs(1);
/// Files that were not used for so long are closed.
const IDLE: Duration = Duration::from_secs(60);

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Lag,
    Short,
    HighWatermarks,
    RecoveryPoints,
    LogStarts,
    Retention,
    Producers,
    IdleFiles,
}

/// Runs until the node stops.
pub async fn run(plane: Arc<Plane>) {
    let stop = plane.stop.clone();
    let working = async {
        let now = plane.options.clock.now();
        let mut due: BTreeMap<Job, Millis> =
            intervals(&plane).into_iter().map(|(job, interval)| (job, now.after(interval))).collect();
        let intervals: BTreeMap<Job, Duration> = intervals(&plane).into_iter().collect();
        loop {
            let (job, at) =
                due.iter().min_by_key(|(_, at)| **at).map(|(job, at)| (*job, *at)).expect("never empty");
            tokio::time::sleep(at.since(plane.options.clock.now())).await;
            carry_out(&plane, job).await;
            due.insert(job, plane.options.clock.now().after(intervals[&job]));
        }
    };
    tokio::select! {
        () = working => {}
        () = stop.cancelled() => {}
    }
}

fn intervals(plane: &Plane) -> [(Job, Duration); 8] {
    let (log, replication) = (&plane.options.config.log, &plane.options.config.replication);
    let bounded =
        |interval: Duration| interval.clamp(Duration::from_millis(10), Duration::from_secs(24 * 3600));
    [
        (Job::Lag, bounded(replication.lag_time_max / 2)),
        (Job::Short, SHORT),
        (Job::HighWatermarks, bounded(replication.high_watermark_checkpoint_interval)),
        (Job::RecoveryPoints, bounded(log.recovery_point_checkpoint_interval)),
        (Job::LogStarts, bounded(log.start_offset_checkpoint_interval)),
        (Job::Retention, bounded(log.retention_check_interval)),
        (Job::Producers, bounded(log.producer_expiration_check_interval)),
        (Job::IdleFiles, IDLE),
    ]
}

async fn carry_out(plane: &Arc<Plane>, job: Job) {
    match job {
        Job::Lag => tick(plane),
        Job::Short => {
            sync_overdue(plane).await;
            remove_doomed(plane).await;
        }
        Job::HighWatermarks => write_checkpoint(plane, HIGH_WATERMARK).await,
        Job::RecoveryPoints => {
            sync_rolled(plane).await;
            write_checkpoint(plane, RECOVERY_POINT).await;
        }
        Job::LogStarts => write_checkpoint(plane, LOG_START).await,
        Job::Retention => retain(plane).await,
        Job::Producers => expire_producers(plane),
        Job::IdleFiles => release_idle(plane),
    }
}

fn tick(plane: &Plane) {
    let now = plane.options.clock.now();
    for partition in plane.partitions() {
        let outcome = partition.lock().step(now, Input::Ticked);
        plane.carry_out(&partition, outcome);
    }
}

async fn sync_overdue(plane: &Plane) {
    let now = plane.options.clock.now();
    let overdue = |state: &State| {
        // Nobody may be waiting: the producer asked for no answer, or this leader took the records over.
        if state.settings.flush_records().is_some_and(|most| state.unsynced_records() >= most) {
            return true;
        }
        let (Some(since), Some(most)) = (state.dirty_since, state.settings.flush_interval()) else {
            return false;
        };
        now.since(since) >= most
    };
    sync_where(plane, overdue).await;
}

/// Segments that no longer grow are synced by and by, so that a crash need not read them again.
async fn sync_rolled(plane: &Plane) {
    sync_where(plane, |state| state.log.as_ref().is_some_and(Log::has_unsynced_roll)).await;
}

async fn sync_where(plane: &Plane, wanted: impl Fn(&State) -> bool) {
    for partition in plane.partitions() {
        let end = {
            let state = partition.lock();
            if !wanted(&state) {
                continue;
            }
            state.log.as_ref().map_or(Offset::ZERO, Log::end)
        };
        if let Err(error) = durability::sync_to(plane, &partition, end).await {
            tracing::error!(partition = %partition.name, %error, "a log cannot be synced");
        }
    }
}

async fn remove_doomed(plane: &Arc<Plane>) {
    let due = plane.attic.take_due(plane.options.clock.now());
    if due.is_empty() {
        return;
    }
    let disk = plane.options.disk.clone();
    let work = move || {
        for path in due {
            let is_file = path.to_string_lossy().ends_with(log::DELETED_SUFFIX);
            let removed = if is_file { disk.remove_file(&path) } else { disk.remove_dir_all(&path) };
            match removed {
                // Its partition has left, and taken it along.
                Err(error) if is_file && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "what was deleted cannot be removed")
                }
                Ok(()) => {}
            }
        }
    };
    plane.options.blocking.run(work).await;
}

/// What a checkpoint is to say, by log directory.
fn gather(plane: &Plane, name: &str) -> Vec<Lines> {
    let mut offsets = vec![Lines::new(); plane.options.log_dirs.len()];
    for partition in plane.partitions() {
        let state = partition.lock();
        let Some(log) = &state.log else { continue };
        let offset = match name {
            HIGH_WATERMARK => state.replica.high_watermark(),
            RECOVERY_POINT => log.recovery_point(),
            _ => log.start(),
        };
        // Zero is what a missing line means.
        if offset > Offset::ZERO {
            offsets[state.dir].insert(partition.name.clone(), offset);
        }
    }
    offsets
}

/// Writes one checkpoint in every log directory.
pub async fn write_checkpoint(plane: &Arc<Plane>, name: &'static str) {
    let plane = plane.clone();
    let blocking = plane.options.blocking.clone();
    let work = move || {
        // Gathered and written as one: an older picture must not replace a newer one.
        let _alone = plane.checkpoints.write_alone();
        if !plane.knows_its_partitions() {
            return;
        }
        let offsets = gather(&plane, name);
        for (at, (dir, offsets)) in plane.options.log_dirs.iter().zip(&offsets).enumerate() {
            if plane.failed_dirs.contains(at) || !plane.checkpoints.is_new(name, &dir.0, offsets) {
                continue;
            }
            if let Err(error) = checkpoint::write(plane.options.disk.as_ref(), &dir.0, name, offsets) {
                tracing::warn!(dir = %dir.0.display(), name, %error, "a checkpoint cannot be written");
            }
        }
    };
    blocking.run(work).await;
}

/// Removes what retention lets go.
pub async fn retain(plane: &Arc<Plane>) {
    let plane = plane.clone();
    let blocking = plane.options.blocking.clone();
    let work = move || {
        let wall = plane.options.clock.wall();
        for partition in plane.partitions() {
            retain_one(&plane, &partition, wall);
        }
    };
    blocking.run(work).await;
}

fn retain_one(plane: &Plane, partition: &Partition, wall: model::Timestamp) {
    let mut state = partition.lock();
    let retention = state.settings.retention();
    // Followers do as their leader: its log start comes with every fetch.
    let retained = match (retention, state.lead()) {
        (Some(retention), Ok((log, leader))) => {
            let committed = leader.high_watermark();
            log.retain(&retention, wall, committed)
        }
        _ => Ok(0),
    };
    let Some(log) = &mut state.log else { return };
    match retained.and_then(|segments| Ok(segments + log.remove_deleted()?)) {
        Ok(0) => {}
        Ok(segments) => {
            tracing::info!(partition = %partition.name, segments, start = %log.start(), "retention")
        }
        Err(error) => {
            tracing::error!(partition = %partition.name, %error, "retention failed");
            state.fail_if_poisoned();
        }
    }
    plane.bury(&mut state);
}

fn expire_producers(plane: &Plane) {
    let wall = plane.options.clock.wall();
    for partition in plane.partitions() {
        if let Some(log) = &mut partition.lock().log {
            log.expire_producers(wall);
        }
    }
}

fn release_idle(plane: &Plane) {
    let now = plane.options.clock.now();
    for partition in plane.partitions() {
        let mut state = partition.lock();
        if state.used_at.is_some_and(|used| now.since(used) >= IDLE) {
            state.used_at = None;
            if let Some(log) = &mut state.log {
                log.release();
            }
        }
    }
}

/// Closes every log. True when all closed in order.
pub async fn close_all(plane: &Arc<Plane>, threads: usize) -> bool {
    if !plane.knows_its_partitions() {
        return false;
    }
    let partitions = plane.partitions();
    let share = partitions.len().div_ceil(threads.max(1)).max(1);
    let shares: Vec<Vec<Arc<Partition>>> = partitions.chunks(share).map(<[_]>::to_vec).collect();
    let closing = shares.into_iter().map(|share| {
        plane.options.blocking.run(move || share.iter().filter(|partition| !close(partition)).count())
    });
    let failed: usize = futures_util::future::join_all(closing).await.into_iter().sum();
    for name in OF_EACH_LOG {
        write_checkpoint(plane, name).await;
    }
    failed == 0
}

fn close(partition: &Partition) -> bool {
    let mut state = partition.lock();
    state.replica.go_offline();
    // It stays where it is: the checkpoints are written from it.
    let Some(log) = &mut state.log else { return false };
    match log.close() {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(partition = %partition.name, %error, "a log cannot be closed in order");
            false
        }
    }
}
