//! The metadata quorum: openraft over a Kafka-format log.
