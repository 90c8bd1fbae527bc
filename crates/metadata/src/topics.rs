//! Topics and their partitions, and which topics each broker has a part in.
//!
//! The index by broker counts partitions by topic and does not list them: it answers "which
//! topics does this broker's failure touch" in a few dozen bytes a topic, and only a change of
//! replicas touches it. What leads and what is in sync there is found by looking at those topics.

use std::sync::Arc;

use imbl::OrdMap;
use model::{NodeId, PartitionIndex, TopicId, TopicName};
use proto::metadata::{
    ClearElrRecord, MetadataRecord, MetadataVersion, PartitionChangeRecord, PartitionRecord,
    RemoveTopicRecord, TopicRecord,
};

use crate::changes::Changes;
use crate::error::ReplayError;
use crate::partition::Partition;

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// By index, ascending. A vector: small topics are many, and gaps do not happen.
    partitions: Vec<(PartitionIndex, Arc<Partition>)>,
}

impl Topic {
    /// One partition.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        let position = self.position(index).ok()?;
        Some(&self.partitions[position].1)
    }

    /// Every partition, by index.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = (PartitionIndex, &Partition)> {
        self.partitions.iter().map(|(index, partition)| (*index, partition.as_ref()))
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    fn position(&self, index: PartitionIndex) -> Result<usize, usize> {
        // Almost always the partition with index n stands at n.
        let guess = usize::try_from(index.get()).unwrap_or(usize::MAX);
        if self.partitions.get(guess).is_some_and(|(found, _)| *found == index) {
            return Ok(guess);
        }
        self.partitions.binary_search_by_key(&index, |(index, _)| *index)
    }

    fn put(&mut self, index: PartitionIndex, partition: Arc<Partition>) {
        match self.position(index) {
            Ok(position) => self.partitions[position].1 = partition,
            Err(position) => self.partitions.insert(position, (index, partition)),
        }
    }
}

/// Every topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Topics {
    pub(crate) by_id: OrdMap<TopicId, Arc<Topic>>,
    pub(crate) names: OrdMap<TopicName, TopicId>,
    /// How many partitions of which topic have a replica on the broker; none that is zero.
    pub(crate) by_broker: OrdMap<NodeId, OrdMap<TopicId, u32>>,
}

impl Topics {
    pub(crate) fn by_name(&self, name: &str) -> Option<&Topic> {
        let id = self.names.get(name)?;
        self.by_id.get(id).map(Arc::as_ref)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.names.values().filter_map(|id| self.by_id.get(id)).map(Arc::as_ref)
    }

    pub(crate) fn partitions_on(
        &self,
        broker: NodeId,
    ) -> impl Iterator<Item = (&Topic, PartitionIndex, &Partition)> {
        let topics = self.by_broker.get(&broker).into_iter().flat_map(OrdMap::keys);
        let topics = topics.filter_map(|id| self.by_id.get(id));
        let all = topics.flat_map(|topic| {
            topic.partitions().map(|(index, partition)| (topic.as_ref(), index, partition))
        });
        all.filter(move |(_, _, partition)| partition.replicas.contains(&broker))
    }

    pub(crate) fn partition_count_on(&self, broker: NodeId) -> usize {
        let counts = self.by_broker.get(&broker).into_iter().flat_map(OrdMap::values);
        counts.map(|count| *count as usize).sum()
    }

    pub(crate) fn create(&mut self, record: &TopicRecord, changes: &mut Changes) -> Result<(), ReplayError> {
        let id = record.topic_id;
        let illegal = |error| ReplayError::invalid("TopicRecord", "name", "a topic's name", error);
        let name = TopicName::new(&record.name).map_err(illegal)?;
        if let Some(had) = self.names.get(&name) {
            return Err(taken("name", &name, had, id));
        }
        if let Some(had) = self.by_id.get(&id) {
            return Err(taken("id", id, &had.name, &name));
        }
        self.by_id.insert(id, Arc::new(Topic { name: name.clone(), id, partitions: Vec::new() }));
        self.names.insert(name.clone(), id);
        changes.topics_created.insert(id, name);
        Ok(())
    }

    /// Also replaces one that is there, as Kafka does.
    pub(crate) fn put_partition(
        &mut self,
        record: &PartitionRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        let unknown = || ReplayError::unknown("PartitionRecord", "topic", record.topic_id);
        if !self.by_id.contains_key(&record.topic_id) {
            return Err(unknown());
        }
        if record.partition_id < 0 {
            let place = format!("index of a partition of topic {}", record.topic_id);
            return Err(ReplayError::invalid("PartitionRecord", place, "0 or more", record.partition_id));
        }
        let partition = Partition::from_record(record)?;
        self.put(record.topic_id, PartitionIndex::new(record.partition_id), partition, changes);
        Ok(())
    }

    pub(crate) fn change_partition(
        &mut self,
        record: &PartitionChangeRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        let name = "PartitionChangeRecord";
        let unknown = || ReplayError::unknown(name, "topic", record.topic_id);
        let topic = self.by_id.get(&record.topic_id).ok_or_else(unknown)?;
        let index = PartitionIndex::new(record.partition_id);
        let unknown = || ReplayError::unknown(name, "partition", format!("{index} of topic {}", topic.name));
        let next = topic.partition(index).ok_or_else(unknown)?.changed(record)?;
        self.put(record.topic_id, index, next, changes);
        Ok(())
    }

    /// The empty name means every topic.
    pub(crate) fn clear_elr(
        &mut self,
        record: &ClearElrRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        let topics: Vec<Arc<Topic>> = if record.topic_name.is_empty() {
            self.by_id.values().cloned().collect()
        } else {
            let unknown = || ReplayError::unknown("ClearElrRecord", "topic", &record.topic_name);
            let id = self.names.get(record.topic_name.as_str()).ok_or_else(unknown)?;
            self.by_id.get(id).cloned().into_iter().collect()
        };
        // All are made before the first is put: a refused record changes nothing.
        let mut cleared = Vec::new();
        for topic in topics {
            for (index, partition) in topic.partitions().filter(|(_, partition)| partition.has_elr()) {
                cleared.push((topic.id, index, partition.without_elr(topic.id, index)?));
            }
        }
        for (id, index, partition) in cleared {
            self.put(id, index, partition, changes);
        }
        Ok(())
    }

    pub(crate) fn remove(
        &mut self,
        record: &RemoveTopicRecord,
        changes: &mut Changes,
    ) -> Result<TopicName, ReplayError> {
        let unknown = || ReplayError::unknown("RemoveTopicRecord", "topic", record.topic_id);
        let topic = self.by_id.remove(&record.topic_id).ok_or_else(unknown)?;
        self.names.remove(&topic.name);
        for (_, partition) in topic.partitions() {
            self.count(topic.id, &partition.replicas, &[]);
        }
        changes.note_deleted(topic.id, topic.name.clone());
        Ok(topic.name.clone())
    }

    fn put(&mut self, id: TopicId, index: PartitionIndex, partition: Partition, changes: &mut Changes) {
        let topic = Arc::make_mut(self.by_id.get_mut(&id).expect("the caller looked it up"));
        let had = topic.partition(index).map(|had| had.replicas.clone()).unwrap_or_default();
        let partition = Arc::new(partition);
        topic.put(index, partition.clone());
        if had != partition.replicas {
            self.count(id, &had, &partition.replicas);
        }
        changes.partitions.insert((id, index));
    }

    /// Moves one partition of `topic` from the count of some brokers to that of others.
    fn count(&mut self, topic: TopicId, from: &[NodeId], to: &[NodeId]) {
        for broker in to {
            let topics = self.by_broker.entry(*broker).or_default();
            *topics.entry(topic).or_default() += 1;
        }
        for broker in from {
            let topics = self.by_broker.get_mut(broker).expect("a replica is counted");
            let count = topics.get_mut(&topic).expect("a replica is counted");
            *count -= 1;
            if *count == 0 {
                topics.remove(&topic);
            }
            if topics.is_empty() {
                self.by_broker.remove(broker);
            }
        }
    }

    pub(crate) fn differences(&self, new: &Self, changes: &mut Changes) {
        use imbl::ordmap::DiffItem;
        for item in self.by_id.diff(&new.by_id) {
            match item {
                DiffItem::Add(id, topic) => {
                    changes.topics_created.insert(*id, topic.name.clone());
                    changes.partitions.extend(topic.partitions().map(|(index, _)| (*id, index)));
                }
                DiffItem::Remove(id, topic) => changes.note_deleted(*id, topic.name.clone()),
                DiffItem::Update { old: (_, old), new: (id, new) } => {
                    let differs = |(index, partition): &(PartitionIndex, &Partition)| {
                        old.partition(*index) != Some(*partition)
                    };
                    changes
                        .partitions
                        .extend(new.partitions().filter(differs).map(|(index, _)| (*id, index)));
                }
            }
        }
    }

    pub(crate) fn records(&self, level: MetadataVersion, emit: &mut dyn FnMut(MetadataRecord)) {
        for topic in self.by_id.values() {
            emit(TopicRecord { name: topic.name.as_str().to_owned(), topic_id: topic.id }.into());
            for (index, partition) in topic.partitions() {
                emit(partition.to_record(topic.id, index, level).into());
            }
        }
    }
}

fn taken(what: &'static str, id: impl ToString, had: impl ToString, got: impl ToString) -> ReplayError {
    let (id, had, got) = (id.to_string(), had.to_string(), got.to_string());
    ReplayError::Taken { record: "TopicRecord", what, id, had, got }
}
