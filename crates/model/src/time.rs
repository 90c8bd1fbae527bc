//! Two kinds of time that never mix.

use std::fmt;
use std::time::Duration;

/// A point on a clock that only goes forward, in milliseconds since an arbitrary start.
/// All timeouts and sessions are measured on it; it means nothing on another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u64);

impl Millis {
    /// A point `value` milliseconds after the clock's start.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Milliseconds since the clock's start.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The point `duration` later.
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Wall-clock time in milliseconds since 1970, as records and logs carry it. Never used for a timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `value` milliseconds since 1970.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// Milliseconds since 1970.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
