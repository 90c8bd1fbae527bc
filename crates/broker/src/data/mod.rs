//! The data plane: the partitions this node hosts, and the requests about records.
//!
//! Fed with metadata steps in the order of the log; serves Produce, Fetch,
//! ListOffsets, DeleteRecords, OffsetForLeaderEpoch, DescribeLogDirs and InitProducerId. It learns of leaders and
//! configs from the steps alone and asks the controller through the link it is
//! given; it never looks at the quorum.

mod apply;
mod attic;
mod checkpoints;
mod cleaner;
mod delete_records;
mod describe_producers;
mod dir_reports;
mod durability;
mod failed_dirs;
mod fetch;
mod fetchers;
mod hints;
mod inspect;
mod isr;
mod leader_epoch;
mod list_offsets;
mod log_dirs;
mod moves;
mod open;
mod partition;
mod plane;
mod produce;
mod producer_ids;
mod rooms;
mod seat;
mod settings;
mod throttle;
mod transactions;
mod upkeep;
mod verify;
mod waiters;
mod write_txn_markers;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use config::NodeConfig;
use log::Disk;
use model::{ClusterId, DirectoryId, NodeId, ProducerId, TopicId};
use net::{Blocking, Clock, Network, Threads};
use tokio::sync::watch;
use wire::messages::{
    AlterReplicaLogDirsRequest, DeleteRecordsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    FetchRequest, InitProducerIdRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    ResponseKind, WriteTxnMarkersRequest,
};

use crate::controller_link::ControllerLink;
use crate::data::apply::Applier;
pub use crate::data::inspect::{LogInspection, Part, PartitionInspection};
use crate::data::open::OpenPlan;
use crate::data::plane::Plane;
pub use crate::data::seat::{Extent, Placed, Seat, SeatError};
use crate::data::settings::SettingsSource;
pub use crate::data::verify::{
    ADD_PARTITIONS_VERSION, Coordinators, Entering, Lookup, TxnVerifier, Verified, question, read,
};
pub use crate::data::waiters::Waiter;
pub use crate::data::write_txn_markers::{Ended, MarkerWriter};
use crate::dispatch::RequestContext;
use crate::lifecycle::BrokerState;
use crate::publish::{Published, Step};
use crate::running::Running;
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
    pub blocking: Blocking,
    /// Where leaders are followed and coordinators run.
    pub threads: Threads,
    /// The metadata as published; steps come through [`Data::apply`].
    pub published: Published,
    /// The way to the controller: AlterPartition, AllocateProducerIds, AssignReplicasToDirs.
    pub controllers: ControllerLink,
    /// The broker epoch and whether this broker is fenced.
    pub broker: BrokerState,
    /// Where it tells which of `log_dirs` failed.
    pub offline_dirs: watch::Sender<BTreeSet<DirectoryId>>,
    /// Where it tells which of `log_dirs` are to take no new replicas.
    pub cordoned_dirs: watch::Sender<BTreeSet<DirectoryId>>,
    /// For whatever is drawn at random.
    pub seed: u64,
    /// The marks in the log directories, withdrawn when one fails.
    pub running: Running,
    /// Whether the directories were closed in order the last time (the clean-shutdown marker).
    pub was_clean: bool,
    /// Whether the machine may have lost power since.
    pub lost_power: bool,
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
    plane: Arc<Plane>,
    /// Steps come one at a time; the lock only says so.
    applier: tokio::sync::Mutex<Applier>,
    /// A log was cut when it was opened.
    is_damaged: bool,
}

/// Logs are closed on so many threads: most of it is waiting for syncs, which the disk does together.
const CLOSE_THREADS: usize = 8;

impl Data {
    /// Opens the logs that are there. Serving begins with the first step.
    pub async fn open(options: DataOptions) -> Result<Arc<Self>, DataError> {
        let threads = options.config.log.recovery_threads as usize * options.log_dirs.len();
        let plan = OpenPlan {
            disk: options.disk.clone(),
            dirs: options.log_dirs.iter().map(|(dir, _)| dir.clone()).collect(),
            options: SettingsSource::before_metadata(&options.config).log,
            was_clean: options.was_clean,
            lost_power: options.lost_power,
            threads: if options.blocking.has_threads() { threads.max(2) } else { 1 },
        };
        let found = options.blocking.run(move || open::open_all(&plan)).await?;
        let is_damaged = found.values().any(|found| found.is_damaged);
        if is_damaged {
            // Nothing of the damage can be seen any more: the next start must not believe the marks either.
            options.running.withdraw();
        }
        let plane = Plane::new(options);
        let applier = tokio::sync::Mutex::new(Applier::new(plane.clone(), found));
        let data = Arc::new(Self { plane: plane.clone(), applier, is_damaged });
        plane.tasks.spawn(isr::run(plane.clone()));
        plane.tasks.spawn(upkeep::run(plane.clone()));
        plane.tasks.spawn(cleaner::run(plane.clone()));
        plane.tasks.spawn(rooms::run(plane.clone()));
        plane.tasks.spawn(dir_reports::run(plane.clone()));
        plane.tasks.spawn(failed_dirs::run(plane.clone()));
        plane.tasks.spawn(moves::run(plane.clone()));
        plane.tasks.spawn(set_strays_aside(Arc::downgrade(&data), plane.clone()));
        Ok(data)
    }

    /// Whether logs lacked records that were in them: this broker must not be taken for one that has all
    /// that it had acknowledged, however its last run ended.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Follows the metadata: one call per step, in the order of the log, each awaited.
    pub async fn apply(&self, step: &Step) {
        self.applier.lock().await.apply(step).await;
    }

    /// The threads that share the node's work.
    pub fn threads(&self) -> &Threads {
        &self.plane.options.threads
    }

    /// The partitions of `topic` that this node leads, for the coordinators within.
    pub fn seats(&self, topic: TopicId) -> Vec<Seat> {
        Seat::all_of(&self.plane, topic)
    }

    /// Produce. Appends before it returns, so that pipelined batches keep their order; waiting
    /// for replicas is the answer's second stage.
    pub async fn produce(&self, asker: &RequestContext, request: ProduceRequest) -> Answer {
        produce::handle(&self.plane, asker, request).await
    }

    /// Fetch, of clients and of followers.
    pub async fn fetch(&self, asker: &RequestContext, request: FetchRequest) -> Answer {
        fetch::handle(&self.plane, asker, request).await
    }

    /// ListOffsets.
    pub async fn list_offsets(&self, asker: &RequestContext, request: ListOffsetsRequest) -> Answer {
        later(list_offsets::handle(self.plane.clone(), asker.clone(), request))
    }

    /// DeleteRecords.
    pub async fn delete_records(&self, request: DeleteRecordsRequest) -> Answer {
        later(delete_records::handle(self.plane.clone(), request))
    }

    /// DescribeLogDirs.
    pub async fn describe_log_dirs(&self, asker: &RequestContext, request: DescribeLogDirsRequest) -> Answer {
        later(log_dirs::handle(self.plane.clone(), asker.version, request))
    }

    /// AlterReplicaLogDirs.
    pub async fn alter_replica_log_dirs(&self, request: AlterReplicaLogDirsRequest) -> Answer {
        later(moves::handle(self.plane.clone(), request))
    }

    /// OffsetForLeaderEpoch.
    pub async fn offset_for_leader_epoch(
        &self,
        _asker: &RequestContext,
        request: OffsetForLeaderEpochRequest,
    ) -> Answer {
        later(leader_epoch::handle(self.plane.clone(), request))
    }

    /// InitProducerId without a transactional id.
    pub async fn init_producer_id(&self, _asker: &RequestContext, request: InitProducerIdRequest) -> Answer {
        later(producer_ids::handle(self.plane.clone(), request))
    }

    /// WriteTxnMarkers. Appends before it returns, as [`produce`](Self::produce). Whether the asker may,
    /// CLUSTER_ACTION or ALTER of the cluster, is to be asked before.
    pub async fn write_txn_markers(&self, request: WriteTxnMarkersRequest) -> Answer {
        write_txn_markers::handle(&self.plane, request).await
    }

    /// DescribeProducers. Whether the asker may READ the topics is to be asked before.
    pub async fn describe_producers(&self, request: DescribeProducersRequest) -> Answer {
        later(describe_producers::handle(self.plane.clone(), request))
    }

    /// Who asks transaction coordinators over the network.
    pub fn coordinators(&self) -> Coordinators {
        Coordinators::new(&self.plane.options)
    }

    /// Has `verifier` asked before a transaction begins in a partition, instead of the coordinator over the
    /// network.
    pub fn verify_with(&self, verifier: Arc<dyn TxnVerifier>) {
        self.plane.seams.set_verifier(verifier);
    }

    /// Has `writer` write the markers in partitions of `__consumer_offsets`.
    pub fn write_markers_with(&self, writer: Arc<dyn MarkerWriter>) {
        self.plane.seams.set_writer(writer);
    }

    /// A producer id that nobody has; `None` when the controller gives none.
    pub async fn producer_id(&self) -> Option<ProducerId> {
        producer_ids::draw(&self.plane).await
    }

    /// Stops fetchers, flushes and closes every log; true when all closed in order, so that the
    /// clean-shutdown marker may be written.
    pub async fn stop(&self) -> bool {
        self.plane.stop.cancel();
        self.plane.tasks.ended().await;
        upkeep::close_all(&self.plane, CLOSE_THREADS).await
    }
}

fn later<R: Into<ResponseKind>>(handling: impl Future<Output = R> + Send + 'static) -> Answer {
    Answer::Later(Box::pin(async move { Reply::message(handling.await) }))
}

/// Once the controller has let this broker in, its metadata is complete: what belongs to nobody then
/// never will.
async fn set_strays_aside(data: Weak<Data>, plane: Arc<Plane>) {
    let mut broker = plane.options.broker.clone();
    let admitted = tokio::select! {
        admitted = broker.unfenced() => admitted,
        () = plane.stop.cancelled() => None,
    };
    let Some(data) = data.upgrade().filter(|_| admitted.is_some()) else { return };
    // The steps up to here may still be on their way to the applier.
    plane.catch_up(&plane.options.published.get()).await;
    data.applier.lock().await.set_strays_aside().await;
}

#[cfg(test)]
mod tests;
