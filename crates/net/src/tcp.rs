//! The real network.
//!
//! Nagle's delay is off everywhere: requests and responses are whole when written.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::seams::{Listener, Network, ReadHalf, Stream, WriteHalf};

/// TCP over the machine's interfaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

#[async_trait]
impl Network for TcpNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = match address.strip_prefix(':') {
            // Every interface, both families; a machine without IPv6 has the one.
            Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await?,
            },
            None => TcpListener::bind(address).await?,
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
        Err(verdict.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }
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
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
}

impl Tcp {
    fn over(stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        stream.set_nodelay(true)?;
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

    fn split(self: Box<Self>) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        let (read, write) = self.stream.into_split();
        (Box::new(read), Box::new(TcpWrite(write)))
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

    use tokio::io::AsyncReadExt;

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
        let (_, mut write) = near.split();
        let (mut read, _) = listener.accept().await.expect("it was dialled").split();
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
