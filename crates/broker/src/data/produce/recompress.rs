//! A batch in the codec that its topic asks for (`compression.type` other than `producer`).

use log::{AppendError, LeaderRules};
use model::{LeaderEpoch, Offset};
use wire::batch::{BatchBuilder, BatchRef, NewRecord, Rules, ValidationError, validate};
use wire::codec::Codec;

/// The records of `bytes`, a client's batch, in a batch of their own; producer and sequence stay.
pub(super) fn recompress(
    bytes: &[u8],
    rules: &LeaderRules,
    codec: Codec,
    level: Option<i32>,
) -> Result<Vec<u8>, AppendError> {
    let valid = validate(bytes, &Rules { is_rewritten: true, ..rules.batch })?;
    let batch = BatchRef::parse(bytes)?;
    let records = batch.records(rules.batch.decompressed_bytes_max).map_err(ValidationError::from)?;
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0)).codec(codec, level);
    if let Some(producer) = valid.header.producer() {
        builder = builder.producer(producer, valid.header.is_transactional());
    }
    for record in records.iter() {
        let record = record.map_err(ValidationError::from)?;
        let headers: Vec<_> = record.headers.map(|header| (header.key, header.value)).collect();
        let (timestamp, key, value) = (record.timestamp, record.key, record.value);
        builder.push(&NewRecord { timestamp, key, value, headers: &headers });
    }
    let mut out = Vec::with_capacity(bytes.len());
    builder.finish(&mut out).map_err(ValidationError::from)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use log::LeaderRules;
    use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
    use wire::batch::{BatchBuilder, BatchRef, NewRecord, Producer, Rules};
    use wire::codec::Codec;

    use super::recompress;

    #[test]
    fn records_headers_and_producer_survive_another_codec() {
        let producer = Producer { id: ProducerId::new(4), epoch: ProducerEpoch::new(1), base_sequence: 9 };
        let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0)).codec(Codec::Lz4, None);
        builder = builder.producer(producer, false);
        for at in 0..50 {
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"1")), (b"h", None)];
            let timestamp = Timestamp::new(1_000 - at);
            builder.push(&NewRecord { timestamp, key: Some(b"k"), value: None, headers });
        }
        let mut sent = Vec::new();
        builder.finish(&mut sent).expect("compresses");
        let batch = Rules {
            batch_bytes_max: 1 << 20,
            decompressed_bytes_max: 1 << 20,
            needs_keys: false,
            timestamps: None,
            is_rewritten: false,
        };
        let rules = LeaderRules { batch, log_append_time: false };
        let made = recompress(&sent, &rules, Codec::Zstd, Some(1)).expect("valid");
        let (sent, made) = (BatchRef::parse(&sent).expect("whole"), BatchRef::parse(&made).expect("whole"));
        assert_eq!(made.header.codec(), Some(Codec::Zstd));
        assert_eq!(made.header.producer(), Some(producer));
        made.check_crc().expect("sealed");
        let (before, after) = (sent.records(1 << 20).expect("lz4"), made.records(1 << 20).expect("zstd"));
        let flat = |records: &wire::batch::Records<'_>| -> Vec<_> {
            let each = records.iter().map(|record| record.expect("whole"));
            each.map(|it| (it.offset, it.timestamp, it.headers.count())).collect()
        };
        assert_eq!(flat(&before), flat(&after));
    }
}
