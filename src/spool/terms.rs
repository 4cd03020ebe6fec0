//! On which terms the spool keeps data for a sink.

use std::time::Duration;

/// How much is kept for a sink, and where it begins if it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What becomes of data that it does not take.
    pub need: Need,
    /// Where it begins if it has no cursor yet.
    pub start: Start,
}

/// What becomes of data that a sink does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It is kept for as long as it takes: first it fills the disk quota, then devices are refused.
    Required,
    /// It is kept within the lag; beyond it the sink goes on at the newest, and what lies between is counted.
    BestEffort(MaxLag),
}

/// How far a best-effort sink may lag. What is exceeded first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxLag {
    /// Bytes of segments that it has not passed.
    pub bytes: u64,
    /// Age of the oldest event that it does not have, by received time.
    pub age: Duration,
}

/// Where a sink begins that has no cursor yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest segment that is kept.
    #[default]
    Oldest,
    /// Behind everything that there is.
    Now,
}

impl MaxLag {
    /// None is too far.
    pub const UNLIMITED: Self = Self { bytes: u64::MAX, age: Duration::MAX };
}

impl Terms {
    /// Those of a required sink.
    pub const REQUIRED: Self = Self { need: Need::Required, start: Start::Oldest };
    /// Those of a sink that is not required, and whose data is kept all the same.
    pub const KEPT: Self = Self { need: Need::BestEffort(MaxLag::UNLIMITED), start: Start::Oldest };

    /// Whether data counts as stored only once the sink has it.
    pub fn is_required(self) -> bool {
        self.need == Need::Required
    }
}
