//! Who judges a run: what clients saw (Jepsen's anomalies), what nodes held (the cluster's
//! invariants), and whether enough happened for the verdict to mean something.
//!
//! Pure: histories and views go in, violations come out. No node, socket or clock.

pub mod anomalies;
pub mod coverage;
pub mod groups;
pub mod history;
pub mod invariants;
pub mod promise;
pub mod transactions;
pub mod view;
