//! What should move from which thread to which, decided from how busy they were.

/// A thread is busy from this share of the time on. Below it everything may stay together.
const BUSY: f64 = 0.5;
/// From here on a thread has no time left, however much more there is to do.
const FULL: f64 = 0.8;
/// All threads together have so little to do that one is better: nothing crosses threads then. Well below [`BUSY`],
/// or what was gathered would leave again.
const QUIET: f64 = 0.3;
/// A move must be worth it: the other thread is less busy by as much.
const GAP: f64 = 0.3;

/// What a thread did of late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    /// The share of the time in which it worked, 0 to 1.
    pub(super) share: f64,
    /// How many connections it worked for.
    pub(super) active: usize,
}

/// As many connections shall go from one thread to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) count: u32,
}

impl Move {
    /// As one number, which is 0 only when nothing is left to move.
    pub(super) fn pack(self) -> u64 {
        if self.count == 0 {
            0
        } else {
            u64::from(self.count) << 32 | u64::from(self.from) << 16 | u64::from(self.to)
        }
    }

    /// What [`Move::pack`] made a number of.
    pub(super) fn unpack(packed: u64) -> Self {
        Self { from: (packed >> 16) as u16, to: packed as u16, count: (packed >> 32) as u32 }
    }
}

/// What should move: together while little is done, else from the busiest thread to the least busy one.
pub(super) fn decide(loads: &[Load]) -> Option<Move> {
    let all: f64 = loads.iter().map(|load| load.share).sum();
    if all < QUIET { gather(loads) } else { spread(loads) }
}

/// To the first thread, from the next one where something was done.
fn gather(loads: &[Load]) -> Option<Move> {
    let (from, load) = loads.iter().enumerate().skip(1).find(|(_, load)| load.active > 0)?;
    Some(Move { from: u16::try_from(from).ok()?, to: 0, count: u32::try_from(load.active).ok()? })
}

/// If that helps: a single connection gains nothing elsewhere.
fn spread(loads: &[Load]) -> Option<Move> {
    // Threads without time left differ in how many share it.
    let by_work = |one: &(usize, &Load), other: &(usize, &Load)| {
        let (one, other) = (one.1, other.1);
        one.share.min(FULL).total_cmp(&other.share.min(FULL)).then(one.active.cmp(&other.active))
    };
    let (from, busiest) = loads.iter().enumerate().max_by(by_work)?;
    let (to, idlest) = loads.iter().enumerate().min_by(by_work)?;
    let gap = busiest.share - idlest.share;
    // A step at a time: what it does to the other thread shows in the next window.
    let step = if idlest.share >= FULL {
        let more = busiest.active - idlest.active;
        (more >= 2).then_some(more / 4)?
    } else {
        let is_worth_it = busiest.share >= BUSY && gap >= GAP && busiest.active >= 2;
        is_worth_it.then_some((busiest.active as f64 * gap / 4.0) as usize)?
    };
    let count = step.clamp(1, busiest.active - 1);
    Some(Move {
        from: u16::try_from(from).ok()?,
        to: u16::try_from(to).ok()?,
        count: u32::try_from(count).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Load, Move, decide};

    #[track_caller]
    fn check(loads: &[(f64, usize)], expected: Option<(u16, u16, u32)>) {
        let loads: Vec<Load> = loads.iter().map(|&(share, active)| Load { share, active }).collect();
        let expected = expected.map(|(from, to, count)| Move { from, to, count });
        assert_eq!(decide(&loads), expected, "{loads:?}");
    }

    #[test]
    fn what_leaves_a_busy_thread_goes_to_the_idlest() {
        check(&[], None);
        check(&[(1.0, 9)], None);
        // Little to do: it stays together, or comes together again.
        check(&[(0.4, 9), (0.0, 0)], None);
        check(&[(0.1, 9), (0.0, 0)], None);
        check(&[(0.1, 3), (0.0, 0), (0.1, 2)], Some((2, 0, 2)));
        check(&[(0.3, 3), (0.1, 2)], None);
        // One connection alone needs a thread, whichever.
        check(&[(1.0, 1), (0.0, 0)], None);
        check(&[(1.0, 2), (0.0, 0)], Some((0, 1, 1)));
        check(&[(0.1, 3), (0.9, 40), (0.0, 0)], Some((1, 2, 9)));
        // About even.
        check(&[(0.7, 9), (0.5, 2)], None);
        // Both full, by unequal numbers.
        check(&[(1.0, 40), (0.9, 60)], Some((1, 0, 5)));
        check(&[(0.9, 40), (1.0, 41)], None);
    }

    #[test]
    fn equal_connections_come_to_rest_spread_evenly() {
        for (threads, connections) in [(2, 2), (2, 100), (4, 4), (8, 1_000)] {
            let mut on = vec![0; threads];
            on[0] = connections;
            // Each takes half of a thread's time if it can.
            let share = |count: usize| (count as f64 * 0.5).min(1.0);
            let mut moves = 0;
            while let Some(next) =
                decide(&on.iter().map(|&active| Load { share: share(active), active }).collect::<Vec<_>>())
            {
                on[usize::from(next.from)] -= next.count as usize;
                on[usize::from(next.to)] += next.count as usize;
                moves += 1;
                assert!(moves < 200, "{threads} threads: {on:?}");
            }
            let (least, most) = (on.iter().min().copied(), on.iter().max().copied());
            assert!(most <= least.map(|least| least + 2), "{threads} threads: {on:?}");
        }
    }

    #[test]
    fn a_move_survives_being_packed() {
        let it = Move { from: 3, to: 65_535, count: 70_000 };
        assert_eq!(Move::unpack(it.pack()), it);
        assert_eq!(Move { count: 0, ..it }.pack(), 0);
    }
}
