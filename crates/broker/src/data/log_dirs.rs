//! DescribeLogDirs: what lies in each log directory, how much room is left there, and whether it takes new replicas
//! (KIP-113, KIP-827, KIP-1066).
//!
//! A directory that failed is named with KAFKA_STORAGE_ERROR and nothing else: what
//! lies in it cannot be asked any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use model::{ErrorCode, TopicPartition};
use wire::cordoned;
use wire::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, text, topic};

use crate::data::plane::Plane;

/// What one directory holds of each partition.
type Held = BTreeMap<TopicPartition, Size>;
/// The partitions that are asked for, by topic.
type Wanted = BTreeMap<String, BTreeSet<i32>>;

/// How large a log is, and whether it is there yet.
struct Size {
    bytes: u64,
    /// It is a copy on its way here, so many records behind.
    lag: Option<i64>,
}

/// Answers a request of that version.
pub async fn handle(
    plane: Arc<Plane>,
    version: i16,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let wanted: Option<Wanted> = request.topics.map(|topics| {
        let named = topics.into_iter().map(|it| (it.topic.to_string(), it.partitions.into_iter().collect()));
        named.collect()
    });
    let blocking = plane.options.blocking.clone();
    // The room is asked of the disk.
    let work = move || {
        let held = held(&plane, wanted.as_ref());
        let dirs = plane.options.log_dirs.iter().enumerate();
        let described = dirs.zip(held).map(|((at, (dir, _)), held)| {
            let described = describe(&plane, at, dir, held);
            let says = version >= cordoned::LOG_DIRS_VERSION && plane.rooms.is_cordoned(at);
            if says { cordoned::described(described) } else { described }
        });
        described.collect()
    };
    DescribeLogDirsResponse::default().with_results(blocking.run(work).await)
}

fn held(plane: &Plane, wanted: Option<&Wanted>) -> Vec<Held> {
    let mut held: Vec<Held> = plane.options.log_dirs.iter().map(|_| Held::new()).collect();
    let is_wanted = |name: &TopicPartition| {
        wanted.is_none_or(|wanted| {
            wanted.get(name.topic.as_str()).is_some_and(|it| it.contains(&name.partition.get()))
        })
    };
    plane.for_each(|partition| {
        let state = partition.look();
        if let Some(log) = state.log.as_ref().filter(|_| is_wanted(&partition.name)) {
            held[state.dir].insert(partition.name.clone(), Size { bytes: log.size_bytes(), lag: None });
        }
    });
    for (key, copy) in plane.moves.all() {
        let Some(partition) = plane.partition(key).filter(|_| is_wanted(&copy.name)) else { continue };
        let state = partition.look();
        let Some(log) = state.log.as_ref().filter(|_| state.dir != copy.to) else { continue };
        let lag = Some(log.end().since(copy.end).max(0));
        held[copy.to].insert(copy.name, Size { bytes: copy.bytes, lag });
    }
    held
}

fn describe(plane: &Plane, at: usize, dir: &Path, held: Held) -> DescribeLogDirsResult {
    let result = DescribeLogDirsResult::default().with_log_dir(text(&dir.to_string_lossy()));
    let disk = plane.options.disk.as_ref();
    let room = match (disk.total_bytes(dir), disk.free_bytes(dir)) {
        (Ok(total), Ok(free)) if !plane.failed_dirs.contains(at) => Some((total, free)),
        _ => None,
    };
    let Some((total, free)) = room else {
        return result
            .with_error_code(ErrorCode::KafkaStorageError.code())
            .with_total_bytes(-1)
            .with_usable_bytes(-1);
    };
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    result.with_total_bytes(bytes(total)).with_usable_bytes(bytes(free)).with_topics(topics(held))
}

fn topics(held: Held) -> Vec<DescribeLogDirsTopic> {
    let mut topics: Vec<DescribeLogDirsTopic> = Vec::new();
    for (name, size) in held {
        let data = DescribeLogDirsPartition::default()
            .with_partition_index(name.partition.get())
            .with_partition_size(i64::try_from(size.bytes).unwrap_or(i64::MAX))
            .with_offset_lag(size.lag.unwrap_or(0))
            .with_is_future_key(size.lag.is_some());
        match topics.last_mut().filter(|last| last.name.as_str() == name.topic.as_str()) {
            Some(last) => last.partitions.push(data),
            None => topics.push(
                DescribeLogDirsTopic::default()
                    .with_name(topic(name.topic.as_str()))
                    .with_partitions(vec![data]),
            ),
        }
    }
    topics
}
