//! A round from outside: what it tells while it runs, and how it is told to end.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::report::{Rows, counted};

/// Something that happened, for those who watch.
#[derive(Debug, Clone, Copy)]
pub enum Event<'e> {
    /// A transaction has loaded objects.
    Loaded {
        /// Of which stream.
        stream: &'e str,
        /// How many.
        objects: usize,
        /// What became of their lines.
        rows: Rows,
        /// How long the transaction took.
        took: Duration,
    },
    /// An object cannot be loaded.
    SetAside {
        /// Its key.
        object: &'e str,
        /// What is wrong with it.
        why: &'e str,
    },
    /// The warehouse could not be reached, and is tried again.
    Again {
        /// What it said.
        why: &'e str,
        /// How long the wait is.
        wait: Duration,
    },
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded { stream, objects, rows: Rows { lines, loaded, duplicates, conflicts, .. }, took } => write!(
                f,
                "{stream}: {}, {} ({loaded} loaded, {duplicates} duplicates, {conflicts} conflicts) in {:.1} s",
                counted(*objects as u64, "object"),
                counted(*lines, "line"),
                took.as_secs_f64()
            ),
            Self::SetAside { object, why } => write!(f, "set aside {object}: {why}"),
            Self::Again { why, wait } => write!(f, "{why}; trying again in {:.1} s", wait.as_secs_f64()),
        }
    }
}

/// Tells a round to end after the transaction that runs.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Tells it.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was told.
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What watches a round.
pub type Watcher<'w> = &'w mut (dyn FnMut(Event<'_>) + Send);
