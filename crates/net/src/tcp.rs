//! The real network.
//!
//! Nagle's delay is off everywhere: requests and responses are whole when written.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::seams::{Halves, Listener, Network, Stream, WriteHalf};

/// Connections that wait to be accepted; the kernel may bound them further (`net.core.somaxconn`). One above that
/// is tried again by its client's kernel after a second, so that a thousand clients at once would take seconds.
const BACKLOG: u32 = 16_384;

/// TCP over the machine's interfaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

#[async_trait]
impl Network for TcpNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = match address.strip_prefix(':') {
            // Every interface, both families; a machine without IPv6 has the one.
            Some(port) => match listen(&format!("[::]:{port}")).await {
                Ok(listener) => listener,
                Err(_) => listen(&format!("0.0.0.0:{port}")).await?,
            },
            None => listen(address).await?,
        };
        Ok(Box::new(Bound(listener)))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        // Refused only when every address refused: a caller concludes from it that the process is gone.
        let mut verdict: Option<io::Error> = None;
        for address in tokio::net::lookup_host((host, port)).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Tcp::over(stream),
                Err(error) => {
                    let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                    if verdict.is_none() || !refused {
                        verdict = Some(error);
                    }
                }
            }
        }
        Err(verdict.unwrap_or_else(no_address))
    }
}

/// Listens at the first of the name's addresses where it may.
async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut failed = None;
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Connections of the last run that still linger are no reason to wait.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(no_address))
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

struct Bound(TcpListener);

#[async_trait]
impl Listener for Bound {
    async fn accept(&mut self) -> io::Result<Box<dyn Stream>> {
        let (stream, _) = self.0.accept().await?;
        Tcp::over(stream)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

struct Tcp {
    /// Not registered with a runtime before it is split: the task that serves it may be on another thread.
    stream: std::net::TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
}

impl Tcp {
    fn over(stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        stream.set_nodelay(true)?;
        Self::unregistered(stream.into_std()?)
    }

    fn unregistered(stream: std::net::TcpStream) -> io::Result<Box<dyn Stream>> {
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(Box::new(Self { stream, peer, local }))
    }
}

impl Stream for Tcp {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn split(self: Box<Self>) -> io::Result<Halves> {
        let (read, write) = TcpStream::from_std(self.stream)?.into_split();
        Ok((Box::new(read), Box::new(TcpWrite(write))))
    }
}

struct TcpWrite(OwnedWriteHalf);

impl AsyncWrite for TcpWrite {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl WriteHalf for TcpWrite {
    fn rejoin(self: Box<Self>) -> Result<Box<dyn Stream>, Box<dyn WriteHalf>> {
        let stream: &TcpStream = self.0.as_ref();
        // Another descriptor of the same connection: the runtime lets go of this one when the halves are gone.
        let again = stream.as_fd().try_clone_to_owned().and_then(|again| Tcp::unregistered(again.into()));
        match again {
            Ok(again) => {
                // Dropped otherwise, it would end what we send.
                self.0.forget();
                Ok(again)
            }
            Err(_) => Err(self),
        }
    }

    fn sends_files(&self) -> bool {
        true
    }

    fn poll_send_file(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        file: RawFd,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let stream: &TcpStream = self.0.as_ref();
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let sent = stream.try_io(Interest::WRITABLE, || {
                // SAFETY: the caller holds the file open for the call, and the stream is ours.
                let (from, to) =
                    unsafe { (BorrowedFd::borrow_raw(file), BorrowedFd::borrow_raw(stream.as_raw_fd())) };
                let mut at = offset;
                rustix::fs::sendfile(to, from, Some(&mut at), len).map_err(io::Error::from)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{ErrorKind, Write};
    use std::os::fd::AsRawFd;
    use std::pin::Pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::TcpNetwork;
    use crate::seams::Network;

    #[tokio::test]
    async fn a_file_range_crosses_a_connection_whole() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        let content: Vec<u8> = (0..1_000_000u32).map(|place| place.to_le_bytes()[0]).collect();
        file.write_all(&content).expect("there is room");
        let mut listener = TcpNetwork.bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let near = TcpNetwork.connect("localhost", port).await.expect("it listens");
        let (_, mut write) = near.split().expect("a descriptor is free");
        let (mut read, _) = listener.accept().await.expect("it was dialled").split().expect("registered");
        assert!(write.sends_files());
        let sending = async {
            let (mut at, end) = (100, 900_000);
            while at < end {
                let fd = file.as_raw_fd();
                let sent =
                    poll_fn(|cx| Pin::new(&mut *write).poll_send_file(cx, fd, at, (end - at) as usize)).await;
                at += sent.expect("the other end reads") as u64;
            }
            drop(write);
        };
        let mut got = Vec::new();
        let ((), received) = tokio::join!(sending, read.read_to_end(&mut got));
        received.expect("the other end closes in order");
        assert!(got == content[100..900_000]);
    }

    #[tokio::test]
    async fn a_connection_goes_on_after_it_was_joined_and_split_again() {
        let mut listener = TcpNetwork.bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let near = TcpNetwork.connect("localhost", port).await.expect("it listens");
        let (mut near_read, mut near_write) = near.split().expect("a descriptor is free");
        let far = listener.accept().await.expect("it was dialled");
        let (mut read, mut write) = far.split().expect("registered");
        for round in 0..3 {
            near_write.write_all(&[round; 10]).await.expect("the other end is there");
            // Some of it was read before, the rest arrived meanwhile.
            assert_eq!(read.read_u8().await.expect("it was sent"), round);
            let again = write.rejoin().map_err(|_| "it cannot leave").expect("a descriptor is free");
            drop(read);
            (read, write) = again.split().expect("registered");
            let mut rest = [0; 9];
            read.read_exact(&mut rest).await.expect("it was sent");
            assert_eq!(rest, [round; 9]);
            write.write_u8(round).await.expect("the other end is there");
            assert_eq!(near_read.read_u8().await.expect("it was sent"), round);
        }
        drop((read, write));
        let ended = near_read.read(&mut [0]).await.expect("the other end closed in order");
        assert_eq!(ended, 0);
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_refuses() {
        let listener = TcpNetwork.bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let taken = TcpNetwork.bind(&format!("127.0.0.1:{port}")).await.err().expect("it is taken");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        drop(listener);
        // At every address of the name.
        let refused = TcpNetwork.connect("localhost", port).await.err().expect("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
