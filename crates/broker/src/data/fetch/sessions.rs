//! Fetch sessions: what a reader asks for, kept so that it need say only what changed (KIP-227).
//!
//! A full request opens a session, whose id comes with the answer; the requests that
//! follow name the id and a counter, and bring additions, changes and removals. Their
//! answers leave out what did not change. A session that a node does not know, or whose
//! counter is another, is refused, and the reader begins anew.
//!
//! There are only so many sessions. A new one takes the place of one that was not used
//! for two minutes, or of a less valuable one: followers count more than clients, many
//! partitions more than few, and a young session is safe from its equals. These are
//! Kafka's rules. Refused a session, a reader is served all the same, by full requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metadata::Image;
use model::{ErrorCode, Millis, Offset};
use wire::messages::{StrBytes, WireUuid};

use crate::data::fetch::plan::Want;
use crate::data::plane::Plane;
use crate::data::waiters::Waiter;

/// The epoch of a request that opens a session.
const INITIAL: i32 = 0;
/// The epoch of a request without one.
const FINAL: i32 = -1;
/// Unused for so long, a session gives way to any other; younger than that, it is safe from its equals.
const EVICTION: Duration = Duration::from_secs(120);
/// How often a follower's position counts where it stands still.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What names a partition in a session: topics have an id or a name, as the request's version says.
pub(super) type WantKey = (WireUuid, StrBytes, i32);

/// What a reader was told last of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) high_watermark: Option<Offset>,
    pub(super) log_start: Option<Offset>,
}

/// All partitions of a session. Away with the request that is being answered.
pub(super) struct Contents {
    pub(super) wants: Vec<Want>,
    places: BTreeMap<WantKey, usize>,
    /// Woken by every partition that it is subscribed to.
    pub(super) waiter: Arc<Waiter>,
    /// Where the next look begins, behind the last partition that gave records: none is always last.
    pub(super) first: usize,
    /// When a follower's positions counted last, all of them.
    counted_at: Millis,
}

struct Session {
    is_follower: bool,
    uses_ids: bool,
    epoch: i32,
    created_at: Millis,
    used_at: Millis,
    size: usize,
    /// `None` while a request is answered, or after one that never was.
    contents: Option<Contents>,
}

/// The sessions of this node.
pub struct Sessions {
    most: usize,
    state: Mutex<State>,
}

struct State {
    sessions: BTreeMap<i32, Session>,
    rng: fastrand::Rng,
}

/// Which session a request is a part of.
pub(super) enum Opened {
    /// None; it says all it wants.
    Sessionless,
    /// None yet; it says all it wants, and asks for one.
    Full,
    /// This one.
    Incremental(Ticket, Contents),
}

/// A request's place in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) id: i32,
    /// The epoch that the next request must name.
    next_epoch: i32,
}

/// What a request says of its session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) id: i32,
    pub(super) epoch: i32,
    pub(super) uses_ids: bool,
}

impl Contents {
    pub(super) fn new(wants: Vec<Want>, now: Millis) -> Self {
        let places = wants.iter().enumerate().map(|(at, want)| (want.key(), at)).collect();
        Self { wants, places, waiter: Waiter::new(), first: 0, counted_at: now }
    }

    /// What a request without a session wants: nobody will look a partition up in it.
    pub(super) fn unkept(wants: Vec<Want>, now: Millis) -> Self {
        Self { wants, places: BTreeMap::new(), waiter: Waiter::new(), first: 0, counted_at: now }
    }

    /// Looks again for partitions that were not there, or of which there was an error to tell.
    pub(super) fn refresh(&mut self, plane: &Plane, image: &Image) {
        for want in self.wants.iter_mut().filter(|want| want.told.is_none()) {
            want.find_again(plane, image);
        }
    }

    /// Takes a request's additions and changes.
    pub(super) fn put(&mut self, want: Want) {
        match self.places.get(&want.key()) {
            Some(&at) => self.wants[at].change(want),
            None => {
                self.places.insert(want.key(), self.wants.len());
                self.wants.push(want);
            }
        }
    }

    pub(super) fn forget(&mut self, key: &WantKey) {
        let Some(at) = self.places.remove(key) else { return };
        self.wants.swap_remove(at);
        if let Some(moved) = self.wants.get(at) {
            self.places.insert(moved.key(), at);
        }
    }

    /// Whether a follower's positions shall count again, those that stand still too.
    pub(super) fn is_time_to_count(&mut self, now: Millis) -> bool {
        let is_due = now.since(self.counted_at) >= COUNT_EVERY;
        if is_due {
            self.counted_at = now;
        }
        is_due
    }
}

impl Sessions {
    /// At most `most` sessions, whose ids are drawn from `seed`.
    pub fn new(most: usize, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed ^ 0x7365_7373_696f_6e73);
        Self { most, state: Mutex::new(State { sessions: BTreeMap::new(), rng }) }
    }

    /// Finds a request's session and takes what is in it.
    pub(super) fn open(&self, now: Millis, claim: Claim) -> Result<Opened, ErrorCode> {
        let mut state = self.lock();
        if claim.epoch == INITIAL || claim.epoch == FINAL {
            state.sessions.remove(&claim.id);
            return Ok(if claim.epoch == FINAL { Opened::Sessionless } else { Opened::Full });
        }
        let session = state.sessions.get_mut(&claim.id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.uses_ids != claim.uses_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if session.epoch != claim.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        let Some(contents) = session.contents.take() else {
            // Its last request was never answered: what the reader knows is not what is kept here.
            state.sessions.remove(&claim.id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        session.epoch = next_epoch(claim.epoch);
        session.used_at = now;
        Ok(Opened::Incremental(Ticket { id: claim.id, next_epoch: session.epoch }, contents))
    }

    /// Opens a session for a request that was answered in full; 0 when there is no room.
    pub(super) fn create(&self, now: Millis, is_follower: bool, uses_ids: bool, contents: Contents) -> i32 {
        let size = contents.wants.len();
        let mut state = self.lock();
        if size == 0 || (state.sessions.len() >= self.most && !state.evict(now, is_follower, size)) {
            return 0;
        }
        let id = loop {
            let id = state.rng.i32(1..i32::MAX);
            if !state.sessions.contains_key(&id) {
                break id;
            }
        };
        let (epoch, contents) = (next_epoch(INITIAL), Some(contents));
        let session = Session { is_follower, uses_ids, epoch, created_at: now, used_at: now, size, contents };
        state.sessions.insert(id, session);
        id
    }

    /// Puts back what a request took. False when the session was closed meanwhile.
    pub(super) fn put_back(&self, ticket: Ticket, contents: Contents) -> bool {
        let mut state = self.lock();
        match state.sessions.get_mut(&ticket.id).filter(|session| session.epoch == ticket.next_epoch) {
            Some(_) if contents.wants.is_empty() => {
                state.sessions.remove(&ticket.id);
                false
            }
            Some(session) => {
                session.size = contents.wants.len();
                session.contents = Some(contents);
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes room for a session of that kind, if one is worth less.
    fn evict(&mut self, now: Millis, is_follower: bool, size: usize) -> bool {
        let oldest = self.sessions.iter().min_by_key(|(id, session)| (session.used_at, **id));
        let stale = oldest.filter(|(_, session)| now.since(session.used_at) > EVICTION);
        let victim = stale.map(|(id, _)| *id).or_else(|| {
            let is_old = |session: &Session| session.used_at.since(session.created_at) > EVICTION;
            let evictable = |session: &Session| is_old(session) || (is_follower && !session.is_follower);
            let others = self.sessions.iter().filter(|(_, session)| evictable(session));
            let least = others.map(|(id, session)| (session.is_follower, session.size, *id)).min()?;
            ((is_follower, size, 0) > least).then_some(least.2)
        });
        victim.is_some_and(|id| self.sessions.remove(&id).is_some())
    }
}

/// The counter wraps past the two that mean something else.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests;
