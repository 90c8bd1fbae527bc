//! Dividing partitions among members, on the server: `uniform` and `range`.
//!
//! Each is a function of what members read and had: every partition of a topic that somebody reads goes to exactly one
//! member that reads it. Racks are no part of it, as in Kafka since 3.8: they only call for a new division.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::TopicId;

use super::{Id, Parts};

/// The assignors there are, by name.
pub const KNOWN: [&str; 2] = [UNIFORM, RANGE];
const UNIFORM: &str = "uniform";
const RANGE: &str = "range";

/// The topics that members read: shared by those that read the same.
pub type Topics = Arc<BTreeSet<TopicId>>;

/// A member, as an assignor sees it.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Its instance, when it is a static member.
    pub instance: Option<String>,
    /// What it reads; only topics that there are.
    pub topics: Topics,
    /// What it was to have before.
    pub had: Arc<Parts>,
}

/// What is to be divided, and among whom.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// The members.
    pub readers: BTreeMap<Id, Reader>,
    /// How many partitions each topic has; of all that anybody reads.
    pub partitions: BTreeMap<TopicId, i32>,
}

impl Task {
    /// Whether all read the same.
    fn is_homogeneous(&self) -> bool {
        let mut all = self.readers.values().map(|reader| &reader.topics);
        let first = all.next();
        first.is_none_or(|first| all.all(|topics| Arc::ptr_eq(first, topics) || first == topics))
    }

    fn count(&self, topic: TopicId) -> i32 {
        self.partitions.get(&topic).copied().unwrap_or(0)
    }
}

/// Divides, by the assignor of that name; an unknown one stands for the first.
pub fn assign(name: &str, task: &Task) -> BTreeMap<Id, Parts> {
    let parts = if name == RANGE { range::assign(task) } else { uniform::assign(task) };
    check(task, &parts);
    parts
}

/// What holds of every division. Each partition once is what nobody could mend later.
fn check(task: &Task, parts: &BTreeMap<Id, Parts>) {
    let mut given: usize = 0;
    let mut seen: BTreeSet<(TopicId, i32)> = BTreeSet::new();
    for (id, own) in parts {
        let reader = task.readers.get(id).expect("a part goes to a member");
        for (topic, partitions) in own {
            assert!(reader.topics.contains(topic), "a member was given what it does not read");
            given += partitions.len();
            seen.extend(partitions.iter().map(|&partition| (*topic, partition)));
        }
    }
    assert_eq!(seen.len(), given, "a partition was given twice");
    let read: BTreeSet<TopicId> =
        task.readers.values().flat_map(|reader| reader.topics.iter().copied()).collect();
    let all: usize = read.iter().map(|&topic| usize::try_from(task.count(topic)).unwrap_or(0)).sum();
    assert_eq!(given, all, "a partition was given to nobody");
}
