//! The first batch of a transaction in a partition: its coordinator is asked before it is appended (KIP-890).
//!
//! A partition that its coordinator does not know of would never get a marker, and
//! nobody could read past it again. So the leader draws a guard, has the coordinator
//! verify the partition, or add it where the producer leaves that to us, and appends
//! under the guard. Only the first batch of a transaction waits for this.
//!
//! [`TxnVerifier`] is the seam: a broker asks over the network ([`Coordinators`]), a
//! test whatever it likes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::{Layers, Overrides, Value};
use futures_util::future::BoxFuture;
use log::producers::{Entrant, Guard, ProducerError, Verification};
use metadata::{ConfigResource, Image};
use model::{
    ErrorCode, LeaderEpoch, NodeId, PartitionIndex, ProducerEpoch, ProducerId, TopicName, TopicPartition,
};
use tokio::time::Instant;
use wire::batch::BatchHeader;
use wire::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use wire::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ProducerId as WireProducerId, ResponseKind,
    TransactionalId, text, topic,
};

use crate::data::DataOptions;
use crate::data::partition::{Key, Partition};
use crate::data::plane::Plane;
use crate::peers::{PeerError, Peers};
use crate::publish::Published;

const TRANSACTION_TOPIC: &str = "__transaction_state";
/// The version in which brokers ask.
pub const ADD_PARTITIONS_VERSION: i16 = 5;
/// From this version of Produce on a client knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 11;
/// From this version of Produce on partitions are added by their leaders (transactions of version 2).
const ADDS_FROM: i16 = 12;
/// The first pause before a partition is added again, about as long as markers take.
const ADD_PAUSE_MIN: Duration = Duration::from_millis(1);
/// A coordinator is waited for so long at most, whatever the producer says: its other requests wait too.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// What a coordinator is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The transaction's name.
    pub transactional_id: String,
    /// Its producer.
    pub producer: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// Add the partitions if they are not there.
    pub adds: bool,
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
}

/// The partitions that a coordinator has not in the transaction, and why; or why nobody knows.
pub type Verified = Result<BTreeMap<TopicPartition, ErrorCode>, ErrorCode>;

/// Asks transaction coordinators.
pub trait TxnVerifier: Send + Sync {
    /// Asks the coordinator of that transaction, until `deadline`.
    fn verify(&self, lookup: Lookup, deadline: Instant) -> BoxFuture<'static, Verified>;
}

/// What a request may append of its transactions.
#[derive(Debug, Default)]
pub struct Admission {
    guards: BTreeMap<Key, Guard>,
    refused: BTreeMap<Key, ErrorCode>,
    is_off: bool,
}

impl Admission {
    /// What is known of the batch for that partition, or what its producer is told.
    pub fn of(&self, key: Key) -> Result<Verification, ErrorCode> {
        match self.refused.get(&key) {
            Some(code) => Err(*code),
            None if self.is_off => Ok(Verification::Off),
            None => Ok(Verification::Needed(self.guards.get(&key).copied())),
        }
    }
}

/// A producer whose offsets become part of its transaction.
#[derive(Clone, Debug)]
pub struct Entering {
    /// The transaction's name.
    pub transactional_id: String,
    /// Its producer.
    pub producer: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// Add the partition if it is not there.
    pub adds: bool,
}

/// A transactional batch of a request.
pub struct Batch {
    /// Where it goes.
    pub key: Key,
    /// Its header, as sent.
    pub header: BatchHeader,
}

/// Has the transactional `batches` of one request verified. An error refuses all of the request.
pub async fn admit(
    plane: &Arc<Plane>,
    image: &Image,
    version: i16,
    transactional_id: &str,
    batches: Vec<Batch>,
    timeout: Duration,
) -> Result<Admission, ErrorCode> {
    let mut producers = batches.iter().filter_map(|batch| batch.header.producer());
    // What most requests are: nobody asks for the verification of what is in no transaction.
    let Some(producer) = producers.next() else { return Ok(Admission::default()) };
    let mut admission = Admission { is_off: !is_enabled(plane, image), ..Admission::default() };
    if producers.any(|other| (other.id, other.epoch) != (producer.id, producer.epoch)) {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let adds = version >= ADDS_FROM;
    if admission.is_off && !adds {
        return Ok(admission);
    }
    let mut keys = BTreeMap::new();
    for batch in &batches {
        begin(plane, batch, adds, &mut admission, &mut keys);
    }
    if keys.is_empty() {
        return Ok(admission);
    }
    let lookup = Lookup {
        transactional_id: transactional_id.to_owned(),
        producer: producer.id,
        epoch: producer.epoch,
        adds,
        partitions: keys.keys().cloned().collect(),
    };
    let verified = ask(plane, lookup, Instant::now() + timeout.min(TIMEOUT_MAX)).await;
    for (name, key) in keys {
        let code = match &verified {
            Ok(refused) => refused.get(&name).copied().unwrap_or(ErrorCode::None),
            Err(code) => *code,
        };
        if code != ErrorCode::None {
            admission.refused.insert(key, told(code, version));
        }
    }
    Ok(admission)
}

/// Asks a coordinator; again, for a moment, where partitions are to be added while the transaction before is
/// still being told to its partitions: its producer knows nothing of that, and would pause for longer.
async fn ask(plane: &Plane, lookup: Lookup, deadline: Instant) -> Verified {
    let configured = &plane.options.config.transactions;
    let until = deadline.min(Instant::now() + configured.add_patience);
    let mut pause = ADD_PAUSE_MIN;
    loop {
        let verified = plane.seams.verifier().verify(lookup.clone(), deadline).await;
        let is_busy = |code: &ErrorCode| *code == ErrorCode::ConcurrentTransactions;
        let is_early = verified.as_ref().is_ok_and(|refused| refused.values().any(is_busy));
        if !lookup.adds || !is_early || Instant::now() + pause > until {
            return verified;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(configured.add_pause_max);
    }
}

/// Draws the guard of a batch, if it opens a transaction. What is wrong with the partition itself is found
/// when it is appended.
fn begin(
    plane: &Plane,
    batch: &Batch,
    adds: bool,
    admission: &mut Admission,
    keys: &mut BTreeMap<TopicPartition, Key>,
) {
    let Some(producer) = batch.header.producer() else { return };
    let Some(partition) = plane.partition(batch.key) else { return };
    let entrant = Entrant {
        producer: producer.id,
        epoch: producer.epoch,
        sequence: producer.base_sequence,
        bumps_epoch: adds,
    };
    let begun = match partition.lock().lead() {
        Ok((log, _)) => log.begin_verification(&entrant, plane.options.clock.wall()),
        Err(_) => return,
    };
    match begun {
        Ok(None) => {}
        Ok(Some(guard)) => {
            admission.guards.insert(batch.key, guard);
            keys.insert(partition.name.clone(), batch.key);
        }
        Err(error) => {
            admission.refused.insert(batch.key, ProducerError::code(&error));
        }
    }
}

/// Has one batch of this node's group coordinator verified, offsets that are part of a transaction: what it may
/// be appended under.
pub(super) async fn enter(
    plane: &Plane,
    image: &Image,
    partition: &Partition,
    leader_epoch: LeaderEpoch,
    entering: Entering,
) -> Result<Verification, ErrorCode> {
    let Entering { transactional_id, producer, epoch, adds } = entering;
    let is_off = !is_enabled(plane, image);
    if is_off && !adds {
        return Ok(Verification::Off);
    }
    // Offsets have no sequence.
    let entrant = Entrant { producer, epoch, sequence: -1, bumps_epoch: adds };
    let begun = match partition.lock().lead_in(Some(leader_epoch)) {
        Ok((log, _)) => log.begin_verification(&entrant, plane.options.clock.wall()),
        Err(_) => return Err(ErrorCode::NotCoordinator),
    };
    let guard = begun.map_err(|error| error.code())?;
    if guard.is_some() {
        let name = partition.name.clone();
        let partitions = vec![name.clone()];
        let lookup = Lookup { transactional_id, producer, epoch, adds, partitions };
        let refused = ask(plane, lookup, Instant::now() + TIMEOUT_MAX).await?;
        if let Some(code) = refused.get(&name) {
            return Err(*code);
        }
    }
    Ok(if is_off { Verification::Off } else { Verification::Needed(guard) })
}

/// `transaction.partition.verification.enable`, which may change at run time.
fn is_enabled(plane: &Plane, image: &Image) -> bool {
    let none = Overrides::new();
    let broker = image.configs(&ConfigResource::broker(plane.options.node)).unwrap_or(&none);
    let cluster = image.configs(&ConfigResource::all_brokers()).unwrap_or(&none);
    let layers = Layers { broker, cluster, file: &plane.options.config.file };
    !matches!(layers.value("transaction.partition.verification.enable"), Some(Value::Bool(false)))
}

/// What a producer of that version makes the best of.
fn told(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < ABORTABLE_FROM => ErrorCode::InvalidTxnState,
        ErrorCode::ConcurrentTransactions if version >= ADDS_FROM => code,
        // Old clients try this one again, without asking for metadata first.
        ErrorCode::ConcurrentTransactions
        | ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        code => code,
    }
}

/// Asks the coordinators of this cluster over the network.
#[derive(Clone)]
pub struct Coordinators {
    node: NodeId,
    published: Published,
    peers: Arc<Peers>,
}

impl TxnVerifier for Coordinators {
    fn verify(&self, lookup: Lookup, deadline: Instant) -> BoxFuture<'static, Verified> {
        let this = self.clone();
        Box::pin(async move {
            let asking = this.ask(lookup);
            tokio::time::timeout_at(deadline, asking).await.unwrap_or(Err(ErrorCode::NetworkException))
        })
    }
}

impl Coordinators {
    /// Nobody is asked yet.
    pub fn new(options: &DataOptions) -> Self {
        let client_id = format!("kastle-{}-verifies-transactions", options.node);
        let listener = options.config.inter_broker_listener.clone();
        let peers = Arc::new(Peers::new(options.network.clone(), listener, client_id));
        Self { node: options.node, published: options.published.clone(), peers }
    }

    /// The node that coordinates a transaction, as far as the metadata tells.
    pub fn coordinator(&self, transactional_id: &str) -> Option<NodeId> {
        coordinator(&self.published.get().image, transactional_id)
    }

    async fn ask(&self, lookup: Lookup) -> Verified {
        let picture = self.published.get();
        let coordinator = coordinator(&picture.image, &lookup.transactional_id);
        let node = coordinator.ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let link = match self.peers.link(&picture.image, node).await {
            Ok(link) => link,
            Err(PeerError::Unknown(_)) => return Err(ErrorCode::CoordinatorNotAvailable),
            Err(error) => {
                tracing::debug!(node = %self.node, coordinator = %node, %error, "a coordinator cannot be reached");
                return Err(ErrorCode::NetworkException);
            }
        };
        match link.send(ADD_PARTITIONS_VERSION, question(&lookup), TIMEOUT_MAX).await {
            Ok(ResponseKind::AddPartitionsToTxn(response)) => read(&response, &lookup.transactional_id),
            Ok(_) => Err(ErrorCode::NetworkException),
            Err(error) => {
                tracing::debug!(node = %self.node, coordinator = %node, %error, "a transaction was not verified");
                Err(ErrorCode::NetworkException)
            }
        }
    }
}

/// The node that coordinates a transaction.
fn coordinator(image: &Image, transactional_id: &str) -> Option<NodeId> {
    let topic = image.topic(TRANSACTION_TOPIC)?;
    let count = i32::try_from(topic.partitions().count()).ok()?;
    let index = coordinator::partition_of(transactional_id, count);
    image.partition(topic.id, PartitionIndex::new(index))?.leader
}

/// What a coordinator is asked.
pub fn question(lookup: &Lookup) -> AddPartitionsToTxnRequest {
    let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in &lookup.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.get());
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        AddPartitionsToTxnTopic::default().with_name(topic(name.as_str())).with_partitions(partitions)
    });
    let transaction = AddPartitionsToTxnTransaction::default()
        .with_transactional_id(TransactionalId(text(&lookup.transactional_id)))
        .with_producer_id(WireProducerId(lookup.producer.get()))
        .with_producer_epoch(lookup.epoch.get())
        .with_verify_only(!lookup.adds)
        .with_topics(topics.collect());
    AddPartitionsToTxnRequest::default().with_transactions(vec![transaction])
}

/// What its answer says.
pub fn read(response: &AddPartitionsToTxnResponse, transactional_id: &str) -> Verified {
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => {}
        // It is not for producers to know that brokers are not allowed to ask each other.
        ErrorCode::ClusterAuthorizationFailed => return Err(ErrorCode::InvalidTxnState),
        code => return Err(code),
    }
    let transactions = response.results_by_transaction.iter();
    let topics = transactions
        .filter(|transaction| transaction.transactional_id.as_str() == transactional_id)
        .flat_map(|transaction| &transaction.topic_results);
    let mut refused = BTreeMap::new();
    for told in topics {
        let Ok(name) = TopicName::new(told.name.as_str()) else { continue };
        for result in &told.results_by_partition {
            let code = ErrorCode::from_code(result.partition_error_code);
            if code != ErrorCode::None {
                let partition = PartitionIndex::new(result.partition_index);
                refused.insert(TopicPartition { topic: name.clone(), partition }, code);
            }
        }
    }
    Ok(refused)
}

#[cfg(test)]
mod tests;
