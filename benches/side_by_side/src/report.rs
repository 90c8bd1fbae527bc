//! The figures of all runs: medians, ratios, a table for people and JSON for machines.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::server::Kind;

/// As much of a failure is told below the table.
const FAILURE_CHARS: usize = 300;

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The more the better.
    Higher,
    /// The less the better.
    Lower,
    /// It only explains another one.
    Neither,
}

/// A figure of one run.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// What it counts, with its unit.
    pub figure: &'static str,
    /// Which way it is good.
    pub better: Better,
    /// The figure.
    pub value: f64,
    /// What part of Kafka's is to be reached.
    pub goal: Option<f64>,
}

/// A figure of all runs.
struct Row {
    scenario: &'static str,
    metric: Metric,
    values: BTreeMap<Kind, Vec<f64>>,
}

/// Everything measured.
#[derive(Default)]
pub struct Report {
    abouts: Vec<(&'static str, &'static str)>,
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Report {
    /// Says what a scenario does; rows come in this order.
    pub fn expect(&mut self, scenario: &'static str, about: &'static str) {
        self.abouts.push((scenario, about));
    }

    /// Takes the figures of one run.
    pub fn add(&mut self, scenario: &'static str, kind: Kind, metrics: &[Metric]) {
        for &metric in metrics {
            let is_row = |row: &&mut Row| row.scenario == scenario && row.metric.figure == metric.figure;
            match self.rows.iter_mut().find(is_row) {
                Some(row) => row.values.entry(kind).or_default().push(metric.value),
                None => {
                    let values = BTreeMap::from([(kind, vec![metric.value])]);
                    self.rows.push(Row { scenario, metric, values });
                }
            }
        }
    }

    /// Notes that a run has no figures.
    pub fn fail(&mut self, scenario: &str, kind: Kind, error: &anyhow::Error) {
        let told: String = format!("{error:#}").replace('\n', " | ").chars().take(FAILURE_CHARS).collect();
        self.failures.push(format!("{scenario}, {}: {told}", kind.name()));
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "scenario",
            "figure",
            "Kastle",
            "Kafka 4.3.1",
            "floor",
            "Kastle / Kafka",
            "to reach",
            "Kastle / floor",
        ]);
        for column in 2..8 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in self.ordered() {
            let shown = |kind| row.median(kind).map_or(String::new(), number);
            let ratio = |to| row.ratio(to).map_or(String::new(), |ratio| format!("{}×", number(ratio)));
            table.add_row([
                Cell::new(row.scenario),
                Cell::new(row.metric.figure),
                Cell::new(shown(Kind::Kastle)),
                Cell::new(shown(Kind::Kafka)),
                Cell::new(shown(Kind::Floor)),
                Cell::new(ratio(Kind::Kafka)),
                Cell::new(row.goal()),
                Cell::new(ratio(Kind::Floor)),
            ]);
        }
        let failures: String = self.failures.iter().map(|failure| format!("\nfailed: {failure}")).collect();
        table.to_string() + &failures
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .ordered()
            .map(|row| {
                let of = |kind| json!({ "median": row.median(kind), "runs": row.values.get(&kind) });
                json!({
                    "scenario": row.scenario,
                    "about": self.abouts.iter().find(|(name, _)| *name == row.scenario).map(|(_, about)| about),
                    "figure": row.metric.figure,
                    "kastle": of(Kind::Kastle),
                    "kafka": of(Kind::Kafka),
                    "floor": of(Kind::Floor),
                    "kastle_to_kafka": row.ratio(Kind::Kafka),
                    "kastle_to_floor": row.ratio(Kind::Floor),
                    "goal": row.metric.goal,
                    "reached": row.is_reached(),
                })
            })
            .collect();
        json!({ "figures": rows, "failures": self.failures })
    }

    fn ordered(&self) -> impl Iterator<Item = &Row> {
        self.abouts.iter().flat_map(|(name, _)| self.rows.iter().filter(move |row| row.scenario == *name))
    }
}

impl Row {
    fn median(&self, kind: Kind) -> Option<f64> {
        let mut values = self.values.get(&kind)?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            return values.get(middle).copied();
        }
        Some(f64::midpoint(*values.get(middle.checked_sub(1)?)?, *values.get(middle)?))
    }

    /// Kastle's figure as a part of another's.
    fn ratio(&self, to: Kind) -> Option<f64> {
        let other = self.median(to).filter(|&other| other != 0.0)?;
        Some(self.median(Kind::Kastle)? / other).filter(|_| self.metric.better != Better::Neither)
    }

    fn is_reached(&self) -> Option<bool> {
        let (ratio, goal) = (self.ratio(Kind::Kafka)?, self.metric.goal?);
        Some(if self.metric.better == Better::Higher { ratio >= goal } else { ratio <= goal })
    }

    fn goal(&self) -> String {
        let Some(goal) = self.metric.goal else { return String::new() };
        let sign = if self.metric.better == Better::Higher { "≥" } else { "≤" };
        let verdict = match self.is_reached() {
            Some(true) => " yes",
            Some(false) => " NO",
            None => "",
        };
        format!("{sign} {goal}×{verdict}")
    }
}

/// Three digits that count, and commas between thousands.
fn number(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 3,
    };
    let plain = format!("{value:.places$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let digits: Vec<&[u8]> = whole.as_bytes().rchunks(3).rev().collect();
    let grouped: Vec<String> = digits.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    grouped.join(",") + rest
}

#[cfg(test)]
mod tests {
    use super::{Better, Metric, Report, number};
    use crate::server::Kind;

    #[test]
    fn numbers_are_short() {
        let check = |value, shown| assert_eq!(number(value), shown);
        check(1_234_567.8, "1,234,568");
        check(123.4, "123");
        check(12.34, "12.3");
        check(1.234, "1.23");
        check(0.0123, "0.012");
        check(0.0, "0.000");
    }

    #[test]
    fn medians_make_the_ratio_and_the_ratio_the_verdict() {
        let mut report = Report::default();
        report.expect("work", "some work");
        let metric = |value| Metric { figure: "MB/s", better: Better::Higher, value, goal: Some(2.5) };
        for (kind, values) in [(Kind::Kafka, [100.0, 900.0, 110.0]), (Kind::Kastle, [330.0, 1.0, 440.0])] {
            values.iter().for_each(|&value| report.add("work", kind, &[metric(value)]));
        }
        let row = &report.rows[0];
        assert_eq!((row.median(Kind::Kafka), row.ratio(Kind::Kafka)), (Some(110.0), Some(3.0)));
        assert_eq!(row.goal(), "≥ 2.5× yes");
        let shown = report.table();
        assert!(shown.contains("3.00×"), "{shown}");
    }
}
