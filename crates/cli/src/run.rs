//! Runs a node until it is told to stop: what `start` and `dev` have in common.
//!
//! One line on stdout when it serves, everything else on stderr. The first SIGTERM or
//! SIGINT stops it in order, the second at once.

use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::sync::Arc;

use broker::{Node, NodeOptions};
use config::NodeConfig;
use log::disk::RealDisk;
use net::{SystemClock, TcpNetwork, Threads};
use quorum::Blocking;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Outcome, say};

/// What is logged where `KASTLE_LOG` says nothing: our own crates, whose names all begin so, warnings of
/// others, and of the Raft library what `quorum` asks for.
const LOG_DEFAULT: &str = "warn,kastle=info,";

/// Runs the node that `config` describes; `greeting` makes the line that says it serves.
pub fn run(config: NodeConfig, greeting: impl FnOnce(&Node) -> String) -> Outcome {
    stay_small();
    init_log()?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(cannot_run)?;
    let outcome = runtime.block_on(run_node(config, greeting));
    runtime.shutdown_background();
    outcome
}

fn cannot_run(error: io::Error) -> Failure {
    refuse(format!("the runtime: {error}; are there too many threads on this machine?"))
}

/// As many threads for connections.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Keeps huge pages out of the heap: an idle node touches a little of many regions, and each touch
/// would take 2 MiB. The allocator is built not to ask for them; some kernels give them unasked.
fn stay_small() {
    // A kernel without the switch has no huge pages to switch off.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn init_log() -> Outcome {
    let text = std::env::var("KASTLE_LOG").unwrap_or_else(|_| format!("{LOG_DEFAULT}{}", quorum::LOG_FILTER));
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        Failure::typed_wrong(format!(
            "cannot read KASTLE_LOG={text}: {error}; write for example KASTLE_LOG=info"
        ))
    })?;
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    log.with_ansi(colours).init();
    Ok(())
}

async fn run_node(config: NodeConfig, greeting: impl FnOnce(&Node) -> String) -> Outcome {
    let mut signals = Signals::listen()?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| refuse(format!("the random source: {error}")))?;
    let options = NodeOptions {
        config,
        disk: Arc::new(RealDisk),
        network: Arc::new(TcpNetwork),
        clock: Arc::new(SystemClock::new()),
        seed: u64::from_le_bytes(seed),
        boot: boot_id(),
        blocking: Blocking::Threads,
        threads: Threads::start(cores()).map_err(cannot_run)?,
    };
    let node = Node::start(options).await.map_err(refuse)?;
    let outcome = tokio::select! {
        outcome = serve(&node, greeting) => outcome,
        () = signals.next() => Ok(()),
    };
    tokio::select! {
        () = node.stop() => outcome,
        // Whoever asks a second time means now; the logs recover at the next start.
        () = signals.next() => outcome,
    }
}

/// What Linux calls this boot of the machine; other systems do not tell, and every kill counts as a power cut.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// Greets when the node serves and returns when it fails.
async fn serve(node: &Node, greeting: impl FnOnce(&Node) -> String) -> Outcome {
    node.ready().await.map_err(refuse)?;
    say(greeting(node))?;
    Err(refuse(node.failed().await))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Outcome<Self> {
        let listen = |kind| signal(kind).map_err(|error| refuse(format!("the signal handler: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn refuse(cause: impl std::fmt::Display) -> Failure {
    Failure::refused(format!("cannot run the node: {cause}"))
}
