//! Snapshots: `<end offset, 20 digits>-<epoch, 10 digits>.checkpoint` (KIP-630).
//!
//! A file of record batches with offsets of its own: a header, the voters, the
//! records that build the state, a footer. Kafka's tools read it. The header carries,
//! in a tagged field that Kafka skips, the Raft position that the snapshot stands for.

mod directory;
mod file;

pub(crate) use directory::{Directory, SnapshotFile};
pub(crate) use file::{
    Position, SnapshotError, SnapshotHead, read as read_snapshot, write as write_snapshot,
};

use std::fmt;

use model::{LeaderEpoch, Offset};

/// Names a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The offset after the last record that it contains.
    pub end_offset: Offset,
    /// The epoch of that record.
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// The name of its file.
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end_offset.get(), self.epoch.get())
    }

    /// The snapshot that a file name stands for.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (end_offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        let digits =
            |text: &str, width: usize| text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(end_offset, 20) || !digits(epoch, 10) {
            return None;
        }
        let end_offset = Offset::new(end_offset.parse().ok()?);
        Some(Self { end_offset, epoch: LeaderEpoch::new(epoch.parse().ok()?) })
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:010}", self.end_offset.get(), self.epoch.get())
    }
}

#[cfg(test)]
mod tests {
    use super::SnapshotId;

    #[test]
    fn a_name_is_twenty_and_ten_digits() {
        let name = "00000000000000000042-0000000007.checkpoint";
        let id = SnapshotId::from_file_name(name).expect("well formed");
        assert_eq!((id.end_offset.get(), id.epoch.get()), (42, 7));
        assert_eq!(id.file_name(), name);
        for other in
            ["42-7.checkpoint", "bootstrap.checkpoint", "00000000000000000042-0000000007.checkpoint.part"]
        {
            assert_eq!(SnapshotId::from_file_name(other), None, "{other}");
        }
    }
}
