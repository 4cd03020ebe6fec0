//! A rehearsal in virtual time, without a network: millions of devices, a thousand instances, on one core.
//!
//! What is rehearsed is the real thing: each virtual instance asks the [`Gate`](crate::admission::Gate) that a real one
//! asks, with the same signals, and devices do what [`Delivery::answered`] says. What stands for the rest of an instance
//! is told in the file of [`Machine`]: lines in front of the workers and the spool, with the times that were measured.
//! Not modelled are the network (but for a constant time), TLS, the pauses of an acceptor that refuses too much, and
//! slow or broken sinks: what is sealed is gone.
//!
//! The same [`Fleet`] gives the same [`Report`], whatever machine it is played on.
//!
//! Limits: [`MAX_INSTANCES`], [`MAX_BATCHES`], [`LONGEST`] of virtual time, [`MAX_TRIES`]. Memory: 16 bytes for each batch
//! that waits, and what instances hold.

pub mod bill;
pub mod calibrate;
mod instance;
pub mod search;
pub mod text;
mod wheel;

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::instance::{Limits, Machine};
use self::{
    instance::{Batch, Effects, Instance, Wake},
    wheel::{Waiting, Wheel},
};
use super::{
    body::EVENT_BYTES,
    device::{Delivery, Mix, Next, as_if_told},
    history::{History, MAX_SECONDS},
    plan::STORED_EVENT_BYTES,
    profile::{Arrivals, Flood},
    report::{Generator, Kind, QUIET_SECONDS, Report, Sample, Setup},
};
use crate::client::contract::Answer;

/// The most instances.
pub const MAX_INSTANCES: u32 = 10_000;
/// The most new batches.
pub const MAX_BATCHES: f64 = 200e6;
/// The longest virtual time: what is told by the second.
pub const LONGEST: Duration = Duration::from_secs(MAX_SECONDS as u64);
/// The most tries, new ones and returns: devices that never give up may otherwise keep a small fleet busy for hours.
pub const MAX_TRIES: u64 = 1_000_000_000;
/// How often instances learn, as the pulse of a real one has it.
const BEAT: Duration = Duration::from_millis(100);
/// How many beats a sample of the report is apart.
const SAMPLE_BEATS: u64 = 10;
/// How long the load balancer sends to an instance that has died: an ALB's health check finds it within this.
const UNNOTICED: Duration = Duration::from_secs(10);

/// How a load balancer chooses the instance for a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balancer {
    /// By chance.
    #[default]
    Random,
    /// Of two drawn by chance, the one with fewer requests that have no answer: what many nodes of a balancer that each
    /// look for the fewest come to.
    LeastOutstanding,
}

/// So many instances die at this time, and do not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// How many.
    pub instances: u32,
    /// When, counted from the start.
    pub at: Duration,
}

/// What to rehearse.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// New batches over time.
    pub flood: Flood,
    /// How devices behave.
    pub mix: Mix,
    /// How many devices the batches come from, in turn.
    pub devices: u64,
    /// Events a batch.
    pub events: u32,
    /// The mean length of a body as it is sent, in bytes.
    pub body_bytes: f64,
    /// The mean length of a batch as it is stored, in bytes.
    pub stored_bytes: f64,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Whether devices read the header only, which tells whole seconds.
    pub header_only: bool,
    /// What devices take for every Retry-After of a refusal.
    pub constant_retry_after: Option<Duration>,
    /// From an instance's answer to when its device knows it.
    pub network: Duration,
    /// How many instances there are.
    pub instances: u32,
    /// What each can do.
    pub machine: Machine,
    /// How tries are spread.
    pub balancer: Balancer,
    /// When instances die.
    pub kills: Vec<Kill>,
    /// When it ends at the latest, whoever still waits.
    pub end: Duration,
    /// What chance is drawn from.
    pub seed: u64,
}

impl Fleet {
    /// `flood` against `instances` of the default, with batches of `events` events.
    pub fn new(flood: Flood, instances: u32, events: u32) -> Self {
        Self {
            mix: flood.profile.mix(),
            devices: flood.batches().ceil().max(1.0) as u64,
            events,
            body_bytes: f64::from(events) * (EVENT_BYTES + 1) as f64 + 1.0,
            stored_bytes: f64::from(events) * STORED_EVENT_BYTES,
            gzip: false,
            header_only: false,
            constant_retry_after: None,
            network: Duration::ZERO,
            instances,
            machine: Machine::default(),
            balancer: Balancer::default(),
            kills: Vec::new(),
            end: LONGEST,
            seed: 1,
            flood,
        }
    }

    /// What all instances together can take, in batches a second: what their disks or their workers do, whichever is
    /// less, where nothing is refused.
    pub fn capacity(&self) -> f64 {
        let price = self.machine.accept + self.machine.accept_event * self.events;
        let workers = self.machine.limits.workers.max(1) as f64 / price.as_secs_f64().max(1e-9);
        // In the long run, syncs are as long as the interval or fill it.
        let disk = self.machine.disk / self.stored_bytes;
        workers.min(disk) * f64::from(self.instances)
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self) -> Result<(), FleetError> {
        let batches = self.flood.batches();
        if !(1..=MAX_INSTANCES).contains(&self.instances) {
            return Err(FleetError::Instances(self.instances));
        }
        // What is no number is no number of batches either.
        if batches.is_nan() || batches > MAX_BATCHES {
            return Err(FleetError::Batches(batches));
        }
        if self.end > LONGEST || self.flood.duration > self.end {
            return Err(FleetError::Duration(self.end.max(self.flood.duration)));
        }
        if !self.mix.is_sound() {
            return Err(FleetError::Mix);
        }
        if self.events == 0 || self.devices == 0 || self.body_bytes < 1.0 || self.stored_bytes < 1.0 {
            return Err(FleetError::Empty);
        }
        if self.machine.disk.is_nan() || self.machine.disk <= 0.0 {
            return Err(FleetError::Disk(self.machine.disk));
        }
        let killed: u64 = self.kills.iter().map(|kill| u64::from(kill.instances)).sum();
        if killed >= u64::from(self.instances) {
            return Err(FleetError::Kills { killed, instances: self.instances });
        }
        Ok(())
    }
}

/// What is asked for is beyond a limit, or makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FleetError {
    /// The number of instances.
    #[error("{0} instances: there are 1 to {MAX_INSTANCES}")]
    Instances(u32),
    /// The number of new batches.
    #[error("{0:.0} new batches: there are at most {MAX_BATCHES:.0}")]
    Batches(f64),
    /// The time.
    #[error("{0:?} of virtual time: it is at most {LONGEST:?}, and no less than the flood lasts")]
    Duration(Duration),
    /// How devices behave.
    #[error("the parts of the devices that behave in one way or another are negative, endless or all 0")]
    Mix,
    /// There is nothing to send, or nobody.
    #[error("a fleet has devices, a batch events, and both bytes")]
    Empty,
    /// What a disk takes.
    #[error("a disk of {0} bytes a second takes nothing")]
    Disk(f64),
    /// Nobody would be left.
    #[error("{killed} of {instances} instances die: one at least stays")]
    Kills {
        /// How many die.
        killed: u64,
        /// How many there are.
        instances: u32,
    },
}

/// What a rehearsal in virtual time found: the report that any rehearsal makes, and what can be seen only where nothing
/// is hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// What devices saw.
    pub report: Report,
    /// What instances saw.
    pub figures: Figures,
}

/// What is seen of virtual instances. Times are seconds, sizes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// From the start to the last answer that took a batch, if nothing waits behind it.
    pub all_in: Option<f64>,
    /// Batches that were refused at their first try.
    pub first_refused: u64,
    /// The most that was let in and not durable on all instances together.
    pub peak_backlog: u64,
    /// The longest that one instance would have taken for its backlog.
    pub peak_backlog_seconds: f64,
    /// The most tries in a second.
    pub peak_tries: u64,
    /// Bytes of lines stored.
    pub stored: u64,
    /// Segments sealed, all instances together.
    pub segments: u64,
    /// Things that happened: tries, turns, syncs, and beats of instances.
    pub steps: u64,
}

impl Figures {
    /// The share of new batches that was refused at the first try.
    pub fn first_refused_share(&self, report: &Report) -> f64 {
        self.first_refused as f64 / report.totals.new.max(1) as f64
    }
}

/// Plays `fleet` to its end.
///
/// # Errors
/// [`FleetError`], before anything is played.
pub fn simulate(fleet: &Fleet) -> Result<Rehearsed, FleetError> {
    fleet.check()?;
    let mut play = Play::new(fleet);
    let stopped = play.run();
    Ok(play.finish(stopped))
}

/// What is agreed with an instance: when, which, and what.
type Agreed = Reverse<(u64, u32, Wake)>;

/// A fleet that is being played. Times are nanoseconds from the start.
struct Play<'f> {
    fleet: &'f Fleet,
    arrivals: std::iter::Peekable<Arrivals>,
    wheel: Wheel,
    agenda: BinaryHeap<Agreed>,
    instances: Vec<Instance>,
    /// Those that the load balancer sends to.
    targets: Vec<u32>,
    /// When it will notice that these have died.
    dying: Vec<(u64, u32)>,
    kills: Vec<Kill>,
    effects: Effects,
    random: fastrand::Rng,
    history: History,
    samples: Vec<Sample>,
    figures: Figures,
    batches: u64,
    beats: u64,
    last_taken: u64,
    last_answer: u64,
}

impl<'f> Play<'f> {
    fn new(fleet: &'f Fleet) -> Self {
        let batch = Batch {
            body: fleet.body_bytes.round() as usize,
            events: fleet.events,
            stored: fleet.stored_bytes.round() as usize,
        };
        let mut kills = fleet.kills.clone();
        kills.sort_by_key(|kill| Reverse(kill.at));
        Self {
            fleet,
            arrivals: Arrivals::new(fleet.flood, fleet.seed).peekable(),
            wheel: Wheel::new(fleet.end),
            agenda: BinaryHeap::new(),
            instances: (0..fleet.instances).map(|_| Instance::new(fleet.machine, batch)).collect(),
            targets: (0..fleet.instances).collect(),
            dying: Vec::new(),
            kills,
            effects: Effects::default(),
            random: fastrand::Rng::with_seed(!fleet.seed),
            history: History::new(),
            samples: Vec::new(),
            figures: Figures::default(),
            batches: 0,
            beats: 1,
            last_taken: 0,
            last_answer: 0,
        }
    }

    /// Plays until nothing happens any more; whether it was stopped before.
    fn run(&mut self) -> bool {
        let end = nanos(self.fleet.end);
        loop {
            let arrival = self.arrivals.peek().map(|at| nanos(*at));
            let agreed = self.agenda.peek().map(|Reverse((at, _, _))| *at);
            let beat = self.beats * nanos(BEAT);
            let until = [arrival, agreed].into_iter().flatten().fold(beat, u64::min);
            let back = self.wheel.next_due(until);
            if arrival.is_none() && agreed.is_none() && self.wheel.is_over() {
                return false;
            }
            let now = back.map_or(until, |back| back.min(until));
            if now > end {
                return true;
            }
            if beat <= now {
                self.beat(beat);
                continue;
            }
            self.figures.steps += 1;
            if agreed == Some(now) {
                if let Some(Reverse((_, number, wake))) = self.agenda.pop() {
                    let chance = self.random.f64();
                    self.instances[number as usize].wake(wake, now, chance, &mut self.effects);
                    self.settle(number);
                }
                continue;
            }
            let totals = self.history.totals();
            if totals.new + totals.returns >= MAX_TRIES {
                return true;
            }
            let (waiting, delivery) = if arrival == Some(now) {
                self.arrivals.next();
                self.new_batch(now)
            } else {
                let Some(waiting) = self.wheel.take() else { return false };
                (waiting, waiting.delivery(self.fleet.devices, &self.fleet.mix))
            };
            self.history.due(&delivery);
            self.history.sent(&delivery, delivery.due);
            let number = self.target();
            let chance = self.random.f64();
            self.instances[number as usize].arrive(waiting, delivery.device, now, chance, &mut self.effects);
            self.settle(number);
        }
    }

    fn new_batch(&mut self, now: u64) -> (Waiting, Delivery) {
        let batch = self.batches;
        self.batches += 1;
        let device = batch % self.fleet.devices;
        let delivery = Delivery::new(device, batch, self.fleet.mix.of(device), Duration::from_nanos(now));
        // Times within the limits of a fleet can be written in short.
        let waiting = Waiting::of(&delivery).unwrap_or_default();
        (waiting, waiting.delivery(self.fleet.devices, &self.fleet.mix))
    }

    /// The instance that the load balancer sends the next try to.
    fn target(&mut self) -> u32 {
        let mut draw = || self.targets[self.random.usize(..self.targets.len())];
        let one = draw();
        match self.fleet.balancer {
            Balancer::Random => one,
            Balancer::LeastOutstanding => {
                let other = draw();
                let open = |number: u32| self.instances[number as usize].open();
                if open(other) < open(one) { other } else { one }
            }
        }
    }

    /// Sees to it that what happened to an instance has its effects.
    fn settle(&mut self, number: u32) {
        for (at, wake) in self.effects.wakes.drain(..) {
            self.agenda.push(Reverse((at, number, wake)));
        }
        let mut told = std::mem::take(&mut self.effects.told);
        for told in told.drain(..) {
            let delivery = told.waiting.delivery(self.fleet.devices, &self.fleet.mix);
            let at = told.at + nanos(self.fleet.network);
            self.answered(&delivery, at, told.answer, told.what);
        }
        self.effects.told = told;
    }

    fn answered(&mut self, delivery: &Delivery, at: u64, answer: Answer, what: &str) {
        let retry_after_ms = answer.retry_after_ms.filter(|_| !self.fleet.header_only);
        let answer = Answer { retry_after_ms, ..answer };
        let answer = as_if_told(answer, self.fleet.constant_retry_after);
        let now = Duration::from_nanos(at);
        let next = delivery.answered(&answer, now, self.random.f64());
        self.history.answered(delivery, now, &answer, what, self.fleet.body_bytes.round() as u64, &next);
        self.last_answer = self.last_answer.max(at);
        if !delivery.is_return() && answer.status == Some(429) {
            self.figures.first_refused += 1;
        }
        match next {
            Next::Again(delivery) => match Waiting::of(&delivery) {
                Some(waiting) => self.wheel.put(waiting),
                None => self.wheel.put_late(),
            },
            Next::Done => self.last_taken = self.last_taken.max(at),
            Next::Dropped | Next::GivenUp => {}
        }
    }

    /// What happens at a beat, to all instances.
    fn beat(&mut self, now: u64) {
        while let Some(kill) = self.kills.pop_if(|kill| nanos(kill.at) <= now) {
            self.kill(kill.instances, now);
        }
        let noticed = |&mut (at, _): &mut (u64, u32)| at <= now;
        let gone: Vec<u32> = self.dying.extract_if(.., noticed).map(|(_, number)| number).collect();
        self.targets.retain(|number| !gone.contains(number));
        let mut backlog = 0;
        for instance in &mut self.instances {
            instance.beat(now);
            let bytes = instance.backlog();
            backlog += bytes as u64;
            let seconds = bytes as f64 / self.fleet.machine.disk;
            self.figures.peak_backlog_seconds = self.figures.peak_backlog_seconds.max(seconds);
        }
        self.figures.peak_backlog = self.figures.peak_backlog.max(backlog);
        self.figures.steps += self.instances.len() as u64;
        if self.beats.is_multiple_of(SAMPLE_BEATS) {
            self.sample(now, backlog);
        }
        self.beats += 1;
    }

    fn kill(&mut self, instances: u32, now: u64) {
        for _ in 0..instances {
            let alive: Vec<u32> = self
                .targets
                .iter()
                .copied()
                .filter(|number| !self.dying.iter().any(|(_, dying)| dying == number))
                .collect();
            let Some(number) = self.random.choice(alive) else { return };
            self.dying.push((now + nanos(UNNOTICED), number));
            self.instances[number as usize].die(now, &mut self.effects);
            self.settle(number);
        }
    }

    fn sample(&mut self, now: u64, backlog: u64) {
        let totals = self.history.totals();
        let capacity = self.instances.iter().map(|instance| instance.capacity().bytes_per_second()).sum();
        self.samples.push(Sample {
            at: now as f64 / 1e9,
            backlog: Some(backlog as f64),
            capacity: Some(capacity),
            accepted: Some(totals.accepted as f64),
            refusals: totals.refused.iter().map(|(cause, count)| (cause.clone(), *count as f64)).collect(),
            ..Sample::default()
        });
    }

    fn finish(mut self, stopped: bool) -> Rehearsed {
        let fleet = self.fleet;
        let (waiting, most_waiting) = self.wheel.waiting();
        let in_flight: usize = self.instances.iter().map(Instance::open).sum();
        let waiting = waiting + in_flight as u64;
        self.history.still_waiting(waiting);
        let lasted = Duration::from_nanos(self.last_answer);
        // Nothing happens for a while: that is quiet.
        self.history.pass(lasted + Duration::from_secs(QUIET_SECONDS as u64 + 1));
        self.figures.all_in = (waiting == 0).then_some(self.last_taken as f64 / 1e9);
        let segments = self.instances.iter().map(Instance::segments);
        (self.figures.segments, self.figures.stored) =
            segments.fold((0, 0), |(segments, bytes), (more, stored)| (segments + more, bytes + stored));
        let tries = self.history.seconds().iter().map(|second| second.new + second.returns);
        self.figures.peak_tries = tries.max().unwrap_or_default();
        let setup = Setup {
            kind: Kind::Virtual,
            target: format!("{} virtual instances of {:.0} bytes/s", fleet.instances, fleet.machine.disk),
            profile: fleet.flood.profile.name().to_owned(),
            peak: fleet.flood.peak,
            duration: fleet.flood.duration.as_secs_f64(),
            lasted: lasted.as_secs_f64(),
            stopped,
            flood_end: fleet.flood.end().map(|end| end.as_secs_f64()),
            instances: fleet.instances,
            devices: fleet.devices,
            mix: fleet.mix,
            events: fleet.events,
            body_bytes: fleet.body_bytes,
            gzip: fleet.gzip,
            seed: fleet.seed,
            constant_retry_after: fleet.constant_retry_after.map(|told| told.as_secs_f64()),
        };
        let generator = Generator { most_waiting, ..Generator::default() };
        let report = self.history.report(setup, generator, self.samples, Vec::new());
        Rehearsed { report, figures: self.figures }
    }
}

/// Five centuries fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
