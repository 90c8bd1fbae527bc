//! Directories of deleted replicas and files of deleted segments: renamed at once, removed after a while.
//!
//! A rename is quick and frees the name; removing gigabytes is not. The delay
//! (`file.delete.delay.ms`) lets reads under way finish from the open files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use log::Disk;
use model::{Millis, TopicPartition};

/// A directory with this suffix is removed at the next chance.
pub const DELETE_SUFFIX: &str = "-delete";
/// A directory with this suffix belonged to no partition of this node; an operator decides.
pub const STRAY_SUFFIX: &str = "-stray";
/// What a file system takes.
const NAME_BYTES_MAX: usize = 255;

/// What waits for its removal.
pub struct Attic {
    doomed: Mutex<Vec<(Millis, PathBuf)>>,
    rng: Mutex<fastrand::Rng>,
}

impl Attic {
    /// An empty one; names are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { doomed: Mutex::default(), rng: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// A new name for a partition's directory: `<topic>-<partition>.<32 hex digits><suffix>`. A long
    /// topic name is cut, as Kafka does.
    pub fn name(&self, partition: &TopicPartition, suffix: &str) -> String {
        let drawn = self.rng.lock().unwrap_or_else(PoisonError::into_inner).u128(..);
        let tail = format!("-{}.{drawn:032x}{suffix}", partition.partition);
        let topic = partition.topic.as_str();
        let room = topic.len().min(NAME_BYTES_MAX - tail.len());
        format!("{}{tail}", &topic[..room])
    }

    /// Removes `path` when `due` has come.
    pub fn doom(&self, due: Millis, path: PathBuf) {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).push((due, path));
    }

    /// Takes out what is due.
    pub fn take_due(&self, now: Millis) -> Vec<PathBuf> {
        let mut doomed = self.doomed.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, later) = doomed.drain(..).partition(|(due, _)| *due <= now);
        *doomed = later;
        due.into_iter().map(|(_, path): (Millis, PathBuf)| path).collect()
    }
}

/// Gives a partition's directory another name beside its own.
pub fn rename(disk: &dyn Disk, from: &Path, name: &str) -> io::Result<PathBuf> {
    let to = from.with_file_name(name);
    disk.rename(from, &to)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use model::{Millis, PartitionIndex, TopicName, TopicPartition};

    use super::{Attic, DELETE_SUFFIX};

    #[test]
    fn a_deleted_directory_has_kafkas_name_and_fits_a_file_system() {
        let attic = Attic::new(1);
        for topic in ["orders", &"t".repeat(249)] {
            let topic = TopicName::new(topic).expect("legal");
            let name =
                attic.name(&TopicPartition { topic, partition: PartitionIndex::new(7) }, DELETE_SUFFIX);
            assert!(name.len() <= 255 && name.ends_with("-delete"), "{name}");
            let (head, tail) = name.split_once('.').expect("a dot before the drawn part");
            assert!(head.ends_with("-7") && tail.len() == 32 + "-delete".len(), "{name}");
        }
    }

    #[test]
    fn what_is_due_is_taken_once() {
        let attic = Attic::new(1);
        attic.doom(Millis::new(5), PathBuf::from("/a"));
        attic.doom(Millis::new(9), PathBuf::from("/b"));
        assert_eq!(attic.take_due(Millis::new(5)), [PathBuf::from("/a")]);
        assert!(attic.take_due(Millis::new(5)).is_empty());
    }
}
