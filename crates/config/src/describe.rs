//! What a resource is set to and where each value comes from: the body of DescribeConfigs.
//!
//! Every key is listed, set or not. A secret's value is never in the answer.

use crate::key::{Default, Key, Kind, Scope, Update};
use crate::layers::{Layers, Overrides, Source, broker_synonyms, topic_synonyms};
use crate::table;
use crate::topic::effective;

/// One key of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: &'static str,
    /// Its value; `None` where it is absent or secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
    /// Whether it cannot change while the node runs.
    pub read_only: bool,
    /// Whether its value is hidden.
    pub sensitive: bool,
    /// Its type.
    pub kind: Kind,
    /// Every place where it has a value, the one that counts first.
    pub synonyms: Vec<Synonym>,
    /// What it does.
    pub documentation: &'static str,
}

/// One place where a key has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The key there.
    pub name: &'static str,
    /// The value there; `None` where it is secret.
    pub value: Option<String>,
    /// The place.
    pub source: Source,
}

/// A topic as its broker sees it.
pub fn topic(overrides: &Overrides, broker: &Layers<'_>) -> Vec<ConfigEntry> {
    let listed = table::keys(Scope::Topic).filter(|key| !key.internal || overrides.contains_key(key.name));
    listed.map(|key| topic_entry(key, overrides, broker)).collect()
}

/// A broker: its file, the cluster's dynamic values and its own.
pub fn broker(broker: &Layers<'_>) -> Vec<ConfigEntry> {
    table::keys(Scope::Broker).filter(|key| !key.internal).map(|key| broker_entry(key, broker)).collect()
}

/// What is set for all brokers at run time (the broker resource without a name).
pub fn cluster(values: &Overrides) -> Vec<ConfigEntry> {
    let layers = Layers { cluster: values, ..Layers::defaults() };
    let listed = table::keys(Scope::Broker).filter(|key| values.contains_key(key.name));
    let entries = listed.map(|key| {
        let mut entry = broker_entry(key, &layers);
        entry.synonyms.retain(|synonym| synonym.source == Source::DynamicDefaultBroker);
        entry
    });
    entries.collect()
}

/// A consumer, share or streams group as its broker sees it.
pub fn group(overrides: &Overrides, broker: &Layers<'_>) -> Vec<ConfigEntry> {
    table::keys(Scope::Group).map(|key| group_entry(key, overrides, broker)).collect()
}

/// A subscription to client metrics.
pub fn client(overrides: &Overrides) -> Vec<ConfigEntry> {
    table::keys(Scope::Client).map(|key| plain_entry(key, overrides, Source::ClientMetrics)).collect()
}

fn topic_entry(key: &'static Key, overrides: &Overrides, broker: &Layers<'_>) -> ConfigEntry {
    let resolved = effective(key, overrides, broker);
    let (value, source) = match resolved {
        Some((value, source)) => (Some(value.to_string()), source),
        None => (None, Source::Default),
    };
    let names: Vec<&'static str> = topic_synonyms(key.name).iter().map(|(name, _)| *name).collect();
    let own = overrides.get(key.name).map(|value| Synonym {
        name: key.name,
        value: Some(value.clone()),
        source: Source::DynamicTopic,
    });
    let synonyms = own.into_iter().chain(synonyms(broker, &names)).collect();
    entry(key, value, source, false, synonyms)
}

fn broker_entry(key: &'static Key, broker: &Layers<'_>) -> ConfigEntry {
    let synonyms = synonyms(broker, &broker_synonyms(key.name));
    // The entry shows its own key's value; the synonyms only say what stands in for it.
    let own = broker.places(&[key.name]).into_iter().next();
    let (text, source) = own.map_or((None, Source::Default), |(source, _, text)| (Some(text), source));
    let value = text.map(|text| key.parse(text).map_or_else(|_| text.to_owned(), |value| value.to_string()));
    entry(key, value, source, key.update == Update::Fixed, synonyms)
}

fn group_entry(key: &'static Key, overrides: &Overrides, broker: &Layers<'_>) -> ConfigEntry {
    // What a group leaves open is the broker's to say, by a key of its own where there is one.
    let Some(of_brokers) = table::find(Scope::Broker, &format!("group.{}", key.name)) else {
        return plain_entry(key, overrides, Source::Group);
    };
    let own = overrides.get(key.name).map(|value| Synonym {
        name: key.name,
        value: Some(value.clone()),
        source: Source::Group,
    });
    let synonyms: Vec<Synonym> = own.into_iter().chain(synonyms(broker, &[of_brokers.name])).collect();
    let first = synonyms.first().map(|first| (first.value.clone(), first.source));
    let (value, source) = first.unwrap_or((None, Source::Default));
    entry(key, value, source, false, synonyms)
}

fn plain_entry(key: &'static Key, overrides: &Overrides, dynamic: Source) -> ConfigEntry {
    let set = overrides.get(key.name).map(|value| (dynamic, value.clone()));
    let default = match key.default {
        Default::Text(text) => Some((Source::Default, text.to_owned())),
        Default::Absent | Default::Required => None,
    };
    let places: Vec<(Source, String)> = set.into_iter().chain(default).collect();
    let (source, value) = places.first().cloned().unzip();
    let synonyms = places
        .into_iter()
        .map(|(source, value)| Synonym { name: key.name, value: Some(value), source })
        .collect();
    entry(key, value, source.unwrap_or(Source::Default), false, synonyms)
}

fn synonyms(broker: &Layers<'_>, names: &[&'static str]) -> Vec<Synonym> {
    // As Kafka does: what stands in for the first key only shows behind a value of that key itself.
    let places = broker.places(names).into_iter().skip_while(|(_, name, _)| names.first() != Some(name));
    let shown = places.map(|(source, name, text)| {
        let secret = table::find(Scope::Broker, name).is_some_and(Key::is_sensitive);
        Synonym { name, value: (!secret).then(|| text.to_owned()), source }
    });
    shown.collect()
}

fn entry(
    key: &'static Key,
    value: Option<String>,
    source: Source,
    read_only: bool,
    synonyms: Vec<Synonym>,
) -> ConfigEntry {
    let sensitive = key.is_sensitive();
    let value = value.filter(|_| !sensitive);
    let documentation = if key.doc.is_empty() { "Accepted, but without effect in Kastle." } else { key.doc };
    ConfigEntry {
        name: key.name,
        value,
        source,
        read_only,
        sensitive,
        kind: key.kind,
        synonyms,
        documentation,
    }
}
