//! What a decision may look at, and the questions decisions share.
//!
//! The image is the working one, ahead of what is committed. Everything that is not
//! in it (time, chance, where the log ends, who was heard) comes in beside it.

use config::{Layers, Overrides};
use metadata::{Broker, ConfigResource, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED, Image, Partition, Topic};
use model::{DirectoryId, Millis, NodeId, Offset, PartitionIndex, TopicId};

use crate::placement::Usable;
use crate::sessions::Sessions;
use crate::settings::{ELIGIBLE_LEADER_REPLICAS_VERSION, METADATA_VERSION_ELR, Settings};

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";

/// What a decision may look at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The cluster with all that was decided before.
    pub image: &'a Image,
    /// Who was heard of.
    pub sessions: &'a Sessions,
    /// This controller's configuration.
    pub settings: &'a Settings,
    /// What time it is.
    pub now: Millis,
    /// The offset that the first record of this decision will have.
    pub next_offset: Offset,
    /// Drawn anew for each decision: topic ids and placement come of it.
    pub seed: u64,
}

/// A partition's address.
pub type Place = (TopicId, PartitionIndex);

impl<'a> View<'a> {
    /// Whether a broker may lead and be in sync: it is registered, not fenced, and not stopping.
    pub fn is_active(&self, node: NodeId) -> bool {
        self.image.broker(node).is_some_and(is_active)
    }

    /// Every broker as placement sees it. One that stops counts as fenced: it is about to be. One all of whose
    /// directories are cordoned is left out (KIP-1066).
    pub fn usable_brokers(&self) -> Vec<Usable> {
        let usable = |broker: &Broker| Usable {
            node: broker.id,
            rack: broker.rack.clone(),
            fenced: !is_active(broker),
        };
        self.image.brokers().filter(|broker| has_uncordoned_dirs(broker)).map(usable).collect()
    }

    /// Where a new replica on that broker lies, as far as the controller can know: in its only
    /// directory. With several the broker chooses, and says so with AssignReplicasToDirs.
    pub fn default_dir(&self, node: NodeId) -> DirectoryId {
        match self.image.broker(node).map(|broker| broker.log_dirs.as_slice()) {
            Some([only]) => *only,
            Some([]) => DIRECTORY_MIGRATING,
            Some(_) | None => DIRECTORY_UNASSIGNED,
        }
    }

    /// Whether eligible leader replicas are kept (KIP-966).
    pub fn elr_enabled(&self) -> bool {
        let level = self.image.feature(ELIGIBLE_LEADER_REPLICAS_VERSION).unwrap_or(0);
        level > 0 && self.image.metadata_version().level() >= METADATA_VERSION_ELR
    }

    /// The partitions with that broker in the in-sync set, topic by topic.
    pub fn in_sync_on(&self, node: NodeId) -> Vec<Place> {
        self.places_on(node, |partition| partition.isr.contains(&node))
    }

    /// The partitions for which that broker is an eligible leader, topic by topic.
    pub fn eligible_on(&self, node: NodeId) -> Vec<Place> {
        self.places_on(node, |partition| partition.elr.contains(&node))
    }

    /// The partitions without a leader that have a replica on that broker, topic by topic.
    pub fn leaderless_on(&self, node: NodeId) -> Vec<Place> {
        self.places_on(node, |partition| partition.leader.is_none())
    }

    fn places_on(&self, node: NodeId, such: impl Fn(&Partition) -> bool) -> Vec<Place> {
        let all = self.image.partitions_on(node).filter(|(_, _, partition)| such(partition));
        all.map(|(topic, index, _)| (topic.id, index)).collect()
    }

    /// Whether that broker leads anything.
    pub fn leads_any(&self, node: NodeId) -> bool {
        self.image.partitions_on(node).any(|(_, _, partition)| partition.leader == Some(node))
    }

    /// Every partition, by topic name and index.
    pub fn partitions(&self) -> impl Iterator<Item = (&'a Topic, PartitionIndex, &'a Partition)> + use<'a> {
        let image = self.image;
        image
            .topics()
            .flat_map(|topic| topic.partitions().map(move |(index, partition)| (topic, index, partition)))
    }

    /// The values set for all brokers at run time; what topics inherit, before the file.
    pub fn cluster_configs(&self) -> Overrides {
        self.image.configs(&ConfigResource::all_brokers()).cloned().unwrap_or_default()
    }

    /// The layers that a topic's configs lie over.
    pub fn layers<'b>(&self, cluster: &'b Overrides, none: &'b Overrides) -> Layers<'b>
    where
        'a: 'b,
    {
        Layers { broker: none, cluster, file: &self.settings.static_configs }
    }

    /// `min.insync.replicas` of a topic.
    pub fn min_insync_replicas(&self, topic: &str) -> usize {
        let set = self.inherited(topic, MIN_INSYNC_REPLICAS);
        set.and_then(|text| text.trim().parse().ok()).unwrap_or(1)
    }

    /// `unclean.leader.election.enable` of a topic.
    pub fn unclean_allowed(&self, topic: &str) -> bool {
        let set = self.inherited(topic, UNCLEAN_LEADER_ELECTION);
        set.is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
    }

    /// A key of the same name for topics and brokers, where it is set first. Read here and not by
    /// resolving all of a topic's keys: an election asks this of thousands of topics.
    fn inherited(&self, topic: &str, key: &str) -> Option<&'a str> {
        let of = |resource| self.image.configs(&resource).and_then(|configs| configs.get(key));
        let own = of(ConfigResource::topic(topic)).or_else(|| of(ConfigResource::all_brokers()));
        own.or_else(|| self.settings.static_configs.get(key)).map(String::as_str)
    }
}

fn is_active(broker: &Broker) -> bool {
    !broker.fenced && !broker.in_controlled_shutdown
}

/// Whether a new replica may be put on it; a broker that does not tell of directories takes any.
fn has_uncordoned_dirs(broker: &Broker) -> bool {
    let cordoned = broker.cordoned_log_dirs.as_deref().unwrap_or_default();
    broker.log_dirs.is_empty() || !broker.log_dirs.iter().all(|dir| cordoned.contains(dir))
}
