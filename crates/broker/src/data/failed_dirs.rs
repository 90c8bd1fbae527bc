//! Log directories that failed: out of service as a whole, and told to the controller.
//!
//! A write or a sync that fails says that the disk below can be trusted no more. As in
//! Kafka, every partition of the directory is offline then until a restart, and the
//! next heartbeat has the controller move what it led. Nothing is tried again here: a
//! disk that comes and goes loses records.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::DirectoryId;
use tokio::sync::watch;

use crate::data::fetchers::Fetching;
use crate::data::plane::Plane;
use crate::running::Running;

/// Where failures are reported; positions in `log.dirs`. Cheap to clone.
#[derive(Clone)]
pub struct FailedDirs {
    dirs: watch::Sender<BTreeSet<usize>>,
    running: Arc<Running>,
}

impl FailedDirs {
    /// None yet; with the first one the marks of `running` go.
    pub fn new(running: Running) -> Self {
        Self { dirs: watch::Sender::default(), running: Arc::new(running) }
    }

    /// Says that `dir` failed. May be said under a partition's lock.
    pub fn report(&self, dir: usize) {
        if self.dirs.send_if_modified(|failed| failed.insert(dir)) {
            // At once: a process that is killed next must not seem to have lost nothing.
            self.running.withdraw();
        }
    }

    /// Whether `dir` failed.
    pub fn contains(&self, dir: usize) -> bool {
        self.dirs.borrow().contains(&dir)
    }
}

/// Takes failed directories out of service until the node stops.
pub async fn run(plane: Arc<Plane>) {
    let mut failed = plane.failed_dirs.dirs.subscribe();
    // One may have been reported before this task began.
    failed.mark_changed();
    loop {
        tokio::select! {
            changed = failed.changed() => if changed.is_err() { return },
            () = plane.stop.cancelled() => return,
        }
        let dirs = failed.borrow_and_update().clone();
        if !dirs.is_empty() {
            take_offline(&plane, &dirs);
        }
    }
}

fn take_offline(plane: &Arc<Plane>, dirs: &BTreeSet<usize>) {
    let mut fetching = Fetching::default();
    for partition in plane.partitions() {
        {
            let mut state = partition.lock();
            if !dirs.contains(&state.dir) {
                continue;
            }
            state.fail();
        }
        fetching.stop(partition.key);
        partition.waiters.wake();
    }
    plane.fetchers.change(plane, fetching, &BTreeSet::new());
    let named = |dir: &usize| plane.options.log_dirs.get(*dir);
    let ids: BTreeSet<DirectoryId> = dirs.iter().filter_map(named).map(|(_, id)| *id).collect();
    let known = plane.options.offline_dirs.send_replace(ids);
    for (path, _) in dirs.iter().filter_map(named).filter(|(_, id)| !known.contains(id)) {
        tracing::error!(
            node = %plane.options.node, dir = %path.display(),
            "a log directory failed; its partitions are offline until its disk works and this node is restarted"
        );
    }
}
