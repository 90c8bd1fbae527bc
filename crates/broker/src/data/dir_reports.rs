//! Tells the controller in which directory each replica lies (KIP-858, AssignReplicasToDirs).
//!
//! Only where there are several directories: of a broker with one the controller knows
//! by itself. Without it, a directory that fails would keep its leaderships: the
//! controller moves what it knows to lie there. What is told is compared with the
//! metadata, so a lost answer costs a repetition and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{BrokerEpoch, DirectoryId, ErrorCode};
use tokio::time::Instant;
use wire::messages::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
use wire::messages::{AssignReplicasToDirsRequest, BrokerId, ResponseKind, to_wire_uuid};

use crate::data::partition::Key;
use crate::data::plane::Plane;

const VERSION: i16 = 0;
/// Replicas of one request, as from Kafka's brokers.
const REPLICAS_MAX: usize = 2_250;
/// How long the controller is waited for.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Changes come in flocks; they are looked at together.
const GATHER: Duration = Duration::from_millis(100);

type Misplaced = BTreeMap<DirectoryId, Vec<Key>>;

/// Reports until the node stops.
pub async fn run(plane: Arc<Plane>) {
    if plane.options.log_dirs.len() < 2 {
        return;
    }
    let stop = plane.stop.clone();
    let reporting = async {
        let mut applied = plane.applied.subscribe();
        applied.mark_changed();
        while applied.changed().await.is_ok() {
            tokio::time::sleep(GATHER).await;
            applied.mark_unchanged();
            while let Some(epoch) = plane.options.broker.get().epoch {
                let misplaced = misplaced(&plane);
                if misplaced.is_empty() || report(&plane, epoch, misplaced).await {
                    break;
                }
                tokio::time::sleep(GATHER).await;
            }
        }
    };
    tokio::select! {
        () = reporting => {}
        () = stop.cancelled() => {}
    }
}

/// Replicas that the metadata places elsewhere than they are, or nowhere.
fn misplaced(plane: &Plane) -> Misplaced {
    let picture = plane.options.published.get();
    let mut misplaced = Misplaced::new();
    let mut count = 0;
    for partition in plane.partitions() {
        let (topic, index) = partition.key;
        let Some(known) = picture.image.partition(topic, index) else { continue };
        let dir = partition.lock().dir;
        let Some((_, actual)) = plane.options.log_dirs.get(dir) else { continue };
        if known.directory(plane.options.node).is_some_and(|told| told != *actual) {
            misplaced.entry(*actual).or_default().push(partition.key);
            count += 1;
        }
        // The records of these change the metadata, and then the others follow.
        if count == REPLICAS_MAX {
            break;
        }
    }
    misplaced
}

/// Whether the controller took it; its records come with the metadata.
async fn report(plane: &Plane, epoch: BrokerEpoch, misplaced: Misplaced) -> bool {
    let request = AssignReplicasToDirsRequest::default()
        .with_broker_id(BrokerId(plane.options.node.get()))
        .with_broker_epoch(epoch.get())
        .with_directories(misplaced.into_iter().map(|(dir, keys)| directory(dir, &keys)).collect());
    let code = match plane.options.controllers.request(VERSION, request, Instant::now() + TIMEOUT).await {
        Ok(ResponseKind::AssignReplicasToDirs(response)) => ErrorCode::from_code(response.error_code),
        Ok(_) => return true,
        Err(error) => {
            tracing::debug!(node = %plane.options.node, %error, "the controller does not know yet where replicas lie");
            return false;
        }
    };
    if code.is_error() {
        tracing::info!(node = %plane.options.node, %code, "the controller did not note where replicas lie");
    }
    // A new registration will change the metadata, and that is looked at again.
    true
}

fn directory(id: DirectoryId, keys: &[Key]) -> DirectoryData {
    let topics = keys.chunk_by(|one, other| one.0 == other.0).map(|keys| {
        let partitions =
            keys.iter().map(|(_, index)| PartitionData::default().with_partition_index(index.get()));
        TopicData::default().with_topic_id(to_wire_uuid(keys[0].0)).with_partitions(partitions.collect())
    });
    DirectoryData::default().with_id(to_wire_uuid(id)).with_topics(topics.collect())
}
