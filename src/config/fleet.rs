//! `[fleet]`: the instances that serve the same devices.

use serde::{Deserialize, Serialize};

use super::report::Report;

/// The instances that serve the same devices behind the same address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fleet {
    /// How many instances share the quotas of keys, 1 to 10,000: each lets in its part of a quota. Default 1. Where
    /// the number varies, it is the most that there may be: with fewer, less is let in than the quota, never more.
    pub instances: u32,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { instances: 1 }
    }
}

impl Fleet {
    pub(super) fn check(&self, report: &mut Report) {
        report.within("fleet.instances", &self.instances, &(1..=10_000));
    }
}
