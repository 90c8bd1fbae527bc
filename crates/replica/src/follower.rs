//! Follower side of one partition: where its log must be cut, and its watermark.
//!
//! A follower whose log left the leader's history is told so in the fetch answer:
//! the newest epoch that leader and follower share, and where it ends on the
//! leader (KIP-595's diverging epoch, the rules of KIP-101 and KIP-279). The
//! follower cuts its log there. The watermark decides nothing about truncation:
//! it lags behind the leader's, and cutting by it loses acknowledged records.

use model::{LeaderEpoch, NodeId, Offset};

/// An epoch and where it ends: the offset of the first record of the next epoch, or the log's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The offset after its last record.
    pub end: Offset,
}

/// A leader's answer to a fetch that named the epoch of the follower's last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The follower's log is a prefix of the leader's.
    Consistent,
    /// It is not; this much they may share.
    Diverged(EpochEnd),
}

/// Where a follower must cut its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The new end of the log.
    pub truncate_to: Offset,
}

/// The state of a follower.
#[derive(Debug)]
pub struct Follower {
    leader: NodeId,
    epoch: LeaderEpoch,
    high_watermark: Offset,
}

impl Follower {
    /// A follower of `leader` in `epoch`.
    pub fn new(leader: NodeId, epoch: LeaderEpoch, high_watermark: Offset) -> Self {
        Self { leader, epoch, high_watermark }
    }

    /// The node to fetch from.
    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// The epoch to name in each fetch.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Everything below is committed, as far as the leader told.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Takes the leader's watermark, or the log's own cut: `log_end` after the append or truncation.
    /// It may move back only with the log.
    pub fn note(&mut self, leader_high_watermark: Offset, log_end: Offset) {
        let known = self.high_watermark.max(leader_high_watermark);
        self.high_watermark = known.min(log_end);
    }
}

impl Lookup {
    /// The leader's side: is a log whose last record has `last_epoch` and which ends at `at`
    /// a prefix of ours? `ours` is where our log ends the newest epoch not above `last_epoch`;
    /// `None` when we know no such epoch.
    pub fn of(last_epoch: LeaderEpoch, at: Offset, ours: Option<EpochEnd>, log_start: Offset) -> Self {
        match ours {
            Some(shared) if shared.epoch < last_epoch || shared.end < at => Self::Diverged(shared),
            Some(_) => Self::Consistent,
            // All that the follower has was deleted here: there is nothing to compare, and nothing to
            // cut. It goes on where our log starts, or hears that it is out of range.
            None if at <= log_start => Self::Consistent,
            // It holds records of ours in an epoch that is older than our log: they are not ours.
            None => Self::Diverged(EpochEnd { epoch: last_epoch, end: log_start }),
        }
    }
}

impl Divergence {
    /// The follower's side. `theirs` is what the leader said; `ours` is where our own log
    /// ends the newest epoch not above `theirs.epoch`, `None` when we have none so old.
    pub fn resolve(theirs: EpochEnd, ours: Option<EpochEnd>, log_start: Offset, log_end: Offset) -> Self {
        let truncate_to = match ours {
            Some(shared) if shared.epoch == theirs.epoch => theirs.end.min(shared.end),
            // We never saw the leader's epoch: all after our last shared one goes. The next
            // fetch names that older epoch, and the leader answers for it (KIP-279).
            Some(shared) => shared.end,
            None => theirs.end,
        };
        Self { truncate_to: truncate_to.clamp(log_start, log_end) }
    }
}

#[cfg(test)]
mod tests {
    use model::{LeaderEpoch, NodeId, Offset};

    use super::{Divergence, EpochEnd, Follower, Lookup};

    /// A log as a list of (epoch, first offset) and its end.
    struct Log {
        epochs: &'static [(i32, i64)],
        end: i64,
    }

    impl Log {
        fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
            let index = self.epochs.iter().rposition(|&(known, _)| known <= epoch.get())?;
            let end = self.epochs.get(index + 1).map_or(self.end, |&(_, start)| start);
            Some(EpochEnd { epoch: LeaderEpoch::new(self.epochs[index].0), end: Offset::new(end) })
        }
    }

    /// Runs lookups and truncations until leader and follower agree; says where the follower was cut.
    fn check(leader: &Log, mut follower: Log, cuts: &[i64]) {
        let mut made = Vec::new();
        for _ in 0..10 {
            let Some(&(last, _)) = follower.epochs.iter().rfind(|&&(_, start)| start < follower.end) else {
                break;
            };
            let last = LeaderEpoch::new(last);
            let at = Offset::new(follower.end);
            match Lookup::of(last, at, leader.end_of(last), Offset::ZERO) {
                Lookup::Consistent => break,
                Lookup::Diverged(theirs) => {
                    let ours = follower.end_of(theirs.epoch);
                    let cut = Divergence::resolve(theirs, ours, Offset::ZERO, at);
                    assert!(cut.truncate_to < at, "a divergence that cuts nothing would repeat for ever");
                    follower.end = cut.truncate_to.get();
                    made.push(follower.end);
                }
            }
        }
        assert_eq!(made, cuts);
    }

    #[test]
    fn a_prefix_of_the_leaders_log_is_kept_whole() {
        check(&Log { epochs: &[(0, 0), (2, 10)], end: 20 }, Log { epochs: &[(0, 0)], end: 7 }, &[]);
        check(&Log { epochs: &[(0, 0)], end: 20 }, Log { epochs: &[(0, 0)], end: 20 }, &[]);
    }

    #[test]
    fn a_tail_of_an_epoch_that_lost_the_election_is_cut_where_the_next_epoch_began() {
        check(&Log { epochs: &[(0, 0), (1, 10)], end: 20 }, Log { epochs: &[(0, 0)], end: 15 }, &[10]);
    }

    #[test]
    fn an_epoch_the_leader_never_saw_is_cut_whole() {
        check(
            &Log { epochs: &[(0, 0), (2, 10)], end: 20 },
            Log { epochs: &[(0, 0), (1, 10)], end: 18 },
            &[10],
        );
    }

    #[test]
    fn interleaved_epochs_converge_in_several_rounds() {
        // KIP-279: fast leader changes leave each side with epochs the other never saw.
        check(
            &Log { epochs: &[(1, 0), (3, 5), (6, 30)], end: 40 },
            Log { epochs: &[(1, 0), (2, 8), (4, 12), (5, 20)], end: 25 },
            &[12, 5],
        );
    }

    #[test]
    fn a_follower_older_than_the_leaders_log_is_cut_to_its_start_if_it_reaches_behind() {
        let epoch = LeaderEpoch::new(1);
        let ours = |at: i64| Lookup::of(epoch, Offset::new(at), None, Offset::new(100));
        assert_eq!(ours(101), Lookup::Diverged(EpochEnd { epoch, end: Offset::new(100) }));
        assert_eq!((ours(100), ours(5)), (Lookup::Consistent, Lookup::Consistent), "a cut that cuts nothing");
    }

    #[test]
    fn the_watermark_follows_the_leaders_but_never_passes_the_log() {
        let mut follower = Follower::new(NodeId::new(1), LeaderEpoch::new(0), Offset::new(3));
        follower.note(Offset::new(9), Offset::new(7));
        assert_eq!(follower.high_watermark(), Offset::new(7));
        follower.note(Offset::new(2), Offset::new(8));
        assert_eq!(follower.high_watermark(), Offset::new(7), "an older answer takes nothing back");
        follower.note(Offset::ZERO, Offset::new(4));
        assert_eq!(follower.high_watermark(), Offset::new(4), "a truncation does");
    }
}
