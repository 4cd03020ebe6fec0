//! A fleet against a real instance: sends what is due when it is due, and hears what comes of it.
//!
//! One thread does everything. A *lane* is a task with a connection of its own, opened when there is nobody else to send
//! what is due and kept while the target keeps it; a lane that is free takes the oldest try of the line. The lane that
//! was used last is used next, so that no more connections are open than the load needs.
//!
//! Limits: as many lanes as [`Plan::connections`], answers of at most 256 KiB within [`ANSWER_PATIENCE`],
//! [`MAX_REQUESTS`] requests, and at the end [`LAST_ANSWERS`] for what is still in flight. Those of what is due are the
//! [schedule's](super::schedule).
//!
//! Invariant: each try that was sent has one outcome, at the latest when the last lane has ended.

mod lane;

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    time::{sleep, sleep_until, timeout},
};

use super::{
    body::Bodies,
    line::Line,
    plan::{MAX_REQUESTS, Plan},
    profile::Arrivals,
    progress::Progress,
    report::{Generator, Kind, Report, Sample, Setup},
    request::Template,
    sampler::{SAMPLE_EVERY, Sampler},
    schedule::Schedule,
};

/// How long a device waits for its answer, connecting included.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// How long answers in flight are waited for at the end.
pub const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// How long what was due at the end may take to leave: a generator that is not late needs a tick of its timer.
const LAST_TRIES: Duration = Duration::from_millis(50);
/// How often is looked whether it has left.
const LAST_TICK: Duration = Duration::from_millis(1);
/// How often an instance is asked for a capacity that it does not know yet.
const CAPACITY_ATTEMPTS: u32 = 6;
/// How long the target may take to be reached at the start.
const REACH_PATIENCE: Duration = Duration::from_secs(10);

/// A rehearsal cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Nobody answers at the target's address.
    #[error("the target {target} cannot be reached at {address}")]
    Unreachable {
        /// The target.
        target: String,
        /// Its address.
        address: std::net::SocketAddr,
    },
    /// The peak is to be computed, and there is nothing to compute it from.
    #[error("{metrics} does not tell the target's capacity: give --peak, or the right --metrics")]
    UnknownCapacity {
        /// Where the metrics should be.
        metrics: String,
    },
    /// It was stopped while the target was still asked for its health.
    #[error("stopped before anything was sent")]
    Stopped,
    /// The operating system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the lanes share.
struct Fleet {
    schedule: RefCell<Schedule>,
    /// Wakes a lane that waits for something to send.
    due: Notify,
    /// Wakes the fleet when something is due sooner than it thought.
    sooner: Notify,
    /// Wakes whoever waits for the last lane.
    ended: Notify,
    /// Breaks off what is in flight.
    cut: Notify,
    /// Until when the fleet sleeps.
    sleeps_until: Cell<Duration>,
    closing: Cell<bool>,
    lanes: Cell<usize>,
    idle: Cell<usize>,
    most_lanes: Cell<usize>,
    start: Instant,
    template: Template,
}

/// Plays `plan` until it is over or `stop` is, and tells `progress` twice a second.
///
/// Must run where tasks may be spawned that stay on their thread.
///
/// # Errors
/// [`FleetError`], before anything but the target's health was asked for.
pub async fn play(
    plan: &Plan,
    stop: impl Future<Output = ()>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Report, FleetError> {
    let target = &plan.target;
    let unreachable = || FleetError::Unreachable { target: target.to_string(), address: target.address };
    let mut stop = pin!(stop);
    let mut sampler = Sampler::of(&plan.metrics);
    let look = async {
        let reached = timeout(REACH_PATIENCE, Line::to(target.address).open()).await;
        reached.map_err(|_| unreachable())?.map_err(|_| unreachable())?;
        Ok::<_, FleetError>(first_sample(&mut sampler, plan.peak.is_none()).await)
    };
    let before = tokio::select! {
        before = look => before?,
        () = &mut stop => return Err(FleetError::Stopped),
    };
    let mut notes = Vec::new();
    if before.is_none() {
        notes.push(format!("{} told no metrics: the report has what devices saw only.", plan.metrics));
    }
    let capacity = before.as_ref().and_then(known_capacity);
    let peak = match (plan.peak, capacity) {
        (Some(peak), _) => peak,
        (None, Some(capacity)) => computed_peak(plan, capacity, &mut notes),
        (None, None) => return Err(FleetError::UnknownCapacity { metrics: plan.metrics.to_string() }),
    };
    let flood = plan.flood(peak);
    let bodies = Bodies::new(plan.events, plan.gzip, plan.seed)?;
    let body_bytes = bodies.mean_bytes();
    let arrivals = Arrivals::new(flood, plan.seed);
    let schedule = Schedule::new(arrivals, plan.mix, plan.devices, plan.constant_retry_after, plan.seed);
    let fleet = Rc::new(Fleet {
        schedule: RefCell::new(schedule),
        due: Notify::new(),
        sooner: Notify::new(),
        ended: Notify::new(),
        cut: Notify::new(),
        sleeps_until: Cell::default(),
        closing: Cell::default(),
        lanes: Cell::default(),
        idle: Cell::default(),
        most_lanes: Cell::default(),
        start: Instant::now(),
        template: Template::new(plan, bodies),
    });
    let seen = Rc::new(RefCell::new(Vec::from_iter(before)));
    let sampling = tokio::task::spawn_local(Rc::clone(&fleet).watch(sampler, Rc::clone(&seen)));
    let why = Rc::clone(&fleet).drive(plan, stop, &seen, progress).await;
    fleet.close().await;
    sampling.abort();
    notes.extend(why.note().map(Into::into));
    let lasted = fleet.now();
    let setup = Setup {
        kind: Kind::Real,
        target: target.to_string(),
        profile: plan.profile.name().to_owned(),
        peak,
        duration: plan.duration.as_secs_f64(),
        lasted: lasted.as_secs_f64(),
        stopped: why != Why::Over,
        flood_end: flood.end().map(|end| end.as_secs_f64()),
        instances: 1,
        devices: plan.devices,
        mix: plan.mix,
        events: plan.events as u32,
        body_bytes,
        gzip: plan.gzip,
        seed: plan.seed,
        constant_retry_after: plan.constant_retry_after.map(|told| told.as_secs_f64()),
    };
    let (connections, most_connections) = (plan.connections as u32, fleet.most_lanes.get() as u32);
    // Every lane has ended, and the sampler is told to: nothing but this is left of them.
    let schedule = fleet.schedule.replace(Schedule::new(Arrivals::new(flood, 0), plan.mix, 1, None, 0));
    let (history, most_waiting) = schedule.finish(lasted);
    let generator =
        Generator { connections, most_connections, most_waiting: most_waiting as u64, ..Generator::default() };
    Ok(history.report(setup, generator, seen.take(), notes))
}

/// What the target says at the start. An instance that has just started does not know its capacity yet, so if that
/// matters, it is asked again for a while.
async fn first_sample(sampler: &mut Sampler, capacity_matters: bool) -> Option<Sample> {
    let mut sample = sampler.sample(Duration::ZERO).await;
    for _ in 1..CAPACITY_ATTEMPTS {
        if !capacity_matters || sample.as_ref().is_none_or(|sample| known_capacity(sample).is_some()) {
            break;
        }
        sleep(SAMPLE_EVERY).await;
        sample = sampler.sample(Duration::ZERO).await;
    }
    sample
}

/// Bytes a second; 0 is what an instance says that does not know.
fn known_capacity(sample: &Sample) -> Option<f64> {
    sample.capacity.filter(|capacity| *capacity > 0.0)
}

fn computed_peak(plan: &Plan, capacity: f64, notes: &mut Vec<String>) -> f64 {
    let (peak, lowered) = plan.computed_peak(capacity);
    let times = plan.profile.peak_in_capacities();
    if lowered {
        notes.push(format!(
            "The peak should be {times} times what the target says it can make durable ({capacity:.0} bytes/s), which is \
             more than this generator sends: it is {peak:.0} batches/s instead. What a target can serve may be less than \
             what it can make durable: give --peak to say otherwise."
        ));
    } else {
        notes.push(format!("The peak is {times} times what the target says it can take: {capacity:.0} bytes/s."));
    }
    peak
}

/// Why a rehearsal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Over,
    Stopped,
    Requests,
}

impl Why {
    fn note(self) -> Option<&'static str> {
        match self {
            Self::Over => None,
            Self::Stopped => Some("It was stopped before its time."),
            Self::Requests => Some("It ended early: it had sent as many requests as a rehearsal may."),
        }
    }
}

impl Fleet {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Releases what is due until the plan is over or `stop` is, and not one try less: what was due until then and cannot
    /// leave is the generator's shortfall, and is counted as such.
    async fn drive(
        self: Rc<Self>,
        plan: &Plan,
        stop: impl Future<Output = ()>,
        seen: &RefCell<Vec<Sample>>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Why {
        let why = Rc::clone(&self).release_all(plan, stop, seen, progress).await;
        let end = self.now().min(plan.duration);
        self.release(plan, end);
        while self.schedule.borrow().line() > 0 && self.now() < end + LAST_TRIES {
            sleep(LAST_TICK).await;
        }
        why
    }

    async fn release_all(
        self: Rc<Self>,
        plan: &Plan,
        stop: impl Future<Output = ()>,
        seen: &RefCell<Vec<Sample>>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Why {
        let mut stop = pin!(stop);
        let mut told = Duration::ZERO;
        loop {
            let now = self.now();
            if now >= plan.duration {
                return Why::Over;
            }
            if now >= told + SAMPLE_EVERY {
                told = now;
                let schedule = self.schedule.borrow();
                progress(&Progress::of(&schedule, now, plan.duration, self.lanes.get(), seen.borrow().last()));
                if schedule.history().totals().sent >= MAX_REQUESTS {
                    return Why::Requests;
                }
            }
            self.release(plan, now);
            let next = self.schedule.borrow_mut().next_due().unwrap_or(plan.duration);
            let until = next.min(plan.duration).min(told + SAMPLE_EVERY);
            self.sleeps_until.set(until);
            tokio::select! {
                () = sleep_until((self.start + until).into()) => {}
                () = self.sooner.notified() => {}
                () = &mut stop => return Why::Stopped,
            }
        }
    }

    /// Puts into the line what is due, and sees to it that there are lanes for it.
    fn release(self: &Rc<Self>, plan: &Plan, now: Duration) {
        let line = self.schedule.borrow_mut().release(now);
        // An idle lane that was woken and has not run yet is still idle, and its try still in the line.
        for _ in 0..line.min(self.idle.get()) {
            self.due.notify_last();
        }
        let missing = line.saturating_sub(self.idle.get()).min(plan.connections - self.lanes.get());
        for _ in 0..missing {
            self.lanes.set(self.lanes.get() + 1);
            self.most_lanes.set(self.most_lanes.get().max(self.lanes.get()));
            tokio::task::spawn_local(Rc::clone(self).lane());
        }
    }

    /// Samples the target's metrics until the task is aborted.
    async fn watch(self: Rc<Self>, mut sampler: Sampler, seen: Rc<RefCell<Vec<Sample>>>) {
        loop {
            let next = self.now() + SAMPLE_EVERY;
            if let Some(sample) = sampler.sample(self.now()).await {
                seen.borrow_mut().push(sample);
            }
            sleep_until((self.start + next).into()).await;
        }
    }

    /// Sends nothing more, waits for what is in flight, and breaks off what does not come.
    async fn close(&self) {
        self.closing.set(true);
        self.due.notify_waiters();
        let all_ended = async {
            while self.lanes.get() > 0 {
                self.ended.notified().await;
            }
        };
        let mut all_ended = pin!(all_ended);
        if timeout(LAST_ANSWERS, &mut all_ended).await.is_err() {
            self.cut.notify_waiters();
            all_ended.await;
        }
    }
}

#[cfg(test)]
mod tests;
