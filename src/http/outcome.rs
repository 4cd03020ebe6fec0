//! What came of requests, for the books: every request to store a batch has exactly one outcome.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

use ::metrics::{Counter, Histogram};

use super::{Key, Policies, Problem, worker::Route};
use crate::{
    admission::{Cause, Reservation},
    batch::{Mending, Mendings, Reason, Rejections},
    metrics::{self, Metrics},
    queue::{Lost, Witness},
    validate::Validated,
};

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 200.
    Accepted,
    /// 202: taken, and not stored in time.
    Pending,
    /// 422: every event was rejected, and stored as such.
    AllRejected,
    /// The client went away before its body was complete.
    Gone,
    /// Anything else, by the problem's name.
    Problem(&'static str),
}

/// A worker's counters: handles that are looked up once.
#[derive(Debug)]
pub(super) struct Counts {
    metrics: Arc<Metrics>,
    accepted: Counter,
    pending: Counter,
    all_rejected: Counter,
    gone: Counter,
    abandoned: Counter,
    problems: HashMap<&'static str, Counter>,
    refusals: [Counter; Cause::ALL.len()],
    pub(super) body_bytes: Counter,
    pub(super) offered_bytes: Counter,
    pub(super) seconds: Histogram,
    /// How far clocks are ahead and behind.
    skews: [Histogram; 2],
}

/// More than this no clock is said to be wrong, in milliseconds: 30 days, as far as an event's time is believed.
const MAX_SKEW: u64 = 30 * 24 * 3_600_000;

impl Counts {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        let outcome = |name: &str| metrics.counter(&metrics::REQUESTS, &[&name.replace('-', "_")]);
        let mut problems: HashMap<_, _> =
            Problem::examples().iter().map(|problem| (problem.name(), outcome(problem.name()))).collect();
        problems.insert("refused", outcome("refused"));
        Self {
            accepted: outcome("accepted"),
            pending: outcome("pending"),
            all_rejected: outcome("all-rejected"),
            gone: outcome("gone"),
            abandoned: outcome("abandoned"),
            problems,
            refusals: Cause::ALL.map(|cause| metrics.counter(&metrics::REFUSALS, &[cause.as_str()])),
            body_bytes: metrics.counter(&metrics::REQUEST_BYTES, &[]),
            offered_bytes: metrics.counter(&metrics::OFFERED_BYTES, &[]),
            seconds: metrics.histogram(&metrics::REQUEST_SECONDS, &[]),
            skews: ["ahead", "behind"].map(|clock| metrics.histogram(&metrics::CLOCK_SKEW, &[clock])),
            metrics: Arc::clone(metrics),
        }
    }

    fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => self.accepted.increment(1),
            Outcome::Pending => self.pending.increment(1),
            Outcome::AllRejected => self.all_rejected.increment(1),
            Outcome::Gone => self.gone.increment(1),
            Outcome::Problem(name) => {
                if let Some(counter) = self.problems.get(name) {
                    counter.increment(1);
                }
            }
        }
    }

    /// A batch came whose sender's clock is this many milliseconds behind ours, or ahead if it is negative.
    pub(super) fn skew(&self, behind: i64) {
        let [ahead_of_us, behind_us] = &self.skews;
        let skew = behind.unsigned_abs().min(MAX_SKEW) as f64 / 1_000.0;
        if behind < 0 { ahead_of_us.record(skew) } else { behind_us.record(skew) }
    }

    /// A request came with `key`.
    pub(super) fn key(&self, key: &Key, policies: &Policies) {
        let counter = || self.metrics.counter(&metrics::KEY_REQUESTS, &[policies.series(&key.name)]);
        key.requests.get_or_init(counter).increment(1);
    }

    pub(super) fn refusal(&self, cause: Cause) {
        self.refusals[cause as usize].increment(1);
    }
}

/// A stream's counters, as one worker keeps them.
#[derive(Debug)]
pub(super) struct StreamCounts {
    received: Counter,
    refused: Counter,
}

impl StreamCounts {
    pub(super) fn new(metrics: &Metrics, stream: &str) -> Self {
        Self {
            received: metrics.counter(&metrics::EVENTS_RECEIVED, &[stream]),
            refused: metrics.counter(&metrics::EVENTS_REFUSED, &[stream]),
        }
    }
}

impl Counts {
    /// What happened to the events of a batch that was taken. Rare enough to look the counters up.
    fn verdicts(&self, stream: &str, rejections: &Rejections, mendings: &Mendings) {
        for reason in Reason::ALL {
            let count = u64::from(rejections.count(reason));
            if count > 0 {
                self.metrics.counter(&metrics::REJECTIONS, &[stream, reason.as_str()]).increment(count);
            }
        }
        if !mendings.is_empty() {
            for mending in Mending::ALL {
                let count = u64::from(mendings.count(mending));
                if count > 0 {
                    self.metrics.counter(&metrics::MENDED, &[stream, mending.as_str()]).increment(count);
                }
            }
        }
    }
}

/// A batch that was parsed: what is to be counted of it once it is known whether it is durable, however its client fares
/// and whatever it waits for. So received = accepted + rejected + refused holds for the events of every stream.
#[derive(Debug)]
pub(super) struct Books {
    counts: Rc<Counts>,
    route: Rc<Route>,
    pub(super) validated: Validated,
    /// What the list of rejections takes of the budget; the answer, if there is one, holds it on.
    pub(super) room: RefCell<Option<Reservation>>,
}

impl Books {
    /// Opens the books of a batch, with its events as received.
    pub(super) fn new(
        counts: &Rc<Counts>,
        route: &Rc<Route>,
        validated: Validated,
        room: Option<Reservation>,
    ) -> Rc<Self> {
        let (counts, route) = (Rc::clone(counts), Rc::clone(route));
        let books = Self { counts, route, validated, room: RefCell::new(room) };
        books.route.counts.received.increment(books.events());
        Rc::new(books)
    }

    /// Its events were parsed, and are not taken.
    pub(super) fn refused(&self) {
        self.route.counts.refused.increment(self.events());
    }

    fn events(&self) -> u64 {
        u64::from(self.validated.accepted) + u64::from(self.validated.rejected.total())
    }
}

impl Witness for Books {
    fn settled(&self, outcome: Result<(), Lost>) {
        match outcome {
            // The writer counts the events themselves.
            Ok(()) => {
                let Validated { rejected, mendings, .. } = &self.validated;
                self.counts.verdicts(self.route.stream.name.as_str(), rejected, mendings);
            }
            Err(_) => self.refused(),
        }
    }
}

/// A request that is being served. It is counted exactly once: with what was told, or as abandoned if it is dropped
/// before, because the connection broke.
pub(super) struct Tally<'a> {
    counts: &'a Counts,
    told: Cell<bool>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(counts: &'a Counts) -> Self {
        Self { counts, told: Cell::new(false) }
    }

    pub(super) fn tell(&self, outcome: Outcome) {
        if !self.told.replace(true) {
            self.counts.count(outcome);
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        if !self.told.get() {
            self.counts.abandoned.increment(1);
        }
    }
}
