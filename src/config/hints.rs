//! `[hints]`: what is asked of the devices.

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report};

/// What is asked of the devices, in headers that an SDK may follow: in each answer to a request to store a batch, and
/// when a connection is refused. Nothing is refused because of them.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hints {
    /// The shortest time between two sends of a device, 1 s to a day: `Logweir-Send-Interval`, in whole seconds,
    /// rounded up. Default none: the SDK's own.
    pub send_interval: Option<Period>,
    /// The share of its events that a device should keep, 0 to 1: `Logweir-Sampling`. Default none: the SDK's own. At
    /// 0 it has nothing to send, and so hears of another share only if its SDK asks for it.
    pub sampling: Option<f64>,
}

impl Hints {
    /// Whether any is given.
    pub fn are_given(&self) -> bool {
        self.send_interval.is_some() || self.sampling.is_some()
    }

    pub(super) fn check(&self, report: &mut Report) {
        if let Some(interval) = &self.send_interval {
            report.within("hints.send_interval", interval, &(Period::seconds(1)..=Period::hours(24)));
        }
        if let Some(sampling) = &self.sampling {
            report.within("hints.sampling", sampling, &(0.0..=1.0));
        }
    }
}
