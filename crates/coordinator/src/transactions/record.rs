//! Records of `__transaction_state`: as bytes for the log, and as what they mean.

use std::sync::Arc;

use model::{ProducerEpoch, ProducerId, Timestamp};
use proto::transactions::{PartitionsSchema, TransactionLogKey, TransactionLogValue, from_value, value};
use proto::{DecodeError, EncodeError};

use super::state::State;
use super::transaction::{Place, Transaction};
use crate::record::Record;

/// Kafka's "none".
const NONE: i64 = -1;

/// Why a record of the log could not be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Not about a transactional id. Kafka passes over such a record (KIP-915); whoever loads may do the same.
    #[error(
        "the record at offset {offset} of __transaction_state has the unknown type {kind}: run the release that wrote it"
    )]
    UnknownType {
        /// Where it stands.
        offset: i64,
        /// As read.
        kind: i16,
    },
    /// A record that cannot be read: half of one, or a version of a later release.
    #[error("the record at offset {offset} of __transaction_state cannot be read: {cause}")]
    Unreadable {
        /// Where it stands.
        offset: i64,
        /// What is wrong.
        cause: DecodeError,
    },
    /// A state that is never written.
    #[error("the record at offset {offset} of __transaction_state has the unknown state {state}")]
    UnknownState {
        /// Where it stands.
        offset: i64,
        /// As read.
        state: i8,
    },
}

/// Reads a record as it stands at `offset`: the transactional id, and what is known of it.
pub fn read(
    key: &[u8],
    bytes: Option<&[u8]>,
    offset: i64,
) -> Result<(Arc<str>, Option<Transaction>), ReplayError> {
    let unreadable = |cause| match cause {
        DecodeError::Type { key } => ReplayError::UnknownType { offset, kind: key },
        cause => ReplayError::Unreadable { offset, cause },
    };
    let key = TransactionLogKey::from_bytes(key).map_err(unreadable)?;
    let id = key.transactional_id.into();
    let Some(bytes) = bytes else { return Ok((id, None)) };
    let value: TransactionLogValue = from_value(bytes).map_err(unreadable)?;
    let number = value.transaction_status;
    let state = State::from_number(number).ok_or(ReplayError::UnknownState { offset, state: number })?;
    Ok((id, Some(from_log(state, value))))
}

fn from_log(state: State, value: TransactionLogValue) -> Transaction {
    let partitions = value.transaction_partitions.into_iter().flatten().flat_map(|topic| {
        let name: Arc<str> = topic.topic.into();
        topic.partition_ids.into_iter().map(move |partition| Place { topic: name.clone(), partition })
    });
    Transaction {
        state,
        producer_id: ProducerId::new(value.producer_id),
        previous_producer_id: ProducerId::from_wire(value.previous_producer_id),
        next_producer_id: ProducerId::from_wire(value.next_producer_id),
        epoch: ProducerEpoch::new(value.producer_epoch),
        last_epoch: None,
        timeout_ms: value.transaction_timeout_ms,
        partitions: partitions.collect(),
        started_at: Some(value.transaction_start_timestamp_ms).filter(|time| *time >= 0).map(Timestamp::new),
        updated_at: Timestamp::new(value.transaction_last_update_timestamp_ms),
        version: value.client_transaction_version,
    }
}

/// The record that says it, as a cluster of this `transaction.version` writes it.
pub fn write(id: &str, transaction: Option<&Transaction>, cluster: i16) -> Result<Record, EncodeError> {
    let key = TransactionLogKey { transactional_id: id.to_owned() }.to_bytes()?;
    // Before `transaction.version` 1 nobody can read the first version with tagged fields.
    let version = cluster.clamp(0, 1);
    let value = transaction.map(|known| value(version, &to_log(known, version))).transpose()?;
    Ok(Record { key, value })
}

fn to_log(known: &Transaction, version: i16) -> TransactionLogValue {
    let mut topics: Vec<PartitionsSchema> = Vec::new();
    for place in &known.partitions {
        match topics.last_mut() {
            Some(last) if *last.topic == *place.topic => last.partition_ids.push(place.partition),
            _ => topics.push(PartitionsSchema {
                topic: place.topic.to_string(),
                partition_ids: vec![place.partition],
            }),
        }
    }
    let tagged = |id: Option<ProducerId>| id.filter(|_| version > 0).map_or(NONE, ProducerId::get);
    TransactionLogValue {
        producer_id: known.producer_id.get(),
        previous_producer_id: tagged(known.previous_producer_id),
        next_producer_id: tagged(known.next_producer_id),
        producer_epoch: known.epoch.get(),
        next_producer_epoch: -1,
        transaction_timeout_ms: known.timeout_ms,
        transaction_status: known.state.number(),
        transaction_partitions: (known.state != State::Empty).then_some(topics),
        transaction_last_update_timestamp_ms: known.updated_at.get(),
        transaction_start_timestamp_ms: known.started_at.map_or(NONE, Timestamp::get),
        client_transaction_version: if version > 0 { known.version } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ongoing() -> Transaction {
        let begun = Transaction::begin(ProducerId::new(7), 60_000, Timestamp::new(1));
        let places = [Place::new("t", 1), Place::new("t", 0), Place::new("u", 3)];
        begun.extended(places, 2, Timestamp::new(5))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let prepared = ongoing().prepared(true, 2, Some(ProducerId::new(9)), Timestamp::new(6));
        for known in [ongoing(), prepared.completed(Timestamp::new(8)), prepared] {
            let record = write("x", Some(&known), 2).expect("it fits");
            let read = read(&record.key, record.value.as_deref(), 0).expect("we wrote it");
            assert_eq!(read, ("x".into(), Some(Transaction { last_epoch: None, ..known })));
        }
    }

    #[test]
    fn an_older_cluster_gets_the_older_version_without_what_it_cannot_say() {
        let record = write("x", Some(&ongoing()), 0).expect("it fits");
        let value = record.value.expect("no tombstone");
        assert_eq!(value[..2], [0, 0]);
        let (_, known) = read(&record.key, Some(&value), 0).expect("we wrote it");
        let known = known.expect("no tombstone");
        assert_eq!((known.previous_producer_id, known.version), (None, 0));
    }

    #[test]
    fn what_cannot_be_read_says_where_it_stands() {
        let record = write("x", Some(&ongoing()), 2).expect("it fits");
        let mut value = record.value.expect("no tombstone");
        value.pop();
        let error = read(&record.key, Some(&value), 5).expect_err("it is cut");
        assert!(matches!(error, ReplayError::Unreadable { offset: 5, .. }), "{error}");
        let error = read(&[0, 9], None, 6).expect_err("another type");
        assert_eq!(error, ReplayError::UnknownType { offset: 6, kind: 9 });
        // The state is the byte after id, epoch and timeout.
        let mut value = write("x", Some(&ongoing()), 2).expect("it fits").value.expect("no tombstone");
        value[2 + 8 + 2 + 4] = 6;
        let error = read(&record.key, Some(&value), 7).expect_err("nobody is dead in the log");
        assert_eq!(error, ReplayError::UnknownState { offset: 7, state: 6 });
    }
}
