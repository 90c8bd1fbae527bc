//! Segmented logs on disk in Kafka's format, behind the Disk seam.
