//! Hard state: what the log's records say, and nothing else.
//!
//! Replaying records alone changes it, in a load and in a decision alike, and asks no questions about policy.

use std::sync::Arc;

use imbl::OrdMap;
use model::ProducerId;
use proto::offsets::GroupMetadataValue;

use crate::consumer;
use crate::offsets::{Committed, OffsetKey, Offsets};
use crate::pending_offsets::PendingOffsets;
use crate::record::Entry;

/// What the log says of a group; one with nothing but offsets is not here.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// Of the classic protocol.
    Classic(Arc<GroupMetadataValue>),
    /// Of the new protocol (KIP-848).
    Consumer(Arc<consumer::Group>),
}

/// What the log says; a copy costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hard {
    groups: OrdMap<Arc<str>, Written>,
    offsets: Offsets,
    pending: PendingOffsets,
}

impl Hard {
    /// A group as it was written last.
    pub fn group(&self, id: &str) -> Option<&Written> {
        self.groups.get(id)
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &Written)> {
        self.groups.iter()
    }

    /// All committed offsets.
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Offsets of open transactions.
    pub fn pending_offsets(&self) -> &PendingOffsets {
        &self.pending
    }

    /// Takes an offset in that waits for the end of its producer's transaction.
    pub(crate) fn replay_pending(&mut self, producer: ProducerId, key: OffsetKey, committed: Committed) {
        self.pending.add(producer, key, committed);
    }

    /// Takes the end of a producer's transaction in.
    pub(crate) fn end_transaction(&mut self, producer: ProducerId, commit: bool) {
        for (key, committed) in self.pending.end(producer, commit) {
            self.offsets.put(key, Some(committed));
        }
    }

    /// Takes a record in.
    pub(crate) fn replay(&mut self, entry: Entry) {
        match entry {
            Entry::Offset(key, value) => {
                if value.is_some() {
                    self.pending.pass_over(&key);
                }
                self.offsets.put(key, value);
            }
            Entry::Classic(id, Some(value)) => {
                self.groups.insert(id, Written::Classic(Arc::new(value)));
            }
            // A tombstone of the other kind comes after an upgrade's new records, and means the old ones.
            Entry::Classic(id, None) => {
                if let Some(Written::Classic(_)) = self.groups.get(&id) {
                    self.groups.remove(&id);
                }
            }
            Entry::Consumer(id, entry) => {
                let mut group = match self.groups.get(&id) {
                    Some(Written::Consumer(group)) => group.clone(),
                    _ => Arc::default(),
                };
                Arc::make_mut(&mut group).replay(entry);
                if !group.is_gone() {
                    self.groups.insert(id, Written::Consumer(group));
                } else if let Some(Written::Consumer(_)) = self.groups.get(&id) {
                    self.groups.remove(&id);
                }
            }
        }
    }
}
