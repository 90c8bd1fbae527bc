//! Reads our record notation (`proto/*.schema`) into a tree.
//!
//! The notation is explained at the head of `proto/metadata.schema`. What does not
//! fit it is an error with its line, so that a typing slip fails the build and
//! never yields a codec that is quietly wrong.

use std::collections::BTreeSet;
use std::fmt;

/// One file: its records and structs in the order written.
#[derive(Debug, Default, PartialEq)]
pub struct Schema {
    pub items: Vec<Item>,
}

/// A record, message or struct.
#[derive(Debug, PartialEq)]
pub struct Item {
    pub name: String,
    pub kind: Kind,
    pub fields: Vec<Field>,
}

#[derive(Debug, PartialEq)]
pub enum Kind {
    /// Stands alone; has a number when it is one of a family told apart by it.
    Record { key: Option<i16>, versions: Versions, flexible_from: Option<i16> },
    /// Part of records.
    Struct,
}

#[derive(Debug, PartialEq)]
pub struct Field {
    pub name: String,
    pub shape: Shape,
    /// From which version on it may be null.
    pub null_from: Option<i16>,
    pub versions: Versions,
    pub tag: Option<u32>,
    pub ignorable: bool,
    /// As written; `None` is the type's own zero.
    pub default: Option<String>,
}

impl Field {
    /// Whether it is a struct of that name, or null.
    #[allow(dead_code, reason = "the emitter asks; the test of the notation does not")]
    pub fn is_null_of(&self, name: &str) -> bool {
        self.null_from.is_some() && matches!(&self.shape, Shape::Struct(own) if own == name)
    }
}

/// A field's type, null aside.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Scalar(Scalar),
    Struct(String),
    Array(Box<Shape>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
}

/// Versions from one to another, or without end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Versions {
    pub first: i16,
    pub last: Option<i16>,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq)]
pub struct SchemaError {
    pub line: usize,
    pub message: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

pub fn parse(text: &str) -> Result<Schema, SchemaError> {
    let mut schema = Schema::default();
    for (number, line) in text.lines().enumerate() {
        let at = |message: String| SchemaError { line: number + 1, message };
        let code = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = code.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        if code.starts_with(' ') {
            let item = schema.items.last_mut().ok_or_else(|| at("a field before any record".to_owned()))?;
            item.fields.push(field(&words).map_err(at)?);
        } else {
            schema.items.push(item(&words).map_err(at)?);
        }
    }
    check(&schema).map_err(|message| SchemaError { line: text.lines().count(), message })?;
    Ok(schema)
}

fn item(words: &[&str]) -> Result<Item, String> {
    let (kind, name, mut rest) = match words {
        [kind, name, rest @ ..] => (*kind, (*name).to_owned(), rest),
        _ => return Err(format!("'{}' has no name", words.concat())),
    };
    if kind == "struct" && rest.is_empty() {
        return Ok(Item { name, kind: Kind::Struct, fields: Vec::new() });
    }
    let mut key = None;
    if kind == "record" {
        let ["key", number, after @ ..] = rest else { return Err(format!("record {name} has no key")) };
        key = Some(parsed(number)?);
        rest = after;
    } else if kind != "message" {
        return Err(format!("'{kind}' is none of record, message, struct"));
    }
    let (range, flexible_from) = match rest {
        ["versions", range] => (range, Some(0)),
        ["versions", range, "flexible", "none"] => (range, None),
        ["versions", range, "flexible", from] => (range, Some(versions(from)?.first)),
        _ => return Err(format!("{name}: expected 'versions A-B', then perhaps 'flexible V+'")),
    };
    let versions = versions(range)?;
    if versions.last.is_none() {
        return Err(format!("{name}: a record's versions have an end"));
    }
    Ok(Item { name, kind: Kind::Record { key, versions, flexible_from }, fields: Vec::new() })
}

fn field(words: &[&str]) -> Result<Field, String> {
    let [name, kind, rest @ ..] = words else { return Err(format!("'{}' has no type", words.concat())) };
    let (plain, null_from) = match kind.split_once('?') {
        Some((plain, "")) => (plain, Some(0)),
        Some((plain, from)) => (plain, Some(versions(from)?.first)),
        None => (*kind, None),
    };
    let mut field = Field {
        name: (*name).to_owned(),
        shape: shape(plain),
        null_from,
        versions: Versions { first: 0, last: None },
        tag: None,
        ignorable: false,
        default: None,
    };
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let mut next = || rest.next().ok_or_else(|| format!("{name}: nothing after '{word}'"));
        match *word {
            "tag" => field.tag = Some(parsed(next()?)?),
            "=" => field.default = Some((*next()?).to_owned()),
            "ignorable" => field.ignorable = true,
            range => field.versions = versions(range)?,
        }
    }
    Ok(field)
}

fn shape(text: &str) -> Shape {
    if let Some(element) = text.strip_prefix("[]") {
        return Shape::Array(Box::new(shape(element)));
    }
    let scalar = match text {
        "bool" => Scalar::Bool,
        "int8" => Scalar::Int8,
        "int16" => Scalar::Int16,
        "uint16" => Scalar::Uint16,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "float64" => Scalar::Float64,
        "uuid" => Scalar::Uuid,
        "string" => Scalar::String,
        "bytes" => Scalar::Bytes,
        name => return Shape::Struct(name.to_owned()),
    };
    Shape::Scalar(scalar)
}

/// `3`, `0-3` or `2+`.
fn versions(text: &str) -> Result<Versions, String> {
    if let Some(first) = text.strip_suffix('+') {
        return Ok(Versions { first: parsed(first)?, last: None });
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok(Versions { first: parsed(first)?, last: Some(parsed(last)?) })
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{text}' is no number that fits here"))
}

/// What a line alone cannot tell: names and tags are unique, named structs exist, null fits the type.
fn check(schema: &Schema) -> Result<(), String> {
    let mut names = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for item in &schema.items {
        if !names.insert(item.name.as_str()) {
            return Err(format!("{} is there twice", item.name));
        }
        if let Kind::Record { key: Some(key), .. } = item.kind
            && !keys.insert(key)
        {
            return Err(format!("{}: key {key} is taken", item.name));
        }
    }
    schema.items.iter().try_for_each(|item| check_fields(schema, item))
}

fn check_fields(schema: &Schema, item: &Item) -> Result<(), String> {
    let (mut names, mut tags) = (BTreeSet::new(), BTreeSet::new());
    for field in &item.fields {
        let place = format!("{}.{}", item.name, field.name);
        if !names.insert(field.name.as_str()) {
            return Err(format!("{place} is there twice"));
        }
        if field.tag.is_some_and(|tag| !tags.insert(tag)) {
            return Err(format!("{place}: its tag is taken"));
        }
        check_shape(schema, &field.shape).map_err(|name| format!("{place}: there is no type {name}"))?;
        let nullable = match field.shape {
            Shape::Array(_) | Shape::Scalar(Scalar::String | Scalar::Bytes) => true,
            // Untagged, null looks different, and no record has that.
            Shape::Struct(_) => field.tag.is_some() && field.null_from == Some(0),
            Shape::Scalar(_) => false,
        };
        if field.null_from.is_some() && !nullable {
            return Err(format!("{place}: this type is never null"));
        }
        if field.default.as_deref() == Some("null") && field.null_from.is_none() {
            return Err(format!("{place}: null by default, but never null"));
        }
    }
    Ok(())
}

fn check_shape<'a>(schema: &Schema, shape: &'a Shape) -> Result<(), &'a str> {
    match shape {
        Shape::Scalar(_) => Ok(()),
        Shape::Array(element) => check_shape(schema, element),
        Shape::Struct(name) => {
            let known = |item: &Item| item.name == *name && item.kind == Kind::Struct;
            if schema.items.iter().any(known) { Ok(()) } else { Err(name) }
        }
    }
}
