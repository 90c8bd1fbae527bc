//! openraft's settings, and why each differs from its default.

use std::sync::Arc;
use std::time::Duration;

use model::Mutant;
use openraft::{Config, ConfigError, SnapshotPolicy, StepDownPolicy};

use crate::options::Tuning;

/// Entries in one replication request; bytes bound it first (`store::raft_storage`).
const ENTRIES_MAX: u64 = 512;
/// How long a snapshot may take to reach a follower and be installed.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// The settings for `tuning`.
pub(crate) fn config(tuning: &Tuning) -> Result<Arc<Config>, ConfigError> {
    let timeout = u64::try_from(tuning.election_timeout.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "__cluster_metadata".to_owned(),
        // A follower stands once the leader's lease (`max`) and a draw from `min..max` have passed, so
        // half the configured timeout and the whole of it make it stand after 1.5 to 2 of them. A leader
        // whose process died is replaced without any of this (`transport::watchdog`).
        election_timeout_min: (timeout / 2).max(2),
        election_timeout_max: timeout.max(4),
        heartbeat_interval: (timeout / 7).max(1),
        install_snapshot_timeout: u64::try_from(SNAPSHOT_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        max_payload_entries: ENTRIES_MAX,
        // By bytes, which openraft does not count: `quorum::driver` asks for snapshots.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: tuning.batches_behind_snapshot,
        // A follower gets entries as long as there are any; only a purged log calls for a snapshot.
        replication_lag_threshold: u64::MAX,
        removed_leader_step_down: StepDownPolicy::After(timeout),
        // A node that cannot win must not disturb one that leads.
        enable_pre_vote: Some(true),
        // On by default, and loses acknowledged writes: a leader that crashed before its own fsync would
        // lead the same term again and use an index twice.
        enable_leader_restore: Some(Mutant::LeaderRestored.is_planted()),
        // A voter whose log went back has lost what it promised.
        allow_log_reversion: Some(false),
        ..Config::default()
    };
    Ok(Arc::new(config.validate()?))
}
