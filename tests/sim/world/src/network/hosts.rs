//! The machines on the network: their names, ports and processes, and what befalls them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, Waker};

use super::LinkQuality;
use super::connection::Socket;
use super::world::{Backlog, World};

/// The first port given out for port 0, and to connections.
const FIRST_FREE_PORT: u16 = 40_000;

pub(super) struct Host {
    pub(super) address: IpAddr,
    /// Counts its processes; 0 until there was one.
    pub(super) process: u32,
    /// Whether that one lives.
    alive: bool,
    pub(super) powered: bool,
    pub(super) paused: bool,
    next_port: u16,
    pub(super) ports: BTreeMap<u16, Listening>,
}

/// A port that a process listens on.
pub(super) struct Listening {
    /// Tells it from one that had the port before.
    number: u64,
    pub(super) backlog: Backlog,
    pub(super) waker: Option<Waker>,
}

/// A listener's own name for its port.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    host: usize,
    number: u64,
    pub(super) local: SocketAddr,
}

/// A connection taken from a backlog: its number and its other end.
pub(super) type Accepted = (u64, SocketAddr);

impl Host {
    pub(super) fn draw_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_FREE_PORT);
            if !self.ports.contains_key(&port) {
                return port;
            }
        }
    }
}

impl World {
    /// The number of a host, which exists by name from now on.
    fn host_named(&mut self, name: &str) -> usize {
        if let Some(&known) = self.names.get(name) {
            return known;
        }
        let number = self.hosts.len();
        let [high, low] = u16::try_from(number + 1).expect("a world has few hosts").to_be_bytes();
        self.hosts.push(Host {
            address: IpAddr::V4(Ipv4Addr::new(10, 0, high, low)),
            process: 0,
            alive: false,
            powered: true,
            paused: false,
            next_port: FIRST_FREE_PORT,
            ports: BTreeMap::new(),
        });
        self.names.insert(name.to_owned(), number);
        number
    }

    /// A new process on a machine with power: the machine's and the process's numbers.
    pub(super) fn boot(&mut self, name: &str) -> (usize, u32) {
        let number = self.host_named(name);
        self.end_process(number);
        let host = &mut self.hosts[number];
        host.process += 1;
        host.alive = true;
        host.powered = true;
        (number, host.process)
    }

    pub(super) fn kill(&mut self, name: &str) {
        let number = self.host_named(name);
        self.end_process(number);
    }

    /// Ends whatever process there is. What it let go of in this very moment, it let go of in dying.
    fn end_process(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.paused = false;
        if !std::mem::replace(&mut host.alive, false) {
            return;
        }
        let (process, now) = (host.process, self.now);
        let unbound = std::mem::take(&mut host.ports);
        self.woken.extend(unbound.into_values().filter_map(|listening| listening.waker));
        for (connection, side) in self.ends_on(number) {
            let Some(end) = self.end(connection, side) else { continue };
            let dying = match end.socket {
                Socket::Open => true,
                Socket::Closed => end.closed_at == Some(now),
                Socket::Connecting | Socket::Embryo => {
                    self.break_end(connection, side, ErrorKind::ConnectionReset);
                    false
                }
                Socket::Gone => false,
            };
            if dying && self.end(connection, side).is_some_and(|end| end.process == process) {
                self.abort(connection, side);
                self.lose_what_goes_to(connection, side);
            }
        }
    }

    pub(super) fn power_off(&mut self, name: &str) {
        let number = self.host_named(name);
        let now = self.now;
        let host = &mut self.hosts[number];
        host.alive = false;
        host.powered = false;
        host.paused = false;
        host.ports.clear();
        for (connection, side) in self.ends_on(number) {
            let Some(end) = self.end(connection, side) else { continue };
            end.silenced_at = Some(now);
            self.break_end(connection, side, ErrorKind::ConnectionReset);
            self.lose_what_goes_to(connection, side);
        }
    }

    pub(super) fn power_on(&mut self, name: &str) {
        let number = self.host_named(name);
        self.hosts[number].powered = true;
    }

    /// What the other end sent to a machine that forgot the connection is sent again, and answered.
    fn lose_what_goes_to(&mut self, connection: u64, side: usize) {
        let Some(other) = self.end(connection, 1 - side) else { return };
        if other.socket == Socket::Gone {
            return;
        }
        other.out.lose_all();
        if other.out.buffered > 0 || !other.out.lost().is_empty() {
            self.arm_retry(connection, 1 - side);
        }
    }

    fn ends_on(&self, host: usize) -> Vec<(u64, usize)> {
        let both = self.connections.iter().flat_map(|(&number, both)| {
            both.ends.iter().enumerate().map(move |(side, end)| (number, side, end.host))
        });
        both.filter(|&(_, _, on)| on == host).map(|(number, side, _)| (number, side)).collect()
    }

    pub(super) fn set_paused(&mut self, name: &str, paused: bool) {
        let number = self.host_named(name);
        self.hosts[number].paused = paused;
        if paused {
            return;
        }
        for (connection, side) in self.ends_on(number) {
            if let Some(both) = self.connections.get_mut(&connection) {
                both.ends[side].wake(&mut self.woken);
            }
        }
        for listening in self.hosts[number].ports.values_mut() {
            self.woken.extend(listening.waker.take());
        }
    }

    pub(super) fn set_cut(&mut self, from: &str, to: &str, cut: bool) {
        let link = (self.host_named(from), self.host_named(to));
        if cut {
            self.cuts.insert(link);
        } else {
            self.cuts.remove(&link);
        }
    }

    pub(super) fn heal_links(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn set_quality(&mut self, from: &str, to: &str, quality: LinkQuality) {
        let link = (self.host_named(from), self.host_named(to));
        self.quality_of.insert(link, quality);
    }

    pub(super) fn set_quality_all(&mut self, quality: LinkQuality) {
        self.quality_of.clear();
        self.quality_usual = quality;
    }

    pub(super) fn reset_quality(&mut self) {
        self.set_quality_all(self.quality_at_start);
    }

    /// Fails for a process that is over.
    pub(super) fn alive(&mut self, host: usize, process: u32) -> io::Result<&mut Host> {
        let host = &mut self.hosts[host];
        let alive = host.alive && host.process == process;
        if alive { Ok(host) } else { Err(ErrorKind::NetworkDown.into()) }
    }

    /// The host that `name` means to `asker`: a name, an address, or itself.
    pub(super) fn resolve(&self, asker: usize, name: &str) -> Option<usize> {
        if matches!(name, "localhost" | "127.0.0.1" | "0.0.0.0") {
            return Some(asker);
        }
        let by_address = || {
            let address: IpAddr = name.parse().ok()?;
            self.hosts.iter().position(|host| host.address == address)
        };
        // A name that was only ever spoken of, to cut its links, is no host yet.
        let found = self.names.get(name).copied().or_else(by_address)?;
        (self.hosts[found].process > 0).then_some(found)
    }

    pub(super) fn bind(&mut self, number: usize, process: u32, address: &str) -> io::Result<Bound> {
        let (_, port) = address.rsplit_once(':').ok_or(ErrorKind::InvalidInput)?;
        let asked: u16 = port.parse().map_err(|_| ErrorKind::InvalidInput)?;
        self.connections_made += 1;
        let named = self.connections_made;
        let host = self.alive(number, process)?;
        let port = if asked == 0 { host.draw_port() } else { asked };
        if host.ports.contains_key(&port) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let local = SocketAddr::new(host.address, port);
        host.ports.insert(port, Listening { number: named, backlog: Backlog::new(), waker: None });
        Ok(Bound { host: number, number: named, local })
    }

    /// The next connection of the backlog. A listener of a process that is over never hears again.
    pub(super) fn accept(&mut self, bound: Bound, cx: &Context<'_>) -> Poll<Accepted> {
        let host = &mut self.hosts[bound.host];
        let paused = host.paused;
        let listening = host.ports.get_mut(&bound.local.port());
        let Some(listening) = listening.filter(|listening| listening.number == bound.number) else {
            return Poll::Pending;
        };
        while !paused && let Some(connection) = listening.backlog.pop_front() {
            // One that both ends broke meanwhile is not there any more.
            if let Some(both) = self.connections.get_mut(&connection) {
                both.ends[1].hold();
                return Poll::Ready((connection, both.ends[0].address));
            }
        }
        listening.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The process listens no more: what it did not accept is reset.
    pub(super) fn unbind(&mut self, bound: Bound) {
        let ports = &mut self.hosts[bound.host].ports;
        let port = bound.local.port();
        if ports.get(&port).is_none_or(|listening| listening.number != bound.number) {
            return;
        }
        let Some(listening) = ports.remove(&port) else { return };
        for connection in listening.backlog {
            self.abort(connection, 1);
        }
    }
}
