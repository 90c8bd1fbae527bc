//! What a group's members said, and whether it holds.
//!
//! Every record is seen at least once, where it was written; a commit that was
//! acknowledged is never ahead of the log; the partitions settle: each has one
//! member, and each member has some. Fed with lines; knows no processes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// A member, by the order in which they came.
pub type MemberId = usize;

/// What is known of a group and its topic, in which the number `n` is in partition `n % partitions`.
#[derive(Debug)]
pub struct Judge {
    partitions: u32,
    seen: BTreeSet<u32>,
    acknowledged: BTreeMap<u32, u64>,
    owned: BTreeMap<MemberId, BTreeSet<u32>>,
    figures: Figures,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records that were seen once more.
    pub again: u64,
    /// Commits of a partition that were acknowledged.
    pub commits: u64,
    /// Commits that a rebalance came before.
    pub late: u64,
    /// How often a member told of new partitions.
    pub changes: u64,
}

impl Judge {
    /// Nobody has said anything.
    pub fn new(partitions: u32) -> Self {
        let (seen, acknowledged, owned) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { partitions, seen, acknowledged, owned, figures: Figures::default() }
    }

    /// A member comes.
    pub fn comes(&mut self, member: MemberId) {
        self.owned.insert(member, BTreeSet::new());
    }

    /// A member has gone: what it said still counts, what it owned is anybody's.
    pub fn goes(&mut self, member: MemberId) {
        self.owned.remove(&member);
    }

    /// A line that a member said.
    pub fn hear(&mut self, member: MemberId, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let heard = match words[..] {
            ["owns", ref partitions @ ..] => self.owns(member, partitions),
            ["seen", partition, offset, value] => {
                self.sees(partition.parse()?, offset.parse()?, value.parse()?)
            }
            ["committed", partition, offset] => self.committed(partition.parse()?, offset.parse()?),
            ["late", ..] => {
                self.figures.late += 1;
                Ok(())
            }
            _ => bail!("these are no words of a member"),
        };
        heard.with_context(|| format!("member {member} said {line:?}"))
    }

    fn owns(&mut self, member: MemberId, partitions: &[&str]) -> Result<()> {
        let owned: BTreeSet<u32> = partitions.iter().map(|it| it.parse()).collect::<Result<_, _>>()?;
        ensure!(owned.iter().all(|partition| *partition < self.partitions), "there is no such partition");
        // What one says that is gone already says nothing of who has it now.
        if let Some(known) = self.owned.get_mut(&member) {
            *known = owned;
            self.figures.changes += 1;
        }
        Ok(())
    }

    fn sees(&mut self, partition: u32, offset: u64, value: u32) -> Result<()> {
        let place = (value % self.partitions, u64::from(value / self.partitions));
        ensure!((partition, offset) == place, "it was written to partition {} at {}", place.0, place.1);
        self.figures.again += u64::from(!self.seen.insert(value));
        Ok(())
    }

    fn committed(&mut self, partition: u32, offset: u64) -> Result<()> {
        let acknowledged = self.acknowledged.entry(partition).or_default();
        *acknowledged = offset.max(*acknowledged);
        self.figures.commits += 1;
        Ok(())
    }

    /// Whether each partition has one member, and each member some.
    pub fn is_settled(&self) -> bool {
        let all: BTreeSet<u32> = self.owned.values().flatten().copied().collect();
        let shares: usize = self.owned.values().map(BTreeSet::len).sum();
        let partitions = self.partitions as usize;
        all.len() == partitions && shares == partitions && self.owned.values().all(|owned| !owned.is_empty())
    }

    /// Whether every one of so many records has been seen.
    pub fn saw_all(&self, records: u32) -> bool {
        self.seen.len() == records as usize
    }

    /// How much happened.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// At the end: `committed` is what the cluster says the group has.
    pub fn close(&self, records: u32, committed: &BTreeMap<u32, u64>) -> Result<()> {
        let missing: Vec<u32> = (0..records).filter(|number| !self.seen.contains(number)).take(10).collect();
        let seen = self.seen.len();
        ensure!(missing.is_empty(), "{seen} of {records} records were seen; missing: {missing:?}...");
        ensure!(seen == records as usize, "{seen} records were seen of {records}");
        for partition in 0..self.partitions {
            let written = u64::from((records + self.partitions - 1 - partition) / self.partitions);
            let has = committed.get(&partition).copied().unwrap_or_default();
            ensure!(has == written, "partition {partition} has {written} records and {has} committed");
            let told = self.acknowledged.get(&partition).copied().unwrap_or_default();
            ensure!(told <= has, "partition {partition}: {told} was acknowledged and {has} is committed");
        }
        Ok(())
    }

    /// Where it stands, for who waits in vain.
    pub fn standing(&self) -> String {
        format!("{} records seen, partitions by member: {:?}", self.seen.len(), self.owned)
    }
}

/// The committed offsets of one look after another.
#[derive(Debug, Default)]
pub struct Watched {
    last: BTreeMap<u32, u64>,
    /// How often they were looked at.
    pub looks: u64,
}

impl Watched {
    /// What was read back now: none of it is behind what was read before.
    pub fn look(&mut self, now: BTreeMap<u32, u64>) -> Result<()> {
        for (partition, before) in &self.last {
            let offset = now.get(partition);
            ensure!(offset >= Some(before), "partition {partition} went back from {before} to {offset:?}");
        }
        self.last = now;
        self.looks += 1;
        Ok(())
    }

    /// What was read last.
    pub fn last(&self) -> &BTreeMap<u32, u64> {
        &self.last
    }
}

#[cfg(test)]
mod tests {
    use super::{Figures, Judge, Watched};

    /// Two partitions and members 1 and 2, who say `lines` ("member: words"); the first complaint, if any.
    fn judge(lines: &str) -> (Judge, Option<String>) {
        let mut judge = Judge::new(2);
        judge.comes(1);
        judge.comes(2);
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (member, words) = line.split_once(": ").expect("a member and its words");
            if let Err(error) = judge.hear(member.parse().expect("a number"), words) {
                return (judge, Some(format!("{:#}", error.root_cause())));
            }
        }
        (judge, None)
    }

    fn check(lines: &str, records: u32, committed: &[(u32, u64)], outcome: &str) {
        let (judge, complaint) = judge(lines);
        let close = || judge.close(records, &committed.iter().copied().collect());
        let said = complaint.or_else(|| close().err().map(|error| error.to_string()));
        assert_eq!(said.as_deref().unwrap_or("it holds"), outcome, "{lines}");
    }

    #[test]
    fn records_are_seen_at_least_once_where_they_were_written() {
        check("1: seen 0 0 0\n 2: seen 1 0 1\n 1: seen 0 1 2", 3, &[(0, 2), (1, 1)], "it holds");
        check("1: seen 0 0 0\n 2: seen 0 0 0\n 2: seen 1 0 1", 2, &[(0, 1), (1, 1)], "it holds");
        check("1: seen 0 0 0", 2, &[(0, 1), (1, 1)], "1 of 2 records were seen; missing: [1]...");
        check("1: seen 0 1 0", 1, &[], "it was written to partition 0 at 0");
        check("1: seen 1 0 0", 1, &[], "it was written to partition 0 at 0");
        check("1: seen 0 0 0\n 1: seen 1 0 1", 1, &[(0, 1)], "2 records were seen of 1");
    }

    #[test]
    fn commits_reach_the_end_and_no_further_and_none_that_was_acknowledged_is_lost() {
        let seen = "1: seen 0 0 0\n 1: seen 1 0 1\n";
        check(seen, 2, &[(0, 1)], "partition 1 has 1 records and 0 committed");
        check(seen, 2, &[(0, 2), (1, 1)], "partition 0 has 1 records and 2 committed");
        let ahead = format!("{seen} 1: committed 0 2");
        check(&ahead, 2, &[(0, 1), (1, 1)], "partition 0: 2 was acknowledged and 1 is committed");
    }

    #[test]
    fn a_group_has_settled_when_every_partition_has_one_member_and_every_member_some() {
        let settled = |lines: &str| judge(lines).0.is_settled();
        assert!(settled("1: owns 0\n 2: owns 1"));
        assert!(!settled("1: owns 0 1"), "the second has none");
        assert!(!settled("1: owns 0 1\n 2: owns 1"), "two have one");
        assert!(!settled("1: owns 0\n 2: owns 0"), "one has no member");
        let (mut judge, _) = judge("1: owns 0\n 2: owns 1");
        judge.goes(2);
        assert!(!judge.is_settled(), "nobody has what the dead one had");
        judge.hear(2, "owns 0 1").expect("its last words");
        judge.hear(1, "owns 0 1").expect("a share");
        assert!(judge.is_settled());
    }

    #[test]
    fn what_is_no_word_of_a_member_is_told() {
        check("1: sees 0 0 0", 0, &[], "these are no words of a member");
        check("1: owns 2", 0, &[], "there is no such partition");
        check("1: seen 0 x 0", 0, &[], "invalid digit found in string");
    }

    #[test]
    fn what_happened_is_counted() {
        let (judge, _) =
            judge("1: owns 0 1\n 1: seen 0 0 0\n 1: late why\n 1: owns\n 2: seen 0 0 0\n 2: committed 0 1");
        assert_eq!(judge.figures(), Figures { again: 1, commits: 1, late: 1, changes: 2 });
    }

    #[test]
    fn committed_offsets_that_go_back_or_away_are_told() {
        let mut watched = Watched::default();
        let mut look = |offsets: &[(u32, u64)]| watched.look(offsets.iter().copied().collect());
        look(&[]).expect("nothing is committed");
        look(&[(0, 5)]).expect("forward");
        look(&[(0, 5), (1, 1)]).expect("forward");
        assert_eq!(
            look(&[(0, 4), (1, 1)]).unwrap_err().to_string(),
            "partition 0 went back from 5 to Some(4)"
        );
        assert_eq!(look(&[(0, 5)]).unwrap_err().to_string(), "partition 1 went back from 1 to None");
    }
}
