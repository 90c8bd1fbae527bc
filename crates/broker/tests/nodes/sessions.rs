//! Fetch sessions (KIP-227) as a client sees them: only what changed is asked for and answered.

use std::time::Duration;

use crate::support::records::{batch, create, leader, produce};
use crate::support::{Client, Cluster, run};
use model::ErrorCode;
use wire::batch::Batches;
use wire::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use wire::messages::{DeleteTopicsRequest, FetchRequest, ResponseKind, WireUuid, topic};

/// What one request says: positions, and partitions that are not wanted any more.
struct Ask<'a> {
    id: WireUuid,
    positions: &'a [(i32, i64)],
    forgotten: &'a [i32],
    wait_ms: i32,
}

impl Ask<'_> {
    fn request(&self, session: i32, epoch: i32) -> FetchRequest {
        let data = self.positions.iter().map(|&(partition, offset)| {
            FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(offset)
                .with_current_leader_epoch(-1)
                .with_partition_max_bytes(1 << 20)
        });
        let topics = FetchTopic::default().with_topic_id(self.id).with_partitions(data.collect());
        let forgotten =
            ForgottenTopic::default().with_topic_id(self.id).with_partitions(self.forgotten.to_vec());
        FetchRequest::default()
            .with_max_wait_ms(self.wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_session_id(session)
            .with_session_epoch(epoch)
            .with_topics(if self.positions.is_empty() { Vec::new() } else { vec![topics] })
            .with_forgotten_topics_data(if self.forgotten.is_empty() { Vec::new() } else { vec![forgotten] })
    }

    /// The session, and `partition:error:high watermark:batches` of each partition that is answered.
    async fn say(&self, client: &Client, session: i32, epoch: i32) -> (i32, String) {
        let answer = client.ask(16, self.request(session, epoch)).await;
        let ResponseKind::Fetch(response) = answer else { panic!("no fetch response") };
        if response.error_code != 0 {
            return (response.session_id, ErrorCode::from_code(response.error_code).name().to_owned());
        }
        let parts = response.responses.iter().flat_map(|topic| &topic.partitions).map(|it| {
            let batches = Batches::new(it.records.as_deref().unwrap_or_default()).count();
            let error = ErrorCode::from_code(it.error_code);
            let error = if error == ErrorCode::None { "" } else { error.name() };
            format!("{}:{error}:{}:{batches}", it.partition_index, it.high_watermark)
        });
        (response.session_id, parts.collect::<Vec<_>>().join(" "))
    }
}

#[test]
fn a_session_answers_what_changed_and_nothing_else() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 3, 1, &[]).await;
        let (_, id) = leader(&client, "t").await;
        let nothing = Ask { id, positions: &[], forgotten: &[], wait_ms: 200 };
        let all = Ask { positions: &[(0, 0), (1, 0), (2, 0)], ..nothing };
        let (session, said) = all.say(&client, 0, 0).await;
        assert!(session > 0);
        assert_eq!(said, "0::0:0 1::0:0 2::0:0", "the first answer is full");
        let begun = tokio::time::Instant::now();
        assert_eq!(nothing.say(&client, session, 1).await, (session, String::new()));
        assert!(begun.elapsed() >= Duration::from_millis(200), "it waited in vain");
        assert_eq!(produce(&client, "t", 1, batch(&["a"], None)).await, Ok(0));
        assert_eq!(nothing.say(&client, session, 2).await, (session, "0::1:1".to_owned()));
        assert_eq!(
            nothing.say(&client, session, 3).await,
            (session, "0::1:1".to_owned()),
            "it has not moved"
        );
        let moved = Ask { positions: &[(0, 1)], ..nothing };
        assert_eq!(moved.say(&client, session, 4).await, (session, String::new()));
        let late = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            produce(&cluster.client(1).await, "t", 1, batch(&["b"], None)).await
        };
        let (said, written) = tokio::join!(nothing.say(&client, session, 5), late);
        assert_eq!((said.1.as_str(), written), ("0::2:1", Ok(1)), "a waiting request is woken");
        let beyond = Ask { positions: &[(1, 9)], ..nothing };
        assert_eq!(beyond.say(&client, session, 6).await.1, "1:OFFSET_OUT_OF_RANGE:-1:0 0::2:1");
        let fewer = Ask { forgotten: &[0, 1], ..nothing };
        assert_eq!(fewer.say(&client, session, 7).await, (session, String::new()));
        let none = Ask { forgotten: &[2], ..nothing };
        assert_eq!(none.say(&client, session, 8).await, (0, String::new()), "an empty session is closed");
        assert_eq!(nothing.say(&client, session, 9).await.1, "FETCH_SESSION_ID_NOT_FOUND");
        cluster.stop_all().await;
    });
}

#[test]
fn a_session_is_refused_when_it_is_another() {
    run(async {
        let extra = "max.incremental.fetch.session.cache.slots=1\n";
        let cluster = Cluster::start_configured(1, 1, extra).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        let (_, id) = leader(&client, "t").await;
        let nothing = Ask { id, positions: &[], forgotten: &[], wait_ms: 0 };
        let all = Ask { positions: &[(0, 0)], ..nothing };
        let (session, _) = all.say(&client, 0, 0).await;
        assert_eq!(all.say(&client, 0, 0).await, (0, "0::0:0".to_owned()), "there is no room for a second");
        assert_eq!(nothing.say(&client, session, 2).await, (0, "INVALID_FETCH_SESSION_EPOCH".to_owned()));
        assert_eq!(nothing.say(&client, session ^ 1, 1).await.1, "FETCH_SESSION_ID_NOT_FOUND");
        assert_eq!(nothing.say(&client, session, 1).await, (session, String::new()));
        let (next, said) = all.say(&client, session, 0).await;
        assert!(next > 0 && next != session, "a full request takes the place of its session");
        assert_eq!(said, "0::0:0");
        assert_eq!(all.say(&client, next, -1).await, (0, "0::0:0".to_owned()), "and the last one closes it");
        assert_eq!(nothing.say(&client, next, 1).await.1, "FETCH_SESSION_ID_NOT_FOUND");
        cluster.stop_all().await;
    });
}

#[test]
fn a_topic_that_goes_is_told_to_a_session_once_it_is_gone() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        let (_, id) = leader(&client, "t").await;
        let nothing = Ask { id, positions: &[], forgotten: &[], wait_ms: 1_000 };
        let (session, _) = Ask { positions: &[(0, 0)], ..nothing }.say(&client, 0, 0).await;
        let delete = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let request =
                DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]).with_timeout_ms(5_000);
            cluster.client(1).await.ask(5, request).await
        };
        let (said, _) = tokio::join!(nothing.say(&client, session, 1), delete);
        assert_eq!(said.1, "0:UNKNOWN_TOPIC_ID:-1:0");
        assert_eq!(nothing.say(&client, session, 2).await.1, "0:UNKNOWN_TOPIC_ID:-1:0");
        cluster.stop_all().await;
    });
}
