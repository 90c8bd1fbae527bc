//! Files that are read whole: producer snapshots, checkpoints and other text.

use std::io::Write;
use std::path::Path;

use log::disk::{RealDisk, read_file};
use serde_json::json;

use crate::dump::{Out, Stop};

/// Far above any of these files on a healthy node.
const FILE_BYTES_MAX: u64 = 512 << 20;
const HEADER_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;

/// `<offset>.snapshot`: version i16 | crc u32 of what follows | count i32 | entries.
pub fn producers<W: Write>(path: &Path, out: &mut Out<W>) -> Result<(), Stop> {
    let bytes = read_file(&RealDisk, path, FILE_BYTES_MAX)?;
    let Some((header, entries)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Stop::Damage(format!("its header is cut off after {} bytes", bytes.len())));
    };
    let version = i16::from_be_bytes([header[0], header[1]]);
    if version != 1 {
        return Err(Stop::Damage(format!("it has version {version}, expected 1")));
    }
    let crc = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
    let count = i32::from_be_bytes([header[6], header[7], header[8], header[9]]);
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let (text, object) = producer(entry);
        out.item(2, &text, &object)?;
    }
    let found = crc32c::crc32c(&bytes[6..]);
    if crc != found {
        return Err(Stop::Damage(format!("its CRC is {crc:08x}, its bytes give {found:08x}")));
    }
    if usize::try_from(count).ok() != Some(entries.len() / ENTRY_BYTES) {
        return Err(Stop::Damage(format!("it says it has {count} entries")));
    }
    Ok(())
}

fn producer(entry: &[u8]) -> (String, serde_json::Value) {
    let long = |at: usize| i64::from_be_bytes(*entry[at..].first_chunk().expect("entries are taken whole"));
    let int = |at: usize| i32::from_be_bytes(*entry[at..].first_chunk().expect("entries are taken whole"));
    let epoch = i16::from_be_bytes([entry[8], entry[9]]);
    let (id, sequence, offset, delta) = (long(0), int(10), long(14), int(22));
    let (timestamp, coordinator, transaction) = (long(26), int(34), long(38));
    let text = format!(
        "producer={id}/{epoch} last-sequence={sequence} last-offset={offset} offset-delta={delta} \
         timestamp={timestamp} coordinator-epoch={coordinator} transaction-start={transaction}"
    );
    let object = json!({
        "type": "producer", "producerId": id, "producerEpoch": epoch, "lastSequence": sequence, "lastOffset": offset,
        "offsetDelta": delta, "timestamp": timestamp, "coordinatorEpoch": coordinator,
        "transactionStartOffset": transaction,
    });
    (text, object)
}

/// A text file as it is.
pub fn text<W: Write>(path: &Path, out: &mut Out<W>) -> Result<(), Stop> {
    let bytes = read_file(&RealDisk, path, FILE_BYTES_MAX)?;
    for line in String::from_utf8_lossy(&bytes).lines() {
        out.item(2, line, &json!({"type": "line", "text": line}))?;
    }
    Ok(())
}
