//! One partition of the floor: a file, and where each batch begins.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

/// A partition.
pub struct Partition {
    /// Its records.
    pub file: Arc<File>,
    /// The next offset.
    pub end: i64,
    size: u64,
    /// First offset and place of each batch.
    batches: Vec<(i64, u64)>,
}

impl Partition {
    /// An empty one.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::options().create_new(true).read(true).write(true).open(path)?;
        Ok(Self { file: Arc::new(file), end: 0, size: 0, batches: Vec::new() })
    }

    /// Gives a checked batch its offset and writes it; the offset.
    pub fn append(&mut self, batch: &mut [u8]) -> Result<i64> {
        let base = self.end;
        batch[..8].copy_from_slice(&base.to_be_bytes());
        batch[12..16].copy_from_slice(&0i32.to_be_bytes());
        let last = i32::from_be_bytes(*batch[23..].first_chunk().context("a last offset")?);
        ensure!(last >= 0, "a batch without records");
        self.file.write_all_at(batch, self.size)?;
        self.batches.push((base, self.size));
        self.size += batch.len() as u64;
        self.end = base + i64::from(last) + 1;
        Ok(base)
    }

    /// Where the whole batches from `offset` on lie, about `bytes_max` bytes of them.
    pub fn range(&self, offset: i64, bytes_max: u64) -> Range<u64> {
        let first = self.batches.partition_point(|&(base, _)| base <= offset).saturating_sub(1);
        let Some(&(_, start)) = self.batches.get(first).filter(|_| offset < self.end) else {
            return self.size..self.size;
        };
        let behind = self.batches.partition_point(|&(_, place)| place <= start + bytes_max);
        let most = self.batches.get(behind).map_or(self.size, |_| self.batches[behind - 1].1);
        let end =
            if most > start + bytes_max || most <= start { self.size.min(start + bytes_max) } else { most };
        start..end
    }
}
