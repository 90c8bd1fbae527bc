//! What is wrong with a configuration: every problem at once, each with its way out.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub key: String,
    /// `FILE:LINE`, or the file alone where the key is missing.
    pub place: String,
    /// The value found; `None` where the key is missing or the value is secret.
    pub found: Option<String>,
    /// What is wrong or what was expected, in Kafka's words where it has them.
    pub expected: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.key)?;
        if let Some(found) = &self.found {
            write!(f, "={found}")?;
        }
        write!(f, ": {}; {}", self.expected.trim_end_matches('.'), self.advice)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}
