//! The seams between the data plane and the coordinators of transactions and groups.
//!
//! The plane asks a [`TxnVerifier`] before a transaction begins in a partition, and
//! tells a [`MarkerListener`] when one ended in `__consumer_offsets`. Both can be set
//! once the coordinators are there; until then the network is asked, and nobody told.

use std::sync::{Arc, PoisonError, RwLock};

use crate::data::DataOptions;
use crate::data::verify::{Coordinators, TxnVerifier};
use crate::data::write_txn_markers::MarkerListener;

/// Who is asked and who is told.
pub struct Seams {
    verifier: RwLock<Arc<dyn TxnVerifier>>,
    listener: RwLock<Option<Arc<dyn MarkerListener>>>,
}

impl Seams {
    /// The coordinators of the cluster are asked; nobody is told.
    pub fn new(options: &DataOptions) -> Self {
        let coordinators: Arc<dyn TxnVerifier> = Arc::new(Coordinators::new(options));
        Self { verifier: RwLock::new(coordinators), listener: RwLock::default() }
    }

    /// Whom to ask.
    pub fn verifier(&self) -> Arc<dyn TxnVerifier> {
        self.verifier.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has somebody else asked.
    pub fn set_verifier(&self, verifier: Arc<dyn TxnVerifier>) {
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
    }

    /// Whom to tell.
    pub fn listener(&self) -> Option<Arc<dyn MarkerListener>> {
        self.listener.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has somebody told.
    pub fn set_listener(&self, listener: Arc<dyn MarkerListener>) {
        *self.listener.write().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }
}
