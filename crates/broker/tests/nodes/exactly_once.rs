//! Transactions from end to end, as producers of both versions make them: what readers of committed data
//! see, whom a new producer shuts out, and what outlives coordinators.

use std::time::Duration;

use model::ErrorCode;
use wire::messages::ResponseKind;

use crate::support::records::{batch, create, create_on, leader, produce};
use crate::support::transactions::{
    KINDS, Kind, Producer, code_of, comes_to_read, coordinator, listed, read, stable_offset, try_read,
};
use crate::support::{Cluster, run};

const FEW: &str = "offsets.topic.num.partitions=4\ntransaction.state.log.num.partitions=4\n\
                   transaction.abort.timed.out.transaction.cleanup.interval.ms=200\n";
const FEW_ON_ONE: &str = "offsets.topic.num.partitions=4\ntransaction.state.log.num.partitions=4\n\
                          transaction.abort.timed.out.transaction.cleanup.interval.ms=200\n\
                          offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
                          transaction.state.log.min.isr=1\n";
const ONE: &[i32] = &[1];
const ALL: &[i32] = &[1, 2, 3];

async fn one() -> Cluster {
    let cluster = Cluster::start_configured(1, 1, FEW_ON_ONE).await;
    let client = cluster.client(1).await;
    create(&client, "t", 2, 1, &[]).await;
    leader(&client, "t").await;
    cluster
}

async fn three() -> Cluster {
    let cluster = Cluster::start_configured(3, 3, FEW).await;
    let client = cluster.client(1).await;
    create(&client, "t", 2, 3, &[("min.insync.replicas", "2")]).await;
    leader(&client, "t").await;
    cluster
}

async fn begun(cluster: &Cluster, id: &str, kind: Kind, nodes: &[i32]) -> Producer {
    let mut producer = Producer::new(id, kind);
    producer.nodes = nodes.to_vec();
    assert_eq!(producer.init(cluster).await, ErrorCode::None);
    producer
}

#[test]
fn what_is_committed_is_read_and_what_is_aborted_or_open_is_not() {
    run(async {
        let cluster = one().await;
        for (kind, name) in KINDS.into_iter().zip(["t", "u"]) {
            if name == "u" {
                create(&cluster.client(1).await, "u", 2, 1, &[]).await;
                leader(&cluster.client(1).await, "u").await;
            }
            let mut producer = begun(&cluster, name, kind, ONE).await;
            assert_eq!(producer.send(&cluster, name, 0, "a").await, ErrorCode::None);
            assert_eq!(producer.send(&cluster, name, 0, "b").await, ErrorCode::None);
            assert_eq!(producer.send(&cluster, name, 1, "c").await, ErrorCode::None);
            assert!(read(&cluster, ONE, name).await.is_empty(), "nothing is committed yet");
            assert_eq!(producer.end(&cluster, true).await, ErrorCode::None);
            comes_to_read(&cluster, ONE, name, &["a", "b"]).await;
            let other = try_read(&cluster, ONE, name, 1).await.expect("it is served");
            assert_eq!(other.0, [(0, "c".to_owned())]);
            assert_eq!(producer.send(&cluster, name, 0, "d").await, ErrorCode::None);
            assert_eq!(producer.end(&cluster, false).await, ErrorCode::None);
            assert_eq!(producer.send(&cluster, name, 0, "e").await, ErrorCode::None);
            assert_eq!(producer.end(&cluster, true).await, ErrorCode::None);
            comes_to_read(&cluster, ONE, name, &["a", "b", "e"]).await;
            let epochs = if kind == Kind::Bumps { 3 } else { 0 };
            assert_eq!(producer.epoch, epochs, "{kind:?}");
        }
        cluster.stop_all().await;
    });
}

#[test]
fn a_new_producer_shuts_the_old_one_out_and_aborts_what_it_left_open() {
    run(async {
        let cluster = one().await;
        for (kind, id) in KINDS.into_iter().zip(["x", "y"]) {
            let mut old = begun(&cluster, id, kind, ONE).await;
            assert_eq!(old.send(&cluster, "t", 0, "old").await, ErrorCode::None);
            let mut new = begun(&cluster, id, kind, ONE).await;
            assert!(new.epoch > old.epoch && new.producer == old.producer);
            let late = old.send(&cluster, "t", 0, "late").await;
            assert_eq!(late, ErrorCode::InvalidProducerEpoch, "{kind:?}");
            assert_eq!(old.end(&cluster, true).await, ErrorCode::ProducerFenced, "{kind:?}");
            assert_eq!(new.send(&cluster, "t", 0, id).await, ErrorCode::None);
            assert_eq!(new.end(&cluster, true).await, ErrorCode::None);
        }
        comes_to_read(&cluster, ONE, "t", &["x", "y"]).await;
        cluster.stop_all().await;
    });
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted_and_its_producer_shut_out() {
    run(async {
        let cluster = one().await;
        for (kind, id) in KINDS.into_iter().zip(["x", "y"]) {
            let mut producer = Producer::new(id, kind);
            (producer.timeout_ms, producer.nodes) = (1_000, ONE.to_vec());
            assert_eq!(producer.init(&cluster).await, ErrorCode::None);
            assert_eq!(producer.send(&cluster, "t", 0, "slow").await, ErrorCode::None);
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(producer.described(&cluster).await.starts_with("Ongoing"), "not yet");
            producer.comes_to(&cluster, "CompleteAbort").await;
            let (values, stable) = try_read(&cluster, ONE, "t", 0).await.expect("it is served");
            assert!(values.is_empty(), "{values:?}");
            assert!(stable >= 2, "the reader gets past it: {stable}");
            assert_eq!(producer.end(&cluster, true).await, ErrorCode::ProducerFenced, "{kind:?}");
        }
        cluster.stop_all().await;
    });
}

#[test]
fn offsets_in_a_transaction_count_when_it_is_committed_and_are_unstable_until_then() {
    run(async {
        let cluster = one().await;
        for (kind, id) in KINDS.into_iter().zip(["x", "y"]) {
            let mut producer = begun(&cluster, id, kind, ONE).await;
            let offset = async || stable_offset(&cluster, ONE, id, "t").await;
            assert_eq!(producer.send(&cluster, "t", 0, "a").await, ErrorCode::None);
            assert_eq!(producer.commit_offset(&cluster, id, "t", 5).await, ErrorCode::None);
            assert_eq!(offset().await, Err(ErrorCode::UnstableOffsetCommit));
            assert_eq!(producer.end(&cluster, true).await, ErrorCode::None);
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(offset().await, Ok(5));
            assert_eq!(producer.commit_offset(&cluster, id, "t", 9).await, ErrorCode::None);
            assert_eq!(producer.end(&cluster, false).await, ErrorCode::None);
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(offset().await, Ok(5), "{kind:?}");
        }
        cluster.stop_all().await;
    });
}

#[test]
fn offsets_of_what_does_not_exist_are_refused_beside_those_of_what_does() {
    run(async {
        let cluster = one().await;
        let client = cluster.client(1).await;
        let mut producer = begun(&cluster, "x", Kind::Adds, ONE).await;
        assert_eq!(producer.commit_offset(&cluster, "g", "t", 5).await, ErrorCode::None);
        let told = async |offsets: &[(&str, i64)]| {
            let answer = client.ask(3, producer.offsets_request("g", offsets)).await;
            let ResponseKind::TxnOffsetCommit(answer) = answer else { panic!("no answer") };
            let codes = answer.topics.iter().map(|topic| {
                let code = ErrorCode::from_code(topic.partitions[0].error_code);
                format!("{} {}", topic.name.as_str(), code.name())
            });
            codes.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(told(&[("t", 6), ("u", 7)]).await, "u UNKNOWN_TOPIC_OR_PARTITION, t NONE");
        assert_eq!(told(&[("u", 7)]).await, "u UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(producer.end(&cluster, true).await, ErrorCode::None);
        producer.comes_to(&cluster, "CompleteCommit").await;
        assert_eq!(stable_offset(&cluster, ONE, "g", "t").await, Ok(6));
        cluster.stop_all().await;
    });
}

#[test]
fn offsets_of_no_transaction_that_its_coordinator_knows_are_refused() {
    run(async {
        let cluster = one().await;
        let mut producer = begun(&cluster, "x", Kind::Adds, ONE).await;
        assert_eq!(producer.send(&cluster, "t", 0, "a").await, ErrorCode::None);
        // Its client does not know TRANSACTION_ABORTABLE.
        assert_eq!(producer.commit_offset_alone(&cluster, "g", "t", 5).await, ErrorCode::InvalidTxnState);
        producer.epoch += 1;
        let stale = producer.commit_offset_alone(&cluster, "g", "t", 5).await;
        assert_eq!(stale, ErrorCode::InvalidProducerEpoch);
        assert_eq!(stable_offset(&cluster, ONE, "g", "t").await, Ok(-1));
        cluster.stop_all().await;
    });
}

#[test]
fn a_decided_transaction_is_told_to_its_partitions_by_whoever_coordinates_next() {
    for kind in KINDS {
        run(async move {
            let mut cluster = Cluster::start_configured(3, 4, FEW).await;
            let client = cluster.client(1).await;
            create_on(&client, "t", &[4], &[]).await;
            leader(&client, "t").await;
            let mut producer = Producer::coordinated_beside(&cluster, 4, kind).await;
            assert_eq!(producer.init(&cluster).await, ErrorCode::None);
            assert_eq!(producer.send(&cluster, "t", 0, "a").await, ErrorCode::None);
            let first = producer.coordinator(&cluster).await;
            cluster.kill_to_return(4);
            assert_eq!(producer.end(&cluster, true).await, ErrorCode::None);
            producer.nodes.retain(|node| *node != first);
            let described = producer.described(&cluster).await;
            assert!(described.starts_with("PrepareCommit") && described.ends_with(" t-0"), "{described}");
            cluster.kill(first);
            // Whether that is committed, the next one may find out only when more replicas are there.
            let described = producer.described(&cluster).await;
            let is_open = described.starts_with("PrepareCommit") || described.starts_with("Ongoing");
            assert!(is_open && described.ends_with(" t-0"), "{described}");
            assert_ne!(producer.coordinator(&cluster).await, first);
            cluster.boot(4).await;
            cluster.ready(4).await;
            producer.comes_to(&cluster, "CompleteCommit").await;
            comes_to_read(&cluster, &producer.nodes, "t", &["a"]).await;
        });
    }
}

#[test]
fn a_transaction_goes_on_where_its_coordinator_died() {
    for kind in KINDS {
        run(async move {
            let mut cluster = three().await;
            let mut producer = begun(&cluster, "x", kind, ALL).await;
            assert_eq!(producer.send(&cluster, "t", 0, "a").await, ErrorCode::None);
            let first = producer.coordinator(&cluster).await;
            cluster.kill_to_return(first);
            producer.nodes.retain(|node| *node != first);
            assert_eq!(producer.send(&cluster, "t", 0, "b").await, ErrorCode::None);
            assert_eq!(producer.end(&cluster, true).await, ErrorCode::None);
            comes_to_read(&cluster, &producer.nodes, "t", &["a", "b"]).await;
            cluster.boot(first).await;
            cluster.ready(first).await;
            assert_eq!(producer.send(&cluster, "t", 0, "c").await, ErrorCode::None);
            assert_eq!(producer.end(&cluster, false).await, ErrorCode::None);
            producer.comes_to(&cluster, "CompleteAbort").await;
            comes_to_read(&cluster, ALL, "t", &["a", "b"]).await;
        });
    }
}

#[test]
fn offsets_of_an_open_transaction_wait_for_its_end_where_their_group_went() {
    for kind in KINDS {
        run(async move {
            let mut cluster = three().await;
            let mut producer = begun(&cluster, "x", kind, ALL).await;
            assert_eq!(producer.commit_offset(&cluster, "g", "t", 7).await, ErrorCode::None);
            let first = coordinator(&cluster, ALL, 0, "g").await;
            cluster.kill(first);
            producer.nodes.retain(|node| *node != first);
            let unstable = stable_offset(&cluster, &producer.nodes, "g", "t").await;
            assert_eq!(unstable, Err(ErrorCode::UnstableOffsetCommit));
            assert_eq!(producer.end(&cluster, true).await, ErrorCode::None);
            producer.comes_to(&cluster, "CompleteCommit").await;
            assert_eq!(stable_offset(&cluster, &producer.nodes, "g", "t").await, Ok(7));
        });
    }
}

#[test]
fn transactions_are_described_and_listed_and_outlive_all_nodes() {
    run(async {
        let mut cluster = one().await;
        let mut x = begun(&cluster, "x", Kind::Adds, ONE).await;
        let mut y = begun(&cluster, "y", Kind::Bumps, ONE).await;
        assert_eq!(x.send(&cluster, "t", 1, "a").await, ErrorCode::None);
        assert_eq!(x.send(&cluster, "t", 0, "a").await, ErrorCode::None);
        assert_eq!(y.send(&cluster, "t", 0, "b").await, ErrorCode::None);
        assert_eq!(y.end(&cluster, true).await, ErrorCode::None);
        y.comes_to(&cluster, "CompleteCommit").await;
        cluster.stop(1).await;
        cluster.boot(1).await;
        cluster.ready(1).await;
        assert_eq!(x.described(&cluster).await, format!("Ongoing {}/0 t-0 t-1", x.producer));
        assert_eq!(y.described(&cluster).await, format!("CompleteCommit {}/1", y.producer));
        assert_eq!(listed(&cluster, ONE).await, ["x Ongoing", "y CompleteCommit"]);
        assert_ne!(x.producer, y.producer);
        assert_eq!(x.end(&cluster, true).await, ErrorCode::None);
        comes_to_read(&cluster, ONE, "t", &["a", "b"]).await;
        cluster.stop_all().await;
    });
}

#[test]
fn a_partition_that_is_gone_does_not_keep_a_transaction_from_ending() {
    run(async {
        use wire::messages::delete_topics_request::DeleteTopicState;
        use wire::messages::{DeleteTopicsRequest, topic};
        let cluster = one().await;
        let client = cluster.client(1).await;
        create(&client, "u", 1, 1, &[]).await;
        leader(&client, "u").await;
        let mut producer = begun(&cluster, "x", Kind::Adds, ONE).await;
        assert_eq!(producer.send(&cluster, "t", 0, "a").await, ErrorCode::None);
        assert_eq!(producer.send(&cluster, "u", 0, "b").await, ErrorCode::None);
        let named = DeleteTopicState::default().with_name(Some(topic("u")));
        let request = DeleteTopicsRequest::default().with_topics(vec![named]).with_timeout_ms(5_000);
        let ResponseKind::DeleteTopics(answer) = client.ask(6, request).await else { panic!("no answer") };
        assert_eq!(answer.responses[0].error_code, 0);
        assert_eq!(producer.end(&cluster, true).await, ErrorCode::None);
        producer.comes_to(&cluster, "CompleteCommit").await;
        comes_to_read(&cluster, ONE, "t", &["a"]).await;
        cluster.stop_all().await;
    });
}

#[test]
fn what_a_client_may_not_add_is_refused() {
    run(async {
        use wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
        use wire::messages::{AddPartitionsToTxnRequest, TransactionalId, text, topic};
        let cluster = one().await;
        let client = cluster.client(1).await;
        let producer = begun(&cluster, "x", Kind::Adds, ONE).await;
        let add = async |id: &str, producer: i64, name: &str, index: i32| {
            let asked =
                AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(vec![index]);
            let request = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(TransactionalId(text(id)))
                .with_v3_and_below_producer_id(producer.into())
                .with_v3_and_below_producer_epoch(0)
                .with_v3_and_below_topics(vec![asked]);
            code_of(&client.ask(3, request).await)
        };
        assert_eq!(add("x", producer.producer, "t", 7).await, ErrorCode::UnknownTopicOrPartition);
        let internal = add("x", producer.producer, "__transaction_state", 0).await;
        assert_eq!(internal, ErrorCode::TopicAuthorizationFailed);
        assert_eq!(add("", producer.producer, "t", 0).await, ErrorCode::InvalidRequest);
        let other = add("x", producer.producer + 1, "t", 0).await;
        assert_eq!(other, ErrorCode::InvalidProducerIdMapping);
        assert!(producer.described(&cluster).await.starts_with("Empty"));
        cluster.stop_all().await;
    });
}

/// Copies `in` to `out` in transactions, with offsets, until `count` are there; starts anew after whatever
/// goes wrong, as an application does that was restarted.
async fn copy(cluster: &Cluster, kind: Kind, nodes: &[i32], count: usize) {
    let mut producer = begun(cluster, "copier", kind, nodes).await;
    for attempt in 0..2_000 {
        let from = match stable_offset(cluster, nodes, "copiers", "in").await {
            Ok(offset) => offset.max(0),
            Err(code) => {
                assert_eq!(code, ErrorCode::UnstableOffsetCommit);
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Some((records, _)) = try_read(cluster, nodes, "in", 0).await else { continue };
        let ahead: Vec<_> = records.into_iter().filter(|(offset, _)| *offset >= from).take(5).collect();
        let Some((last, _)) = ahead.last().cloned() else {
            if usize::try_from(from).is_ok_and(|from| from >= count) {
                return;
            }
            continue;
        };
        let mut code = ErrorCode::None;
        for (_, value) in &ahead {
            // On the paused clock nothing else takes time.
            tokio::time::sleep(Duration::from_millis(30)).await;
            code = producer.send(cluster, "out", 0, value).await;
            if code != ErrorCode::None {
                break;
            }
        }
        if code == ErrorCode::None {
            code = producer.commit_offset(cluster, "copiers", "in", last + 1).await;
        }
        if code == ErrorCode::None {
            // Now and then it changes its mind.
            code = producer.end(cluster, attempt % 5 != 4).await;
        }
        if code != ErrorCode::None {
            while producer.init(cluster).await != ErrorCode::None {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    panic!("it does not get on");
}

#[test]
fn a_copy_is_exact_whoever_dies_meanwhile() {
    const COUNT: usize = 150;
    for kind in KINDS {
        run(async move {
            let mut cluster = three().await;
            let client = cluster.client(1).await;
            for name in ["in", "out"] {
                create(&client, name, 1, 3, &[("min.insync.replicas", "2")]).await;
            }
            let values: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
            let (first, _) = leader(&client, "in").await;
            for (number, value) in values.iter().enumerate() {
                let records = batch(&[value], None);
                let placed = produce(&cluster.client(first).await, "in", -1, records).await;
                assert_eq!(placed.map(usize::try_from), Ok(Ok(number)));
            }
            let (mut dead, mut deaths) = (None, 0);
            loop {
                let time = Duration::from_millis(150 + 130 * (deaths % 4));
                if tokio::time::timeout(time, copy(&cluster, kind, ALL, COUNT)).await.is_ok() {
                    break;
                }
                assert!(deaths < 300, "it does not get on");
                match dead.take() {
                    Some(node) => {
                        cluster.boot(node).await;
                        cluster.ready(node).await;
                    }
                    None => {
                        let node = i32::try_from(deaths % 3).expect("small") + 1;
                        deaths += 1;
                        cluster.kill_to_return(node);
                        dead = Some(node);
                    }
                }
            }
            assert!(deaths > 3, "few died: {deaths}");
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            comes_to_read(&cluster, ALL, "out", &values).await;
        });
    }
}
