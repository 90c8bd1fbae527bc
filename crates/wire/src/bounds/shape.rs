//! The shapes of all messages, read from `shapes.txt` when a message is first met.
//!
//! A shape becomes one layout a version, so that the walk asks no question about
//! versions. What a structure takes in memory is computed from its fields: the
//! library's structs hold the fields of all versions at once.

use std::sync::OnceLock;

use crate::api::ApiKey;

const SHAPES: &str = include_str!("shapes.txt");
const KEYS: usize = 128;

static REQUESTS: [OnceLock<Option<Shape>>; KEYS] = [const { OnceLock::new() }; KEYS];
static RESPONSES: [OnceLock<Option<Shape>>; KEYS] = [const { OnceLock::new() }; KEYS];

/// Which of an API's two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// A message in all its versions.
struct Shape {
    first: i16,
    layouts: Vec<Layout>,
}

/// A structure in one version.
#[derive(Debug)]
pub(super) struct Layout {
    /// In the order of the wire.
    pub fields: Vec<Field>,
    pub tagged: Vec<(u32, Field)>,
    pub flexible: bool,
    /// Bytes on the wire, at least.
    wire_min: usize,
    /// Size of the library's struct, at most.
    memory: usize,
}

#[derive(Debug)]
pub(super) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// So many bytes, on the wire as in memory.
    Fixed(usize),
    Text,
    Bytes,
    Array(Box<Kind>),
    Struct(Layout),
}

impl Kind {
    /// Bytes on the wire, at least.
    pub fn wire_min(&self, flexible: bool) -> usize {
        match self {
            Self::Fixed(size) => *size,
            Self::Struct(layout) => layout.wire_min,
            Self::Text | Self::Bytes | Self::Array(_) if flexible => 1,
            Self::Text => 2,
            Self::Bytes | Self::Array(_) => 4,
        }
    }

    /// Bytes in memory, without what they point to.
    pub fn memory(&self) -> usize {
        match self {
            Self::Fixed(size) => *size,
            Self::Text | Self::Bytes => size_of::<bytes::Bytes>(),
            Self::Array(_) => size_of::<Vec<u8>>(),
            Self::Struct(layout) => layout.memory,
        }
    }
}

/// The layout of that version, if the message has it.
pub(super) fn layout(direction: Direction, api: ApiKey, version: i16) -> Option<&'static Layout> {
    let shapes = match direction {
        Direction::Request => &REQUESTS,
        Direction::Response => &RESPONSES,
    };
    let key = usize::try_from(api as i16).ok()?;
    let shape = shapes.get(key)?.get_or_init(|| find(direction, key)).as_ref()?;
    let index = usize::try_from(version.checked_sub(shape.first)?).ok()?;
    shape.layouts.get(index)
}

fn find(direction: Direction, key: usize) -> Option<Shape> {
    let word = match direction {
        Direction::Request => "request",
        Direction::Response => "response",
    };
    let of_key = |line: &&str| {
        let mut words = line.split(' ');
        words.next() == Some(word) && words.next().and_then(|key| key.parse().ok()) == Some(key)
    };
    SHAPES.lines().find(of_key).map(shape)
}

fn shape(line: &'static str) -> Shape {
    let mut parts = line.splitn(6, ' ').skip(3);
    let mut part = || parts.next().expect("a line has versions, a flexible version and fields");
    let versions = Versions::parse(part());
    let flexible_from = part().parse().unwrap_or(i16::MAX);
    let fields = parts.next().unwrap_or("");
    let layouts = (versions.first..=versions.last).map(|version| {
        let mut notation = Notation { rest: fields, version, flexible_from };
        let layout = notation.fields();
        assert!(notation.rest.is_empty(), "unread notation: {}", notation.rest);
        layout
    });
    Shape { first: versions.first, layouts: layouts.collect() }
}

#[derive(Clone, Copy)]
struct Versions {
    first: i16,
    last: i16,
}

impl Versions {
    const ALL: Self = Self { first: 0, last: i16::MAX };

    fn parse(text: &str) -> Self {
        let number = |text: &str| text.parse().expect("versions are numbers");
        if let Some(first) = text.strip_suffix('+') {
            return Self { first: number(first), last: i16::MAX };
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self { first: number(first), last: number(last) }
    }

    fn contain(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

/// Reads the notation that `shapes.txt` explains, for one version.
struct Notation {
    rest: &'static str,
    version: i16,
    flexible_from: i16,
}

impl Notation {
    /// Fields up to a closing bracket or the end.
    fn fields(&mut self) -> Layout {
        let flexible = self.version >= self.flexible_from;
        let mut layout = Layout { fields: Vec::new(), tagged: Vec::new(), flexible, wire_min: 0, memory: 0 };
        if self.flexible_from < i16::MAX {
            // The map of unknown tagged fields, in every version.
            layout.memory += size_of::<std::collections::BTreeMap<i32, bytes::Bytes>>();
        }
        while !self.rest.is_empty() && !self.rest.starts_with([']', '}']) {
            self.field(&mut layout);
            self.skips(' ');
        }
        layout.memory = layout.memory.next_multiple_of(align_of::<u64>());
        layout.wire_min += usize::from(flexible);
        layout
    }

    fn field(&mut self, layout: &mut Layout) {
        let name = self.word();
        let tag = self.skips('#').then(|| self.word().parse().expect("tags are numbers"));
        let versions = if self.skips('@') { Versions::parse(self.word()) } else { Versions::ALL };
        assert!(self.skips(':'), "{name} has no type");
        let kind = self.kind();
        let nullable = self.skips('?') && {
            let versions = self.word();
            versions.is_empty() || Versions::parse(versions).contain(self.version)
        };
        layout.memory += kind.memory();
        if matches!(kind, Kind::Struct(_)) && nullable {
            layout.memory += size_of::<u64>();
        }
        if !versions.contain(self.version) {
            return;
        }
        let is_byte = matches!(kind, Kind::Struct(_)) && nullable;
        let wire_min = if is_byte { 1 } else { kind.wire_min(layout.flexible) };
        let field = Field { name, kind, nullable };
        match tag {
            Some(tag) => layout.tagged.push((tag, field)),
            None => {
                layout.wire_min += wire_min;
                push(&mut layout.fields, field);
            }
        }
    }

    fn kind(&mut self) -> Kind {
        if self.skips('{') {
            let layout = self.fields();
            assert!(self.skips('}'), "a struct is not closed: {}", self.rest);
            return Kind::Struct(layout);
        }
        if !self.skips('[') {
            return scalar(self.word());
        }
        let end = self.rest.find(|character: char| !is_word(character)).unwrap_or(self.rest.len());
        let element =
            if self.rest[end..].starts_with(']') { scalar(self.word()) } else { Kind::Struct(self.fields()) };
        assert!(self.skips(']'), "an array is not closed: {}", self.rest);
        Kind::Array(Box::new(element))
    }

    fn word(&mut self) -> &'static str {
        let end = self.rest.find(|character: char| !is_word(character)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn skips(&mut self, character: char) -> bool {
        let rest = self.rest.strip_prefix(character);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

/// Neighbours of fixed size become one, under the first's name: fewer steps for the walk.
fn push(fields: &mut Vec<Field>, field: Field) {
    match (fields.last_mut(), &field.kind) {
        (Some(Field { kind: Kind::Fixed(before), .. }), Kind::Fixed(size)) => *before += size,
        _ => fields.push(field),
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '+')
}

fn scalar(name: &str) -> Kind {
    match name {
        "bool" | "i8" => Kind::Fixed(1),
        "i16" | "u16" => Kind::Fixed(2),
        "i32" => Kind::Fixed(4),
        "i64" | "f64" => Kind::Fixed(8),
        "uuid" => Kind::Fixed(16),
        "str" => Kind::Text,
        "bytes" => Kind::Bytes,
        other => panic!("'{other}' is no type of the shapes"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Direction, SHAPES, layout};
    use crate::api::{ApiKey, SERVED};
    use crate::messages::*;

    #[test]
    fn every_message_of_the_library_has_a_shape() {
        for api in ApiKey::iter() {
            let known = api.valid_versions();
            for direction in [Direction::Request, Direction::Response] {
                assert!(layout(direction, api, known.min).is_some(), "{direction:?} {api:?}");
                assert!(layout(direction, api, known.min - 1).is_none());
                assert!(layout(direction, api, known.max + 1).is_none());
            }
        }
    }

    #[test]
    fn every_served_version_has_a_shape() {
        for api in SERVED {
            for version in api.min..=api.max {
                assert!(layout(Direction::Request, api.key, version).is_some(), "{} {version}", api.name);
                assert!(layout(Direction::Response, api.key, version).is_some(), "{} {version}", api.name);
            }
        }
    }

    #[test]
    fn every_line_is_some_messages() {
        let lines = SHAPES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(lines.count(), 2 * ApiKey::iter().count());
    }

    #[test]
    fn a_structure_takes_the_memory_that_the_library_gives_it() {
        let check = |api: ApiKey, direction, version, actual: usize| {
            let layout = layout(direction, api, version).expect("a known version");
            assert_eq!(layout.memory, actual, "{direction:?} {api:?}");
        };
        use Direction::{Request, Response};
        check(ApiKey::Produce, Request, 9, size_of::<ProduceRequest>());
        check(ApiKey::Fetch, Request, 4, size_of::<FetchRequest>());
        check(ApiKey::Fetch, Request, 17, size_of::<FetchRequest>());
        check(ApiKey::Metadata, Request, 0, size_of::<MetadataRequest>());
        check(ApiKey::Metadata, Response, 12, size_of::<MetadataResponse>());
        check(ApiKey::CreateTopics, Request, 7, size_of::<CreateTopicsRequest>());
        check(ApiKey::JoinGroup, Request, 5, size_of::<JoinGroupRequest>());
        check(ApiKey::BrokerRegistration, Request, 4, size_of::<BrokerRegistrationRequest>());
        check(ApiKey::ApiVersions, Response, 3, size_of::<ApiVersionsResponse>());
    }
}
