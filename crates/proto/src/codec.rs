//! What every record's codec shares: the versioned form, the bounded reader, the tagged fields (KIP-482).
//!
//! Generated code says which field comes when; this module says how a value looks. A count is
//! believed only as far as the remaining bytes could hold it, and vectors grow as elements arrive.

mod error;
mod reader;
#[cfg(test)]
pub(crate) mod tests;
mod values;

use std::ops::RangeInclusive;

pub use error::{DecodeError, EncodeError};
pub use reader::Reader;
pub use values::{Float64, put_varint};
pub(crate) use values::{get_null_from, put_null_from};

/// Most elements an array may have, as in Kafka 4.4. Our largest are a few thousand.
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;
/// Most tagged fields a struct may have, as in Kafka 4.4. Ours have nine.
pub const TAGS_MAX: usize = 10_000;
/// Longest string: its length is an `int16` in the older form, and Kafka holds both to that.
pub const STRING_BYTES_MAX: usize = 0x7fff;

/// How a value is written: its record's version, and whether that version is flexible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The record's version.
    pub version: i16,
    /// Compact lengths and tagged fields.
    pub flexible: bool,
}

impl Form {
    pub(crate) fn lacks(self, record: &'static str, field: &'static str) -> EncodeError {
        EncodeError::Lacks { record, field, version: self.version }
    }
}

/// A value with a place in a record.
pub trait Wire: Sized {
    /// The fewest bytes one takes, so that a count can be judged before anything is read.
    const SIZE_MIN: usize;

    /// Appends it.
    fn put(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Takes one from the front.
    fn get(form: Form, reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// A whole record: a [`Wire`] value with versions of its own.
pub trait Message: Wire {
    /// Kafka's name for it.
    const NAME: &'static str;
    /// The versions that exist.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version.
    const FLEXIBLE_FROM: Option<i16>;

    /// The form of one version; `None` when there is no such version.
    fn form(version: i16) -> Option<Form> {
        let flexible = Self::FLEXIBLE_FROM.is_some_and(|from| version >= from);
        Self::VERSIONS.contains(&version).then_some(Form { version, flexible })
    }

    /// Appends the record in `version`. On an error, what was appended is taken back.
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let form = Self::form(version).ok_or(EncodeError::Version { record: Self::NAME, version })?;
        let start = out.len();
        self.put(form, out).inspect_err(|_| out.truncate(start))
    }

    /// Reads a record that fills `bytes` to their end.
    fn decode(version: i16, bytes: &[u8]) -> Result<Self, DecodeError> {
        let unknown = || DecodeError::Version { record: Self::NAME, version, known: Self::VERSIONS };
        let form = Self::form(version).ok_or_else(unknown)?;
        let mut reader = Reader::new(bytes);
        let read = Self::get(form, &mut reader).and_then(|message| reader.finish().map(|()| message));
        read.map_err(|cause| DecodeError::Record { record: Self::NAME, version, cause: Box::new(cause) })
    }
}

/// Tagged fields on their way out, in ascending order of tag.
#[derive(Default)]
pub(crate) struct Tags {
    count: u32,
    bytes: Vec<u8>,
}

impl Tags {
    pub(crate) fn put(&mut self, tag: u32, value: &impl Wire, form: Form) -> Result<(), EncodeError> {
        let mut field = Vec::new();
        value.put(form, &mut field)?;
        put_varint(tag, &mut self.bytes);
        put_varint(values::length(field.len())?, &mut self.bytes);
        self.bytes.extend_from_slice(&field);
        self.count += 1;
        Ok(())
    }

    pub(crate) fn finish(self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if form.flexible {
            put_varint(self.count, out);
            out.extend_from_slice(&self.bytes);
        }
        Ok(())
    }
}
