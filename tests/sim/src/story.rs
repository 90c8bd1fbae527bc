//! What to tell of a seed that failed: the faults, what broke, what each node knew then.

use std::fmt;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::faults::FaultLog;
use crate::watch::{Verdict, Watch};

/// A story.
#[derive(Debug)]
pub struct Story(String);

impl Story {
    /// Tells it.
    pub fn tell(
        seed: u64,
        _begun: Instant,
        cluster: &Cluster,
        faults: &FaultLog,
        watch: &Watch,
        verdict: &Verdict,
    ) -> Self {
        let mut told = format!("\nseed {seed}\n  {:?}\n", cluster.shape);
        for (at, event) in &faults.events {
            told += &format!("  {:>7} ms  {event}\n", at.get());
        }
        for violation in &verdict.violations {
            told += &format!("  VIOLATED: {violation}\n");
        }
        told += "  what each node held then:\n";
        for view in watch.picture() {
            told += &format!("    {view:?}\n");
        }
        Self(told)
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
