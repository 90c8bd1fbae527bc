//! Histories as text: one operation a line, for the tests of checkers and promises.
//!
//! ```text
//! a send t 7 8 => 5          acknowledged at offset 5; also: ok, refused, unknown, pending
//! a send t 7 s2 x3 => 5      producer id 2, three attempts; `plain` and `many` are not idempotent
//! [5..90] a send t 7 => 5    from 5 to 90 ms; otherwise line n lasts from 10n to 10n + 5
//! b poll t 5:7 6:8           offset:value; `e3` and `n3` before: batches of, and asked in, epoch 3
//! b poll t hw 4 5:7          with a high watermark
//! b assign t                 from the beginning; `t@5` from 5; `subscribe t`: in a group
//! b ends t 5 | b out t 9 | b cut t 9 to 4 | b corrupt t 4
//! - delete t | - final
//! ```
//!
//! Partitions are number 0 of the topic named.

use model::{ErrorCode, LeaderEpoch, Millis, Offset, PartitionIndex, TopicName, TopicPartition};

use crate::history::{
    Assign, Batch, History, Kind, Mode, OpId, Place, Poll, ProcessId, Producer, Read, Run, SendOutcome,
    Session,
};

/// The history that the text tells.
pub(crate) fn history(text: &str) -> History {
    let mut history = History::default();
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (number, line) in text.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        lines.push(Line::parse(number as u64, line));
    }
    // Beginnings and ends in their order in time.
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        moments.push((line.from, false, at));
        moments.push((line.until, true, at));
    }
    moments.sort();
    let mut begun: Vec<Option<OpId>> = vec![None; lines.len()];
    for (time, is_end, at) in moments {
        let line = &lines[at];
        let time = Millis::new(time);
        match begun[at] {
            None => begun[at] = Some(line.begin(&mut history, time)),
            Some(op) if is_end => line.end(&mut history, op, time),
            Some(_) => {}
        }
    }
    history
}

/// Partition 0 of that topic.
pub(crate) fn partition(topic: &str) -> TopicPartition {
    TopicPartition { topic: TopicName::new(topic).unwrap(), partition: PartitionIndex::new(0) }
}

struct Line<'t> {
    from: u64,
    until: u64,
    process: &'t str,
    verb: &'t str,
    topic: &'t str,
    words: Vec<&'t str>,
}

impl<'t> Line<'t> {
    fn parse(number: u64, line: &'t str) -> Self {
        let (span, rest) = match line.strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap(),
            None => ("", line),
        };
        let span = span.split_once("..").map(|(from, until)| (int(from) as u64, int(until) as u64));
        let (from, until) = span.unwrap_or((10 * number, 10 * number + 5));
        let mut words = rest.split_whitespace();
        let (process, verb) = (words.next().unwrap(), words.next().unwrap());
        Self { from, until, process, verb, topic: words.next().unwrap_or("t"), words: words.collect() }
    }

    fn begin(&self, history: &mut History, at: Millis) -> OpId {
        let process = history.process(self.process);
        match self.verb {
            "send" => history.invoke(process, at, Kind::Send(self.batch(process))),
            "poll" => history.invoke(process, at, Kind::Poll(Poll::default())),
            _ => history.note(process, at, self.event()),
        }
    }

    fn end(&self, history: &mut History, op: OpId, at: Millis) {
        match self.verb {
            "send" => {
                let (_, outcome) = self.split_outcome();
                match outcome {
                    "pending" => {}
                    "ok" => history.end_send(op, at, SendOutcome::Acked(None)),
                    "refused" => history.end_send(op, at, SendOutcome::Refused(ErrorCode::NotEnoughReplicas)),
                    "unknown" => history.end_send(op, at, SendOutcome::Unknown("timed out".to_owned())),
                    base => history.end_send(op, at, SendOutcome::Acked(Some(Offset::new(int(base))))),
                }
            }
            "poll" => history.end_poll(op, at, vec![self.run()]),
            _ => {}
        }
    }

    fn split_outcome(&self) -> (&[&'t str], &'t str) {
        let at = self.words.iter().position(|word| *word == "=>").expect("a send has an outcome");
        (&self.words[..at], self.words[at + 1])
    }

    fn batch(&self, process: ProcessId) -> Batch {
        let session = Session(u32::try_from(process.index()).unwrap() * 1_000);
        let mut batch = Batch::new(partition(self.topic), Vec::new(), Producer::Idempotent(session));
        batch.attempts = 1;
        for word in self.split_outcome().0 {
            match (*word, word.split_at(1)) {
                ("plain", _) => batch.producer = Producer::OneInFlight,
                ("many", _) => batch.producer = Producer::ManyInFlight,
                ("acks=1", _) => batch.acks_all = false,
                (_, ("s", number)) => batch.producer = Producer::Idempotent(Session(int(number) as u32)),
                (_, ("x", number)) => batch.attempts = int(number) as u32,
                _ => batch.values.push(int(word) as u64),
            }
        }
        batch
    }

    fn run(&self) -> Run {
        let mut run = Run {
            partition: partition(self.topic),
            from: Offset::ZERO,
            high_watermark: None,
            epoch: None,
            records: Vec::new(),
        };
        let mut epoch = None;
        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            match (*word, word.split_once(':')) {
                ("hw", _) => run.high_watermark = Some(Offset::new(int(words.next().unwrap()))),
                (_, Some((offset, value))) => {
                    run.records.push(Read {
                        offset: Offset::new(int(offset)),
                        value: int(value) as u64,
                        epoch,
                    });
                }
                (word, None) if word.starts_with('e') => {
                    epoch = Some(LeaderEpoch::new(int(&word[1..]) as i32))
                }
                (word, None) => run.epoch = Some(LeaderEpoch::new(int(&word[1..]) as i32)),
            }
        }
        run.from = run.records.first().map_or(Offset::ZERO, |read| read.offset);
        run
    }

    fn event(&self) -> Kind {
        let (topic, at) =
            self.topic.split_once('@').map_or((self.topic, None), |(topic, at)| (topic, Some(at)));
        let partition = partition(topic);
        let offset = |word: usize| Offset::new(int(self.words[word]));
        let named = self.words.iter().find_map(|word| word.strip_prefix('n'));
        let epoch = named.map(|epoch| LeaderEpoch::new(int(epoch) as i32));
        let assign = |mode| {
            let at = at.map(|at| Offset::new(int(at)));
            Kind::Assign(Assign { positions: vec![(partition.clone(), at)], mode })
        };
        match self.verb {
            "assign" => assign(Mode::Assign),
            "subscribe" => assign(Mode::Subscribe),
            "ends" => Kind::List { partition, place: Place::Latest, offset: Some(offset(0)), epoch },
            "out" => {
                Kind::Reset { partition, position: offset(0), log_start: None, high_watermark: None, epoch }
            }
            "cut" => Kind::Truncated { partition, position: offset(0), end: offset(2), epoch },
            "corrupt" => {
                Kind::Corrupt { partition, position: offset(0), reason: "a wrong checksum".to_owned() }
            }
            "delete" => Kind::Delete { topic: partition.topic },
            "final" => Kind::FinalPhase,
            other => panic!("no operation is named '{other}'"),
        }
    }
}

fn int(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("'{text}' should be a number"))
}
