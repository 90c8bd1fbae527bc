//! `uniform`: everybody gets as many as the others, give or take one, and keeps what it had where it can.
//!
//! Where members read different topics that is not always possible; then partitions are moved from who has more to who
//! has less among a topic's readers, until no single move makes it more even. Kafka asks no more of its own.

use std::collections::{BTreeMap, BTreeSet};

use model::TopicId;

use super::{Parts, Task};
use crate::consumer::Id;

/// How often all topics are gone through to make the parts more even. Each round ends a group's unevenness but for
/// chains of topics that share readers; those take a round a link.
const ROUNDS_MAX: usize = 32;

type Place = (TopicId, i32);

pub fn assign(task: &Task) -> BTreeMap<Id, Parts> {
    if task.readers.is_empty() {
        return BTreeMap::new();
    }
    if task.is_homogeneous() { among_equals(task) } else { among_different(task) }
}

/// What members had and may keep, each partition once, and what nobody has.
fn kept(task: &Task) -> (BTreeMap<&Id, BTreeSet<Place>>, BTreeSet<Place>) {
    let read: BTreeSet<TopicId> =
        task.readers.values().flat_map(|reader| reader.topics.iter().copied()).collect();
    let places = |topic: TopicId| (0..task.count(topic)).map(move |partition| (topic, partition));
    let mut free: BTreeSet<Place> = read.into_iter().flat_map(places).collect();
    let mut kept: BTreeMap<&Id, BTreeSet<Place>> = BTreeMap::new();
    for (id, reader) in &task.readers {
        let own = kept.entry(id).or_default();
        for (&topic, partitions) in reader.had.iter().filter(|(topic, _)| reader.topics.contains(*topic)) {
            own.extend(
                partitions.iter().map(|&partition| (topic, partition)).filter(|place| free.remove(place)),
            );
        }
    }
    (kept, free)
}

fn to_parts(own: BTreeSet<Place>) -> Parts {
    let mut parts = Parts::new();
    for (topic, partition) in own {
        parts.entry(topic).or_default().insert(partition);
    }
    parts
}

/// All read the same: quotas. Who has more than the least keeps one more, as long as there are some over.
fn among_equals(task: &Task) -> BTreeMap<Id, Parts> {
    let (mut kept, mut free) = kept(task);
    let all = free.len() + kept.values().map(BTreeSet::len).sum::<usize>();
    let (least, mut over) = (all / kept.len(), all % kept.len());
    let mut quotas: BTreeMap<&Id, usize> = BTreeMap::new();
    for (&id, own) in &kept {
        let one_more = usize::from(own.len() > least && over > 0);
        over -= one_more;
        quotas.insert(id, least + one_more);
    }
    for quota in quotas.values_mut() {
        if *quota == least && over > 0 {
            *quota += 1;
            over -= 1;
        }
    }
    for (id, own) in &mut kept {
        while own.len() > quotas[id] {
            free.extend(own.pop_last());
        }
    }
    for (id, own) in &mut kept {
        while own.len() < quotas[id] {
            own.extend(free.pop_first());
        }
    }
    kept.into_iter().map(|(id, own)| (id.clone(), to_parts(own))).collect()
}

fn among_different(task: &Task) -> BTreeMap<Id, Parts> {
    let (mut kept, free) = kept(task);
    let mut readers: BTreeMap<TopicId, BTreeSet<&Id>> = BTreeMap::new();
    for (id, reader) in &task.readers {
        for &topic in reader.topics.iter() {
            readers.entry(topic).or_default().insert(id);
        }
    }
    let mut free_of: BTreeMap<TopicId, Vec<Place>> = BTreeMap::new();
    for place in free {
        free_of.entry(place.0).or_default().push(place);
    }
    // Topics with few readers first: the others can make up for it.
    let mut order: Vec<TopicId> = readers.keys().copied().collect();
    order.sort_by_key(|topic| (readers[topic].len(), *topic));
    for topic in &order {
        let mut loads = loads(&kept, &readers[topic]);
        for place in free_of.remove(topic).unwrap_or_default() {
            let (load, id) = loads.pop_first().expect("somebody reads it");
            kept.entry(id).or_default().insert(place);
            loads.insert((load + 1, id));
        }
    }
    for _ in 0..ROUNDS_MAX {
        let moved = order.iter().filter(|topic| even_out(**topic, &readers[*topic], &mut kept)).count();
        if moved == 0 {
            break;
        }
    }
    kept.into_iter().map(|(id, own)| (id.clone(), to_parts(own))).collect()
}

/// How much each of a topic's readers has in all, the least first.
fn loads<'a>(
    kept: &BTreeMap<&'a Id, BTreeSet<Place>>,
    readers: &BTreeSet<&'a Id>,
) -> BTreeSet<(usize, &'a Id)> {
    readers.iter().map(|&id| (kept.get(id).map_or(0, BTreeSet::len), id)).collect()
}

/// Moves partitions of one topic from who has most to who has least. Whether any was moved.
fn even_out<'a>(
    topic: TopicId,
    readers: &BTreeSet<&'a Id>,
    kept: &mut BTreeMap<&'a Id, BTreeSet<Place>>,
) -> bool {
    let mut loads = loads(kept, readers);
    let mut moved = false;
    // From the fullest down: who has nothing of this topic cannot give any.
    while let Some((load, giver)) = loads.pop_last() {
        let Some(&(least, taker)) = loads.first().filter(|(least, _)| load > least + 1) else { break };
        let own = kept.get_mut(giver).expect("every reader is there");
        let Some(place) = own.range((topic, i32::MIN)..=(topic, i32::MAX)).next_back().copied() else {
            continue;
        };
        own.remove(&place);
        kept.get_mut(taker).expect("every reader is there").insert(place);
        loads.remove(&(least, taker));
        loads.insert((least + 1, taker));
        loads.insert((load - 1, giver));
        moved = true;
    }
    moved
}
