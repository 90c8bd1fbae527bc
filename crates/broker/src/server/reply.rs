//! What a handler gives back, and how it leaves.
//!
//! An answer comes in two stages. The first runs in the order of the requests on a
//! connection, alone: there a produce request appends, so that pipelined batches
//! keep their order. Whatever has to wait (for replicas, for data, for the
//! controller) is the second stage, which runs beside later requests.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use log::disk::DiskFile;
use net::{Blocking, WriteHalf};
use tokio::io::AsyncWriteExt;
use wire::messages::ResponseKind;

/// What the first stage comes to.
pub enum Answer {
    /// The reply is there.
    Now(Reply),
    /// The reply needs to wait for something.
    Later(BoxFuture<'static, Reply>),
}

/// What goes back to the client.
pub enum Reply {
    /// A message, encoded in the request's version. Boxed: the largest is several hundred bytes.
    Message(Box<ResponseKind>),
    /// A response body that is encoded already, without its header.
    Body(Vec<Chunk>),
    /// A whole frame, its length and header included.
    Frame(Vec<u8>),
    /// Nothing at all: a produce request with acks=0.
    Silent,
    /// The connection closes without an answer.
    Close(&'static str),
}

impl Answer {
    /// A message, at once.
    pub fn message(response: impl Into<ResponseKind>) -> Self {
        Self::Now(Reply::message(response))
    }
}

impl Reply {
    /// A message.
    pub fn message(response: impl Into<ResponseKind>) -> Self {
        Self::Message(Box::new(response.into()))
    }
}

/// A run of bytes of a response.
pub enum Chunk {
    /// From memory.
    Bytes(Bytes),
    /// From a file, by `sendfile` where the stream can.
    File {
        /// Stays open until it is sent.
        file: Arc<dyn DiskFile>,
        /// Where the run begins.
        offset: u64,
        /// How long it is.
        len: usize,
    },
}

impl Chunk {
    /// How many bytes it is.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { len, .. } => *len,
        }
    }

    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes it out. What is on a disk is fetched by `blocking` first, so that whatever else this thread
    /// serves does not wait for the disk.
    pub(super) async fn write(&self, to: &mut dyn WriteHalf, blocking: &Blocking) -> io::Result<()> {
        if let Self::File { file, offset, len } = self
            && !file.is_cached(*offset, *len)
        {
            let (file, offset, len) = (file.clone(), *offset, *len);
            blocking.run(move || file.load(offset, len)).await;
        }
        match self {
            Self::Bytes(bytes) => to.write_all(bytes).await,
            Self::File { file, offset, len } => match file.raw_fd().filter(|_| to.sends_files()) {
                Some(fd) => send_file(to, fd, *offset, *len).await,
                None => copy_file(to, file.as_ref(), *offset, *len).await,
            },
        }
    }
}

async fn send_file(to: &mut dyn WriteHalf, fd: i32, mut offset: u64, mut len: usize) -> io::Result<()> {
    while len > 0 {
        let sent = poll_fn(|cx| Pin::new(&mut *to).poll_send_file(cx, fd, offset, len)).await?;
        if sent == 0 {
            // The length is promised already: the client can only be cut off.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += sent as u64;
        len -= sent;
    }
    Ok(())
}

/// One read and write of a file range that cannot leave by `sendfile`.
const COPY_BYTES: usize = 256 << 10;

async fn copy_file(
    to: &mut dyn WriteHalf,
    file: &dyn DiskFile,
    mut offset: u64,
    mut len: usize,
) -> io::Result<()> {
    let mut buffer = vec![0; len.min(COPY_BYTES)];
    while len > 0 {
        let want = len.min(buffer.len());
        let got = file.read_at(&mut buffer[..want], offset)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&buffer[..got]).await?;
        offset += got as u64;
        len -= got;
    }
    Ok(())
}
