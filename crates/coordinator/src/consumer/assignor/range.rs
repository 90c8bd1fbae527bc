//! `range`: each topic is cut into runs of neighbours, one for each of its readers in their order.
//!
//! Readers of topics with as many partitions get the same numbers of each, so that they can be joined. Static members
//! come first, by instance: their runs stay theirs across restarts.

use std::collections::{BTreeMap, BTreeSet};

use model::TopicId;

use super::{Parts, Reader, Task};
use crate::consumer::Id;

/// What is left of a topic.
struct Rest {
    /// The partition that comes next.
    next: i32,
    /// What everybody gets, and how many get one more.
    quota: i32,
    more: i32,
}

pub fn assign(task: &Task) -> BTreeMap<Id, Parts> {
    let mut readers: Vec<(&Id, &Reader)> = task.readers.iter().collect();
    readers.sort_by_key(|(id, reader)| (reader.instance.is_none(), reader.instance.as_deref(), *id));
    let mut counts: BTreeMap<TopicId, i32> = BTreeMap::new();
    for (_, reader) in &readers {
        for &topic in reader.topics.iter() {
            *counts.entry(topic).or_default() += 1;
        }
    }
    let rest = |(&topic, &readers): (&TopicId, &i32)| {
        let partitions = task.count(topic);
        (topic, Rest { next: 0, quota: partitions / readers, more: partitions % readers })
    };
    let mut rests: BTreeMap<TopicId, Rest> = counts.iter().map(rest).collect();
    let mut parts = BTreeMap::new();
    for (id, reader) in readers {
        let mut own = Parts::new();
        for topic in reader.topics.iter() {
            let run = take(rests.get_mut(topic).expect("it was counted"));
            if !run.is_empty() {
                own.insert(*topic, run);
            }
        }
        parts.insert(id.clone(), own);
    }
    parts
}

fn take(rest: &mut Rest) -> BTreeSet<i32> {
    let one_more = i32::from(rest.more > 0);
    rest.more -= one_more;
    let first = rest.next;
    rest.next += rest.quota + one_more;
    (first..rest.next).collect()
}
