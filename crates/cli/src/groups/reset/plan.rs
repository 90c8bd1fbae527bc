//! Which offset a partition is reset to: a function of what is known of it.

use std::collections::BTreeMap;

use crate::groups::scope::Place;

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    ShiftBy(i64),
    /// The first record of that time.
    Time(i64),
    Given(BTreeMap<Place, i64>),
}

/// What is known of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub start: i64,
    pub end: i64,
    pub committed: Option<i64>,
    /// The first record of the time that was asked for, if there is one.
    pub at_time: Option<i64>,
}

/// The new offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub offset: i64,
    pub wanted: i64,
    /// What was wanted is not in the log.
    pub is_kept_within: bool,
}

impl Strategy {
    /// The new offset of a partition, or why there is none.
    pub fn offset(&self, place: &Place, known: Known) -> Result<Planned, String> {
        let wanted = match self {
            Self::Earliest => known.start,
            Self::Latest => known.end,
            // Retention may have passed it by; it stays all the same, as in Kafka.
            Self::Current => {
                let offset = known.committed.unwrap_or(known.end);
                return Ok(Planned { offset, wanted: offset, is_kept_within: false });
            }
            Self::Offset(offset) => *offset,
            Self::ShiftBy(by) => {
                let from = known.committed.ok_or("it has no offset to shift; use --to-offset for it")?;
                from.saturating_add(*by)
            }
            Self::Time(_) => known.at_time.unwrap_or(known.end),
            Self::Given(offsets) => *offsets.get(place).ok_or("the file says nothing of it; leave it out")?,
        };
        let offset = wanted.max(known.start).min(known.end);
        Ok(Planned { offset, wanted, is_kept_within: offset != wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, Place, Strategy};

    /// Where a strategy leads in a log from 10 to 90.
    fn check(strategy: Strategy, committed: Option<i64>, at_time: Option<i64>, expected: Result<i64, &str>) {
        let known = Known { start: 10, end: 90, committed, at_time };
        let planned = strategy.offset(&Place::new("t", 0), known);
        match expected {
            Ok(offset) => assert_eq!(planned.map(|it| it.offset), Ok(offset), "{strategy:?}"),
            Err(part) => assert!(planned.expect_err("it is refused").contains(part), "{strategy:?}"),
        }
    }

    #[test]
    fn each_strategy_leads_where_its_name_says() {
        check(Strategy::Earliest, Some(40), None, Ok(10));
        check(Strategy::Latest, Some(40), None, Ok(90));
        check(Strategy::Current, Some(40), None, Ok(40));
        check(Strategy::Current, None, None, Ok(90));
        check(Strategy::Offset(55), None, None, Ok(55));
        check(Strategy::ShiftBy(-5), Some(40), None, Ok(35));
        check(Strategy::ShiftBy(5), None, None, Err("no offset to shift"));
        check(Strategy::Time(7), None, Some(33), Ok(33));
        check(Strategy::Time(7), None, None, Ok(90));
        check(Strategy::Given([(Place::new("t", 0), 12)].into()), None, None, Ok(12));
        check(Strategy::Given([(Place::new("t", 1), 12)].into()), None, None, Err("says nothing of it"));
    }

    #[test]
    fn an_offset_outside_of_the_log_is_moved_to_its_nearest_end() {
        check(Strategy::Offset(5), None, None, Ok(10));
        check(Strategy::Offset(500), None, None, Ok(90));
        check(Strategy::ShiftBy(i64::MAX), Some(40), None, Ok(90));
        check(Strategy::ShiftBy(i64::MIN), Some(40), None, Ok(10));
        check(Strategy::Current, Some(5), None, Ok(5));
    }
}
