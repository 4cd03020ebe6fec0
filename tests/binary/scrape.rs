//! The metrics, as the admin port shows them at one moment.

use std::net::SocketAddr;

use crate::client::get;

/// What `/metrics` answered.
pub(crate) struct Scrape(String);

impl Scrape {
    /// Asks the admin port at `admin`.
    pub(crate) fn of(admin: SocketAddr) -> Self {
        Self(get(admin, "/metrics").text())
    }

    /// The value of one series, such as `logweir_objects_total{sink="files",outcome="stored"}`.
    pub(crate) fn value(&self, series: &str) -> f64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {}", self.0)).parse().unwrap()
    }

    /// The sum of every series of the metric `name` whose labels hold `label`; 0 if there is none yet.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let values = self.0.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
            labels.contains(label).then(|| value.parse::<f64>().unwrap())
        });
        values.sum()
    }
}
