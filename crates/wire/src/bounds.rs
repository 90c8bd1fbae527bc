//! What a message's bytes may claim, checked before they are decoded.
//!
//! The message library allocates whatever length the wire claims: six bytes can
//! abort the process. So nothing reaches it before this walk has followed the
//! whole body by its shape (`bounds/shapes.txt`) and found every count and length
//! within what the remaining bytes can hold, every text UTF-8, every tagged field
//! as long as it says. The walk allocates nothing.
//!
//! Decoded, a message is larger than on the wire: an empty string is one byte
//! there and 32 here. The walk therefore also adds up the memory that decoding
//! will take, and refuses more than [`request_memory_max`].

mod shape;

use shape::{Direction, Field, Kind, Layout};

use crate::api::ApiKey;

/// Most elements of one array; Kafka 4.4 draws the same line.
pub const ELEMENTS_MAX: usize = 1_000_000;
/// Most tagged fields of one structure; Kafka 4.4 draws the same line.
pub const TAGGED_FIELDS_MAX: usize = 10_000;

/// A request decodes to at most this many times its size.
const REQUEST_GROWTH_MAX: usize = 4;
/// A response may grow more: partitions without records, or with one replica, are small on the wire, and it
/// comes from an address that we chose.
const RESPONSE_GROWTH_MAX: usize = 8;
/// Beyond its growth any message may take this much, which is what the largest frame of an unauthenticated
/// client may: lists of short names grow up to 24-fold, and must stay legal up to 100,000 of them.
const MEMORY_ALLOWANCE: usize = REQUEST_GROWTH_MAX * crate::frame::FRAME_BYTES_MAX_UNAUTHENTICATED;

/// What the library keeps of unknown tagged fields: a B-tree node of eleven, then nodes at least half full.
const TAG_NODE_BYTES: usize = 408;
const TAG_NODE_ENTRIES: usize = 11;
const TAG_BYTES_OF_MANY: usize = 112;

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    /// There is no shape to check it against.
    #[error("no {api:?} of version {version} is known")]
    Unknown {
        /// Its API.
        api: ApiKey,
        /// Its version.
        version: i16,
    },
    /// The body ends inside a field.
    #[error("{needed} bytes are needed from {field} on, {left} are left")]
    Truncated {
        /// The field.
        field: &'static str,
        /// What it takes, at least.
        needed: usize,
        /// What there is.
        left: usize,
    },
    /// A length or count below -1.
    #[error("{field} has the length {length}")]
    Negative {
        /// The field.
        field: &'static str,
        /// Its length.
        length: i32,
    },
    /// Null where null is not allowed.
    #[error("{field} is null")]
    Null {
        /// The field.
        field: &'static str,
    },
    /// More elements than the rest can hold, or than any array may.
    #[error("{field} claims {count} elements; {left} bytes are left and at most {ELEMENTS_MAX} are accepted")]
    Elements {
        /// The field.
        field: &'static str,
        /// What it claims.
        count: usize,
        /// The bytes that would have to hold them.
        left: usize,
    },
    /// More tagged fields than any structure may have.
    #[error("a structure claims {count} tagged fields, at most {TAGGED_FIELDS_MAX} are accepted")]
    TaggedFields {
        /// What it claims.
        count: usize,
    },
    /// A known tagged field is not as long as it says.
    #[error("the tagged field {field} says it has {said} bytes and has {had}")]
    TaggedLength {
        /// The field.
        field: &'static str,
        /// What it says.
        said: usize,
        /// What it takes.
        had: usize,
    },
    /// A string that is not UTF-8.
    #[error("{field} is not UTF-8")]
    Text {
        /// The field.
        field: &'static str,
    },
    /// A number that does not end within five bytes, or exceeds 32 bits.
    #[error("a variable-length number at {field} is no 32-bit number")]
    Varint {
        /// The field.
        field: &'static str,
    },
    /// A presence byte that is neither 1 nor -1.
    #[error("{field} begins with {byte}, neither present (1) nor null (-1)")]
    Presence {
        /// The field.
        field: &'static str,
        /// What stands there.
        byte: i8,
    },
    /// Decoding it would take too much memory.
    #[error(
        "decoding {field} would take {needed} bytes of memory, {allowed} are allowed for {body} on the wire"
    )]
    Memory {
        /// The field at which it became too much.
        field: &'static str,
        /// What it takes up to there.
        needed: usize,
        /// What is allowed.
        allowed: usize,
        /// The body's size.
        body: usize,
    },
    /// Bytes behind a response.
    #[error("{left} bytes follow the message")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// The memory that decoding a request of that size may take, the frame itself not counted.
pub const fn request_memory_max(body: usize) -> usize {
    body.saturating_mul(REQUEST_GROWTH_MAX).saturating_add(MEMORY_ALLOWANCE)
}

/// The memory that decoding a response of that size may take, the frame itself not counted.
pub const fn response_memory_max(body: usize) -> usize {
    body.saturating_mul(RESPONSE_GROWTH_MAX).saturating_add(MEMORY_ALLOWANCE)
}

/// Walks a request's body: `Ok` if it may be decoded. Returns the memory that this takes at most.
/// Bytes behind the message are ignored, as Kafka does: librdkafka sends three too many with
/// Metadata version 13.
pub fn check(api: ApiKey, version: i16, body: &[u8]) -> Result<usize, BoundsError> {
    Ok(walk(Direction::Request, api, version, body, request_memory_max(body.len()))?.0)
}

/// Walks a response's body: `Ok` if it may be decoded. Returns the memory that this takes at most.
pub fn check_response(api: ApiKey, version: i16, body: &[u8]) -> Result<usize, BoundsError> {
    match walk(Direction::Response, api, version, body, response_memory_max(body.len()))? {
        (memory, 0) => Ok(memory),
        (_, left) => Err(BoundsError::Trailing { left }),
    }
}

/// The memory that decoding takes, and how many bytes are left behind the message.
fn walk(
    direction: Direction,
    api: ApiKey,
    version: i16,
    body: &[u8],
    allowed: usize,
) -> Result<(usize, usize), BoundsError> {
    let layout = shape::layout(direction, api, version).ok_or(BoundsError::Unknown { api, version })?;
    let mut walk = Walk { rest: body, body: body.len(), memory: 0, allowed };
    walk.structure(layout)?;
    Ok((walk.memory, walk.rest.len()))
}

struct Walk<'a> {
    rest: &'a [u8],
    body: usize,
    /// What decoding takes for all that was walked.
    memory: usize,
    allowed: usize,
}

impl<'a> Walk<'a> {
    fn structure(&mut self, layout: &Layout) -> Result<(), BoundsError> {
        for field in &layout.fields {
            self.field(field, layout.flexible)?;
        }
        if layout.flexible { self.tagged_fields(layout) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field, flexible: bool) -> Result<(), BoundsError> {
        if let (Kind::Struct(layout), true) = (&field.kind, field.nullable) {
            return if self.is_present(field.name)? { self.structure(layout) } else { Ok(()) };
        }
        let there = self.value(field.name, &field.kind, flexible)?;
        if there || field.nullable { Ok(()) } else { Err(BoundsError::Null { field: field.name }) }
    }

    /// Walks one value; `false` if it is null.
    fn value(&mut self, name: &'static str, kind: &Kind, flexible: bool) -> Result<bool, BoundsError> {
        match kind {
            Kind::Fixed(size) => self.take(name, *size).map(|_| true),
            Kind::Text => {
                let Some(length) = self.length(name, flexible, 2)? else { return Ok(false) };
                let text = self.take(name, length)?;
                std::str::from_utf8(text).map(|_| true).map_err(|_| BoundsError::Text { field: name })
            }
            Kind::Bytes => {
                let Some(length) = self.length(name, flexible, 4)? else { return Ok(false) };
                self.take(name, length).map(|_| true)
            }
            Kind::Array(element) => {
                let Some(count) = self.length(name, flexible, 4)? else { return Ok(false) };
                self.elements(name, element, count, flexible).map(|()| true)
            }
            Kind::Struct(layout) => self.structure(layout).map(|()| true),
        }
    }

    fn elements(
        &mut self,
        name: &'static str,
        element: &Kind,
        count: usize,
        flexible: bool,
    ) -> Result<(), BoundsError> {
        // An element takes a byte at least, or a count could promise work without end.
        let needed = count.saturating_mul(element.wire_min(flexible).max(1));
        if count > ELEMENTS_MAX || needed > self.rest.len() {
            return Err(BoundsError::Elements { field: name, count, left: self.rest.len() });
        }
        self.spend(name, count * element.memory())?;
        if let Kind::Fixed(size) = element {
            return self.take(name, count * size).map(drop);
        }
        for _ in 0..count {
            if !self.value(name, element, flexible)? {
                return Err(BoundsError::Null { field: name });
            }
        }
        Ok(())
    }

    fn tagged_fields(&mut self, layout: &Layout) -> Result<(), BoundsError> {
        const TAGS: &str = "tagged fields";
        let count = self.varint(TAGS)? as usize;
        if count > TAGGED_FIELDS_MAX {
            return Err(BoundsError::TaggedFields { count });
        }
        let mut unknown = 0;
        for _ in 0..count {
            let tag = self.varint(TAGS)?;
            let said = self.varint(TAGS)? as usize;
            match layout.tagged.iter().find(|(known, _)| *known == tag) {
                Some((_, field)) => self.tagged_field(field, said)?,
                None => {
                    self.take(TAGS, said)?;
                    unknown += 1;
                }
            }
        }
        match unknown {
            0 => Ok(()),
            1..=TAG_NODE_ENTRIES => self.spend(TAGS, TAG_NODE_BYTES),
            many => self.spend(TAGS, 2 * TAG_NODE_BYTES + many * TAG_BYTES_OF_MANY),
        }
    }

    /// The library does not look at the length of a tagged field it knows. We do: a wrong one would
    /// make it read other bytes than we walked.
    fn tagged_field(&mut self, field: &Field, said: usize) -> Result<(), BoundsError> {
        let before = self.rest.len();
        if said > before {
            return Err(BoundsError::Truncated { field: field.name, needed: said, left: before });
        }
        self.field(field, true)?;
        let had = before - self.rest.len();
        if had == said { Ok(()) } else { Err(BoundsError::TaggedLength { field: field.name, said, had }) }
    }

    /// The length or count in front of a value, `None` for null: a varint of one more when flexible,
    /// else a signed number of `width` bytes.
    fn length(
        &mut self,
        field: &'static str,
        flexible: bool,
        width: usize,
    ) -> Result<Option<usize>, BoundsError> {
        if flexible {
            let value = self.varint(field)?;
            return Ok((value as usize).checked_sub(1));
        }
        let length = match *self.take(field, width)? {
            [a, b] => i32::from(i16::from_be_bytes([a, b])),
            [a, b, c, d] => i32::from_be_bytes([a, b, c, d]),
            _ => unreachable!("lengths are two or four bytes wide"),
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(BoundsError::Negative { field, length }),
        }
    }

    fn is_present(&mut self, field: &'static str) -> Result<bool, BoundsError> {
        match self.take(field, 1)?[0] as i8 {
            1 => Ok(true),
            -1 => Ok(false),
            byte => Err(BoundsError::Presence { field, byte }),
        }
    }

    fn varint(&mut self, field: &'static str) -> Result<u32, BoundsError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.take(field, 1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| BoundsError::Varint { field });
            }
        }
        Err(BoundsError::Varint { field })
    }

    fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], BoundsError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(BoundsError::Truncated { field, needed: count, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn spend(&mut self, field: &'static str, bytes: usize) -> Result<(), BoundsError> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > self.allowed {
            let Self { memory, allowed, body, .. } = *self;
            return Err(BoundsError::Memory { field, needed: memory, allowed, body });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
