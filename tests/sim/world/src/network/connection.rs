//! One connection: two ends, and what is under way from each to the other.
//!
//! Only data and the steps that concern one end alone; what crosses between them, and when,
//! is the world's (`world.rs`).

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::task::Waker;

/// Bytes written and not yet acknowledged at which a writer waits, like a socket's send buffer.
pub(super) const SEND_BYTES_MAX: usize = 256 << 10;
/// Bytes received and not yet read at which nothing more is taken, like its receive buffer.
pub(super) const RECEIVE_BYTES_MAX: usize = 256 << 10;

/// Both ends: the one that connected, and the one that was connected to.
pub(super) struct Connection {
    pub(super) ends: [End; 2],
}

/// One end, with what is under way from it.
pub(super) struct End {
    pub(super) host: usize,
    /// Which of the host's processes has it; 0 until one answered.
    pub(super) process: u32,
    pub(super) address: SocketAddr,
    pub(super) socket: Socket,
    /// Whether the process still holds the half it reads from, and the one it writes to.
    pub(super) holds: Halves,
    pub(super) closed_at: Option<u64>,
    /// When power was lost: what it sent then was never sent.
    pub(super) silenced_at: Option<u64>,
    /// What reads (once all that arrived is read) and writes answer.
    pub(super) broken: Option<ErrorKind>,
    pub(super) received: VecDeque<u8>,
    /// The other end will write no more.
    pub(super) ended: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    pub(super) out: Outgoing,
}

/// What a process still holds of its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Halves {
    pub(super) read: bool,
    pub(super) write: bool,
}

/// What the machine knows of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    /// Waits for the answer to its handshake.
    Connecting,
    /// Not yet in anybody's backlog.
    Embryo,
    Open,
    /// The process let go of it; what it wrote is still being sent.
    Closed,
    /// Nothing: whatever arrives is answered with a reset.
    Gone,
}

/// One direction's segments that the other end did not take yet.
#[derive(Default)]
pub(super) struct Outgoing {
    segments: VecDeque<Segment>,
    /// The number of the first of them.
    first: u64,
    /// Bytes of the segments, and those taken but not acknowledged.
    pub(super) buffered: usize,
    pub(super) unacknowledged: usize,
    /// When the last of what flies arrives.
    pub(super) last_arrival: u64,
    /// How often in a row it was sent again in vain.
    pub(super) attempts: u32,
    /// Since when nothing was acknowledged that should have been.
    pub(super) stuck_since: Option<u64>,
    /// Whether a retry is scheduled.
    pub(super) retrying: bool,
    /// No more is written.
    pub(super) finished: bool,
}

pub(super) struct Segment {
    pub(super) content: Content,
    pub(super) flight: Flight,
}

pub(super) enum Content {
    /// The last step of the handshake.
    Open,
    Bytes(Vec<u8>),
    Fin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    Flying,
    /// To be sent again.
    Lost,
    /// At the other machine, where it waits for those before it or for room.
    Arrived,
}

impl End {
    pub(super) fn new(host: usize, process: u32, address: SocketAddr, socket: Socket) -> Self {
        Self {
            host,
            process,
            address,
            socket,
            holds: Halves { read: false, write: false },
            closed_at: None,
            silenced_at: None,
            broken: None,
            received: VecDeque::new(),
            ended: false,
            reader: None,
            writer: None,
            out: Outgoing::default(),
        }
    }

    /// Whether a process still has it.
    pub(super) fn is_held(&self) -> bool {
        self.holds.read || self.holds.write
    }

    /// A process takes it.
    pub(super) fn hold(&mut self) {
        self.holds = Halves { read: true, write: true };
    }

    /// Nothing is known of it any more; only what already flies still arrives.
    pub(super) fn forget(&mut self, broken: ErrorKind, woken: &mut Vec<Waker>) {
        self.socket = Socket::Gone;
        self.broken.get_or_insert(broken);
        self.out.abandon();
        self.wake(woken);
    }

    pub(super) fn wake(&mut self, woken: &mut Vec<Waker>) {
        woken.extend(self.reader.take());
        woken.extend(self.writer.take());
    }
}

impl Connection {
    /// Whether nobody can see anything of it any more.
    pub(super) fn is_over(&self) -> bool {
        let [near, far] = &self.ends;
        // Somebody may still accept it.
        let waits = match far.socket {
            Socket::Embryo => near.socket != Socket::Gone,
            socket => socket == Socket::Open,
        };
        !near.is_held() && !far.is_held() && !waits
    }
}

impl Outgoing {
    /// Appends a segment; answers its number.
    pub(super) fn push(&mut self, content: Content) -> u64 {
        if let Content::Bytes(bytes) = &content {
            self.buffered += bytes.len();
        }
        self.segments.push_back(Segment { content, flight: Flight::Lost });
        self.first + self.segments.len() as u64 - 1
    }

    /// The segment of that number, if it is still under way.
    pub(super) fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.segments.get_mut(at)
    }

    /// Whether the segment has to wait for an earlier one.
    pub(super) fn overtakes(&self, number: u64) -> bool {
        let before = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        self.segments.iter().take(before).any(|segment| segment.flight != Flight::Arrived)
    }

    /// The first segment, if it arrived.
    pub(super) fn arrived(&self) -> Option<&Content> {
        let segment = self.segments.front()?;
        (segment.flight == Flight::Arrived).then_some(&segment.content)
    }

    /// Takes the first segment.
    pub(super) fn take(&mut self) -> Option<Content> {
        let segment = self.segments.pop_front()?;
        self.first += 1;
        Some(segment.content)
    }

    /// The numbers of the lost ones.
    pub(super) fn lost(&self) -> Vec<u64> {
        let numbered = (self.first..).zip(&self.segments);
        numbered.filter(|(_, segment)| segment.flight == Flight::Lost).map(|(number, _)| number).collect()
    }

    /// Whatever the other machine had of it, it has no more.
    pub(super) fn lose_all(&mut self) {
        for segment in &mut self.segments {
            segment.flight = Flight::Lost;
        }
    }

    pub(super) fn acknowledge(&mut self, bytes: usize, now: u64) {
        self.buffered -= bytes + self.unacknowledged;
        self.unacknowledged = 0;
        self.attempts = 0;
        let waiting = self.segments.iter().any(|segment| segment.flight == Flight::Lost);
        self.stuck_since = waiting.then_some(now);
    }

    /// Nothing is sent again, nor the end told: only what flies, as far as nothing before it is lost.
    fn abandon(&mut self) {
        let kept = self
            .segments
            .iter()
            .take_while(|segment| segment.flight != Flight::Lost && !matches!(segment.content, Content::Fin));
        let kept = kept.count();
        self.segments.truncate(kept);
        self.finished = true;
    }
}
