//! The servers that are compared: where they come from, how their nodes are started, stopped and measured.

mod cluster;
mod process;
mod software;

pub use cluster::Cluster;
pub use process::own_cpu_seconds;
pub use software::Software;

/// A server that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// Apache Kafka 4.3.1.
    Kafka,
    /// This broker.
    Kastle,
    /// The least that could do.
    Floor,
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka 4.3.1",
            Self::Kastle => "Kastle",
            Self::Floor => "floor",
        }
    }
}
