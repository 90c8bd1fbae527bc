//! One config key: what it is called, what it takes, and whether a value is one of those.
//!
//! Values are read as Kafka reads them (trimmed, lists split at commas) and refused in
//! Kafka's words, because clients show those words to people.

use std::fmt;

/// What a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// `server.properties` and broker resources.
    Broker,
    /// Topics.
    Topic,
    /// Consumer, share and streams groups.
    Group,
    /// Subscriptions to client metrics (KIP-714).
    Client,
}

/// A value's type, numbered as in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`.
    Bool = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A floating-point number.
    Double = 6,
    /// Texts separated by commas.
    List = 7,
    /// A Java class's name.
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

impl Kind {
    /// Its name in Kafka's error messages.
    fn word(self) -> &'static str {
        match self {
            Self::Bool => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// What holds where nothing is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// Nothing: it must be set.
    Required,
    /// Nothing, and that has a meaning.
    Absent,
    /// This text.
    Text(&'static str),
}

/// Which values of its type a key takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Valid {
    /// All.
    Any,
    /// Numbers within bounds.
    Within(Option<f64>, Option<f64>),
    /// Numbers within bounds, or one more.
    WithinOr(i64, i64, i64),
    /// One of these; for a list, each item.
    OneOf(Vec<&'static str>),
    /// One of these in upper or lower case.
    OneOfAnyCase(Vec<&'static str>),
    /// Text that is not empty.
    NonEmpty,
    /// A list without duplicates; when `filled`, with an item at least; of `items` unless that is empty.
    Set { filled: bool, items: Vec<&'static str> },
    /// `PARTITION:BROKER` pairs or `*`.
    ThrottledReplicas,
}

/// How much Kafka thinks the key matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Look at it.
    High,
    /// Know it.
    Medium,
    /// Leave it.
    Low,
}

/// When a key can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// At a restart.
    Fixed,
    /// At run time, of one broker.
    Broker,
    /// At run time, of one broker or of all.
    Cluster,
}

/// A config key.
#[derive(Clone, Debug)]
pub struct Key {
    /// What it belongs to.
    pub scope: Scope,
    /// Its name.
    pub name: &'static str,
    /// Its values' type.
    pub kind: Kind,
    /// What holds where nothing is set.
    pub default: Default,
    /// Which values it takes.
    pub valid: Valid,
    /// How much it matters.
    pub importance: Importance,
    /// Whether Kafka leaves it undocumented.
    pub internal: bool,
    /// When it can change.
    pub update: Update,
    /// Whether Kastle honours it; otherwise it is accepted and means nothing here yet.
    pub kept: bool,
    /// What it does, for kept keys.
    pub doc: &'static str,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of the three whole-number kinds.
    Number(i64),
    /// Of [`Kind::Double`].
    Double(f64),
    /// Of [`Kind::String`], [`Kind::Class`] and [`Kind::Password`].
    Text(String),
    /// Of [`Kind::List`].
    List(Vec<String>),
}

/// Why a value is refused, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// Not of the key's type, or not among its values.
    #[error("Invalid value {found} for configuration {key}: {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value, or the item of the list.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A list without items.
    #[error("Configuration '{key}' must not be empty. Valid values include: {expected}")]
    EmptyList {
        /// The key.
        key: &'static str,
        /// What it takes.
        expected: String,
    },
    /// A list with an item twice.
    #[error("Configuration '{0}' values must not be duplicated.")]
    Duplicated(&'static str),
    /// A list with an item of nothing.
    #[error("Configuration '{0}' values must not be empty.")]
    EmptyItem(&'static str),
}

impl Key {
    /// Reads a value of this key, or says what is wrong with it.
    pub fn parse(&self, text: &str) -> Result<Value, InvalidValue> {
        let value = self.parse_kind(text.trim())?;
        self.check(&value)?;
        Ok(value)
    }

    /// The default as a value; `None` when absent or required.
    pub fn default_value(&self) -> Option<Value> {
        match self.default {
            Default::Text(text) => Some(self.parse_kind(text).expect("a test reads every default")),
            Default::Absent | Default::Required => None,
        }
    }

    /// Whether its value must never be shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// How a value of it is refused.
    fn refuse(&self, found: impl fmt::Display, expected: impl Into<String>) -> InvalidValue {
        InvalidValue::Value { key: self.name, found: found.to_string(), expected: expected.into() }
    }

    fn parse_kind(&self, text: &str) -> Result<Value, InvalidValue> {
        let number = |smallest: i64, largest: i64| match text.parse::<i64>() {
            Ok(number) if (smallest..=largest).contains(&number) => Ok(Value::Number(number)),
            _ => Err(self.refuse(text, format!("Not a number of type {}", self.kind.word()))),
        };
        match self.kind {
            Kind::Bool if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Kind::Bool if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Kind::Bool => Err(self.refuse(text, "Expected value to be either true or false")),
            Kind::Short => number(i16::MIN.into(), i16::MAX.into()),
            Kind::Int => number(i32::MIN.into(), i32::MAX.into()),
            Kind::Long => number(i64::MIN, i64::MAX),
            Kind::Double => parse_double(text)
                .map(Value::Double)
                .ok_or_else(|| self.refuse(text, "Not a number of type DOUBLE")),
            Kind::List => Ok(Value::List(split_list(text))),
            Kind::String | Kind::Class | Kind::Password => Ok(Value::Text(text.to_owned())),
        }
    }

    fn check(&self, value: &Value) -> Result<(), InvalidValue> {
        match value {
            Value::Number(number) => self.check_number(*number),
            Value::Double(number) => self.check_bounds(*number, &java_double(*number)),
            Value::Text(text) => self.check_text(text),
            Value::List(items) => self.check_list(items),
            Value::Bool(_) => Ok(()),
        }
    }

    fn check_number(&self, number: i64) -> Result<(), InvalidValue> {
        if let Valid::WithinOr(low, high, besides) = self.valid {
            let holds = (low..=high).contains(&number) || number == besides;
            let expected = || format!("Value must be between {low} and {high} or equal to {besides}");
            return if holds { Ok(()) } else { Err(self.refuse(number, expected())) };
        }
        // Every bound in the table is far below 2^53, so the detour over f64 is exact where it decides.
        self.check_bounds(number as f64, &number)
    }

    fn check_bounds(&self, number: f64, shown: &dyn fmt::Display) -> Result<(), InvalidValue> {
        let Valid::Within(low, high) = self.valid else { return Ok(()) };
        match (low, high) {
            (Some(low), _) if number < low => {
                Err(self.refuse(shown, format!("Value must be at least {low}")))
            }
            (_, Some(high)) if number > high => {
                Err(self.refuse(shown, format!("Value must be no more than {high}")))
            }
            _ => Ok(()),
        }
    }

    fn check_text(&self, text: &str) -> Result<(), InvalidValue> {
        match &self.valid {
            Valid::OneOf(values) if !values.contains(&text) && !is_duration_form(values, text) => {
                Err(self.refuse(text, format!("String must be one of: {}", values.join(", "))))
            }
            Valid::OneOfAnyCase(values) if !values.iter().any(|value| value.eq_ignore_ascii_case(text)) => {
                let expected = format!("String must be one of (case insensitive): {}", values.join(", "));
                Err(self.refuse(text, expected))
            }
            Valid::NonEmpty if text.is_empty() => Err(self.refuse(text, "String must be non-empty")),
            _ => Ok(()),
        }
    }

    fn check_list(&self, items: &[String]) -> Result<(), InvalidValue> {
        let (filled, allowed, may_repeat): (bool, &[&str], bool) = match &self.valid {
            Valid::Set { filled, items } => (*filled, items, false),
            // A topic's policy may name a value twice; a broker's may not.
            Valid::OneOf(allowed) => (false, allowed, self.scope == Scope::Topic),
            Valid::ThrottledReplicas => return self.check_throttled(items),
            _ => return Ok(()),
        };
        if filled && items.is_empty() {
            let expected = if allowed.is_empty() {
                "any non-empty value".to_owned()
            } else {
                format!("[{}]", allowed.join(", "))
            };
            return Err(InvalidValue::EmptyList { key: self.name, expected });
        }
        if items.iter().any(String::is_empty) {
            return Err(InvalidValue::EmptyItem(self.name));
        }
        if !may_repeat && (1..items.len()).any(|at| items[..at].contains(&items[at])) {
            return Err(InvalidValue::Duplicated(self.name));
        }
        let stranger = items.iter().find(|item| !allowed.is_empty() && !allowed.contains(&item.as_str()));
        match stranger {
            Some(item) => Err(self.refuse(item, format!("String must be one of: {}", allowed.join(", ")))),
            None => Ok(()),
        }
    }

    fn check_throttled(&self, items: &[String]) -> Result<(), InvalidValue> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_pair = |item: &String| {
            item.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
        };
        let is_star = items.len() == 1 && items[0] == "*";
        if is_star || items.iter().all(is_pair) {
            return Ok(());
        }
        let expected = format!(
            "{} must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],...",
            self.name
        );
        Err(self.refuse(format!("[{}]", items.join(", ")), expected))
    }
}

/// A value as Kafka shows it: trimmed numbers, lists without blanks.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Double(value) => f.write_str(&java_double(*value)),
            Self::Text(value) => value.fmt(f),
            Self::List(items) => f.write_str(&items.join(",")),
        }
    }
}

/// Splits a list as Kafka does: nothing is no item, a comma alone is two empty ones.
fn split_list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

/// Reads what Java's `Double` reads, its type letter included.
fn parse_double(text: &str) -> Option<f64> {
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let looks_numeric = digits.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if looks_numeric { digits.parse().ok() } else { None }
}

/// Writes a double as Java does: always with a point, an exponent from ten million on.
fn java_double(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        let text = format!("{value:E}");
        return match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
            _ => text,
        };
    }
    format!("{value:?}")
}

/// Whether the key takes `by_duration:` and the value is one: `by_duration:PT1H`.
fn is_duration_form(values: &[&str], text: &str) -> bool {
    let takes = values.iter().any(|value| value.starts_with("by_duration:"));
    takes
        && text.strip_prefix("by_duration:").is_some_and(|duration| {
            let digits = duration.strip_prefix('P').unwrap_or_default();
            digits.bytes().any(|byte| byte.is_ascii_digit())
                && digits.bytes().all(|byte| byte.is_ascii_digit() || b"DTHMS.".contains(&byte))
        })
}
