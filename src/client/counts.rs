//! What became of everything that was logged.

use std::ops::AddAssign;

/// Batches, and the events in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Batches.
    pub batches: u64,
    /// Their events.
    pub events: u64,
}

impl Tally {
    /// One batch of `events`.
    pub const fn one(events: u32) -> Self {
        Self { batches: 1, events: events as u64 }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.batches += other.batches;
        self.events += other.events;
    }
}

/// What became of everything that was logged. Nothing disappears without being counted here:
///
/// `logged + found = sampled_out + unfit + delivered + dropped + what waits`, in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events given to [`log`](super::Client::log).
    pub logged: u64,
    /// Batches of an earlier run that were found in the directory.
    pub found: Tally,
    /// Events left out because the server asked for a sample.
    pub sampled_out: u64,
    /// Events that are no JSON object or too large.
    pub unfit: u64,
    /// Requests that were made.
    pub attempts: u64,
    /// Those of them that sent a batch again.
    pub retries: u64,
    /// Delivered: answered with 200, 202 or 422.
    pub delivered: Tally,
    /// Events of delivered batches that the server says it accepted.
    pub accepted: u64,
    /// Events of delivered batches that the server says it rejected; it has stored them apart.
    pub rejected: u64,
    /// Dropped since there was no place: the oldest go.
    pub dropped_full: Tally,
    /// Dropped since the server can never take them: 400, 404, 405, 413, 415, 431.
    pub dropped_refused: Tally,
    /// Dropped since they became too old to be sent.
    pub dropped_too_old: Tally,
    /// Dropped since their file is broken.
    pub dropped_broken: Tally,
    /// Batches that could not be written to the directory and stayed in memory.
    pub unwritten: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.logged += other.logged;
        self.found += other.found;
        self.sampled_out += other.sampled_out;
        self.unfit += other.unfit;
        self.attempts += other.attempts;
        self.retries += other.retries;
        self.delivered += other.delivered;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.dropped_full += other.dropped_full;
        self.dropped_refused += other.dropped_refused;
        self.dropped_too_old += other.dropped_too_old;
        self.dropped_broken += other.dropped_broken;
        self.unwritten += other.unwritten;
    }
}

impl Counts {
    /// All that was dropped, whatever for.
    pub fn dropped(&self) -> Tally {
        let mut all = self.dropped_full;
        all += self.dropped_refused;
        all += self.dropped_too_old;
        all += self.dropped_broken;
        all
    }
}
