//! A task that follows a leader: ask, take, ask again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use log::checkpoint::{HIGH_WATERMARK, RECOVERY_POINT};
use model::{ErrorCode, Millis, Offset};
use net::{ConnectOptions, Connection};
use wire::messages::{FetchResponse, ListOffsetsResponse, ResponseKind};

use crate::data::durability;
use crate::data::fetchers::ask::{Asked, Limits, Round, Session, list_offsets};
use crate::data::fetchers::take::{self, Taken};
use crate::data::fetchers::{Followed, Lane, pace};
use crate::data::partition::Key;
use crate::data::plane::Plane;
use crate::data::upkeep;

const FETCH_VERSION: i16 = 17;
const LIST_OFFSETS_VERSION: i16 = 9;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// Partitions come in bursts; as long they are gathered.
const GATHER: Duration = Duration::from_millis(2);
/// While partitions come one request after another, none waits longer at the leader than this.
const SETTLING_WAIT: Duration = Duration::from_millis(20);
/// Before a leader that cannot be reached is tried again; doubles up to `replica.fetch.backoff.ms`.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Before a leader is asked again that has not heard of its office yet.
const EARLY_PAUSE: Duration = Duration::from_millis(50);
/// The leader answers at the latest so long after the wait that was asked for.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);
/// Above so many bytes a response is taken in on another thread.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// What a task holds.
struct Follow {
    plane: Arc<Plane>,
    lane: Arc<Lane>,
    connection: Option<Connection>,
    session: Session,
    /// Where the next request begins.
    first: Option<Key>,
    /// Partitions were added during the last request.
    is_settling: bool,
    pause: Duration,
}

/// Follows until the node stops.
pub(super) async fn run(plane: Arc<Plane>, lane: Arc<Lane>) {
    let stop = plane.stop.clone();
    let mut follow = Follow {
        plane,
        lane,
        connection: None,
        session: Session::default(),
        first: None,
        is_settling: true,
        pause: RECONNECT_PAUSE,
    };
    tokio::select! {
        () = follow.run() => {}
        () = stop.cancelled() => {}
    }
}

impl Follow {
    async fn run(&mut self) {
        loop {
            let now = self.plane.options.clock.now();
            let config = &self.plane.options.config.replication;
            let partition_bytes_max = i32::try_from(config.fetch_bytes_max).unwrap_or(i32::MAX);
            let plane = &self.plane;
            let pause = plane.throttles.follower.pauses_until(now);
            let rests_until = |followed: &Followed| pace::rests_until(plane, pause, followed);
            let round = self.session.gather(&self.lane, self.first, now, partition_bytes_max, rests_until);
            if round.partitions == 0 {
                self.session.restart();
                self.idle(now, round.next).await;
                continue;
            }
            if !self.connect().await {
                self.session.restart();
                continue;
            }
            let Some(response) = self.fetch(round).await else { continue };
            self.take(response).await;
        }
    }

    /// Nothing to ask for: waits until there is.
    async fn idle(&mut self, now: Millis, next: Option<Millis>) {
        let changed = self.lane.changed.notified();
        match next {
            Some(next) => {
                let _ = tokio::time::timeout(next.since(now), changed).await;
            }
            None => {
                self.connection = None;
                changed.await;
            }
        }
        self.is_settling = true;
    }

    /// Makes sure there is a connection. False after a pause when there is none.
    async fn connect(&mut self) -> bool {
        if self.connection.as_ref().is_some_and(|open| !open.is_closed()) {
            return true;
        }
        self.connection = self.dial().await;
        if self.connection.is_some() {
            self.pause = RECONNECT_PAUSE;
            return true;
        }
        let _ = tokio::time::timeout(self.pause, self.lane.changed.notified()).await;
        let pause_max = self.plane.options.config.replication.fetch_backoff.max(RECONNECT_PAUSE);
        self.pause = (self.pause * 2).min(pause_max);
        false
    }

    async fn dial(&self) -> Option<Connection> {
        let options = &self.plane.options;
        let picture = options.published.get();
        let broker = picture.image.broker(self.lane.id.leader)?;
        let endpoint = broker.listener(&options.config.inter_broker_listener)?;
        let connect = ConnectOptions {
            client_id: format!(
                "kastle-{}-follows-{}-{}",
                options.node, self.lane.id.leader, self.lane.id.fetcher
            ),
            connect_timeout: options.config.replication.socket_timeout.min(ANSWER_MARGIN),
            ..ConnectOptions::default()
        };
        match Connection::connect(options.network.as_ref(), &endpoint.host, endpoint.port, &connect).await {
            Ok(connection) => Some(connection),
            Err(error) => {
                tracing::debug!(node = %options.node, leader = %self.lane.id.leader, %error, "a leader cannot be reached");
                None
            }
        }
    }

    /// One request. `None` when it was given up, or failed.
    async fn fetch(&mut self, round: Round) -> Option<FetchResponse> {
        let options = &self.plane.options;
        let config = &options.config.replication;
        let wait =
            if self.is_settling { SETTLING_WAIT.min(config.fetch_wait_max) } else { config.fetch_wait_max };
        let limits = Limits {
            wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            bytes_min: i32::try_from(config.fetch_bytes_min).unwrap_or(i32::MAX),
            bytes_max: i32::try_from(config.fetch_response_bytes_max).unwrap_or(i32::MAX),
        };
        let request = self.session.request(round, options.node, options.broker.get().epoch, limits);
        let connection = self.connection.as_ref()?;
        let sent = connection.send(FETCH_VERSION, request, wait + ANSWER_MARGIN);
        let changed = self.lane.changed.notified();
        let answer = if self.is_settling {
            let answer = sent.await;
            // Were partitions added meanwhile? Then more may come.
            tokio::pin!(changed);
            self.is_settling = futures_util::poll!(changed.as_mut()).is_ready();
            answer
        } else {
            tokio::select! {
                answer = sent => answer,
                () = changed => {
                    self.hang_up();
                    self.is_settling = true;
                    tokio::time::sleep(GATHER).await;
                    return None;
                }
            }
        };
        match answer {
            Ok(ResponseKind::Fetch(response)) if self.session.take(&response) => Some(response),
            Ok(ResponseKind::Fetch(response)) if is_session_lost(&response) => {
                tracing::debug!(node = %options.node, leader = %self.lane.id.leader, "the session with a leader begins anew");
                None
            }
            other => {
                self.complain(other.map(|_| ()).map_err(|error| error.to_string()));
                self.hang_up();
                tokio::time::sleep(RECONNECT_PAUSE).await;
                None
            }
        }
    }

    /// Whatever the leader still answers is not heard.
    fn hang_up(&mut self) {
        self.connection = None;
        self.session.restart();
    }

    fn complain(&self, what: Result<(), String>) {
        let reason = what.err().unwrap_or_else(|| "it was refused".to_owned());
        tracing::info!(node = %self.plane.options.node, leader = %self.lane.id.leader, reason, "a fetch from a leader failed");
    }

    async fn take(&mut self, response: FetchResponse) {
        let asked = self.session.asked(&response);
        pace::spend(&self.plane, take::brought(&response, &asked));
        let bytes = take::bytes(&response);
        self.first = take::last_with_records(&response).or(self.first);
        let cuts = take::cuts(&response);
        let waits = bytes > INLINE_BYTES_MAX || cuts;
        let (plane, leader) = (self.plane.clone(), self.lane.id.leader);
        let work = move || take::all(&plane, leader, &asked, response);
        let taken = if waits { self.plane.options.blocking.run(work).await } else { work() };
        let Taken { failed, early, lost, to_sync } = taken;
        if cuts {
            self.forget_what_was_cut().await;
        }
        // What flush.messages asks for: the next fetch tells the leader that it is safe here.
        for (partition, end) in to_sync {
            if let Err(error) = durability::sync_to(&self.plane, &partition, end).await {
                tracing::error!(partition = %partition.name, %error, "a follower's log cannot be synced");
            }
        }
        if !lost.is_empty() {
            self.find_again(lost).await;
        }
        let later = self.plane.options.clock.now().after(self.plane.options.config.replication.fetch_backoff);
        for asked in failed {
            self.lane.delay(asked.partition.key, asked.epoch, later);
        }
        let soon = self.plane.options.clock.now().after(EARLY_PAUSE);
        for asked in early {
            self.lane.delay(asked.partition.key, asked.epoch, soon);
        }
    }

    /// The checkpoints must not say that records are durable or committed which are gone: after a crash,
    /// those that took their offsets would be taken for it.
    async fn forget_what_was_cut(&self) {
        upkeep::write_checkpoint(&self.plane, RECOVERY_POINT).await;
        upkeep::write_checkpoint(&self.plane, HIGH_WATERMARK).await;
    }

    /// Followers whose log's end the leader does not have: asks what it has.
    async fn find_again(&mut self, lost: Vec<Asked>) {
        let latest = self.list_offsets(&lost, LATEST).await;
        let earliest = self.list_offsets(&lost, EARLIEST).await;
        let later = self.plane.options.clock.now().after(self.plane.options.config.replication.fetch_backoff);
        let plane = self.plane.clone();
        let leader = self.lane.id.leader;
        for asked in &lost {
            let at = |offsets: &BTreeMap<(String, i32), Offset>| {
                let name = asked.partition.name.topic.as_str().to_owned();
                offsets.get(&(name, asked.partition.key.1.get())).copied()
            };
            let found = match (at(&earliest), at(&latest)) {
                (Some(earliest), Some(latest)) => {
                    let (plane, asked) = (plane.clone(), asked.clone());
                    let work = move || take::relocate(&plane, leader, &asked, earliest, latest);
                    let moved = self.plane.options.blocking.run(work).await;
                    self.forget_what_was_cut().await;
                    moved
                }
                _ => false,
            };
            if !found {
                self.lane.delay(asked.partition.key, asked.epoch, later);
            }
        }
    }

    async fn list_offsets(&mut self, lost: &[Asked], timestamp: i64) -> BTreeMap<(String, i32), Offset> {
        let request = list_offsets(self.plane.options.node, lost, timestamp);
        let Some(connection) = &self.connection else { return BTreeMap::new() };
        match connection.send(LIST_OFFSETS_VERSION, request, ANSWER_MARGIN).await {
            Ok(ResponseKind::ListOffsets(response)) => offsets(response),
            Ok(_) => BTreeMap::new(),
            Err(error) => {
                self.complain(Err(error.to_string()));
                BTreeMap::new()
            }
        }
    }
}

fn is_session_lost(response: &FetchResponse) -> bool {
    let code = ErrorCode::from_code(response.error_code);
    matches!(
        code,
        ErrorCode::FetchSessionIdNotFound
            | ErrorCode::InvalidFetchSessionEpoch
            | ErrorCode::FetchSessionTopicIdError
    )
}

fn offsets(response: ListOffsetsResponse) -> BTreeMap<(String, i32), Offset> {
    let mut offsets = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions.iter().filter(|it| it.error_code == ErrorCode::None.code()) {
            if let Some(offset) = Offset::from_wire(partition.offset) {
                offsets.insert((topic.name.to_string(), partition.partition_index), offset);
            }
        }
    }
    offsets
}
