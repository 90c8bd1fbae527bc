//! Groups of the new protocol on their own.
