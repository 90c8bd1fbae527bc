//! `recovery-point`: the offset before which the log was once durable.
//!
//! A batch that cannot be read is either the tail of a write that a power cut tore, which
//! nobody was promised, or something that this voter had acknowledged and the disk lost.
//! Cutting the latter off would let a vote be counted twice, so the two must be told apart.
//!
//! ```text
//! 1\n                       version
//! 00000000000000000042\n    everything before this offset was synced
//! 8a9136aa\n                CRC-32C of the lines above
//! ```
//!
//! The point may lag, and so raising it is one write that nobody waits for; a file that is
//! torn or lost is a point of 0. It must never lead: it is lowered, durably, before the log
//! is cut. Never written by an observer, which may lose what it can fetch again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use log::Disk;
use log::disk::{DiskFile, OpenMode};
use model::Offset;

const FILE: &str = "recovery-point";
const VERSION: &str = "1";
/// Always so many: a write changes nothing but digits.
const FILE_BYTES: usize = 32;

/// The point, and the file that keeps it.
pub(super) struct RecoveryPoint {
    file: Arc<dyn DiskFile>,
    offset: Offset,
}

impl RecoveryPoint {
    /// Opens or makes the file in `dir`.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        let file = disk.open(&dir.join(FILE), OpenMode::ReadWrite)?;
        let mut bytes = [0; FILE_BYTES];
        let count = file.read_at(&mut bytes, 0)?;
        let offset = parse(&bytes[..count]);
        if offset.is_none() && count > 0 {
            tracing::warn!(dir = %dir.display(),
                "the recovery point is torn; damage to the log's end cannot be told from a torn write this time");
        }
        Ok(Self { file, offset: offset.unwrap_or(Offset::ZERO) })
    }

    /// Everything before it was durable.
    pub(super) fn offset(&self) -> Offset {
        self.offset
    }

    /// Everything before `offset` is durable now.
    pub(super) fn raise(&mut self, offset: Offset) -> io::Result<()> {
        if offset <= self.offset {
            return Ok(());
        }
        self.file.write_at(text(offset).as_bytes(), 0)?;
        self.offset = offset;
        Ok(())
    }

    /// Nothing at or after `offset` counts any longer; durable when this returns.
    pub(super) fn lower(&mut self, offset: Offset) -> io::Result<()> {
        if self.offset <= offset {
            return Ok(());
        }
        self.file.write_at(text(offset).as_bytes(), 0)?;
        self.file.sync()?;
        self.offset = offset;
        Ok(())
    }
}

fn text(offset: Offset) -> String {
    let lines = format!("{VERSION}\n{:020}\n", offset.get());
    format!("{lines}{:08x}\n", crc32c::crc32c(lines.as_bytes()))
}

fn parse(bytes: &[u8]) -> Option<Offset> {
    let text_read = std::str::from_utf8(bytes).ok()?;
    let mut lines = text_read.lines();
    lines.next().filter(|version| *version == VERSION)?;
    let offset = lines.next()?.parse().ok().filter(|offset| *offset >= 0).map(Offset::new)?;
    // Compared whole, and so the checksum with it.
    (text_read == text(offset)).then_some(offset)
}

#[cfg(test)]
mod tests {
    use model::Offset;

    use super::{FILE_BYTES, parse, text};

    #[test]
    fn a_point_reads_back_and_no_part_or_change_of_it_does() {
        for number in [0, 1, 42, i64::MAX] {
            let written = text(Offset::new(number)).into_bytes();
            assert_eq!(written.len(), FILE_BYTES);
            assert_eq!(parse(&written), Some(Offset::new(number)));
            for at in 0..FILE_BYTES {
                assert_eq!(parse(&written[..at]), None, "{number} cut at {at}");
                let mut changed = written.clone();
                changed[at] ^= 1;
                assert_eq!(parse(&changed), None, "{number} changed at {at}");
            }
        }
    }
}
