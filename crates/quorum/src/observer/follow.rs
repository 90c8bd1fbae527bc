//! The observer's loop: ask, store, apply, and find the leader when it moved.
//!
//! A controller that does not answer costs time, never the node. What ends the loop is a
//! disk that fails or a log that contradicts what was committed.

use std::io;
use std::time::Duration;

use log::disk::OpenMode;
use log::disk::is_full;
use model::{ErrorCode, Offset};
use net::Connection;
use tokio::sync::watch;

use super::ObserverOptions;
use super::controllers::Controllers;
use super::exchange::{self, Asker, ExchangeError, Fetched, LeaderNews};
use super::replica::Replica;
use crate::snapshot::SnapshotId;
use crate::status::QuorumStatus;

/// Between two attempts when nobody leads or nobody answers.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Largest snapshot taken, as a voter does.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

/// The loop's state.
pub(super) struct Follower {
    asker: Asker,
    controllers: Controllers,
    replica: Replica,
    status: watch::Sender<QuorumStatus>,
    connection: Option<Connection>,
}

/// Why a round did not help.
enum Trouble {
    /// Ask again, perhaps someone else.
    Controller(String),
    /// This node cannot go on.
    Here(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Here(error)
    }
}

impl Follower {
    pub(super) fn new(
        options: &ObserverOptions,
        controllers: Controllers,
        replica: Replica,
        status: watch::Sender<QuorumStatus>,
    ) -> Self {
        let timeout = options.tuning.fetch_timeout;
        let asker = Asker {
            node: options.node,
            directory: options.directory,
            cluster: options.cluster.clone(),
            timeout,
        };
        Self { asker, controllers, replica, status, connection: None }
    }

    /// Runs until the disk fails.
    pub(super) async fn run(mut self) {
        let mut said = String::new();
        loop {
            self.publish(None);
            match self.round().await {
                Ok(()) => said.clear(),
                Err(Trouble::Controller(reason)) => {
                    // Said once, not ten times a second.
                    if said != reason {
                        tracing::warn!(node = %self.asker.node, reason, "cannot fetch the metadata log; trying on");
                        said = reason;
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                // The copy is as it was; whatever was cut off at its end is written over.
                Err(Trouble::Here(error)) if is_full(&error) => {
                    let reason = error.to_string();
                    if said != reason {
                        tracing::error!(node = %self.asker.node, reason, "no room for the metadata log; trying on");
                        said = reason;
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(Trouble::Here(error)) => {
                    tracing::error!(node = %self.asker.node, %error, "this node's copy of the metadata log failed");
                    self.publish(Some(error.to_string()));
                    return;
                }
            }
        }
    }

    async fn round(&mut self) -> Result<(), Trouble> {
        self.connect().await?;
        let connection = self.connection.as_ref().expect("just connected");
        let (_, epoch) = self.controllers.led();
        let (_, end) = self.replica.bounds();
        let answer = exchange::fetch(connection, &self.asker, epoch, end, self.replica.last_epoch()).await;
        match self.judge(answer)? {
            Fetched::Batches { bytes, high_watermark } => {
                self.replica.append(&bytes).await?;
                self.replica.apply_below(high_watermark)?;
                self.replica.snapshot_when_due().await?;
            }
            Fetched::Diverging { epoch, end_offset } => self.replica.cut(epoch, end_offset)?,
            Fetched::Snapshot(id) => self.take_snapshot(id).await?,
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Trouble> {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_closed()) {
            return Ok(());
        }
        match self.controllers.dial().await {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) => {
                self.controllers.give_up();
                Err(Trouble::Controller(error.to_string()))
            }
        }
    }

    /// Takes over what an answer says of the leader, and sorts out its errors.
    fn judge<T>(&mut self, (outcome, news): exchange::Answer<T>) -> Result<T, Trouble> {
        let LeaderNews { leader, epoch, addresses } = news;
        for (node, host, port) in addresses {
            self.controllers.note_address(node, host, port);
        }
        let before = self.controllers.led();
        if let Some(epoch) = epoch {
            self.controllers.note_leader(leader, epoch);
        }
        let moved = self.controllers.led() != before;
        outcome.map_err(|error| {
            match error {
                // The one that was asked may itself lead the epoch that it named.
                ExchangeError::Code(ErrorCode::FencedLeaderEpoch) if moved => {}
                _ if moved && self.controllers.can_ask_leader() => self.connection = None,
                _ => {
                    self.controllers.give_up();
                    self.connection = None;
                }
            }
            Trouble::Controller(error.to_string())
        })
    }

    async fn take_snapshot(&mut self, id: SnapshotId) -> Result<(), Trouble> {
        tracing::info!(node = %self.asker.node, snapshot = %id, "fetching a snapshot of the metadata");
        let path = self.replica.directory.received_path(id);
        let file = self.replica.directory.disk.open(&path, OpenMode::ReadWrite)?;
        file.truncate(0)?;
        let mut position = 0;
        loop {
            let (_, epoch) = self.controllers.led();
            let connection = self.connection.as_ref().expect("the fetch before used it");
            let answer = exchange::fetch_snapshot(connection, &self.asker, epoch, id, position).await;
            let piece = self.judge(answer)?;
            if piece.position != position || piece.bytes.is_empty() || piece.size > SNAPSHOT_BYTES_MAX {
                return Err(Trouble::Controller(format!("a piece of snapshot {id} does not fit")));
            }
            file.write_at(&piece.bytes, position)?;
            position += piece.bytes.len() as u64;
            if position >= piece.size {
                break;
            }
        }
        file.sync()?;
        Ok(self.replica.install(id, path).await?)
    }

    fn publish(&self, failure: Option<String>) {
        let (leader, epoch) = self.controllers.led();
        let (log_start, log_end) = self.replica.bounds();
        let high_watermark: Offset = self.replica.applied();
        let status = QuorumStatus {
            leader,
            epoch,
            is_leader_ready: false,
            high_watermark,
            log_start,
            log_end,
            failure,
        };
        self.status.send_if_modified(|known| {
            let changed = *known != status;
            *known = status;
            changed
        });
    }
}
