//! Following leaders: one task per leader, one request for all partitions followed there.
//!
//! The metadata says whom to follow ([`Fetchers::change`]); the tasks find out by
//! themselves how far each log is. A partition that is added while a request waits at
//! the leader is not left waiting with it: the request is given up and sent anew.

mod ask;
mod run;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{LeaderEpoch, Millis, NodeId};
use tokio::sync::Notify;

use crate::data::partition::{Key, Partition};
use crate::data::plane::Plane;

/// The tasks that follow, by leader.
#[derive(Default)]
pub struct Fetchers {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    lanes: BTreeMap<NodeId, Arc<Lane>>,
    /// Where each followed partition is.
    leaders: BTreeMap<Key, NodeId>,
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

/// One leader and what is followed there.
struct Lane {
    leader: NodeId,
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
    /// Takes a step's changes. `brokers` changed: whoever waits for one of them tries again.
    pub fn change(&self, plane: &Arc<Plane>, fetching: Fetching, brokers: &BTreeSet<NodeId>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for key in fetching.stop {
            known.forget(key);
        }
        let mut grown: BTreeSet<NodeId> = brokers.clone();
        for (leader, followed) in fetching.follow {
            let key = followed.partition.key;
            known.forget(key);
            known.leaders.insert(key, leader);
            let lane = known.lanes.entry(leader).or_insert_with(|| {
                let lane = Arc::new(Lane { leader, followed: Mutex::default(), changed: Notify::new() });
                plane.tasks.spawn(run::run(plane.clone(), lane.clone()));
                lane
            });
            lane.lock().insert(key, followed);
            grown.insert(leader);
        }
        for lane in grown.iter().filter_map(|leader| known.lanes.get(leader)) {
            lane.changed.notify_one();
        }
    }
}

impl Known {
    fn forget(&mut self, key: Key) {
        if let Some(leader) = self.leaders.remove(&key)
            && let Some(lane) = self.lanes.get(&leader)
        {
            lane.lock().remove(&key);
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
