//! One file of a [`MemDisk`](super::MemDisk): its bytes, and what a power cut may take back.
//!
//! There is one copy of the bytes, as written. What was not synced is a journal of the
//! changes since: where they were and what they replaced. A sync forgets the journal; a
//! power cut undoes it and then lets the [`Survival`] say which changes had
//! reached the medium after all. So appending and syncing cost nothing but the bytes.

use crate::disk::mem::{Loss, Survival};

/// One file.
#[derive(Debug, Default)]
pub struct FileState {
    /// As written.
    bytes: Vec<u8>,
    /// Changes since the last sync, the oldest first.
    unsynced: Vec<Change>,
    /// How many names it has; without one it takes no room.
    pub links: u32,
}

/// A change and what undoes it.
#[derive(Debug)]
enum Change {
    /// `len` bytes were written at `at`, over `old`, into a file of `old_len` bytes.
    Write { at: usize, len: usize, old: Vec<u8>, old_len: usize },
    /// The length became `len`; `cut` was beyond it, or the file had `old_len` bytes.
    Resize { len: usize, cut: Vec<u8>, old_len: usize },
}

/// A change to be made again.
enum Redo {
    Write { at: usize, bytes: Vec<u8> },
    Resize { len: usize },
}

impl FileState {
    /// The bytes as written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Writes, and makes the file longer if need be.
    pub fn write(&mut self, bytes: &[u8], at: u64) {
        let at = address(at);
        let old_len = self.bytes.len();
        let overwritten = at.min(old_len)..(at + bytes.len()).min(old_len);
        let old = self.bytes[overwritten].to_vec();
        self.put(bytes, at);
        self.unsynced.push(Change::Write { at, len: bytes.len(), old, old_len });
    }

    /// Cuts, or lengthens with zeroes.
    pub fn resize(&mut self, len: u64) {
        let len = address(len);
        let old_len = self.bytes.len();
        if len == old_len {
            return;
        }
        let cut = self.bytes[len.min(old_len)..].to_vec();
        self.bytes.resize(len, 0);
        self.unsynced.push(Change::Resize { len, cut, old_len });
    }

    /// All of it is durable.
    pub fn sync(&mut self) {
        self.unsynced.clear();
    }

    /// Flips bits of a byte on the medium, if it has that byte.
    pub fn flip(&mut self, at: u64, bits: u8) {
        if let Some(byte) = usize::try_from(at).ok().and_then(|at| self.bytes.get_mut(at)) {
            *byte ^= bits;
        }
    }

    /// Takes back what was not synced, but for what survives. All of the rest is durable.
    pub fn lose(&mut self, survival: &mut dyn Survival, loss: &mut Loss) {
        if self.unsynced.is_empty() {
            return;
        }
        let redo = self.undo_all();
        let total = redo.iter().map(Redo::len).sum();
        survival.begin_file(total);
        for (later, change) in redo.into_iter().enumerate().rev() {
            match change {
                Redo::Write { at, bytes } => {
                    let kept = survival.of_write(bytes.len(), later).min(bytes.len());
                    loss.bytes_lost += (bytes.len() - kept) as u64;
                    loss.bytes_survived += kept as u64;
                    loss.writes_torn += u64::from(kept > 0 && kept < bytes.len());
                    if kept > 0 {
                        self.put(&bytes[..kept], at);
                    }
                }
                Redo::Resize { len } if survival.of_resize() => self.bytes.resize(len, 0),
                // File systems keep the order between a change of length and what is written after it.
                Redo::Resize { .. } => break,
            }
        }
    }

    /// Undoes every change since the last sync; answers them, the newest first.
    fn undo_all(&mut self) -> Vec<Redo> {
        let mut redo = Vec::with_capacity(self.unsynced.len());
        while let Some(change) = self.unsynced.pop() {
            match change {
                Change::Write { at, len, old, old_len } => {
                    redo.push(Redo::Write { at, bytes: self.bytes[at..at + len].to_vec() });
                    self.bytes.truncate(old_len);
                    let at = at.min(old_len);
                    self.bytes[at..at + old.len()].copy_from_slice(&old);
                }
                Change::Resize { len, cut, old_len } => {
                    redo.push(Redo::Resize { len });
                    self.bytes.truncate(old_len);
                    self.bytes.extend_from_slice(&cut);
                }
            }
        }
        redo
    }

    fn put(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if at == self.bytes.len() {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
    }
}

impl Redo {
    fn len(&self) -> usize {
        match self {
            Self::Write { bytes, .. } => bytes.len(),
            Self::Resize { .. } => 0,
        }
    }
}

fn address(at: u64) -> usize {
    usize::try_from(at).expect("files in memory fit its addresses")
}

#[cfg(test)]
mod tests {
    use super::FileState;
    use crate::disk::mem::{Loss, Nothing, Survival};

    /// Each write survives up to the length it is given, in order; resizes always.
    struct Lengths(Vec<usize>);

    impl Survival for Lengths {
        fn of_write(&mut self, _len: usize, _later: usize) -> usize {
            self.0.remove(0)
        }

        fn of_resize(&mut self) -> bool {
            true
        }
    }

    fn changed() -> FileState {
        let mut file = FileState::default();
        file.write(b"abcdef", 0);
        file.sync();
        file.write(b"XY", 1);
        file.write(b"ghi", 6);
        file.resize(4);
        file.write(b"!!", 7);
        file
    }

    fn check(survival: &mut dyn Survival, left: &[u8], survived: u64) {
        let mut file = changed();
        assert_eq!(file.bytes(), b"aXYd\0\0\0!!");
        let mut loss = Loss::default();
        file.lose(survival, &mut loss);
        assert_eq!(file.bytes(), left);
        assert_eq!(loss.bytes_survived, survived);
        let again = file.bytes().to_vec();
        file.lose(&mut Nothing, &mut loss);
        assert_eq!(file.bytes(), again, "what a power cut left is durable");
    }

    #[test]
    fn a_power_cut_undoes_what_was_not_synced_but_for_what_survives() {
        check(&mut Nothing, b"abcdef", 0);
        check(&mut Lengths(vec![2, 3, 2]), b"aXYd\0\0\0!!", 7);
        check(&mut Lengths(vec![1, 3, 0]), b"aXcd", 4);
        check(&mut Lengths(vec![0, 0, 1]), b"abcd\0\0\0!", 1);
    }
}
