//! One running node: everything wired to what it was given, started and stopped in order.
//!
//! ```text
//!   identity -> listeners -> quorum or observer -> controller loop -> data -> lifecycle
//! ```
//!
//! Start goes left to right, stop right to left: first the broker leaves, so that its
//! partitions are led by others before its connections close, then leadership of the
//! quorum is handed over, then the logs are closed and marked clean. The node owns
//! every task and awaits its end.

mod parts;
mod start;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use config::NodeConfig;
use log::Disk;
use log::disk::DirLock;
use net::task::Tasks;
use net::{Blocking, Clock, Network, Threads};
use quorum::{Observer, OpenError, Quorum};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clean_shutdown;
use crate::context::Context;
use crate::data::DataError;
use crate::identity::IdentityError;
use crate::lifecycle::LifecycleError;
use crate::publish::Picture;
use crate::server::Server;

/// What a node is started with. All that a simulation replaces is in here.
pub struct NodeOptions {
    /// Its configuration.
    pub config: NodeConfig,
    /// Where its files live.
    pub disk: Arc<dyn Disk>,
    /// Where it listens and whom it reaches.
    pub network: Arc<dyn Network>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Ids and timeouts are drawn from it: another one for each node and each run.
    pub seed: u64,
    /// The machine's boot: another after every power cut, the same for as long as its page cache lives.
    /// `None` where it cannot be told.
    pub boot: Option<String>,
    /// Whether disk work and the quorum have threads of their own. Without, `start` must be
    /// called inside a `LocalSet`.
    pub blocking: Blocking,
    /// The threads that serve connections and follow leaders; all else stays where `start` is called.
    pub threads: Threads,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directories are not its own.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A directory's marker cannot be read or removed.
    #[error("cannot use the log directory {}: {source}", .dir.display())]
    Marker {
        /// The directory.
        dir: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (listener {listener}): {source}; {advice}")]
    Bind {
        /// The listener.
        listener: String,
        /// Its address.
        address: String,
        /// What the network said.
        source: io::Error,
        /// What to try.
        advice: &'static str,
    },
    /// The listener's protocol is not there yet.
    #[error(
        "listener {listener} asks for {protocol}, and only PLAINTEXT is served so far; set listener.security.protocol.map accordingly"
    )]
    Protocol {
        /// The listener.
        listener: String,
        /// What it asks for.
        protocol: config::Protocol,
    },
    /// The metadata log cannot be opened.
    #[error(transparent)]
    Quorum(#[from] OpenError),
    /// What a new cluster begins with cannot be read.
    #[error(transparent)]
    Bootstrap(#[from] quorum::format::FormatError),
    /// The partitions cannot be opened.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Why a node that ran had to stop by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// A running node.
pub struct Node {
    context: Arc<Context>,
    /// Follows the metadata log, where the node does not vote.
    observer: Option<Observer>,
    server: Server,
    addresses: Vec<(String, SocketAddr)>,
    disk: Arc<dyn Disk>,
    /// The lifecycle's end, where the node is a broker.
    leaving: CancellationToken,
    lifecycle: Mutex<Option<JoinHandle<Result<(), LifecycleError>>>>,
    /// Everything that only ends when told to.
    tasks: Tasks,
    stop: CancellationToken,
    failure: watch::Receiver<Option<Failure>>,
    serving: watch::Receiver<bool>,
    /// Released last.
    _locks: Vec<Box<dyn DirLock>>,
}

impl Node {
    /// Starts a node. Returns once it listens and takes part in the quorum; [`Node::ready`] tells
    /// when it serves.
    pub async fn start(options: NodeOptions) -> Result<Self, StartError> {
        start::start(options).await
    }

    /// Its configuration.
    pub fn config(&self) -> &NodeConfig {
        &self.context.config
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.observer.as_ref()
    }

    /// Where it listens: listener names and addresses.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Returns once clients are served: a broker is unfenced, a controller knows its leader.
    /// An error when the node failed before.
    pub async fn ready(&self) -> Result<(), Failure> {
        let mut serving = self.serving.clone();
        tokio::select! {
            ready = serving.wait_for(|serving| *serving) => match ready {
                Ok(_) => Ok(()),
                Err(_) => Err(Failure("the node stopped before it served".to_owned())),
            },
            failure = self.failed() => Err(failure),
        }
    }

    /// Whether clients are served now.
    pub fn is_serving(&self) -> bool {
        *self.serving.borrow()
    }

    /// The metadata as this node has replayed it.
    pub fn metadata(&self) -> Arc<Picture> {
        self.context.published.get()
    }

    /// Returns when the node cannot go on: its metadata log failed, or the controllers refuse it.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_else(|| Failure("unknown".to_owned())),
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops in order, once. What clients were told stays true. The directories' locks go with the node.
    pub async fn stop(&self) {
        self.leaving.cancel();
        let lifecycle = self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lifecycle) = lifecycle
            && let Err(error) = lifecycle.await
        {
            tracing::error!(node = %self.context.node, %error, "the broker's lifecycle ended badly");
        }
        if let Some(quorum) = &self.context.quorum {
            hand_over(quorum).await;
        }
        if let Some(groups) = &self.context.groups {
            // Connections end when their answers are out, and members wait long for theirs.
            groups.stop().await;
        }
        if let Some(transactions) = &self.context.transactions {
            transactions.stop().await;
        }
        self.server.stop().await;
        self.close_logs().await;
        self.stop.cancel();
        self.tasks.ended().await;
        if let Some(quorum) = &self.context.quorum {
            quorum.shutdown().await;
        }
        if let Some(observer) = &self.observer {
            observer.shutdown().await;
        }
        tracing::info!(node = %self.context.node, "stopped");
    }

    /// Closes the partitions; only then the markers say that nothing need be recovered.
    async fn close_logs(&self) {
        let Some(data) = &self.context.data else { return };
        if !data.stop().await {
            return;
        }
        let epoch = self.context.broker.get().epoch;
        for dir in &self.context.config.log_dirs {
            if let Err(error) = clean_shutdown::write(self.disk.as_ref(), dir, epoch) {
                let dir = dir.display();
                tracing::warn!(node = %self.context.node, %dir, %error, "cannot mark the directory as closed");
            }
        }
    }
}

/// Hands leadership of the quorum over, where there is somebody to take it.
async fn hand_over(quorum: &Quorum) {
    let alone = quorum.describe().await.is_ok_and(|description| description.voters.len() <= 1);
    if !alone {
        quorum.resign().await;
    }
}
