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

/// Writes a value as Java does, so that it reads back as it was.
pub fn escape_value(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (position, character) in value.char_indices() {
        match character {
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\u{c}' => text.push_str("\\f"),
            '\\' | '=' | ':' | '#' | '!' => text.extend(['\\', character]),
            // Blanks before a value are no part of it.
            ' ' if position == 0 => text.push_str("\\ "),
            _ => text.push(character),
        }
    }
    text
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

#[cfg(test)]
mod tests {
    use super::{Properties, escape_value};

    /// A file's text and its entries as `line key=value`.
    fn check(text: &str, entries: &[&str]) {
        let properties = Properties::parse("f", text.as_bytes()).expect("well-formed");
        let read: Vec<String> =
            properties.iter().map(|entry| format!("{} {}={}", entry.place, entry.key, entry.value)).collect();
        assert_eq!(read, entries, "{text:?}");
    }

    #[test]
    fn keys_end_at_equals_colons_and_blanks() {
        check(
            "a=b\nc:d\ne f\ng = h\ni : j\nk  l",
            &["f:1 a=b", "f:2 c=d", "f:3 e=f", "f:4 g=h", "f:5 i=j", "f:6 k=l"],
        );
        check("a\nb=\n=c", &["f:1 a=", "f:2 b=", "f:3 =c"]);
        check("a==b\nc=d=e:f", &["f:1 a==b", "f:2 c=d=e:f"]);
        check("listeners=PLAINTEXT://:9092", &["f:1 listeners=PLAINTEXT://:9092"]);
        check("  \t a=b  ", &["f:1 a=b  "]);
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        check("# a=b\n! c=d\n\n   # e=f\ng=#h", &["f:5 g=#h"]);
        check("# ends in a backslash \\\na=b", &["f:2 a=b"]);
    }

    #[test]
    fn a_backslash_at_the_end_continues_the_line() {
        check("a=b,\\\n   c,\\\n\td\ne=f", &["f:1 a=b,c,d", "f:4 e=f"]);
        check("a=b\\\\\nc=d", &["f:1 a=b\\", "f:2 c=d"]);
        check("a=b\\\n# no comment", &["f:1 a=b# no comment"]);
        check("a=b\\", &["f:1 a=b"]);
        check("a=b\\\r\nc\r\nd=e\rf=g", &["f:1 a=bc", "f:3 d=e", "f:4 f=g"]);
    }

    #[test]
    fn escapes_are_resolved() {
        check("a\\ b=c\na\\=b=c\na\\:b=c", &["f:1 a b=c", "f:2 a=b=c", "f:3 a:b=c"]);
        check("a=\\t\\n\\r\\f|\\q\\\\", &["f:1 a=\t\n\r\x0c|q\\"]);
        check("a=\\u00e9\\u20AC\\ud83d\\ude00", &["f:1 a=é€😀"]);
        check("a=\\😀é", &["f:1 a=😀é"]);
    }

    #[test]
    fn an_escaped_value_reads_back_as_it_was() {
        for value in
            ["", "plain", "  two before", "after ", "a=b:c#d!e", "\\", "\\u00e9", "t\tn\nr\rf\u{c}", "é😀"]
        {
            check(&format!("k={}", escape_value(value)), &[&format!("f:1 k={value}")]);
        }
    }

    #[test]
    fn a_bad_unicode_escape_is_named_with_its_line() {
        for text in ["a=1\nb=\\u12", "a=1\nb=\\u12g4", "a=1\nb=\\u+123", "a=1\n\\u=", "a=1\nb=\\u12é"] {
            let error = Properties::parse("f", text.as_bytes()).expect_err(text);
            assert!(error.to_string().starts_with("f:2: found '\\u"), "{error}");
        }
    }

    #[test]
    fn the_last_entry_counts_and_the_command_line_most() {
        let mut properties = Properties::parse("f", b"a=1\nb=2\na=3").expect("well-formed");
        assert_eq!(properties.get("a").map(|entry| entry.value.as_str()), Some("3"));
        properties.set("a", "4");
        assert_eq!(properties.get("a").map(|entry| entry.place.to_string()), Some("--override".to_owned()));
        assert_eq!(properties.iter().count(), 2);
        assert_eq!(properties.to_overrides()["a"], "4");
        assert!(properties.get("c").is_none());
    }

    #[test]
    fn bytes_that_are_no_utf8_are_latin1() {
        let properties = Properties::parse("f", b"a=caf\xe9").expect("well-formed");
        assert_eq!(properties.get("a").map(|entry| entry.value.as_str()), Some("café"));
    }
}
