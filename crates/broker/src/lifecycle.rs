//! A broker's life as the controller sees it: register, heartbeat, stop.
//!
//! ```text
//!   Registering --accepted--> Serving --stop asked--> Leaving --granted--> (end)
//!        ^                       |
//!        +---- stale epoch ------+
//! ```
//!
//! A heartbeat goes out every `broker.heartbeat.interval.ms`, and at once when
//! something changed: the metadata caught up, the controller moved, a stop was asked
//! for. A broker asks to be unfenced only when its data plane has seen its own
//! registration. It never decides that it is fenced: the controller does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{BrokerEpoch, ClusterId, DirectoryId, ErrorCode, IncarnationId, NodeId, Offset};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::messages::broker_registration_request::{Feature, Listener};
use wire::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerId, BrokerRegistrationRequest, ResponseKind,
    WireUuid, text, to_wire_uuid,
};

use crate::controller_link::{ControllerLink, LinkError};

/// The versions spoken to controllers.
const REGISTRATION_VERSION: i16 = 4;
const HEARTBEAT_VERSION: i16 = 1;
/// Between heartbeats while something is awaited: to be unfenced, to be let go.
const EAGER_PAUSE: Duration = Duration::from_millis(20);
/// After many eager heartbeats in vain the controller is given more room.
const EAGER_PAUSE_MAX: Duration = Duration::from_millis(500);
/// A broker that is to stop gives up on controllers that are silent for so long: the whole cluster
/// may be stopping.
const UNANSWERED_MAX: Duration = Duration::from_secs(3);
/// One try at registering; a dead controller is noticed earlier, by its connection.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker's standing, as it knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// The epoch the controller gave; none before the first registration.
    pub epoch: Option<BrokerEpoch>,
    /// Whether the controller lets it lead and be in sync.
    pub unfenced: bool,
}

/// A reader of this broker's standing.
#[derive(Clone)]
pub struct BrokerState {
    registration: watch::Receiver<Registration>,
}

impl BrokerState {
    /// The standing now.
    pub fn get(&self) -> Registration {
        *self.registration.borrow()
    }

    /// Waits until the broker is registered; `None` when it stops before.
    pub async fn registered(&mut self) -> Option<BrokerEpoch> {
        self.registration.wait_for(|standing| standing.epoch.is_some()).await.ok()?.epoch
    }

    /// Waits for a registration other than `known`; `None` when the broker stops before.
    pub async fn registered_after(&mut self, known: Option<BrokerEpoch>) -> Option<BrokerEpoch> {
        let is_new = |standing: &Registration| standing.epoch.is_some() && standing.epoch != known;
        self.registration.wait_for(is_new).await.ok()?.epoch
    }

    /// Waits until the broker is unfenced; `None` when it stops before.
    pub async fn unfenced(&mut self) -> Option<BrokerEpoch> {
        let registration = self.registration.wait_for(|standing| standing.unfenced).await.ok()?;
        registration.epoch
    }
}

/// One address that clients reach this broker at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The listener's name.
    pub listener: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Kafka's number of the security protocol: 0 is plaintext.
    pub security_protocol: i16,
}

/// What a broker says of itself when it registers.
#[derive(Clone, Debug)]
pub struct SelfDescription {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// This run of the process.
    pub incarnation: IncarnationId,
    /// Where clients reach it.
    pub listeners: Vec<Advertised>,
    /// Supported feature levels: name to lowest and highest.
    pub features: BTreeMap<String, (i16, i16)>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Its log directories.
    pub log_dirs: Vec<DirectoryId>,
    /// Its epoch before a stop in order (KIP-966).
    pub previous_epoch: Option<BrokerEpoch>,
}

/// How long a broker waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// For its first registration, `initial.broker.registration.timeout.ms`: one that was never taken
    /// in ends with an error, for whoever watches over it to see.
    pub registration_max: Duration,
    /// For its controlled shutdown.
    pub stop_max: Duration,
}

/// What keeps a broker alive in the controller's eyes.
pub struct Lifecycle {
    describe: SelfDescription,
    link: ControllerLink,
    /// How far the data plane has followed the metadata.
    applied: watch::Receiver<Offset>,
    /// Log directories that failed.
    offline_dirs: watch::Receiver<BTreeSet<DirectoryId>>,
    /// Those that are to take no new replicas (KIP-1066).
    cordoned_dirs: watch::Receiver<BTreeSet<DirectoryId>>,
    pace: Pace,
    standing: watch::Sender<Registration>,
    leave: CancellationToken,
}

/// Why a broker's life ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// The controllers belong to another cluster.
    #[error(
        "the controllers refuse this broker: its cluster.id is {0}, theirs is another; format its directories for their cluster, or point controller.quorum.bootstrap.servers at its own"
    )]
    WrongCluster(ClusterId),
    /// The controllers cannot take it as it is.
    #[error("the controllers refuse to register this broker: {0}")]
    Refused(ErrorCode),
    /// Nobody took it in for too long.
    #[error(
        "this broker was not registered within {} ms: {reason}; start a majority of the controllers, check how this node reaches them, or raise initial.broker.registration.timeout.ms",
        .after.as_millis()
    )]
    TimedOut {
        /// How long it waited.
        after: Duration,
        /// What was last in its way.
        reason: String,
    },
}

impl Lifecycle {
    /// A broker that has not registered yet, and the reader of its standing. `leave` begins the
    /// controlled shutdown.
    pub fn new(
        describe: SelfDescription,
        link: ControllerLink,
        applied: watch::Receiver<Offset>,
        offline_dirs: watch::Receiver<BTreeSet<DirectoryId>>,
        cordoned_dirs: watch::Receiver<BTreeSet<DirectoryId>>,
        pace: Pace,
        leave: CancellationToken,
    ) -> (Self, BrokerState) {
        let (standing, registration) = watch::channel(Registration::default());
        let lifecycle = Self { describe, link, applied, offline_dirs, cordoned_dirs, pace, standing, leave };
        (lifecycle, BrokerState { registration })
    }

    /// What it stored when its last run ended is not all there any more.
    pub fn forget_last_run(&mut self) {
        self.describe.previous_epoch = None;
    }

    /// Lives until the controller lets it go, or `leave` and no controller answers.
    pub async fn run(mut self) -> Result<(), LifecycleError> {
        let mut until = Some(Instant::now() + self.pace.registration_max);
        loop {
            let Some(epoch) = self.register(until.take()).await? else { return Ok(()) };
            self.standing.send_replace(Registration { epoch: Some(epoch), unfenced: false });
            if self.serve(epoch).await == Verdict::Left {
                return Ok(());
            }
            self.describe.previous_epoch = None;
        }
    }

    /// Registers, however long it takes where `until` says nothing. `None` when a stop came first.
    async fn register(&mut self, until: Option<Instant>) -> Result<Option<BrokerEpoch>, LifecycleError> {
        let mut pause = EAGER_PAUSE;
        let mut said = String::new();
        loop {
            let deadline = Instant::now() + REGISTRATION_TIMEOUT;
            let request = self.registration_request();
            let answer = tokio::select! {
                answer = self.link.request(REGISTRATION_VERSION, request, deadline) => answer,
                () = self.leave.cancelled() => return Ok(None),
            };
            match self.judge_registration(answer, &mut said)? {
                Some(epoch) => return Ok(Some(epoch)),
                None => tokio::time::sleep(pause).await,
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                if said.is_empty() {
                    "the controllers did not take it in".clone_into(&mut said);
                }
                return Err(LifecycleError::TimedOut { after: self.pace.registration_max, reason: said });
            }
            pause = (pause * 2).min(EAGER_PAUSE_MAX);
        }
    }

    /// What to make of the answer; what is the same as last time (`said`) is not logged again.
    fn judge_registration(
        &self,
        answer: Result<ResponseKind, LinkError>,
        said: &mut String,
    ) -> Result<Option<BrokerEpoch>, LifecycleError> {
        let response = match answer {
            Ok(ResponseKind::BrokerRegistration(response)) => response,
            Ok(_) => return Ok(None),
            Err(error) => {
                let reason = error.to_string();
                if reason != *said {
                    tracing::info!(node = %self.describe.node, %error, "not registered yet");
                    *said = reason;
                }
                return Ok(None);
            }
        };
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => Ok(Some(BrokerEpoch::new(response.broker_epoch))),
            ErrorCode::InconsistentClusterId => {
                Err(LifecycleError::WrongCluster(self.describe.cluster.clone()))
            }
            ErrorCode::DuplicateBrokerRegistration => {
                const REASON: &str = "another process with this node.id is registered and alive; waiting for its session to end";
                if said != REASON {
                    tracing::warn!(node = %self.describe.node, "{REASON}");
                    REASON.clone_into(said);
                }
                Ok(None)
            }
            code if code.is_retriable() || code == ErrorCode::UnknownServerError => Ok(None),
            code => Err(LifecycleError::Refused(code)),
        }
    }

    fn registration_request(&self) -> BrokerRegistrationRequest {
        let describe = &self.describe;
        let listener = |advertised: &Advertised| {
            Listener::default()
                .with_name(text(&advertised.listener))
                .with_host(text(&advertised.host))
                .with_port(advertised.port)
                .with_security_protocol(advertised.security_protocol)
        };
        let feature = |(name, &(min, max)): (&String, &(i16, i16))| {
            Feature::default()
                .with_name(text(name))
                .with_min_supported_version(min)
                .with_max_supported_version(max)
        };
        let offline = self.offline_dirs.borrow();
        let online = describe.log_dirs.iter().copied().filter(|dir| !offline.contains(dir));
        BrokerRegistrationRequest::default()
            .with_broker_id(BrokerId(describe.node.get()))
            .with_cluster_id(text(describe.cluster.as_str()))
            .with_incarnation_id(to_wire_uuid(describe.incarnation))
            .with_listeners(describe.listeners.iter().map(listener).collect())
            .with_features(describe.features.iter().map(feature).collect())
            .with_rack(describe.rack.as_deref().map(text))
            .with_log_dirs(online.map(to_wire_uuid).collect())
            .with_previous_broker_epoch(describe.previous_epoch.map_or(-1, BrokerEpoch::get))
    }

    /// Heartbeats until this registration is over.
    async fn serve(&mut self, epoch: BrokerEpoch) -> Verdict {
        let mut eager = EAGER_PAUSE;
        let mut leaving_since = None;
        let mut last_answer = Instant::now();
        loop {
            if self.leave.is_cancelled() && leaving_since.is_none() {
                (leaving_since, last_answer) = (Some(Instant::now()), Instant::now());
                eager = EAGER_PAUSE;
            }
            let in_vain = |since: Instant| {
                since.elapsed() >= self.pace.stop_max || last_answer.elapsed() >= UNANSWERED_MAX
            };
            if leaving_since.is_some_and(in_vain) {
                tracing::warn!(node = %self.describe.node, "no controller granted the shutdown in time");
                return Verdict::Left;
            }
            let beat = self.heartbeat(epoch, leaving_since.is_some()).await;
            if beat.is_ok() {
                last_answer = Instant::now();
            }
            let waiting = match beat {
                Ok(Beat::Stale) => return Verdict::Stale,
                Ok(Beat::LetGo) => return Verdict::Left,
                Ok(Beat::Fenced) => true,
                Ok(Beat::Unfenced) => leaving_since.is_some(),
                Err(error) => {
                    tracing::debug!(node = %self.describe.node, %error, "a heartbeat went unanswered");
                    true
                }
            };
            if waiting {
                self.pause(eager, leaving_since.is_some()).await;
                eager = (eager * 2).min(EAGER_PAUSE_MAX);
            } else {
                eager = EAGER_PAUSE;
                self.pause(self.pace.heartbeat_interval, false).await;
            }
        }
    }

    /// Waits until the next heartbeat is due.
    async fn pause(&mut self, at_most: Duration, leaving: bool) {
        let fenced = !self.standing.borrow().unfenced;
        tokio::select! {
            () = tokio::time::sleep(at_most) => {}
            () = self.link.moved() => {}
            () = self.leave.cancelled(), if !leaving => {}
            // Only a fenced broker is in a hurry to tell how far it has come.
            Ok(()) = self.applied.changed(), if fenced => {}
            // Others should lead what was lost, at once.
            Ok(()) = self.offline_dirs.changed() => {}
            Ok(()) = self.cordoned_dirs.changed() => {}
        }
    }

    async fn heartbeat(&mut self, epoch: BrokerEpoch, leaving: bool) -> Result<Beat, LinkError> {
        let applied = *self.applied.borrow_and_update();
        // All of them each time: the answer to the last heartbeat may have been lost.
        let offline = self.offline_dirs.borrow_and_update().iter().copied().map(to_wire_uuid).collect();
        let request = BrokerHeartbeatRequest::default()
            .with_broker_id(BrokerId(self.describe.node.get()))
            .with_broker_epoch(epoch.get())
            // An end of what is applied; Kafka speaks of the last offset in it.
            .with_current_metadata_offset(applied.get() - 1)
            .with_want_fence(false)
            .with_want_shut_down(leaving)
            .with_offline_log_dirs(offline);
        let cordoned: Vec<WireUuid> =
            self.cordoned_dirs.borrow_and_update().iter().copied().map(to_wire_uuid).collect();
        let request = wire::cordoned::with(request, &cordoned);
        let deadline = Instant::now() + self.pace.heartbeat_interval;
        match self.link.request(HEARTBEAT_VERSION, request, deadline).await? {
            ResponseKind::BrokerHeartbeat(response) => Ok(self.judge(epoch, &response)),
            _ => Ok(Beat::Fenced),
        }
    }

    fn judge(&self, epoch: BrokerEpoch, response: &BrokerHeartbeatResponse) -> Beat {
        let beat = match ErrorCode::from_code(response.error_code) {
            ErrorCode::None if response.should_shut_down => Beat::LetGo,
            ErrorCode::None if response.is_fenced => Beat::Fenced,
            ErrorCode::None => Beat::Unfenced,
            ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered => Beat::Stale,
            code => {
                tracing::warn!(node = %self.describe.node, %code, "the controller refused a heartbeat");
                Beat::Fenced
            }
        };
        let standing = Registration { epoch: Some(epoch), unfenced: beat == Beat::Unfenced };
        self.standing.send_if_modified(|had| std::mem::replace(had, standing) != standing);
        beat
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beat {
    Unfenced,
    Fenced,
    LetGo,
    Stale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The broker may end.
    Left,
    /// The controller knows no such registration: register again.
    Stale,
}
