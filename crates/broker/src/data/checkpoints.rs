//! The checkpoints of the log directories: which were written last, so that an idle node writes none,
//! and taking the lines of logs out that go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::Disk;
use log::checkpoint::{self, Lines, OF_EACH_LOG};
use model::TopicPartition;

/// The last content of each checkpoint, as a digest.
#[derive(Default)]
pub struct Checkpoints {
    written: Mutex<BTreeMap<(&'static str, PathBuf), u64>>,
    writing: Mutex<()>,
}

impl Checkpoints {
    /// Keeps others from writing a checkpoint until it is dropped.
    pub fn write_alone(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `lines` differ from what was written last; notes them as written.
    pub fn is_new(&self, name: &'static str, dir: &Path, lines: &Lines) -> bool {
        let digest = digest(lines);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert((name, dir.to_owned()), digest) != Some(digest)
    }

    /// Takes out what the checkpoints of `dir` say of logs that go. A later log of the same name would be
    /// taken for durable, for committed and for deleted up to where the old one was.
    pub fn forget(&self, disk: &dyn Disk, dir: &Path, gone: &BTreeSet<TopicPartition>) {
        let _alone = self.write_alone();
        for name in OF_EACH_LOG {
            let mut lines = checkpoint::read(disk, dir, name).unwrap_or_default();
            let before = lines.len();
            lines.retain(|partition, _| !gone.contains(partition));
            if lines.len() == before {
                continue;
            }
            if let Err(error) = checkpoint::write(disk, dir, name, &lines) {
                tracing::warn!(dir = %dir.display(), name, %error, "a checkpoint cannot be written");
            }
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.remove(&(name, dir.to_owned()));
        }
    }
}

/// FNV-1a, 64 bits: equal digests of different content only delay a checkpoint.
fn digest(lines: &Lines) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for (partition, offset) in lines {
        eat(partition.topic.as_str().as_bytes());
        eat(&partition.partition.get().to_be_bytes());
        eat(&offset.get().to_be_bytes());
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use log::checkpoint::Lines;
    use model::{Offset, PartitionIndex, TopicName, TopicPartition};

    use super::Checkpoints;

    #[test]
    fn only_what_changed_is_new() {
        let topic = TopicName::new("t").expect("legal");
        let partition = TopicPartition { topic, partition: PartitionIndex::new(0) };
        let (checkpoints, dir) = (Checkpoints::default(), Path::new("/d"));
        let mut lines = Lines::new();
        assert!(checkpoints.is_new("a", dir, &lines));
        lines.insert(partition, Offset::new(3));
        assert!(checkpoints.is_new("a", dir, &lines));
        assert!(!checkpoints.is_new("a", dir, &lines));
        assert!(checkpoints.is_new("b", dir, &lines));
    }
}
