//! What became of a parcel.

use std::{borrow::Cow, error::Error, ops::Range, time::Duration};

use crate::sink::Failure;

/// What became of a parcel: which of its lines were not taken, or perhaps not. Those that are not named were taken.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The lines that were not, or perhaps not, taken: ascending, none twice.
    pub left: Vec<Left>,
    /// How long the service asks to be left alone, if it does.
    pub after: Option<Duration>,
    /// What the service said, for the log.
    pub error: Option<Box<dyn Error + Send + Sync>>,
}

/// Lines that were not, or perhaps not, taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Which lines of the parcel.
    pub lines: Range<usize>,
    /// What is to become of them.
    pub fate: Fate,
}

/// What is to become of lines that were not, or perhaps not, taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// They were not taken, and are to be sent again.
    Later(Failure),
    /// Perhaps they were taken. They are sent again, and may then be there twice.
    Unknown(Failure),
    /// They will never be taken, for this reason.
    Never(Cow<'static, str>),
}

impl Outcome {
    /// All lines were taken.
    pub fn delivered() -> Self {
        Self::default()
    }

    /// None of `lines` lines was taken; they are to be sent again.
    pub fn later(lines: usize, cause: Failure, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::all(lines, Fate::Later(cause), error)
    }

    /// Perhaps `lines` lines were taken, perhaps not.
    pub fn unknown(lines: usize, cause: Failure, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::all(lines, Fate::Unknown(cause), error)
    }

    fn all(lines: usize, fate: Fate, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { left: vec![Left { lines: 0..lines, fate }], after: None, error: Some(error.into()) }
    }
}
