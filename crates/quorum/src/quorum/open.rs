//! Starting a quorum: directory, snapshots, log, openraft, and the first voters.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::{METADATA_TOPIC, NodeId};
use openraft::async_runtime::AsyncRuntime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::driver::{Command, Driver};
use super::errors::OpenError;
use super::{COMMANDS_MAX, Quorum, Shared};
use crate::format::formatted_voters;
use crate::level::Level;
use crate::machine::StateMachine;
use crate::options::{QuorumOptions, VoterSource};
use crate::raft::config::config;
use crate::raft::machine::Machine;
use crate::raft::runtime::{self, Runtime};
use crate::raft::types::{VoterId, voters_of};
use crate::snapshot::Directory;
use crate::status::QuorumStatus;
use crate::store::{Store, StoreOptions};
use crate::transport::{PeerFactory, Peers, PeersOptions, Raft, Receiving, Server, watch_leader};
use crate::voters::{Voter, Voters};

/// The metadata log's directory beneath `metadata.log.dir`.
pub(crate) fn log_dir(log_dir: &Path) -> std::path::PathBuf {
    log_dir.join(format!("{METADATA_TOPIC}-0"))
}

/// Opens everything on this thread.
pub(super) async fn open(
    options: QuorumOptions,
    machine: Box<dyn StateMachine>,
) -> Result<Quorum, OpenError> {
    // openraft's random numbers, and those of every task it spawns, come from the seed.
    let seed = options.seed;
    Box::pin(runtime::scope(seed, start(options, machine))).await
}

async fn start(options: QuorumOptions, machine: Box<dyn StateMachine>) -> Result<Quorum, OpenError> {
    let dir = log_dir(&options.log_dir);
    let io = |source| OpenError::Io { path: dir.clone(), source };
    options.disk.create_dir_all(&dir).map_err(io)?;
    options.disk.sync_dir(&options.log_dir).map_err(io)?;
    let directory =
        Directory::open(options.disk.clone(), &dir, options.blocking.clone(), true).map_err(io)?;
    let directory = Arc::new(directory);
    let store = open_store(&options, &dir, &directory)?;
    let peers = Arc::new(peers(&options));
    let level = Arc::new(Level::default());
    let (machine, applied) =
        Machine::new(machine, store.clone(), directory.clone(), peers.clone(), level.clone());
    let raft = start_raft(&options, &peers, &store, machine).await?;
    if let Err(error) = agree_on_voters(&options, &dir, &raft, &store, &peers).await {
        drop(raft.shutdown().await);
        return Err(error);
    }
    let (commands, received) = mpsc::channel(COMMANDS_MAX);
    let (status, watched) = watch::channel(QuorumStatus::default());
    let (led, leader) = watch::channel(None);
    let shared = Arc::new(Shared {
        node: options.node,
        directory_id: options.directory,
        store,
        directory: directory.clone(),
        level,
        clock: options.clock.clone(),
        observers: Default::default(),
        append_timeout: options.tuning.append_timeout,
        stopped: CancellationToken::new(),
    });
    let driver = Driver {
        server: Server { raft: raft.clone(), peers: peers.clone(), receiving: Receiving::new(directory) },
        raft,
        peers: peers.clone(),
        shared: shared.clone(),
        applied,
        status,
        led,
        election_timeout: options.tuning.election_timeout,
        bytes_between_snapshots: options.tuning.bytes_between_snapshots,
        caught_up: BTreeMap::new(),
        resigned: None,
        snapshot_asked_at: None,
    };
    // Ends with the driver, which owns the sender that it watches.
    let hints = commands.downgrade();
    drop(Runtime::spawn(watch_leader(peers, leader, move |gone, _epoch| {
        if let Some(hints) = hints.upgrade() {
            drop(hints.try_send(Command::PeerGone(gone)));
        }
    })));
    drop(Runtime::spawn(driver.run(received)));
    Ok(Quorum { commands, status: watched, shared })
}

/// Opens everything on a thread of its own.
pub(super) async fn spawn_thread(
    options: QuorumOptions,
    machine: Box<dyn StateMachine>,
) -> Result<Quorum, OpenError> {
    let (opened, answer) = oneshot::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(opened.send(Err(OpenError::Thread(error.to_string())))),
        };
        let local = tokio::task::LocalSet::new();
        runtime.block_on(local.run_until(async move {
            match open(options, machine).await {
                Ok(quorum) => {
                    let stopped = quorum.shared.stopped.clone();
                    drop(opened.send(Ok(quorum)));
                    stopped.cancelled().await;
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        }));
    };
    let thread = std::thread::Builder::new().name("quorum".to_owned()).spawn(run);
    thread.map_err(|error| OpenError::Thread(error.to_string()))?;
    answer.await.unwrap_or_else(|_| Err(OpenError::Thread("it ended before it began".to_owned())))
}

fn open_store(options: &QuorumOptions, dir: &Path, directory: &Directory) -> Result<Store, OpenError> {
    let store = StoreOptions {
        disk: options.disk.clone(),
        dir: dir.to_owned(),
        blocking: options.blocking.clone(),
        clock: options.clock.clone(),
        node: options.node,
        directory: options.directory,
        segment_bytes: options.tuning.segment_bytes,
    };
    let newest = directory.newest().map(|file| file.anchor);
    Store::open(store, newest, directory.log_needed_from())
        .map_err(|error| OpenError::Log { dir: dir.to_owned(), cause: error.to_string() })
}

fn peers(options: &QuorumOptions) -> Peers {
    let configured = match &options.voters {
        VoterSource::Static(voters) => Some(voters.clone()),
        VoterSource::Formatted => None,
    };
    Peers::new(PeersOptions {
        node: options.node,
        directory: options.directory,
        cluster: options.cluster.clone(),
        listener: options.listener.clone(),
        network: options.network.clone(),
        clock: options.clock.clone(),
        timeout: options.tuning.election_timeout,
        configured,
    })
}

/// Holds config, formatted files and log against each other; in an empty log, writes who votes.
async fn agree_on_voters(
    options: &QuorumOptions,
    dir: &Path,
    raft: &Raft,
    store: &Store,
    peers: &Peers,
) -> Result<(), OpenError> {
    let logged = logged_voters(raft).await?;
    if logged.0.is_empty() {
        return initialize(raft, options.node, first_voters(options, dir)?).await;
    }
    check_logged(options, &logged)?;
    store.note_voters(logged.0.keys().copied().collect());
    peers.set_voters(logged);
    Ok(())
}

/// Who votes as long as the log does not say; `None` for a controller that waits to be added.
fn first_voters(options: &QuorumOptions, dir: &Path) -> Result<Option<Voters>, OpenError> {
    let voters = match &options.voters {
        // Only the ids: every voter must write the same first entry, and configs may spell one address in
        // several ways. They are dialled by the config.
        VoterSource::Static(voters) => {
            Some(Voters(voters.0.keys().map(|id| (*id, Voter::default())).collect()))
        }
        VoterSource::Formatted => formatted_voters(options.disk.as_ref(), dir)
            .map_err(|error| OpenError::Log { dir: dir.to_owned(), cause: error.to_string() })?,
    };
    let Some(voters) = voters else { return Ok(None) };
    check_mine(options, &voters)?;
    Ok(Some(voters))
}

/// Whether this node is the one that the voters mean.
fn check_mine(options: &QuorumOptions, voters: &Voters) -> Result<(), OpenError> {
    let (node, got) = (options.node, options.directory);
    match voters.0.get(&node).map(|voter| voter.directory) {
        None => Err(OpenError::NotAVoter { node, voters: voters.clone() }),
        Some(expected) if !expected.is_zero() && expected != got => {
            Err(OpenError::Directory { node, expected, got })
        }
        Some(_) => Ok(()),
    }
}

/// Whether config and directory agree with the voters that the log names.
fn check_logged(options: &QuorumOptions, logged: &Voters) -> Result<(), OpenError> {
    match &options.voters {
        VoterSource::Static(configured) if !logged.0.keys().eq(configured.0.keys()) => {
            Err(OpenError::Voters { configured: configured.clone(), logged: logged.clone() })
        }
        // One that was removed stays and follows; one with another directory lost its log.
        _ if !logged.0.contains_key(&options.node) => Ok(()),
        _ => check_mine(options, logged),
    }
}

async fn start_raft(
    options: &QuorumOptions,
    peers: &Arc<Peers>,
    store: &Store,
    machine: Machine,
) -> Result<Raft, OpenError> {
    let failed = |error: String| OpenError::Raft(error);
    let config = config(&options.tuning).map_err(|error| failed(error.to_string()))?;
    let factory = PeerFactory(peers.clone());
    let id = VoterId::from(options.node);
    let raft = Raft::new(id, config, factory, store.clone(), machine).await;
    raft.map_err(|error| failed(error.to_string()))
}

/// The voters by the log's tail, which count before they are applied.
async fn logged_voters(raft: &Raft) -> Result<Voters, OpenError> {
    let effective =
        raft.with_raft_state(|state| state.membership_state.effective().membership().clone()).await;
    effective.map(|membership| voters_of(&membership)).map_err(|error| OpenError::Raft(error.to_string()))
}

/// Writes the first entry of an empty log: who votes. Each of them writes the same.
async fn initialize(raft: &Raft, node: NodeId, first: Option<Voters>) -> Result<(), OpenError> {
    let failed = |error: &dyn std::fmt::Display| OpenError::Raft(error.to_string());
    let Some(first) = first else { return Ok(()) };
    if raft.is_initialized().await.map_err(|error| failed(&error))? {
        return Ok(());
    }
    tracing::info!(%node, voters = %first, "starting a new metadata log");
    let members: BTreeMap<VoterId, Voter> =
        first.0.into_iter().map(|(id, voter)| (VoterId::from(id), voter)).collect();
    match raft.initialize(members).await {
        Ok(()) => Ok(()),
        // The leader's first append was faster.
        Err(_) if raft.is_initialized().await.unwrap_or(false) => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}
