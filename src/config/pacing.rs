//! `[pacing]`: when refused clients come back.

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report, size::Size};

/// When refused clients are told to come back.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pacing {
    /// The longest Retry-After, 2 s to a day. Default 300 s: what does not fit below it is spread over its last half,
    /// so it must be long enough for a fleet, and short enough for a person to wait for.
    pub retry_after_cap: Period,
    /// Bytes a second that the durable path is believed to take until it is measured, and never less, up to 1 TiB.
    /// Default 10 MiB, which the slowest of today's cloud volumes syncs.
    pub capacity_floor: Size,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { retry_after_cap: Period::seconds(300), capacity_floor: Size::mib(10) }
    }
}

impl Pacing {
    pub(super) fn check(&self, report: &mut Report) {
        report.within("pacing.retry_after_cap", &self.retry_after_cap, &(Period::seconds(2)..=Period::hours(24)));
        report.within("pacing.capacity_floor", &self.capacity_floor, &(Size::bytes(1)..=Size::gib(1024)));
    }
}
