//! The target: what each member of a group is to have, divided for one group epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::TopicId;
use proto::offsets::{ConsumerGroupMetadataValue, ConsumerGroupTargetAssignmentMetadataValue};

use super::assignor::{self, Reader, Task};
use super::member::{Parts, parts_value};
use super::{Group, Id, Member, hash};
use crate::cluster::Cluster;
use crate::record::{ConsumerEntry, Entry};
use crate::refusal::Refusal;
use crate::turn::Turn;

/// A group that was divided among one member alone may be divided again after this part of the interval. The first
/// member is mostly followed by others at once, and what the interval spares is to divide a large group for each that
/// comes.
const PART_AFTER_ONE: u32 = 5;
/// The epoch of a group's first division, as in Kafka since 4.2: 1 is left for a group that has not been divided yet.
const FIRST_EPOCH: i32 = 2;

/// The names of the topics that a member reads, found by an expression or named.
pub(crate) fn topics_of<'a>(group: &'a Group, member: &'a Member) -> impl Iterator<Item = &'a str> {
    let pattern = member.subscribed_topic_regex.as_deref().unwrap_or_default();
    let found = group.expression(pattern).into_iter().flat_map(|found| &found.topics);
    member.subscribed_topic_names.iter().chain(found).map(String::as_str)
}

/// The ids of those of them that there are.
pub(crate) fn topic_ids<'a>(
    cluster: &dyn Cluster,
    names: impl IntoIterator<Item = &'a str>,
) -> BTreeSet<TopicId> {
    names.into_iter().filter_map(|name| cluster.topic(name)).map(|topic| topic.id).collect()
}

/// Raises the group epoch: something changed since `before` that its target depends on. `seen` says whether its hash
/// stood for the topics as they are now: then it need not be computed again for the thousandth member that reads the
/// same.
pub(crate) fn raise(turn: &mut Turn<'_>, id: &Arc<str>, before: &Group, seen: bool) -> Result<(), Refusal> {
    let group = turn.consumer_group(id);
    let same = seen && before.epoch() > 0 && before.topics() == group.topics();
    let metadata_hash =
        if same { before.metadata_hash() } else { hash::of_topics(turn.cluster, group.topics()) };
    let epoch = match group.epoch() {
        0 => FIRST_EPOCH,
        epoch => epoch.checked_add(1).ok_or(Refusal::TooManyEpochs)?,
    };
    let value = ConsumerGroupMetadataValue { epoch, metadata_hash };
    turn.write(Entry::Consumer(id.clone(), ConsumerEntry::Group(Some(value))));
    if group.has_topics {
        turn.write(Entry::Consumer(id.clone(), ConsumerEntry::Partitions(None)));
    }
    Ok(())
}

/// Whether the topics are others than when the epoch was raised last.
pub(crate) fn have_topics_changed(turn: &Turn<'_>, group: &Group) -> bool {
    hash::of_topics(turn.cluster, group.topics()) != group.metadata_hash()
}

/// Divides anew when the group epoch calls for it, and the last division is long enough ago (KIP-1263).
pub(crate) fn divide(turn: &mut Turn<'_>, id: &Arc<str>) {
    let group = turn.consumer_group(id);
    if group.epoch() <= group.target_epoch() || !is_time(turn, id, &group) {
        return;
    }
    let preferred = group.preferred_assignor();
    let known = preferred.filter(|name| assignor::KNOWN.contains(name));
    let default = turn.settings.consumer.assignors.first().map(String::as_str);
    let name = known.or(default).unwrap_or_default().to_owned();
    let parts = assignor::assign(&name, &task(turn.cluster, &group));
    for (member, own) in parts {
        if group.target_of(&member).is_none_or(|had| **had != own) {
            write_part(turn, id, &member, &own);
        }
    }
    let (assignment_epoch, assignment_timestamp) = (group.epoch(), turn.now.time.get());
    let value = ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch, assignment_timestamp };
    turn.write(Entry::Consumer(id.clone(), ConsumerEntry::Target(Some(value))));
}

/// Writes what one member is to have.
pub(crate) fn write_part(turn: &mut Turn<'_>, id: &Arc<str>, member: &str, own: &Parts) {
    let entry = ConsumerEntry::TargetMember(member.to_owned(), Some(parts_value(own)));
    turn.write(Entry::Consumer(id.clone(), entry));
}

fn is_time(turn: &Turn<'_>, id: &str, group: &Group) -> bool {
    let settings = &turn.settings.consumer;
    let bounds = settings.assignment_interval_min..=settings.assignment_interval_max;
    let interval =
        group_duration(turn, id, "consumer.assignment.interval.ms", settings.assignment_interval, bounds);
    let interval = if group.targets() > 1 { interval } else { interval / PART_AFTER_ONE };
    let at = group.target_at().get();
    let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    at == 0 || turn.now.time.get().saturating_sub(at) >= interval
}

/// What a group sets for itself, within the operator's bounds, or what holds for all.
pub(crate) fn group_duration(
    turn: &Turn<'_>,
    id: &str,
    key: &str,
    default: Duration,
    bounds: std::ops::RangeInclusive<Duration>,
) -> Duration {
    let own = turn.cluster.group_config(id, key).and_then(|value| u64::try_from(value).ok());
    // Not `clamp`: an operator may have set the bounds the wrong way round, which must not end the process.
    own.map_or(default, |own| Duration::from_millis(own).max(*bounds.start()).min(*bounds.end()))
}

fn task(cluster: &dyn Cluster, group: &Group) -> Task {
    let mut partitions: BTreeMap<TopicId, i32> = BTreeMap::new();
    for topic in group.topics().into_iter().filter_map(|name| cluster.topic(name)) {
        partitions.insert(topic.id, topic.partitions);
    }
    // Members that read the same share one set: the thousandth is not looked up again.
    let mut sets: BTreeMap<(&[String], &str), assignor::Topics> = BTreeMap::new();
    let mut readers: BTreeMap<Id, Reader> = BTreeMap::new();
    for (id, member) in group.members() {
        let pattern = member.subscribed_topic_regex.as_deref().unwrap_or_default();
        let key = (&member.subscribed_topic_names[..], pattern);
        let topics =
            sets.entry(key).or_insert_with(|| Arc::new(topic_ids(cluster, topics_of(group, member))));
        let reader = Reader {
            instance: member.instance_id.clone(),
            topics: topics.clone(),
            had: group.target_of(id).cloned().unwrap_or_default(),
        };
        readers.insert(id.clone(), reader);
    }
    Task { readers, partitions }
}
