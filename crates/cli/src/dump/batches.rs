//! Record batches of a segment or snapshot, streamed.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use proto::control::ControlRecord;
use proto::metadata::MetadataRecord;
use serde_json::{Value, json};
use wire::batch::{BatchRef, HEADER_BYTES, Record};

use crate::dump::json::from_debug;
use crate::dump::{Out, Stop};

/// The largest batch that is read. A broker takes none near it; a length above is damage, and the
/// bound is what keeps a damaged length from taking the machine's memory.
const BATCH_BYTES_MAX: usize = 256 << 20;
/// The largest batch that is decompressed.
const RECORDS_BYTES_MAX: usize = 1 << 30;

pub fn dump<W: Write>(path: &Path, is_metadata: bool, out: &mut Out<W>) -> Result<(), Stop> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut buffer = Vec::new();
    let mut position = 0_u64;
    while read_batch(&mut file, position, &mut buffer)? {
        let damage = |what: String| Stop::Damage(format!("at byte {position}: {what}"));
        let batch = BatchRef::parse(&buffer).map_err(|error| damage(error.to_string()))?;
        show_batch(&batch, position, out)?;
        batch.check_crc().map_err(|error| damage(error.to_string()))?;
        if out.with_records {
            let records = batch.records(RECORDS_BYTES_MAX).map_err(|error| damage(error.to_string()))?;
            for record in records.iter() {
                let record = record.map_err(|error| damage(error.to_string()))?;
                show_record(&batch, &record, is_metadata, out)?;
            }
        }
        position += buffer.len() as u64;
    }
    Ok(())
}

/// Reads the next batch into `buffer`; false at the end, which a preallocated segment reaches
/// with zeroes.
fn read_batch(file: &mut impl Read, position: u64, buffer: &mut Vec<u8>) -> Result<bool, Stop> {
    buffer.clear();
    file.take(HEADER_BYTES as u64).read_to_end(buffer)?;
    if buffer.iter().all(|&byte| byte == 0) {
        return Ok(false);
    }
    let damage = |what: String| Stop::Damage(format!("at byte {position}: {what}"));
    if buffer.len() < HEADER_BYTES {
        return Err(damage(format!("a batch header is cut off after {} bytes", buffer.len())));
    }
    let header = wire::batch::BatchHeader::parse(buffer).map_err(|error| damage(error.to_string()))?;
    if header.size_bytes > BATCH_BYTES_MAX {
        return Err(damage(format!(
            "a batch says it has {} bytes, more than any broker takes",
            header.size_bytes
        )));
    }
    let rest = header.size_bytes - HEADER_BYTES;
    let read = file.take(rest as u64).read_to_end(buffer)?;
    if read < rest {
        return Err(damage(format!(
            "a batch of {} bytes is cut off after {}",
            header.size_bytes,
            buffer.len()
        )));
    }
    Ok(true)
}

fn show_batch<W: Write>(batch: &BatchRef<'_>, position: u64, out: &mut Out<W>) -> Result<(), Stop> {
    let header = &batch.header;
    let codec = header.codec().map_or_else(|| "unknown".to_owned(), |codec| codec.to_string());
    let flags: Vec<&str> = [
        (header.is_control(), "control"),
        (header.is_transactional(), "transactional"),
        (header.has_delete_horizon(), "delete-horizon"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect();
    let (base, last, epoch) = (header.base_offset, header.last_offset(), header.leader_epoch);
    let mut text = format!(
        "batch {base}..{last} epoch={epoch} count={} position={position} size={} codec={codec} max-timestamp={} \
         crc={:08x}",
        header.count, header.size_bytes, header.max_timestamp, header.crc
    );
    if header.producer_id >= 0 {
        let (id, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
        text.push_str(&format!(" producer={id}/{epoch} sequence={sequence}"));
    }
    for flag in &flags {
        text.push(' ');
        text.push_str(flag);
    }
    let object = json!({
        "type": "batch", "baseOffset": base.get(), "lastOffset": last.get(), "leaderEpoch": epoch.get(),
        "count": header.count, "position": position, "sizeBytes": header.size_bytes, "codec": codec,
        "timestampType": format!("{:?}", header.timestamp_type()), "maxTimestamp": header.max_timestamp.get(),
        "producerId": header.producer_id, "producerEpoch": header.producer_epoch,
        "baseSequence": header.base_sequence, "crc": header.crc, "flags": flags,
    });
    out.item(2, &text, &object)
}

fn show_record<W: Write>(
    batch: &BatchRef<'_>,
    record: &Record<'_>,
    is_metadata: bool,
    out: &mut Out<W>,
) -> Result<(), Stop> {
    let (offset, timestamp) = (record.offset.get(), record.timestamp.get());
    let decoded = decode(batch, record, is_metadata);
    if let Some((name, body)) = decoded {
        let object =
            json!({"type": "record", "offset": offset, "timestamp": timestamp, "kind": name, "data": body});
        return out.item(4, &format!("{offset} {name} {body}"), &object);
    }
    let headers: Vec<(String, Option<String>)> =
        record.headers.map(|header| (lossy(header.key), header.value.map(lossy))).collect();
    let show =
        |bytes: Option<&[u8]>| bytes.map_or_else(|| "null".to_owned(), |bytes| format!("{:?}", lossy(bytes)));
    let mut text =
        format!("{offset} timestamp={timestamp} key={} value={}", show(record.key), show(record.value));
    for (key, value) in &headers {
        text.push_str(&format!(" {key}={}", value.as_deref().unwrap_or("null")));
    }
    let headers: Vec<Value> =
        headers.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let object = json!({
        "type": "record", "offset": offset, "timestamp": timestamp, "key": record.key.map(lossy),
        "value": record.value.map(lossy), "headers": headers,
    });
    out.item(4, &text, &object)
}

/// A metadata or control record's name and fields; `None` for a client's record.
fn decode(batch: &BatchRef<'_>, record: &Record<'_>, is_metadata: bool) -> Option<(String, Value)> {
    let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
    if batch.header.is_control() {
        return Some(match ControlRecord::from_key_value(key, value) {
            Ok(control) => from_debug(&format!("{control:?}")),
            Err(_) => marker(key, value),
        });
    }
    if !is_metadata {
        return None;
    }
    Some(match MetadataRecord::from_value(value) {
        Ok(metadata) => from_debug(&format!("{metadata:?}")),
        Err(error) => ("undecodable".to_owned(), json!({"error": error.to_string()})),
    })
}

/// The end of a transaction (KIP-98): type 0 aborts, 1 commits.
fn marker(key: &[u8], value: &[u8]) -> (String, Value) {
    let name = match wire::batch::control_type(key) {
        Some(0) => "AbortMarker".to_owned(),
        Some(1) => "CommitMarker".to_owned(),
        Some(other) => format!("control {other}"),
        None => "control".to_owned(),
    };
    let epoch = value.get(2..6).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    (name, json!({"coordinatorEpoch": epoch}))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
