//! The `.properties` syntax of Java, with the line of each entry.
//!
//! Keys end at `=`, `:` or white space; `#` and `!` begin a comment; a line that ends
//! in an odd number of backslashes goes on in the next one; `\t \n \r \f \uXXXX` are
//! escapes, a backslash before anything else is just dropped. The last entry of a key counts.

use std::fmt;

use crate::layers::Overrides;

/// The entries of a file, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    source: String,
    entries: Vec<Entry>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// Where an entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, on the line where it begins.
    Line {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// On the command line.
    Override,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Override => f.write_str("--override"),
        }
    }
}

/// Text that is no properties file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{place}: found '{found}', expected four hexadecimal digits after \\u; write \\\\u where you mean a backslash"
)]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What stands there.
    pub found: String,
}

impl Properties {
    /// Reads a file's bytes; `source` is its name in messages. Bytes that are not UTF-8 are read
    /// as Latin-1, which is what Java takes them for.
    pub fn parse(source: &str, bytes: &[u8]) -> Result<Self, SyntaxError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse_text(source, text),
            Err(_) => Self::parse_text(source, &bytes.iter().copied().map(char::from).collect::<String>()),
        }
    }

    fn parse_text(source: &str, text: &str) -> Result<Self, SyntaxError> {
        let mut entries = Vec::new();
        for (line, logical) in logical_lines(text) {
            let place = Place::Line { file: source.to_owned(), line };
            let (key, value) = split_entry(&logical);
            let read = |text: &str| {
                unescape(text).map_err(|found| SyntaxError { place: place.clone(), found: found.to_owned() })
            };
            let (key, value) = (read(key)?, read(value)?);
            entries.push(Entry { key, value, place });
        }
        Ok(Self { source: source.to_owned(), entries })
    }

    /// Sets a key from the command line; it counts more than the file.
    pub fn set(&mut self, key: &str, value: &str) {
        self.entries.push(Entry { key: key.to_owned(), value: value.to_owned(), place: Place::Override });
    }

    /// The file's name.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The entry of a key that counts.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key == key)
    }

    /// The entries that count, in order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let later = |at: usize| self.entries[at + 1..].iter();
        self.entries
            .iter()
            .enumerate()
            .filter(move |(at, entry)| !later(*at).any(|other| other.key == entry.key))
            .map(|(_, entry)| entry)
    }

    /// Key and value of every entry that counts.
    pub fn to_overrides(&self) -> Overrides {
        self.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    }
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\x0c')
}

/// Joins continued lines, drops comments and blanks; each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut logical: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    for (at, line) in unified.split('\n').enumerate() {
        let line = line.trim_start_matches(is_blank);
        if !continues && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let goes_on = backslashes % 2 == 1;
        let content = if goes_on { &line[..line.len() - 1] } else { line };
        match logical.last_mut() {
            Some((_, text)) if continues => text.push_str(content),
            _ => logical.push((at + 1, content.to_owned())),
        }
        continues = goes_on;
    }
    logical.retain(|(_, line)| !line.is_empty());
    logical
}

/// Cuts a logical line into key and value, both still escaped.
fn split_entry(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|character: char| {
        let ends = !escaped && (is_blank(character) || matches!(character, '=' | ':'));
        escaped = character == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

/// Resolves escapes; fails with a bad `\\u` and what follows it.
fn unescape(text: &str) -> Result<String, &str> {
    // Escapes are UTF-16 units: a character beyond the first plane is two of them.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let here = rest;
        rest = &rest[character.len_utf8()..];
        let Some(kind) = rest.chars().next().filter(|_| character == '\\') else {
            units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
            continue;
        };
        if kind == 'u' {
            units.push(unicode_unit(rest).ok_or(here.get(..6).unwrap_or(here))?);
            rest = &rest[5..];
            continue;
        }
        rest = &rest[kind.len_utf8()..];
        let meant = match kind {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\x0c',
            other => other,
        };
        units.extend_from_slice(meant.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

/// The unit that `uXXXX` at the start of `text` stands for.
fn unicode_unit(text: &str) -> Option<u16> {
    let digits = text.get(1..5)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}
