//! The nodes: brokers and controllers as they registered (KIP-631, KIP-919).

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use model::{BrokerEpoch, DirectoryId, IncarnationId, NodeId};
use proto::metadata::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ControllerEndpoint, ControllerFeature,
    FenceBrokerRecord, MetadataRecord, MetadataVersion, RegisterBrokerRecord, RegisterControllerRecord,
    UnfenceBrokerRecord, UnregisterBrokerRecord,
};

use crate::changes::{Changes, differing};
use crate::error::ReplayError;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub name: String,
    /// Host name or address as advertised.
    pub host: String,
    /// Port as advertised.
    pub port: u16,
    /// Kafka's number of the security protocol: 0 is PLAINTEXT.
    pub security_protocol: i16,
}

/// The levels of a feature that a node can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// A broker's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: NodeId,
    /// Which of its registrations this is.
    pub epoch: BrokerEpoch,
    /// Which run of its process registered.
    pub incarnation: IncarnationId,
    /// Where clients and brokers reach it, in the order registered.
    pub listeners: Vec<Endpoint>,
    /// What it can run.
    pub features: BTreeMap<String, VersionRange>,
    /// Where it stands.
    pub rack: Option<String>,
    /// Whether it takes no part: it leads nothing and is in no in-sync set.
    pub fenced: bool,
    /// Whether it is on its way down and hands its leaderships over.
    pub in_controlled_shutdown: bool,
    /// Its log directories that are online, sorted.
    pub log_dirs: Vec<DirectoryId>,
    /// Those of them that take no new replicas (KIP-1066); `None` before 4.3-IV0.
    pub cordoned_log_dirs: Option<Vec<DirectoryId>>,
    /// Whether it is a ZooKeeper-mode broker on its way over (KIP-866).
    pub is_migrating_zk_broker: bool,
}

impl Broker {
    /// Where it listens under that name.
    pub fn listener(&self, name: &str) -> Option<&Endpoint> {
        self.listeners.iter().find(|endpoint| endpoint.name == name)
    }
}

/// A controller's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Its node id.
    pub id: NodeId,
    /// Which run of its process registered.
    pub incarnation: IncarnationId,
    /// Whether it could take over from ZooKeeper (KIP-866).
    pub zk_migration_ready: bool,
    /// Where nodes reach it, in the order registered.
    pub listeners: Vec<Endpoint>,
    /// What it can run.
    pub features: BTreeMap<String, VersionRange>,
}

/// Every registered node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cluster {
    pub(crate) brokers: OrdMap<NodeId, Arc<Broker>>,
    pub(crate) controllers: OrdMap<NodeId, Arc<Controller>>,
}

impl Cluster {
    /// A registration replaces the one before, whatever its epoch: the controller judged that.
    pub(crate) fn register(&mut self, record: &RegisterBrokerRecord, changes: &mut Changes) {
        let id = NodeId::new(record.broker_id);
        self.brokers.insert(id, Arc::new(Broker::from(record)));
        changes.brokers.insert(id);
    }

    pub(crate) fn unregister(
        &mut self,
        record: &UnregisterBrokerRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        let UnregisterBrokerRecord { broker_id, broker_epoch } = *record;
        let broker = self.registered("UnregisterBrokerRecord", broker_id, broker_epoch, changes)?;
        let id = broker.id;
        self.brokers.remove(&id);
        Ok(())
    }

    pub(crate) fn fence(
        &mut self,
        record: &FenceBrokerRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        self.registered("FenceBrokerRecord", record.id, record.epoch, changes)?.fenced = true;
        Ok(())
    }

    pub(crate) fn unfence(
        &mut self,
        record: &UnfenceBrokerRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        self.registered("UnfenceBrokerRecord", record.id, record.epoch, changes)?.fenced = false;
        Ok(())
    }

    pub(crate) fn change(
        &mut self,
        record: &BrokerRegistrationChangeRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        let name = "BrokerRegistrationChangeRecord";
        let invalid = |field: &str, expected: &str, got: i8| {
            ReplayError::invalid(name, format!("{field} of broker {}", record.broker_id), expected, got)
        };
        let fenced = match record.fenced {
            0 => None,
            1 => Some(true),
            -1 => Some(false),
            got => return Err(invalid("fenced", "-1, 0 or 1", got)),
        };
        let in_controlled_shutdown = match record.in_controlled_shutdown {
            0 => None,
            1 => Some(true),
            got => return Err(invalid("in_controlled_shutdown", "0 or 1", got)),
        };
        let broker = self.registered(name, record.broker_id, record.broker_epoch, changes)?;
        broker.fenced = fenced.unwrap_or(broker.fenced);
        broker.in_controlled_shutdown = in_controlled_shutdown.unwrap_or(broker.in_controlled_shutdown);
        if !record.log_dirs.is_empty() {
            broker.log_dirs = set(&record.log_dirs);
        }
        if record.cordoned_log_dirs.is_some() {
            broker.cordoned_log_dirs = record.cordoned_log_dirs.as_deref().map(set);
        }
        Ok(())
    }

    pub(crate) fn register_controller(&mut self, record: &RegisterControllerRecord, changes: &mut Changes) {
        let id = NodeId::new(record.controller_id);
        self.controllers.insert(id, Arc::new(Controller::from(record)));
        changes.controllers.insert(id);
    }

    /// The registration that a record means, to be changed. Its epoch tells it from later ones.
    fn registered(
        &mut self,
        record: &'static str,
        id: i32,
        epoch: i64,
        changes: &mut Changes,
    ) -> Result<&mut Broker, ReplayError> {
        let id = NodeId::new(id);
        let unknown = || ReplayError::unknown(record, "broker", id);
        let broker = self.brokers.get(&id).ok_or_else(unknown)?;
        if broker.epoch != BrokerEpoch::new(epoch) {
            let what = format!("the epoch of broker {id}");
            return Err(ReplayError::Stale { record, what, had: broker.epoch.get(), got: epoch });
        }
        changes.brokers.insert(id);
        Ok(Arc::make_mut(self.brokers.get_mut(&id).expect("found above")))
    }

    pub(crate) fn differences(&self, new: &Self, changes: &mut Changes) {
        changes.brokers = differing(&self.brokers, &new.brokers);
        changes.controllers = differing(&self.controllers, &new.controllers);
    }

    /// What `level` cannot say is left out, as Kafka does when it writes for an older release.
    pub(crate) fn records(&self, level: MetadataVersion, emit: &mut dyn FnMut(MetadataRecord)) {
        for broker in self.brokers.values() {
            let mut record = broker.to_record();
            record.is_migrating_zk_broker &= level.has_migration();
            if !level.has_directories() {
                record.log_dirs = Vec::new();
            }
            if !level.has_cordoned_log_dirs() {
                record.cordoned_log_dirs = None;
            }
            emit(record.into());
        }
        if level.has_controller_registration() {
            self.controllers.values().for_each(|controller| emit(controller.to_record().into()));
        }
    }
}

/// Directories are a set: sorted, so that the order of a record does not tell images apart.
fn set(directories: &[DirectoryId]) -> Vec<DirectoryId> {
    let mut directories = directories.to_vec();
    directories.sort_unstable();
    directories.dedup();
    directories
}

/// A feature as a record lists it.
trait Ranged {
    fn to_range(&self) -> (String, VersionRange);
    fn from_range(range: (&String, &VersionRange)) -> Self;
}

/// Kafka describes the endpoints and features of brokers and of controllers alike, under two names.
macro_rules! alike {
    ($endpoint:ident, $feature:ident) => {
        impl From<&$endpoint> for Endpoint {
            fn from(record: &$endpoint) -> Self {
                let $endpoint { name, host, port, security_protocol } = record.clone();
                Self { name, host, port, security_protocol }
            }
        }

        impl From<&Endpoint> for $endpoint {
            fn from(endpoint: &Endpoint) -> Self {
                let Endpoint { name, host, port, security_protocol } = endpoint.clone();
                Self { name, host, port, security_protocol }
            }
        }

        impl Ranged for $feature {
            fn to_range(&self) -> (String, VersionRange) {
                let (min, max) = (self.min_supported_version, self.max_supported_version);
                (self.name.clone(), VersionRange { min, max })
            }

            fn from_range((name, range): (&String, &VersionRange)) -> Self {
                let (min_supported_version, max_supported_version) = (range.min, range.max);
                Self { name: name.clone(), min_supported_version, max_supported_version }
            }
        }
    };
}

alike!(BrokerEndpoint, BrokerFeature);
alike!(ControllerEndpoint, ControllerFeature);

impl From<&RegisterBrokerRecord> for Broker {
    fn from(record: &RegisterBrokerRecord) -> Self {
        Self {
            id: NodeId::new(record.broker_id),
            epoch: BrokerEpoch::new(record.broker_epoch),
            incarnation: record.incarnation_id,
            listeners: record.end_points.iter().map(Endpoint::from).collect(),
            features: record.features.iter().map(Ranged::to_range).collect(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: set(&record.log_dirs),
            cordoned_log_dirs: record.cordoned_log_dirs.as_deref().map(set),
            is_migrating_zk_broker: record.is_migrating_zk_broker,
        }
    }
}

impl Broker {
    fn to_record(&self) -> RegisterBrokerRecord {
        RegisterBrokerRecord {
            broker_id: self.id.get(),
            is_migrating_zk_broker: self.is_migrating_zk_broker,
            incarnation_id: self.incarnation,
            broker_epoch: self.epoch.get(),
            end_points: self.listeners.iter().map(BrokerEndpoint::from).collect(),
            features: self.features.iter().map(BrokerFeature::from_range).collect(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: self.log_dirs.clone(),
            cordoned_log_dirs: self.cordoned_log_dirs.clone(),
        }
    }
}

impl From<&RegisterControllerRecord> for Controller {
    fn from(record: &RegisterControllerRecord) -> Self {
        Self {
            id: NodeId::new(record.controller_id),
            incarnation: record.incarnation_id,
            zk_migration_ready: record.zk_migration_ready,
            listeners: record.end_points.iter().map(Endpoint::from).collect(),
            features: record.features.iter().map(Ranged::to_range).collect(),
        }
    }
}

impl Controller {
    fn to_record(&self) -> RegisterControllerRecord {
        RegisterControllerRecord {
            controller_id: self.id.get(),
            incarnation_id: self.incarnation,
            zk_migration_ready: self.zk_migration_ready,
            end_points: self.listeners.iter().map(ControllerEndpoint::from).collect(),
            features: self.features.iter().map(ControllerFeature::from_range).collect(),
        }
    }
}
