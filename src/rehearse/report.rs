//! What a rehearsal found: data only, written as JSON and read again to compare.
//!
//! Times are seconds, sizes bytes. Every *try* is one request: the first of a batch is *new*, a later one a *return*.
//! The books of a report balance:
//!
//! - tries: `new + returns = sent + unsent`, and `sent = accepted + refused + dropped + failed`;
//! - batches: `new = accepted + dropped + given_up + unsent + waiting`.

pub mod html;
pub mod svg;
pub mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::device::Mix;

/// The version of the form that reports are written in.
pub const FORMAT: u32 = 1;

/// What a rehearsal found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// What was rehearsed.
    pub setup: Setup,
    /// Sums over the whole rehearsal.
    pub totals: Totals,
    /// From when a try was due to its answer.
    pub latency: Latency,
    /// When refused devices were told to come back.
    pub told: Told,
    /// How first returns went, by what the device is: `behave`, `careless`, `stubborn`.
    pub first_returns: BTreeMap<String, FirstReturns>,
    /// From the end of the flood to the first of five [quiet](recovery) seconds, in seconds; `None` if there was no flood,
    /// or if that was not seen before the end.
    pub recovery: Option<f64>,
    /// How the generator itself did.
    pub generator: Generator,
    /// What happened in each second, from the start on, without gaps.
    pub seconds: Vec<Second>,
    /// What the target's metrics said, in the order of time; empty if nobody asked.
    pub samples: Vec<Sample>,
    /// What a reader must know to judge the figures, in sentences.
    pub notes: Vec<String>,
}

/// Who played the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Requests over sockets, to a real instance.
    #[default]
    Real,
    /// The admission code in virtual time.
    Virtual,
}

/// What was rehearsed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Setup {
    /// Who played the fleet.
    pub kind: Kind,
    /// Where to; of a virtual fleet, what stood for the target.
    pub target: String,
    /// The profile's name.
    pub profile: String,
    /// The highest rate of new batches, a second.
    pub peak: f64,
    /// How long new batches come, in seconds.
    pub duration: f64,
    /// How long it really took until the last answer, in seconds.
    pub lasted: f64,
    /// Whether it was stopped before its time.
    pub stopped: bool,
    /// When the flood ends, in seconds since the start; `None` if the profile has none.
    pub flood_end: Option<f64>,
    /// Instances that took the load.
    pub instances: u32,
    /// Devices that the batches come from.
    pub devices: u64,
    /// How the devices behave.
    pub mix: Mix,
    /// Events a batch.
    pub events: u32,
    /// The mean length of a body as it is sent, in bytes.
    pub body_bytes: f64,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// What chance was drawn from.
    pub seed: u64,
    /// What devices took for the answer's Retry-After, in seconds, whatever it said.
    pub constant_retry_after: Option<f64>,
}

/// Sums over the whole rehearsal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// First tries that were due.
    pub new: u64,
    /// Later tries that were due.
    pub returns: u64,
    /// Tries that were sent.
    pub sent: u64,
    /// Tries that were not sent, for want of a connection or of room in the generator: its own shortfall.
    pub unsent: u64,
    /// Tries answered with success (200, 202, 422), each another batch.
    pub accepted: u64,
    /// Bytes of the bodies of accepted tries, as sent.
    pub accepted_bytes: u64,
    /// Tries refused with 429, by the cause that the answer names.
    pub refused: BTreeMap<String, u64>,
    /// Tries answered so that the device drops its batch (400, 404, 405, 413, 415, 431), each another batch.
    pub dropped: u64,
    /// Tries without an answer, or with one that is neither success nor a refusal, by what it was.
    pub failed: BTreeMap<String, u64>,
    /// Batches that their devices gave up.
    pub given_up: u64,
    /// Batches that were still waiting for another try at the end.
    pub waiting: u64,
}

impl Totals {
    /// Tries refused, whatever the cause.
    pub fn all_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Tries failed, whatever it was.
    pub fn all_failed(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// From when a try was due to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Of accepted tries.
    pub accepted: Percentiles,
    /// Of refused tries.
    pub refused: Percentiles,
}

/// How a quantity is distributed: in seconds, 0 if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many there are.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// Nine of ten are not above.
    pub p90: f64,
    /// 99 of 100 are not above.
    pub p99: f64,
    /// 999 of 1000 are not above.
    pub p999: f64,
    /// None is above.
    pub max: f64,
}

/// When refused devices were told to come back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Told {
    /// How the told times are distributed.
    pub spread: Percentiles,
    /// How often each whole number of seconds was told.
    pub seconds: BTreeMap<u64, u64>,
    /// Refusals that told no time.
    pub untold: u64,
}

/// How the first returns of batches went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FirstReturns {
    /// Batches refused at their first try that came back and were answered.
    pub returned: u64,
    /// Those of them that were let in.
    pub let_in: u64,
}

impl FirstReturns {
    /// The share that was let in; `None` if none came back.
    pub fn share(self) -> Option<f64> {
        (self.returned > 0).then(|| self.let_in as f64 / self.returned as f64)
    }
}

/// How the generator itself did. A virtual fleet is never late.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Generator {
    /// From when a try was due to when it was sent.
    pub lag: Percentiles,
    /// Connections that may be open together.
    pub connections: u32,
    /// The most that were open together.
    pub most_connections: u32,
    /// The most batches that waited together.
    pub most_waiting: u64,
}

/// What happened in one second. Tries count where they were due or sent, answers where they came.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Second {
    /// First tries that were due.
    pub new: u64,
    /// Later tries that were due.
    pub returns: u64,
    /// Tries that were sent.
    pub sent: u64,
    /// Tries that were not sent: the generator's shortfall.
    pub unsent: u64,
    /// Tries accepted.
    pub accepted: u64,
    /// Bytes of the bodies of accepted tries: the goodput.
    pub accepted_bytes: u64,
    /// Tries refused, by cause.
    pub refused: BTreeMap<String, u64>,
    /// Tries answered so that the batch is dropped.
    pub dropped: u64,
    /// Tries failed.
    pub failed: u64,
    /// The median latency of accepted tries, in seconds; `None` without one.
    pub p50: Option<f64>,
    /// The 99th percentile of it.
    pub p99: Option<f64>,
}

impl Second {
    /// Tries refused, whatever the cause.
    pub fn all_refused(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// What the target's metrics said at one moment; what they did not say is `None`. Of a virtual fleet, the sum over its
/// instances.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// When, in seconds since the start.
    pub at: f64,
    /// `logweir_queue_bytes`.
    pub backlog: Option<f64>,
    /// `logweir_resident_bytes`.
    pub resident: Option<f64>,
    /// `logweir_memory_ceiling_bytes`.
    pub ceiling: Option<f64>,
    /// `logweir_capacity_bytes_per_second`.
    pub capacity: Option<f64>,
    /// `logweir_demand_ratio`.
    pub demand: Option<f64>,
    /// `logweir_refusing_ratio`.
    pub refusing: Option<f64>,
    /// How many workers tell `logweir_worker_lag_seconds`.
    pub workers: Option<f64>,
    /// `logweir_requests_total{outcome="accepted"}`, since the first sample.
    pub accepted: Option<f64>,
    /// `logweir_refusals_total`, by cause, since the first sample.
    pub refusals: BTreeMap<String, f64>,
}

/// Quiet seconds that make a recovery.
pub const QUIET_SECONDS: usize = 5;

/// The report's [`recovery`](Report::recovery): from `flood_end` to the first of [`QUIET_SECONDS`] whole seconds that are
/// *quiet*. `seconds` are those in which whatever was due was sent.
///
/// A second is quiet in which nothing was refused, failed or was left unsent, and something was accepted if anything was
/// sent or still had no answer: a target that hangs refuses nothing either.
pub fn recovery(seconds: &[Second], flood_end: Option<f64>) -> Option<f64> {
    let flood_end = flood_end?;
    let first = flood_end.ceil().max(0.0) as usize;
    let mut unanswered = 0;
    let quiet = seconds.iter().map(|second| {
        let asked = unanswered + second.sent;
        let heard = second.accepted + second.all_refused() + second.dropped + second.failed;
        unanswered = asked.saturating_sub(heard);
        let trouble = second.all_refused() + second.failed + second.unsent;
        trouble == 0 && (asked == 0 || second.accepted > 0)
    });
    let mut in_a_row = 0;
    let last = quiet.enumerate().skip(first).position(|(_, quiet)| {
        in_a_row = if quiet { in_a_row + 1 } else { 0 };
        in_a_row == QUIET_SECONDS
    })?;
    Some((first + last + 1 - QUIET_SECONDS) as f64 - flood_end)
}

/// The second, from 0 on, of the last refusal or failure; `None` without one.
pub fn last_trouble(seconds: &[Second]) -> Option<usize> {
    seconds.iter().rposition(|second| second.all_refused() > 0 || second.failed > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(count: u64) -> Second {
        Second { refused: BTreeMap::from([("backlog".to_owned(), count)]), ..Second::default() }
    }

    #[test]
    fn recovery_is_where_five_quiet_seconds_begin() {
        let calm = Second::default;
        let mut seconds = vec![refused(1), refused(1), refused(1), refused(1), calm(), calm(), refused(1)];
        seconds.extend((0..5).map(|_| calm()));
        assert_eq!(recovery(&seconds, Some(2.0)), Some(5.0));
        assert_eq!(recovery(&seconds, Some(1.5)), Some(5.5));
        assert_eq!(recovery(&seconds, Some(7.0)), Some(0.0));
        assert_eq!(recovery(&seconds, Some(8.0)), None, "four quiet seconds are not five");
        assert_eq!(recovery(&seconds, Some(99.0)), None);
        assert_eq!(recovery(&seconds, None), None);
        assert_eq!((last_trouble(&seconds), last_trouble(&seconds[4..6])), (Some(6), None));
        seconds[11].failed = 1;
        assert_eq!(recovery(&seconds, Some(2.0)), None, "a failure is not quiet");
    }

    #[test]
    fn silence_is_no_recovery() {
        let sent = |sent, accepted| Second { sent, accepted, ..Second::default() };
        let calm = Second::default;
        let recovered = |seconds: &[Second]| recovery(seconds, Some(1.0));
        assert_eq!(recovered(&[vec![refused(1)], vec![sent(3, 3); 5]].concat()), Some(0.0));
        assert_eq!(recovered(&vec![sent(3, 0); 9]), None, "nothing is answered");
        let hangs = [vec![sent(3, 0)], vec![calm(); 8]].concat();
        assert_eq!(recovered(&hangs), None, "what was sent before is still not answered");
        let slow = [vec![sent(3, 0), sent(0, 2), sent(0, 1)], vec![calm(); 4]].concat();
        assert_eq!(recovered(&slow), Some(0.0));
        let shortfall = Second { unsent: 1, ..calm() };
        assert_eq!(recovered(&vec![shortfall; 9]), None, "the generator sent nothing");
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report {
            format: FORMAT,
            recovery: Some(2.5),
            first_returns: BTreeMap::from([("behave".to_owned(), FirstReturns { returned: 4, let_in: 3 })]),
            told: Told { seconds: BTreeMap::from([(7, 3)]), ..Told::default() },
            seconds: vec![refused(3)],
            samples: vec![Sample { at: 0.5, backlog: Some(7.0), ..Sample::default() }],
            ..Report::default()
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        assert_eq!(report.first_returns["behave"].share(), Some(0.75));
        assert_eq!(FirstReturns::default().share(), None);
    }
}
