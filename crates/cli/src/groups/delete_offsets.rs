//! `kastle groups delete-offsets GROUP --topic TOPIC[:PARTITIONS]`.

use std::collections::BTreeMap;

use clap::Args;
use model::ErrorCode;
use serde_json::json;
use wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::messages::{GroupId, OffsetDeleteRequest, ResponseKind, text, topic};

use crate::client::{Cluster, Target, answer, converse, refused};
use crate::failure::{Failure, Outcome, note, say};
use crate::groups::scope::{Place, Scope};
use crate::groups::{coordinator, offsets};
use crate::output;

#[derive(Args)]
pub struct Arguments {
    /// The group; it may have members, but none that reads these topics.
    group: String,
    /// Whose offsets go: a topic, or some of its partitions; repeatable.
    #[arg(long = "topic", short, required = true, value_name = "TOPIC[:0,2]")]
    topics: Vec<Scope>,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| delete(cluster, arguments))
}

async fn delete(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let group = &arguments.group;
    let deed = format!("delete offsets of {group}");
    let committed = offsets::committed(&mut cluster, group).await?;
    let asked = chosen(&arguments.topics, committed.keys());
    if asked.is_empty() {
        return Err(Failure::refused(format!(
            "cannot {deed}: it has none there; `kastle groups lag {group}` shows those there are"
        )));
    }
    let one = |(name, partitions): (&String, &Vec<i32>)| {
        let partition = |&index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(index);
        OffsetDeleteRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(partitions.iter().map(partition).collect())
    };
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(asked.iter().map(one).collect());
    let code = |response: &ResponseKind| match response {
        ResponseKind::OffsetDelete(response) => ErrorCode::from_code(response.error_code),
        _ => ErrorCode::None,
    };
    let (_, response) = coordinator::ask(&mut cluster, group, &deed, request, code).await?;
    let response = answer!(OffsetDelete, response);
    let code = ErrorCode::from_code(response.error_code);
    if code.is_error() {
        return Err(refused(&deed, code, None));
    }
    let (mut deleted, mut outcome): (Vec<Place>, Outcome) = (Vec::new(), Ok(()));
    for found in response.topics {
        for partition in found.partitions {
            let place = Place::new(found.name.as_str(), partition.partition_index);
            match ErrorCode::from_code(partition.error_code) {
                ErrorCode::None => deleted.push(place),
                code => {
                    let failure = refused(&format!("delete the offset of {group} for {place}"), code, None);
                    if let Err(failure) = std::mem::replace(&mut outcome, Err(failure)) {
                        note(failure);
                    }
                }
            }
        }
    }
    show(arguments, &deleted)?;
    outcome
}

fn show(arguments: &Arguments, deleted: &[Place]) -> Outcome {
    if arguments.target.json {
        let one = |place: &Place| json!({"topic": place.topic, "partition": place.partition});
        return output::json(
            &json!({"group": arguments.group, "deleted": deleted.iter().map(one).collect::<Vec<_>>()}),
        );
    }
    deleted.iter().try_for_each(|place| say(format_args!("deleted the offset for {place}")))
}

/// What is to be deleted: the partitions that are named, or all of a topic that have an offset.
fn chosen<'a>(
    scopes: &[Scope],
    committed: impl Iterator<Item = &'a Place> + Clone,
) -> BTreeMap<String, Vec<i32>> {
    let mut asked: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for scope in scopes {
        let own: Vec<i32> = match scope.partitions.is_empty() {
            true => committed.clone().filter(|it| it.topic == scope.topic).map(|it| it.partition).collect(),
            false => scope.partitions.clone(),
        };
        if !own.is_empty() {
            asked.entry(scope.topic.clone()).or_default().extend(own);
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::{Place, Scope, chosen};

    #[test]
    fn a_topic_stands_for_its_partitions_with_offsets() {
        let committed = [Place::new("t", 1), Place::new("t", 4), Place::new("u", 0)];
        let scopes = ["t", "u:3", "v"].map(|text| text.parse::<Scope>().expect("well formed"));
        let asked = chosen(&scopes, committed.iter());
        assert_eq!(
            asked.into_iter().collect::<Vec<_>>(),
            [("t".to_owned(), vec![1, 4]), ("u".to_owned(), vec![3])]
        );
    }
}
