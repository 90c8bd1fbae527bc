//! The APIs this cluster serves: keys, versions, on which listeners.
//!
//! Our own table, not the library's: a broker advertises what it really serves.
//! It follows Apache Kafka 4.3 as far as the library's versions (4.1) reach. A
//! request outside the table is refused before its body is looked at.

pub use kafka_protocol::messages::ApiKey;

/// What a listener is for. A combined node has both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerKind {
    /// Clients and other brokers.
    Broker,
    /// Controllers, and brokers that ask them.
    Controller,
}

/// On which listeners an API is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listeners {
    /// Brokers' alone.
    Broker,
    /// Controllers' alone.
    Controller,
    /// Both.
    Both,
}

impl Listeners {
    /// Whether `kind` is among them.
    pub const fn include(self, kind: ListenerKind) -> bool {
        matches!(
            (self, kind),
            (Self::Both, _)
                | (Self::Broker, ListenerKind::Broker)
                | (Self::Controller, ListenerKind::Controller)
        )
    }
}

/// One served API.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// Its key, which also names its message types.
    pub key: ApiKey,
    /// Its name as Kafka writes it.
    pub name: &'static str,
    /// The first version answered.
    pub min: i16,
    /// The last version answered.
    pub max: i16,
    /// The first version with compact lengths and tagged fields (KIP-482), if any has.
    pub flexible_from: Option<i16>,
    /// Where it is served.
    pub listeners: Listeners,
}

/// What an ApiVersions response says of one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The API's key.
    pub key: i16,
    /// The first version.
    pub min: i16,
    /// The last version.
    pub max: i16,
}

macro_rules! served {
    ($($name:ident $min:literal..=$max:literal, $flexible:expr, $listeners:ident;)*) => {
        /// Every served API, by rising key.
        pub const SERVED: &[Api] = &[$(Api {
            key: ApiKey::$name,
            name: stringify!($name),
            min: $min,
            max: $max,
            flexible_from: $flexible,
            listeners: Listeners::$listeners,
        }),*];
    };
}

served! {
    Produce 3..=13, Some(9), Broker;
    // Version 18 adds a hint for the long poll of the metadata log's voters (KIP-1166), which none of Kafka's
    // are here; Kafka's brokers send it without asking. 17 is what our fetchers need.
    Fetch 4..=18, Some(12), Both;
    ListOffsets 1..=10, Some(6), Broker;
    Metadata 0..=13, Some(9), Broker;
    OffsetCommit 2..=9, Some(8), Broker;
    OffsetFetch 1..=9, Some(6), Broker;
    FindCoordinator 0..=6, Some(3), Broker;
    JoinGroup 0..=9, Some(6), Broker;
    Heartbeat 0..=4, Some(4), Broker;
    LeaveGroup 0..=5, Some(4), Broker;
    SyncGroup 0..=5, Some(4), Broker;
    DescribeGroups 0..=6, Some(5), Broker;
    ListGroups 0..=5, Some(3), Broker;
    ApiVersions 0..=4, Some(3), Both;
    CreateTopics 2..=7, Some(5), Both;
    DeleteTopics 1..=6, Some(4), Both;
    DeleteRecords 0..=2, Some(2), Broker;
    // Version 6 is two-phase commit (KIP-939), unstable in every release so far.
    InitProducerId 0..=5, Some(2), Broker;
    OffsetForLeaderEpoch 2..=4, Some(4), Broker;
    AddPartitionsToTxn 0..=5, Some(3), Broker;
    AddOffsetsToTxn 0..=4, Some(3), Broker;
    EndTxn 0..=5, Some(3), Broker;
    WriteTxnMarkers 1..=1, Some(1), Broker;
    TxnOffsetCommit 0..=5, Some(3), Broker;
    DescribeAcls 1..=3, Some(2), Broker;
    CreateAcls 1..=3, Some(2), Broker;
    DeleteAcls 1..=3, Some(2), Broker;
    DescribeConfigs 1..=4, Some(4), Both;
    AlterConfigs 0..=2, Some(2), Both;
    AlterReplicaLogDirs 1..=2, Some(2), Broker;
    DescribeLogDirs 1..=4, Some(2), Broker;
    CreatePartitions 0..=3, Some(2), Both;
    DeleteGroups 0..=2, Some(2), Broker;
    ElectLeaders 0..=2, Some(2), Both;
    IncrementalAlterConfigs 0..=1, Some(1), Both;
    AlterPartitionReassignments 0..=0, Some(0), Both;
    ListPartitionReassignments 0..=0, Some(0), Both;
    OffsetDelete 0..=0, None, Broker;
    DescribeQuorum 0..=2, Some(0), Both;
    AlterPartition 2..=3, Some(0), Controller;
    UpdateFeatures 0..=2, Some(0), Both;
    Envelope 0..=0, Some(0), Controller;
    FetchSnapshot 0..=1, Some(0), Controller;
    DescribeCluster 0..=2, Some(0), Both;
    DescribeProducers 0..=0, Some(0), Broker;
    BrokerRegistration 0..=4, Some(0), Controller;
    BrokerHeartbeat 0..=1, Some(0), Controller;
    UnregisterBroker 0..=0, Some(0), Both;
    DescribeTransactions 0..=0, Some(0), Broker;
    ListTransactions 0..=2, Some(0), Broker;
    AllocateProducerIds 0..=0, Some(0), Controller;
    ConsumerGroupHeartbeat 0..=1, Some(0), Broker;
    ConsumerGroupDescribe 0..=1, Some(0), Broker;
    ControllerRegistration 0..=0, Some(0), Controller;
    AssignReplicasToDirs 0..=0, Some(0), Controller;
    ListConfigResources 0..=1, Some(0), Broker;
    DescribeTopicPartitions 0..=0, Some(0), Broker;
}

/// librdkafka reads Produce 0 as its test of a broker's features (KAFKA-18659), so it is advertised;
/// versions 0 to 2 are refused all the same.
const PRODUCE_ADVERTISED_MIN: i16 = 0;

/// Versions past the library's, one each, whose bytes its last version reads and writes. Kafka 4.3's brokers
/// send them without asking what we serve, once `metadata.version` is 4.3.
/// BrokerHeartbeat 2 adds a tagged field to the request: [`cordoned`](crate::cordoned) log directories (KIP-1066).
/// ListOffsets 11 adds a special timestamp, the earliest offset to be uploaded (KIP-1023).
/// WriteTxnMarkers 2 adds a field in between (KIP-1228): [`markers`](crate::markers) writes such a request anew.
/// DescribeLogDirs 5 adds a field to the response, whether a directory is [`cordoned`](crate::cordoned) (KIP-1066).
/// OffsetCommit and OffsetFetch 10 tell topics by their ids: [`topic_ids`](crate::topic_ids) writes those anew.
const BEYOND: &[ApiKey] = &[
    ApiKey::BrokerHeartbeat,
    ApiKey::ListOffsets,
    ApiKey::WriteTxnMarkers,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::DescribeLogDirs,
];

/// The version whose messages read and write what is called `version` on the wire.
pub fn message_version(key: i16, version: i16) -> i16 {
    let beyond = Api::of_number(key).filter(|api| api.max_advertised() == version);
    beyond.map_or(version, |api| api.max)
}

/// The quorum's own RPCs, on controller listeners alone and never advertised. Their bodies are
/// prost messages under version 0, a version-1 request header and a version-0 response header.
pub mod quorum {
    /// Asks for a vote, or whether one would be given.
    pub const VOTE: i16 = 20_000;
    /// Brings entries, or a heartbeat.
    pub const APPEND_ENTRIES: i16 = 20_001;
    /// Brings a piece of a snapshot.
    pub const INSTALL_SNAPSHOT: i16 = 20_002;
    /// Hands leadership over.
    pub const TRANSFER_LEADER: i16 = 20_003;
    /// Their only version.
    pub const VERSION: i16 = 0;

    /// Whether `key` lies in the range kept for them.
    pub const fn is_private(key: i16) -> bool {
        20_000 <= key && key < 20_100
    }
}

impl Api {
    /// The served API of that key.
    pub fn of(key: ApiKey) -> Option<&'static Self> {
        SERVED.iter().find(|api| api.key as i16 == key as i16)
    }

    /// The served API of that number.
    pub fn of_number(key: i16) -> Option<&'static Self> {
        SERVED.iter().find(|api| api.key as i16 == key)
    }

    fn max_advertised(&self) -> i16 {
        let beyond = BEYOND.iter().any(|key| *key as i16 == self.key as i16);
        self.max + i16::from(beyond)
    }

    /// Whether that version is answered.
    pub const fn serves(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// What a listener's ApiVersions response lists.
pub fn advertised(kind: ListenerKind) -> impl Iterator<Item = Advertised> {
    SERVED.iter().filter(move |api| api.listeners.include(kind)).map(|api| {
        let min = if matches!(api.key, ApiKey::Produce) { PRODUCE_ADVERTISED_MIN } else { api.min };
        Advertised { key: api.key as i16, min, max: api.max_advertised() }
    })
}

/// Kafka's name of an API, or the number of one that has none.
pub fn name(key: i16) -> String {
    match ApiKey::try_from(key) {
        Ok(known) => format!("{known:?}"),
        Err(()) => format!("API {key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Api, ApiKey, ListenerKind, SERVED, advertised, message_version, quorum};

    #[test]
    fn every_served_version_has_a_message_type() {
        for api in SERVED {
            let known = api.key.valid_versions();
            assert!(known.min <= api.min && api.max <= known.max, "{}: {known}", api.name);
            assert!(api.min <= api.max, "{}", api.name);
            assert!(!quorum::is_private(api.key as i16));
        }
    }

    #[test]
    fn flexible_versions_are_those_of_the_message_types() {
        for api in SERVED {
            for version in api.min..=api.max {
                let flexible = api.flexible_from.is_some_and(|from| version >= from);
                let header = if flexible { 2 } else { 1 };
                assert_eq!(api.key.request_header_version(version), header, "{} {version}", api.name);
            }
        }
    }

    #[test]
    fn the_table_rises() {
        assert!(SERVED.windows(2).all(|pair| (pair[0].key as i16) < pair[1].key as i16));
    }

    #[test]
    fn produce_is_advertised_from_version_0() {
        let produce = advertised(ListenerKind::Broker).find(|api| api.key == ApiKey::Produce as i16);
        assert_eq!(produce.map(|api| (api.min, api.max)), Some((0, 13)));
    }

    #[test]
    fn every_advertised_version_but_the_oldest_of_produce_has_messages_that_are_served() {
        for offered in advertised(ListenerKind::Controller).chain(advertised(ListenerKind::Broker)) {
            let api = Api::of_number(offered.key).expect("served");
            for version in offered.min.max(api.min)..=offered.max {
                assert!(api.serves(message_version(offered.key, version)), "{} {version}", api.name);
            }
        }
    }

    #[test]
    fn a_controller_does_not_offer_what_only_a_broker_serves() {
        let offered: Vec<i16> = advertised(ListenerKind::Controller).map(|api| api.key).collect();
        assert!(!offered.contains(&(ApiKey::Produce as i16)));
        assert!(offered.contains(&(ApiKey::Envelope as i16)));
    }
}
