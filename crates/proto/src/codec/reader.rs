//! Bytes read from the front, never past the end.

use super::{ARRAY_ELEMENTS_MAX, DecodeError, Form, TAGS_MAX};

/// A run of bytes and how far it is read.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes are read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Takes the next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some(taken) = self.rest().get(..count) else {
            return Err(DecodeError::Truncated { at: self.at, needed: count, left: self.left() });
        };
        self.at += count;
        Ok(taken)
    }

    /// Takes the next `N` bytes.
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("take gives as many as asked for"))
    }

    /// Takes an unsigned variable-length number: seven bits a byte, the lowest first.
    pub fn varint(&mut self) -> Result<u32, DecodeError> {
        let start = self.at;
        let mut value: u64 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take_array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| DecodeError::Varint { at: start });
            }
        }
        Err(DecodeError::Varint { at: start })
    }

    /// Everything must be read by now.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { at: self.at, left }),
        }
    }

    /// The length of a string, bytes or array, `None` for null: a varint of one more in a flexible
    /// form, else what `fixed` reads.
    pub(crate) fn length(
        &mut self,
        form: Form,
        fixed: impl FnOnce(&mut Self) -> Result<i32, DecodeError>,
    ) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        let length = if form.flexible { i64::from(self.varint()?) - 1 } else { i64::from(fixed(self)?) };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| DecodeError::Negative { at, length }),
        }
    }

    /// The count of an array whose elements take at least `size_min` bytes each.
    pub(crate) fn count(&mut self, form: Form, size_min: usize) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        let fixed = |reader: &mut Self| Ok(i32::from_be_bytes(reader.take_array()?));
        let Some(count) = self.length(form, fixed)? else { return Ok(None) };
        let max = ARRAY_ELEMENTS_MAX.min(self.left() / size_min.max(1));
        if count > max { Err(DecodeError::Count { at, count, max }) } else { Ok(Some(count)) }
    }

    /// Takes the tagged fields. `known` reads the value of a tag, or says that it does not know it:
    /// a newer writer's, which is skipped (KIP-482).
    pub(crate) fn tags(
        &mut self,
        form: Form,
        mut known: impl FnMut(u32, &mut Reader<'_>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        if !form.flexible {
            return Ok(());
        }
        let at = self.at;
        let count = self.varint()? as usize;
        // A tagged field takes two bytes at least: its tag and its size.
        let max = TAGS_MAX.min(self.left() / 2);
        if count > max {
            return Err(DecodeError::Count { at, count, max });
        }
        for _ in 0..count {
            let tag = self.varint()?;
            let size = self.varint()? as usize;
            let start = self.at;
            self.take(size)?;
            // Positions in errors stay those of the whole record.
            let mut field = Reader { bytes: &self.bytes[..self.at], at: start };
            if known(tag, &mut field)? {
                field.finish()?;
            }
        }
        Ok(())
    }
}
