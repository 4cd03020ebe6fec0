//! A bound, and what was measured of it.

use serde_json::{Value, json};

/// A bound, and what was measured of it.
pub(crate) struct Figure {
    /// What is bounded.
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// What may not be exceeded.
    pub(crate) limit: f64,
    /// What each round gave; none if it was left out.
    pub(crate) rounds: Vec<f64>,
    /// What of the rounds counts.
    pub(crate) of: Of,
    /// What else was seen, or why it was left out.
    pub(crate) more: Value,
}

/// What of several rounds counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Median,
    Most,
}

/// The one in the middle; of an even number the upper one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Figure {
    /// What counts; `None` if it was left out.
    fn measured(&self) -> Option<f64> {
        let most = self.rounds.iter().copied().reduce(f64::max)?;
        Some(if self.of == Of::Most { most } else { median(&self.rounds) })
    }

    fn met(&self) -> Option<bool> {
        self.measured().map(|measured| measured <= self.limit)
    }

    pub(crate) fn print_head() {
        println!("\n{:<62} {:>28} {:>10}  met", "figure", "measured (least … most)", "limit");
    }

    pub(crate) fn print(&self) {
        let Self { name, unit, limit, rounds, .. } = self;
        let limit = format!("{limit} {unit}");
        let (Some(measured), Some(met)) = (self.measured(), self.met()) else {
            println!("{name:<62} {:>28} {limit:>10}  -", "left out");
            return;
        };
        let least = rounds.iter().copied().fold(f64::MAX, f64::min);
        let most = rounds.iter().copied().fold(f64::MIN, f64::max);
        let measured = format!("{measured:.2} ({least:.2} … {most:.2})");
        println!("{name:<62} {measured:>28} {limit:>10}  {}", if met { "yes" } else { "NO" });
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "figure": self.name, "unit": self.unit, "limit": self.limit, "measured": self.measured(), "met": self.met(),
            "rounds": self.rounds, "more": self.more,
        })
    }
}
