//! What happens in a rehearsal, as it is recorded: pure, bounded, and turned into a [`Report`] at the end.
//!
//! Whoever plays a fleet tells it, in the order of time, of each try that is due, sent or not sent, and of each answer.
//!
//! Limits: [`MAX_SECONDS`] rows, of which later ones are added to the last; [`MAX_NAMES`] names of causes and failures,
//! of which further ones are called `other`; latencies up to [`LONGEST`].

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use super::{
    device::{Behaviour, Delivery, Next},
    report::{
        FORMAT, FirstReturns, Generator, Latency, Percentiles, Report, Sample, Second, Setup, Told, Totals, recovery,
    },
};
use crate::client::contract::Answer;

/// Rows of seconds: two hours.
pub const MAX_SECONDS: usize = 7_200;
/// Names of causes and failures.
pub const MAX_NAMES: usize = 32;
/// The longest latency that is told apart from longer ones.
pub const LONGEST: Duration = Duration::from_mins(10);
/// What names beyond [`MAX_NAMES`] are called.
const OTHER: &str = "other";
/// The longest time to come back that is told apart: a week.
const LONGEST_TOLD: Duration = Duration::from_hours(7 * 24);

/// What is recorded.
#[derive(Debug)]
pub struct History {
    totals: Totals,
    seconds: Vec<Second>,
    accepted: Durations,
    refused: Durations,
    /// Of the accepted tries of the last second.
    current: Durations,
    current_second: usize,
    lag: Durations,
    told: Durations,
    told_seconds: BTreeMap<u64, u64>,
    untold: u64,
    first_returns: [FirstReturns; Behaviour::ALL.len()],
    names: Vec<String>,
    /// Until when what was due was sent.
    closed: Option<Duration>,
}

/// Durations, counted in microseconds.
#[derive(Debug)]
struct Durations(Option<Histogram<u64>>);

impl Durations {
    /// Up to `longest`, told apart by `digits` significant digits.
    fn new(longest: Duration, digits: u8) -> Self {
        // A longest of two microseconds or more and up to five digits are what the constructor asks for.
        Self(Histogram::new_with_max(longest.as_micros().max(2) as u64, digits.min(5)).ok())
    }

    fn record(&mut self, duration: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
    }

    fn quantile(&self, share: f64) -> Option<f64> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        // The bucket's upper end may lie above every value in it.
        Some(histogram.value_at_quantile(share).min(histogram.max()) as f64 / 1e6)
    }

    fn percentiles(&self) -> Percentiles {
        let quantile = |share| self.quantile(share).unwrap_or_default();
        Percentiles {
            count: self.0.as_ref().map_or(0, Histogram::len),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: quantile(1.0),
        }
    }

    fn clear(&mut self) {
        self.0.iter_mut().for_each(Histogram::reset);
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self {
            totals: Totals::default(),
            seconds: Vec::new(),
            accepted: Durations::new(LONGEST, 3),
            refused: Durations::new(LONGEST, 3),
            current: Durations::new(LONGEST, 2),
            current_second: 0,
            lag: Durations::new(LONGEST, 3),
            told: Durations::new(LONGEST_TOLD, 3),
            told_seconds: BTreeMap::new(),
            untold: 0,
            first_returns: Default::default(),
            names: Vec::new(),
            closed: None,
        }
    }

    /// A try is due.
    pub fn due(&mut self, delivery: &Delivery) {
        let second = self.second(delivery.due);
        if delivery.is_return() {
            second.returns += 1;
            self.totals.returns += 1;
        } else {
            second.new += 1;
            self.totals.new += 1;
        }
    }

    /// A try that was due is sent at `at`.
    pub fn sent(&mut self, delivery: &Delivery, at: Duration) {
        self.second(at).sent += 1;
        self.totals.sent += 1;
        self.lag.record(at.saturating_sub(delivery.due));
    }

    /// A try that was due could not be sent, at `at`, for want of something that the generator lacks; its batch is gone.
    pub fn unsent(&mut self, at: Duration) {
        self.second(at).unsent += 1;
        self.totals.unsent += 1;
    }

    /// A try that was sent was answered at `at`, with a body of `bytes`: `what` is the cause of a refusal, or what a
    /// failure was. `answer` is as the device sees it, and `next` what comes of it.
    pub fn answered(
        &mut self,
        delivery: &Delivery,
        at: Duration,
        answer: &Answer,
        what: &str,
        bytes: u64,
        next: &Next,
    ) {
        let latency = at.saturating_sub(delivery.due);
        match next {
            Next::Done => self.took(at, latency, bytes),
            Next::Dropped => {
                self.second(at).dropped += 1;
                self.totals.dropped += 1;
            }
            Next::Again(_) | Next::GivenUp if answer.status == Some(429) => self.refused(at, latency, answer, what),
            Next::Again(_) | Next::GivenUp => {
                let name = self.known(what);
                count(&mut self.totals.failed, name);
                self.second(at).failed += 1;
            }
        }
        match next {
            Next::GivenUp => self.totals.given_up += 1,
            Next::Again(_) | Next::Done | Next::Dropped => {}
        }
        if delivery.try_number == 2 && delivery.refused_first {
            let returns = &mut self.first_returns[delivery.behaviour as usize];
            returns.returned += 1;
            returns.let_in += u64::from(*next == Next::Done);
        }
    }

    /// A batch still waits at the end.
    pub fn still_waiting(&mut self, batches: u64) {
        self.totals.waiting += batches;
    }

    /// From `at` on nothing is sent any more, whoever is due: what is seen later is no sign that the target recovered.
    pub fn close(&mut self, at: Duration) {
        self.closed = Some(at);
    }

    /// Nothing more happens until `until`.
    pub fn pass(&mut self, until: Duration) {
        self.second(until);
    }

    /// The sums so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The seconds so far; the last one is not over.
    pub fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// How late tries were sent so far.
    pub fn lag(&self) -> Percentiles {
        self.lag.percentiles()
    }

    /// The report.
    pub fn report(mut self, setup: Setup, generator: Generator, samples: Vec<Sample>, notes: Vec<String>) -> Report {
        self.finish_current();
        let whole = self.closed.map_or(self.seconds.len(), |at| place(at).min(self.seconds.len()));
        let first_returns =
            Behaviour::ALL.map(|behaviour| (behaviour.name().to_owned(), self.first_returns[behaviour as usize]));
        Report {
            format: FORMAT,
            recovery: recovery(&self.seconds[..whole], setup.flood_end),
            latency: Latency { accepted: self.accepted.percentiles(), refused: self.refused.percentiles() },
            told: Told { spread: self.told.percentiles(), seconds: self.told_seconds, untold: self.untold },
            first_returns: first_returns.into_iter().filter(|(_, returns)| returns.returned > 0).collect(),
            generator: Generator { lag: self.lag.percentiles(), ..generator },
            totals: self.totals,
            seconds: self.seconds,
            setup,
            samples,
            notes,
        }
    }

    fn took(&mut self, at: Duration, latency: Duration, bytes: u64) {
        let second = self.second(at);
        second.accepted += 1;
        second.accepted_bytes += bytes;
        self.totals.accepted += 1;
        self.totals.accepted_bytes += bytes;
        self.accepted.record(latency);
        let place = place(at);
        if place > self.current_second {
            self.finish_current();
            self.current_second = place;
        }
        self.current.record(latency);
    }

    fn refused(&mut self, at: Duration, latency: Duration, answer: &Answer, cause: &str) {
        self.refused.record(latency);
        let name = self.known(cause);
        count(&mut self.totals.refused, name);
        count(&mut self.second(at).refused, name);
        match answer.wait() {
            Some(wait) => {
                self.told.record(wait);
                // The header's form: whole seconds, rounded up.
                *self.told_seconds.entry(wait.as_millis().div_ceil(1_000) as u64).or_default() += 1;
            }
            None => self.untold += 1,
        }
    }

    /// Writes the latencies of the second that is over into its row.
    fn finish_current(&mut self) {
        let (p50, p99) = (self.current.quantile(0.5), self.current.quantile(0.99));
        if let Some(second) = self.seconds.get_mut(self.current_second) {
            (second.p50, second.p99) = (p50, p99);
        }
        self.current.clear();
    }

    fn second(&mut self, at: Duration) -> &mut Second {
        let place = place(at);
        if place >= self.seconds.len() {
            self.seconds.resize_with(place + 1, Second::default);
        }
        &mut self.seconds[place]
    }

    /// `name`, or what it is called when there are too many.
    fn known<'n>(&mut self, name: &'n str) -> &'n str {
        if !self.names.iter().any(|known| known == name) {
            if self.names.len() >= MAX_NAMES {
                return OTHER;
            }
            self.names.push(name.to_owned());
        }
        name
    }
}

/// One more of `name`.
fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

/// The row of `at`.
fn place(at: Duration) -> usize {
    (at.as_secs() as usize).min(MAX_SECONDS - 1)
}

#[cfg(test)]
mod tests;
