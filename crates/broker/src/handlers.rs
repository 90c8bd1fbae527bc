//! One file per API about the metadata: what a request of it is answered.
//!
//! A handler reads the published image or asks the controller. It decides nothing
//! about the cluster: that is the controller's.

pub mod acls;
pub mod api_versions;
pub mod decide;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod envelope;
pub mod fetch_snapshot;
pub mod find_coordinator;
pub mod forward;
pub mod list_config_resources;
pub mod metadata;
pub mod metadata_fetch;
pub mod view;
