//! The shells of one coordinator: one a partition of its topic that this node leads.
//!
//! Follows the metadata after the data plane did. A shell belongs to one leader epoch: when the
//! partition is led here again in another one, a new shell loads it anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use net::task::Tasks;
use tokio_util::sync::CancellationToken;

use crate::data::{Data, Seat};
use crate::groups::hosted::Hosted;
use crate::groups::internal_topics::InternalTopic;
use crate::groups::shell::{Shell, Terms};
use crate::publish::Step;

/// The shells of one coordinator.
pub struct Host<H: Hosted> {
    topic: InternalTopic,
    data: Arc<Data>,
    terms: Arc<Terms<H>>,
    shells: Mutex<BTreeMap<i32, Hosting<H>>>,
    tasks: Tasks,
    stop: CancellationToken,
}

struct Hosting<H: Hosted> {
    shell: Arc<Shell<H>>,
    stop: CancellationToken,
}

impl<H: Hosted> Host<H> {
    /// No shells yet, of the coordinator that keeps its state in `topic`.
    pub fn new(topic: InternalTopic, data: Arc<Data>, terms: Terms<H>) -> Self {
        Self {
            topic,
            data,
            terms: Arc::new(terms),
            shells: Mutex::default(),
            tasks: Tasks::new(),
            stop: CancellationToken::new(),
        }
    }

    /// The shell of a partition, if it is led here.
    pub fn shell(&self, partition: i32) -> Option<Arc<Shell<H>>> {
        self.lock().get(&partition).map(|hosting| hosting.shell.clone())
    }

    /// All shells, by partition.
    pub fn shells(&self) -> Vec<Arc<Shell<H>>> {
        self.lock().values().map(|hosting| hosting.shell.clone()).collect()
    }

    /// Follows the metadata; the data plane has taken the step already.
    pub fn apply(&self, step: &Step) {
        let changes = &step.changes;
        let topic = step.picture.image.topic(self.topic.name());
        let is_touched = match topic {
            Some(topic) => changes.partitions_of(topic.id).next().is_some(),
            None => changes.topics_deleted.values().any(|name| name.as_str() == self.topic.name()),
        };
        if is_touched {
            let seats = topic.map(|topic| self.data.seats(topic.id)).unwrap_or_default();
            self.follow(seats);
        }
        if !changes.topics_deleted.is_empty() {
            for shell in self.shells() {
                changes.topics_deleted.values().for_each(|name| shell.forget_topic(name.as_str()));
            }
        }
    }

    /// Ends every shell; whoever waits is sent elsewhere.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.ended().await;
    }

    fn follow(&self, seats: Vec<Seat>) {
        if self.stop.is_cancelled() {
            return;
        }
        let mut seats: BTreeMap<i32, Seat> =
            seats.into_iter().map(|seat| (seat.index().get(), seat)).collect();
        let mut shells = self.lock();
        shells.retain(|index, hosting| {
            let stays = seats.get(index).is_some_and(|seat| seat.is(hosting.shell.seat()));
            if stays {
                seats.remove(index);
            } else {
                hosting.stop.cancel();
            }
            stays
        });
        for (index, seat) in seats {
            let stop = self.stop.child_token();
            let shell = Shell::new(seat, self.terms.clone());
            let place = self.data.threads().place();
            self.tasks.spawn_at(&place, shell.clone().run(stop.clone()));
            shells.insert(index, Hosting { shell, stop });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Hosting<H>>> {
        self.shells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
