//! Lines of stdin or a file, read on a thread of their own.
//!
//! The channel is bounded: a fast pipe waits for the cluster, and never fills memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use tokio::sync::mpsc::{Receiver, Sender, channel, error::TryRecvError};

use crate::failure::{Failure, Outcome};

/// One line without its end.
pub type Line = Vec<u8>;

/// Lines read ahead of the cluster.
const AHEAD: usize = 4_096;
/// The longest line: no record above this size is taken anywhere.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// The lines.
pub struct Lines {
    receiver: Receiver<io::Result<Line>>,
}

impl Lines {
    /// Begins to read `file`, or stdin.
    pub fn open(file: Option<&Path>) -> Outcome<Self> {
        let reader: Box<dyn Read + Send> = match file {
            None => Box::new(io::stdin()),
            Some(path) => Box::new(File::open(path).map_err(|error| {
                Failure::typed_wrong(format!(
                    "cannot read {}: {error}; name a file that this user can read",
                    path.display()
                ))
            })?),
        };
        Ok(Self::read(reader))
    }

    fn read(reader: Box<dyn Read + Send>) -> Self {
        let (sender, receiver) = channel(AHEAD);
        std::thread::spawn(move || read_lines(BufReader::with_capacity(1 << 16, reader), &sender));
        Self { receiver }
    }

    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Outcome<Option<Line>> {
        self.receiver.recv().await.transpose().map_err(failed)
    }

    /// The next line if it is there already.
    pub fn try_next(&mut self) -> Outcome<Option<Line>> {
        match self.receiver.try_recv() {
            Ok(line) => line.map(Some).map_err(failed),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(None),
        }
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::refused(format!("cannot read the input: {error}; what was read before is written"))
}

fn read_lines(mut reader: impl BufRead, sender: &Sender<io::Result<Line>>) {
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let item = match read {
            Ok(0) => return,
            Ok(_) if line.len() as u64 == LINE_BYTES_MAX => {
                Err(io::Error::other("a line is longer than 64 MiB"))
            }
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                Ok(line)
            }
            Err(error) => Err(error),
        };
        let is_end = item.is_err();
        // Nobody waits any more when the command has failed.
        if sender.blocking_send(item).is_err() || is_end {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::Lines;

    fn check(input: &[u8], expected: &[&[u8]]) {
        let mut lines = Lines::read(Box::new(Cursor::new(input.to_vec())));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let read: Vec<Vec<u8>> = runtime.block_on(async {
            let mut read = Vec::new();
            while let Some(line) = lines.next().await.ok().flatten() {
                read.push(line);
            }
            read
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn every_line_is_a_record_the_last_one_with_or_without_its_end() {
        check(b"a\nb\n", &[b"a", b"b"]);
        check(b"a\n\nb", &[b"a", b"", b"b"]);
        check(b"", &[]);
        check(b"\xff\xfe\n", &[b"\xff\xfe"]);
    }
}
