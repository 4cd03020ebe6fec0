//! What happens to the n-th attempt.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Which lines of a parcel fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    First,
    Middle,
    Last,
    /// All but one in the middle.
    AllButOne,
    /// Every other one.
    EveryOther,
}

/// What an attempt meets with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused, without effect.
    Refused,
    /// It is refused, for there is too much; perhaps with the time after which to come again.
    Throttled(Option<Duration>),
    /// Some of its lines are refused.
    Part(Part),
    /// Some of its lines are refused for ever.
    Never(Part),
    /// It has no effect, and its connection is lost.
    Lost,
    /// It has effect, and its answer is lost.
    AnswerLost,
    /// It has no effect and never ends.
    Hangs,
    /// It has effect and never ends.
    HangsAfter,
    /// The sink panics.
    Panics,
}

impl Fault {
    /// Every fault there is.
    pub(crate) fn all() -> Vec<Self> {
        let parts = [Part::First, Part::Middle, Part::Last, Part::AllButOne, Part::EveryOther];
        let time = Duration::from_millis(20);
        let mut all = vec![Self::Refused, Self::Throttled(None), Self::Throttled(Some(time)), Self::Lost];
        all.extend([Self::AnswerLost, Self::Hangs, Self::HangsAfter, Self::Panics]);
        all.extend(parts.map(Self::Part));
        all.extend(parts.map(Self::Never));
        all
    }

    /// Whether an attempt that meets with it may have had effect without an answer that says so.
    pub(crate) fn is_ambiguous(self) -> bool {
        matches!(self, Self::Lost | Self::AnswerLost | Self::Hangs | Self::HangsAfter | Self::Panics)
    }
}

impl Part {
    /// Whether line `line` of `lines` fails.
    pub(crate) fn has(self, line: usize, lines: usize) -> bool {
        match self {
            Self::First => line == 0,
            Self::Middle => line == lines / 2,
            Self::Last => line + 1 == lines,
            Self::AllButOne => line != lines / 2,
            Self::EveryOther => line % 2 == 1,
        }
    }
}

/// What happens to the attempts, in the order in which they are made: nothing to those behind its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script(Arc<Mutex<VecDeque<Option<Fault>>>>);

impl Script {
    pub(crate) fn new(attempts: impl IntoIterator<Item = Option<Fault>>) -> Self {
        Self(Arc::new(Mutex::new(attempts.into_iter().collect())))
    }

    /// What the next attempt meets with.
    pub(crate) fn next(&self) -> Option<Fault> {
        self.0.lock().unwrap().pop_front().flatten()
    }

    /// How many attempts are to come.
    pub(crate) fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}
