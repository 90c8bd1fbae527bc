//! The kinds of faults, and which of them a run knows.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One process is killed.
    KillOne,
    /// A majority of the processes is killed.
    KillMajority,
    /// All processes are killed at once.
    KillAll,
    /// The plug of one machine is pulled.
    PowerOne,
    /// The plugs of several machines, up to all, are pulled at once.
    PowerMany,
    /// One process is away for long, while the others are restarted in order and go on without it: it
    /// comes back to a log that begins behind its own end.
    LongAway,
    /// One process is stopped for a while.
    Pause,
    /// One node is cut off from the others.
    PartitionOne,
    /// The nodes stand in a ring, and each reaches a majority, but none reaches all.
    PartitionRing,
    /// One node's words reach nobody, while it hears all.
    PartitionOneWay,
    /// The clients do not reach one node.
    PartitionClients,
    /// Every segment takes its time.
    Delay,
    /// Segments are lost, and sent again.
    Loss,
    /// A wall clock jumps by up to an hour.
    ClockJump,
    /// A clock runs fast or slow.
    ClockDrift,
    /// A disk takes up to seconds for what it does.
    DiskSlow,
    /// A disk is full.
    DiskFull,
    /// A disk is read-only.
    DiskReadOnly,
    /// A sync fails, and what it should have written is gone.
    SyncFails,
    /// A bit of a partition's log flips.
    BitFlip,
    /// Every node is stopped in order and started again, one after the other.
    RollingRestart,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::KillOne,
        Self::KillMajority,
        Self::KillAll,
        Self::PowerOne,
        Self::PowerMany,
        Self::LongAway,
        Self::Pause,
        Self::PartitionOne,
        Self::PartitionRing,
        Self::PartitionOneWay,
        Self::PartitionClients,
        Self::Delay,
        Self::Loss,
        Self::ClockJump,
        Self::ClockDrift,
        Self::DiskSlow,
        Self::DiskFull,
        Self::DiskReadOnly,
        Self::SyncFails,
        Self::BitFlip,
        Self::RollingRestart,
    ];

    /// Kinds by which records may be lost legally, so that a run with them proves less about records.
    const LOSSY: [Self; 2] = [Self::PowerMany, Self::BitFlip];

    /// Draws the kinds of a run: each with the same chance, lossy ones in few runs.
    pub fn draw(rng: &mut fastrand::Rng) -> Vec<Self> {
        let chance = [0.2, 0.5, 0.9][rng.usize(..3)];
        let lossy = rng.u8(..5) == 0;
        let mut kinds: Vec<Self> = Self::ALL
            .into_iter()
            .filter(|kind| (lossy || !Self::LOSSY.contains(kind)) && rng.f64() < chance)
            .collect();
        if kinds.is_empty() {
            kinds.push(Self::KillOne);
        }
        kinds
    }

    /// Its name on the command line and in stories.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillOne => "kill-one",
            Self::KillMajority => "kill-majority",
            Self::KillAll => "kill-all",
            Self::PowerOne => "power-one",
            Self::PowerMany => "power-many",
            Self::LongAway => "long-away",
            Self::Pause => "pause",
            Self::PartitionOne => "partition-one",
            Self::PartitionRing => "partition-ring",
            Self::PartitionOneWay => "partition-one-way",
            Self::PartitionClients => "partition-clients",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::ClockJump => "clock-jump",
            Self::ClockDrift => "clock-drift",
            Self::DiskSlow => "disk-slow",
            Self::DiskFull => "disk-full",
            Self::DiskReadOnly => "disk-read-only",
            Self::SyncFails => "sync-fails",
            Self::BitFlip => "bit-flip",
            Self::RollingRestart => "rolling-restart",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("no fault is named '{text}'; known are {}", names.join(", "))
        })
    }
}
