//! A snapshot on its way in: pieces, in order, into one file.
//!
//! One transfer at a time. A piece at position 0 starts over; a piece out of order is
//! refused, and the sender starts over. Nothing is believed of the file until it is
//! whole and was read from its first byte to its last.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use log::disk::{DiskFile, OpenMode};
use model::{LeaderEpoch, NodeId, Offset};
use openraft::type_config::alias::SnapshotOf;
use proto::quorum::SnapshotRequest;

use crate::raft::types::Types;
use crate::snapshot::{Directory, SnapshotError, SnapshotFile, SnapshotId};

/// Largest snapshot taken: a million partitions take about a tenth of it.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

/// Why a piece is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("a snapshot of {0} bytes, at most {SNAPSHOT_BYTES_MAX} are taken")]
    Size(u64),
    #[error("a piece at byte {got}, expected byte {expected}; send the snapshot again from its start")]
    OutOfOrder { expected: u64, got: u64 },
    #[error("a piece of {got} bytes at byte {position} of a snapshot of {size}")]
    Overrun { position: u64, got: usize, size: u64 },
    #[error("a snapshot that ends at offset {0}")]
    Id(i64),
    #[error("a snapshot of epoch {0}")]
    Epoch(i32),
    #[error("cannot store the snapshot: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Where pieces go.
#[derive(Clone)]
pub(crate) struct Receiving {
    directory: Arc<Directory>,
    current: Arc<Mutex<Option<Transfer>>>,
}

struct Transfer {
    from: NodeId,
    id: SnapshotId,
    size: u64,
    position: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl Receiving {
    pub(crate) fn new(directory: Arc<Directory>) -> Self {
        Self { directory, current: Arc::default() }
    }

    /// Takes one piece; answers the snapshot once it is whole, checked and synced.
    pub(crate) async fn take(
        &self,
        from: NodeId,
        message: &SnapshotRequest,
    ) -> Result<Option<SnapshotOf<Types, SnapshotFile>>, ReceiveError> {
        if message.size > SNAPSHOT_BYTES_MAX {
            return Err(ReceiveError::Size(message.size));
        }
        let end_offset = Offset::from_wire(message.end_offset).filter(|end| *end > Offset::ZERO);
        let end_offset = end_offset.ok_or(ReceiveError::Id(message.end_offset))?;
        let epoch = LeaderEpoch::from_wire(message.epoch).ok_or(ReceiveError::Epoch(message.epoch))?;
        let id = SnapshotId { end_offset, epoch };
        let Some(whole) = self.write(from, id, message)? else { return Ok(None) };
        let directory = self.directory.clone();
        let checked = self.directory.blocking.run(move || {
            whole.file.sync()?;
            Ok::<_, ReceiveError>(directory.open_file(id, whole.path)?)
        });
        let file = checked.await?;
        Ok(Some(openraft::Snapshot { meta: file.meta.clone(), snapshot: file }))
    }

    fn write(
        &self,
        from: NodeId,
        id: SnapshotId,
        message: &SnapshotRequest,
    ) -> Result<Option<Transfer>, ReceiveError> {
        let mut current = self.current.lock().expect("no holder of this lock panics");
        let same = |transfer: &&mut Transfer| {
            transfer.from == from && transfer.id == id && transfer.size == message.size
        };
        let transfer = match current.as_mut().filter(same) {
            Some(transfer) if message.position != 0 => transfer,
            _ if message.position != 0 => {
                return Err(ReceiveError::OutOfOrder { expected: 0, got: message.position });
            }
            _ => {
                let path = self.directory.received_path(id);
                let file = self.directory.disk.open(&path, OpenMode::ReadWrite)?;
                file.truncate(0)?;
                current.insert(Transfer { from, id, size: message.size, position: 0, path, file })
            }
        };
        if message.position != transfer.position {
            let expected = transfer.position;
            return Err(ReceiveError::OutOfOrder { expected, got: message.position });
        }
        let after = message.position + message.bytes.len() as u64;
        if after > transfer.size || (message.bytes.is_empty() && transfer.size > 0) {
            let (position, got) = (message.position, message.bytes.len());
            return Err(ReceiveError::Overrun { position, got, size: transfer.size });
        }
        transfer.file.write_at(&message.bytes, message.position)?;
        transfer.position = after;
        Ok(if after == transfer.size { current.take() } else { None })
    }
}
