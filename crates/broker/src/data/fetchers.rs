//! Following leaders: a few tasks per leader, each with one request for its share of the partitions.
//!
//! The metadata says whom to follow ([`Fetchers::change`]); the tasks find out by
//! themselves how far each log is. A partition that is added while a request waits at
//! the leader is not left waiting with it: the request is given up and sent anew.
//!
//! `num.replica.fetchers` says how many tasks share a leader, each with a connection and
//! a session of its own; which takes a partition is Kafka's rule (`share`). The number may
//! change while the node runs: the partitions are dealt anew then.

mod ask;
mod pace;
mod run;
mod share;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{LeaderEpoch, Millis, NodeId};
use tokio::sync::Notify;

use crate::data::partition::{Key, Partition};
use crate::data::plane::Plane;

/// The tasks that follow, by leader.
pub struct Fetchers {
    known: Mutex<Known>,
}

struct Known {
    /// How many tasks share a leader.
    fetchers: u32,
    lanes: BTreeMap<LaneId, Arc<Lane>>,
    /// Where each followed partition is.
    places: BTreeMap<Key, LaneId>,
}

/// One of the tasks of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LaneId {
    leader: NodeId,
    fetcher: u32,
}

/// What one step of the metadata changes.
#[derive(Default)]
pub struct Fetching {
    follow: Vec<(NodeId, Followed)>,
    stop: Vec<Key>,
}

impl Fetching {
    /// Follow `leader` in `epoch`, and nobody else.
    pub fn follow(&mut self, leader: NodeId, epoch: LeaderEpoch, partition: Arc<Partition>) {
        self.follow.push((leader, Followed { partition, epoch, not_before: None }));
    }

    /// Follow nobody.
    pub fn stop(&mut self, key: Key) {
        self.stop.push(key);
    }
}

/// One task of a leader and what it follows there.
struct Lane {
    id: LaneId,
    followed: Mutex<BTreeMap<Key, Followed>>,
    /// Partitions were added, or the leader may be reachable again.
    changed: Notify,
}

/// A partition that is followed.
#[derive(Clone)]
struct Followed {
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    /// It had an error: leave it out until then.
    not_before: Option<Millis>,
}

impl Fetchers {
    /// Follows nobody yet; as many tasks will share a leader.
    pub fn new(fetchers: u32) -> Self {
        Self { known: Mutex::new(Known { fetchers, lanes: BTreeMap::new(), places: BTreeMap::new() }) }
    }

    /// Takes a step's changes. `brokers` changed: whoever waits for one of them tries again.
    pub fn change(&self, plane: &Arc<Plane>, fetching: Fetching, brokers: &BTreeSet<NodeId>) {
        let mut known = self.lock();
        for key in fetching.stop {
            known.forget(key);
        }
        let mut grown = BTreeSet::new();
        for &leader in brokers {
            let all = LaneId { leader, fetcher: 0 }..=LaneId { leader, fetcher: u32::MAX };
            grown.extend(known.lanes.range(all).map(|(id, _)| *id));
        }
        for (leader, followed) in fetching.follow {
            grown.insert(known.place(plane, leader, followed));
        }
        known.wake(&grown);
    }

    /// As many tasks share a leader from now on.
    pub fn resize(&self, plane: &Arc<Plane>, fetchers: u32) {
        let mut known = self.lock();
        if known.fetchers == fetchers {
            return;
        }
        known.fetchers = fetchers;
        let lanes: Vec<Arc<Lane>> = known.lanes.values().cloned().collect();
        let mut changed = BTreeSet::new();
        for lane in lanes {
            let followed = std::mem::take(&mut *lane.lock());
            for followed in followed.into_values() {
                changed.insert(known.place(plane, lane.id.leader, followed));
            }
            // What it asked for last is not its to take any more.
            changed.insert(lane.id);
        }
        known.wake(&changed);
    }

    /// `leader/fetcher: partitions`, a line a task that has any.
    #[cfg(test)]
    pub fn shares(&self) -> Vec<String> {
        let known = self.lock();
        let lines = known.lanes.values().map(|lane| {
            let followed = lane.lock();
            let names: Vec<String> = followed.values().map(|it| it.partition.name.to_string()).collect();
            (format!("{}/{}: {}", lane.id.leader, lane.id.fetcher, names.join(" ")), names.len())
        });
        lines.filter(|(_, count)| *count > 0).map(|(line, _)| line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Gives a partition to the task that shall follow it, which is started if need be. Says which.
    fn place(&mut self, plane: &Arc<Plane>, leader: NodeId, followed: Followed) -> LaneId {
        let key = followed.partition.key;
        self.forget(key);
        let fetcher = share::fetcher_of(&followed.partition.name, self.fetchers);
        let id = LaneId { leader, fetcher };
        self.places.insert(key, id);
        let lane = self.lanes.entry(id).or_insert_with(|| {
            let lane = Arc::new(Lane { id, followed: Mutex::default(), changed: Notify::new() });
            let place = plane.options.threads.fixed_place(usize::try_from(fetcher).unwrap_or(0));
            plane.tasks.spawn_at(&place, run::run(plane.clone(), lane.clone()));
            lane
        });
        lane.lock().insert(key, followed);
        id
    }

    fn forget(&mut self, key: Key) {
        if let Some(id) = self.places.remove(&key)
            && let Some(lane) = self.lanes.get(&id)
        {
            lane.lock().remove(&key);
        }
    }

    fn wake(&self, lanes: &BTreeSet<LaneId>) {
        for lane in lanes.iter().filter_map(|id| self.lanes.get(id)) {
            lane.changed.notify_one();
        }
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves `key` out until `not_before`, if it is still followed in that epoch.
    fn delay(&self, key: Key, epoch: LeaderEpoch, not_before: Millis) {
        if let Some(followed) = self.lock().get_mut(&key).filter(|followed| followed.epoch == epoch) {
            followed.not_before = Some(not_before);
        }
    }
}
