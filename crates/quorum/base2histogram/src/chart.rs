//! Several histograms as text, one below the other.
//!
//! The Raft library prints one when its statistics are switched on; here they are not, so the
//! text is plain: a line per bucket in use.

use std::fmt;

use crate::Histogram;

/// Named histograms to be shown together.
#[derive(Clone, Debug)]
pub struct AsciiChart<T = ()> {
    series: Vec<(String, Histogram<T>)>,
}

impl<T> Default for AsciiChart<T> {
    fn default() -> Self {
        Self { series: Vec::new() }
    }
}

impl<T> AsciiChart<T> {
    /// Without histograms.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more histogram.
    #[must_use]
    pub fn add(mut self, name: &str, histogram: Histogram<T>) -> Self {
        self.series.push((name.to_owned(), histogram));
        self
    }

    /// Each bucket in use on a line of its own.
    pub fn detailed(&self) -> Detailed<'_, T> {
        Detailed(self)
    }
}

/// What [`AsciiChart::detailed`] shows.
#[derive(Clone, Copy, Debug)]
pub struct Detailed<'a, T>(&'a AsciiChart<T>);

impl<T> fmt::Display for Detailed<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.0.series {
            writeln!(out, "{name}: {} samples", histogram.total())?;
            for (from, count) in histogram.buckets() {
                writeln!(out, "{from:>20} {count}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_line_for_each_bucket_in_use() {
        let mut histogram = Histogram::<()>::new();
        histogram.record_n(3, 2);
        histogram.record(100);
        let text = AsciiChart::new().add("waited", histogram).detailed().to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines, ["waited: 3 samples", "3 2", "96 1"]);
    }
}
