//! Generated codecs: metadata records, control records, quorum state, and the quorum's own RPCs.
