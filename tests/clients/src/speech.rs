//! How a member says what it does.
//!
//! Our own programs say it in the judge's words. kcat prints records as it is told
//! to, and tells of its partitions on its standard error.

use std::collections::BTreeSet;

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// The judge's.
    Own,
    /// kcat's, whose commits are its own affair.
    Kcat,
}

/// What kcat tells of rebalances, put in the judge's words.
#[derive(Debug, Default)]
pub struct Kcat {
    owned: BTreeSet<u32>,
}

impl Kcat {
    /// A line of its standard error; `None` if it tells of no partitions.
    pub fn translate(&mut self, line: &str) -> Option<String> {
        // `g rebalanced (memberid m): assigned: t [0], t [1]` of all partitions, or
        // `g rebalanced: incremental assignment of 2 partition(s) (memberid m, ...): t [0], t [1]` of some.
        let told = line.strip_prefix("% Group ")?;
        let named = told.split(", ").filter_map(|one| {
            let (_, number) = one.strip_suffix(']')?.rsplit_once('[')?;
            number.parse::<u32>().ok()
        });
        if told.contains("): assigned:") || told.contains(": incremental assignment of ") {
            self.owned.extend(named);
        } else if told.contains("): revoked:") || told.contains(": incremental revoke of ") {
            let gone: BTreeSet<u32> = named.collect();
            self.owned.retain(|partition| !gone.contains(partition));
        } else {
            return None;
        }
        Some(self.owned.iter().fold("owns".to_owned(), |line, it| format!("{line} {it}")))
    }
}

#[cfg(test)]
mod tests {
    use super::Kcat;

    #[test]
    fn kcat_tells_of_its_partitions_as_they_come_and_go() {
        let mut kcat = Kcat::default();
        let mut check = |told: &str, outcome: Option<&str>| {
            assert_eq!(kcat.translate(told).as_deref(), outcome, "{told}");
        };
        check("% Waiting for group rebalance", None);
        check("% Group g rebalanced (memberid m): assigned: t [0], t [11]", Some("owns 0 11"));
        check("% Reached end of topic t [0] at offset 0", None);
        check("% Group g rebalanced (memberid m): revoked: t [0], t [11]", Some("owns"));
        let mut some = |told: &str, partitions: &str, outcome: &str| {
            let line =
                format!("% Group g rebalanced: incremental {told} (memberid m, COOPERATIVE): {partitions}");
            check(line.trim_end(), Some(outcome));
        };
        some("assignment of 2 partition(s)", "t [3], t [4]", "owns 3 4");
        some("assignment of 0 partition(s)", "", "owns 3 4");
        some("revoke of 1 partition(s)", "t [3]", "owns 4");
    }
}
