//! Situations and their outcome.
