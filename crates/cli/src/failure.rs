//! How a command fails: what it says and with which exit status.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// The kinds of failure, numbered as the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The cluster, or the machine, said no.
    Refused = 1,
    /// It was typed wrong.
    TypedWrong = 2,
    /// The cluster could not be reached.
    Unreachable = 3,
}

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: Kind,
    message: String,
}

/// What a command comes to.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// The cluster, or the machine, said no.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, message: message.into() }
    }

    /// It was typed wrong.
    pub fn typed_wrong(message: impl Into<String>) -> Self {
        Self { kind: Kind::TypedWrong, message: message.into() }
    }

    /// The cluster could not be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unreachable, message: message.into() }
    }

    /// The status a process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// Says it on stderr.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            note(&self.message);
        }
        self.exit_code()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A line on stdout. A closed pipe (`| head`) ends the command like a broken one does elsewhere:
/// quietly.
pub fn say(text: impl fmt::Display) -> Outcome {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::refused("")),
        Err(error) => Err(Failure::refused(format!("cannot write the output: {error}; is the disk full?"))),
        Ok(()) => Ok(()),
    }
}

/// A line on stderr that fails nothing.
pub fn note(text: impl fmt::Display) {
    // Nobody is left to hear about a closed stderr.
    let _ = writeln!(std::io::stderr(), "{text}");
}
