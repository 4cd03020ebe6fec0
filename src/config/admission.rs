//! `[admission]`: when a request is let in, and what refusing may cost.

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report};

/// When a request is let in, and what refusing may cost.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// A request is let in only if everything that waits would be durable within this, 100 ms to 60 s. Default 1 s: the
    /// longest that a device should hold a request open for a sync. More fills the memory with what only waits longer.
    pub target: Period,
    /// The share of a worker's time that refusals may take, above 0 and up to 1; beyond it the instance lets new
    /// connections wait for a moment, half a second at the most. Default 0.5: half of every core stays with what is let in. At 1 it
    /// never does.
    pub refusing_share: f64,
}

impl Default for Admission {
    fn default() -> Self {
        Self { target: Period::seconds(1), refusing_share: 0.5 }
    }
}

impl Admission {
    pub(super) fn check(&self, report: &mut Report) {
        report.within("admission.target", &self.target, &(Period::millis(100)..=Period::seconds(60)));
        report.share("admission.refusing_share", self.refusing_share);
    }
}
