//! `[ledger]`: the books.

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report};

/// The books that are kept beside the objects. The pages of what segments became are always written; this is about the
/// heartbeats, by which the books tell up to when they are complete.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// Whether heartbeats are written. Default true; without them `logweir audit` cannot tell what is still on its way
    /// from what is lost.
    pub heartbeats: bool,
    /// How often, 1 s to an hour. Default 60 s: a PUT a minute for each sink, some $0.22 a month. An instance counts as
    /// silent after three of them.
    pub interval: Period,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { heartbeats: true, interval: Period::seconds(60) }
    }
}

impl Ledger {
    pub(super) fn check(&self, report: &mut Report) {
        report.within("ledger.interval", &self.interval, &(Period::seconds(1)..=Period::hours(1)));
    }
}
