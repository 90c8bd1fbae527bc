//! Transactions of one record: how many a second producers get through that begin, write and commit in turn.
//!
//! As clients make them since KIP-890 (a Produce that adds its partition, an EndTxn that gives the next epoch), and as
//! librdkafka does before it (AddPartitionsToTxn first). An answer that asks for patience is tried again after a
//! pause, as clients do.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::{BatchBuilder, NewRecord, Producer};
use wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest, RequestKind,
    ResponseKind, TransactionalId, text, topic,
};

use crate::client::Client;
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario};
use crate::server::Cluster;

const TOPIC: &str = "transactional";
const VALUE_BYTES: usize = 100;
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
const PRODUCE_TIMEOUT_MS: i32 = 30_000;
const INIT_PRODUCER_ID: i16 = 5;
/// Before version 4 clients ask, from it on brokers.
const ADD_PARTITIONS: i16 = 3;
/// The internal topic may have to be made.
const READY_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(1);

/// How transactions are made.
#[derive(Clone, Copy, Debug)]
struct Way {
    produce: i16,
    end: i16,
    /// The producer adds its partition itself, and keeps its epoch.
    is_older: bool,
}

const NEWER: Way = Way { produce: 12, end: 5, is_older: false };
const OLDER: Way = Way { produce: 11, end: 4, is_older: true };

/// One producer, and many at once.
pub fn scenarios() -> Vec<Scenario> {
    let scenario = |name, about, producers: usize, way| {
        Scenario::alone(name, about, 1, move |cluster, scale| run(cluster, scale, producers, way))
    };
    vec![
        scenario("txn-1", "one node, one producer, transactions of one record (KIP-890)", 1, NEWER),
        scenario("txn-50", "the same, 50 producers at once, one partition", 50, NEWER),
        scenario("txn-old-1", "one producer, transactions as before KIP-890", 1, OLDER),
        scenario("txn-old-50", "the same, 50 producers at once, one partition", 50, OLDER),
    ]
}

fn run(cluster: &mut Cluster<'_>, scale: &Scale, producers: usize, way: Way) -> Result<Vec<Metric>> {
    let port = cluster.create_topic(TOPIC, 1, &[])?[0];
    let mut lanes = Vec::with_capacity(producers);
    for number in 0..producers {
        lanes.push(Lane::begin(port, &format!("transaction-{number}"), way)?);
    }
    // A JVM compiles what is used often.
    drive(&mut lanes, scale.least())?;
    let (cpu_before, begun) = (cluster.cpu_seconds()?, Instant::now());
    let (done, again) = drive(&mut lanes, scale.least() * 2)?;
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cluster.cpu_seconds()? - cpu_before);
    ensure!(done > 0, "no transaction was committed");
    let metric = |figure, better, value, goal| Metric { figure, better, value, goal };
    Ok(vec![
        metric("transactions/s", Better::Higher, done as f64 / took, Some(3.0)),
        metric("CPU µs a transaction", Better::Lower, cpu * 1e6 / done as f64, None),
        metric("asked again, a transaction", Better::Neither, again as f64 / done as f64, None),
    ])
}

/// Commits with all producers for so long; how many transactions, and how often something was asked again.
fn drive(lanes: &mut [Lane], span: Duration) -> Result<(u64, u64)> {
    let until = Instant::now() + span;
    let one = |lane: &mut Lane| -> Result<(u64, u64)> {
        let (mut done, before) = (0, lane.again);
        while Instant::now() < until {
            lane.transact()?;
            done += 1;
        }
        Ok((done, lane.again - before))
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = lanes.iter_mut().map(|lane| scope.spawn(move || one(lane))).collect();
        running.into_iter().try_fold((0, 0), |(done, again), lane| {
            let (more, repeated) = lane.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??;
            Ok((done + more, again + repeated))
        })
    })
}

/// A producer on a connection of its own.
struct Lane {
    client: Client,
    id: TransactionalId,
    way: Way,
    producer: Producer,
    again: u64,
}

impl Lane {
    fn begin(port: u16, id: &str, way: Way) -> Result<Self> {
        let mut client = Client::connect(port)?;
        crate::load::members::await_transactions(port, id)?;
        let id = TransactionalId(text(id));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS);
        let deadline = Instant::now() + READY_MAX;
        loop {
            let ResponseKind::InitProducerId(response) = client.call(INIT_PRODUCER_ID, request.clone())?
            else {
                bail!("a request for a producer id was answered with something else");
            };
            match ErrorCode::from_code(response.error_code) {
                ErrorCode::None => {
                    let producer = Producer {
                        id: ProducerId::new(response.producer_id.0),
                        epoch: ProducerEpoch::new(response.producer_epoch),
                        base_sequence: 0,
                    };
                    return Ok(Self { client, id, way, producer, again: 0 });
                }
                code if code.is_retriable() && Instant::now() < deadline => std::thread::sleep(PAUSE),
                code => bail!("no producer id: {}", code.name()),
            }
        }
    }

    fn transact(&mut self) -> Result<()> {
        if self.way.is_older {
            self.until_taken(ADD_PARTITIONS, self.add())?;
        }
        self.until_taken(self.way.produce, self.write()?)?;
        let ResponseKind::EndTxn(ended) = self.until_taken(self.way.end, self.end())? else {
            bail!("an end was answered with something else");
        };
        if self.way.is_older {
            self.producer.base_sequence += 1;
        } else {
            self.producer = Producer {
                id: ProducerId::new(ended.producer_id.0),
                epoch: ProducerEpoch::new(ended.producer_epoch),
                base_sequence: 0,
            };
        }
        Ok(())
    }

    /// Sends a request until nothing asks for patience.
    fn until_taken(&mut self, version: i16, request: RequestKind) -> Result<ResponseKind> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            let response = self.client.call(version, request.clone())?;
            match code_of(&response)? {
                ErrorCode::None => return Ok(response),
                code if is_patience(code) && Instant::now() < deadline => {
                    self.again += 1;
                    std::thread::sleep(PAUSE);
                }
                code => bail!("refused: {}", code.name()),
            }
        }
    }

    fn add(&self) -> RequestKind {
        let topics = AddPartitionsToTxnTopic::default().with_name(topic(TOPIC)).with_partitions(vec![0]);
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id.clone())
            .with_v3_and_below_producer_id(self.producer.id.get().into())
            .with_v3_and_below_producer_epoch(self.producer.epoch.get())
            .with_v3_and_below_topics(vec![topics])
            .into()
    }

    fn write(&self) -> Result<RequestKind> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let timestamp = Timestamp::new(i64::try_from(now.as_millis())?);
        let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(-1)).producer(self.producer, true);
        builder.push(&NewRecord { timestamp, value: Some(&[7; VALUE_BYTES]), ..NewRecord::default() });
        let mut batch = Vec::new();
        builder.finish(&mut batch)?;
        let data = PartitionProduceData::default().with_records(Some(batch.into()));
        let data = TopicProduceData::default().with_name(topic(TOPIC)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_transactional_id(Some(self.id.clone())).with_acks(-1);
        Ok(request.with_timeout_ms(PRODUCE_TIMEOUT_MS).with_topic_data(vec![data]).into())
    }

    fn end(&self) -> RequestKind {
        EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(self.producer.id.get().into())
            .with_producer_epoch(self.producer.epoch.get())
            .with_committed(true)
            .into()
    }
}

fn code_of(response: &ResponseKind) -> Result<ErrorCode> {
    let code = match response {
        ResponseKind::EndTxn(response) => Some(response.error_code),
        ResponseKind::Produce(response) => {
            let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
            partitions.next().map(|partition| partition.error_code)
        }
        ResponseKind::AddPartitionsToTxn(response) => {
            let mut topics = response.results_by_topic_v3_and_below.iter();
            let partition = topics.next().and_then(|topic| topic.results_by_partition.first());
            partition.map(|partition| partition.partition_error_code)
        }
        other => bail!("answered with {other:?}"),
    };
    code.map(ErrorCode::from_code).context("no partition was answered")
}

/// Whether a client tries again: the transaction before is being ended, the coordinator is on its way.
fn is_patience(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ConcurrentTransactions
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
    )
}
