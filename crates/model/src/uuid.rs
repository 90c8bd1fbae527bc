//! 128-bit ids and their text form.
//!
//! Kafka writes a UUID as 16 big-endian bytes in URL-safe base64 without padding,
//! 22 characters. The last character carries only two bits, so four spellings
//! decode to the same id; we accept them all and always print the canonical one.

use std::fmt;
use std::str::FromStr;

/// What is wrong with a UUID's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UuidError {
    /// Not 22 characters long.
    #[error("'{text}' has {length} characters, a UUID has 22")]
    Length {
        /// The text as given.
        text: String,
        /// Its length in characters.
        length: usize,
    },
    /// A character outside the URL-safe base64 alphabet.
    #[error("'{text}' holds '{character}', a UUID holds only A-Z, a-z, 0-9, '-' and '_'")]
    Character {
        /// The text as given.
        text: String,
        /// The first bad character.
        character: char,
    },
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TEXT_LENGTH: usize = 22;

/// A 128-bit id.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

/// Names a topic through deletion and re-creation (KIP-516).
pub type TopicId = Uuid;
/// Names a log directory (KIP-858) and a voter's storage (KIP-853).
pub type DirectoryId = Uuid;
/// Names one run of a broker process.
pub type IncarnationId = Uuid;

impl Uuid {
    /// Kafka's "no id".
    pub const ZERO: Self = Self([0; 16]);

    /// Ids 0 to 99 are Kafka's own and are never drawn for a topic or directory.
    const RESERVED_MAX: u128 = 99;

    /// An id from its 16 big-endian bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// An id from its number.
    pub const fn from_u128(value: u128) -> Self {
        Self(value.to_be_bytes())
    }

    /// Makes a random version-4 id of 16 random bytes. `None` for what must be drawn again: reserved
    /// ids, and those whose text begins with `-`, which a command line would take for a flag.
    pub fn from_random(mut bytes: [u8; 16]) -> Option<Self> {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let id = Self(bytes);
        let usable = !id.is_reserved() && !id.to_string().starts_with('-');
        usable.then_some(id)
    }

    /// The 16 big-endian bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether this is [`Uuid::ZERO`].
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Whether Kafka keeps this id for itself.
    pub fn is_reserved(&self) -> bool {
        u128::from_be_bytes(self.0) <= Self::RESERVED_MAX
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0);
        let mut text = String::with_capacity(TEXT_LENGTH);
        for position in 0..TEXT_LENGTH {
            // 22 digits hold 132 bits: the last digit's low four are padding.
            let shift = 122 - 6 * position as i32;
            let digit = if shift >= 0 { number >> shift } else { number << -shift } & 0x3f;
            text.push(char::from(ALPHABET[digit as usize]));
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        let length = text.chars().count();
        // Kafka itself also reads the padded form.
        let unpadded = text.strip_suffix("==").unwrap_or(text);
        if unpadded.chars().count() != TEXT_LENGTH {
            return Err(UuidError::Length { text: text.to_owned(), length });
        }
        let mut number: u128 = 0;
        for (position, character) in unpadded.chars().enumerate() {
            let digit =
                digit(character).ok_or_else(|| UuidError::Character { text: text.to_owned(), character })?;
            number = if position + 1 < TEXT_LENGTH {
                number << 6 | u128::from(digit)
            } else {
                number << 2 | u128::from(digit >> 4)
            };
        }
        Ok(Self(number.to_be_bytes()))
    }
}

fn digit(character: char) -> Option<u8> {
    let position = ALPHABET.iter().position(|&known| char::from(known) == character)?;
    u8::try_from(position).ok()
}

#[cfg(test)]
mod tests {
    use super::{Uuid, UuidError};

    #[test]
    fn text_is_kafkas() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::from_u128(1).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid::from_u128(u128::MAX).to_string(), "_____________________w");
    }

    #[test]
    fn any_id_survives_its_text() {
        for number in [0, 1, 99, 1 << 64, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = Uuid::from_u128(number);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn a_last_character_with_stray_bits_is_read_and_printed_canonically() {
        let id: Uuid = "AAAAAAAAAAAAAAAAAAAAAR".parse().expect("four spellings, one id");
        assert_eq!(id.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    }

    #[test]
    fn bad_text_is_named() {
        assert_eq!("abc".parse::<Uuid>(), Err(UuidError::Length { text: "abc".to_owned(), length: 3 }));
        let text = "AAAAAAAAAAAAAAAAAAAA+Q";
        assert_eq!(text.parse::<Uuid>(), Err(UuidError::Character { text: text.to_owned(), character: '+' }));
    }

    #[test]
    fn a_drawn_id_is_never_reserved_nor_like_a_flag() {
        assert!(Uuid::from_random([0xf8; 16]).is_none());
        let id = Uuid::from_random([7; 16]).expect("an ordinary draw");
        assert!(!id.is_reserved());
    }
}
