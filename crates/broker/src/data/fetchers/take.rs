//! What a follower makes of its leader's answer, partition by partition.
//!
//! An answer counts only for the epoch and the offset that were asked for: meanwhile
//! the metadata may have made this node a leader, or a follower of somebody else.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::{AppendError, LogError};
use model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex};
use replica::{Divergence, EpochEnd};
use wire::messages::fetch_response::PartitionData;
use wire::messages::{FetchResponse, from_wire_uuid};

use crate::data::fetchers::ask::Asked;
use crate::data::partition::{Key, Partition, State};
use crate::data::plane::Plane;

/// What is left to do after an answer.
#[derive(Default)]
pub(super) struct Taken {
    /// Leave out for a while.
    pub(super) failed: Vec<Asked>,
    /// Leave out for a moment: leader and follower do not hear of a change at the same time.
    pub(super) early: Vec<Asked>,
    /// The leader has nothing at their log's end.
    pub(super) lost: Vec<Asked>,
    /// Sync up to there before the next request.
    pub(super) to_sync: Vec<(Arc<Partition>, Offset)>,
}

/// Bytes of records in an answer.
pub(super) fn bytes(response: &FetchResponse) -> usize {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.filter_map(|partition| partition.records.as_ref()).map(|records| records.len()).sum()
}

/// The same by partition.
pub(super) fn brought<'a>(
    response: &'a FetchResponse,
    asked: &'a BTreeMap<Key, Asked>,
) -> impl Iterator<Item = (&'a Asked, usize)> {
    response.responses.iter().flat_map(move |topic| {
        let id = from_wire_uuid(topic.topic_id);
        topic.partitions.iter().filter_map(move |it| {
            let asked = asked.get(&(id, PartitionIndex::new(it.partition_index)))?;
            Some((asked, it.records.as_ref().map_or(0, |records| records.len())))
        })
    })
}

/// Whether a log is to be cut, which waits for the disk.
pub(super) fn cuts(response: &FetchResponse) -> bool {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|partition| diverging(partition).is_some())
}

/// The last partition that got records: the next request begins behind it.
pub(super) fn last_with_records(response: &FetchResponse) -> Option<Key> {
    let topic = response.responses.iter().rfind(|topic| topic.partitions.iter().any(has_records))?;
    let partition = topic.partitions.iter().rfind(|partition| has_records(partition))?;
    Some((from_wire_uuid(topic.topic_id), PartitionIndex::new(partition.partition_index.saturating_add(1))))
}

fn has_records(partition: &PartitionData) -> bool {
    partition.records.as_ref().is_some_and(|records| !records.is_empty())
}

/// What became of one partition.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Failed,
    Early,
    Lost,
    Sync(Offset),
}

/// Takes in a whole answer of `leader`.
pub(super) fn all(
    plane: &Plane,
    leader: NodeId,
    asked: &BTreeMap<Key, Asked>,
    response: FetchResponse,
) -> Taken {
    let mut taken = Taken::default();
    for topic in response.responses {
        let id = from_wire_uuid(topic.topic_id);
        for data in topic.partitions {
            let Some(asked) = asked.get(&(id, PartitionIndex::new(data.partition_index))) else { continue };
            match one(plane, leader, asked, &data) {
                Verdict::Fine => {}
                Verdict::Failed => taken.failed.push(asked.clone()),
                Verdict::Early => taken.early.push(asked.clone()),
                Verdict::Lost => taken.lost.push(asked.clone()),
                Verdict::Sync(end) => taken.to_sync.push((asked.partition.clone(), end)),
            }
        }
    }
    taken
}

fn one(plane: &Plane, leader: NodeId, asked: &Asked, data: &PartitionData) -> Verdict {
    let name = &asked.partition.name;
    match ErrorCode::from_code(data.error_code) {
        ErrorCode::None => {}
        ErrorCode::OffsetOutOfRange => return Verdict::Lost,
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::UnknownLeaderEpoch
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownTopicId
        | ErrorCode::UnknownTopicOrPartition => return Verdict::Early,
        code => {
            tracing::debug!(partition = %name, %leader, %code, "a leader refused a follower");
            return Verdict::Failed;
        }
    }
    let mut state = asked.partition.lock();
    if !is_current(&state, leader, asked) {
        return Verdict::Fine;
    }
    let done = match diverging(data) {
        Some(theirs) => cut(&mut state, theirs),
        None => extend(plane, &mut state, data),
    };
    match done {
        Ok(()) => {}
        Err(error) => {
            tracing::error!(partition = %name, %leader, %error, "a follower cannot take what its leader sent");
            if error.is_full() {
                plane.rooms.note_full(state.dir);
            }
            if matches!(error, AppendError::Log(_)) {
                state.fail_if_poisoned();
            }
            return Verdict::Failed;
        }
    }
    plane.bury(&mut state);
    let committed = state.replica.high_watermark();
    state.note_follower(Offset::from_wire(data.high_watermark));
    if state.replica.high_watermark() > committed {
        // Consumers read here too, and may wait for it.
        asked.partition.waiters.wake();
    }
    let end = state.log.as_ref().map_or(Offset::ZERO, log::Log::end);
    if diverging(data).is_some() && end == asked.offset {
        // Asked at once, the leader would say the same again, as fast as it can.
        return Verdict::Early;
    }
    let is_due = state.settings.flush_records().is_some_and(|most| state.unsynced_records() >= most);
    if is_due { Verdict::Sync(end) } else { Verdict::Fine }
}

/// Whether this node still follows as it did when it asked.
fn is_current(state: &State, leader: NodeId, asked: &Asked) -> bool {
    let follows = matches!(state.replica.role(), replica::Role::Follower(follower)
        if follower.leader() == leader && follower.epoch() == asked.epoch);
    follows && state.log.as_ref().is_some_and(|log| log.end() == asked.offset)
}

fn diverging(data: &PartitionData) -> Option<EpochEnd> {
    let end = Offset::from_wire(data.diverging_epoch.end_offset)?;
    let epoch = LeaderEpoch::from_wire(data.diverging_epoch.epoch)?;
    Some(EpochEnd { epoch, end })
}

fn cut(state: &mut State, theirs: EpochEnd) -> Result<(), AppendError> {
    let Some(log) = &mut state.log else { return Ok(()) };
    let ours = State::epoch_end(log, theirs.epoch);
    let Divergence { truncate_to } = Divergence::resolve(theirs, ours, log.start(), log.end());
    tracing::info!(dir = %log.dir().display(), from = %log.end(), to = %truncate_to, ?theirs, ?ours, "cutting what the leader does not have");
    Ok(log.truncate_to(truncate_to)?)
}

fn extend(plane: &Plane, state: &mut State, data: &PartitionData) -> Result<(), AppendError> {
    let Some(log) = &mut state.log else { return Ok(()) };
    if let Some(records) = data.records.as_ref().filter(|records| !records.is_empty()) {
        let now = plane.options.clock.now();
        log.append_as_follower(records, plane.options.clock.wall())?;
        plane.rooms.spend(state.dir, records.len());
        state.used_at = Some(now);
        state.dirty_since.get_or_insert(now);
    }
    if let Some(start) = Offset::from_wire(data.log_start_offset) {
        log.advance_start(start.min(log.end()))?;
    }
    Ok(())
}

/// Puts a log whose end the leader does not have where the leader has something. True when it did.
pub(super) fn relocate(
    plane: &Plane,
    leader: NodeId,
    asked: &Asked,
    earliest: Offset,
    latest: Offset,
) -> bool {
    let mut state = asked.partition.lock();
    if !is_current(&state, leader, asked) {
        return true;
    }
    let Some(log) = &mut state.log else { return false };
    let (start, end) = (log.start(), log.end());
    let done: Result<bool, LogError> = if latest < end {
        log.truncate_to(latest).map(|()| true)
    } else if earliest > end {
        log.restart_at(earliest).map(|()| true)
    } else {
        Ok(false)
    };
    tracing::warn!(
        node = %plane.options.node, partition = %asked.partition.name, %leader, %start, %end, %earliest, %latest,
        "the leader has nothing at this follower's end"
    );
    match done {
        Ok(moved) => {
            state.note_follower(None);
            moved
        }
        Err(error) => {
            tracing::error!(partition = %asked.partition.name, %error, "a log cannot be cut");
            state.fail_if_poisoned();
            false
        }
    }
}
