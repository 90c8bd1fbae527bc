//! The seams between the data plane and the coordinators of transactions and groups.
//!
//! The plane asks a [`TxnVerifier`] before a transaction begins in a partition, and
//! has a [`MarkerWriter`] end it in `__consumer_offsets`. Both can be set once the
//! coordinators are there; until then the network is asked, and every partition alike.

use std::sync::{Arc, PoisonError, RwLock};

use crate::data::DataOptions;
use crate::data::verify::{Coordinators, TxnVerifier};
use crate::data::write_txn_markers::MarkerWriter;

/// Who is asked and who ends transactions.
pub struct Seams {
    verifier: RwLock<Arc<dyn TxnVerifier>>,
    writer: RwLock<Option<Arc<dyn MarkerWriter>>>,
}

impl Seams {
    /// The coordinators of the cluster are asked; no partition is another's to end.
    pub fn new(options: &DataOptions) -> Self {
        let coordinators: Arc<dyn TxnVerifier> = Arc::new(Coordinators::new(options));
        Self { verifier: RwLock::new(coordinators), writer: RwLock::default() }
    }

    /// Whom to ask.
    pub fn verifier(&self) -> Arc<dyn TxnVerifier> {
        self.verifier.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has somebody else asked.
    pub fn set_verifier(&self, verifier: Arc<dyn TxnVerifier>) {
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
    }

    /// Who ends transactions of `__consumer_offsets`.
    pub fn writer(&self) -> Option<Arc<dyn MarkerWriter>> {
        self.writer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has somebody end transactions of `__consumer_offsets`.
    pub fn set_writer(&self, writer: Arc<dyn MarkerWriter>) {
        *self.writer.write().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }
}
