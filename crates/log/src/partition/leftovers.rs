//! What a process that died left in a log's directory: files under way to be segments, or to be gone.
//!
//! Kafka's cleaner writes its result under `.cleaned`, renames it to `.swap` when it is
//! whole, sets the segments that it replaces aside as `.deleted`, and takes the suffix
//! off. So a `.swap` is to be finished: what it replaces may be gone already. Where a
//! `.cleaned` is left of a segment that was being split, the swaps at or behind it are
//! not whole (KAFKA-6264), and what they would replace is still there.

use std::path::Path;

use model::Offset;

use crate::disk::{DirEntry, Disk, OpenMode};
use crate::partition::LogError;
use crate::segment::{CLEANED_SUFFIX, DELETED_SUFFIX, LOG_SUFFIX, SWAP_SUFFIX, Walk};

/// Removes what was to be removed and finishes what can be finished. Says what is there then.
pub(super) fn settle(disk: &dyn Disk, dir: &Path) -> Result<Vec<DirEntry>, LogError> {
    let names = disk.list(dir).map_err(LogError::io("list", dir))?;
    let is_left =
        |name: &str| [DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX].iter().any(|it| name.ends_with(it));
    if !names.iter().any(|entry| !entry.is_dir && is_left(&entry.name)) {
        return Ok(names);
    }
    let first_cleaned = with_suffix(&names, CLEANED_SUFFIX).map(|(_, base)| base).min();
    let is_whole = |base: Offset| first_cleaned.is_none_or(|cleaned| base < cleaned);
    let gone = with_suffix(&names, DELETED_SUFFIX)
        .chain(with_suffix(&names, CLEANED_SUFFIX))
        .chain(with_suffix(&names, SWAP_SUFFIX).filter(|&(_, base)| !is_whole(base)));
    for (name, _) in gone {
        remove(disk, &dir.join(name))?;
    }
    let swaps: Vec<&str> =
        with_suffix(&names, SWAP_SUFFIX).filter(|&(_, base)| is_whole(base)).map(|(name, _)| name).collect();
    if !swaps.is_empty() {
        finish(disk, dir, &names, &swaps)?;
    }
    disk.list(dir).map_err(LogError::io("list", dir))
}

/// Puts the swapped files in place of all that lies in their range.
fn finish(disk: &dyn Disk, dir: &Path, names: &[DirEntry], swaps: &[&str]) -> Result<(), LogError> {
    let mut range: Option<(Offset, Offset)> = None;
    for name in swaps.iter().filter(|name| name.trim_end_matches(SWAP_SUFFIX).ends_with(LOG_SUFFIX)) {
        let Some(base) = base_of(name) else { continue };
        let end = end_of(disk, &dir.join(name), base)?;
        range = Some(range.map_or((base, end), |(from, to)| (from.min(base), to.max(end))));
    }
    if let Some((from, to)) = range {
        for entry in names.iter().filter(|entry| !entry.is_dir) {
            let is_plain =
                ![DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX].iter().any(|it| entry.name.ends_with(it));
            let is_segments =
                [LOG_SUFFIX, ".index", ".timeindex", ".txnindex"].iter().any(|it| entry.name.ends_with(it));
            if is_plain && is_segments && base_of(&entry.name).is_some_and(|base| from <= base && base < to) {
                remove(disk, &dir.join(&entry.name))?;
            }
        }
    }
    for name in swaps {
        let path = dir.join(name);
        let to = dir.join(name.trim_end_matches(SWAP_SUFFIX));
        disk.rename(&path, &to).map_err(LogError::io("rename", &path))?;
    }
    disk.sync_dir(dir).map_err(LogError::io("sync", dir))
}

/// The offset after the last whole batch of a file.
fn end_of(disk: &dyn Disk, path: &Path, base: Offset) -> Result<Offset, LogError> {
    let file = disk.open(path, OpenMode::Read).map_err(LogError::io("open", path))?;
    let len = file.len().map_err(LogError::io("look at", path))?;
    let mut walk = Walk::new(file, 0, u32::try_from(len).unwrap_or(u32::MAX));
    let mut end = base;
    while let Ok(Some(placed)) = walk.next() {
        end = end.max(placed.header.next_offset());
    }
    Ok(end)
}

/// Files with a suffix and the base offset that their names begin with.
fn with_suffix<'a>(names: &'a [DirEntry], suffix: &'a str) -> impl Iterator<Item = (&'a str, Offset)> {
    let files = names.iter().filter(move |entry| !entry.is_dir && entry.name.ends_with(suffix));
    files.filter_map(|entry| Some((entry.name.as_str(), base_of(&entry.name)?)))
}

fn base_of(name: &str) -> Option<Offset> {
    let digits = name.split('.').next().filter(|digits| digits.len() == 20)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok().map(Offset::new)).flatten()
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    disk.remove_file(path).map_err(LogError::io("remove", path))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::{LeaderEpoch, Offset};
    use wire::batch::{BatchBuilder, NewRecord};

    use super::settle;
    use crate::disk::{Disk, MemDisk, OpenMode};

    /// Files as `NAME` with one record at the base offset, or `NAME=N` with N; says what is left.
    fn check(files: &str, outcome: &str) {
        let (disk, dir) = (MemDisk::new(), Path::new("/d"));
        disk.create_dir_all(dir).expect("an empty disk takes directories");
        for file in files.split(' ') {
            let (name, count) = file.split_once('=').unwrap_or((file, "1"));
            let (base, suffix) = name.split_once('.').expect("a suffix");
            let base: i64 = base.parse().expect("an offset");
            let mut builder = BatchBuilder::new(Offset::new(base), LeaderEpoch::new(0));
            (0..count.parse().expect("a count")).for_each(|_| builder.push(&NewRecord::default()));
            let mut bytes = Vec::new();
            builder.finish(&mut bytes).expect("no codec");
            let path = dir.join(format!("{base:020}.{suffix}"));
            let file = disk.open(&path, OpenMode::ReadWrite).expect("no fault");
            file.write_at(&bytes, 0).expect("no fault");
        }
        let left = settle(&disk, dir).expect("no fault");
        let short = |name: &str| {
            let (base, suffix) = name.split_once('.').expect("a suffix");
            format!("{}.{suffix}", base.parse::<i64>().expect("an offset"))
        };
        let left: Vec<String> = left.iter().map(|entry| short(&entry.name)).collect();
        assert_eq!(left.join(" "), outcome, "of {files}");
    }

    #[test]
    fn what_was_to_be_removed_is_removed() {
        check("0.log 5.log.deleted 5.index.deleted 7.log.cleaned", "0.log");
        check("0.log 0.index 5.snapshot", "0.index 0.log 5.snapshot");
    }

    #[test]
    fn a_swap_takes_the_place_of_what_it_replaces_and_of_nothing_behind() {
        check("0.log.swap=9 0.index.swap 0.log 4.log 4.index 9.log", "0.index 0.log 9.log");
        check("0.log.swap=9 0.log.deleted 4.log.deleted 9.log", "0.log 9.log");
        check("0.log.swap=9 4.snapshot 9.log", "0.log 4.snapshot 9.log");
        check("0.index.swap 0.log 4.log", "0.index 0.log 4.log");
    }

    #[test]
    fn a_split_that_was_not_finished_is_undone() {
        check("0.log 0.log.swap=3 3.log.cleaned 9.log", "0.log 9.log");
        check("0.log 3.log.swap=3 3.log.cleaned 9.log", "0.log 9.log");
    }
}
