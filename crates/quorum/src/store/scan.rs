//! Reads a segment batch by batch and checks each: size, checksum, offsets, epochs.

use std::io;

use log::disk::DiskFile;
use model::{LeaderEpoch, Offset};

use super::batch::{self, BATCH_BYTES_MAX, Header};

/// Read at one time; a larger batch makes the buffer grow to its size.
const CHUNK_BYTES: usize = 1 << 20;

/// How a scan came to its end.
pub(crate) enum ScanEnd {
    /// The file ends with a whole batch.
    Clean,
    /// What follows is no batch, or not the next one.
    Bad(String),
}

/// A walk over one file.
pub(crate) struct Scan<'a> {
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    /// Where in the file `buffer` begins.
    buffer_at: u64,
    position: u64,
    expected: Offset,
    epoch: Option<LeaderEpoch>,
    end: ScanEnd,
}

impl<'a> Scan<'a> {
    /// Starts at the beginning of `file`, whose first batch must have base offset `expected`.
    pub(crate) fn new(file: &'a dyn DiskFile, expected: Offset, epoch: Option<LeaderEpoch>) -> Self {
        Self { file, buffer: Vec::new(), buffer_at: 0, position: 0, expected, epoch, end: ScanEnd::Clean }
    }

    /// The next batch's header and its place; `None` at the end, good or bad.
    pub(crate) fn next_header(&mut self) -> io::Result<Option<(Header, u64)>> {
        let position = self.position;
        let bytes = self.fill(batch::HEADER_BYTES)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let checked = match batch::total_length(bytes) {
            Ok(length) if length <= BATCH_BYTES_MAX => {
                let bytes = self.fill(length)?;
                if bytes.len() < length {
                    Err(format!("the file ends {} bytes into a batch of {length}", bytes.len()))
                } else {
                    batch::check(&bytes[..length]).map_err(|error| error.to_string())
                }
            }
            Ok(length) => Err(format!("a batch of {length} bytes, at most {BATCH_BYTES_MAX} are written")),
            Err(error) => Err(error.to_string()),
        };
        match checked.and_then(|header| self.check_order(header)) {
            Ok(header) => {
                self.position += header.length as u64;
                self.expected = self.expected.plus(i64::from(header.records));
                self.epoch = Some(header.epoch);
                Ok(Some((header, position)))
            }
            Err(cause) => {
                self.end = ScanEnd::Bad(cause);
                Ok(None)
            }
        }
    }

    /// The bytes of the batch that `next_header` just answered.
    pub(crate) fn bytes_of(&self, header: &Header, position: u64) -> &[u8] {
        let at = usize::try_from(position - self.buffer_at).expect("still in the buffer");
        &self.buffer[at..at + header.length]
    }

    fn check_order(&self, header: Header) -> Result<Header, String> {
        if header.base_offset != self.expected {
            return Err(format!("a batch of offset {}, expected {}", header.base_offset, self.expected));
        }
        match self.epoch {
            Some(before) if header.epoch < before => {
                Err(format!("a batch of epoch {} after one of epoch {before}", header.epoch))
            }
            _ => Ok(header),
        }
    }

    /// Bytes at the current position, `wanted` of them unless the file ends before.
    fn fill(&mut self, wanted: usize) -> io::Result<&[u8]> {
        let skip = usize::try_from(self.position - self.buffer_at).expect("within the buffer");
        if self.buffer.len() - skip < wanted {
            self.buffer.drain(..skip);
            self.buffer_at = self.position;
            let kept = self.buffer.len();
            self.buffer.resize(wanted.max(CHUNK_BYTES), 0);
            let count = self.file.read_at(&mut self.buffer[kept..], self.buffer_at + kept as u64)?;
            self.buffer.truncate(kept + count);
            return Ok(&self.buffer);
        }
        Ok(&self.buffer[skip..])
    }

    /// Bytes of whole, good batches so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// How it ended, after `next_header` answered `None`.
    pub(crate) fn end(self) -> ScanEnd {
        self.end
    }
}
