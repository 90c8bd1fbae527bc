//! What the tests do with transactions: a producer as clients are, of either version, and a reader of
//! committed data that leaves out what was aborted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::{BatchBuilder, Batches, EndMarker, NewRecord, Producer as BatchProducer};
use wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::offset_fetch_request::OffsetFetchRequestTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use wire::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, Bytes, DescribeTransactionsRequest, EndTxnRequest,
    FetchRequest, GroupId, InitProducerIdRequest, ListTransactionsRequest, MetadataRequest,
    OffsetFetchRequest, ProduceRequest, RequestKind, ResponseKind, TransactionalId, TxnOffsetCommitRequest,
    text, topic,
};

use super::Cluster;
use super::groups::find;

/// So often somebody is asked who moves, loads or is at work.
const TRIES: usize = 300;
const PAUSE: Duration = Duration::from_millis(50);
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// How a client makes transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It adds its partitions itself, as librdkafka does.
    Adds,
    /// Leaders add them, and each end bumps the epoch (KIP-890), as Java's client does.
    Bumps,
}

pub const KINDS: [Kind; 2] = [Kind::Adds, Kind::Bumps];

/// A transactional producer.
pub struct Producer {
    pub id: String,
    pub kind: Kind,
    pub producer: i64,
    pub epoch: i16,
    pub timeout_ms: i32,
    /// The nodes that it asks, in turn.
    pub nodes: Vec<i32>,
    sequences: BTreeMap<(String, i32), i32>,
    added: BTreeSet<(String, i32)>,
}

fn is_passing(code: ErrorCode) -> bool {
    use ErrorCode as E;
    matches!(
        code,
        E::CoordinatorLoadInProgress
            | E::CoordinatorNotAvailable
            | E::NotCoordinator
            | E::ConcurrentTransactions
            | E::NotLeaderOrFollower
            | E::NotEnoughReplicas
            | E::NotEnoughReplicasAfterAppend
            | E::UnknownTopicOrPartition
            | E::RequestTimedOut
    )
}

/// The code of an answer; the first that is one, where there are several.
pub fn code_of(answer: &ResponseKind) -> ErrorCode {
    use ResponseKind as K;
    let code = match answer {
        K::InitProducerId(answer) => answer.error_code,
        K::EndTxn(answer) => answer.error_code,
        K::AddOffsetsToTxn(answer) => answer.error_code,
        K::OffsetFetch(answer) => answer.error_code,
        K::ListTransactions(answer) => answer.error_code,
        K::DescribeTransactions(answer) => {
            first(answer.transaction_states.iter().map(|state| state.error_code))
        }
        K::AddPartitionsToTxn(answer) => {
            let topics = answer.results_by_topic_v3_and_below.iter();
            let partitions = topics.flat_map(|topic| &topic.results_by_partition);
            first(partitions.map(|it| it.partition_error_code))
        }
        K::TxnOffsetCommit(answer) => {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            first(partitions.map(|it| it.error_code))
        }
        K::Produce(answer) => {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
            first(partitions.map(|it| it.error_code))
        }
        other => panic!("{other:?}"),
    };
    ErrorCode::from_code(code)
}

fn first(mut codes: impl Iterator<Item = i16>) -> i16 {
    codes.find(|code| *code != 0).unwrap_or(0)
}

/// The node that coordinates `key`, by whichever of `nodes` answers.
pub async fn coordinator(cluster: &Cluster, nodes: &[i32], kind: i8, key: &str) -> i32 {
    for attempt in 0..TRIES {
        if let Some(client) = cluster.try_client(nodes[attempt % nodes.len()]).await {
            match tokio::time::timeout(Duration::from_secs(5), find(&client, 4, kind, key)).await {
                Ok(Ok(node)) => return node,
                Ok(Err(code)) => assert!(is_passing(code), "{code}"),
                Err(_) => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("nobody coordinates {key}");
}

/// Asks the coordinator of `key` until its code is none that passes.
async fn ask(
    cluster: &Cluster,
    nodes: &[i32],
    (kind, key): (i8, &str),
    version: i16,
    request: impl Into<RequestKind>,
) -> ResponseKind {
    let request = request.into();
    for _ in 0..TRIES {
        let node = coordinator(cluster, nodes, kind, key).await;
        if let Some(client) = cluster.try_client(node).await
            && let Some(answer) = client.try_ask(version, request.clone()).await
            && !is_passing(code_of(&answer))
        {
            return answer;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the coordinator of {key} does not serve {request:?}");
}

/// Who leads a partition, by whichever of `nodes` answers.
async fn leader(cluster: &Cluster, nodes: &[i32], name: &str, index: i32) -> Option<i32> {
    for &node in nodes {
        let Some(client) = cluster.try_client(node).await else { continue };
        let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let Some(ResponseKind::Metadata(response)) = client.try_ask(12, request).await else { continue };
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let found = partitions.find(|it| it.partition_index == index && it.leader_id.0 >= 0);
        if let Some(found) = found {
            return Some(found.leader_id.0);
        }
    }
    None
}

impl Producer {
    pub fn new(id: &str, kind: Kind) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            producer: -1,
            epoch: -1,
            timeout_ms: 60_000,
            nodes: vec![1, 2, 3],
            sequences: BTreeMap::new(),
            added: BTreeSet::new(),
        }
    }

    /// One whose coordinator is another node than `not`.
    pub async fn coordinated_beside(cluster: &Cluster, not: i32, kind: Kind) -> Self {
        for number in 0..50 {
            let producer = Self::new(&format!("x-{number}"), kind);
            if producer.coordinator(cluster).await != not {
                return producer;
            }
        }
        panic!("node {not} coordinates everything");
    }

    pub async fn coordinator(&self, cluster: &Cluster) -> i32 {
        coordinator(cluster, &self.nodes, TRANSACTION, &self.id).await
    }

    fn name(&self) -> TransactionalId {
        TransactionalId(text(&self.id))
    }

    async fn ask(&self, cluster: &Cluster, version: i16, request: impl Into<RequestKind>) -> ResponseKind {
        ask(cluster, &self.nodes, (TRANSACTION, &self.id), version, request).await
    }

    /// Begins anew, and fences whoever was there.
    pub async fn init(&mut self, cluster: &Cluster) -> ErrorCode {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.name()))
            .with_transaction_timeout_ms(self.timeout_ms)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let ResponseKind::InitProducerId(answer) = self.ask(cluster, 5, request).await else {
            panic!("no producer")
        };
        self.go_on_as(answer.producer_id.0, answer.producer_epoch);
        ErrorCode::from_code(answer.error_code)
    }

    fn go_on_as(&mut self, producer: i64, epoch: i16) {
        (self.producer, self.epoch) = (producer, epoch);
        self.sequences.clear();
        self.added.clear();
    }

    /// Makes partitions part of the transaction.
    pub async fn add(&mut self, cluster: &Cluster, name: &str, index: i32) -> ErrorCode {
        let place = (name.to_owned(), index);
        if self.kind == Kind::Bumps || self.added.contains(&place) {
            return ErrorCode::None;
        }
        let asked = AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(vec![index]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.name())
            .with_v3_and_below_producer_id(self.producer.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![asked]);
        let code = code_of(&self.ask(cluster, 3, request).await);
        if code == ErrorCode::None {
            self.added.insert(place);
        }
        code
    }

    /// Sends a record of the transaction, until it is in or cannot be.
    pub async fn send(&mut self, cluster: &Cluster, name: &str, index: i32, value: &str) -> ErrorCode {
        let added = self.add(cluster, name, index).await;
        if added != ErrorCode::None {
            return added;
        }
        let sequence = *self.sequences.get(&(name.to_owned(), index)).unwrap_or(&0);
        let code = self.produce(cluster, name, index, self.batch(sequence, value)).await;
        if code == ErrorCode::None {
            self.sequences.insert((name.to_owned(), index), sequence + 1);
        }
        code
    }

    fn batch(&self, base_sequence: i32, value: &str) -> Bytes {
        let (id, epoch) = (ProducerId::new(self.producer), ProducerEpoch::new(self.epoch));
        let producer = BatchProducer { id, epoch, base_sequence };
        let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0)).producer(producer, true);
        let timestamp = Timestamp::new(1_700_000_000_000);
        builder.push(&NewRecord { timestamp, value: Some(value.as_bytes()), ..NewRecord::default() });
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("no codec");
        bytes.into()
    }

    async fn produce(&self, cluster: &Cluster, name: &str, index: i32, records: Bytes) -> ErrorCode {
        let data = PartitionProduceData::default().with_index(index).with_records(Some(records));
        let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.name()))
            .with_acks(-1)
            .with_timeout_ms(5_000)
            .with_topic_data(vec![data]);
        let version = if self.kind == Kind::Bumps { 12 } else { 11 };
        for _ in 0..TRIES {
            if let Some(node) = leader(cluster, &self.nodes, name, index).await
                && let Some(client) = cluster.try_client(node).await
                && let Some(answer) = client.try_ask(version, request.clone()).await
                && !is_passing(code_of(&answer))
            {
                return code_of(&answer);
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("nobody leads {name}-{index}");
    }

    /// Commits an offset of partition 0 in the transaction.
    pub async fn commit_offset(
        &mut self,
        cluster: &Cluster,
        group: &str,
        name: &str,
        offset: i64,
    ) -> ErrorCode {
        if self.kind == Kind::Adds {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(self.name())
                .with_producer_id(self.producer.into())
                .with_producer_epoch(self.epoch)
                .with_group_id(GroupId(text(group)));
            let added = code_of(&self.ask(cluster, 3, request).await);
            if added != ErrorCode::None {
                return added;
            }
        }
        self.commit_offset_alone(cluster, group, name, offset).await
    }

    /// The same without telling the coordinator of transactions.
    pub async fn commit_offset_alone(
        &self,
        cluster: &Cluster,
        group: &str,
        name: &str,
        offset: i64,
    ) -> ErrorCode {
        let request = self.offsets_request(group, &[(name, offset)]);
        let version = if self.kind == Kind::Bumps { 5 } else { 3 };
        code_of(&ask(cluster, &self.nodes, (GROUP, group), version, request).await)
    }

    /// Offsets of partitions 0.
    pub fn offsets_request(&self, group: &str, offsets: &[(&str, i64)]) -> TxnOffsetCommitRequest {
        let topics = offsets.iter().map(|(name, offset)| {
            let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(*offset);
            TxnOffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition])
        });
        TxnOffsetCommitRequest::default()
            .with_transactional_id(self.name())
            .with_group_id(GroupId(text(group)))
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch)
            .with_topics(topics.collect())
    }

    /// Ends the transaction. The answer is waited for until it comes.
    pub async fn end(&mut self, cluster: &Cluster, commit: bool) -> ErrorCode {
        let version = if self.kind == Kind::Bumps { 5 } else { 4 };
        let request = EndTxnRequest::default()
            .with_transactional_id(self.name())
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        let ResponseKind::EndTxn(answer) = self.ask(cluster, version, request).await else {
            panic!("no end")
        };
        let code = ErrorCode::from_code(answer.error_code);
        if code == ErrorCode::None {
            self.added.clear();
            if self.kind == Kind::Bumps {
                self.go_on_as(answer.producer_id.0, answer.producer_epoch);
            }
        }
        code
    }

    /// `STATE PRODUCER/EPOCH TOPIC-PARTITION...` of its transaction.
    pub async fn described(&self, cluster: &Cluster) -> String {
        let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![self.name()]);
        let ResponseKind::DescribeTransactions(answer) = self.ask(cluster, 0, request).await else {
            panic!("no description")
        };
        let state = &answer.transaction_states[0];
        let mut said =
            format!("{} {}/{}", state.transaction_state.as_str(), state.producer_id.0, state.producer_epoch);
        for topic in &state.topics {
            topic.partitions.iter().for_each(|index| said += &format!(" {}-{index}", topic.topic.as_str()));
        }
        said
    }

    /// Waits until its transaction is in `state`.
    pub async fn comes_to(&self, cluster: &Cluster, state: &str) {
        let mut said = String::new();
        for _ in 0..TRIES {
            said = self.described(cluster).await;
            if said.split(' ').next() == Some(state) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("it does not come to {state}: {said}");
    }
}

/// What `node` lists: `ID STATE` each, in order.
pub async fn listed(cluster: &Cluster, nodes: &[i32]) -> Vec<String> {
    let mut all = Vec::new();
    for &node in nodes {
        let client = cluster.client(node).await;
        let ResponseKind::ListTransactions(answer) = client.ask(2, ListTransactionsRequest::default()).await
        else {
            panic!("no list")
        };
        assert_eq!(answer.error_code, 0);
        let states = answer.transaction_states.iter();
        all.extend(
            states.map(|it| format!("{} {}", it.transactional_id.as_str(), it.transaction_state.as_str())),
        );
    }
    all.sort();
    all
}

/// A group's offset in partition 0 for one who asks for stable ones: the offset, or the code.
pub async fn stable_offset(
    cluster: &Cluster,
    nodes: &[i32],
    group: &str,
    name: &str,
) -> Result<i64, ErrorCode> {
    let asked = OffsetFetchRequestTopic::default().with_name(topic(name)).with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(Some(vec![asked]))
        .with_require_stable(true);
    let ResponseKind::OffsetFetch(answer) = ask(cluster, nodes, (GROUP, group), 7, request).await else {
        panic!("no offsets")
    };
    let partition = &answer.topics[0].partitions[0];
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => Ok(partition.committed_offset),
        code => Err(code),
    }
}

/// All that a reader of committed data is given of a partition, and its last stable offset; `None` where
/// nobody answers.
pub async fn try_read(
    cluster: &Cluster,
    nodes: &[i32],
    name: &str,
    index: i32,
) -> Option<(Vec<(i64, String)>, i64)> {
    let node = leader(cluster, nodes, name, index).await?;
    let client = cluster.try_client(node).await?;
    let (mut values, mut at) = (Vec::new(), 0);
    loop {
        let data = FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(at)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1 << 20);
        let data = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![data]);
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_isolation_level(1)
            .with_session_epoch(-1)
            .with_topics(vec![data]);
        let Some(ResponseKind::Fetch(answer)) = client.try_ask(12, request).await else { return None };
        let answer = answer.responses.first()?.partitions.first()?.clone();
        if answer.error_code != 0 {
            return None;
        }
        let before = at;
        let mut ahead: Vec<(i64, i64)> = answer
            .aborted_transactions
            .iter()
            .flatten()
            .map(|aborted| (aborted.first_offset, aborted.producer_id.0))
            .collect();
        ahead.sort_unstable();
        let mut ahead = ahead.into_iter().peekable();
        let mut aborted = BTreeSet::new();
        for batch in Batches::new(answer.records.as_deref().unwrap_or_default()) {
            let batch = batch.expect("whole batches");
            while let Some((_, producer)) =
                ahead.next_if(|(first, _)| *first <= batch.header.last_offset().get())
            {
                aborted.insert(producer);
            }
            at = batch.header.next_offset().get();
            let producer = batch.header.producer_id;
            if batch.header.is_control() {
                if EndMarker::read(&batch).is_some_and(|marker| !marker.commit) {
                    aborted.remove(&producer);
                }
                continue;
            }
            if batch.header.is_transactional() && aborted.contains(&producer) {
                continue;
            }
            for record in batch.records(1 << 20).expect("plain").iter() {
                let record = record.expect("whole");
                let value = String::from_utf8_lossy(record.value.expect("a value")).into_owned();
                values.push((record.offset.get(), value));
            }
        }
        if at == before {
            return Some((values, answer.last_stable_offset));
        }
    }
}

/// The values that a reader of committed data is given of partition 0.
pub async fn read(cluster: &Cluster, nodes: &[i32], name: &str) -> Vec<String> {
    for _ in 0..TRIES {
        if let Some((values, _)) = try_read(cluster, nodes, name, 0).await {
            return values.into_iter().map(|(_, value)| value).collect();
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("nobody serves {name}");
}

/// Waits until a reader of committed data is given these values.
pub async fn comes_to_read(cluster: &Cluster, nodes: &[i32], name: &str, expected: &[&str]) {
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        seen = read(cluster, nodes, name).await;
        if seen == expected {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("read {seen:?}, expected {expected:?}");
}
