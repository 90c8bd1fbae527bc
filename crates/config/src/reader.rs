//! Takes typed values out of properties and collects what is wrong with them.
//!
//! Every known key of the file is judged once, when the reader is made; after that a bad
//! value reads as its default, so that one mistake is one problem.

use std::time::Duration;

use crate::key::{Kind, Scope, Value};
use crate::problem::Problem;
use crate::properties::{Entry, Place, Properties};
use crate::table;

pub(crate) struct Reader<'a> {
    properties: &'a Properties,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(properties: &'a Properties) -> Self {
        let problems = properties.iter().filter_map(|entry| {
            let key = table::find(Scope::Broker, &entry.key)?;
            let wrong = key.parse(&entry.value).err()?;
            let found = (!key.is_sensitive()).then(|| entry.value.clone());
            let advice = format!("correct the value{}", or_remove(key.name));
            Some(Problem {
                key: entry.key.clone(),
                place: entry.place.to_string(),
                found,
                expected: wrong.to_string(),
                advice,
            })
        });
        Self { properties, problems: problems.collect() }
    }

    /// What was wrong.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Whether the file sets the key.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.properties.get(key).is_some()
    }

    /// Notes a problem with what the file says of `key`, or with its absence.
    pub(crate) fn problem(&mut self, key: &str, expected: impl Into<String>, advice: impl Into<String>) {
        let entry = self.properties.get(key);
        let place =
            entry.map_or_else(|| self.properties.source().to_owned(), |entry| entry.place.to_string());
        let found = entry.map(|entry| entry.value.clone());
        let (expected, advice) = (expected.into(), advice.into());
        self.problems.push(Problem { key: key.to_owned(), place, found, expected, advice });
    }

    /// Notes that a required key is missing, once.
    pub(crate) fn require(&mut self, key: &str, advice: &str) {
        if !self.is_set(key) {
            let expected = format!("Missing required configuration \"{key}\" which has no default value.");
            self.problem(key, expected, advice);
        }
    }

    fn value(&self, name: &str) -> Option<Value> {
        let key = table::find(Scope::Broker, name).unwrap_or_else(|| panic!("{name} is not in keys.txt"));
        assert!(key.kept, "{name} is read, so keys.txt must call it kept");
        let set = self.properties.get(name).and_then(|entry| key.parse(&entry.value).ok());
        set.or_else(|| key.default_value())
    }

    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        match self.value(key) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// A number that cannot be negative; Kafka takes negative ones for some keys and then
    /// behaves as with none.
    pub(crate) fn count(&self, key: &str) -> u64 {
        self.number(key).map_or(0, |number| u64::try_from(number).unwrap_or(0))
    }

    /// A count that fits 32 bits, as every key of Kafka's type INT does.
    pub(crate) fn small(&self, key: &str) -> u32 {
        u32::try_from(self.count(key)).unwrap_or(u32::MAX)
    }

    pub(crate) fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(self.count(key))
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Value::Bool(true)))
    }

    /// Text that is there and not empty.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match self.value(key) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        match self.value(key) {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        }
    }
}

/// ` or remove the line (default 3)`, where there is a default.
fn or_remove(name: &str) -> String {
    let default = table::find(Scope::Broker, name).and_then(|key| match key.default {
        crate::key::Default::Text(text) if !text.is_empty() && key.kind != Kind::Password => Some(text),
        _ => None,
    });
    default.map_or_else(String::new, |text| format!(" or remove the line (default {text})"))
}

/// Where an entry stands, for warnings.
pub(crate) fn place_of(entry: &Entry) -> String {
    match &entry.place {
        Place::Line { .. } => entry.place.to_string(),
        Place::Override => format!("{} {}", entry.place, entry.key),
    }
}
