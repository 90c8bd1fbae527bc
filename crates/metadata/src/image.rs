//! The image: the whole of the cluster's metadata at one place in the log.
//!
//! One record, one match, one place that changes. Between `BeginTransaction` and
//! `EndTransaction` (KIP-868) records wait in the image and change nothing.

use std::sync::Arc;

use model::{NodeId, Offset, PartitionIndex, ProducerId, TopicId, Uuid};
use proto::metadata::{
    AccessControlEntryRecord, DelegationTokenRecord, MetadataRecord, MetadataVersion,
    UserScramCredentialRecord,
};

use crate::changes::Changes;
use crate::cluster::{Broker, Cluster, Controller};
use crate::configs::{ConfigResource, ConfigTable, Configs};
use crate::error::ReplayError;
use crate::features::Features;
use crate::partition::Partition;
use crate::producer_ids::ProducerIds;
use crate::quotas::{QuotaEntity, Quotas};
use crate::security::Security;
use crate::topics::{Topic, Topics};
use crate::transaction::Transaction;

/// The cluster's metadata. A clone shares everything and costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    pub(crate) features: Features,
    pub(crate) cluster: Cluster,
    pub(crate) topics: Topics,
    pub(crate) configs: ConfigTable,
    pub(crate) quotas: Quotas,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) security: Security,
    /// Records of a transaction that has begun and not ended.
    pub(crate) transaction: Option<Transaction>,
}

impl Image {
    /// Takes in one record of the log and adds what it changed to `changes`. On an error nothing
    /// has changed, except when a transaction's end applied the records before the bad one: either
    /// way the image must not be used further.
    pub fn replay(
        &mut self,
        offset: Offset,
        record: &MetadataRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        match record {
            MetadataRecord::BeginTransaction(record) => self.begin(offset, record),
            MetadataRecord::EndTransaction(_) => self.end(changes),
            MetadataRecord::AbortTransaction(_) => self.abort(),
            record => match &mut self.transaction {
                Some(transaction) => {
                    transaction.hold(record);
                    Ok(())
                }
                None => self.apply(record, changes),
            },
        }
    }

    pub(crate) fn apply(
        &mut self,
        record: &MetadataRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        use MetadataRecord as R;
        match record {
            R::RegisterBroker(record) => self.cluster.register(record, changes),
            R::UnregisterBroker(record) => self.cluster.unregister(record, changes)?,
            R::FenceBroker(record) => self.cluster.fence(record, changes)?,
            R::UnfenceBroker(record) => self.cluster.unfence(record, changes)?,
            R::BrokerRegistrationChange(record) => self.cluster.change(record, changes)?,
            R::RegisterController(record) => self.cluster.register_controller(record, changes),
            R::Topic(record) => self.topics.create(record, changes)?,
            R::Partition(record) => self.topics.put_partition(record, changes)?,
            R::PartitionChange(record) => self.topics.change_partition(record, changes)?,
            R::ClearElr(record) => self.topics.clear_elr(record, changes)?,
            R::RemoveTopic(record) => {
                let name = self.topics.remove(record, changes)?;
                self.configs.remove_topic(name.as_str(), changes);
            }
            R::Config(record) => self.configs.set(record, changes),
            R::ClientQuota(record) => self.quotas.set(record, changes),
            R::ProducerIds(record) => self.producer_ids.advance(record, changes)?,
            R::FeatureLevel(record) => self.features.set(record, changes)?,
            R::AccessControlEntry(record) => self.security.add_acl(record, changes),
            R::RemoveAccessControlEntry(record) => self.security.remove_acl(record, changes)?,
            R::UserScramCredential(record) => self.security.set_scram(record, changes),
            R::RemoveUserScramCredential(record) => self.security.remove_scram(record, changes),
            R::DelegationToken(record) => self.security.set_token(record, changes),
            R::RemoveDelegationToken(record) => self.security.remove_token(record, changes),
            R::ZkMigrationState(record) => self.features.zk_migration_state = record.zk_migration_state,
            R::NoOp(_) => {}
            R::BeginTransaction(_) | R::EndTransaction(_) | R::AbortTransaction(_) => {
                unreachable!("replay takes these itself and a transaction holds none")
            }
        }
        Ok(())
    }

    /// The level of `metadata.version`; the lowest there is before a record sets it.
    pub fn metadata_version(&self) -> MetadataVersion {
        self.features.metadata_version()
    }

    /// Every finalized feature and its level, by name; `metadata.version` among them.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.levels.iter().map(|(name, level)| (name.as_str(), *level))
    }

    /// The level of one feature; `None` when it has none, which means 0.
    pub fn feature(&self, name: &str) -> Option<i16> {
        self.features.levels.get(name).copied()
    }

    /// A broker's registration.
    pub fn broker(&self, id: NodeId) -> Option<&Broker> {
        self.cluster.brokers.get(&id).map(Arc::as_ref)
    }

    /// Every registered broker, fenced ones too, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.cluster.brokers.values().map(Arc::as_ref)
    }

    /// A controller's registration.
    pub fn controller(&self, id: NodeId) -> Option<&Controller> {
        self.cluster.controllers.get(&id).map(Arc::as_ref)
    }

    /// Every registered controller, by id.
    pub fn controllers(&self) -> impl Iterator<Item = &Controller> {
        self.cluster.controllers.values().map(Arc::as_ref)
    }

    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.by_name(name)
    }

    /// A topic by its id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.topics.by_id.get(&id).map(Arc::as_ref)
    }

    /// Every topic, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.by_id.len()
    }

    /// How many partitions all topics have. Counts topics, not partitions.
    pub fn partition_count(&self) -> usize {
        self.topics.by_id.values().map(|topic| topic.partition_count()).sum()
    }

    /// One partition of a topic.
    pub fn partition(&self, topic: TopicId, partition: PartitionIndex) -> Option<&Partition> {
        self.topic_by_id(topic)?.partition(partition)
    }

    /// The partitions that have a replica on `broker`: what its failure touches. The leader and the
    /// in-sync set are among the replicas, so those led by it or in sync on it are all here. Looks
    /// only at topics that have such a partition.
    pub fn partitions_on(
        &self,
        broker: NodeId,
    ) -> impl Iterator<Item = (&Topic, PartitionIndex, &Partition)> {
        self.topics.partitions_on(broker)
    }

    /// How many partitions have a replica on `broker`.
    pub fn partition_count_on(&self, broker: NodeId) -> usize {
        self.topics.partition_count_on(broker)
    }

    /// The configs set on a resource; `None` when none is.
    pub fn configs(&self, resource: &ConfigResource) -> Option<&Configs> {
        self.configs.resources.get(resource).map(Arc::as_ref)
    }

    /// Every resource with a config, and what is set on it.
    pub fn all_configs(&self) -> impl Iterator<Item = (&ConfigResource, &Configs)> {
        self.configs.resources.iter().map(|(resource, configs)| (resource, configs.as_ref()))
    }

    /// Every client quota.
    pub fn quotas(&self) -> impl Iterator<Item = (&QuotaEntity, impl Iterator<Item = (&str, f64)>)> {
        self.quotas.iter()
    }

    /// The first producer id that no block has been handed out with.
    pub fn next_producer_id(&self) -> ProducerId {
        self.producer_ids.next()
    }

    /// Every ACL, by its id.
    pub fn acls(&self) -> impl Iterator<Item = &AccessControlEntryRecord> {
        self.security.acls.values().map(Arc::as_ref)
    }

    /// One ACL.
    pub fn acl(&self, id: Uuid) -> Option<&AccessControlEntryRecord> {
        self.security.acls.get(&id).map(Arc::as_ref)
    }

    /// A user's SCRAM credential for a mechanism (Kafka's number: 1 is SHA-256, 2 is SHA-512).
    pub fn scram(&self, mechanism: i8, user: &str) -> Option<&UserScramCredentialRecord> {
        self.security.scram.get(&(mechanism, user.to_owned())).map(Arc::as_ref)
    }

    /// Every delegation token, by its token id.
    pub fn delegation_tokens(&self) -> impl Iterator<Item = &DelegationTokenRecord> {
        self.security.tokens.values().map(Arc::as_ref)
    }

    /// How far the move from ZooKeeper is (KIP-866), Kafka's number; 0 when there was none.
    pub fn zk_migration_state(&self) -> i8 {
        self.features.zk_migration_state
    }
}

#[cfg(test)]
mod tests;
