//! Up to where each log was cleaned: `cleaner-offset-checkpoint` in every log directory.
//!
//! The file names topics, a log belongs to a topic's id: a line is taken over once, by the
//! first partition of its name, and a partition that goes takes its line along. A line
//! that is missing or too low costs a pass, nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::checkpoint::{self, CLEANED, Lines};
use model::{Offset, TopicPartition};

use crate::data::partition::{Key, Partition};
use crate::data::plane::Plane;

/// What is known of one log.
struct Line {
    dir: usize,
    name: TopicPartition,
    offset: Offset,
}

/// Offsets by partition.
pub struct CleanedOffsets {
    lines: BTreeMap<Key, Line>,
    /// As read at the start, by log directory; nobody's yet.
    found: Vec<Lines>,
}

impl CleanedOffsets {
    /// Reads the checkpoints; one that cannot be read counts as empty.
    pub fn read(plane: &Plane) -> Self {
        let dirs = plane.options.log_dirs.iter();
        let found = dirs.map(|(dir, _)| {
            let lines = checkpoint::read(plane.options.disk.as_ref(), dir, CLEANED);
            lines.unwrap_or_else(|error| {
                tracing::warn!(dir = %dir.display(), %error, "what was cleaned is not known; it will be again");
                Lines::new()
            })
        });
        Self { lines: BTreeMap::new(), found: found.collect() }
    }

    /// Forgets the partitions that are gone, and finds the lines of new ones.
    pub fn follow(&mut self, partitions: &[Arc<Partition>]) {
        if !self.lines.is_empty() {
            let is_there = |key: &Key| partitions.binary_search_by_key(key, |it| it.key).is_ok();
            self.lines.retain(|key, _| is_there(key));
        }
        if self.found.iter().all(BTreeMap::is_empty) {
            return;
        }
        for partition in partitions {
            let dir = partition.look().dir;
            if let Some(offset) = self.found.get_mut(dir).and_then(|found| found.remove(&partition.name)) {
                let name = partition.name.clone();
                self.lines.entry(partition.key).or_insert(Line { dir, name, offset });
            }
        }
    }

    /// Up to where a log was cleaned.
    pub fn of(&self, key: Key) -> Option<Offset> {
        self.lines.get(&key).map(|line| line.offset)
    }

    /// A log was cleaned up to `offset`.
    pub fn set(&mut self, partition: &Partition, offset: Offset) {
        let line = Line { dir: partition.look().dir, name: partition.name.clone(), offset };
        self.lines.insert(partition.key, line);
    }

    /// Writes the checkpoints that changed.
    pub async fn write(&mut self, plane: &Arc<Plane>) {
        if plane.options.broker.get().unfenced {
            // By now every partition of this node is known: what nobody took is of topics that are gone.
            self.found.iter_mut().for_each(Lines::clear);
        }
        let mut dirs = self.found.clone();
        for line in self.lines.values() {
            if let Some(lines) = dirs.get_mut(line.dir) {
                lines.insert(line.name.clone(), line.offset);
            }
        }
        let plane = plane.clone();
        let blocking = plane.options.blocking.clone();
        let work = move || {
            for (at, (dir, lines)) in plane.options.log_dirs.iter().zip(&dirs).enumerate() {
                if plane.failed_dirs.contains(at) || !plane.checkpoints.is_new(CLEANED, &dir.0, lines) {
                    continue;
                }
                if let Err(error) = checkpoint::write(plane.options.disk.as_ref(), &dir.0, CLEANED, lines) {
                    tracing::warn!(dir = %dir.0.display(), %error, "what was cleaned cannot be written down");
                }
            }
        };
        blocking.run(work).await;
    }
}
