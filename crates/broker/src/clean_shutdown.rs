//! The marker of a stop in order: `.kafka_cleanshutdown` in every log directory.
//!
//! It is there exactly while every log is closed and flushed: taken away before a
//! log is opened, put back after the last one is closed. It carries the broker's
//! epoch, by which the controller sees that nothing acknowledged can be missing
//! (KIP-966).

use std::io;
use std::path::Path;

use log::Disk;
use model::BrokerEpoch;

/// The marker's name.
const MARKER: &str = ".kafka_cleanshutdown";
/// A marker is one short line.
const BYTES_MAX: u64 = 4 << 10;

/// Whether `dir` was closed in order, and by which epoch as far as its marker tells.
pub fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Option<BrokerEpoch>>> {
    let path = dir.join(MARKER);
    if !disk.exists(&path)? {
        return Ok(None);
    }
    match log::disk::read_file(disk, &path, BYTES_MAX) {
        Ok(bytes) => Ok(Some(epoch_of(&String::from_utf8_lossy(&bytes)))),
        // It is there, whatever was written into it.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(None)),
        Err(error) => Err(error),
    }
}

/// Takes the marker away, for good, before a log is opened.
pub fn remove(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let path = dir.join(MARKER);
    if disk.exists(&path)? {
        disk.remove_file(&path)?;
        disk.sync_dir(dir)?;
    }
    Ok(())
}

/// Puts the marker there, after the last log is closed.
pub fn write(disk: &dyn Disk, dir: &Path, epoch: Option<BrokerEpoch>) -> io::Result<()> {
    let epoch = epoch.map_or(-1, BrokerEpoch::get);
    let text = format!("{{\"version\":0,\"brokerEpoch\":{epoch}}}");
    log::disk::write_atomically(disk, &dir.join(MARKER), text.as_bytes())
}

/// Kafka before 3.8 left the file empty: closed in order, epoch unknown.
fn epoch_of(text: &str) -> Option<BrokerEpoch> {
    let (_, rest) = text.split_once("\"brokerEpoch\"")?;
    let digits = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    BrokerEpoch::from_wire(digits[..end].parse().ok()?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use log::Disk;
    use log::disk::MemDisk;
    use model::BrokerEpoch;

    use super::{epoch_of, read, remove, write};

    #[test]
    fn a_marker_is_there_between_its_writing_and_its_removal() {
        let (disk, dir) = (MemDisk::new(), Path::new("/d"));
        disk.create_dir_all(dir).expect("an empty disk takes directories");
        assert_eq!(read(&disk, dir).expect("readable"), None);
        write(&disk, dir, Some(BrokerEpoch::new(12))).expect("there is room");
        assert_eq!(read(&disk, dir).expect("readable"), Some(Some(BrokerEpoch::new(12))));
        remove(&disk, dir).expect("removable");
        assert_eq!(read(&disk, dir).expect("readable"), None);
    }

    #[test]
    fn markers_without_an_epoch_are_markers_still() {
        for text in ["", "{}", "{\"version\":0,\"brokerEpoch\":-1}", "{\"brokerEpoch\":x"] {
            assert_eq!(epoch_of(text), None, "{text}");
        }
        assert_eq!(epoch_of("{ \"brokerEpoch\" : 7 , \"version\":0}"), Some(BrokerEpoch::new(7)));
    }
}
