//! What the parts of the data plane share: the partitions, and the ways out.
//!
//! Partitions are found by topic id and number; names are the image's business. The
//! map changes only when replicas come and go; a request takes what it needs from it
//! under one short read lock.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metadata::Image;
use model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};
use net::task::Tasks;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::data::DataOptions;
use crate::data::attic::Attic;
use crate::data::checkpoints::Checkpoints;
use crate::data::failed_dirs::FailedDirs;
use crate::data::fetch::Sessions;
use crate::data::fetchers::Fetchers;
use crate::data::isr::IsrQueue;
use crate::data::moves::Moves;
use crate::data::partition::{Key, Outcome, Partition, State};
use crate::data::producer_ids::ProducerIds;
use crate::data::rooms::Rooms;
use crate::data::throttle::Throttles;
use crate::data::transactions::Seams;
use crate::data::waiters::Waiter;
use crate::publish::Picture;

/// How long a request waits for the data plane to reach the metadata that its client has seen.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// The shared parts.
pub struct Plane {
    /// What it was opened with.
    pub options: DataOptions,
    /// Followers' tasks.
    pub fetchers: Fetchers,
    /// What readers asked for before and need not ask for again.
    pub sessions: Sessions,
    /// Bounds on replication's bytes.
    pub throttles: Throttles,
    /// In-sync sets to be proposed.
    pub isr: IsrQueue,
    /// Producer ids to be given out.
    pub producer_ids: ProducerIds,
    /// Directories to be deleted.
    pub attic: Attic,
    /// What was written to the checkpoints.
    pub checkpoints: Checkpoints,
    /// Log directories that failed.
    pub failed_dirs: FailedDirs,
    /// How full the log directories are.
    pub rooms: Rooms,
    /// Replicas that are wanted in other directories.
    pub moves: Moves,
    /// The coordinators, as far as partitions have to do with them.
    pub seams: Seams,
    /// How far the metadata was applied.
    pub applied: watch::Sender<Offset>,
    /// Ends every task.
    pub stop: CancellationToken,
    /// Every task.
    pub tasks: Tasks,
    partitions: RwLock<BTreeMap<Key, Arc<Partition>>>,
}

/// A leader as a client is told of it (KIP-951).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The leader.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
}

impl Plane {
    /// A plane without partitions.
    pub fn new(options: DataOptions) -> Arc<Self> {
        let failed_dirs = FailedDirs::new(options.running.clone());
        let dirs = options.log_dirs.iter().map(|(dir, _)| dir.clone());
        let rooms = Rooms::new(options.node, dirs, options.config.log.reserve_bytes);
        rooms.measure(options.disk.as_ref());
        Arc::new(Self {
            seams: Seams::new(&options),
            attic: Attic::new(options.seed),
            sessions: Sessions::new(options.config.network.fetch_sessions_max as usize, options.seed),
            fetchers: Fetchers::new(options.config.replication.fetchers),
            options,
            throttles: Throttles::new(),
            isr: IsrQueue::default(),
            producer_ids: ProducerIds::default(),
            checkpoints: Checkpoints::default(),
            moves: Moves::default(),
            rooms,
            failed_dirs,
            applied: watch::Sender::new(Offset::ZERO),
            stop: CancellationToken::new(),
            tasks: Tasks::new(),
            partitions: RwLock::default(),
        })
    }

    /// The partition, if this node has a replica of it.
    pub fn partition(&self, key: Key) -> Option<Arc<Partition>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Goes over all partitions, in order, under the map's lock.
    pub fn for_each(&self, visit: impl FnMut(&Arc<Partition>)) {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).values().for_each(visit);
    }

    /// The partitions of one topic.
    pub fn partitions_of(&self, topic: TopicId) -> Vec<Arc<Partition>> {
        let all = (topic, PartitionIndex::new(i32::MIN))..=(topic, PartitionIndex::new(i32::MAX));
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.range(all).map(|(_, partition)| partition.clone()).collect()
    }

    /// Takes in new partitions.
    pub fn insert(&self, new: impl IntoIterator<Item = Arc<Partition>>) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.extend(new.into_iter().map(|partition| (partition.key, partition)));
    }

    /// Takes one out.
    pub fn remove(&self, key: Key) -> Option<Arc<Partition>> {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner).remove(&key)
    }

    /// Finds the partition that a client means, or says what the client is told.
    pub fn find(&self, image: &Image, topic: TopicId, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let index = PartitionIndex::new(index);
        match self.partition((topic, index)) {
            Some(partition) => Ok(partition),
            None if image.partition(topic, index).is_some() => Err(ErrorCode::NotLeaderOrFollower),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// Who leads, as far as the metadata tells.
    pub fn current_leader(image: &Image, topic: TopicId, index: i32) -> Option<CurrentLeader> {
        let partition = image.partition(topic, PartitionIndex::new(index))?;
        Some(CurrentLeader { node: partition.leader?, epoch: partition.leader_epoch })
    }

    /// Whether the metadata has told which of the logs that were found are partitions of this node. Before,
    /// nothing may be said of all of them: neither that they are closed nor how far they are durable.
    pub fn knows_its_partitions(&self) -> bool {
        *self.applied.borrow() > Offset::ZERO
    }

    /// Carries out what replication asks for. Not under the partition's lock.
    pub fn carry_out(&self, partition: &Arc<Partition>, outcome: Outcome) {
        self.carry_out_for(partition, outcome, None);
    }

    /// The same, for a subscriber of the partition that sees for itself what came of it.
    pub fn carry_out_for(
        &self,
        partition: &Arc<Partition>,
        outcome: Outcome,
        subscriber: Option<&Arc<Waiter>>,
    ) {
        if let Some(proposal) = outcome.proposal {
            self.isr.propose(partition.clone(), proposal);
        }
        if outcome.wake {
            partition.waiters.wake_but(subscriber);
        } else if outcome.has_grown {
            partition.waiters.wake_appended();
        }
    }

    /// Has the files removed that a log let go, after a while: reads under way may need them.
    pub fn bury(&self, state: &mut State) {
        let due = self.options.clock.now().after(state.settings.topic.file_delete_delay);
        for path in state.log.as_mut().map(log::Log::take_retired).into_iter().flatten() {
            self.attic.doom(due, path);
        }
    }

    /// Waits until the partitions are what `picture` says: a client may have seen it before we acted on
    /// it, and would take a refusal as a reason to look for another leader.
    pub async fn catch_up(&self, picture: &Picture) {
        if *self.applied.borrow() >= picture.end {
            return;
        }
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= picture.end);
        let _ = tokio::time::timeout(CATCH_UP_MAX, reached).await;
    }
}
