//! The state of the whole network, and how segments cross it.
//!
//! A queue of events in the order of their time, and of their making where times are equal;
//! each is handled by one function here or in `handshake.rs`. All chance is drawn from one
//! source in that order, so that a run is a function of its seed and of what nodes do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::connection::{
    Connection, Content, End, Flight, Outgoing, RECEIVE_BYTES_MAX, SEND_BYTES_MAX, Socket,
};
use super::hosts::Host;
use super::{Counts, LinkQuality};

/// The largest segment: several packets, as a network card joins them.
const SEGMENT_BYTES_MAX: usize = 16 << 10;
/// One write in so many is cut at any byte, so that readers see halves of frames.
const CUT_ONE_IN: u32 = 16;
/// The first wait before a segment is sent again; it doubles up to the most.
const RETRY_MS_MIN: u64 = 200;
const RETRY_MS_MAX: u64 = 3_200;
/// How long nothing may be acknowledged before a connection is given up. Kernels take a quarter of
/// an hour, which no run would see.
const GIVE_UP_MS: u64 = 30_000;

pub(super) struct World {
    rng: Rng,
    /// When virtual time was 0: at the first look.
    epoch: Option<Instant>,
    /// Milliseconds since then.
    pub(super) now: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) names: BTreeMap<String, usize>,
    pub(super) cuts: BTreeSet<(usize, usize)>,
    /// How links were when the network was made, how they are, and those that differ.
    pub(super) quality_at_start: LinkQuality,
    pub(super) quality_usual: LinkQuality,
    pub(super) quality_of: BTreeMap<(usize, usize), LinkQuality>,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) connections_made: u64,
    events: BTreeMap<(u64, u64), Event>,
    events_made: u64,
    driver: Option<Waker>,
    /// When the driver wakes by itself.
    driver_until: u64,
    /// Whom to wake when the lock is released.
    pub(super) woken: Vec<Waker>,
    pub(super) counts: Counts,
    pub(super) fingerprint: u64,
}

/// What happens at a later moment. `side` is the end that sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The first step of a handshake arrives.
    Syn(u64),
    /// The second.
    SynAck(u64),
    /// The first is sent again if there was no answer.
    SynRetry(u64),
    Arrive {
        connection: u64,
        side: usize,
        number: u64,
    },
    Retry {
        connection: u64,
        side: usize,
    },
    Reset {
        connection: u64,
        side: usize,
        sent_at: u64,
        as_error: ErrorKind,
    },
}

impl World {
    pub(super) fn new(seed: u64, quality: LinkQuality) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            epoch: None,
            now: 0,
            hosts: Vec::new(),
            names: BTreeMap::new(),
            cuts: BTreeSet::new(),
            quality_at_start: quality,
            quality_usual: quality,
            quality_of: BTreeMap::new(),
            connections: BTreeMap::new(),
            connections_made: 0,
            events: BTreeMap::new(),
            events_made: 0,
            driver: None,
            driver_until: u64::MAX,
            woken: Vec::new(),
            counts: Counts::default(),
            fingerprint: 0,
        }
    }

    pub(super) fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        let elapsed = now.duration_since(*self.epoch.get_or_insert(now));
        self.now = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    }

    /// Handles everything that is due; answers when to look again.
    pub(super) fn advance(&mut self, driver: &Waker) -> Option<Instant> {
        // Not now: whoever it is that schedules from here on need not wake the one who is at it.
        self.driver = None;
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let event = entry.remove();
            self.handle(event);
        }
        self.driver = Some(driver.clone());
        let next = self.events.first_key_value().map(|(&(at, _), _)| at);
        self.driver_until = next.unwrap_or(u64::MAX);
        let epoch = self.epoch?;
        next.map(|at| epoch + Duration::from_millis(at))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Syn(connection) => self.syn(connection),
            Event::SynAck(connection) => self.syn_ack(connection),
            Event::SynRetry(connection) => self.syn_retry(connection),
            Event::Arrive { connection, side, number } => self.arrive(connection, side, number),
            Event::Retry { connection, side } => self.retry(connection, side),
            Event::Reset { connection, side, sent_at, as_error } => {
                self.reset(connection, side, sent_at, as_error);
            }
        }
    }

    pub(super) fn schedule(&mut self, at: u64, event: Event) {
        self.events.insert((at, self.events_made), event);
        self.events_made += 1;
        if at < self.driver_until {
            self.driver_until = at;
            self.woken.extend(self.driver.take());
        }
    }

    pub(super) fn note(&mut self, what: u64) {
        let mixed = self.fingerprint.rotate_left(5) ^ self.now.wrapping_shl(24) ^ what;
        self.fingerprint = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        from != to && self.cuts.contains(&(from, to))
    }

    /// Whether what was sent on the link can arrive now.
    pub(super) fn is_reachable(&self, from: usize, to: usize) -> bool {
        self.hosts[to].powered && !self.is_cut(from, to)
    }

    /// Puts a segment on a link: how long it takes, or `None` when it is lost.
    pub(super) fn carry(&mut self, from: usize, to: usize) -> Option<u64> {
        self.counts.sent += 1;
        if from == to {
            return Some(0);
        }
        let quality = self.quality_of.get(&(from, to)).copied().unwrap_or(self.quality_usual);
        if self.is_cut(from, to) || (quality.loss > 0.0 && self.rng.f64() < quality.loss) {
            self.counts.lost += 1;
            return None;
        }
        let latency = draw(&mut self.rng, quality);
        if latency > millis(self.quality_at_start.latency_max) {
            self.counts.delayed += 1;
        }
        Some(latency)
    }

    /// The machines at an end and at the other one.
    pub(super) fn route(&self, connection: u64, side: usize) -> Option<(usize, usize)> {
        let ends = &self.connections.get(&connection)?.ends;
        Some((ends[side].host, ends[1 - side].host))
    }

    pub(super) fn end(&mut self, connection: u64, side: usize) -> Option<&mut End> {
        Some(&mut self.connections.get_mut(&connection)?.ends[side])
    }

    fn out(&mut self, connection: u64, side: usize) -> Option<&mut Outgoing> {
        Some(&mut self.end(connection, side)?.out)
    }

    /// Sends a new segment.
    pub(super) fn send(&mut self, connection: u64, side: usize, content: Content) {
        if let Some(out) = self.out(connection, side) {
            let number = out.push(content);
            self.transmit(connection, side, number);
        }
    }

    fn transmit(&mut self, connection: u64, side: usize, number: u64) {
        let Some((from, to)) = self.route(connection, side) else { return };
        let Some(latency) = self.carry(from, to) else {
            return self.arm_retry(connection, side);
        };
        let at = self.now + latency;
        if let Some(out) = self.out(connection, side) {
            out.last_arrival = out.last_arrival.max(at);
            if let Some(segment) = out.segment(number) {
                segment.flight = Flight::Flying;
            }
        }
        self.schedule(at, Event::Arrive { connection, side, number });
    }

    fn arrive(&mut self, connection: u64, side: usize, number: u64) {
        let Some((from, to)) = self.route(connection, side) else { return };
        let reachable = self.is_reachable(from, to);
        let Some(known) = self.end(connection, 1 - side).map(|end| end.socket) else { return };
        let Some(out) = self.out(connection, side) else { return };
        let overtakes = out.overtakes(number);
        let Some(segment) = out.segment(number) else { return };
        let unwanted = match known {
            Socket::Gone => true,
            Socket::Closed => !matches!(segment.content, Content::Fin),
            _ => false,
        };
        if !reachable || unwanted {
            segment.flight = Flight::Lost;
            self.arm_retry(connection, side);
            if reachable {
                self.send_reset(connection, 1 - side, ErrorKind::ConnectionReset);
            } else {
                self.counts.lost += 1;
            }
            return;
        }
        segment.flight = Flight::Arrived;
        self.counts.reordered += u64::from(overtakes);
        self.deliver(connection, side);
    }

    /// Hands over what arrived in order, as far as there is room.
    fn deliver(&mut self, connection: u64, side: usize) {
        let Some((from, to)) = self.route(connection, side) else { return };
        let acknowledged = !self.is_cut(to, from);
        let now = self.now;
        while let Some(both) = self.connections.get_mut(&connection) {
            let (near, far) = two(&mut both.ends, side);
            let is_full = far.received.len() >= RECEIVE_BYTES_MAX;
            match near.out.arrived() {
                Some(Content::Bytes(_)) if is_full => return,
                Some(_) => {}
                None => return,
            }
            let Some(content) = near.out.take() else { return };
            let taken = match &content {
                Content::Bytes(bytes) => bytes.len(),
                _ => 0,
            };
            if acknowledged {
                near.out.acknowledge(taken, now);
                self.woken.extend(near.writer.take());
            } else {
                near.out.unacknowledged += taken;
            }
            match content {
                Content::Open => {}
                Content::Bytes(ref bytes) => {
                    far.received.write_all(bytes).expect("memory takes all");
                    self.woken.extend(far.reader.take());
                }
                Content::Fin => {
                    far.ended = true;
                    self.woken.extend(far.reader.take());
                }
            }
            if matches!(content, Content::Open) {
                self.enter_backlog(connection);
            }
            self.counts.bytes += taken as u64;
            self.note(connection << 20 | (taken as u64) << 1 | side as u64);
            if !acknowledged {
                self.arm_retry(connection, side);
            }
        }
    }

    /// Makes sure that what is lost, or not acknowledged, is sent again.
    pub(super) fn arm_retry(&mut self, connection: u64, side: usize) {
        let now = self.now;
        let Some(out) = self.out(connection, side) else { return };
        out.stuck_since.get_or_insert(now);
        if !std::mem::replace(&mut out.retrying, true) {
            let wait = RETRY_MS_MAX.min(RETRY_MS_MIN << out.attempts.min(8));
            self.schedule(now + wait, Event::Retry { connection, side });
        }
    }

    fn retry(&mut self, connection: u64, side: usize) {
        let now = self.now;
        let Some(end) = self.end(connection, side) else { return };
        end.out.retrying = false;
        if end.socket == Socket::Gone {
            return;
        }
        let lost = end.out.lost();
        if lost.is_empty() && end.out.unacknowledged == 0 {
            return;
        }
        if end.out.stuck_since.is_some_and(|since| now - since >= GIVE_UP_MS) {
            self.counts.timed_out += 1;
            return self.break_end(connection, side, ErrorKind::TimedOut);
        }
        end.out.attempts += 1;
        let unacknowledged = end.out.unacknowledged > 0;
        self.counts.retransmitted += lost.len() as u64;
        if unacknowledged {
            self.ask_again(connection, side);
        }
        for number in lost {
            self.transmit(connection, side, number);
        }
    }

    /// Sends again what the other end took already, for its acknowledgement.
    fn ask_again(&mut self, connection: u64, side: usize) {
        let Some((from, to)) = self.route(connection, side) else { return };
        self.counts.retransmitted += 1;
        let crossed = self.carry(from, to).is_some() && self.hosts[to].powered;
        let Some(other) = self.end(connection, 1 - side).map(|end| end.socket) else { return };
        if crossed && other == Socket::Gone {
            self.send_reset(connection, 1 - side, ErrorKind::ConnectionReset);
        } else if crossed {
            self.counts.duplicated += 1;
            if !self.is_cut(to, from) {
                let now = self.now;
                let Some(end) = self.end(connection, side) else { return };
                end.out.acknowledge(0, now);
                let writer = end.writer.take();
                self.woken.extend(writer);
                return;
            }
        }
        self.arm_retry(connection, side);
    }

    /// Tells the other end that there is no such connection. Over a cut link it is never told, but
    /// chance only delays it: the kernel of a process that died says so until it is heard.
    pub(super) fn send_reset(&mut self, connection: u64, side: usize, as_error: ErrorKind) {
        let Some((from, to)) = self.route(connection, side) else { return };
        let told = self.carry(from, to).or_else(|| (!self.is_cut(from, to)).then_some(RETRY_MS_MIN));
        let Some(latency) = told else { return };
        let behind = self.out(connection, side).map_or(0, |out| out.last_arrival);
        let at = behind.max(self.now + latency);
        self.schedule(at, Event::Reset { connection, side, sent_at: self.now, as_error });
    }

    fn reset(&mut self, connection: u64, side: usize, sent_at: u64, as_error: ErrorKind) {
        let Some((from, to)) = self.route(connection, side) else { return };
        let Some(sender) = self.end(connection, side) else { return };
        if sender.silenced_at == Some(sent_at) {
            return;
        }
        if !self.is_reachable(from, to) {
            self.counts.lost += 1;
            return;
        }
        let Some(told) = self.end(connection, 1 - side) else { return };
        if told.socket == Socket::Gone {
            return;
        }
        match as_error {
            ErrorKind::ConnectionRefused => self.counts.refused += 1,
            _ => self.counts.reset += 1,
        }
        self.note(connection << 20 | 0xffff0 | side as u64);
        self.break_end(connection, 1 - side, as_error);
    }

    pub(super) fn break_end(&mut self, connection: u64, side: usize, error: ErrorKind) {
        let Some(both) = self.connections.get_mut(&connection) else { return };
        both.ends[side].forget(error, &mut self.woken);
        self.drop_if_over(connection);
    }

    pub(super) fn drop_if_over(&mut self, connection: u64) {
        if self.connections.get(&connection).is_some_and(Connection::is_over) {
            self.connections.remove(&connection);
        }
    }

    pub(super) fn read(
        &mut self,
        connection: u64,
        side: usize,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(both) = self.connections.get_mut(&connection) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let end = &mut both.ends[side];
        if self.hosts[end.host].paused {
            end.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !end.received.is_empty() {
            let got = end.received.read(buf.initialize_unfilled())?;
            buf.advance(got);
            self.deliver(connection, 1 - side);
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = end.broken {
            return Poll::Ready(Err(error.into()));
        }
        if end.ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        end.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn write(
        &mut self,
        connection: u64,
        side: usize,
        cx: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(both) = self.connections.get_mut(&connection) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let end = &mut both.ends[side];
        let room = SEND_BYTES_MAX.saturating_sub(end.out.buffered);
        if let Some(error) = end.broken {
            return Poll::Ready(Err(error.into()));
        }
        if end.out.finished {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if room == 0 || self.hosts[end.host].paused {
            end.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = room.min(bytes.len());
        self.send_bytes(connection, side, &bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn send_bytes(&mut self, connection: u64, side: usize, bytes: &[u8]) {
        let cut = if bytes.len() > 1 && self.rng.u32(0..CUT_ONE_IN) == 0 {
            self.rng.usize(1..bytes.len())
        } else {
            0
        };
        let (one, other) = bytes.split_at(cut);
        for segment in one.chunks(SEGMENT_BYTES_MAX).chain(other.chunks(SEGMENT_BYTES_MAX)) {
            self.send(connection, side, Content::Bytes(segment.to_vec()));
        }
    }

    /// The process writes no more.
    pub(super) fn finish(&mut self, connection: u64, side: usize) {
        let Some(end) = self.end(connection, side) else { return };
        if !std::mem::replace(&mut end.out.finished, true) && end.socket == Socket::Open {
            self.send(connection, side, Content::Fin);
        }
    }

    /// The process let go of one half, or of both one after the other.
    pub(super) fn let_go(&mut self, connection: u64, side: usize, of_reading: bool) {
        let now = self.now;
        if !of_reading {
            self.finish(connection, side);
        }
        let Some(end) = self.end(connection, side) else { return };
        if of_reading {
            end.holds.read = false;
        } else {
            end.holds.write = false;
        }
        if end.is_held() {
            return;
        }
        end.closed_at = Some(now);
        let unread = !std::mem::take(&mut end.received).is_empty();
        match end.socket {
            Socket::Connecting => self.break_end(connection, side, ErrorKind::ConnectionAborted),
            Socket::Open if unread => {
                self.break_end(connection, side, ErrorKind::ConnectionAborted);
                self.send_reset(connection, side, ErrorKind::ConnectionReset);
            }
            Socket::Open => end.socket = Socket::Closed,
            _ => {}
        }
        self.drop_if_over(connection);
    }
}

/// An end and the other one.
fn two(ends: &mut [End; 2], side: usize) -> (&mut End, &mut End) {
    let [one, other] = ends;
    if side == 0 { (one, other) } else { (other, one) }
}

fn draw(rng: &mut Rng, quality: LinkQuality) -> u64 {
    let (min, max) = (millis(quality.latency_min), millis(quality.latency_max));
    if max > min { rng.u64(min..=max) } else { min }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Connections that wait for a process to accept them.
pub(super) type Backlog = VecDeque<u64>;
