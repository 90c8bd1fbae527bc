//! Metadata transactions (KIP-868): records that count all together or not at all.
//!
//! They wait in the image, so that a copy, a snapshot and a restart keep them; nobody sees
//! them before the end. Their number is not bounded here: they are in the log already.

use std::sync::Arc;

use imbl::Vector;
use model::Offset;
use proto::metadata::{BeginTransactionRecord, MetadataRecord};

use crate::changes::Changes;
use crate::error::ReplayError;
use crate::image::Image;

/// A transaction that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) name: Option<String>,
    /// For messages; a snapshot does not keep it, so it is no part of what images compare.
    begun: Offset,
    pub(crate) records: Vector<Arc<MetadataRecord>>,
}

impl PartialEq for Transaction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.records == other.records
    }
}

impl Transaction {
    pub(crate) fn hold(&mut self, record: &MetadataRecord) {
        self.records.push_back(Arc::new(record.clone()));
    }
}

impl Image {
    pub(crate) fn begin(&mut self, at: Offset, record: &BeginTransactionRecord) -> Result<(), ReplayError> {
        if let Some(open) = &self.transaction {
            let had = format!("the transaction begun at offset {} has not ended", open.begun);
            return Err(ReplayError::Transaction { record: "BeginTransactionRecord", had });
        }
        self.transaction = Some(Transaction { name: record.name.clone(), begun: at, records: Vector::new() });
        Ok(())
    }

    pub(crate) fn end(&mut self, changes: &mut Changes) -> Result<(), ReplayError> {
        let transaction = self.take_transaction("EndTransactionRecord")?;
        transaction.records.iter().try_for_each(|record| self.apply(record, changes))
    }

    pub(crate) fn abort(&mut self) -> Result<(), ReplayError> {
        self.take_transaction("AbortTransactionRecord").map(drop)
    }

    fn take_transaction(&mut self, record: &'static str) -> Result<Transaction, ReplayError> {
        let none = || ReplayError::Transaction { record, had: "no transaction has begun".to_owned() };
        self.transaction.take().ok_or_else(none)
    }

    /// Whether a transaction has begun and not ended: the image then lags behind the log.
    pub fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }
}
