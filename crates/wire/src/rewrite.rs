//! Writing a body anew in another version, field by field, for versions past the library's.
//!
//! A rewriting follows a flexible body (KIP-482) from its front, and copies what is alike in both versions. It takes
//! nothing on trust: what does not fit is `None`, and lists are counted against the bytes there are.

use crate::varint;

/// A body that is read, and what has been written of the new one.
pub(crate) struct Rewriting<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
}

impl<'a> Rewriting<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body, out: Vec::with_capacity(body.len() + 64) }
    }

    /// The new body, if all of the old one was read.
    pub fn end(self) -> Option<Vec<u8>> {
        self.rest.is_empty().then_some(self.out)
    }

    /// Reads bytes and leaves them out.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// Writes bytes that were not there.
    pub fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub fn copy(&mut self, len: usize) -> Option<()> {
        let taken = self.take(len)?;
        self.out.extend_from_slice(taken);
        Some(())
    }

    /// A text, or none.
    pub fn text(&mut self) -> Option<()> {
        let len = self.number()?;
        self.copy(len.saturating_sub(1) as usize)
    }

    /// A list, or none. Elements take a byte each at least, so their number is bounded by what is left.
    pub fn array(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let count = self.number()?.saturating_sub(1) as usize;
        if count > self.rest.len() {
            return None;
        }
        (0..count).try_for_each(|_| each(self))
    }

    /// The tagged fields of a structure, and a further one of a byte. Those of a client that knows of more than we do
    /// say nothing here and are left out.
    pub fn tags(&mut self, added: Option<(u32, u8)>) -> Option<()> {
        let count = varint::read_u32(&mut self.rest).ok()?;
        for _ in 0..count {
            varint::read_u32(&mut self.rest).ok()?;
            let len = varint::read_u32(&mut self.rest).ok()? as usize;
            self.take(len)?;
        }
        match added {
            None => self.out.push(0),
            Some((tag, value)) => {
                self.out.push(1);
                varint::write_u32(tag, &mut self.out);
                self.out.extend_from_slice(&[1, value]);
            }
        }
        Some(())
    }

    fn number(&mut self) -> Option<u32> {
        let before = self.rest;
        let number = varint::read_u32(&mut self.rest).ok()?;
        self.out.extend_from_slice(&before[..before.len() - self.rest.len()]);
        Some(number)
    }
}
