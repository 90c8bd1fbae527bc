//! What a producer is told that lies: the same as by Apache Kafka 4.3.1.
//!
//! Every lie of the table is sent to a node of ours, and the answer, with the batch
//! that is stored then, held against what Kafka said. With `KASTLE_ORACLE=HOST:PORT`
//! the same table is sent to the broker there, which is how its answers were had:
//! `KASTLE_ORACLE=127.0.0.1:19192 cargo test -p kastle-broker --test nodes lies -- --nocapture`

mod raw;
mod table;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::lies::raw::RawBatch;
use crate::lies::table::{Case, TABLE, Topic};
use crate::support::{Client, Cluster, run};
use model::ErrorCode;
use net::{ConnectOptions, Connection, TcpNetwork};
use wire::batch::{BatchRef, TimestampType};
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    Bytes, CreateTopicsRequest, FetchRequest, ProduceRequest, RequestKind, ResponseKind, text, topic,
};

const LONG: Duration = Duration::from_secs(60);

/// Asked by the table: a node of ours, or the oracle.
enum Broker {
    Ours(Client),
    Oracle(Connection),
}

impl Broker {
    async fn ask(&self, version: i16, request: impl Into<RequestKind>) -> ResponseKind {
        match self {
            Self::Ours(client) => client.ask(version, request).await,
            Self::Oracle(connection) => {
                let answer = connection.send(version, request, LONG).await;
                answer.unwrap_or_else(|error| panic!("{error}"))
            }
        }
    }

    /// One topic of each kind, with a partition for each case.
    async fn create_topics(&self) {
        let partitions = i32::try_from(TABLE.len()).expect("few");
        let topics = Topic::ALL.iter().map(|kind| {
            let configs = kind.configs().iter().map(|(name, value)| {
                CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
            });
            CreatableTopic::default()
                .with_name(topic(kind.name()))
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(configs.collect())
        });
        let request = CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(60_000);
        let ResponseKind::CreateTopics(response) = self.ask(7, request).await else { panic!("no topics") };
        for topic in response.topics {
            let code = ErrorCode::from_code(topic.error_code);
            assert!(matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists), "{topic:?}");
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    /// What is answered to a case, and what is stored then.
    async fn said(&self, index: i32, case: &Case, now: i64) -> String {
        let mut batch = RawBatch::honest(now);
        (case.lie)(&mut batch);
        let records = Bytes::from(batch.bytes());
        let (base_offset, code, named) = loop {
            let answer = self.produce(case.topic.name(), index, records.clone()).await;
            // With hundreds of new partitions the oracle takes a while to find that it leads them.
            if answer.1 != ErrorCode::NotLeaderOrFollower {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        if code != ErrorCode::None {
            let named = if named.is_empty() { String::new() } else { format!(" {named:?}") };
            return format!("{}{named}", code.name());
        }
        let stored = self.stored(case.topic.name(), index).await;
        format!("@{} {}", base_offset, describe(&stored, now))
    }

    /// The first offset, the error and the records that it names.
    async fn produce(&self, name: &str, partition: i32, records: Bytes) -> (i64, ErrorCode, Vec<i32>) {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(1).with_timeout_ms(5_000).with_topic_data(vec![data]);
        let ResponseKind::Produce(response) = self.ask(12, request).await else { panic!("no answer") };
        let answer = &response.responses[0].partition_responses[0];
        let named = answer.record_errors.iter().map(|it| it.batch_index).collect();
        (answer.base_offset, ErrorCode::from_code(answer.error_code), named)
    }

    async fn stored(&self, name: &str, partition: i32) -> Bytes {
        let data = FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1 << 20);
        let data = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![data]);
        let request = FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![data]);
        let ResponseKind::Fetch(response) = self.ask(12, request).await else { panic!("no fetch") };
        response.responses[0].partitions[0].records.clone().unwrap_or_default()
    }
}

/// The stored batch: what differs from an honest one of three records.
fn describe(bytes: &[u8], now: i64) -> String {
    let batch = match BatchRef::parse(bytes) {
        Ok(batch) => batch,
        Err(error) => return format!("unreadable: {error}"),
    };
    let header = batch.header;
    let mut said = format!("{}x{}", header.count, header.codec().map_or("?", |codec| codec.name()));
    if batch.check_crc().is_err() {
        said += " wrong-crc";
    }
    let appended = header.timestamp_type() == TimestampType::LogAppendTime;
    let flags = header.attributes & !0x0f;
    if flags != 0 {
        said += &format!(" flags={flags:#x}");
    }
    if appended {
        said += " append-time";
    } else {
        said += &format!(" max={}", since(header.max_timestamp.get(), now));
    }
    if header.last_offset_delta != header.count - 1 {
        said += &format!(" last={}", header.last_offset_delta);
    }
    said += &format!(" base={}", since(header.base_timestamp.get(), now));
    if header.producer_id != -1 || header.producer_epoch != -1 || header.base_sequence != -1 {
        said +=
            &format!(" producer={}/{}/{}", header.producer_id, header.producer_epoch, header.base_sequence);
    }
    said + &batch.records(1 << 20).map_or_else(
        |error| error.to_string(),
        |records| {
            let deltas: Vec<String> = records
                .iter()
                .map(|it| it.map_or_else(|error| error.to_string(), |it| it.offset_delta.to_string()))
                .collect();
            format!(" deltas={}", deltas.join(","))
        },
    )
}

fn since(timestamp: i64, now: i64) -> String {
    match timestamp.checked_sub(now) {
        Some(delta) if delta.abs() < 10_000_000 => format!("now{delta:+}"),
        _ => timestamp.to_string(),
    }
}

#[test]
fn every_lie_is_answered_as_by_kafka() {
    if let Ok(address) = std::env::var("KASTLE_ORACLE") {
        return ask_oracle(&address);
    }
    run(async {
        let cluster = Cluster::start(1).await;
        let broker = Broker::Ours(cluster.client(1).await);
        broker.create_topics().await;
        let mut wrong = Vec::new();
        for (index, case) in (0..).zip(TABLE) {
            let said = broker.said(index, case, 1_700_000_000_000).await;
            let expected = case.departure.unwrap_or(case.answer);
            if said != expected {
                wrong.push(format!("{}\n    said:     {said}\n    expected: {expected}", case.name));
            }
        }
        assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), TABLE.len(), wrong.join("\n"));
        drop(broker);
        cluster.stop_all().await;
    });
}

/// Prints the oracle's answers, one a line, and says where the table is of another opinion.
fn ask_oracle(address: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
        let port = port.parse().expect("a port");
        let connection = Connection::connect(&TcpNetwork, host, port, &ConnectOptions::default()).await;
        let broker = Broker::Oracle(connection.unwrap_or_else(|error| panic!("{error}")));
        broker.create_topics().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let now = i64::try_from(now).expect("before 292278994");
        let mut wrong = 0;
        for (index, case) in (0..).zip(TABLE) {
            let said = broker.said(index, case, now).await;
            wrong += usize::from(said != case.answer);
            println!("{}|{said}", case.name);
        }
        assert_eq!(wrong, 0, "of {} cases the table has other answers", TABLE.len());
    });
}
