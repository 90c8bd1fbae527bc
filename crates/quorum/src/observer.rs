//! A node that follows the metadata log and does not vote.
//!
//! It fetches `__cluster_metadata` from the leader with Kafka's own Fetch and
//! FetchSnapshot, so the controllers may be ours or Kafka's; keeps it in the same files as
//! a voter; and feeds what is committed to a [`StateMachine`].
//!
//! ```text
//! fetch ──> append, sync ──> apply below the leader's high watermark ──> fetch ...
//!   └─ diverging: cut the tail      └─ snapshot: fetch it, start the log anew
//! ```

mod controllers;
mod exchange;
mod follow;
mod replica;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use log::Disk;
use model::{ClusterId, DirectoryId, NodeId};
use net::{Clock, Network};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::machine::StateMachine;
use crate::options::{Blocking, Tuning};
use crate::quorum::OpenError;

use crate::status::QuorumStatus;
use crate::voters::Voters;
use controllers::Controllers;
use follow::Follower;
use replica::Replica;

/// Everything an observer is opened with.
#[derive(Clone)]
pub struct ObserverOptions {
    /// `node.id`.
    pub node: NodeId,
    /// `directory.id` of the metadata log directory.
    pub directory: DirectoryId,
    /// `cluster.id`.
    pub cluster: ClusterId,
    /// `metadata.log.dir`.
    pub log_dir: PathBuf,
    /// Where the controllers are.
    pub controllers: ControllerSource,
    /// The controller listener's name.
    pub listener: String,
    /// Where files live.
    pub disk: Arc<dyn Disk>,
    /// How controllers are reached.
    pub network: Arc<dyn Network>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where disk work runs.
    pub blocking: Blocking,
    /// Timeouts and sizes.
    pub tuning: Tuning,
}

/// Where an observer finds the controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControllerSource {
    /// `controller.quorum.voters`.
    Static(Voters),
    /// `controller.quorum.bootstrap.servers`: host and port; any of them tells who leads.
    Bootstrap(Vec<(String, u16)>),
}

/// A handle to this node's copy of the metadata log. When the last clone goes, it stops.
#[derive(Clone)]
pub struct Observer {
    status: watch::Receiver<QuorumStatus>,
    stop: Arc<StopOnDrop>,
}

struct StopOnDrop {
    asked: CancellationToken,
    done: CancellationToken,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.asked.cancel();
    }
}

impl Observer {
    /// Opens the log, restores the newest snapshot and follows. To be called inside a `LocalSet`.
    pub async fn open(options: ObserverOptions, machine: impl StateMachine) -> Result<Self, OpenError> {
        start(options, Box::new(machine)).await
    }

    /// The same on a thread and a runtime of its own.
    pub async fn spawn_thread(
        options: ObserverOptions,
        machine: impl StateMachine,
    ) -> Result<Self, OpenError> {
        let (opened, answer) = oneshot::channel();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(opened.send(Err(OpenError::Thread(error.to_string())))),
            };
            let local = tokio::task::LocalSet::new();
            runtime.block_on(local.run_until(async move {
                match start(options, Box::new(machine)).await {
                    Ok(observer) => {
                        let done = observer.stop.done.clone();
                        drop(opened.send(Ok(observer)));
                        done.cancelled().await;
                    }
                    Err(error) => drop(opened.send(Err(error))),
                }
            }));
        };
        let thread = std::thread::Builder::new().name("observer".to_owned()).spawn(run);
        thread.map_err(|error| OpenError::Thread(error.to_string()))?;
        answer.await.unwrap_or_else(|_| Err(OpenError::Thread("it ended before it began".to_owned())))
    }

    /// What this node knows of the quorum and how far it is, as it changes.
    pub fn status(&self) -> watch::Receiver<QuorumStatus> {
        self.status.clone()
    }

    pub(crate) fn current(&self) -> QuorumStatus {
        self.status.borrow().clone()
    }

    /// Stops following. Returns once nothing runs any more.
    pub async fn shutdown(&self) {
        self.stop.asked.cancel();
        self.stop.done.cancelled().await;
    }

    /// Returns once it has stopped, asked for or not; `QuorumStatus::failure` says why.
    pub async fn stopped(&self) {
        self.stop.done.cancelled().await;
    }
}

async fn start(options: ObserverOptions, machine: Box<dyn StateMachine>) -> Result<Observer, OpenError> {
    let replica = Replica::open(&options, machine).await?;
    let (status, watched) = watch::channel(QuorumStatus::default());
    let stop = StopOnDrop { asked: CancellationToken::new(), done: CancellationToken::new() };
    let (asked, done) = (stop.asked.clone(), stop.done.clone());
    let follower = Follower::new(&options, Controllers::new(&options), replica, status);
    tokio::task::spawn_local(async move {
        tokio::select! {
            biased;
            () = asked.cancelled() => {}
            () = follower.run() => {}
        }
        done.cancel();
    });
    Ok(Observer { status: watched, stop: Arc::new(stop) })
}
