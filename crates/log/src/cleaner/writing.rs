//! A segment that is to take the place of others, written beside them.
//!
//! Its files are named `.cleaned` and are durable before anybody hears of it: what a crash
//! leaves of them is removed when the log is opened. The swap itself is the log's
//! (`partition/compact.rs`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::batch::BatchHeader;

use crate::cleaner::{CleaningError, Picture, Source};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::segment::{CLEANED_SUFFIX, LOG_SUFFIX, SEGMENT_SUFFIXES, Segment, file_name};
use crate::transactions::Aborted;

/// A segment under way.
pub(super) struct Writing {
    segment: Segment,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    index_interval: u32,
}

/// A segment that is whole and durable, under a name that nobody reads.
pub struct Cleaned {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) segment: Segment,
    /// What it replaces, in order.
    pub(crate) sources: Vec<Source>,
    /// How often the log had been cut when the pass began.
    pub(crate) cuts: u64,
}

impl Writing {
    /// Begins a segment in place of those from `first` on.
    pub(super) fn begin(picture: &Picture, first: Source) -> Result<Self, CleaningError> {
        let path = beside(&picture.dir, first, LOG_SUFFIX);
        let file = picture.disk.open(&path, OpenMode::ReadWrite).and_then(|file| {
            file.truncate(0)?;
            Ok(file)
        });
        let file = file.map_err(CleaningError::writing(&path))?;
        Ok(Self {
            segment: Segment::new(first.base, 0),
            file,
            path,
            dir: picture.dir.clone(),
            disk: picture.disk.clone(),
            index_interval: picture.options.index_interval_bytes,
        })
    }

    /// Appends batches, whose headers these are.
    pub(super) fn append(&mut self, bytes: &[u8], headers: &[BatchHeader]) -> Result<(), CleaningError> {
        if u64::from(self.segment.size) + bytes.len() as u64 > i32::MAX as u64 {
            // Times relative to a delete horizon may take a few bytes more than before.
            let error = io::Error::other("the cleaned segment would exceed 2 GiB; lower segment.bytes");
            return Err(CleaningError::Unreadable { path: self.path.clone(), source: error });
        }
        let at = u64::from(self.segment.size);
        self.file.write_at(bytes, at).map_err(CleaningError::writing(&self.path))?;
        for header in headers {
            self.segment.note(header, header.max_timestamp, self.index_interval);
        }
        Ok(())
    }

    /// Makes it durable, with its indexes and names.
    pub(super) fn finish(
        mut self,
        sources: Vec<Source>,
        cuts: u64,
        aborted: Vec<Aborted>,
    ) -> Result<Cleaned, CleaningError> {
        aborted.into_iter().for_each(|aborted| self.segment.aborted.push(aborted));
        let written = self.file.sync().and_then(|()| {
            self.segment.write_indexes_as(self.disk.as_ref(), &self.dir, CLEANED_SUFFIX)?;
            self.disk.sync_dir(&self.dir)
        });
        written.map_err(CleaningError::writing(&self.path))?;
        self.segment.unload_indexes();
        let Self { segment, dir, disk, .. } = self;
        Ok(Cleaned { disk, dir, segment, sources, cuts })
    }

    /// Throws it away.
    pub(super) fn discard(self) {
        discard(self.disk.as_ref(), &self.dir, &self.segment);
    }
}

impl Cleaned {
    /// Throws it away, unless it was swapped in. What cannot be removed now goes when the log is opened.
    pub fn discard(self) {
        discard(self.disk.as_ref(), &self.dir, &self.segment);
    }

    /// Makes its names durable; see `Log::finish_swap`.
    pub fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.dir)
    }
}

fn beside(dir: &Path, source: Source, suffix: &str) -> PathBuf {
    dir.join(file_name(source.base, suffix) + CLEANED_SUFFIX)
}

fn discard(disk: &dyn Disk, dir: &Path, segment: &Segment) {
    let source = Source { base: segment.base, size: 0 };
    for suffix in SEGMENT_SUFFIXES {
        let _ = disk.remove_file(&beside(dir, source, suffix));
    }
}
