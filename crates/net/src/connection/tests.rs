//! A connection against a server that a test scripts.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use wire::messages::ProduceRequest;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};

use super::{ConnectOptions, Connection, SendError};
use crate::frames::FrameReader;
use crate::pipe::PipeNetwork;
use crate::seams::{Network, WriteHalf};

const SOON: Duration = Duration::from_secs(1);
const KEY: i16 = 20_000;

/// The scripted server's end.
struct Far {
    frames: FrameReader,
    write: Box<dyn WriteHalf>,
}

impl Far {
    /// The next request: its correlation id and body.
    async fn request(&mut self) -> (i32, Bytes) {
        let mut frame = self.frames.next().await.expect("whole frames").expect("a request");
        let header = wire::header::RequestHeader::decode(&mut frame).expect("a header");
        assert_eq!((header.api_key, header.api_version), (KEY, 3));
        (header.correlation_id, frame)
    }

    async fn respond(&mut self, id: i32, body: &[u8]) {
        let length = u32::try_from(4 + body.len()).expect("short");
        let frame = [&length.to_be_bytes()[..], &id.to_be_bytes(), body].concat();
        self.write.write_all(&frame).await.expect("the other end reads");
    }
}

async fn connect() -> (Connection, Far) {
    let network = PipeNetwork::new();
    let (near, far) = (network.host("near"), network.host("far"));
    let mut listener = far.bind(":9092").await.expect("a free port");
    let options = ConnectOptions { response_bytes_max: 100, ..ConnectOptions::default() };
    let connection = Connection::connect(&near, "far", 9092, &options).await.expect("it listens");
    let (read, write) = listener.accept().await.expect("it was dialled").split().expect("a pipe");
    (connection, Far { frames: FrameReader::new(read, 100), write })
}

async fn ask(connection: &Connection, body: &[u8]) -> Result<Bytes, SendError> {
    connection.send_raw(KEY, 3, body, SOON).await
}

fn check_closed(outcome: Result<Bytes, SendError>, because: &str) {
    let error = outcome.expect_err("the connection is closed").to_string();
    assert!(error.contains(because), "'{error}' does not say '{because}'");
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_get_their_own_responses() {
    let (connection, mut far) = connect().await;
    let server = async {
        let (first, second) = (far.request().await, far.request().await);
        // Answered in another order than asked.
        far.respond(second.0, &second.1).await;
        far.respond(first.0, &first.1).await;
    };
    let (one, two, ()) = tokio::join!(ask(&connection, b"one"), ask(&connection, b"two"), server);
    assert_eq!(&one.expect("answered")[..], b"one");
    assert_eq!(&two.expect("answered")[..], b"two");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_times_out_closes_the_connection_for_all() {
    let (connection, mut far) = connect().await;
    let patient = connection.send_raw(KEY, 3, b"patient", SOON * 60);
    let (hasty, patient, _) = tokio::join!(ask(&connection, b"hasty"), patient, far.request());
    assert!(matches!(hasty, Err(SendError::TimedOut { .. })));
    check_closed(patient, "timed out");
    assert!(connection.is_closed());
    check_closed(ask(&connection, b"late").await, "timed out");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_closes_the_connection() {
    let (connection, _far) = connect().await;
    assert!(tokio::time::timeout(SOON / 10, ask(&connection, b"given up")).await.is_err());
    assert!(connection.is_closed());
}

/// A request without an answer; what is in it does not matter here.
fn unanswered() -> ProduceRequest {
    ProduceRequest::default().with_acks(0)
}

#[tokio::test(start_paused = true)]
async fn one_way_requests_arrive_in_their_order_and_wait_for_nothing() {
    let (connection, mut far) = connect().await;
    connection.send_one_way(11, unanswered(), SOON).await.expect("written");
    connection.send_one_way(11, unanswered(), SOON).await.expect("written");
    let server = async {
        for correlation in 0..2 {
            let mut frame = far.frames.next().await.expect("whole frames").expect("a request");
            let header = wire::header::RequestHeader::decode(&mut frame).expect("a header");
            assert_eq!((header.api_key, header.api_version, header.correlation_id), (0, 11, correlation));
        }
        let (id, body) = far.request().await;
        far.respond(id, &body).await;
    };
    let (answered, ()) = tokio::join!(ask(&connection, b"after them"), server);
    assert_eq!(&answered.expect("answered")[..], b"after them");
}

#[tokio::test(start_paused = true)]
async fn a_one_way_request_that_cannot_be_written_fails() {
    let (connection, far) = connect().await;
    drop(far);
    connection.closed().await;
    let error = connection.send_one_way(11, unanswered(), SOON).await.expect_err("nobody is there");
    assert!(error.to_string().contains("the other end closed it"), "{error}");
    let refused = connection.send_one_way(99, unanswered(), SOON).await.expect_err("no such version");
    assert!(matches!(refused, SendError::Encode(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn one_way_requests_to_a_reader_that_stopped_wait_their_turn_and_time_out() {
    let (connection, _far) = connect().await;
    let data = TopicProduceData::default().with_partition_data(vec![
        PartitionProduceData::default().with_records(Some(vec![0; 64 << 10].into())),
    ]);
    let request = unanswered().with_topic_data(vec![data]);
    let mut sent = 0;
    let error = loop {
        match connection.send_one_way(11, request.clone(), SOON).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1_000, "64 MB are nowhere to go");
    };
    assert!(matches!(error, SendError::TimedOut { .. }), "{error}");
    assert!(connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_fails_every_waiter() {
    let (connection, mut far) = connect().await;
    let server = async {
        far.request().await;
        drop(far);
    };
    let (outcome, ()) = tokio::join!(ask(&connection, b"x"), server);
    check_closed(outcome, "the other end closed it");
    connection.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_response_nobody_waits_for_and_one_too_large_close_the_connection() {
    let (connection, mut far) = connect().await;
    let ((), outcome) = tokio::join!(far.respond(77, b""), ask(&connection, b"x"));
    check_closed(outcome, "correlation id 77, which nobody waits for");
    let (connection, mut far) = connect().await;
    let ((), outcome) = tokio::join!(far.respond(0, &[0; 97]), ask(&connection, b"x"));
    check_closed(outcome, "claims 101 bytes; at most 100");
}
