//! The log below a shard, and how a script is held against what came of it: the same for both coordinators.

use model::Offset;

use crate::record::Record;
use crate::shard::AppendFailure;

/// A log that can fail, and whose high watermark can be held back.
#[derive(Default)]
pub struct Log {
    pub records: Vec<Record>,
    pub high_watermark: usize,
    pub held: bool,
    pub failing: Option<AppendFailure>,
}

impl Log {
    /// Fails once when something is to be appended: `unavailable`, `large` or `deposed`.
    pub fn fail(&mut self, word: &str) {
        self.failing = Some(match word {
            "unavailable" => AppendFailure::Unavailable,
            "large" => AppendFailure::TooLarge,
            _ => AppendFailure::Deposed,
        });
    }

    /// Appends, or fails to: the last offset. Nothing when there is nothing to append.
    pub fn append(&mut self, records: Vec<Record>) -> Option<Result<Offset, AppendFailure>> {
        if records.is_empty() {
            return None;
        }
        if let Some(failure) = self.failing.take() {
            return Some(Err(failure));
        }
        self.records.extend(records);
        Some(Ok(offset(self.records.len() - 1)))
    }

    /// Moves the high watermark to the end, unless it is held back; where it stands.
    pub fn settle(&mut self) -> Offset {
        if !self.held {
            self.high_watermark = self.records.len();
        }
        offset(self.high_watermark)
    }
}

/// A place in the log.
pub fn offset(at: usize) -> Offset {
    Offset::new(i64::try_from(at).expect("a test ends"))
}

/// The commands of a script, without the answers.
pub fn commands(script: &str) -> impl Iterator<Item = &str> {
    lines(script).filter(|line| !line.starts_with('>'))
}

/// A script, answers included, is what happened.
#[track_caller]
pub fn check_told(script: &str, transcript: &[String]) {
    let (was, expected) = (transcript.join("\n"), lines(script).collect::<Vec<_>>().join("\n"));
    assert_eq!(was, expected, "\nwas:\n{was}\n");
}

fn lines(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(str::trim).filter(|line| !line.is_empty())
}
