//! A segment read from its beginning to its end, some whole batches at a time.
//!
//! Every CRC is checked: what is written anew gets a new one, and must not make a flipped
//! bit look sound.

use std::path::PathBuf;
use std::sync::Arc;

use model::Offset;
use wire::batch::{BatchError, BatchHeader, Batches, HEADER_BYTES};

use crate::cleaner::{CleaningError, Picture, Source};
use crate::disk::{DiskFile, OpenMode};
use crate::segment::{LOG_SUFFIX, file_name};

/// No request is as large, and no batch of one: a length above is damage, and asks for no memory.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// Where in a segment a pass is.
pub(super) struct Reading {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    position: u32,
    /// Where the batches at hand begin.
    chunk_at: u32,
    end: u32,
    /// The offset after the last batch.
    next_offset: Offset,
    buffer: Vec<u8>,
}

impl Reading {
    /// Begins with a segment of `picture`.
    pub(super) fn begin(picture: &Picture, source: Source) -> Result<Self, CleaningError> {
        let path = picture.dir.join(file_name(source.base, LOG_SUFFIX));
        let file = picture.disk.open(&path, OpenMode::Read).map_err(CleaningError::reading(&path))?;
        let next_offset = source.base;
        Ok(Self { file, path, position: 0, chunk_at: 0, end: source.size, next_offset, buffer: Vec::new() })
    }

    /// Whether all of it was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.position >= self.end
    }

    /// The next whole batches, as many as fit `bytes` and one at least; nothing at the end.
    pub(super) fn next(&mut self, bytes: usize) -> Result<&[u8], CleaningError> {
        let left = (self.end - self.position) as usize;
        if left == 0 {
            return Ok(&[]);
        }
        self.fill(bytes.max(HEADER_BYTES).min(left))?;
        let first = BatchHeader::parse(&self.buffer).map_err(|error| self.damaged(self.position, &error))?;
        if first.size_bytes > left {
            let error = BatchError::Partial { needed: first.size_bytes, got: left };
            return Err(self.damaged(self.position, &error));
        }
        if first.size_bytes > BATCH_BYTES_MAX {
            let reason = format!("a batch of {} bytes, more than {BATCH_BYTES_MAX}", first.size_bytes);
            return Err(self.damaged(self.position, &reason));
        }
        if first.size_bytes > self.buffer.len() {
            self.fill(first.size_bytes)?;
        }
        let len = self.check()?;
        self.chunk_at = self.position;
        self.position += len as u32;
        Ok(&self.buffer[..len])
    }

    /// Where the batches that were read last begin.
    pub(super) fn chunk_at(&self) -> u32 {
        self.chunk_at
    }

    /// Names what is wrong at `position`.
    pub(super) fn damaged(&self, position: u32, reason: &impl ToString) -> CleaningError {
        let (path, after) = (self.path.clone(), self.next_offset);
        CleaningError::Damaged { path, position, after, reason: reason.to_string() }
    }

    fn fill(&mut self, len: usize) -> Result<(), CleaningError> {
        self.buffer.resize(len, 0);
        let read = self.file.read_at(&mut self.buffer, u64::from(self.position));
        let read = read.map_err(CleaningError::reading(&self.path))?;
        if read < len {
            let error = BatchError::Partial { needed: len, got: read };
            return Err(self.damaged(self.position, &error));
        }
        Ok(())
    }

    /// The length of the whole batches in the buffer, which follow each other with right CRCs.
    fn check(&mut self) -> Result<usize, CleaningError> {
        let mut len = 0;
        for batch in Batches::new(&self.buffer) {
            let position = self.position + len as u32;
            let batch = match batch {
                Ok(batch) => batch,
                Err(BatchError::Partial { .. }) => break,
                Err(error) => return Err(self.damaged(position, &error)),
            };
            batch.check_crc().map_err(|error| self.damaged(position, &error))?;
            if batch.header.base_offset < self.next_offset {
                let reason = format!("a batch begins at offset {}", batch.header.base_offset);
                return Err(self.damaged(position, &reason));
            }
            self.next_offset = batch.header.next_offset();
            len += batch.bytes().len();
        }
        Ok(len)
    }
}
