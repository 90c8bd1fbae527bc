//! How fast the cleaner may read and write: `log.cleaner.io.max.bytes.per.second`, for all logs together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Longer than this nobody waits at once: the bound may have been raised.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The bound, and when it allows more.
#[derive(Default)]
pub struct Pace {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes_per_second: f64,
    free_at: Option<Instant>,
}

impl Pace {
    /// Sets the bound.
    pub fn set(&self, bytes_per_second: f64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bytes_per_second = bytes_per_second;
    }

    /// Waits until `bytes`, which were read and written, are within the bound.
    pub async fn pause(&self, bytes: u64) {
        let until = self.charge(bytes, Instant::now());
        tokio::time::sleep_until(until).await;
    }

    fn charge(&self, bytes: u64, now: Instant) -> Instant {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = bytes as f64 / state.bytes_per_second.max(1.0);
        let taken = Duration::try_from_secs_f64(seconds).unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
        let until = state.free_at.map_or(now, |free_at| free_at.max(now)) + taken;
        state.free_at = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Pace;

    #[tokio::test(start_paused = true)]
    async fn all_together_stay_within_the_bound() {
        let pace = Pace::default();
        pace.set(1_000_000.0);
        let begun = Instant::now();
        let three = [0; 3].map(|_| async {
            for _ in 0..10 {
                pace.pause(100_000).await;
            }
        });
        futures_util::future::join_all(three).await;
        let spent = begun.elapsed();
        assert!((Duration::from_secs(3)..Duration::from_millis(3_100)).contains(&spent), "{spent:?}");
        pace.set(f64::MAX);
        pace.pause(u64::MAX).await;
        assert!(begun.elapsed() < spent + Duration::from_millis(10));
    }
}
