//! Which partitions a command is about: `TOPIC` or `TOPIC:0,2`, and lists of them in files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::failure::{Failure, Outcome};

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
}

impl Place {
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A topic, and those of its partitions that are meant; all when it names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub topic: String,
    pub partitions: Vec<i32>,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, partitions) =
            text.split_once(':').map_or((text, None), |(topic, rest)| (topic, Some(rest)));
        if topic.is_empty() {
            return Err("it names no topic; write TOPIC or TOPIC:0,2".to_owned());
        }
        let parse = |number: &str| {
            let parsed = number.trim().parse::<i32>().ok().filter(|number| *number >= 0);
            parsed.ok_or_else(|| format!("{number:?} is no partition; write TOPIC:0,2"))
        };
        let numbers = partitions.into_iter().flat_map(|text| text.split(','));
        let partitions = numbers.map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { topic: topic.to_owned(), partitions })
    }
}

/// The offsets in a file of lines `TOPIC,PARTITION,OFFSET` or, as Kafka's tool also writes them,
/// `GROUP,TOPIC,PARTITION,OFFSET`, of which those of `group` count.
pub fn offsets_in(path: &Path, group: &str) -> Outcome<BTreeMap<Place, i64>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::typed_wrong(format!("cannot read {shown}: {error}; does it exist?")))?;
    parse_offsets(&text, group).map_err(|(line, cause)| {
        let how = "write TOPIC,PARTITION,OFFSET, as --export does";
        Failure::typed_wrong(format!("cannot read {shown}:{line}: {cause}; {how}"))
    })
}

fn parse_offsets(text: &str, group: &str) -> Result<BTreeMap<Place, i64>, (usize, String)> {
    let mut offsets = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        let cells = match cells[..] {
            [of, topic, partition, offset] if of == group => [topic, partition, offset],
            [_, _, _, _] => continue,
            [topic, partition, offset] => [topic, partition, offset],
            _ => return Err((number, format!("{} values", cells.len()))),
        };
        let [topic, partition, offset] = cells;
        let partition = partition.parse().map_err(|_| (number, format!("{partition:?} is no partition")))?;
        let offset = offset.parse().map_err(|_| (number, format!("{offset:?} is no offset")))?;
        offsets.insert(Place::new(topic, partition), offset);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::{Place, Scope, parse_offsets};

    #[test]
    fn a_topic_may_name_partitions() {
        let check = |text: &str, topic: &str, partitions: &[i32]| {
            let scope: Scope = text.parse().expect("it is well formed");
            assert_eq!((scope.topic.as_str(), &scope.partitions[..]), (topic, partitions), "{text}");
        };
        check("t", "t", &[]);
        check("t:0", "t", &[0]);
        check("t:3,1", "t", &[3, 1]);
        for wrong in ["", ":1", "t:", "t:x", "t:-1"] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn offsets_are_read_as_kafkas_tool_writes_them() {
        let read = parse_offsets("t,0,5\n\n\"t\",1,6\n", "g").expect("well formed");
        assert_eq!(read[&Place::new("t", 0)], 5);
        assert_eq!(read[&Place::new("t", 1)], 6);
        let read = parse_offsets("g,t,0,5\nother,t,0,9\n", "g").expect("well formed");
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [(Place::new("t", 0), 5)]);
        for (text, at) in [("t,0", 1), ("t,0,5\nt,x,5", 2), ("t,0,x", 1), ("a,b,c,d,e", 1)] {
            assert_eq!(parse_offsets(text, "g").map_err(|(line, _)| line), Err(at), "{text}");
        }
    }
}
