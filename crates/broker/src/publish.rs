//! The metadata as this node has replayed it, published to whoever reads it.
//!
//! [`Replay`] is the quorum's state machine (or the observer's): every committed
//! batch goes through `Image::replay`, the new image is published, and the changes
//! go to the data plane in the order of the log. It decides nothing. A batch that
//! cannot be replayed stops the node: going on would make it a different cluster.

use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;

use metadata::{Changes, Image};
use model::{LeaderEpoch, Offset};
use proto::metadata::MetadataRecord;
use quorum::{CommittedBatch, LoadedSnapshot, StateMachine};
use tokio::sync::watch;

/// An image and the place in the log it stands for.
#[derive(Clone, Default)]
pub struct Picture {
    /// The metadata.
    pub image: Image,
    /// End of what it contains: the next offset.
    pub end: Offset,
    /// The epoch of the last batch that it contains.
    pub epoch: LeaderEpoch,
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
}

/// What happened to the metadata, for those who act on it, in the order of the log.
pub struct Step {
    /// The metadata after it.
    pub picture: Arc<Picture>,
    /// What it changed.
    pub changes: Changes,
}
