//! The metrics, as they are scraped.

use std::collections::BTreeMap;

/// The metrics at one moment: `name{label="value"}` and the value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Samples(BTreeMap<String, f64>);

impl Samples {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
        Self(pairs.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect())
    }

    /// The value of a series that counts; 0 if nothing has been counted in it.
    pub(crate) fn get(&self, series: &str) -> u64 {
        self.0.get(series).map_or(0, |value| whole(*value))
    }

    /// How many requests had this outcome.
    pub(crate) fn outcome(&self, outcome: &str) -> u64 {
        self.get(&format!("logweir_requests_total{{outcome=\"{outcome}\"}}"))
    }

    /// Whether there is a series of the metric `name`, or one that is called so with its labels.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.of(name).next().is_some()
    }

    /// The sum of all series of the metric `name`.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        self.of(name).map(|(_, value)| whole(value)).sum()
    }

    /// By how much the series of the metric `name` have grown since `before`, those that have: labels and growth.
    pub(crate) fn growth(&self, before: &Self, name: &str) -> Vec<(String, u64)> {
        let growth = |labels: &str, value| whole(value) - before.get(&format!("{name}{labels}"));
        let grown = self.of(name).map(|(labels, value)| (labels.to_owned(), growth(labels, value)));
        grown.filter(|(_, growth)| *growth > 0).collect()
    }

    /// The series of the metric `name`: labels and value.
    fn of(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().filter_map(move |(series, value)| {
            let labels = series.strip_prefix(name).filter(|labels| labels.is_empty() || labels.starts_with('{'))?;
            Some((labels, *value))
        })
    }
}

fn whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract().abs() < f64::EPSILON, "{value} is no count");
    value as u64
}
