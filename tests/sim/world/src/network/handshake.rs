//! How connections come to be: three steps, of which the last travels like bytes do.
//!
//! A machine without a listener on the port refuses; one that cannot be reached, or whose
//! backlog is full, says nothing, and the first step is sent again until the caller gives up.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use super::connection::{Connection, Content, End, Socket};
use super::world::{Event, World};

/// Connections that wait for `accept` before further ones are not answered.
pub(super) const BACKLOG_MAX: usize = 1024;
/// The first wait for an answer, which doubles up to the most.
const SYN_RETRY_MS_MIN: u64 = 1_000;
const SYN_RETRY_MS_MAX: u64 = 4_000;
/// When nobody answers for so long, there is nobody: what Linux's six retries come to.
const SYN_GIVE_UP_MS: u64 = 127_000;

impl World {
    /// Begins to connect; answers the connection's number.
    pub(super) fn dial(&mut self, host: usize, process: u32, target: &str, port: u16) -> io::Result<Dialled> {
        self.alive(host, process)?;
        let unknown = || io::Error::new(ErrorKind::NotFound, format!("no host is named '{target}'"));
        let there = self.resolve(host, target).ok_or_else(unknown)?;
        let far = SocketAddr::new(self.hosts[there].address, port);
        let near = SocketAddr::new(self.hosts[host].address, self.hosts[host].draw_port());
        self.connections_made += 1;
        let connection = self.connections_made;
        let mut ends =
            [End::new(host, process, near, Socket::Connecting), End::new(there, 0, far, Socket::Embryo)];
        ends[0].hold();
        ends[0].out.stuck_since = Some(self.now);
        self.connections.insert(connection, Connection { ends });
        self.send_syn(connection);
        Ok(Dialled { connection, near, far })
    }

    fn send_syn(&mut self, connection: u64) {
        let Some((from, to)) = self.route(connection, 0) else { return };
        if let Some(latency) = self.carry(from, to) {
            self.schedule(self.now + latency, Event::Syn(connection));
        }
        let Some(end) = self.end(connection, 0) else { return };
        let wait = SYN_RETRY_MS_MAX.min(SYN_RETRY_MS_MIN << end.out.attempts.min(8));
        self.schedule(self.now + wait, Event::SynRetry(connection));
    }

    pub(super) fn syn_retry(&mut self, connection: u64) {
        let now = self.now;
        let Some(end) = self.end(connection, 0) else { return };
        if end.socket != Socket::Connecting {
            return;
        }
        end.out.attempts += 1;
        if end.out.stuck_since.is_some_and(|since| now - since >= SYN_GIVE_UP_MS) {
            self.counts.timed_out += 1;
            return self.break_end(connection, 0, ErrorKind::TimedOut);
        }
        self.counts.retransmitted += 1;
        self.send_syn(connection);
    }

    pub(super) fn syn(&mut self, connection: u64) {
        let Some((from, to)) = self.route(connection, 0) else { return };
        if !self.is_reachable(from, to) {
            self.counts.lost += 1;
            return;
        }
        let process = self.hosts[to].process;
        let Some(end) = self.end(connection, 1) else { return };
        let port = end.address.port();
        let mine = end.process == 0 || end.process == process;
        let waiting = self.hosts[to].ports.get(&port).map(|listening| listening.backlog.len());
        match waiting {
            Some(waiting) if mine => {
                if waiting < BACKLOG_MAX {
                    self.answer_syn(connection, process, (to, from));
                }
            }
            _ => self.send_reset(connection, 1, ErrorKind::ConnectionRefused),
        }
    }

    fn answer_syn(&mut self, connection: u64, process: u32, (from, to): (usize, usize)) {
        if let Some(end) = self.end(connection, 1) {
            end.process = process;
        }
        if let Some(latency) = self.carry(from, to) {
            self.schedule(self.now + latency, Event::SynAck(connection));
        }
    }

    pub(super) fn syn_ack(&mut self, connection: u64) {
        let Some((to, from)) = self.route(connection, 0) else { return };
        if !self.is_reachable(from, to) {
            self.counts.lost += 1;
            return;
        }
        let Some(end) = self.end(connection, 0) else { return };
        if end.socket != Socket::Connecting {
            return;
        }
        end.socket = Socket::Open;
        end.out.stuck_since = None;
        end.out.attempts = 0;
        let waiting = end.writer.take();
        self.woken.extend(waiting);
        self.counts.connected += 1;
        self.send(connection, 0, Content::Open);
    }

    /// The last step arrived: the connection waits to be accepted, unless its listener is gone.
    pub(super) fn enter_backlog(&mut self, connection: u64) {
        let Some(end) = self.end(connection, 1) else { return };
        let (host, process, port) = (end.host, end.process, end.address.port());
        end.socket = Socket::Open;
        let there = &mut self.hosts[host];
        match there.ports.get_mut(&port).filter(|_| there.process == process) {
            Some(listening) => {
                listening.backlog.push_back(connection);
                self.woken.extend(listening.waker.take());
            }
            None => self.abort(connection, 1),
        }
    }

    /// The end of a connection whose process is gone, while its machine goes on.
    pub(super) fn abort(&mut self, connection: u64, side: usize) {
        self.break_end(connection, side, ErrorKind::ConnectionReset);
        self.send_reset(connection, side, ErrorKind::ConnectionReset);
    }

    /// Waits until a connection is made.
    pub(super) fn connected(&mut self, connection: u64, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let Some(both) = self.connections.get_mut(&connection) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let end = &mut both.ends[0];
        let paused = self.hosts[end.host].paused;
        match (end.broken, end.socket) {
            (Some(error), _) if !paused => Poll::Ready(Err(error.into())),
            (None, socket) if !paused && socket != Socket::Connecting => Poll::Ready(Ok(())),
            _ => {
                end.writer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A connection that is being made.
pub(super) struct Dialled {
    pub(super) connection: u64,
    pub(super) near: SocketAddr,
    pub(super) far: SocketAddr,
}
