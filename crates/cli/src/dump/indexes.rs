//! Offset and time indexes.
//!
//! Shown from their bytes and not through `log`'s reader, which leaves out what it would
//! not use: a dump is where one looks for what is wrong.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use log::index::{Entry, OffsetEntry, TimeEntry};
use serde_json::json;

use crate::dump::{Out, Stop};

pub fn offsets<W: Write>(path: &Path, out: &mut Out<W>) -> Result<(), Stop> {
    let base = base_offset(path);
    entries::<OffsetEntry, W>(path, out, |entry| {
        let offset = base + i64::from(entry.offset);
        let text = format!("offset={offset} position={}", entry.position);
        (text, json!({"type": "index", "offset": offset, "position": entry.position}))
    })
}

pub fn times<W: Write>(path: &Path, out: &mut Out<W>) -> Result<(), Stop> {
    let base = base_offset(path);
    entries::<TimeEntry, W>(path, out, |entry| {
        let (timestamp, offset) = (entry.timestamp.get(), base + i64::from(entry.offset));
        let text = format!("timestamp={timestamp} offset={offset}");
        (text, json!({"type": "timeindex", "timestamp": timestamp, "offset": offset}))
    })
}

/// The offset in the file's name.
fn base_offset(path: &Path) -> i64 {
    let digits = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    digits.split('.').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn entries<E: Entry, W: Write>(
    path: &Path,
    out: &mut Out<W>,
    show: impl Fn(&E) -> (String, serde_json::Value),
) -> Result<(), Stop> {
    let mut file = BufReader::new(File::open(path)?);
    let mut bytes = Vec::with_capacity(E::BYTES);
    let mut before: Option<E> = None;
    let mut number = 0_u64;
    loop {
        bytes.clear();
        (&mut file).take(E::BYTES as u64).read_to_end(&mut bytes)?;
        if bytes.len() < E::BYTES {
            break;
        }
        // A preallocated index ends in zeroes; only the first entry may be one.
        if number > 0 && bytes.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        let entry = E::read(&bytes);
        let (text, object) = show(&entry);
        out.item(2, &text, &object)?;
        if before.is_some_and(|before| !entry.follows(&before)) {
            return Err(Stop::Damage(format!("entry {number} does not follow the one before it")));
        }
        before = Some(entry);
        number += 1;
    }
    match bytes.len() {
        0 => Ok(()),
        left => Err(Stop::Damage(format!(
            "{left} bytes are left after entry {number}, of {} bytes each",
            E::BYTES
        ))),
    }
}
