//! A network in memory, for whole clusters in one test process.
//!
//! Hosts have names; each gets a private address. A host can be *killed* (its
//! connections break and its ports refuse, as when a process dies) or *cut* (its
//! bytes stand still and its connects hang, as when a cable is pulled) and healed.
//! No sockets, no real time: a paused tokio clock stays in charge.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{Notify, mpsc};

use crate::seams::{Halves, Listener, Network, Stream, WriteHalf};

/// Bytes a direction holds before its writer waits, like a socket's buffers.
const PIPE_BYTES: usize = 256 << 10;
/// Connections that wait for `accept` before further ones are refused.
const BACKLOG: usize = 1024;
/// The first port given out for port 0.
const FIRST_FREE_PORT: u16 = 40_000;

/// All hosts and what connects them.
#[derive(Clone, Default)]
pub struct PipeNetwork {
    world: Arc<World>,
}

#[derive(Default)]
struct World {
    state: Mutex<State>,
    /// Woken when a host is healed.
    healed: Notify,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<String, Host>,
    /// Pairs of hosts between which nothing moves.
    severed: BTreeSet<(String, String)>,
    links: Vec<(String, String, Weak<Link>)>,
}

struct Host {
    address: IpAddr,
    cut: bool,
    /// Counts its processes: what a killed one still tries comes to nothing.
    process: u32,
    next_port: u16,
    ports: BTreeMap<u16, mpsc::Sender<Box<dyn Stream>>>,
}

impl PipeNetwork {
    /// A network without hosts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The network as the process on host `name` sees it; the host exists from now on. After
    /// [`PipeNetwork::kill`] this is the network of the next process.
    pub fn host(&self, name: &str) -> PipeHost {
        let mut state = self.world.lock();
        let number = u8::try_from(state.hosts.len() + 1).expect("a test has few hosts");
        let host = state.hosts.entry(name.to_owned()).or_insert_with(|| Host {
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
            cut: false,
            process: 0,
            next_port: FIRST_FREE_PORT,
            ports: BTreeMap::new(),
        });
        PipeHost { name: name.to_owned(), process: host.process, world: self.world.clone() }
    }

    /// The process on `name` died: its ports refuse, its connections break at both ends.
    pub fn kill(&self, name: &str) {
        let mut state = self.world.lock();
        if let Some(host) = state.hosts.get_mut(name) {
            host.ports.clear();
            host.process += 1;
        }
        state.each_link(name, |link| link.change(|fate| fate.dead = true));
    }

    /// How many connections there are between two hosts.
    pub fn connections(&self, one: &str, other: &str) -> usize {
        let state = self.world.lock();
        let joins = |from: &str, to: &str| (from == one && to == other) || (from == other && to == one);
        state.links.iter().filter(|(from, to, link)| joins(from, to) && link.strong_count() > 0).count()
    }

    /// The cable of `name` is out: nothing breaks, nothing moves.
    pub fn cut(&self, name: &str) {
        self.world.lock().set_cut(name, true);
    }

    /// Nothing moves between these two; everybody else still hears both.
    pub fn sever(&self, one: &str, other: &str) {
        let mut state = self.world.lock();
        state.severed.insert((one.to_owned(), other.to_owned()));
        state.tell_links();
    }

    /// They hear each other again.
    pub fn rejoin(&self, one: &str, other: &str) {
        let mut state = self.world.lock();
        state.severed.remove(&(one.to_owned(), other.to_owned()));
        state.tell_links();
        self.world.healed.notify_waiters();
    }

    /// The cable is in again; what stood still moves on.
    pub fn heal(&self, name: &str) {
        self.world.lock().set_cut(name, false);
        self.world.healed.notify_waiters();
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Waits until neither host is cut.
    async fn reachable(&self, from: &str, to: &str) {
        loop {
            let healed = self.healed.notified();
            if !self.lock().is_cut(from, to) {
                return;
            }
            healed.await;
        }
    }
}

impl State {
    /// The host of a process that was not killed.
    fn alive(&mut self, process: &PipeHost) -> io::Result<&mut Host> {
        let host = self.hosts.get_mut(&process.name).filter(|host| host.process == process.process);
        host.ok_or_else(|| io::ErrorKind::NetworkDown.into())
    }

    fn each_link(&mut self, name: &str, act: impl Fn(&Link)) {
        self.links.retain(|(one, other, link)| match link.upgrade() {
            Some(link) => {
                if one == name || other == name {
                    act(&link);
                }
                true
            }
            None => false,
        });
    }

    fn set_cut(&mut self, name: &str, cut: bool) {
        if let Some(host) = self.hosts.get_mut(name) {
            host.cut = cut;
        }
        self.tell_links();
    }

    fn tell_links(&self) {
        for (one, other, link) in &self.links {
            if let Some(link) = link.upgrade() {
                let cut = self.is_cut(one, other);
                link.change(|fate| fate.cut = cut);
            }
        }
    }

    fn is_cut(&self, one: &str, other: &str) -> bool {
        let is_off = |name: &str| self.hosts.get(name).is_some_and(|host| host.cut);
        let is_severed = |from: &str, to: &str| self.severed.contains(&(from.to_owned(), to.to_owned()));
        is_off(one) || is_off(other) || is_severed(one, other) || is_severed(other, one)
    }

    /// The host that `name` means to `asker`: a name, an address, or itself.
    fn resolve(&self, asker: &str, name: &str) -> Option<String> {
        if matches!(name, "localhost" | "127.0.0.1" | "0.0.0.0") {
            return Some(asker.to_owned());
        }
        let address: Option<IpAddr> = name.parse().ok();
        let (found, _) =
            self.hosts.iter().find(|(known, host)| *known == name || Some(host.address) == address)?;
        Some(found.clone())
    }
}

/// One host's view of the network.
#[derive(Clone)]
pub struct PipeHost {
    name: String,
    process: u32,
    world: Arc<World>,
}

#[async_trait]
impl Network for PipeHost {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let (_, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        let asked: u16 = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut state = self.world.lock();
        let host = state.alive(self)?;
        let port = if asked == 0 { host.next_port } else { asked };
        if host.ports.get(&port).is_some_and(|taken| !taken.is_closed()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        host.next_port = host.next_port.max(port.saturating_add(1));
        let (arrive, arriving) = mpsc::channel(BACKLOG);
        host.ports.insert(port, arrive);
        Ok(Box::new(PipeListener { arriving, local: SocketAddr::new(host.address, port) }))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no host is named '{host}'"));
        let target = self.world.lock().resolve(&self.name, host).ok_or_else(unknown)?;
        self.world.reachable(&self.name, &target).await;
        let mut state = self.world.lock();
        let there = state.hosts.get(&target).ok_or_else(unknown)?;
        let to = SocketAddr::new(there.address, port);
        let arrive = there.ports.get(&port).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
        let here = state.alive(self)?;
        let from = SocketAddr::new(here.address, here.next_port);
        here.next_port = here.next_port.checked_add(1).unwrap_or(FIRST_FREE_PORT);
        let link = Arc::new(Link::default());
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let far = Pipe { bytes: far, link: link.clone(), side: 0, local: to, peer: from };
        arrive.try_send(Box::new(far)).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        state.links.retain(|(_, _, link)| link.strong_count() > 0);
        state.links.push((self.name.clone(), target, Arc::downgrade(&link)));
        Ok(Box::new(Pipe { bytes: near, link, side: 1, local: from, peer: to }))
    }
}

struct PipeListener {
    arriving: mpsc::Receiver<Box<dyn Stream>>,
    local: SocketAddr,
}

#[async_trait]
impl Listener for PipeListener {
    async fn accept(&mut self) -> io::Result<Box<dyn Stream>> {
        match self.arriving.recv().await {
            Some(stream) => Ok(stream),
            // The host was killed: like the process's own tasks, this one never hears again.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// What befalls one connection, seen by both of its ends.
#[derive(Default)]
struct Link {
    fate: Mutex<Fate>,
}

#[derive(Default)]
struct Fate {
    cut: bool,
    dead: bool,
    /// One reader and one writer at each end.
    wakers: [Option<Waker>; 4],
}

impl Link {
    fn change(&self, change: impl FnOnce(&mut Fate)) {
        let mut fate = self.fate.lock().expect("no holder of this lock panics");
        change(&mut fate);
        for waker in &mut fate.wakers {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    /// Pending while cut, an error once dead; else the bytes may move.
    fn poll(&self, slot: usize, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut fate = self.fate.lock().expect("no holder of this lock panics");
        if fate.dead {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        fate.wakers[slot] = Some(cx.waker().clone());
        if fate.cut { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

struct Pipe {
    bytes: DuplexStream,
    link: Arc<Link>,
    side: usize,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Pipe {
    fn poll_link(&self, writing: bool, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.link.poll(2 * self.side + usize::from(writing), cx)
    }
}

impl Stream for Pipe {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn split(self: Box<Self>) -> io::Result<Halves> {
        let (read, write) = tokio::io::split(*self);
        Ok((Box::new(read), Box::new(PipeWrite(write))))
    }
}

struct PipeWrite(tokio::io::WriteHalf<Pipe>);

impl WriteHalf for PipeWrite {
    fn rejoin(self: Box<Self>) -> Result<Box<dyn Stream>, Box<dyn WriteHalf>> {
        Err(self)
    }
}

impl AsyncWrite for PipeWrite {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.poll_link(false, cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.bytes).poll_read(cx, buf),
            other => other,
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.poll_link(true, cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.bytes).poll_write(cx, buf),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::{PipeHost, PipeNetwork};
    use crate::seams::{Halves, Network, Stream};

    const MOMENT: Duration = Duration::from_millis(50);

    async fn pair(a: &PipeHost, b: &PipeHost) -> (Halves, Halves) {
        let mut listener = b.bind("b:9092").await.expect("the port is free");
        let near = a.connect("b", 9092).await.expect("it listens");
        let far = listener.accept().await.expect("it was connected to");
        assert_eq!(near.local_addr(), far.peer_addr());
        let split = |stream: Box<dyn Stream>| stream.split().expect("a pipe needs nothing for it");
        (split(near), split(far))
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_cross_between_hosts_and_an_unbound_port_refuses() {
        let network = PipeNetwork::new();
        let (a, b) = (network.host("a"), network.host("b"));
        let ((_, mut write), (mut read, _)) = pair(&a, &b).await;
        write.write_all(b"hello").await.expect("the other end reads");
        let mut got = [0; 5];
        read.read_exact(&mut got).await.expect("five bytes were sent");
        assert_eq!(&got, b"hello");
        let refused = a.connect("b", 1).await.err().expect("nothing listens there");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_host_is_silent_until_healed() {
        let network = PipeNetwork::new();
        let (a, b) = (network.host("a"), network.host("b"));
        let ((_, mut write), (mut read, _)) = pair(&a, &b).await;
        network.cut("b");
        assert!(timeout(MOMENT, write.write_all(b"x")).await.is_err());
        assert!(timeout(MOMENT, a.connect("b", 9092)).await.is_err());
        network.heal("b");
        write.write_all(b"y").await.expect("healed");
        assert_eq!(read.read_u8().await.expect("healed"), b'y');
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_host_breaks_its_connections_and_refuses_new_ones() {
        let network = PipeNetwork::new();
        let (a, b) = (network.host("a"), network.host("b"));
        let ((mut read, _), _far) = pair(&a, &b).await;
        network.kill("b");
        let broken = read.read_u8().await.expect_err("the process is gone");
        assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
        let refused = a.connect("b", 9092).await.err().expect("the process is gone");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(b.bind("b:9092").await.is_err(), "a dead process does nothing");
        network.host("b").bind("b:9092").await.expect("a new process takes the port");
    }
}
