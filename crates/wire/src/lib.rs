//! The Kafka protocol: framing, bounds, versions, messages, record batches, codecs.
