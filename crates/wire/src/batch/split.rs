//! A buffer of consecutive batches, one at a time.

use crate::batch::header::{BatchError, BatchHeader, CRC_FROM};
use crate::batch::records::Records;
use crate::codec::CodecError;

/// One batch within a buffer.
#[derive(Clone, Copy, Debug)]
pub struct BatchRef<'a> {
    /// Its header.
    pub header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchRef<'a> {
    /// The batch at the front of `bytes`, which may go on behind it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        Self::of(BatchHeader::parse(bytes)?, bytes)
    }

    /// As [`parse`](Self::parse), with [`BatchHeader::parse_unchecked`].
    pub fn parse_unchecked(bytes: &'a [u8]) -> Result<Self, BatchError> {
        Self::of(BatchHeader::parse_unchecked(bytes)?, bytes)
    }

    fn of(header: BatchHeader, bytes: &'a [u8]) -> Result<Self, BatchError> {
        match bytes.get(..header.size_bytes) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(BatchError::Partial { needed: header.size_bytes, got: bytes.len() }),
        }
    }

    /// All of it, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Holds the CRC against the bytes.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[CRC_FROM..]);
        if computed == self.header.crc {
            return Ok(());
        }
        let base_offset = self.header.base_offset.get();
        Err(BatchError::Crc { base_offset, got: self.header.crc, computed })
    }

    /// The records, decompressed into at most `output_max` bytes.
    pub fn records(&self, output_max: usize) -> Result<Records<'a>, CodecError> {
        Records::of(self, output_max)
    }
}

/// The batches of a buffer, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The batches that `bytes` consists of.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = BatchRef::parse(self.rest);
        self.rest = match &next {
            Ok(batch) => &self.rest[batch.bytes.len()..],
            Err(_) => &[],
        };
        Some(next)
    }
}
