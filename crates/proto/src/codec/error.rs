//! Why bytes are no record, or a record has no bytes.

use std::ops::RangeInclusive;

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("at byte {at}: needs {needed} more bytes, {left} are left")]
    Truncated {
        /// Where the value begins.
        at: usize,
        /// What it takes.
        needed: usize,
        /// What there is.
        left: usize,
    },
    /// More bytes than the value takes.
    #[error("at byte {at}: {left} bytes are left over")]
    Trailing {
        /// Where the value ends.
        at: usize,
        /// What follows it.
        left: usize,
    },
    /// A length or count below what means null.
    #[error("at byte {at}: a length of {length}")]
    Negative {
        /// Where it stands.
        at: usize,
        /// As read.
        length: i64,
    },
    /// A count that the remaining bytes cannot hold, or beyond its bound.
    #[error("at byte {at}: a count of {count} where at most {max} fit")]
    Count {
        /// Where it stands.
        at: usize,
        /// As read.
        count: usize,
        /// The most that can be.
        max: usize,
    },
    /// Null where a value must be.
    #[error("at byte {at}: null where it is not allowed")]
    Null {
        /// Where it stands.
        at: usize,
    },
    /// A variable-length number that does not end within its five bytes, or overflows 32 bits.
    #[error("at byte {at}: a variable-length number beyond 32 bits")]
    Varint {
        /// Where it begins.
        at: usize,
    },
    /// Text that is not UTF-8.
    #[error("at byte {at}: a string that is not UTF-8")]
    Utf8 {
        /// Where it begins.
        at: usize,
    },
    /// A frame version other than 1 (KIP-631).
    #[error("the record's frame has version {got}, known is 1")]
    Frame {
        /// As read.
        got: u32,
    },
    /// A record type that this build does not know.
    #[error("record type {key} is unknown here; a newer release may have written it: run that release")]
    Type {
        /// As read.
        key: i16,
    },
    /// A record in a version that this build does not know.
    #[error("{record} in version {version} is unknown here (known: {} to {}); a newer release may have written it: run that release", known.start(), known.end())]
    Version {
        /// The record's name.
        record: &'static str,
        /// As read.
        version: i16,
        /// What is known.
        known: RangeInclusive<i16>,
    },
    /// What is wrong within a known record.
    #[error("{record} in version {version}: {cause}")]
    Record {
        /// The record's name.
        record: &'static str,
        /// Its version.
        version: i16,
        /// What is wrong.
        cause: Box<DecodeError>,
    },
}

/// Why a record cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// There is no such version of the record.
    #[error("{record} has no version {version}")]
    Version {
        /// The record's name.
        record: &'static str,
        /// As asked for.
        version: i16,
    },
    /// The version has no such field, and the record needs it.
    #[error("{record} needs {field}, which version {version} lacks")]
    Lacks {
        /// The record's name.
        record: &'static str,
        /// The field.
        field: &'static str,
        /// As asked for.
        version: i16,
    },
    /// Null where the version does not allow it.
    #[error("null where version {version} does not allow it")]
    Null {
        /// As asked for.
        version: i16,
    },
    /// Longer than its length field, or its bound, can say.
    #[error("a value of {length} bytes or elements, at most {max} can be written")]
    Long {
        /// What it has.
        length: usize,
        /// The bound.
        max: usize,
    },
    /// A metadata.version that this build does not know.
    #[error("metadata.version {level} is unknown here (known: {min} to {max})", min = crate::metadata::MetadataVersion::MINIMUM, max = crate::metadata::MetadataVersion::LATEST)]
    Level {
        /// As asked for.
        level: i16,
    },
}
