//! What happened, line by line, so that two runs of a seed can be compared.
//!
//! One recorder a thread: a run has its thread to itself. Always hashed, kept only when
//! asked for. A line carries virtual time and nothing of the machine's.

use std::cell::RefCell;
use std::fmt;
use std::fmt::Write;

use tokio::time::Instant;

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

struct Recorder {
    start: Instant,
    keep: bool,
    line: String,
    trace: Trace,
}

/// A run's trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// How many lines there were.
    pub count: u64,
    /// Of all lines, in order.
    pub hash: u64,
    /// The lines, where they were to be kept.
    pub lines: Vec<String>,
}

/// Begins a trace on this thread, from now on; an earlier one is forgotten.
pub fn start(keep: bool) {
    let recorder = Recorder { start: Instant::now(), keep, line: String::new(), trace: Trace::default() };
    RECORDER.set(Some(recorder));
}

/// Ends it.
pub fn finish() -> Trace {
    RECORDER.take().map(|recorder| recorder.trace).unwrap_or_default()
}

/// Adds a line; nothing happens outside of a trace.
pub fn record(what: fmt::Arguments<'_>) {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder {
            recorder.add(what);
        }
    });
}

impl Recorder {
    fn add(&mut self, what: fmt::Arguments<'_>) {
        self.line.clear();
        let at = self.start.elapsed().as_millis();
        write!(self.line, "{at:>6} {what}").expect("a string takes everything");
        self.trace.count += 1;
        for byte in self.line.bytes() {
            // FNV-1a: a difference anywhere changes it.
            self.trace.hash = (self.trace.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.keep {
            self.trace.lines.push(self.line.clone());
        }
    }
}

/// Adds a line to this thread's trace, in the words of `format!`.
#[macro_export]
macro_rules! trace {
    ($($what:tt)*) => { $crate::trace::record(format_args!($($what)*)) };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{finish, start};

    #[tokio::test(start_paused = true)]
    async fn lines_carry_virtual_time_and_any_difference_changes_the_hash() {
        let mut hashes = Vec::new();
        for last in ["c", "c", "d"] {
            start(true);
            trace!("a {}", 1);
            tokio::time::sleep(Duration::from_millis(5)).await;
            trace!("{last}");
            let trace = finish();
            assert_eq!(trace.lines, ["     0 a 1".to_owned(), format!("     5 {last}")]);
            hashes.push(trace.hash);
        }
        assert_eq!(hashes[0], hashes[1]);
        assert_ne!(hashes[0], hashes[2]);
        trace!("outside of a trace");
        assert_eq!(finish().count, 0);
    }
}
