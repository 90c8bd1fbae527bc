//! Subscriptions by regular expression, looked up by the server (KIP-848).
//!
//! Kafka compiles them with RE2/J, which like the `regex` crate takes time linear in the text; what either refuses
//! the client is told. An expression stands for the topics whose whole name it matches.
//!
//! Kafka looks them up in the background and answers at the next heartbeat; here that is part of the turn, so a new
//! member has its topics at once, and each record comes right before the raised epoch that it calls for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::{Expression, Watched, leave};
use crate::cluster::Cluster;
use crate::record::{ConsumerEntry, Entry};
use crate::refusal::Refusal;
use crate::turn::Turn;

/// Longest expression. A topic's name has at most 249 characters; somebody may list a hundred of them.
const CHARS_MAX: usize = 32_000;
/// Largest compiled form, and how deep groups may be nested: what an expression costs to keep while it is used.
const COMPILED_BYTES_MAX: usize = 1 << 20;
const DEPTH_MAX: u32 = 100;
/// Expressions are not looked up again sooner than this because of new topics, as in Kafka.
const LOOK_UP_PAUSE: Duration = Duration::from_secs(10);

/// Compiles an expression so that it matches whole names.
pub(crate) fn compile(pattern: &str) -> Result<Regex, Refusal> {
    let invalid = |cause: String| Refusal::InvalidExpression { pattern: shown(pattern), cause };
    if pattern.len() > CHARS_MAX {
        return Err(invalid(format!("it is longer than {CHARS_MAX} characters")));
    }
    let build = |text: &str| {
        let mut builder = RegexBuilder::new(text);
        builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).nest_limit(DEPTH_MAX);
        builder.build().map_err(|error| invalid(error.to_string()))
    };
    // On its own first: brackets that close too early must not be opened by the frame.
    build(pattern)?;
    build(&format!("\\A(?:{pattern})\\z"))
}

fn shown(pattern: &str) -> String {
    pattern.chars().take(200).collect()
}

/// The topics that an expression stands for now.
fn look_up(cluster: &dyn Cluster, regex: &Regex) -> BTreeSet<String> {
    cluster.names().filter(|name| regex.is_match(name)).map(str::to_owned).collect()
}

/// Looks up expressions that were not yet, and all of them when the cluster has changed since, or it is long ago.
/// True when one of them stands for other topics than before.
pub(crate) fn refresh(turn: &mut Turn<'_>, id: &Arc<str>, watched: &mut Watched) -> bool {
    leave::drop_unused_expressions(turn, id);
    let group = turn.consumer_group(id);
    if group.patterns().len() == 0 {
        return false;
    }
    let all = is_old(turn, watched);
    let (version, now) = (turn.cluster.version(), turn.now);
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pattern in group.patterns().filter(|pattern| all || group.expression(pattern).is_none()) {
        // One that only Kafka's own library knows, in a group that was led by Kafka, stands for nothing here.
        let topics = compile(pattern).map_or_else(|_| BTreeSet::new(), |regex| look_up(turn.cluster, &regex));
        found.insert(pattern.clone(), topics);
    }
    if all || watched.looked_up.is_none() {
        watched.looked_up = Some((version, now.clock));
    }
    let mut changed = false;
    for (pattern, topics) in found {
        let had = group.expression(&pattern);
        if had.is_some_and(|had| had.topics == topics) {
            continue;
        }
        changed |= had.map_or(!topics.is_empty(), |_| true);
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        let value = Expression { topics, version, at: now.time }.to_value();
        turn.write(Entry::Consumer(id.clone(), ConsumerEntry::Expression(pattern, Some(value))));
    }
    changed
}

fn is_old(turn: &Turn<'_>, watched: &Watched) -> bool {
    let Some((version, at)) = watched.looked_up else { return true };
    let since = |interval: Duration| turn.now.clock > at.after(interval);
    let interval = turn.settings.consumer.regex_refresh_interval;
    (version != turn.cluster.version() && since(LOOK_UP_PAUSE)) || since(interval)
}

#[cfg(test)]
mod tests {
    use super::compile;

    /// Which of these names an expression stands for.
    fn check(pattern: &str, expected: &str) {
        let names = ["a", "ab", "abc", "b", "orders.eu"];
        let regex = compile(pattern).expect("it is valid");
        let found: Vec<&str> = names.into_iter().filter(|name| regex.is_match(name)).collect();
        assert_eq!(found.join(" "), expected, "{pattern}");
    }

    fn check_refused(pattern: &str) {
        assert!(compile(pattern).is_err(), "{pattern}");
    }

    #[test]
    fn an_expression_stands_for_whole_names() {
        check("a", "a");
        check("a|ab", "a ab");
        check("a.*", "a ab abc");
        check("^ab?$", "a ab");
        check("orders\\..*", "orders.eu");
        check("[ab]", "a b");
    }

    #[test]
    fn what_is_no_expression_or_costs_too_much_is_refused() {
        check_refused("(");
        check_refused("a)(b");
        check_refused("(?=a)");
        check_refused("(a)\\1");
        check_refused(&"a".repeat(40_000));
        check_refused("((a{100}){100}){100}");
        check_refused(&format!("{}a{}", "(".repeat(200), ")".repeat(200)));
    }
}
