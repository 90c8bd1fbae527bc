//! The seams between a node and whatever network it lives on.
//!
//! A stream is split before use: a connection reads and writes at the same time,
//! and TCP gives two halves without a lock between them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection's two directions of bytes.
pub trait Stream: Send {
    /// The other end.
    fn peer_addr(&self) -> SocketAddr;

    /// This end.
    fn local_addr(&self) -> SocketAddr;

    /// The two directions, for tasks of the runtime that is current.
    fn split(self: Box<Self>) -> io::Result<Halves>;
}

/// A connection's two directions.
pub type Halves = (Box<dyn ReadHalf>, Box<dyn WriteHalf>);

/// What the other end sends.
pub trait ReadHalf: AsyncRead + Send + Unpin {}

impl<T: AsyncRead + Send + Unpin> ReadHalf for T {}

/// What the other end receives.
pub trait WriteHalf: AsyncWrite + Send + Unpin {
    /// Whether [`WriteHalf::poll_send_file`] works here; where not, the caller reads and writes.
    fn sends_files(&self) -> bool {
        false
    }

    /// Sends up to `len` bytes of the open file `file` from `offset`, without a copy through
    /// this process; answers how many went. 0 means the file ended.
    fn poll_send_file(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _file: RawFd,
        _offset: u64,
        _len: usize,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// The whole connection again, to be split within another runtime once the other half is dropped.
    /// The half itself where it cannot leave.
    fn rejoin(self: Box<Self>) -> Result<Box<dyn Stream>, Box<dyn WriteHalf>>;
}

/// A bound address that connections arrive at.
#[async_trait]
pub trait Listener: Send {
    /// The next connection. An error concerns that one; the listener lives on.
    async fn accept(&mut self) -> io::Result<Box<dyn Stream>>;

    /// Where it listens: the port that was drawn when 0 was asked for.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Where a node listens and whom it can reach.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Listens on `address`, `host:port`. An empty host is every interface.
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>>;

    /// Connects. `ConnectionRefused` means what it does for TCP: the host is there and nothing
    /// listens on the port, at none of its addresses.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>>;
}
