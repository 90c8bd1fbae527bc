//! Metadata steps to partitions: who leads, who follows whom, what comes and goes.
//!
//! Steps come one at a time and in the order of the log. What touches the disk (new
//! directories, renames) is done for a whole step at once on other threads; what
//! does not is a lock and a few assignments a partition, so that thousands of
//! partitions change hands in milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use log::{Log, LogError};
use metadata::{Changes, ConfigResource, Image, ResourceKind};
use model::{ErrorCode, Offset, TopicId, TopicName, TopicPartition};
use replica::{Assignment, Transition};

use crate::data::attic::{self, DELETE_SUFFIX, STRAY_SUFFIX};
use crate::data::fetchers::Fetching;
use crate::data::open::Found;
use crate::data::partition::{Key, Outcome, Partition, State};
use crate::data::plane::Plane;
use crate::data::rooms::cordon;
use crate::data::settings::{SettingsSource, TopicSettings};
use crate::publish::Step;

/// Fewer than this are not worth a second thread.
const SPLIT_MIN: usize = 64;
/// Disk work of one step runs on as many threads.
const SPLIT_THREADS: usize = 2;

/// Turns steps into partitions.
pub struct Applier {
    plane: Arc<Plane>,
    settings: SettingsSource,
    /// Logs that were there at the start and belong to nobody yet.
    found: BTreeMap<TopicPartition, Found>,
    /// Those of them that were on their way to another directory.
    moving: BTreeMap<TopicPartition, usize>,
    /// How many partitions each log directory holds.
    dir_counts: Vec<usize>,
}

/// A replica that has no log yet.
struct Birth {
    key: Key,
    name: TopicPartition,
    dir: usize,
    path: PathBuf,
    settings: Arc<TopicSettings>,
}

impl Applier {
    /// An applier that hands out what was `found` on disk.
    pub fn new(plane: Arc<Plane>, found: BTreeMap<TopicPartition, Found>) -> Self {
        let options = &plane.options;
        let settings = SettingsSource::new(options.node, options.config.clone());
        cordon(&plane, &settings.cordoned(&Image::default()));
        let mut dir_counts = vec![0; options.log_dirs.len()];
        for log in found.values() {
            dir_counts[log.dir] += 1;
        }
        let moving = found.iter().filter_map(|(name, log)| Some((name.clone(), log.moving_to?))).collect();
        Self { plane, settings, found, moving, dir_counts }
    }

    /// Takes one step.
    pub async fn apply(&mut self, step: &Step) {
        let image = &step.picture.image;
        let changes = &step.changes;
        for (from, to) in self.plane.moves.take_moved() {
            self.dir_counts[from] -= 1;
            self.dir_counts[to] += 1;
        }
        let mut fetching = Fetching::default();
        let mut leaving = self.of_deleted_topics(changes);
        self.take_configs(image, changes);
        let (mut staying, births, gone) = self.sort(image, changes);
        leaving.extend(gone);
        for partition in &leaving {
            fetching.stop(partition.key);
        }
        self.discard(leaving).await;
        let born = self.give_birth(births).await;
        self.plane.insert(born.iter().cloned());
        self.go_on_moving(&born);
        staying.extend(born);
        self.assign(image, &staying, &mut fetching);
        self.plane.fetchers.change(&self.plane, fetching, &changes.brokers);
        self.plane.applied.send_replace(step.picture.end);
    }

    /// Sets aside the logs that no partition of this node wanted once its metadata was complete.
    pub async fn set_strays_aside(&mut self) {
        let strays = std::mem::take(&mut self.found);
        self.forget(strays.iter().map(|(partition, found)| (found.dir, partition.clone())).collect()).await;
        let plane = self.plane.clone();
        let work = move || {
            for (partition, found) in strays {
                drop(found.log);
                let name = plane.attic.name(&partition, STRAY_SUFFIX);
                match attic::rename(plane.options.disk.as_ref(), &found.path, &name) {
                    Ok(to) => {
                        tracing::warn!(%partition, to = %to.display(), "a log that no partition of this node has was set aside")
                    }
                    Err(error) => tracing::warn!(%partition, %error, "a stray log cannot be renamed"),
                }
            }
        };
        self.plane.options.blocking.run(work).await;
    }

    fn of_deleted_topics(&self, changes: &Changes) -> Vec<Arc<Partition>> {
        let topics = changes.topics_deleted.keys();
        topics.flat_map(|topic| self.plane.partitions_of(*topic)).collect()
    }

    fn take_configs(&mut self, image: &Image, changes: &Changes) {
        let topics: Vec<(TopicId, TopicName)> = if changes.configs.iter().any(|it| self.settings.is_broad(it))
        {
            self.settings.forget();
            self.plane.fetchers.resize(&self.plane, self.settings.fetchers(image));
            self.settings.set_rates(image, self.plane.options.clock.now(), &self.plane.throttles);
            self.plane.rooms.set_reserve(self.settings.reserve_bytes(image));
            cordon(&self.plane, &self.settings.cordoned(image));
            let mut all: Vec<_> =
                self.plane.partitions().iter().map(|it| (it.key.0, it.name.topic.clone())).collect();
            all.dedup();
            all
        } else {
            let named = changes.configs.iter().filter(|it: &&ConfigResource| it.kind == ResourceKind::TOPIC);
            named.filter_map(|it| image.topic(&it.name)).map(|topic| (topic.id, topic.name.clone())).collect()
        };
        for (id, name) in topics {
            let settings = self.settings.of(image, name.as_str());
            for partition in self.plane.partitions_of(id) {
                partition.lock().set_settings(settings.clone());
            }
        }
    }

    /// What the changed partitions mean for this node: had already, new here, not here any more.
    fn sort(
        &mut self,
        image: &Image,
        changes: &Changes,
    ) -> (Vec<Arc<Partition>>, Vec<Birth>, Vec<Arc<Partition>>) {
        let (mut staying, mut births, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let me = self.plane.options.node;
        for &key in &changes.partitions {
            let Some(topic) = image.topic_by_id(key.0) else { continue };
            let is_mine = topic.partition(key.1).is_some_and(|partition| partition.replicas.contains(&me));
            match (self.plane.partition(key), is_mine) {
                (Some(partition), true) => staying.push(partition),
                (Some(partition), false) => gone.push(partition),
                (None, true) => births.push(self.birth(image, key, &topic.name)),
                (None, false) => {}
            }
        }
        (staying, births, gone)
    }

    fn birth(&mut self, image: &Image, key: Key, topic: &TopicName) -> Birth {
        let name = TopicPartition { topic: topic.clone(), partition: key.1 };
        let dir = match self.found.get(&name) {
            Some(found) => found.dir,
            None => {
                let works = |dir: &usize| !self.plane.failed_dirs.contains(*dir);
                let working = (0..self.dir_counts.len()).filter(works);
                let rooms = &self.plane.rooms;
                // The controller may not have heard that all of them are cordoned.
                let burden = |&dir: &usize| (rooms.is_cordoned(dir), rooms.level(dir), self.dir_counts[dir]);
                let emptiest = working.min_by_key(burden).unwrap_or(0);
                self.dir_counts[emptiest] += 1;
                emptiest
            }
        };
        let path = self.plane.options.log_dirs[dir].0.join(name.to_string());
        Birth { key, name, dir, path, settings: self.settings.of(image, topic.as_str()) }
    }

    /// Logs for new replicas: those that were found, new ones for the others.
    async fn give_birth(&mut self, births: Vec<Birth>) -> Vec<Arc<Partition>> {
        if births.is_empty() {
            return Vec::new();
        }
        let jobs: Vec<(Birth, Option<Found>)> = births
            .into_iter()
            .map(|birth| {
                let found = self.found.remove(&birth.name);
                (birth, found)
            })
            .collect();
        let strays = jobs.iter().filter_map(|(birth, found)| {
            let found = found.as_ref().filter(|found| belongs_elsewhere(found, birth.key.0))?;
            Some((found.dir, birth.name.clone()))
        });
        self.forget(strays.collect()).await;
        let plane = self.plane.clone();
        self.split(jobs, move |(birth, found)| bring_up(&plane, birth, found)).await
    }

    /// A move that the last stop broke off begins again.
    fn go_on_moving(&mut self, born: &[Arc<Partition>]) {
        if self.moving.is_empty() {
            return;
        }
        for partition in born {
            if let Some(to) = self.moving.remove(&partition.name) {
                self.plane.moves.ask(partition.key, partition.name.clone(), to);
            }
        }
    }

    /// Does disk work on every item, on several threads when there are many. Keeps the order.
    async fn split<T: Send + 'static, R: Send + 'static>(
        &self,
        mut items: Vec<T>,
        work: impl Fn(T) -> R + Clone + Send + 'static,
    ) -> Vec<R> {
        let blocking = &self.plane.options.blocking;
        let share = if items.len() < SPLIT_MIN { items.len() } else { items.len().div_ceil(SPLIT_THREADS) };
        let mut running = Vec::new();
        while !items.is_empty() {
            let rest = items.split_off(share.min(items.len()));
            let (part, work) = (std::mem::replace(&mut items, rest), work.clone());
            running.push(blocking.run(move || part.into_iter().map(work).collect::<Vec<R>>()));
        }
        futures_util::future::join_all(running).await.into_iter().flatten().collect()
    }

    fn assign(&self, image: &Image, partitions: &[Arc<Partition>], fetching: &mut Fetching) {
        let now = self.plane.options.clock.now();
        for partition in partitions {
            let (topic, index) = partition.key;
            let Some(known) = image.partition(topic, index) else { continue };
            let assignment = Assignment {
                replicas: known.replicas.to_vec(),
                isr: known.isr.to_vec(),
                leader: known.leader,
                leader_epoch: known.leader_epoch,
                partition_epoch: known.partition_epoch,
            };
            let (transition, outcome) = partition.lock().assign(now, &assignment);
            match transition {
                Transition::Follow { leader, epoch } => fetching.follow(leader, epoch, partition.clone()),
                Transition::Lead { .. } | Transition::Stop => fetching.stop(partition.key),
                Transition::None | Transition::StillLeading => {}
            }
            let wake = outcome.wake || transition != Transition::None;
            self.plane.carry_out(partition, Outcome { wake, ..outcome });
        }
    }

    /// Takes replicas out of service and their directories out of the way.
    async fn discard(&mut self, partitions: Vec<Arc<Partition>>) {
        if partitions.is_empty() {
            return;
        }
        let mut gone = Vec::new();
        for partition in &partitions {
            self.plane.remove(partition.key);
            let state = partition.lock();
            self.dir_counts[state.dir] -= 1;
            // Of a log that never held a record, no checkpoint tells.
            if state.log.as_ref().is_none_or(|log| log.end() > Offset::ZERO) {
                gone.push((state.dir, partition.name.clone()));
            }
        }
        self.forget(gone).await;
        let plane = self.plane.clone();
        self.split(partitions, move |partition| put_away(&plane, &partition)).await;
    }

    /// Takes logs out of the checkpoints, before they go: killed in between, a start reads more of them.
    async fn forget(&self, gone: Vec<(usize, TopicPartition)>) {
        let mut by_dir: BTreeMap<usize, BTreeSet<TopicPartition>> = BTreeMap::new();
        for (dir, partition) in gone {
            by_dir.entry(dir).or_default().insert(partition);
        }
        by_dir.retain(|dir, _| !self.plane.failed_dirs.contains(*dir));
        if by_dir.is_empty() {
            return;
        }
        let plane = self.plane.clone();
        let work = move || {
            let options = &plane.options;
            for (dir, gone) in by_dir {
                plane.checkpoints.forget(options.disk.as_ref(), &options.log_dirs[dir].0, &gone);
            }
        };
        self.plane.options.blocking.run(work).await;
    }
}

fn put_away(plane: &Plane, partition: &Partition) {
    let (log, delay) = {
        let mut state = partition.lock();
        state.replica.go_offline();
        (state.log.take(), state.settings.topic.file_delete_delay)
    };
    partition.waiters.wake();
    let Some(log) = log else { return };
    let path = log.dir().to_owned();
    drop(log);
    let name = plane.attic.name(&partition.name, DELETE_SUFFIX);
    match attic::rename(plane.options.disk.as_ref(), &path, &name) {
        Ok(renamed) => plane.attic.doom(plane.options.clock.now().after(delay), renamed),
        Err(error) => {
            tracing::error!(partition = %partition.name, %error, "a deleted partition's directory cannot be renamed");
        }
    }
}

fn bring_up(plane: &Plane, birth: Birth, found: Option<Found>) -> Arc<Partition> {
    let Birth { key, name, dir, path, settings } = birth;
    let disk = plane.options.disk.clone();
    let create = || Log::create(disk, path, settings.log.clone(), Some(key.0));
    let (log, high_watermark) = match found {
        Some(found) if belongs_elsewhere(&found, key.0) => {
            drop(found.log);
            let aside = plane.attic.name(&name, STRAY_SUFFIX);
            tracing::warn!(partition = %name, aside, "the log of an older topic of that name was set aside");
            let renamed = attic::rename(plane.options.disk.as_ref(), &found.path, &aside);
            let renamed =
                renamed.map_err(|source| LogError::Io { doing: "rename", path: found.path, source });
            (renamed.and_then(|_| create()), Offset::ZERO)
        }
        Some(found) => (found.log.map(|log| owned_by(log, key.0)), found.high_watermark),
        None => (create(), Offset::ZERO),
    };
    let log = match log {
        Ok(mut log) => {
            log.set_options(settings.log.clone());
            Some(log)
        }
        Err(error) => {
            let code = error.code();
            tracing::error!(partition = %name, %error, code = code.code(), "a partition is offline");
            debug_assert_eq!(code, ErrorCode::KafkaStorageError);
            if matches!(error, LogError::Io { .. }) {
                plane.failed_dirs.report(dir);
            }
            None
        }
    };
    let failed_dirs = plane.failed_dirs.clone();
    let state = State::new(plane.options.node, log, high_watermark, settings, dir, failed_dirs);
    Partition::new(key, name, state)
}

/// A log that does not know its topic belongs to the one of its name.
fn owned_by(mut log: Log, topic: TopicId) -> Log {
    if log.topic_id().is_none() {
        log.adopt(topic);
    }
    log
}

/// Whether a log was written for another topic of the same name.
fn belongs_elsewhere(found: &Found, topic: TopicId) -> bool {
    found.log.as_ref().is_ok_and(|log| log.topic_id().is_some_and(|id| id != topic))
}
