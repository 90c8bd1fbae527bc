//! The metadata as this node has replayed it, published to whoever reads it.
//!
//! [`Replay`] is the quorum's state machine (or the observer's): every committed
//! batch goes through `Image::replay`, the new image is published, and the changes
//! go to the data plane in the order of the log. It decides nothing. A batch that
//! cannot be replayed stops the node: going on would make it a different cluster.

use std::sync::{Arc, Mutex};

use metadata::{Changes, Image};
use model::{LeaderEpoch, Offset, Timestamp};
use proto::metadata::MetadataRecord;
use quorum::{CommittedBatch, LoadedSnapshot, StateMachine};
use tokio::sync::{Notify, watch};

/// An image and the place in the log it stands for.
#[derive(Clone, Default)]
pub struct Picture {
    /// The metadata.
    pub image: Image,
    /// End of what it contains: the next offset.
    pub end: Offset,
    /// The epoch of the last batch that it contains.
    pub epoch: LeaderEpoch,
    /// When the controller wrote that batch.
    pub timestamp: Timestamp,
}

/// A reader of the published metadata. Cheap to clone.
#[derive(Clone)]
pub struct Published {
    picture: watch::Receiver<Arc<Picture>>,
}

impl Published {
    /// The newest picture.
    pub fn get(&self) -> Arc<Picture> {
        self.picture.borrow().clone()
    }

    /// Waits for a picture that `fits`; the newest one is looked at first. `None` when the node stops.
    pub async fn wait_for(&mut self, mut fits: impl FnMut(&Picture) -> bool) -> Option<Arc<Picture>> {
        self.picture.wait_for(|picture| fits(picture)).await.ok().map(|picture| picture.clone())
    }

    /// Waits for the next picture. `None` when the node stops.
    pub async fn changed(&mut self) -> Option<()> {
        self.picture.changed().await.ok()
    }
}

/// What happened to the metadata, for those who act on it, in the order of the log.
pub struct Step {
    /// The metadata after it.
    pub picture: Arc<Picture>,
    /// What it changed.
    pub changes: Changes,
}

/// Hands steps to the one who takes them. The log cannot wait for that: what was not taken yet
/// is merged with what follows, so that a slow taker costs no memory.
#[derive(Clone, Default)]
pub struct Steps {
    waiting: Arc<Mutex<Option<Step>>>,
    arrived: Arc<Notify>,
}

impl Steps {
    fn put(&self, picture: Arc<Picture>, changes: Changes) {
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        match waiting.as_mut() {
            Some(step) => {
                step.picture = picture;
                step.changes.merge(changes);
            }
            None => *waiting = Some(Step { picture, changes }),
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// All that happened since the last call.
    pub async fn take(&self) -> Step {
        loop {
            let taken = self.waiting.lock().expect("no holder of this lock panics").take();
            match taken {
                Some(step) => return step,
                None => self.arrived.notified().await,
            }
        }
    }
}

/// The state machine of the metadata log.
pub struct Replay {
    picture: Picture,
    published: watch::Sender<Arc<Picture>>,
    steps: Option<Steps>,
    /// Set once, when a record could not be replayed.
    failed: watch::Sender<Option<String>>,
}

/// The readers' ends of a [`Replay`].
pub struct Readers {
    /// The metadata.
    pub published: Published,
    /// The steps, for the data plane; none when nobody was to take them.
    pub steps: Option<Steps>,
    /// Why the replay failed, if it has: the node must stop.
    pub failed: watch::Receiver<Option<String>>,
}

impl Replay {
    /// An empty image. Steps are kept only for a node with a data plane.
    pub fn new(with_steps: bool) -> (Self, Readers) {
        let (published, picture) = watch::channel(Arc::default());
        let (failed, failure) = watch::channel(None);
        let steps = with_steps.then(Steps::default);
        let replay = Self { picture: Picture::default(), published, steps: steps.clone(), failed };
        (replay, Readers { published: Published { picture }, steps, failed: failure })
    }

    fn publish(&mut self, changes: Changes) {
        self.picture.image.check(&changes);
        let picture = Arc::new(self.picture.clone());
        self.published.send_replace(picture.clone());
        if let Some(steps) = &self.steps {
            steps.put(picture, changes);
        }
    }

    /// Stops following: what comes after a record that was not understood must not be acted on.
    fn fail(&self, offset: Offset, error: impl std::fmt::Display) {
        let message = format!(
            "the metadata record at offset {offset} cannot be replayed: {error}; this node stops rather than \
             hold another cluster than its peers"
        );
        tracing::error!("{message}");
        self.failed.send_replace(Some(message));
    }

    fn has_failed(&self) -> bool {
        self.failed.borrow().is_some()
    }
}

impl StateMachine for Replay {
    fn apply(&mut self, batch: &CommittedBatch) {
        if self.has_failed() {
            return;
        }
        let mut changes = Changes::default();
        let mut offset = batch.base_offset;
        for record in &batch.records {
            if let Err(error) = self.picture.image.replay(offset, record, &mut changes) {
                return self.fail(offset, error);
            }
            offset = offset.next();
        }
        self.picture.end = batch.last_offset.next();
        self.picture.epoch = batch.epoch;
        self.picture.timestamp = batch.timestamp;
        self.publish(changes);
    }

    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<MetadataRecord> + Send> {
        let image = self.picture.image.clone();
        Box::new(move || image.to_records())
    }

    fn restore(&mut self, snapshot: &LoadedSnapshot) {
        if self.has_failed() {
            return;
        }
        let mut image = Image::default();
        let last = snapshot.last_offset();
        for record in &snapshot.records {
            // Offsets within a snapshot mean nothing; all of it stands at its end.
            if let Err(error) = image.replay(last, record, &mut Changes::default()) {
                return self.fail(last, error);
            }
        }
        let changes = Changes::between(&self.picture.image, &image);
        self.picture = Picture {
            image,
            end: snapshot.id.end_offset,
            epoch: snapshot.id.epoch,
            timestamp: snapshot.timestamp,
        };
        self.publish(changes);
    }
}
