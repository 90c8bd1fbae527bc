//! How a consumed record is shown: a pattern for people, an object a line for programs.

use std::io::{self, Write};

use serde_json::json;
use wire::batch::Record;

use crate::failure::{Failure, Outcome};

/// A pattern, taken apart; or JSON.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    /// `None` for JSON.
    parts: Option<Vec<Part>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Key,
    Value,
    Headers,
    Offset,
    Partition,
    Timestamp,
    Topic,
}

impl Format {
    /// Reads a pattern like `%k=%v\n`.
    pub fn parse(pattern: &str, json: bool) -> Outcome<Self> {
        if json {
            return Ok(Self { parts: None });
        }
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            let part = match (character, characters.clone().next()) {
                ('%', Some('%')) => Err(b'%'),
                ('%', Some(letter)) => Ok(part(letter).ok_or_else(|| bad(pattern, &format!("%{letter}")))?),
                ('\\', Some('n')) => Err(b'\n'),
                ('\\', Some('t')) => Err(b'\t'),
                ('\\', Some('0')) => Err(0),
                ('\\', Some('\\')) => Err(b'\\'),
                ('%' | '\\', _) => return Err(bad(pattern, &character.to_string())),
                _ => {
                    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            characters.next();
            match part {
                Err(byte) => text.push(byte),
                Ok(part) => {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                    parts.push(part);
                }
            }
        }
        parts.push(Part::Text(text));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { parts: Some(parts) })
    }

    /// Shows one record.
    pub fn write(
        &self,
        topic: &str,
        partition: i32,
        record: &Record<'_>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Some(parts) = &self.parts else { return write_json(topic, partition, record, out) };
        for part in parts {
            match part {
                Part::Text(text) => out.write_all(text)?,
                Part::Key => out.write_all(record.key.unwrap_or(b"null"))?,
                Part::Value => out.write_all(record.value.unwrap_or(b"null"))?,
                Part::Headers => write_headers(record, out)?,
                Part::Offset => write!(out, "{}", record.offset)?,
                Part::Partition => write!(out, "{partition}")?,
                Part::Timestamp => write!(out, "{}", record.timestamp)?,
                Part::Topic => out.write_all(topic.as_bytes())?,
            }
        }
        Ok(())
    }
}

fn part(letter: char) -> Option<Part> {
    Some(match letter {
        'k' => Part::Key,
        'v' | 's' => Part::Value,
        'h' => Part::Headers,
        'o' => Part::Offset,
        'p' => Part::Partition,
        'T' => Part::Timestamp,
        't' => Part::Topic,
        _ => return None,
    })
}

fn bad(pattern: &str, part: &str) -> Failure {
    Failure::typed_wrong(format!(
        "cannot read --format {pattern}: '{part}' means nothing; use %k %v %h %o %p %T %t %% \\n \\t \\0 \\\\"
    ))
}

fn write_headers(record: &Record<'_>, out: &mut impl Write) -> io::Result<()> {
    for (at, header) in record.headers.enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        out.write_all(header.key)?;
        out.write_all(b"=")?;
        out.write_all(header.value.unwrap_or(b"null"))?;
    }
    Ok(())
}

fn write_json(topic: &str, partition: i32, record: &Record<'_>, out: &mut impl Write) -> io::Result<()> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = record
        .headers
        .map(|header| json!({"key": text(header.key), "value": header.value.map(text)}))
        .collect();
    let object = json!({
        "topic": topic, "partition": partition, "offset": record.offset.get(), "timestamp": record.timestamp.get(),
        "key": record.key.map(text), "value": record.value.map(text), "headers": headers,
    });
    writeln!(out, "{object}")
}

#[cfg(test)]
mod tests {
    use model::{LeaderEpoch, Offset, Timestamp};
    use wire::batch::{BatchBuilder, BatchRef, NewRecord};

    use super::Format;

    /// A record shown with a pattern.
    fn check(pattern: &str, json: bool, expected: &str) {
        let mut builder = BatchBuilder::new(Offset::new(7), LeaderEpoch::new(0));
        builder.push(&NewRecord {
            timestamp: Timestamp::new(1_000),
            key: Some(b"k"),
            value: None,
            headers: &[(b"a", Some(b"1")), (b"a", None)],
        });
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("small");
        let batch = BatchRef::parse(&bytes).expect("whole");
        let records = batch.records(1_000).expect("uncompressed");
        let record = records.iter().next().expect("one").expect("sound");
        let format = Format::parse(pattern, json).expect("a sound pattern");
        let mut out = Vec::new();
        format.write("t", 3, &record, &mut out).expect("memory");
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn patterns_show_every_part_of_a_record() {
        check("%v\\n", false, "null\n");
        check("%t-%p@%o %T %k=%v [%h]%%\\t\\\\", false, "t-3@7 1000 k=null [a=1,a=null]%\t\\");
        check("é%k", false, "ék");
        check("", false, "");
        check(
            "",
            true,
            "{\"headers\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"a\",\"value\":null}],\"key\":\"k\",\"offset\":7,\
             \"partition\":3,\"timestamp\":1000,\"topic\":\"t\",\"value\":null}\n",
        );
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        for pattern in ["%x", "%", "\\q", "\\", "%v%"] {
            assert!(Format::parse(pattern, false).is_err(), "{pattern}");
        }
    }
}
