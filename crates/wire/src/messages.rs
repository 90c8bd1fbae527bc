//! Kafka's messages and the small types inside them.
//!
//! Everything is kafka-protocol's, under our name so that no other crate says
//! its. Strings and byte runs are slices of the frame they came in: copy what is
//! kept, or one topic name pins a hundred megabytes.

pub use bytes::Bytes;
pub use kafka_protocol::messages::*;
pub use kafka_protocol::protocol::StrBytes;

/// The UUID type of the messages' fields.
pub type WireUuid = uuid::Uuid;

/// A field's value of an id of ours.
pub const fn to_wire_uuid(id: model::Uuid) -> WireUuid {
    WireUuid::from_bytes(*id.as_bytes())
}

/// Our id of a field's value.
pub const fn from_wire_uuid(id: WireUuid) -> model::Uuid {
    model::Uuid::from_bytes(*id.as_bytes())
}

/// A string field's value; the text is copied.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic field's value; the name is copied.
pub fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}
