//! Whether a change of configs is one that Kafka would take, and its words when it is not.
//!
//! The values judged are those that would hold after the change, for some rules join two
//! keys. Nothing is changed here.

use model::ErrorCode;

use crate::key::{InvalidValue, Key, Scope, Update, Value};
use crate::layers::{Layers, Overrides};
use crate::table;
use crate::topic::effective;

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    /// No such key.
    #[error("Unknown {scope} config name: {name}")]
    Unknown {
        /// `topic` or `group`.
        scope: &'static str,
        /// The name.
        name: String,
    },
    /// No such key of a metrics subscription.
    #[error("Unknown client metrics configuration: {0}")]
    UnknownClient(String),
    /// A value that the key does not take.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// The same of a broker, which has another code (KAFKA-13609).
    #[error(transparent)]
    BrokerValue(InvalidValue),
    /// A key or trust store that is not of one listener.
    #[error(
        "These security configs can be dynamically updated only per-listener using the listener prefix: {0}"
    )]
    NotPerListener(String),
    /// `min.compaction.lag.ms` above `max.compaction.lag.ms`.
    #[error("conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})")]
    CompactionLag {
        /// The one.
        min: i64,
        /// The other.
        max: i64,
    },
    /// A tiered topic on brokers without tiered storage.
    #[error(
        "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
    )]
    Tiered,
    /// A value of nothing.
    #[error("Null value not supported for topic configs: {0}")]
    NullTopic(String),
    /// A broker key that only counts at start.
    #[error("Cannot update these configs dynamically: {0}")]
    NotDynamic(String),
    /// A key of one broker, set for all.
    #[error("Cannot update these configs at default cluster level, broker id must be specified: {0}")]
    NotClusterWide(String),
    /// A group's value outside of what the operator allows groups.
    #[error("{key} must be {} {bound}", if *is_min { "greater than or equal to" } else { "less than or equal to" })]
    GroupBound {
        /// The group's key.
        key: &'static str,
        /// The broker's key that bounds it.
        bound: String,
        /// Which way.
        is_min: bool,
    },
    /// Heartbeats that come no sooner than a session ends.
    #[error("{0}.session.timeout.ms must be greater than {0}.heartbeat.interval.ms")]
    GroupTimeouts(&'static str),
    /// A broker resource whose name is no number.
    #[error("Unable to parse broker name as a base 10 number.")]
    BrokerName,
}

impl AlterError {
    /// Its code on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotDynamic(_)
            | Self::NotClusterWide(_)
            | Self::NotPerListener(_)
            | Self::BrokerValue(_)
            | Self::BrokerName => ErrorCode::InvalidRequest,
            _ => ErrorCode::InvalidConfig,
        }
    }
}

/// Judges all of a topic's overrides as they would be. `None` stands for a null value.
pub fn topic(overrides: &Overrides) -> Result<(), AlterError> {
    for (name, text) in overrides {
        let key = table::find(Scope::Topic, name)
            .ok_or_else(|| AlterError::Unknown { scope: "topic", name: name.clone() })?;
        key.parse(text)?;
    }
    let number = |name: &str| {
        let key = table::find(Scope::Topic, name)?;
        match effective(key, overrides, &Layers::defaults())?.0 {
            Value::Number(number) => Some(number),
            _ => None,
        }
    };
    if let (Some(min), Some(max)) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"))
        && min > max
    {
        return Err(AlterError::CompactionLag { min, max });
    }
    let is_tiered =
        overrides.get("remote.storage.enable").is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
    if is_tiered { Err(AlterError::Tiered) } else { Ok(()) }
}

/// The refusal of topic configs that were given null values; `None` when there are none.
pub fn topic_nulls<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<AlterError> {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    (!names.is_empty()).then(|| AlterError::NullTopic(names.join(",")))
}

/// The kinds of group that have timeouts, and each one's keys that the operator bounds, in Kafka's order.
const BOUNDED: [(&str, &[&str]); 3] = [
    (
        "consumer",
        &["consumer.heartbeat.interval.ms", "consumer.session.timeout.ms", "consumer.assignment.interval.ms"],
    ),
    (
        "share",
        &[
            "share.heartbeat.interval.ms",
            "share.session.timeout.ms",
            "share.record.lock.duration.ms",
            "share.delivery.count.limit",
            "share.partition.max.record.locks",
            "share.assignment.interval.ms",
        ],
    ),
    (
        "streams",
        &[
            "streams.heartbeat.interval.ms",
            "streams.session.timeout.ms",
            "streams.num.standby.replicas",
            "streams.assignment.interval.ms",
        ],
    ),
];

/// Judges a group's overrides as they would be, with brokers that were started with `file`.
pub fn group(overrides: &Overrides, file: &Overrides) -> Result<(), AlterError> {
    for (name, text) in overrides {
        let key = table::find(Scope::Group, name)
            .ok_or_else(|| AlterError::Unknown { scope: "group", name: name.clone() })?;
        key.parse(text)?;
    }
    let of_brokers = |name: &str| number(table::find(Scope::Broker, name)?, file);
    let own = |name: &str| {
        let key = table::find(Scope::Group, name).filter(|_| overrides.contains_key(name));
        key.and_then(|key| number(key, overrides)).or_else(|| of_brokers(&format!("group.{name}")))
    };
    for (kind, keys) in BOUNDED {
        for &key in keys.iter().filter(|key| overrides.contains_key(**key)) {
            // A standby is a number of replicas, which the bound's name does not say again.
            let rest =
                key.strip_prefix(kind).unwrap_or(key).trim_start_matches('.').trim_start_matches("num.");
            for (word, is_min) in [("min", true), ("max", false)] {
                let bound = format!("group.{kind}.{word}.{rest}");
                let (Some(value), Some(limit)) = (own(key), of_brokers(&bound)) else { continue };
                if (is_min && value < limit) || (!is_min && value > limit) {
                    return Err(AlterError::GroupBound { key, bound, is_min });
                }
            }
        }
    }
    for (kind, _) in BOUNDED {
        let timeout = |name: &str| own(&format!("{kind}.{name}")).unwrap_or(0);
        let is_set = overrides.keys().any(|name| name.starts_with(kind));
        if is_set && timeout("session.timeout.ms") <= timeout("heartbeat.interval.ms") {
            return Err(AlterError::GroupTimeouts(kind));
        }
    }
    Ok(())
}

/// A number as it is set, or by default.
fn number(key: &Key, set: &Overrides) -> Option<i64> {
    let value = set.get(key.name).and_then(|text| key.parse(text).ok());
    match value.or_else(|| key.default_value())? {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

/// Judges the overrides of a metrics subscription as they would be.
pub fn client(overrides: &Overrides) -> Result<(), AlterError> {
    for (name, text) in overrides {
        let key = table::find(Scope::Client, name).ok_or_else(|| AlterError::UnknownClient(name.clone()))?;
        key.parse(text)?;
    }
    Ok(())
}

/// Which brokers a broker resource means: one by its number, all without a name.
pub fn broker_name(name: &str) -> Result<Option<i32>, AlterError> {
    if name.is_empty() {
        return Ok(None);
    }
    name.parse().map(Some).map_err(|_| AlterError::BrokerName)
}

/// Judges the values that a change sets on one broker or, with `for_all`, on every broker.
/// Unknown keys pass: Kafka keeps them for plugins.
pub fn broker(changed: &Overrides, for_all: bool) -> Result<(), AlterError> {
    let find = |name: &str| table::find(Scope::Broker, name);
    let named = |is_such: &dyn Fn(&Key) -> bool| {
        let names = changed.keys().filter(|name| find(name).is_some_and(is_such)).cloned();
        let names: Vec<String> = names.collect();
        (!names.is_empty()).then(|| format!("[{}]", names.join(", ")))
    };
    if let Some(names) = named(&|key| key.update == Update::Fixed) {
        return Err(AlterError::NotDynamic(names));
    }
    if let Some(names) = named(&is_store) {
        return Err(AlterError::NotPerListener(names));
    }
    for (name, text) in changed {
        if let Some(key) = find(without_listener(name)) {
            key.parse(text).map_err(AlterError::BrokerValue)?;
        }
    }
    match named(&|key| key.update == Update::Broker).filter(|_| for_all) {
        Some(names) => Err(AlterError::NotClusterWide(names)),
        None => Ok(()),
    }
}

/// Whether a key is of the stores that a listener reads anew at run time. The other keys of
/// TLS and SASL may be set on a broker, and count once it starts again.
fn is_store(key: &Key) -> bool {
    let stores = ["ssl.key.", "ssl.keystore.", "ssl.truststore."];
    stores.iter().any(|store| key.name.starts_with(store))
}

/// The key behind `listener.name.LISTENER.`.
fn without_listener(name: &str) -> &str {
    let rest = name.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.'));
    rest.map_or(name, |(_, key)| key)
}
