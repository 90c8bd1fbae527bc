//! A machine's clocks, wrong on demand.
//!
//! The one that only goes forward follows tokio's virtual time, a little too fast or too
//! slow if it is told to. The one on the wall may jump, swing to and fro, and drifts along.
//! Sleeping is tokio's: a node whose clock drifts sleeps as long as others and then reads
//! another time, which is how a wrong clock looks from inside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Millis, Timestamp};
use net::Clock;
use tokio::time::Instant;

/// A full million of millionths: no drift.
const MILLION: i64 = 1_000_000;

/// The clocks of one machine. Clones share them: the node has one, whoever injects faults another.
#[derive(Clone, Debug)]
pub struct SimClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// When `forward_us` was right.
    since: Instant,
    /// Microseconds that the forward clock had counted then.
    forward_us: u64,
    /// How much too fast it is, in millionths.
    drift_ppm: i64,
    /// What the wall clock said when the forward clock stood at zero, jumps included.
    wall_ms: i64,
    strobe: Option<Strobe>,
}

/// The wall clock swings: right for a period, wrong for a period.
#[derive(Clone, Copy, Debug)]
struct Strobe {
    since: Instant,
    by_ms: i64,
    period: Duration,
}

impl SimClock {
    /// Clocks that are right: the wall says `wall` now.
    pub fn starting_at(wall: Timestamp) -> Self {
        let state =
            State { since: Instant::now(), forward_us: 0, drift_ppm: 0, wall_ms: wall.get(), strobe: None };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Sets the wall clock forward, or back when `by_ms` is negative.
    pub fn jump(&self, by_ms: i64) {
        let mut state = self.lock();
        state.wall_ms = state.wall_ms.saturating_add(by_ms);
    }

    /// From now on both clocks run too fast by so many millionths, or too slow when negative; at most
    /// by half. Nothing jumps, and the forward clock never goes back.
    pub fn drift(&self, ppm: i64) {
        let mut state = self.lock();
        state.forward_us = state.forward_us();
        state.since = Instant::now();
        state.drift_ppm = ppm.clamp(-MILLION / 2, MILLION / 2);
    }

    /// Lets the wall clock swing: it is right for a `period`, then off by `by_ms` for one.
    pub fn strobe(&self, by_ms: i64, period: Duration) {
        let period = period.max(Duration::from_millis(1));
        self.lock().strobe = Some(Strobe { since: Instant::now(), by_ms, period });
    }

    /// Ends swinging and drifting. What jumped stays where it is.
    pub fn steady(&self) {
        self.drift(0);
        self.lock().strobe = None;
    }

    /// Sets the wall clock to what it would say had it never been wrong, as a time server does.
    pub fn set_wall(&self, wall: Timestamp) {
        let mut state = self.lock();
        state.strobe = None;
        state.wall_ms = wall.get().saturating_sub(millis(state.forward_us()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Millis {
        Millis::new(self.lock().forward_us() / 1_000)
    }

    fn wall(&self) -> Timestamp {
        let state = self.lock();
        let swing = state.strobe.map_or(0, Strobe::offset_ms);
        let wall = state.wall_ms.saturating_add(millis(state.forward_us())).saturating_add(swing);
        // As on a machine that is set before 1970.
        Timestamp::new(wall.max(0))
    }
}

impl State {
    fn forward_us(&self) -> u64 {
        let elapsed = self.since.elapsed().as_micros();
        let factor = u128::try_from(MILLION + self.drift_ppm).expect("a drift is at most half");
        let drifted = elapsed * factor / 1_000_000;
        self.forward_us.saturating_add(u64::try_from(drifted).unwrap_or(u64::MAX))
    }
}

impl Strobe {
    fn offset_ms(self) -> i64 {
        let periods = self.since.elapsed().as_micros() / self.period.as_micros();
        if periods % 2 == 1 { self.by_ms } else { 0 }
    }
}

fn millis(us: u64) -> i64 {
    i64::try_from(us / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Millis, Timestamp};
    use net::Clock;
    use tokio::time::advance;

    use super::SimClock;

    const START: i64 = 1_700_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn clock() -> SimClock {
        SimClock::starting_at(Timestamp::new(START))
    }

    /// What it reads, both since the start.
    fn check(clock: &SimClock, now: u64, wall: i64) {
        assert_eq!((clock.now(), clock.wall().get() - START), (Millis::new(now), wall));
    }

    async fn pass(ms: u64) {
        advance(Duration::from_millis(ms)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn left_alone_both_follow_virtual_time() {
        let clock = clock();
        check(&clock, 0, 0);
        pass(1_234).await;
        check(&clock, 1_234, 1_234);
        check(&clock.clone(), 1_234, 1_234);
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_moves_the_wall_and_nothing_else() {
        let clock = clock();
        clock.jump(HOUR);
        pass(10).await;
        check(&clock, 10, HOUR + 10);
        clock.jump(-2 * HOUR);
        check(&clock, 10, -HOUR + 10);
        clock.set_wall(Timestamp::new(START + 10));
        check(&clock, 10, 10);
        clock.jump(-2 * START);
        assert_eq!(clock.wall(), Timestamp::new(0), "never before 1970");
    }

    #[tokio::test(start_paused = true)]
    async fn drift_makes_both_fast_or_slow_and_never_jumps() {
        let clock = clock();
        clock.drift(20_000);
        pass(10_000).await;
        check(&clock, 10_200, 10_200);
        clock.drift(-20_000);
        check(&clock, 10_200, 10_200);
        pass(10_000).await;
        check(&clock, 20_000, 20_000);
        clock.steady();
        pass(1_000).await;
        check(&clock, 21_000, 21_000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_forward_clock_never_goes_back_however_the_drift_changes() {
        let clock = clock();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut last = clock.now();
        for _ in 0..10_000 {
            match rng.u8(0..4) {
                0 => clock.drift(rng.i64(-600_000..600_000)),
                1 => clock.jump(rng.i64(-HOUR..HOUR)),
                2 => clock.strobe(rng.i64(-HOUR..HOUR), Duration::from_millis(rng.u64(0..50))),
                _ => pass(rng.u64(0..5)).await,
            }
            assert!(clock.now() >= last);
            last = clock.now();
        }
        assert!(last > Millis::new(1_000));
    }

    #[tokio::test(start_paused = true)]
    async fn strobing_is_right_and_wrong_by_turns_until_it_ends() {
        let clock = clock();
        clock.strobe(-500, Duration::from_millis(100));
        let mut walls = Vec::new();
        for _ in 0..4 {
            walls.push(clock.wall().get() - START);
            pass(100).await;
        }
        assert_eq!(walls, [0, 100 - 500, 200, 300 - 500]);
        clock.steady();
        check(&clock, 400, 400);
    }
}
