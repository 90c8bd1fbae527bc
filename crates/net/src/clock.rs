//! Telling time, as a seam.
//!
//! Sleeping is `tokio::time`'s business; what is recorded or compared goes through
//! a [`Clock`], so that a simulation decides what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use model::{Millis, Timestamp};
use tokio::time::Instant;

/// What time it is, in both of the kinds that never mix.
pub trait Clock: Send + Sync + 'static {
    /// The clock that only goes forward: timeouts and sessions.
    fn now(&self) -> Millis;

    /// The clock on the wall: what records and logs carry.
    fn wall(&self) -> Timestamp;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose [`Millis`] count from now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        Millis::default().after(self.start.elapsed())
    }

    fn wall(&self) -> Timestamp {
        // A machine set before 1970 gets 1970: a record's time is information, not order.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that follows tokio's own time, wall included: it stands still when that is paused.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock {
    start: Instant,
    wall_at_start: Timestamp,
}

impl VirtualClock {
    /// A clock that reads `wall` now.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { start: Instant::now(), wall_at_start: wall }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Millis {
        Millis::default().after(self.start.elapsed())
    }

    fn wall(&self) -> Timestamp {
        let elapsed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::new(self.wall_at_start.get().saturating_add(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Millis, Timestamp};

    use super::{Clock, VirtualClock};

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_moves_only_with_tokios_time() {
        let clock = VirtualClock::starting_at(Timestamp::new(1_000));
        assert_eq!((clock.now(), clock.wall()), (Millis::new(0), Timestamp::new(1_000)));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!((clock.now(), clock.wall()), (Millis::new(250), Timestamp::new(1_250)));
    }
}
