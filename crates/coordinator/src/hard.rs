//! Hard state: what the log's records say, and nothing else.
//!
//! Replaying records alone changes it, in a load and in a decision alike, and asks no questions about policy.

use std::sync::Arc;

use imbl::OrdMap;
use proto::offsets::GroupMetadataValue;

use crate::consumer;
use crate::offsets::Offsets;
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

    /// Takes a record in.
    pub(crate) fn replay(&mut self, entry: Entry) {
        match entry {
            Entry::Offset(key, value) => self.offsets.put(key, value),
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
