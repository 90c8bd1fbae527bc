//! AlterReplicaLogDirs: replicas that move to another log directory of this node (KIP-113).
//!
//! ```text
//! a/t-0                      b/t-0.<hex>-future   copied while the partition goes on
//! a/t-0 with `moved-away`    b/t-0.<hex>-future   caught up, closed and synced
//! a/t-0 with `moved-away`    b/t-0                this replica from here on
//! a/t-0.<hex>-delete         b/t-0
//! ```
//!
//! One replica moves at a time. A node that dies in the middle goes on with whichever log
//! had the name last, and with the copy from its beginning ([`tidy`]).

mod copy;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::Disk;
use metadata::Image;
use model::{ErrorCode, Offset, TopicPartition};
use tokio::sync::Notify;
use wire::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use wire::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, topic};

use crate::data::attic::DELETE_SUFFIX;
use crate::data::partition::Key;
use crate::data::plane::Plane;

/// The suffix of a copy's directory.
pub const FUTURE_SUFFIX: &str = "-future";
/// In a log's directory: its copy elsewhere has all of it and is about to take its name.
const MOVED_AWAY: &str = "moved-away";

/// The moves that are wanted.
#[derive(Default)]
pub struct Moves {
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<Key, Move>,
    /// From and to which directory replicas moved, since somebody asked.
    moved: Vec<(usize, usize)>,
}

/// A move that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which replica.
    pub name: TopicPartition,
    /// Into which of the log directories.
    pub to: usize,
    /// How far the copy is.
    pub end: Offset,
    /// How large it is.
    pub bytes: u64,
}

impl Moves {
    /// Wants a replica in directory `to`, wherever it was wanted before.
    pub fn ask(&self, key: Key, name: TopicPartition, to: usize) {
        let mut state = self.lock();
        if state.wanted.get(&key).is_none_or(|wanted| wanted.to != to) {
            state.wanted.insert(key, Move { name, to, end: Offset::ZERO, bytes: 0 });
        }
        self.more.notify_one();
    }

    /// Wants it where it is.
    pub fn cancel(&self, key: Key) {
        self.lock().wanted.remove(&key);
    }

    /// The moves that have not come to their end.
    pub fn all(&self) -> Vec<(Key, Move)> {
        self.lock().wanted.iter().map(|(key, wanted)| (*key, wanted.clone())).collect()
    }

    /// From and to which directories replicas moved since the last call.
    pub fn take_moved(&self) -> Vec<(usize, usize)> {
        std::mem::take(&mut self.lock().moved)
    }

    fn first(&self) -> Option<(Key, usize)> {
        self.lock().wanted.iter().next().map(|(key, wanted)| (*key, wanted.to))
    }

    fn is_wanted(&self, key: Key, to: usize) -> bool {
        self.lock().wanted.get(&key).is_some_and(|wanted| wanted.to == to)
    }

    fn note(&self, key: Key, end: Offset, bytes: u64) {
        if let Some(wanted) = self.lock().wanted.get_mut(&key) {
            (wanted.end, wanted.bytes) = (end, bytes);
        }
    }

    fn finish(&self, key: Key, to: usize, moved: Option<(usize, usize)>) {
        let mut state = self.lock();
        if state.wanted.get(&key).is_some_and(|wanted| wanted.to == to) {
            state.wanted.remove(&key);
        }
        state.moved.extend(moved);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves replicas until the node stops.
pub async fn run(plane: Arc<Plane>) {
    let stop = plane.stop.clone();
    let moving = async {
        loop {
            while let Some((key, to)) = plane.moves.first() {
                copy::one(&plane, key, to).await;
            }
            plane.moves.more.notified().await;
        }
    };
    tokio::select! {
        () = moving => {}
        () = stop.cancelled() => {}
    }
}

/// Answers a request. The moves go on after the answer.
pub async fn handle(plane: Arc<Plane>, request: AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
    let picture = plane.options.published.get();
    plane.catch_up(&picture).await;
    let mut results: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for dir in request.dirs {
        let to = directory(&plane, Path::new(dir.path.as_str()));
        for named in dir.topics {
            let told = results.entry(named.name.to_string()).or_default();
            told.extend(named.partitions.iter().map(|&index| {
                let asked = to.and_then(|to| ask(&plane, &picture.image, &named.name, index, to));
                let code = asked.err().unwrap_or(ErrorCode::None);
                let result = AlterReplicaLogDirPartitionResult::default().with_partition_index(index);
                result.with_error_code(code.code())
            }));
        }
    }
    let results = results.into_iter().map(|(name, partitions)| {
        AlterReplicaLogDirTopicResult::default().with_topic_name(topic(&name)).with_partitions(partitions)
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}

fn directory(plane: &Plane, path: &Path) -> Result<usize, ErrorCode> {
    let found = plane.options.log_dirs.iter().position(|(dir, _)| dir == path);
    let found = found.ok_or(ErrorCode::LogDirNotFound)?;
    if plane.failed_dirs.contains(found) {
        Err(ErrorCode::KafkaStorageError)
    } else if plane.rooms.is_cordoned(found) {
        Err(ErrorCode::InvalidReplicaAssignment)
    } else {
        Ok(found)
    }
}

fn ask(plane: &Plane, image: &Image, name: &str, index: i32, to: usize) -> Result<(), ErrorCode> {
    let found = image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    // Kafka kept the code that this API had for a missing replica before there was a better one.
    let partition = plane.find(image, found.id, index).map_err(|code| match code {
        ErrorCode::NotLeaderOrFollower => ErrorCode::ReplicaNotAvailable,
        code => code,
    })?;
    let (lies_in, has_log) = {
        let state = partition.look();
        (state.dir, state.log.is_some())
    };
    if !has_log {
        return Err(ErrorCode::KafkaStorageError);
    }
    if lies_in == to {
        plane.moves.cancel(partition.key);
    } else {
        plane.moves.ask(partition.key, partition.name.clone(), to);
    }
    Ok(())
}

/// Marks a log whose copy takes its place.
fn mark(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    log::disk::write_atomically(disk, &dir.join(MOVED_AWAY), b"")
}

/// What a start makes of one partition's directories: of two the one that the other was moved to is kept.
/// `None` when that cannot be told.
pub fn tidy(disk: &dyn Disk, one: &Path, other: &Path) -> io::Result<Option<PathBuf>> {
    let was_moved = |dir: &Path| disk.exists(&dir.join(MOVED_AWAY));
    let (gone, kept) = match (was_moved(one)?, was_moved(other)?) {
        (true, false) => (one, other),
        (false, true) => (other, one),
        _ => return Ok(None),
    };
    // Under another name first: half removed it would not have its mark any more.
    let mut doomed = gone.file_name().unwrap_or_default().to_owned();
    doomed.push(format!(".{:032x}{DELETE_SUFFIX}", 0));
    let doomed = gone.with_file_name(doomed);
    disk.rename(gone, &doomed)?;
    disk.remove_dir_all(&doomed)?;
    Ok(Some(kept.to_owned()))
}

/// A log that stayed, for its copy never took its name.
pub fn unmark(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let mark = dir.join(MOVED_AWAY);
    if disk.exists(&mark)? { disk.remove_file(&mark) } else { Ok(()) }
}

/// The partition whose copy a directory holds.
pub fn copied(name: &str) -> Option<&str> {
    let (partition, drawn) = name.strip_suffix(FUTURE_SUFFIX)?.rsplit_once('.')?;
    (drawn.len() == 32 && drawn.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(partition)
}

#[cfg(test)]
mod tests;
