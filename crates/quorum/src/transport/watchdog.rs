//! Notices at once when the leader's process dies.
//!
//! A follower keeps one idle connection to the leader. When the process dies, the
//! kernel closes it; when the reconnect is then refused, nothing listens there any
//! more, and waiting for the lease would only cost time. Silence proves nothing and is
//! left to the election timeout.

use std::sync::Arc;
use std::time::Duration;

use model::{LeaderEpoch, NodeId};
use tokio::sync::watch;

use super::peers::Peers;

/// Between two attempts to reach a leader that neither answers nor refuses.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// A leader and its epoch.
pub(crate) type Led = Option<(NodeId, LeaderEpoch)>;

/// Watches whoever leads; calls `gone` when its process is proved dead. Runs until `led` closes.
pub(crate) async fn watch_leader(
    peers: Arc<Peers>,
    mut led: watch::Receiver<Led>,
    gone: impl Fn(NodeId, LeaderEpoch),
) {
    loop {
        let leader = *led.borrow_and_update();
        let remote = leader.filter(|(leader, _)| *leader != peers.node);
        let changed = led.changed();
        let outcome = match remote {
            None => changed.await.map(|()| None),
            Some((leader, epoch)) => tokio::select! {
                biased;
                changed = changed => changed.map(|()| None),
                () = until_refused(&peers, leader) => Ok(Some((leader, epoch))),
            },
        };
        match outcome {
            Err(_) => return,
            Ok(None) => {}
            Ok(Some((leader, epoch))) => {
                gone(leader, epoch);
                if led.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Returns once a connection to `leader` broke, or could not be made, and a connect is refused.
async fn until_refused(peers: &Peers, leader: NodeId) {
    loop {
        match peers.dial(leader, None).await {
            Ok(connection) => connection.closed().await,
            Err(error) if error.is_refused() => return,
            Err(_) => tokio::time::sleep(RETRY_AFTER).await,
        }
    }
}
