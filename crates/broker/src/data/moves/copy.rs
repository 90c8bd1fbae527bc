//! One replica's way into another log directory: copied, compared, put in its place.
//!
//! The copy is a follower of the log beside it, by the same rules: where their epochs
//! part it is cut. It takes the log's place under the partition's lock, when it ends
//! where the log ends and no sync of the log is under way.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::checkpoint::OF_EACH_LOG;
use log::{AppendError, Log, LogError, Opening};
use model::Offset;
use replica::{Divergence, EpochEnd, Input, Lookup};

use crate::data::attic::{self, DELETE_SUFFIX};
use crate::data::moves::{FUTURE_SUFFIX, mark};
use crate::data::partition::{Key, Partition, State};
use crate::data::plane::Plane;
use crate::data::rooms::{self, Level};
use crate::data::upkeep;

/// Bytes that are copied at a time.
const PIECE_BYTES: usize = 1 << 20;
/// A log that others write to or sync is tried again after as long.
const AGAIN: Duration = Duration::from_millis(10);

/// What one step came to.
enum Step {
    /// So many bytes were copied.
    Copied(usize),
    /// The copy has all; it could not take the log's place at this moment.
    Busy,
    /// The replica lies elsewhere now.
    Moved { from: usize },
    /// The partition is not what it was: there is nothing to move.
    Gone,
}

/// Why a replica stays where it is.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("cannot read or rename: {0}")]
    Disk(#[from] std::io::Error),
}

/// The copy.
struct Copy {
    plane: Arc<Plane>,
    partition: Arc<Partition>,
    to: usize,
    path: PathBuf,
    /// `None` once it has another name.
    log: Option<Log>,
}

/// Moves a replica, unless it is not wanted there any more.
pub(super) async fn one(plane: &Arc<Plane>, key: Key, to: usize) {
    let moved = match plane.partition(key) {
        Some(partition) => carry(plane, partition, to).await,
        None => None,
    };
    plane.moves.finish(key, to, moved.map(|from| (from, to)));
    if moved.is_some() {
        for name in OF_EACH_LOG {
            upkeep::write_checkpoint(plane, name).await;
        }
        // Where it lies is told to the controller as after a step of the metadata.
        plane.applied.send_modify(|_| {});
    }
}

/// The directory it came from, if it went.
async fn carry(plane: &Arc<Plane>, partition: Arc<Partition>, to: usize) -> Option<usize> {
    let (key, name) = (partition.key, partition.name.clone());
    let path = plane.options.log_dirs[to].0.join(plane.attic.name(&name, FUTURE_SUFFIX));
    let mut copy = Copy { plane: plane.clone(), partition, to, path, log: None };
    loop {
        if !plane.moves.is_wanted(key, to) {
            plane.options.blocking.run(move || copy.discard()).await;
            return None;
        }
        if plane.rooms.level(to) > Level::Roomy {
            tokio::time::sleep(rooms::INTERVAL).await;
            continue;
        }
        let work = move || {
            let step = copy.step();
            (copy, step)
        };
        let step;
        (copy, step) = plane.options.blocking.run(work).await;
        match step {
            Ok(Step::Copied(bytes)) => pause(plane, key, to, bytes).await,
            Ok(Step::Busy) => tokio::time::sleep(AGAIN).await,
            Ok(Step::Moved { from }) => {
                let (from_dir, to_dir) = (&plane.options.log_dirs[from].0, &plane.options.log_dirs[to].0);
                tracing::info!(partition = %name, from = %from_dir.display(), to = %to_dir.display(), "moved");
                return Some(from);
            }
            Ok(Step::Gone) => {
                plane.options.blocking.run(move || copy.discard()).await;
                return None;
            }
            Err(error) => {
                tracing::error!(partition = %name, path = %copy.path.display(), %error, "a replica cannot be moved; it stays where it is");
                plane.options.blocking.run(move || copy.discard()).await;
                return None;
            }
        }
    }
}

/// What `replica.alter.log.dirs.io.max.bytes.per.second` asks for.
async fn pause(plane: &Plane, key: Key, to: usize, bytes: usize) {
    let throttle = &plane.throttles.moves;
    throttle.spend(plane.options.clock.now(), bytes);
    while plane.moves.is_wanted(key, to) && plane.partition(key).is_some() {
        let now = plane.options.clock.now();
        match throttle.pauses_until(now) {
            Some(until) => tokio::time::sleep(until.since(now)).await,
            None => break,
        }
    }
    // Others have work as well.
    tokio::task::yield_now().await;
}

impl Copy {
    fn step(&mut self) -> Result<Step, Failure> {
        let wall = self.plane.options.clock.wall();
        let mut copy = match self.log.take() {
            Some(log) => log,
            None => {
                let options = self.partition.look().settings.log.clone();
                Log::create(
                    self.plane.options.disk.clone(),
                    self.path.clone(),
                    options,
                    Some(self.partition.key.0),
                )?
            }
        };
        let is_here =
            self.plane.partition(self.partition.key).is_some_and(|it| Arc::ptr_eq(&it, &self.partition));
        let (start, cut, slice) = {
            let mut state = self.partition.look();
            let Some(log) = state.log.as_mut().filter(|_| is_here) else {
                self.log = Some(copy);
                return Ok(Step::Gone);
            };
            let (start, cut) = (log.start(), apart(log, &copy));
            let slice = match cut {
                Some(_) => None,
                None => log.read(copy.end().max(start), PIECE_BYTES, log.end(), true)?,
            };
            (start, cut, slice)
        };
        match cut {
            Some(end) if end < start || copy.end() < start => copy.restart_at(start)?,
            Some(end) => copy.truncate_to(end)?,
            None if copy.end() < start => copy.restart_at(start)?,
            None => {}
        }
        copy.advance_start(start.min(copy.end()))?;
        let bytes = slice.map(|slice| slice.read()).transpose()?.unwrap_or_default();
        if !bytes.is_empty() {
            copy.append_as_follower(&bytes, wall)?;
        }
        self.plane.moves.note(self.partition.key, copy.end(), copy.size_bytes());
        for path in copy.take_retired() {
            self.plane.options.disk.remove_file(&path)?;
        }
        if cut.is_some() || !bytes.is_empty() {
            self.log = Some(copy);
            return Ok(Step::Copied(bytes.len()));
        }
        self.take_place(copy)
    }

    /// The copy has all there was a moment ago.
    fn take_place(&mut self, mut copy: Log) -> Result<Step, Failure> {
        copy.close()?;
        let (plane, partition) = (self.plane.clone(), self.partition.clone());
        let disk = plane.options.disk.clone();
        let mut state = partition.lock();
        let is_syncing = state.is_syncing;
        let Some(log) = &mut state.log else {
            self.log = Some(copy);
            return Ok(Step::Gone);
        };
        if is_syncing || copy.end() != log.end() || copy.start() != log.start() || apart(log, &copy).is_some()
        {
            self.log = Some(copy);
            return Ok(Step::Busy);
        }
        let (old, epoch) = (log.dir().to_owned(), log.last_epoch());
        let opening =
            Opening { is_clean: true, recovery_point: log.end(), start: log.start(), ..Opening::default() };
        drop(copy);
        mark(disk.as_ref(), &old)?;
        let path = attic::rename(disk.as_ref(), &self.path, &partition.name.to_string())?;
        // From here on this is the replica, whatever happens: the next start takes it for that.
        let from = std::mem::replace(&mut state.dir, self.to);
        if let Err(error) = disk.sync_dir(&plane.options.log_dirs[self.to].0) {
            state.fail();
            return Err(error.into());
        }
        let opened = Log::open(disk.clone(), path, state.settings.log.clone(), opening);
        match opened {
            Ok((mut new, None)) if new.end() == opening.recovery_point => {
                if let Some(epoch) = epoch {
                    new.begin_epoch(epoch);
                }
                if new.topic_id().is_none() {
                    new.adopt(partition.key.0);
                }
                state.log = Some(new);
            }
            Ok(_) | Err(_) => {
                tracing::error!(partition = %partition.name, "a replica cannot be opened where it was moved to");
                state.fail();
            }
        }
        state.dirty_since = None;
        let now = plane.options.clock.now();
        let outcome = state.step(now, Input::Synced { end: opening.recovery_point });
        let delay = state.settings.topic.file_delete_delay;
        drop(state);
        plane.carry_out(&partition, outcome);
        partition.waiters.wake();
        match attic::rename(disk.as_ref(), &old, &plane.attic.name(&partition.name, DELETE_SUFFIX)) {
            Ok(doomed) => plane.attic.doom(now.after(delay), doomed),
            // Its mark tells the next start that it may go.
            Err(error) => {
                tracing::warn!(path = %old.display(), %error, "what was moved away cannot be renamed")
            }
        }
        Ok(Step::Moved { from })
    }

    fn discard(self) {
        drop(self.log);
        let disk = self.plane.options.disk.as_ref();
        let removed = disk.exists(&self.path).and_then(|is_there| match is_there {
            true => disk.remove_dir_all(&self.path),
            false => Ok(()),
        });
        if let Err(error) = removed {
            tracing::warn!(path = %self.path.display(), %error, "a copy that is not wanted cannot be removed");
        }
    }
}

/// Where the copy is to be cut, if the log is not what it continues.
fn apart(log: &Log, copy: &Log) -> Option<Offset> {
    if copy.end() < log.start() {
        return None;
    }
    if copy.end() > log.end() {
        return Some(log.end());
    }
    let last = copy.last_fetched_epoch()?;
    match Lookup::of(last, copy.end(), State::epoch_end(log, last), log.start()) {
        Lookup::Consistent => None,
        Lookup::Diverged(theirs) => {
            let ours: Option<EpochEnd> = State::epoch_end(copy, theirs.epoch);
            Some(Divergence::resolve(theirs, ours, copy.start(), copy.end()).truncate_to)
        }
    }
}
