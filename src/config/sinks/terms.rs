//! On which terms the spool keeps data for a sink.

use serde::{Deserialize, Serialize};

use super::Sink;
use crate::{
    config::{Spool, period::Period, size::Size},
    spool::{MaxLag, Need, Start, Terms},
};

/// Where a sink begins that the spool does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkStart {
    /// At the oldest segment that is kept.
    #[default]
    Oldest,
    /// Behind everything that there is.
    Now,
}

/// The part of the disk quota that a best-effort sink may lag if nothing else is said.
const LAG_PART: u64 = 4;
/// How old what it does not have may be if nothing else is said.
const LAG_AGE: Period = Period::hours(24);

impl Sink {
    /// The terms on which `spool` keeps data for it.
    pub fn terms(&self, spool: &Spool) -> Terms {
        let start = match self.start {
            SinkStart::Oldest => Start::Oldest,
            SinkStart::Now => Start::Now,
        };
        let need = if self.required {
            Need::Required
        } else {
            let (bytes, age) = self.max_lag(spool);
            Need::BestEffort(MaxLag { bytes: bytes.get(), age: age.get() })
        };
        Terms { need, start }
    }

    /// How far it may lag if it is not required, in bytes and in age.
    pub fn max_lag(&self, spool: &Spool) -> (Size, Period) {
        let bytes = self.max_lag_bytes.unwrap_or(Size::bytes(spool.disk_quota.get() / LAG_PART));
        (bytes, self.max_lag_age.unwrap_or(LAG_AGE))
    }
}
