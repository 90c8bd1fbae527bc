//! What a decision comes to, and how refusals are told to a client.

use model::ErrorCode;
use proto::metadata::MetadataRecord;
use wire::messages::StrBytes;

use crate::sessions::Contact;

/// What a decision comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<R> {
    /// What the log must hold before the response goes out, in order, all or nothing.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub response: R,
    /// What it learnt about a session; apply it at once, committed or not.
    pub contact: Option<Contact>,
}

impl<R> Decision<R> {
    /// An answer that changes nothing.
    pub fn answer(response: R) -> Self {
        Self { records: Vec::new(), response, contact: None }
    }

    /// An answer that stands once `records` are committed.
    pub fn new(records: Vec<MetadataRecord>, response: R) -> Self {
        Self { records, response, contact: None }
    }

    /// The same with another answer.
    pub fn map<S>(self, answer: impl FnOnce(R) -> S) -> Decision<S> {
        Decision { records: self.records, response: answer(self.response), contact: self.contact }
    }
}

/// An error as responses carry it. Each decision's own enum becomes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// The message, in Kafka's words.
    pub message: String,
}

impl Refusal {
    /// A refusal with its message.
    pub fn new(code: ErrorCode, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }

    /// The message as a response's field.
    pub fn text(&self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.message.clone()))
    }
}
