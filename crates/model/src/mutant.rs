//! Planted bugs, for the tests of the tests.
//!
//! Each names one rule of safety that the code would break if the mutant were planted.
//! The simulation plants one at a time and must notice. Only under the feature
//! `mutants`, which no product crate turns on, can anything be planted: elsewhere
//! [`Mutant::is_planted`] is a constant `false` and its branch is never compiled.

/// A rule that may be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// A partition log says that it synced, and did not.
    PartitionSyncSkipped,
    /// The metadata log says that it synced, and did not.
    QuorumSyncSkipped,
    /// A vote counts without being on disk.
    VoteNotPersisted,
    /// A leader that restarts goes on leading its old term.
    LeaderRestored,
    /// A log that an installed snapshot made obsolete is not cleared.
    LastPurgedDropped,
    /// A snapshot lacks the configurations.
    SnapshotIncomplete,
    /// `acks=all` is answered before the replicas have the record.
    AckedBeforeWatermark,
    /// `min.insync.replicas` does not hold writes back.
    MinIsrIgnored,
    /// A proposed in-sync set counts before the controller has committed it.
    IsrCountedBeforeCommitted,
    /// Consumers read up to the log's end.
    ReadAboveWatermark,
    /// The controller obeys a leader that was deposed, and one that speaks of a past state.
    LeaderEpochUnchecked,
    /// A follower whose history left the leader's is not told to cut its log.
    DivergenceIgnored,
    /// A new follower cuts its log at its own watermark, as before KIP-101.
    TruncatedByWatermark,
    /// Fenced and restarted replicas may join the in-sync set.
    FenceIgnored,
    /// Any living replica may be elected, in sync or not.
    ElectedUncleanly,
    /// A producer's sequence numbers are not looked at.
    SequenceUnchecked,
    /// A log that is opened again does not remember its producers.
    ProducersForgotten,
    /// A follower appends what it fetched without a look at the checksum.
    ChecksumUnchecked,
    /// A broker that crashed claims to have stopped in order.
    CleanShutdownClaimed,
    /// Readers of committed data are let into transactions that are open.
    StableAheadOfTransaction,
    /// The epochs of transactional batches and of markers are not looked at.
    TransactionEpochUnchecked,
    /// Partitions are told how a transaction ended before the record that decides it is committed.
    MarkedBeforeCommitted,
    /// Compaction drops the last record of a key, and keeps those before it.
    LatestCompacted,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::PartitionSyncSkipped,
        Self::QuorumSyncSkipped,
        Self::VoteNotPersisted,
        Self::LeaderRestored,
        Self::LastPurgedDropped,
        Self::SnapshotIncomplete,
        Self::AckedBeforeWatermark,
        Self::MinIsrIgnored,
        Self::IsrCountedBeforeCommitted,
        Self::ReadAboveWatermark,
        Self::LeaderEpochUnchecked,
        Self::DivergenceIgnored,
        Self::TruncatedByWatermark,
        Self::FenceIgnored,
        Self::ElectedUncleanly,
        Self::SequenceUnchecked,
        Self::ProducersForgotten,
        Self::ChecksumUnchecked,
        Self::CleanShutdownClaimed,
        Self::StableAheadOfTransaction,
        Self::TransactionEpochUnchecked,
        Self::MarkedBeforeCommitted,
        Self::LatestCompacted,
    ];

    /// Whether this rule is broken on the current thread.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub const fn is_planted(self) -> bool {
        false
    }

    /// Whether this rule is broken on the current thread.
    #[cfg(feature = "mutants")]
    pub fn is_planted(self) -> bool {
        planted::PLANTED.get() == Some(self)
    }

    /// Breaks this rule alone on the current thread; `None` keeps them all.
    #[cfg(feature = "mutants")]
    pub fn plant(mutant: Option<Self>) {
        planted::PLANTED.set(mutant);
    }
}

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        pub static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }
}
