//! One partition's replication: leader, follower, in-sync set and high watermark as pure state machines.
