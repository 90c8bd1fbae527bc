//! The network as one process sees it: `net`'s seams over the simulated world.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use net::{Halves, Listener, Network, Stream, WriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use super::hosts::Bound;

/// One process's view of the network.
#[derive(Clone)]
pub struct SimHost {
    shared: Arc<Shared>,
    host: usize,
    process: u32,
}

impl SimHost {
    pub(super) fn new(shared: Arc<Shared>, host: usize, process: u32) -> Self {
        Self { shared, host, process }
    }

    fn stream(&self, connection: u64, side: usize, local: SocketAddr, peer: SocketAddr) -> SimStream {
        let read = SimRead { shared: self.shared.clone(), connection, side };
        let write = SimWrite { shared: self.shared.clone(), connection, side };
        SimStream { read, write, local, peer }
    }
}

#[async_trait]
impl Network for SimHost {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let bound = self.shared.with(|world| world.bind(self.host, self.process, address))?;
        Ok(Box::new(SimListener { host: self.clone(), bound }))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        let dialled = self.shared.with(|world| world.dial(self.host, self.process, host, port))?;
        // From here on it is let go of when the caller gives up.
        let stream = self.stream(dialled.connection, 0, dialled.near, dialled.far);
        poll_fn(|cx| self.shared.with(|world| world.connected(dialled.connection, cx))).await?;
        Ok(Box::new(stream))
    }
}

struct SimListener {
    host: SimHost,
    bound: Bound,
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&mut self) -> io::Result<Box<dyn Stream>> {
        let (host, bound) = (&self.host, self.bound);
        let (connection, peer) = poll_fn(|cx| host.shared.with(|world| world.accept(bound, cx))).await;
        Ok(Box::new(host.stream(connection, 1, bound.local, peer)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.bound.local)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.host.shared.with(|world| world.unbind(self.bound));
    }
}

struct SimStream {
    read: SimRead,
    write: SimWrite,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Stream for SimStream {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn split(self: Box<Self>) -> io::Result<Halves> {
        Ok((Box::new(self.read), Box::new(self.write)))
    }
}

struct SimRead {
    shared: Arc<Shared>,
    connection: u64,
    side: usize,
}

impl AsyncRead for SimRead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.shared.with(|world| world.read(self.connection, self.side, cx, buf))
    }
}

impl Drop for SimRead {
    fn drop(&mut self) {
        self.shared.with(|world| world.let_go(self.connection, self.side, true));
    }
}

struct SimWrite {
    shared: Arc<Shared>,
    connection: u64,
    side: usize,
}

impl WriteHalf for SimWrite {
    fn rejoin(self: Box<Self>) -> Result<Box<dyn Stream>, Box<dyn WriteHalf>> {
        Err(self)
    }
}

impl AsyncWrite for SimWrite {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.shared.with(|world| world.write(self.connection, self.side, cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.with(|world| world.finish(self.connection, self.side));
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimWrite {
    fn drop(&mut self) {
        self.shared.with(|world| world.let_go(self.connection, self.side, false));
    }
}
