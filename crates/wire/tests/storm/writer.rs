//! Random valid bodies, written straight from the shapes' notation.
//!
//! A reader of the notation of its own, so that a mistake in the walk's cannot
//! hide: what this writes, the library must read to the last byte.

use std::ops::RangeInclusive;

use fastrand::Rng;

use super::Direction;

const SHAPES: &str = include_str!("../../src/bounds/shapes.txt");

/// The versions that a message has.
pub fn versions(direction: Direction, key: i16) -> RangeInclusive<i16> {
    let text = line(direction, key).split(' ').nth(3).and_then(|text| text.split_once('-'));
    let (first, last) = text.expect("a line has versions");
    first.parse().expect("a version")..=last.parse().expect("a version")
}

fn line(direction: Direction, key: i16) -> &'static str {
    let word = if direction == Direction::Request { "request" } else { "response" };
    let start = format!("{word} {key} ");
    SHAPES.lines().find(|line| line.starts_with(&start)).expect("every message has a shape")
}

/// A body of that message. A dense one has very many of the smallest elements, which the walk may refuse for
/// the memory that they take.
pub fn valid_body(direction: Direction, key: i16, version: i16, dense: bool, random: &mut Rng) -> Vec<u8> {
    let mut parts = line(direction, key).splitn(6, ' ').skip(4);
    let flexible = parts.next().and_then(|from| from.parse().ok()).is_some_and(|from: i16| version >= from);
    let fields = parts.next().unwrap_or("");
    let mut writer = Writer { rest: fields, version, flexible, dense, random, out: Vec::new() };
    writer.fields(true);
    writer.out
}

struct Writer<'a> {
    rest: &'static str,
    version: i16,
    flexible: bool,
    dense: bool,
    random: &'a mut Rng,
    out: Vec<u8>,
}

impl Writer<'_> {
    /// Reads fields up to a closing bracket, and writes them if `live`.
    fn fields(&mut self, live: bool) {
        let mut tagged = Vec::new();
        while !self.rest.is_empty() && !self.rest.starts_with([']', '}']) {
            let _name = self.word();
            let tag: Option<u32> = self.skips('#').then(|| self.word().parse().expect("a tag"));
            let here = !self.skips('@') || contains(self.word(), self.version);
            assert!(self.skips(':'), "no type at {}", self.rest);
            let body_at = self.out.len();
            self.value(live && here);
            if let (Some(tag), true) = (tag, live && here) {
                tagged.push((tag, self.out.split_off(body_at)));
            }
            self.skips(' ');
        }
        if live && self.flexible {
            self.tagged_fields(tagged);
        }
    }

    fn tagged_fields(&mut self, mut tagged: Vec<(u32, Vec<u8>)>) {
        tagged.retain(|_| self.random.bool());
        if self.random.u8(..16) == 0 {
            for tag in 0..self.random.u32(1..20) {
                tagged.push((1_000 + tag, vec![7; self.random.usize(..5)]));
            }
        }
        self.varint(tagged.len() as u32);
        for (tag, body) in tagged {
            self.varint(tag);
            self.varint(body.len() as u32);
            self.out.extend(body);
        }
    }

    fn value(&mut self, live: bool) {
        let start = self.rest;
        self.typed(start, false, false);
        let nullable = self.skips('?') && {
            let versions = self.word();
            versions.is_empty() || contains(versions, self.version)
        };
        let behind = self.rest;
        if live {
            self.typed(start, true, nullable);
            self.rest = behind;
        }
    }

    /// Reads the type at `start` and, if `live`, writes a value of it.
    fn typed(&mut self, start: &'static str, live: bool, nullable: bool) {
        self.rest = start;
        let null = live && nullable && self.random.u8(..4) == 0;
        if self.skips('{') {
            if live && nullable {
                self.out.push(if null { 0xff } else { 1 });
            }
            self.fields(live && !null);
            assert!(self.skips('}'), "not closed at {}", self.rest);
        } else if self.skips('[') {
            self.array(live, null);
        } else {
            let word = self.word();
            if live {
                self.scalar(word, null);
            }
        }
    }

    fn array(&mut self, live: bool, null: bool) {
        let element = self.rest;
        let count = match self.random.u8(..12) {
            _ if !live || null => 0,
            _ if self.dense => self.random.usize(..=200_000 / (1 + self.out.len())),
            0 => self.random.usize(..40),
            other => usize::from(other % 3),
        };
        if live {
            self.length((!null).then_some(count), 4);
        }
        for live in std::iter::repeat_n(true, count).chain([false]) {
            self.rest = element;
            let end = element.find(|c: char| !is_word(c)).expect("an array is closed");
            if element[end..].starts_with(']') {
                let word = self.word();
                if live {
                    self.scalar(word, false);
                }
            } else {
                self.fields(live);
            }
        }
        assert!(self.skips(']'), "not closed at {}", self.rest);
    }

    fn scalar(&mut self, word: &str, null: bool) {
        let size = match word {
            "str" | "bytes" => return self.run(word, null),
            "bool" | "i8" => 1,
            "i16" | "u16" => 2,
            "i32" => 4,
            "i64" | "f64" => 8,
            "uuid" => 16,
            other => panic!("no type {other}"),
        };
        for _ in 0..size {
            let byte = self.random.u8(..);
            self.out.push(byte);
        }
    }

    fn run(&mut self, word: &str, null: bool) {
        let length = match self.random.u8(..20) {
            _ if self.dense => 0,
            0 => 0,
            1 => self.random.usize(..300),
            _ => self.random.usize(..12),
        };
        self.length((!null).then_some(length), if word == "str" { 2 } else { 4 });
        if !null {
            for _ in 0..length {
                let byte = if word == "str" { self.random.u8(..0x80) } else { self.random.u8(..) };
                self.out.push(byte);
            }
        }
    }

    fn length(&mut self, length: Option<usize>, width: usize) {
        match (self.flexible, width) {
            (true, _) => self.varint(length.map_or(0, |length| length as u32 + 1)),
            (false, 2) => self.out.extend(length.map_or(-1, |length| length as i16).to_be_bytes()),
            (false, _) => self.out.extend(length.map_or(-1, |length| length as i32).to_be_bytes()),
        }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn word(&mut self) -> &'static str {
        let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
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

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_-+".contains(character)
}

fn contains(versions: &str, version: i16) -> bool {
    let number = |text: &str| text.parse::<i16>().expect("a version");
    match (versions.strip_suffix('+'), versions.split_once('-')) {
        (Some(first), _) => version >= number(first),
        (None, Some((first, last))) => (number(first)..=number(last)).contains(&version),
        (None, None) => version == number(versions),
    }
}
