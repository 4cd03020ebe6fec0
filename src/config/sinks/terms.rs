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
/// The part of the disk quota that it may lag at most: the rest is the required sinks'.
const MOST_LAG_PART: u64 = 2;
/// How many segments it may lag at least: while one is stored, the next is sealed, and with its footer it may be somewhat
/// longer than `spool.segment_size`.
const LEAST_LAG_SEGMENTS: u64 = 2;
/// How old what it does not have may be if nothing else is said.
const LAG_AGE: Period = Period::hours(24);
/// How many times `spool.seal_after` that is at least for an object sink: the first event of a segment is as old as that
/// once, with the jitter, when it is sealed, and storing it takes a while.
const LAG_SEALS: u32 = 2;

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

    /// How far it may lag if it is not required, in bytes and in age. What is exceeded first counts.
    pub fn max_lag(&self, spool: &Spool) -> (Size, Period) {
        let part = Size::bytes(spool.quota().get() / LAG_PART);
        let bytes = self.max_lag_bytes.unwrap_or(part.max(least_lag_bytes(spool)));
        (bytes, self.max_lag_age.unwrap_or(LAG_AGE.max(self.least_lag_age(spool))))
    }

    /// The least that [`Self::max_lag`] may be in age: with less it would skip everything.
    pub(super) fn least_lag_age(&self, spool: &Spool) -> Period {
        let second = Period::seconds(1);
        if self.kind.has_objects() { second.max(spool.seals_after().times(LAG_SEALS)) } else { second }
    }
}

/// The least that [`Sink::max_lag`] may be in bytes.
pub(super) fn least_lag_bytes(spool: &Spool) -> Size {
    Size::bytes(spool.segment_size.get().saturating_mul(LEAST_LAG_SEGMENTS))
}

/// The most that [`Sink::max_lag`] may be in bytes.
pub(super) fn most_lag_bytes(spool: &Spool) -> Size {
    Size::bytes(spool.quota().get() / MOST_LAG_PART)
}
