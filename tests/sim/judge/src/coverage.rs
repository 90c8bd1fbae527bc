//! What happened in a run, counted: a verdict over a quiet cluster means nothing.
//!
//! Fed with the same views as the invariants, and with what clients and faults did. Each
//! change that the whole cluster makes (an election, a fence) is counted once, from the
//! longest image; what a node does for itself (a truncation) once for each node. Runs are
//! added up, and a campaign fails when one of its minimums is not reached.

mod events;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use model::NodeId;

use crate::view::NodeView;
pub use events::Event;
use events::Watch;

/// What a campaign must reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minimums {
    /// Events, and how often at least.
    pub events: Vec<(Event, u64)>,
    /// Kinds of faults that must have had an effect.
    pub faults: Vec<String>,
    /// Operations that succeeded while a fault was in force, of a hundred.
    pub percent_ok_under_faults: u64,
    /// Operations tried while a fault was in force.
    pub operations_under_faults: u64,
}

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    events: BTreeMap<Event, u64>,
    refused: BTreeMap<String, u64>,
    faults: BTreeMap<String, u64>,
    ok_under_faults: u64,
    tried_under_faults: u64,
    watch: Watch,
}

impl Coverage {
    /// A node took a step and now holds `view`.
    pub fn observe(&mut self, view: &NodeView) {
        let Self { events, watch, .. } = self;
        watch.observe(view, &mut |event| *events.entry(event).or_default() += 1);
    }

    /// The process of `node` ended; views of it come from another one from now on.
    pub fn restarted(&mut self, node: NodeId) {
        self.watch.restarted(node);
        self.count(Event::Restart);
    }

    /// Something happened once.
    pub fn count(&mut self, event: Event) {
        self.count_many(event, 1);
    }

    /// Something happened so often.
    pub fn count_many(&mut self, event: Event, times: u64) {
        *self.events.entry(event).or_default() += times;
    }

    /// A client was refused with this error.
    pub fn refused(&mut self, code: impl fmt::Display) {
        *self.refused.entry(code.to_string()).or_default() += 1;
    }

    /// A fault of this kind had an effect.
    pub fn fault_bit(&mut self, kind: impl fmt::Display) {
        *self.faults.entry(kind.to_string()).or_default() += 1;
    }

    /// A client's operation ended.
    pub fn operation(&mut self, ok: bool, under_fault: bool) {
        if under_fault {
            self.tried_under_faults += 1;
            self.ok_under_faults += u64::from(ok);
        }
    }

    /// How often it happened.
    pub fn of(&self, event: Event) -> u64 {
        self.events.get(&event).copied().unwrap_or(0)
    }

    /// Operations that succeeded while a fault was in force, of a hundred; `None` when none was tried.
    pub fn percent_ok_under_faults(&self) -> Option<u64> {
        (self.ok_under_faults * 100).checked_div(self.tried_under_faults)
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.events, &other.events);
        add(&mut self.refused, &other.refused);
        add(&mut self.faults, &other.faults);
        self.ok_under_faults += other.ok_under_faults;
        self.tried_under_faults += other.tried_under_faults;
    }

    /// Says what happened too seldom.
    pub fn require(&self, minimums: &Minimums) -> Result<(), Vec<String>> {
        let mut short = Vec::new();
        for &(event, least) in &minimums.events {
            let got = self.of(event);
            if got < least {
                short.push(format!("{event}: {got} seen, {least} asked for"));
            }
        }
        for kind in &minimums.faults {
            if self.faults.get(kind).copied().unwrap_or(0) == 0 {
                short.push(format!("the fault {kind} never had an effect"));
            }
        }
        let (tried, least) = (self.tried_under_faults, minimums.operations_under_faults);
        if tried < least {
            short.push(format!("operations under faults: {tried} tried, {least} asked for"));
        }
        let (percent, least) =
            (self.percent_ok_under_faults().unwrap_or(0), minimums.percent_ok_under_faults);
        if percent < least {
            short.push(format!("operations under faults: {percent} % succeeded, {least} % asked for"));
        }
        if short.is_empty() { Ok(()) } else { Err(short) }
    }
}

fn add<K: Ord + Clone>(counts: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *counts.entry(key.clone()).or_default() += count;
    }
}

/// The table for people.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in Event::ALL {
            writeln!(f, "{:<34}{:>12}", event.to_string(), self.of(event))?;
        }
        let percent =
            self.percent_ok_under_faults().map_or_else(|| "-".to_owned(), |percent| percent.to_string());
        let (ok, tried) = (self.ok_under_faults, self.tried_under_faults);
        writeln!(f, "{:<34}{percent:>12} %  ({ok} of {tried})", "operations ok under faults")?;
        for (title, counts) in [("fault", &self.faults), ("refused", &self.refused)] {
            for (name, count) in counts {
                writeln!(f, "{:<34}{count:>12}", format!("{title} {name}"))?;
            }
        }
        Ok(())
    }
}
