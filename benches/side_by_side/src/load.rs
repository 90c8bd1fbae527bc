//! The lean load generator: requests encoded beforehand, blocking sockets, a thread a connection.
//!
//! It writes many requests with one call, reads many answers with one, and looks
//! at no more of an answer than its length and error codes, so that what is
//! measured is the server.

pub mod fetch;
pub mod frames;
pub mod members;
pub mod paced;
pub mod produce;
