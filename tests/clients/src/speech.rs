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
        let (told, partitions) = line.strip_prefix("% Group ")?.split_once("): ").or_else(|| {
            // None at all is a list of nothing.
            line.strip_prefix("% Group ")?.strip_suffix("):").map(|told| (told, ""))
        })?;
        let named = partitions.split(", ").filter_map(|one| {
            let (_, number) = one.trim().trim_end_matches(']').rsplit_once('[')?;
            number.parse::<u32>().ok()
        });
        if told.contains("assignment of") {
            self.owned.extend(named);
        } else if told.contains("revoke of") {
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
        let eager = "(memberid m, EAGER rebalance protocol):";
        check(
            &format!("% Group g rebalanced: assignment of 2 partition(s) {eager} t [0], t [11]"),
            Some("owns 0 11"),
        );
        check("% Reached end of topic t [0] at offset 0", None);
        check(&format!("% Group g rebalanced: revoke of 2 partition(s) {eager} t [0], t [11]"), Some("owns"));
        check(
            &format!("% Group g rebalanced: incremental assignment of 1 partition(s) {eager} t [3]"),
            Some("owns 3"),
        );
        check(
            &format!("% Group g rebalanced: incremental assignment of 0 partition(s) {eager}"),
            Some("owns 3"),
        );
        check(
            &format!("% Group g rebalanced: incremental revoke of 1 partition(s) {eager} t [3]"),
            Some("owns"),
        );
    }
}
