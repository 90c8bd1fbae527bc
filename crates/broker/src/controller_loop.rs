//! The one writer of the cluster's metadata.
//!
//! ```text
//!   requests --> [ decide on the working image ] --> batch --> quorum.append
//!                        |      ^                                  |
//!                        +replay+                       committed: answers go out
//! ```
//!
//! While this node leads the quorum the loop is in *office*: it takes every request
//! that waits, decides each against a working image that is ahead of the committed
//! one, and appends what they come to as one batch. Several batches may be on their
//! way. An answer leaves when its batch, and every one before it, is committed, so
//! nobody ever hears of what may still be lost. Losing the leadership drops the
//! working image and answers NOT_CONTROLLER.

mod decisions;
mod office;
mod working;

use std::sync::Arc;
use std::time::Duration;

use controller::Settings;
use model::NodeId;
use net::{Clock, Network};
use proto::metadata::MetadataRecord;
use quorum::Quorum;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wire::messages::{RequestKind, ResponseKind};

use crate::controller_loop::office::Office;
use crate::publish::Published;

/// Requests that wait for the loop. More than all brokers together have in flight; beyond it
/// their connections are not read.
const QUEUE_MAX: usize = 4_096;

/// Before an epoch is served again in which an office ended. What ended it may still last, and then
/// an office would follow upon the other without a pause.
const RETAKE_PAUSE: Duration = Duration::from_millis(50);

/// This node is not the active controller, or ceased to be before the answer was certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node is not the active controller")]
pub struct NotController;

/// A request that waits for its decision.
struct Asked {
    version: i16,
    request: RequestKind,
    answer: oneshot::Sender<Result<ResponseKind, NotController>>,
}

/// Hands requests to the loop. Cheap to clone.
#[derive(Clone)]
pub struct ControllerHandle {
    requests: mpsc::Sender<Asked>,
}

impl ControllerHandle {
    /// Has `request`, in `version` of its API, decided; returns when that is committed.
    pub async fn decide(&self, version: i16, request: RequestKind) -> Result<ResponseKind, NotController> {
        let (answer, decided) = oneshot::channel();
        let asked = Asked { version, request, answer };
        self.requests.send(asked).await.map_err(|_| NotController)?;
        decided.await.map_err(|_| NotController)?
    }
}

/// What the loop needs.
pub struct ControllerOptions {
    /// This node.
    pub node: NodeId,
    /// Where the records go.
    pub quorum: Quorum,
    /// What is committed and replayed here.
    pub published: Published,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How brokers are watched.
    pub network: Arc<dyn Network>,
    /// What a new cluster begins with, if `storage format` said.
    pub bootstrap: Option<Vec<MetadataRecord>>,
    /// Settings of the decisions.
    pub tuning: Tuning,
    /// For ids and placement.
    pub seed: u64,
}

/// Settings of the decisions, as configured.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// What the decisions themselves read.
    pub settings: Settings,
    /// How often leaders are balanced; none when they are not.
    pub balance_interval: Option<Duration>,
    /// `unclean.leader.election.interval.ms`.
    pub unclean_interval: Duration,
    /// The listener through which brokers are watched.
    pub inter_broker_listener: String,
}

/// The loop, not yet running.
pub struct ControllerLoop {
    options: ControllerOptions,
    requests: mpsc::Receiver<Asked>,
    stop: CancellationToken,
}

impl ControllerLoop {
    /// A loop and the handle for its requests.
    pub fn new(options: ControllerOptions, stop: CancellationToken) -> (Self, ControllerHandle) {
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        (Self { options, requests: queue, stop }, ControllerHandle { requests })
    }

    /// Takes office whenever this node leads, until told to stop.
    pub async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.serve() => {}
        }
    }

    async fn serve(&mut self) {
        let mut status = self.options.quorum.status();
        // Each office gets a seed of its own: the same epoch may be served more than once.
        let mut seeds = fastrand::Rng::with_seed(self.options.seed);
        // After an office that ended in doubt, the same epoch may only be served again once all
        // that was on its way has landed: the working image starts from the committed one.
        let mut doubtful = None;
        loop {
            let now = status.borrow_and_update().clone();
            let settled = doubtful != Some(now.epoch) || now.high_watermark == now.log_end;
            if now.is_leader_ready && settled {
                let office = Office::take(&self.options, now.epoch, seeds.u64(..), now.log_end).await;
                if let Some(office) = office {
                    tracing::info!(node = %self.options.node, epoch = %now.epoch, "controller: took office");
                    office.hold(&mut self.requests, &mut status).await;
                    tracing::info!(node = %self.options.node, epoch = %now.epoch, "controller: left office");
                }
                doubtful = Some(now.epoch);
                let another = status.wait_for(|later| later.epoch != now.epoch);
                drop(tokio::time::timeout(RETAKE_PAUSE, another).await);
                continue;
            }
            tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                asked = self.requests.recv() => match asked {
                    // The asker may have gone; then nobody minds.
                    Some(asked) => drop(asked.answer.send(Err(NotController))),
                    None => return,
                },
            }
        }
    }
}
