//! Runs a node until it is told to stop: what `start` and `dev` have in common.
//!
//! One line on stdout when it serves, everything else on stderr. The first SIGTERM or
//! SIGINT stops it in order, the second at once.

use std::sync::Arc;

use broker::{Node, NodeOptions};
use config::NodeConfig;
use log::disk::RealDisk;
use net::{SystemClock, TcpNetwork};
use quorum::Blocking;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Outcome, say};

/// What is logged where `KASTLE_LOG` says nothing.
const LOG_DEFAULT: &str = "info,openraft=warn";

/// Runs the node that `config` describes; `greeting` makes the line that says it serves.
pub fn run(config: NodeConfig, greeting: impl FnOnce(&Node) -> String) -> Outcome {
    init_log()?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        refuse(format!("the runtime: {error}; are there too many threads on this machine?"))
    })?;
    let outcome = runtime.block_on(run_node(config, greeting));
    runtime.shutdown_background();
    outcome
}

fn init_log() -> Outcome {
    let text = std::env::var("KASTLE_LOG").unwrap_or_else(|_| LOG_DEFAULT.to_owned());
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        Failure::typed_wrong(format!(
            "cannot read KASTLE_LOG={text}: {error}; write for example KASTLE_LOG=info"
        ))
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    Ok(())
}

async fn run_node(config: NodeConfig, greeting: impl FnOnce(&Node) -> String) -> Outcome {
    let handler = |kind| signal(kind).map_err(|error| refuse(format!("the signal handler: {error}")));
    let mut terminate = handler(SignalKind::terminate())?;
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| refuse(format!("the random source: {error}")))?;
    let options = NodeOptions {
        config,
        disk: Arc::new(RealDisk),
        network: Arc::new(TcpNetwork),
        clock: Arc::new(SystemClock::new()),
        seed: u64::from_le_bytes(seed),
        blocking: Blocking::Threads,
    };
    let node = Node::start(options).await.map_err(refuse)?;
    let mut told = std::pin::pin!(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    let ready = tokio::select! {
        ready = node.ready() => Some(ready),
        () = &mut told => None,
    };
    let outcome = match ready {
        None => Ok(()),
        Some(Err(failure)) => Err(refuse(failure)),
        Some(Ok(())) => {
            say(greeting(&node))?;
            tokio::select! {
                failure = node.failed() => Err(refuse(failure)),
                () = &mut told => Ok(()),
            }
        }
    };
    tokio::select! {
        () = node.stop() => outcome,
        // Whoever asks a second time means now; the logs recover at the next start.
        _ = async { tokio::select! { _ = signal_again(SignalKind::terminate()) => {}, _ = signal_again(SignalKind::interrupt()) => {} } } => outcome,
    }
}

/// Returns at the next signal of that kind.
async fn signal_again(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

fn refuse(cause: impl std::fmt::Display) -> Failure {
    Failure::refused(format!("cannot run the node: {cause}"))
}
