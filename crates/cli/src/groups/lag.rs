//! `kastle groups lag [GROUP...]`: how far groups are behind, partition by partition.
//!
//! In records up to the end of the log, and up to where it is stable: what lies behind an open transaction no reader
//! of committed data can read yet. And in seconds: for how long the first unread record has waited. Groups without
//! members have lag too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Cluster, Target, converse};
use crate::failure::{Failure, Outcome};
use crate::groups::described::{self, Described};
use crate::groups::offsets::{self, LATEST};
use crate::groups::scope::Place;
use crate::groups::{age, list};
use crate::output;

#[derive(Args)]
pub struct Arguments {
    /// The groups; all when absent.
    groups: Vec<String>,
    /// Show only partitions that are behind by so many records at least.
    #[arg(long, default_value_t = 0, value_name = "RECORDS")]
    at_least: i64,
    /// Leave the seconds out: no records are read.
    #[arg(long)]
    no_seconds: bool,
    #[command(flatten)]
    target: Target,
}

/// How far a group is in one partition.
#[derive(Debug, PartialEq)]
pub struct Lag {
    pub place: Place,
    pub committed: Option<i64>,
    /// Where the log ends, and where it is stable; none when there is no such partition any more.
    pub end: Option<i64>,
    pub stable: Option<i64>,
    pub seconds: Option<f64>,
    /// Who has it.
    pub member: Option<String>,
}

impl Lag {
    /// Records to read until the end.
    pub fn records(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }

    /// Records that a reader of committed data can read.
    fn stable_records(&self) -> Option<i64> {
        Some((self.stable? - self.committed?).max(0))
    }
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| show(cluster, arguments))
}

async fn show(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let groups = match arguments.groups.is_empty() {
        true => list::names(&mut cluster).await?,
        false => arguments.groups.clone(),
    };
    let mut all = Vec::new();
    for group in &groups {
        let Some(described) = described::find(&mut cluster, group).await? else {
            if arguments.groups.is_empty() {
                continue;
            }
            return Err(Failure::refused(format!(
                "cannot show the lag of {group}: there is no such group; `kastle groups list` shows those there are"
            )));
        };
        let mut lags = of(&mut cluster, &described).await?;
        if !arguments.no_seconds {
            add_seconds(&mut cluster, &mut lags).await?;
        }
        lags.retain(|lag| lag.records().unwrap_or(0) >= arguments.at_least);
        all.push((group.clone(), lags));
    }
    if arguments.target.json {
        output::json(&Value::Array(all.iter().map(to_json).collect()))
    } else {
        table(&all)
    }
}

/// How far a group is in each partition that it committed or has.
pub async fn of(cluster: &mut Cluster, group: &Described) -> Outcome<Vec<Lag>> {
    let committed = offsets::committed(cluster, &group.id).await?;
    let parts = group.members.iter().flat_map(|member| &member.assigned);
    let owned =
        parts.flat_map(|(topic, own)| own.iter().map(|&partition| Place::new(topic.as_str(), partition)));
    let places: BTreeSet<Place> = committed.keys().cloned().chain(owned).collect();
    let ends = offsets::list(cluster, places.clone(), LATEST, false).await?;
    let stable = offsets::list(cluster, places.clone(), LATEST, true).await?;
    let lag = |place: Place| Lag {
        committed: committed.get(&place).copied(),
        end: ends.get(&place).copied(),
        stable: stable.get(&place).copied(),
        seconds: None,
        member: group.owner(&place.topic, place.partition).map(|member| member.id.clone()),
        place,
    };
    Ok(places.into_iter().map(lag).collect())
}

async fn add_seconds(cluster: &mut Cluster, lags: &mut [Lag]) -> Outcome {
    let behind = lags.iter().filter(|lag| lag.records().is_some_and(|records| records > 0));
    let from: BTreeMap<Place, i64> =
        behind.filter_map(|lag| Some((lag.place.clone(), lag.committed?))).collect();
    let times = age::first_unread(cluster, &from).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    for lag in lags {
        lag.seconds = match (lag.records(), times.get(&lag.place)) {
            (Some(0), _) => Some(0.0),
            // Producers choose timestamps, in the future too.
            (_, Some(time)) => Some(now.saturating_sub(*time).max(0) as f64 / 1_000.0),
            _ => None,
        };
    }
    Ok(())
}

fn to_json((group, lags): &(String, Vec<Lag>)) -> Value {
    let one = |lag: &Lag| {
        json!({
            "topic": lag.place.topic, "partition": lag.place.partition, "committed": lag.committed, "end": lag.end,
            "stable": lag.stable, "lag": lag.records(), "stableLag": lag.stable_records(), "seconds": lag.seconds,
            "member": lag.member,
        })
    };
    let total: i64 = lags.iter().filter_map(Lag::records).sum();
    json!({"group": group, "lag": total, "partitions": lags.iter().map(one).collect::<Vec<_>>()})
}

fn table(groups: &[(String, Vec<Lag>)]) -> Outcome {
    let header =
        ["GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "STABLE-LAG", "SECONDS", "MEMBER"];
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let row = |group: &String, lag: &Lag| {
        vec![
            group.clone(),
            lag.place.topic.clone(),
            lag.place.partition.to_string(),
            number(lag.committed),
            number(lag.end),
            number(lag.records()),
            number(lag.stable_records()),
            lag.seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}")),
            lag.member.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows = groups.iter().flat_map(|(group, lags)| lags.iter().map(move |lag| row(group, lag))).collect();
    output::table(&header, rows)
}

#[cfg(test)]
mod tests {
    use super::{Lag, Place, to_json};

    fn lag(committed: Option<i64>, end: Option<i64>, stable: Option<i64>) -> Lag {
        Lag { place: Place::new("t", 0), committed, end, stable, seconds: None, member: None }
    }

    #[test]
    fn lag_is_counted_to_the_end_and_to_where_the_log_is_stable() {
        let check = |lag: Lag, expected: (Option<i64>, Option<i64>)| {
            assert_eq!((lag.records(), lag.stable_records()), expected, "{lag:?}");
        };
        check(lag(Some(4), Some(10), Some(7)), (Some(6), Some(3)));
        check(lag(Some(10), Some(10), Some(7)), (Some(0), Some(0)));
        check(lag(None, Some(10), Some(10)), (None, None));
        check(lag(Some(4), None, None), (None, None));
    }

    #[test]
    fn a_program_is_told_the_total_too() {
        let lags = vec![
            lag(Some(4), Some(10), Some(7)),
            lag(Some(1), Some(3), Some(3)),
            lag(None, Some(5), Some(5)),
        ];
        let json = to_json(&("g".to_owned(), lags));
        assert_eq!((&json["lag"], &json["partitions"][0]["stableLag"]), (&8.into(), &3.into()));
        assert!(json["partitions"][2]["lag"].is_null());
    }
}
