//! Bounds on replication's bytes, for replicas that are being moved (KIP-73).
//!
//! `leader.replication.throttled.rate` bounds what this node sends and
//! `follower.replication.throttled.rate` what it fetches, over all partitions that their
//! topic's lists name (`throttled.replicas`). Replicas that are in sync are never held
//! back: a slow one would hold the producers back.
//!
//! Kafka leaves it to whoever set a throttle to remove it, and one that was forgotten keeps
//! replicas from catching up months later. Here a replica that is named by its number, as
//! the reassignment tool writes it, is throttled while it is being added and no longer; `*`,
//! which only people write, always holds.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::Overrides;
use model::{Millis, NodeId, PartitionIndex};

/// What is not used within a second is lost, so that a pause is not made up for in one burst.
const BURST: Duration = Duration::from_secs(1);
/// A changed rate is noticed after as long.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A bound on bytes a second. Spending more than is there is a debt, which is waited for.
pub struct Throttle {
    bucket: Mutex<Bucket>,
}

struct Bucket {
    /// Bytes a second; `None` for no limit.
    rate: Option<u64>,
    /// What may be spent; negative is a debt. In thousandths of a byte, for a millisecond is worth some.
    left: i128,
    filled_at: Millis,
}

/// Between nodes in both directions, and within this one.
pub struct Throttles {
    /// What leaders here send.
    pub leader: Throttle,
    /// What followers here fetch.
    pub follower: Throttle,
    /// What is copied from one log directory to another.
    pub moves: Throttle,
}

impl Throttles {
    /// No limits.
    pub fn new() -> Self {
        Self { leader: Throttle::new(), follower: Throttle::new(), moves: Throttle::new() }
    }
}

impl Throttle {
    fn new() -> Self {
        Self { bucket: Mutex::new(Bucket { rate: None, left: 0, filled_at: Millis::new(0) }) }
    }

    /// Sets the bound; `i64::MAX`, which is Kafka's default, is none.
    pub fn set_rate(&self, now: Millis, rate: Option<i64>) {
        let rate = rate.filter(|rate| *rate < i64::MAX).map(|rate| u64::try_from(rate).unwrap_or(0));
        let mut bucket = self.lock();
        if bucket.rate != rate {
            *bucket = Bucket { rate, left: 0, filled_at: now };
            bucket.left = bucket.most();
        }
    }

    /// Whether there is a bound at all.
    pub fn is_limited(&self) -> bool {
        self.lock().rate.is_some()
    }

    /// Notes bytes that were sent or fetched.
    pub fn spend(&self, now: Millis, bytes: usize) {
        let mut bucket = self.lock();
        if bucket.rate.is_some() {
            bucket.fill(now);
            bucket.left -= bytes as i128 * 1000;
        }
    }

    /// Bytes that may be spent now; zero in debt.
    pub fn allowance(&self, now: Millis) -> usize {
        let mut bucket = self.lock();
        bucket.fill(now);
        match bucket.rate {
            None => usize::MAX,
            Some(_) => usize::try_from(bucket.left.max(0) / 1000).unwrap_or(usize::MAX),
        }
    }

    /// Until when nothing may be spent, if so.
    pub fn pauses_until(&self, now: Millis) -> Option<Millis> {
        let mut bucket = self.lock();
        bucket.fill(now);
        let rate = i128::from(bucket.rate?);
        if bucket.left >= 1000 {
            return None;
        }
        let wait = (1000 - bucket.left).checked_div(rate).map(|millis| millis + 1);
        let wait = wait.and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis);
        Some(now.after(wait.unwrap_or(PAUSE_MAX).min(PAUSE_MAX)))
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Thousandths of a byte that can be saved up; never less than one byte's.
    fn most(&self) -> i128 {
        i128::from(self.rate.unwrap_or(0)).max(1) * BURST.as_millis() as i128
    }

    fn fill(&mut self, now: Millis) {
        let passed = now.since(self.filled_at).as_millis() as i128;
        self.filled_at = self.filled_at.max(now);
        // Bytes a second are thousandths of a byte a millisecond.
        self.left = (self.left + passed * i128::from(self.rate.unwrap_or(0))).min(self.most());
    }
}

/// Which replicas of a topic a bound is for, as its configuration lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Throttled {
    /// None.
    #[default]
    Nobody,
    /// All: `*`.
    All,
    /// These partitions' replicas on this node, while they move.
    Some(BTreeSet<PartitionIndex>),
}

impl Throttled {
    /// What `key` of a topic's configuration means to `node`.
    pub fn read(overrides: &Overrides, key: &str, node: NodeId) -> Self {
        let text = overrides.get(key).map(|text| text.trim()).unwrap_or_default();
        if text == "*" {
            return Self::All;
        }
        let pairs = text.split(',').filter_map(|pair| {
            let (partition, broker) = pair.trim().split_once(':')?;
            let is_mine = broker.parse() == Ok(node.get());
            partition.parse().ok().filter(|_| is_mine).map(PartitionIndex::new)
        });
        let pairs: BTreeSet<PartitionIndex> = pairs.collect();
        if pairs.is_empty() { Self::Nobody } else { Self::Some(pairs) }
    }

    /// Whether it is for this partition's replica, which is `moving` or not.
    pub fn holds(&self, partition: PartitionIndex, moving: bool) -> bool {
        match self {
            Self::Nobody => false,
            Self::All => true,
            Self::Some(partitions) => moving && partitions.contains(&partition),
        }
    }
}

#[cfg(test)]
mod tests {
    use config::Overrides;
    use model::{Millis, NodeId, PartitionIndex};

    use super::{Throttle, Throttled};

    /// Spends what is allowed, in pieces of `piece` bytes, as often as it can for ten seconds; how many.
    fn check(rate: i64, piece: usize, outcome: std::ops::RangeInclusive<usize>) {
        let throttle = Throttle::new();
        throttle.set_rate(Millis::new(0), Some(rate));
        let mut spent = 0;
        for now in (0..10_000).map(Millis::new) {
            if throttle.allowance(now) > 0 {
                assert_eq!(throttle.pauses_until(now), None);
                throttle.spend(now, piece);
                spent += piece;
            } else {
                let until = throttle.pauses_until(now).expect("it is in debt");
                assert!(until > now && until <= now.after(std::time::Duration::from_secs(1)), "{until:?}");
            }
        }
        assert!(outcome.contains(&spent), "{spent} bytes at {rate}");
    }

    #[test]
    fn the_rate_holds_over_time_whatever_the_size_of_the_pieces() {
        // Ten seconds' worth, a second's that was saved up, and the last piece.
        check(1_000_000, 10_000, 10_900_000..=11_010_000);
        check(1_000_000, 3_000_000, 9_000_000..=15_000_000);
        check(1_000, 10, 10_900..=11_010);
        check(0, 10, 10..=10);
    }

    #[test]
    fn without_a_bound_nothing_is_counted() {
        let throttle = Throttle::new();
        for rate in [None, Some(i64::MAX)] {
            throttle.set_rate(Millis::new(0), rate);
            throttle.spend(Millis::new(0), usize::MAX);
            assert!(!throttle.is_limited());
            assert_eq!(
                (throttle.allowance(Millis::new(1)), throttle.pauses_until(Millis::new(1))),
                (usize::MAX, None)
            );
        }
    }

    /// Whether partition 3 of the list is throttled on node 7: at rest, and while it moves.
    fn check_list(list: &str, outcome: (bool, bool)) {
        let overrides = Overrides::from([("k".to_owned(), list.to_owned())]);
        let throttled = Throttled::read(&overrides, "k", NodeId::new(7));
        let holds = |moving| throttled.holds(PartitionIndex::new(3), moving);
        assert_eq!((holds(false), holds(true)), outcome, "{list}");
    }

    #[test]
    fn a_list_means_the_replicas_that_it_names_while_they_move_and_a_star_all_always() {
        check_list("*", (true, true));
        check_list("3:7", (false, true));
        check_list("1:7, 3:7", (false, true));
        check_list("3:1,1:7", (false, false));
        check_list("", (false, false));
    }
}
