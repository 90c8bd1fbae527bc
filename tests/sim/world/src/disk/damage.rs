//! What damage looks like: which unsynced bytes a power cut leaves, which bit flips.
//!
//! A disk may write back what it was given at any time and in any order, so that of what was
//! never synced anything may be there after a power cut: nothing, all, a part of one write.
//! Names come back in the order of their changes, as file systems keep a journal of them.

use std::path::PathBuf;

use fastrand::Rng;
use log::disk::Survival;

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// Nothing.
    No,
    /// Of each file the first so many bytes, cut at any byte, and of the names the first changes.
    Prefix,
    /// Of each file any of the writes, each whole or cut at any byte: behind a hole of zeroes there
    /// may be bytes again. Of the names the first changes.
    Any,
}

impl Torn {
    pub(super) fn survival(self, rng: &mut Rng) -> Box<dyn Survival + '_> {
        match self {
            Self::No => Box::new(Nothing),
            Self::Prefix => Box::new(Prefix { rng, left: 0, ended: false }),
            Self::Any => Box::new(Any { rng, share: Share::Nothing }),
        }
    }
}

struct Nothing;

impl Survival for Nothing {}

/// A prefix of each file's writes.
struct Prefix<'a> {
    rng: &'a mut Rng,
    left: usize,
    ended: bool,
}

impl Survival for Prefix<'_> {
    fn begin_file(&mut self, bytes: usize) {
        // All or nothing as often as not: cuts inside are one kind of three.
        self.left = match self.rng.u8(0..4) {
            0 => 0,
            1 => bytes,
            _ => self.rng.usize(0..=bytes),
        };
        self.ended = false;
    }

    fn of_write(&mut self, len: usize, _later: usize) -> usize {
        let kept = if self.ended { 0 } else { len.min(self.left) };
        self.left -= kept;
        self.ended |= kept < len;
        kept
    }

    fn of_resize(&mut self) -> bool {
        // At the very end of the prefix it may or may not be part of it.
        !self.ended && (self.left > 0 || self.rng.bool())
    }

    fn of_names(&mut self, changes: usize) -> usize {
        self.rng.usize(0..=changes)
    }
}

/// Any of a file's writes.
struct Any<'a> {
    rng: &'a mut Rng,
    share: Share,
}

#[derive(Clone, Copy)]
enum Share {
    Nothing,
    All,
    Some,
}

impl Survival for Any<'_> {
    fn begin_file(&mut self, _bytes: usize) {
        self.share = match self.rng.u8(0..4) {
            0 => Share::Nothing,
            1 => Share::All,
            _ => Share::Some,
        };
    }

    fn of_write(&mut self, len: usize, _later: usize) -> usize {
        match self.share {
            Share::Nothing => 0,
            Share::All => len,
            Share::Some => match self.rng.u8(0..3) {
                0 => 0,
                1 => len,
                _ => self.rng.usize(0..=len),
            },
        }
    }

    fn of_resize(&mut self) -> bool {
        match self.share {
            Share::Nothing => false,
            Share::All => true,
            Share::Some => self.rng.bool(),
        }
    }

    fn of_names(&mut self, changes: usize) -> usize {
        self.rng.usize(0..=changes)
    }
}

/// A bit that was flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// In this file.
    pub path: PathBuf,
    /// In this byte.
    pub at: u64,
    /// This one, counted from the lowest.
    pub bit: u8,
}

impl Flip {
    /// Any bit of any of `files`, which hold something.
    pub(super) fn draw(files: &[(PathBuf, u64)], rng: &mut Rng) -> Option<Self> {
        let (path, len) = files.get(rng.usize(..files.len().max(1)))?;
        Some(Self { path: path.clone(), at: rng.u64(..*len), bit: rng.u8(..8) })
    }
}
