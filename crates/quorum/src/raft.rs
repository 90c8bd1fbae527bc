//! openraft: its types, its runtime, its settings.

pub(crate) mod config;
pub(crate) mod machine;
pub(crate) mod runtime;
pub(crate) mod types;
