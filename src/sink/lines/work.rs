//! What a driver has on its way: which parcels are ready, which wait to be sent again, which calls run.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Fate, Left, LineSettings, LineSink, Outcome, Parcel,
    counts::Counts,
    delivery::{CallOutcome, Delivery, Never, Sorted},
    pace::Pace,
    stretches::Stretches,
    undelivered::Undelivered,
};
use crate::{
    batch::{Clock, Millis},
    sink::{
        Backoff, Failure, StoreError,
        outage::{Failed, Outage, What},
    },
    spool::{Mark, Stretch},
};

/// The longest that a service is left alone because it asked for it: what it says further is asked again then.
pub(super) const MAX_AFTER: Duration = Duration::from_mins(5);
/// How long to wait when there is nothing to wait for: until something else happens.
const IDLE: Duration = Duration::from_hours(1);

/// What a driver has on its way.
pub(super) struct Work {
    pub(super) settings: LineSettings,
    sink: Arc<dyn LineSink>,
    undelivered: Option<Arc<Undelivered>>,
    counts: Counts,
    pace: Pace,
    outage: Outage,
    /// How far the back-off had come of what the spool skipped, until something is delivered: what follows goes on there.
    skipped: Option<Backoff>,
    clock: Clock,
    stretches: Stretches,
    /// Parcels that may be sent, by their place: the oldest first, since the cursor waits for it.
    ready: BTreeMap<(u64, usize), Delivery>,
    /// Parcels that wait to be sent again, by when and by their place.
    waiting: BTreeMap<(Instant, (u64, usize)), Delivery>,
    tasks: JoinSet<Option<Outcome>>,
    calls: HashMap<Id, Call>,
    /// The stretch of which lines are being set aside: one at a time.
    setting_aside: Option<(u64, usize)>,
    /// When setting aside may begin again, after it broke.
    aside_at: Instant,
    /// Where the last stretch ends that is done and of which the follower was not told.
    done: Option<Mark>,
    /// Whether the lines that have no place were told of in this outage of theirs.
    told_of_no_place: bool,
}

/// A call on its way.
struct Call {
    delivery: Delivery,
    started: Instant,
    /// Whether as many were on their way as might be, with this one.
    full: bool,
}

impl Work {
    pub(super) fn new(
        settings: LineSettings,
        sink: Arc<dyn LineSink>,
        undelivered: Option<Undelivered>,
        counts: Counts,
    ) -> Self {
        let now = Instant::now();
        let pace = Pace::new(settings.concurrency, now);
        let outage = Outage::new(&settings.sink);
        counts.concurrency.set(pace.calls() as f64);
        Self {
            settings,
            sink,
            undelivered: undelivered.map(Arc::new),
            counts,
            pace,
            outage,
            skipped: None,
            clock: Clock::default(),
            stretches: Stretches::default(),
            ready: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tasks: JoinSet::new(),
            calls: HashMap::new(),
            setting_aside: None,
            aside_at: now,
            done: None,
            told_of_no_place: false,
        }
    }

    /// Whether there is room for another stretch.
    pub(super) fn has_room(&self) -> bool {
        self.stretches.len() < self.settings.concurrency.max(1)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// Where the last stretch ends that is done and of which the follower was not told.
    pub(super) fn done(&self) -> Option<Mark> {
        self.done
    }

    /// The follower was told that everything before `mark` is done.
    pub(super) fn told(&mut self, mark: Mark) {
        self.done = self.done.filter(|done| *done > mark);
    }

    /// Takes up a stretch: what the sink wants of it becomes parcels.
    pub(super) fn take_up(&mut self, stretch: Stretch) {
        let limits = self.sink.limits();
        let mut parcels: Vec<(Parcel, Millis)> = Vec::new();
        for mut piece in stretch.pieces {
            if self.settings.filter.wants(&piece.stream, piece.book) {
                // It grew by doubling: what was not needed is not kept for as long as it is on its way.
                piece.text.shrink_to_fit();
                let parcel = Parcel::new(piece.stream, piece.book, piece.text);
                parcels.extend(parcel.split(limits).into_iter().map(|parcel| (parcel, piece.received)));
            }
        }
        parcels.retain(|(parcel, _)| parcel.lines() > 0);
        let number = self.stretches.begin(stretch.end, parcels.len());
        for (at, (parcel, received)) in parcels.into_iter().enumerate() {
            let place = (number, at);
            let (parcel, backoff) = (Arc::new(parcel), self.skipped.unwrap_or(self.settings.backoff));
            self.ready.insert(place, Delivery { place, parcel, received, backoff, attempts: 0, perhaps: 0 });
        }
        self.take_done();
    }

    /// Nothing of what is on its way is wanted any more: calls are broken off. What follows is sent no sooner than this
    /// would have been sent again, or a sink that is skipped often would be called as often.
    pub(super) fn abandon(&mut self) {
        let now = Instant::now();
        let mut wait_until = now;
        for ((at, _), delivery) in &self.waiting {
            wait_until = wait_until.max(*at);
            self.skipped = Some(delivery.backoff.further(self.skipped.unwrap_or(delivery.backoff)));
        }
        // A call that is broken off is an attempt that failed.
        for call in self.calls.values_mut() {
            let backoff = &mut call.delivery.backoff;
            wait_until = wait_until.max(now + backoff.next_wait(fastrand::f64()));
            self.skipped = Some(backoff.further(self.skipped.unwrap_or(*backoff)));
        }
        self.pace.hold(wait_until);
        let parcels = self.ready.len() + self.waiting.len() + self.calls.len();
        if !self.stretches.is_empty() {
            tracing::debug!(sink = self.settings.sink, parcels, "what was on its way is abandoned");
        }
        // Dropping the set breaks its tasks off.
        self.tasks = JoinSet::new();
        self.calls.clear();
        self.ready.clear();
        self.waiting.clear();
        self.setting_aside = None;
        self.stretches.abandon();
        self.done = None;
    }

    /// Starts calls and takes what becomes of them, until the instant that `turn` tells, if it tells one. Loses nothing if
    /// it is dropped.
    pub(super) async fn go_on(&mut self, turn: impl Fn(&Self, Instant) -> Option<Instant>) {
        loop {
            let now = Instant::now();
            let next = self.start(now);
            let turn = turn(self, now);
            if turn.is_some_and(|turn| turn <= now) {
                return;
            }
            let wake = next.into_iter().chain(turn).min().unwrap_or(now + IDLE);
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Starts what may be started: when there may be more, if time is what it takes.
    fn start(&mut self, now: Instant) -> Option<Instant> {
        while let Some(waiting) = self.waiting.first_entry().filter(|waiting| waiting.key().0 <= now) {
            let delivery = waiting.remove();
            self.ready.insert(delivery.place, delivery);
        }
        let mut next = self.waiting.first_key_value().map(|((at, _), _)| *at);
        let mut sooner = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        while !self.ready.is_empty() && self.calls.len() < self.pace.calls() {
            let at = self.pace.next_call(now);
            if at > now {
                sooner(at);
                break;
            }
            let Some((_, delivery)) = self.ready.pop_first() else { break };
            self.call(delivery, now);
        }
        if self.setting_aside.is_none()
            && let Some(undelivered) = &self.undelivered
            && let Some((number, end, never)) = self.stretches.to_set_aside()
        {
            if self.aside_at > now {
                sooner(self.aside_at);
            } else {
                let undelivered = Arc::clone(undelivered);
                self.setting_aside = Some((number, never.iter().map(|never| never.parcel.lines()).sum()));
                self.tasks.spawn(async move {
                    undelivered.store(&never, end).await;
                    None
                });
            }
        }
        next
    }

    fn call(&mut self, mut delivery: Delivery, now: Instant) {
        // Only now they are sent again, which is what makes two of them.
        self.counts.repeated.increment(std::mem::take(&mut delivery.perhaps) as u64);
        delivery.attempts += 1;
        self.pace.started(delivery.parcel.bytes(), now);
        let (sink, parcel, most) =
            (Arc::clone(&self.sink), Arc::clone(&delivery.parcel), self.settings.attempt_timeout);
        let task = self.tasks.spawn(async move {
            let delivered = timeout(most, sink.deliver(&parcel)).await;
            Some(delivered.unwrap_or_else(|late| Outcome::unknown(parcel.lines(), Failure::Timeout, late)))
        });
        let full = self.calls.len() + 1 >= self.pace.calls();
        self.calls.insert(task.id(), Call { delivery, started: now, full });
    }

    /// A task has ended.
    fn ended(&mut self, ended: Result<(Id, Option<Outcome>), JoinError>) {
        let now = Instant::now();
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome.ok_or(None)),
            Err(broken) => (broken.id(), Err(Some(broken))),
        };
        let Some(call) = self.calls.remove(&id) else { return self.set_aside(outcome.err().flatten(), now) };
        // A sink that panicked may have delivered before.
        let outcome = outcome.unwrap_or_else(|broken| Outcome {
            left: vec![Left { lines: 0..call.delivery.parcel.lines(), fate: Fate::Unknown(Failure::Other) }],
            after: None,
            error: broken.map(Into::into),
        });
        self.take(call, outcome, now);
        self.take_done();
    }

    /// Lines were set aside, or the task broke that was to do it.
    fn set_aside(&mut self, broken: Option<JoinError>, now: Instant) {
        let Some((number, lines)) = self.setting_aside.take() else { return };
        if let Some(error) = broken {
            tracing::error!(sink = self.settings.sink, %error, "lines could not be set aside; trying again");
            let mut backoff = self.settings.backoff;
            self.aside_at = now + backoff.next_wait(fastrand::f64());
            return;
        }
        self.counts.undelivered.increment(lines as u64);
        self.stretches.is_set_aside(number);
        self.take_done();
    }

    /// Takes what became of a call.
    fn take(&mut self, call: Call, outcome: Outcome, now: Instant) {
        let Call { mut delivery, started, full } = call;
        self.counts.seconds.record((now - started).as_secs_f64());
        let after = outcome.after.map(|after| after.min(MAX_AFTER));
        let mut sorted = Sorted::of(outcome.left, &delivery.parcel);
        let how = sorted.outcome();
        self.counts.call(how);
        self.count_delivered(sorted.delivered, delivery.received);
        let bytes = sorted.delivered.1;
        if bytes > 0 {
            self.skipped = None;
        }
        if sorted.throttled {
            self.pace.throttled(bytes, started, now);
        } else if bytes > 0 {
            self.pace.delivered(bytes, full, now);
        }
        self.counts.concurrency.set(self.pace.calls() as f64);
        if let Some(after) = after {
            self.pace.hold(now + after);
        }
        self.part_never(&mut sorted, &delivery);
        if sorted.again.is_empty() {
            self.stretches.delivered(delivery.place.0);
            if how == CallOutcome::Delivered && !self.sends_again() && self.outage.succeeded(now) {
                self.told_of_no_place = false;
            }
            return;
        }
        // What is taken in part goes forward.
        if sorted.delivered.0 > 0 {
            delivery.backoff.reset();
        }
        let wait = after.unwrap_or_default() + delivery.backoff.next_wait(fastrand::f64());
        self.counts.retry(sorted.cause);
        let source = outcome.error.unwrap_or_else(|| "no reason was given".into());
        let error = StoreError { cause: sorted.cause.unwrap_or(Failure::Other), source };
        let (what, attempt) = (What::Lines(&delivery.parcel.stream), delivery.attempts);
        self.outage.failed(&Failed { what, error: &error, wait, attempt }, now);
        if sorted.again.iter().map(ExactSizeIterator::len).sum::<usize>() < delivery.parcel.lines() {
            delivery.parcel = Arc::new(delivery.parcel.only(&sorted.again));
        }
        delivery.perhaps = sorted.perhaps;
        self.waiting.insert((now + wait, delivery.place), delivery);
    }

    /// Whether something is to be sent again, or is being sent again.
    fn sends_again(&self) -> bool {
        !self.waiting.is_empty()
            || self.ready.values().any(|delivery| delivery.attempts > 0)
            || self.calls.values().any(|call| call.delivery.attempts > 1)
    }

    fn count_delivered(&self, (lines, bytes): (usize, usize), received: Millis) {
        if lines > 0 {
            self.counts.delivered.increment(lines as u64);
            self.counts.bytes.increment(bytes as u64);
            let millis = self.clock.now().get().saturating_sub(received.get()).max(0);
            self.counts.delay.record(millis as f64 / 1_000.0);
        }
    }

    /// Parts with the lines that will never be taken; without a place for them they are held.
    fn part_never(&mut self, sorted: &mut Sorted, delivery: &Delivery) {
        let Some((_, why)) = sorted.never.first() else { return };
        if self.undelivered.is_none() {
            if !std::mem::replace(&mut self.told_of_no_place, true) {
                let (sink, stream) = (&self.settings.sink, &delivery.parcel.stream);
                tracing::error!(sink, %stream, %why, "lines will never be taken, and there is no place for them; holding them");
            }
            sorted.hold_never();
            return;
        }
        for (lines, why) in std::mem::take(&mut sorted.never) {
            tracing::debug!(sink = self.settings.sink, lines = lines.len(), %why, "lines will never be taken");
            let parcel = delivery.parcel.only(&[lines]);
            self.stretches.set_aside(delivery.place.0, Never { parcel, why, received: delivery.received });
        }
    }

    fn take_done(&mut self) {
        self.done = self.stretches.take_done().or(self.done);
    }
}
