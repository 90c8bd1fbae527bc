//! Starting a node, from its directories to its first heartbeat.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::NodeConfig;
use model::{BrokerEpoch, DirectoryId, Offset};
use net::ConnectOptions;
use net::task::Tasks;
use quorum::{ControllerSource, Observer, ObserverOptions, Quorum, QuorumOptions, QuorumStatus, VoterSource};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::api::ListenerKind;

use crate::clean_shutdown;
use crate::context::Context;
use crate::controller_link::{ControllerLink, Office};
use crate::controller_loop::{ControllerHandle, ControllerLoop, ControllerOptions, Tuning};
use crate::controller_registration::{self, ControllerDescription};
use crate::data::{Data, DataOptions};
use crate::groups::Groups;
use crate::groups::internal_topics::InternalTopics;
use crate::identity::{self, Identity};
use crate::lifecycle::{BrokerState, Lifecycle, Pace, SelfDescription};
use crate::node::parts;
use crate::node::{Failure, Node, NodeOptions, StartError};
use crate::peers::Peers;
use crate::publish::{Published, Readers, Replay, Steps};
use crate::running::Running;
use crate::server::{BoundListener, Server};
use crate::transactions::Transactions;
use crate::whereabouts::Whereabouts;

/// Tells of some of this node's log directories.
type DirsSender = watch::Sender<BTreeSet<DirectoryId>>;

/// The longest that a stop waits for the controller to move this broker's leaderships.
const CONTROLLED_SHUTDOWN_MAX: Duration = Duration::from_secs(30);
/// The least that heartbeats may be apart.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);

/// What the pieces of a start share.
struct Starting {
    options: NodeOptions,
    config: Arc<NodeConfig>,
    identity: Identity,
    rng: fastrand::Rng,
    tasks: Tasks,
    stop: CancellationToken,
    addresses: Vec<(String, SocketAddr)>,
}

/// The node's part in the metadata: a voter's or an observer's.
struct Metadata {
    quorum: Option<Quorum>,
    observer: Option<Observer>,
    status: watch::Receiver<QuorumStatus>,
    readers: Readers,
}

pub(super) async fn start(options: NodeOptions) -> Result<Node, StartError> {
    let config = Arc::new(options.config.clone());
    let dirs = config.all_dirs();
    let identity = identity::check(options.disk.as_ref(), &dirs, config.node_id)?;
    let bound = parts::bind(&config, options.network.as_ref()).await?;
    let addresses = bound.iter().map(|bound| (bound.spec.name.clone(), bound.local_addr)).collect();
    let starting = Starting {
        rng: fastrand::Rng::with_seed(options.seed),
        options,
        config,
        identity,
        tasks: Tasks::new(),
        stop: CancellationToken::new(),
        addresses,
    };
    starting.go(bound).await
}

impl Starting {
    async fn go(mut self, bound: Vec<BoundListener>) -> Result<Node, StartError> {
        let markers = self.take_markers()?;
        let metadata = self.open_metadata().await?;
        let published = metadata.readers.published.clone();
        let (office, seat) = watch::channel(Office::default());
        let controller = self.start_controller(&metadata)?;
        let links = ControllerLink::new(
            self.options.network.clone(),
            self.connect_options(),
            seat,
            controller.clone(),
        );
        self.follow_controller(&metadata, office);
        let leaving = CancellationToken::new();
        let (applied, reached) = watch::channel(Offset::ZERO);
        let (offline_dirs, lost) = watch::channel(BTreeSet::new());
        let (cordoned_dirs, cordoned) = watch::channel(BTreeSet::new());
        let (mut lifecycle, broker) = Lifecycle::new(
            self.describe(markers.epoch),
            links.separate(),
            reached,
            lost.clone(),
            cordoned,
            Pace {
                heartbeat_interval: self.config.session.heartbeat_interval.max(HEARTBEAT_MIN),
                registration_max: self.config.session.registration_timeout,
                stop_max: CONTROLLED_SHUTDOWN_MAX,
            },
            leaving.clone(),
        );
        let data =
            self.open_data(&published, &links, &broker, (offline_dirs, cordoned_dirs), &markers).await?;
        if data.as_ref().is_some_and(|data| data.is_damaged()) {
            lifecycle.forget_last_run();
        }
        let controller_address =
            parts::advertised(&self.config.advertised_controllers, &self.addresses).into_iter().next();
        let controller_address = controller_address.map(|address| (address.host, address.port));
        let groups = data.as_ref().map(|data| {
            let seed = self.rng.u64(..);
            let groups = Arc::new(Groups::new(data.clone(), &self.config, published.clone(), seed));
            groups.end_transactions_of(data);
            groups
        });
        let transactions = data.as_ref().map(|data| {
            let transactions = Arc::new(self.coordinate(data, &published));
            transactions.verify_for(data, self.config.node_id);
            transactions
        });
        let internal_topics = InternalTopics::new(links.clone(), published.clone(), self.config.clone());
        let Metadata { quorum, observer, status, readers } = metadata;
        let context = Arc::new(Context {
            node: self.config.node_id,
            cluster: self.identity.cluster.clone(),
            config: self.config.clone(),
            blocking: self.options.blocking.clone(),
            features: parts::features(),
            published,
            controllers: links.clone(),
            quorum,
            controller,
            controller_address,
            data,
            groups,
            transactions,
            internal_topics,
            broker,
        });
        self.register_controller(&context, &links);
        let server = Server::new(parts::limits(&self.config), self.options.threads.clone());
        let (failed, failure) = watch::channel(None);
        self.follow_metadata(readers, status, &context, applied, failed.clone());
        self.watch_dirs(lost, failed.clone());
        self.keep_marks(context.broker.clone());
        let serving = self.serve(&server, bound, &context);
        let lifecycle = context.data.is_some().then(|| {
            let node = context.node;
            net::task::spawn(async move {
                let outcome = lifecycle.run().await;
                if let Err(error) = &outcome {
                    tracing::error!(%node, %error, "this broker cannot be part of the cluster");
                    failed.send_replace(Some(Failure(error.to_string())));
                }
                outcome
            })
        });
        Ok(Node {
            context,
            observer,
            server,
            addresses: self.addresses,
            disk: self.options.disk,
            leaving,
            lifecycle: Mutex::new(lifecycle),
            tasks: self.tasks,
            stop: self.stop,
            failure,
            serving,
            _locks: self.identity.locks,
        })
    }
    /// Looks whether the directories were closed in order, and takes the markers away.
    fn take_markers(&self) -> Result<Markers, StartError> {
        let disk = self.options.disk.as_ref();
        let mut markers = Markers { clean: true, epoch: None };
        for dir in &self.config.log_dirs {
            let failed = |source| StartError::Marker { dir: dir.clone(), source };
            let found = clean_shutdown::read(disk, dir).map_err(failed)?;
            markers.clean &= found.is_some();
            markers.epoch = found.flatten();
            clean_shutdown::remove(disk, dir).map_err(failed)?;
        }
        if !markers.clean {
            markers.epoch = self.running().last_epoch();
        }
        Ok(markers)
    }

    /// The marks of this process in its log directories.
    fn running(&self) -> Running {
        let (disk, dirs) = (self.options.disk.clone(), self.config.log_dirs.clone());
        Running::new(disk, dirs, self.options.boot.clone())
    }

    async fn open_metadata(&mut self) -> Result<Metadata, StartError> {
        let (replay, readers) = Replay::new(self.config.roles.is_broker());
        let threads = self.options.blocking.has_threads();
        if self.config.roles.is_controller() {
            let options = self.quorum_options();
            let quorum = if threads {
                Quorum::spawn_thread(options, replay).await?
            } else {
                Quorum::open(options, replay).await?
            };
            return Ok(Metadata { status: quorum.status(), quorum: Some(quorum), observer: None, readers });
        }
        let options = self.observer_options();
        let observer = if threads {
            Observer::spawn_thread(options, replay).await?
        } else {
            Observer::open(options, replay).await?
        };
        Ok(Metadata { status: observer.status(), quorum: None, observer: Some(observer), readers })
    }

    fn quorum_options(&mut self) -> QuorumOptions {
        let voters = parts::voters(&self.config);
        QuorumOptions {
            node: self.config.node_id,
            directory: self.metadata_directory(),
            cluster: self.identity.cluster.clone(),
            log_dir: self.config.metadata_log_dir.clone(),
            voters: if voters.0.is_empty() { VoterSource::Formatted } else { VoterSource::Static(voters) },
            listener: parts::controller_listener(&self.config),
            disk: self.options.disk.clone(),
            network: self.options.network.clone(),
            clock: self.options.clock.clone(),
            seed: self.rng.u64(..),
            blocking: self.options.blocking.clone(),
            tuning: parts::quorum_tuning(&self.config),
        }
    }

    fn observer_options(&self) -> ObserverOptions {
        let voters = parts::voters(&self.config);
        ObserverOptions {
            node: self.config.node_id,
            directory: self.metadata_directory(),
            cluster: self.identity.cluster.clone(),
            log_dir: self.config.metadata_log_dir.clone(),
            controllers: if voters.0.is_empty() {
                ControllerSource::Bootstrap(self.config.quorum.bootstrap_servers.clone())
            } else {
                ControllerSource::Static(voters)
            },
            listener: parts::controller_listener(&self.config),
            disk: self.options.disk.clone(),
            network: self.options.network.clone(),
            clock: self.options.clock.clone(),
            blocking: self.options.blocking.clone(),
            tuning: parts::quorum_tuning(&self.config),
        }
    }

    fn metadata_directory(&self) -> DirectoryId {
        let directories = &self.identity.directories;
        let found = directories.iter().find(|(dir, _)| *dir == self.config.metadata_log_dir);
        found.map(|(_, id)| *id).expect("all_dirs includes metadata_log_dir")
    }

    fn start_controller(&mut self, metadata: &Metadata) -> Result<Option<ControllerHandle>, StartError> {
        let Some(quorum) = &metadata.quorum else { return Ok(None) };
        let bootstrap =
            quorum::format::read_bootstrap(self.options.disk.as_ref(), &self.config.metadata_log_dir)?;
        let config = &self.config;
        let options = ControllerOptions {
            node: config.node_id,
            quorum: quorum.clone(),
            published: metadata.readers.published.clone(),
            clock: self.options.clock.clone(),
            network: self.options.network.clone(),
            bootstrap,
            tuning: Tuning {
                settings: parts::settings(config, &self.identity.cluster),
                balance_interval: config
                    .replication
                    .auto_rebalance
                    .then_some(config.replication.imbalance_check_interval),
                unclean_interval: config.replication.unclean_election_interval,
                inter_broker_listener: config.inter_broker_listener.clone(),
            },
            seed: self.rng.u64(..),
        };
        let (running, handle) = ControllerLoop::new(options, self.stop.clone());
        self.tasks.spawn(running.run());
        Ok(Some(handle))
    }

    fn connect_options(&self) -> ConnectOptions {
        ConnectOptions {
            client_id: format!("kastle-{}", self.config.node_id),
            connect_timeout: self.config.quorum.request_timeout,
            ..ConnectOptions::default()
        }
    }

    fn follow_controller(&self, metadata: &Metadata, office: watch::Sender<Office>) {
        let whereabouts = Whereabouts {
            node: self.config.node_id,
            status: metadata.status.clone(),
            published: metadata.readers.published.clone(),
            voters: parts::voters(&self.config),
            listener: parts::controller_listener(&self.config),
        };
        self.tasks.spawn(whereabouts.follow(office, self.stop.clone()));
    }

    fn describe(&mut self, previous_epoch: Option<BrokerEpoch>) -> SelfDescription {
        let config = &self.config;
        let mut log_dirs: Vec<(PathBuf, DirectoryId)> = self.identity.directories.clone();
        log_dirs.retain(|(dir, _)| config.log_dirs.contains(dir));
        SelfDescription {
            node: config.node_id,
            cluster: self.identity.cluster.clone(),
            incarnation: parts::draw_id(&mut self.rng),
            listeners: parts::advertised(&config.advertised, &self.addresses),
            features: parts::features(),
            rack: config.rack.clone(),
            log_dirs: log_dirs.into_iter().map(|(_, id)| id).collect(),
            previous_epoch,
        }
    }

    async fn open_data(
        &mut self,
        published: &Published,
        links: &ControllerLink,
        broker: &BrokerState,
        (offline_dirs, cordoned_dirs): (DirsSender, DirsSender),
        markers: &Markers,
    ) -> Result<Option<Arc<Data>>, StartError> {
        if !self.config.roles.is_broker() {
            return Ok(None);
        }
        let mut log_dirs = self.identity.directories.clone();
        log_dirs.retain(|(dir, _)| self.config.log_dirs.contains(dir));
        let options = DataOptions {
            node: self.config.node_id,
            cluster: self.identity.cluster.clone(),
            config: self.config.clone(),
            log_dirs,
            disk: self.options.disk.clone(),
            network: self.options.network.clone(),
            clock: self.options.clock.clone(),
            blocking: self.options.blocking.clone(),
            threads: self.options.threads.clone(),
            running: self.running(),
            published: published.clone(),
            controllers: links.separate(),
            broker: broker.clone(),
            offline_dirs,
            cordoned_dirs,
            seed: self.rng.u64(..),
            was_clean: markers.clean,
            lost_power: !markers.clean && markers.epoch.is_none(),
        };
        Ok(Some(Data::open(options).await?))
    }

    /// The coordinator of transactions, and its way to other brokers.
    fn coordinate(&self, data: &Arc<Data>, published: &Published) -> Transactions {
        let (network, listener) = (self.options.network.clone(), self.config.inter_broker_listener.clone());
        let client_id = format!("kastle-{}-ends-transactions", self.config.node_id);
        let peers = Peers::new(network, listener, client_id);
        Transactions::new(data.clone(), &self.config, published.clone(), peers)
    }

    /// Keeps a controller registered with the active one.
    fn register_controller(&mut self, context: &Arc<Context>, links: &ControllerLink) {
        if context.quorum.is_none() {
            return;
        }
        let describe = ControllerDescription {
            node: context.node,
            incarnation: parts::draw_id(&mut self.rng),
            listeners: parts::advertised(&self.config.advertised_controllers, &self.addresses),
            features: parts::features(),
        };
        let keeping = controller_registration::keep(
            describe,
            links.separate(),
            context.published.clone(),
            self.stop.clone(),
        );
        self.tasks.spawn(keeping);
    }

    /// Feeds the data plane, and watches for the end of the metadata.
    fn follow_metadata(
        &self,
        readers: Readers,
        mut status: watch::Receiver<QuorumStatus>,
        context: &Arc<Context>,
        applied: watch::Sender<Offset>,
        failed: watch::Sender<Option<Failure>>,
    ) {
        if let Some(steps) = readers.steps {
            let (following, stop) = (apply(steps, context.clone(), applied), self.stop.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = following => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        let (mut replay, stop) = (readers.failed, self.stop.clone());
        self.tasks.spawn(async move {
            let reason = tokio::select! {
                Ok(reason) = replay.wait_for(Option::is_some) => reason.clone(),
                Ok(now) = status.wait_for(|now| now.failure.is_some()) => now.failure.clone(),
                () = stop.cancelled() => None,
            };
            if let Some(reason) = reason {
                failed.send_replace(Some(Failure(reason)));
            }
        });
    }

    /// Marks the directories under each epoch that this broker gets.
    fn keep_marks(&self, mut broker: BrokerState) {
        let (running, blocking) = (self.running(), self.options.blocking.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut marked = None;
            loop {
                let next = tokio::select! {
                    next = broker.registered_after(marked) => next,
                    () = stop.cancelled() => return,
                };
                let Some(epoch) = next else { return };
                marked = next;
                let running = running.clone();
                blocking.run(move || running.mark(epoch)).await;
            }
        });
    }

    /// A node without a working log directory, or without the metadata's, has nothing to go on with.
    fn watch_dirs(
        &self,
        mut lost: watch::Receiver<BTreeSet<DirectoryId>>,
        failed: watch::Sender<Option<Failure>>,
    ) {
        let metadata = self.metadata_directory();
        let mut log_dirs = self.identity.directories.clone();
        log_dirs.retain(|(dir, _)| self.config.log_dirs.contains(dir));
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let is_over = |lost: &BTreeSet<DirectoryId>| {
                lost.contains(&metadata) || log_dirs.iter().all(|(_, id)| lost.contains(id))
            };
            let over = tokio::select! {
                over = lost.wait_for(is_over) => over.is_ok(),
                () = stop.cancelled() => false,
            };
            if over {
                let lost = lost.borrow();
                let names = log_dirs.iter().filter(|(_, id)| lost.contains(id));
                let names: Vec<String> = names.map(|(dir, _)| dir.display().to_string()).collect();
                let reason = format!(
                    "the log directories {} failed, and nothing can be served without them; \
                     look after their disks, then start this node again",
                    names.join(", ")
                );
                failed.send_replace(Some(Failure(reason)));
            }
        });
    }

    /// Serves controllers at once and clients as soon as this broker is unfenced. Answers whether
    /// everybody is served.
    fn serve(
        &self,
        server: &Server,
        bound: Vec<BoundListener>,
        context: &Arc<Context>,
    ) -> watch::Receiver<bool> {
        let (controllers, brokers): (Vec<_>, Vec<_>) =
            bound.into_iter().partition(|bound| bound.spec.kind == ListenerKind::Controller);
        for bound in controllers {
            server.serve(bound, context.clone());
        }
        let (serving, served) = watch::channel(false);
        let (server, context, stop) = (server.clone(), context.clone(), self.stop.clone());
        let controllers_only = brokers.is_empty();
        self.tasks.spawn(async move {
            let mut broker = context.broker.clone();
            let mut published = context.published.clone();
            let ready = async {
                if controllers_only {
                    published.wait_for(|picture| picture.end > Offset::ZERO).await.is_some()
                } else {
                    broker.unfenced().await.is_some()
                }
            };
            let ready = tokio::select! {
                ready = ready => ready,
                () = stop.cancelled() => false,
            };
            if ready {
                for bound in brokers {
                    server.serve(bound, context.clone());
                }
                serving.send_replace(true);
                stop.cancelled().await;
            }
        });
        served
    }
}

/// How the directories were left.
struct Markers {
    clean: bool,
    epoch: Option<BrokerEpoch>,
}

/// Hands the data plane one step after another, from this broker's registration on.
///
/// What the metadata said before is about an earlier process: it may name this node the leader of what it
/// lost since. The registration comes with the end of that, so the first step covers both.
async fn apply(steps: Steps, context: Arc<Context>, applied: watch::Sender<Offset>) {
    let (Some(data), Some(groups)) = (&context.data, &context.groups) else { return };
    let Some(transactions) = &context.transactions else { return };
    let (mut broker, mut published) = (context.broker.clone(), context.published.clone());
    let Some(epoch) = broker.registered().await else { return };
    if published.wait_for(|picture| picture.end.get() > epoch.get()).await.is_none() {
        return;
    }
    loop {
        let step = steps.take().await;
        data.apply(&step).await;
        groups.apply(&step);
        transactions.apply(&step);
        applied.send_replace(step.picture.end);
    }
}
