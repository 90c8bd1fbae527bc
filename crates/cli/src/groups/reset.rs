//! `kastle groups reset-offsets GROUP`: where a group reads on.
//!
//! Without `--execute` it shows what it would do. The group must have no members; a group that is not there yet
//! begins with its first offsets. New offsets are kept within the log.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args};
use model::ErrorCode;
use serde_json::{Value, json};
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::{GroupId, OffsetCommitRequest, ResponseKind, text, topic};

use crate::client::{Cluster, Target, answer, converse, refused};
use crate::failure::{Failure, Outcome, note, say};
use crate::groups::offsets::{EARLIEST, LATEST};
use crate::groups::reset::plan::{Known, Strategy};
use crate::groups::scope::{self, Place, Scope};
use crate::groups::{coordinator, described, offsets, time};
use crate::output;

#[derive(Args)]
#[command(group = ArgGroup::new("where").required(true))]
pub struct Arguments {
    /// The group.
    group: String,
    /// A topic, or some of its partitions; repeatable.
    #[arg(long = "topic", short, value_name = "TOPIC[:0,2]")]
    topics: Vec<Scope>,
    /// All topics that the group has offsets of.
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    /// To where the log begins.
    #[arg(long, group = "where")]
    to_earliest: bool,
    /// To where the log ends.
    #[arg(long, group = "where")]
    to_latest: bool,
    /// To where the group is; to the end where it has no offset.
    #[arg(long, group = "where")]
    to_current: bool,
    /// To this offset.
    #[arg(long, group = "where", value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// So many records on, or back with a negative number.
    #[arg(long, group = "where", value_name = "RECORDS", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record of this time: 2026-01-31T08:30:00Z, a date, or milliseconds since 1970.
    #[arg(long, group = "where", value_name = "TIME")]
    to_datetime: Option<String>,
    /// To the first record that is not older than this: 90s, 15m, 2h, 7d, or P1DT2H.
    #[arg(long, group = "where", value_name = "SPAN")]
    by_duration: Option<String>,
    /// To the offsets in a file of lines TOPIC,PARTITION,OFFSET.
    #[arg(long, group = "where", value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Do it. Otherwise it is only shown.
    #[arg(long)]
    execute: bool,
    /// Print lines for --from-file instead of a table.
    #[arg(long, conflicts_with = "json")]
    export: bool,
    #[command(flatten)]
    target: Target,
}

/// One partition's old and new offset.
struct Move {
    place: Place,
    had: Option<i64>,
    new: i64,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let strategy = strategy(arguments)?;
    let names_topics = arguments.all_topics || !arguments.topics.is_empty();
    if !names_topics && arguments.from_file.is_none() {
        return Err(Failure::typed_wrong(format!(
            "cannot reset {}: no topics are named; use --topic or --all-topics",
            arguments.group
        )));
    }
    converse(&arguments.target, |cluster| reset(cluster, strategy, arguments))
}

fn strategy(arguments: &Arguments) -> Outcome<Strategy> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let wrong = |flag: &str, text: &str, how: &str| {
        Failure::typed_wrong(format!("cannot read {flag} {text}: it is none; write for example {how}"))
    };
    if let Some(text) = &arguments.to_datetime {
        let time = time::timestamp(text);
        return time.map(Strategy::Time).ok_or_else(|| wrong("--to-datetime", text, "2026-01-31T08:30:00Z"));
    }
    if let Some(text) = &arguments.by_duration {
        let span = time::duration(text).ok_or_else(|| wrong("--by-duration", text, "2h or P1DT2H"))?;
        return Ok(Strategy::Time(now.saturating_sub(span).max(0)));
    }
    if let Some(path) = &arguments.from_file {
        return Ok(Strategy::Given(scope::offsets_in(path, &arguments.group)?));
    }
    Ok(match (arguments.to_offset, arguments.shift_by) {
        (Some(offset), _) => Strategy::Offset(offset),
        (_, Some(by)) => Strategy::ShiftBy(by),
        _ if arguments.to_earliest => Strategy::Earliest,
        _ if arguments.to_latest => Strategy::Latest,
        _ => Strategy::Current,
    })
}

async fn reset(mut cluster: Cluster, strategy: Strategy, arguments: &Arguments) -> Outcome {
    let group = &arguments.group;
    let found = described::find(&mut cluster, group).await?;
    if let Some(found) = found.filter(|found| !found.is_inactive()) {
        let (state, members) = (&found.state, found.members.len());
        return Err(Failure::refused(format!(
            "cannot reset {group}: it is {state} with {members} members; stop them first"
        )));
    }
    let committed = offsets::committed(&mut cluster, group).await?;
    let places = places(&mut cluster, &strategy, &committed, arguments).await?;
    if places.is_empty() {
        return Err(Failure::refused(format!(
            "cannot reset {group}: there is nothing to reset; `kastle groups lag {group}` shows its offsets"
        )));
    }
    let moves = plan_all(&mut cluster, &strategy, &committed, places).await?;
    if arguments.execute {
        commit(&mut cluster, group, &moves).await?;
    }
    show(arguments, &moves)
}

/// The partitions that are meant; each exists.
async fn places(
    cluster: &mut Cluster,
    strategy: &Strategy,
    committed: &BTreeMap<Place, i64>,
    arguments: &Arguments,
) -> Outcome<BTreeSet<Place>> {
    if let Strategy::Given(offsets) = strategy {
        let named = |place: &&Place| {
            let meant = |scope: &Scope| {
                scope.topic == place.topic
                    && (scope.partitions.is_empty() || scope.partitions.contains(&place.partition))
            };
            arguments.topics.is_empty() || arguments.topics.iter().any(meant)
        };
        return Ok(offsets.keys().filter(named).cloned().collect());
    }
    if arguments.all_topics {
        return Ok(committed.keys().cloned().collect());
    }
    let topics: BTreeSet<String> = arguments.topics.iter().map(|scope| scope.topic.clone()).collect();
    let there = offsets::partitions_of(cluster, &topics).await?;
    let mut places = BTreeSet::new();
    for scope in &arguments.topics {
        match scope.partitions.is_empty() {
            true => places.extend(there.keys().filter(|place| place.topic == scope.topic).cloned()),
            false => {
                places.extend(scope.partitions.iter().map(|&index| Place::new(scope.topic.as_str(), index)))
            }
        }
        if !places.iter().any(|place| place.topic == scope.topic) {
            let code = ErrorCode::UnknownTopicOrPartition;
            return Err(refused(&format!("find the topic {}", scope.topic), code, None));
        }
    }
    Ok(places)
}

async fn plan_all(
    cluster: &mut Cluster,
    strategy: &Strategy,
    committed: &BTreeMap<Place, i64>,
    places: BTreeSet<Place>,
) -> Outcome<Vec<Move>> {
    let starts = offsets::list(cluster, places.clone(), EARLIEST, false).await?;
    let ends = offsets::list(cluster, places.clone(), LATEST, false).await?;
    let times = match strategy {
        Strategy::Time(time) => offsets::list(cluster, places.clone(), *time, false).await?,
        _ => BTreeMap::new(),
    };
    let mut moves = Vec::with_capacity(places.len());
    for place in places {
        let (Some(&start), Some(&end)) = (starts.get(&place), ends.get(&place)) else {
            let code = ErrorCode::UnknownTopicOrPartition;
            return Err(refused(&format!("find the partition {place}"), code, None));
        };
        let had = committed.get(&place).copied();
        let at_time = times.get(&place).copied().filter(|offset| *offset >= 0);
        let planned = strategy.offset(&place, Known { start, end, committed: had, at_time });
        let planned = planned.map_err(|cause| Failure::refused(format!("cannot reset {place}: {cause}")))?;
        if planned.is_kept_within {
            let wanted = planned.wanted;
            note(format_args!("{place}: offset {wanted} is not in the log, which has {start} to {end}"));
        }
        moves.push(Move { place, had, new: planned.offset });
    }
    Ok(moves)
}

/// Commits as an administrator does: no member, no generation.
async fn commit(cluster: &mut Cluster, group: &str, moves: &[Move]) -> Outcome {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for Move { place, new, .. } in moves {
        let one = OffsetCommitRequestPartition::default()
            .with_partition_index(place.partition)
            .with_committed_offset(*new)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text("")));
        topics.entry(&place.topic).or_default().push(one);
    }
    let one = |(name, partitions): (&str, Vec<OffsetCommitRequestPartition>)| {
        OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(partitions)
    };
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(topics.into_iter().map(one).collect());
    let deed = format!("reset {group}");
    let (_, response) = coordinator::ask(cluster, group, &deed, request, first_error).await?;
    let code = first_error(&response);
    if code.is_error() {
        return Err(refused(&deed, code, None));
    }
    let _ = answer!(OffsetCommit, response);
    Ok(())
}

fn first_error(response: &ResponseKind) -> ErrorCode {
    let ResponseKind::OffsetCommit(response) = response else { return ErrorCode::None };
    let codes = response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| it.error_code));
    codes.map(ErrorCode::from_code).find(|code| code.is_error()).unwrap_or(ErrorCode::None)
}

fn show(arguments: &Arguments, moves: &[Move]) -> Outcome {
    if arguments.target.json {
        return output::json(&to_json(arguments, moves));
    }
    if arguments.export {
        let line = |it: &Move| say(format_args!("{},{},{}", it.place.topic, it.place.partition, it.new));
        return moves.iter().try_for_each(line);
    }
    let row = |it: &Move| {
        let had = it.had.map_or_else(|| "-".to_owned(), |had| had.to_string());
        vec![it.place.topic.clone(), it.place.partition.to_string(), had, it.new.to_string()]
    };
    output::table(&["TOPIC", "PARTITION", "OLD", "NEW"], moves.iter().map(row).collect())?;
    if !arguments.execute {
        note("nothing was changed; --execute does it");
    }
    Ok(())
}

fn to_json(arguments: &Arguments, moves: &[Move]) -> Value {
    let one = |it: &Move| json!({"topic": it.place.topic, "partition": it.place.partition, "old": it.had, "new": it.new});
    let offsets: Vec<Value> = moves.iter().map(one).collect();
    json!({"group": arguments.group, "executed": arguments.execute, "offsets": offsets})
}
