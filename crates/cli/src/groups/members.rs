//! `kastle groups members GROUP`: who is in it, and what each has.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Cluster, Target, converse};
use crate::failure::Outcome;
use crate::groups::described::{self, Member, Parts};
use crate::output::{self, list};

#[derive(Args)]
pub struct Arguments {
    /// The group.
    group: String,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| show(cluster, arguments))
}

async fn show(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let group = described::describe(&mut cluster, &arguments.group).await?;
    if arguments.target.json {
        return output::json(&group.members.iter().map(to_json).collect());
    }
    let header = ["MEMBER", "INSTANCE", "CLIENT", "HOST", "EPOCH", "PARTITIONS", "ASSIGNED", "TARGET"];
    output::table(&header, group.members.iter().map(row).collect())
}

fn to_json(member: &Member) -> Value {
    json!({
        "member": member.id, "instance": member.instance, "client": member.client, "host": member.host,
        "rack": member.rack, "epoch": member.epoch, "topics": member.topics, "regex": member.regex,
        "assigned": member.assigned, "target": member.target, "classic": member.is_classic,
    })
}

fn row(member: &Member) -> Vec<String> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    // Only while it is on its way there is its target something else than what it has.
    let target = member.target.as_ref().filter(|target| **target != member.assigned);
    vec![
        member.id.clone(),
        or_dash(&member.instance),
        member.client.clone(),
        member.host.clone(),
        member.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()),
        member.assigned.values().map(Vec::len).sum::<usize>().to_string(),
        short(&member.assigned),
        target.map_or_else(|| "-".to_owned(), short),
    ]
}

/// `orders:0,1 sales:3`.
fn short(parts: &Parts) -> String {
    if parts.is_empty() {
        return "-".to_owned();
    }
    let one = |(topic, own): (&String, &Vec<i32>)| {
        let mut own = own.clone();
        own.sort_unstable();
        format!("{topic}:{}", list(own))
    };
    parts.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Member, Parts, row, short};

    #[test]
    fn what_a_member_has_is_one_word_a_topic() {
        let parts = Parts::from([("t".to_owned(), vec![2, 0]), ("u".to_owned(), vec![1])]);
        assert_eq!(short(&parts), "t:0,2 u:1");
        assert_eq!(short(&Parts::new()), "-");
        let member = Member { assigned: parts.clone(), target: Some(parts), ..Member::default() };
        assert_eq!(row(&member)[5..], ["3", "t:0,2 u:1", "-"]);
        let member = Member { target: Some(Parts::new()), ..member };
        assert_eq!(row(&member)[7], "-");
    }
}
