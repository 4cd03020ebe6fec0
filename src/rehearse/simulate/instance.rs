//! A virtual instance: the real gate, and in front of and behind it lines that take as long as a real one's.
//!
//! - A *worker* serves requests in the order in which they come. A decision takes the worker's time, and reading and
//!   encoding what was let in takes more; so when there is more to do than there is time, requests wait, and the worker is
//!   late.
//! - The *spool* makes what waits durable group by group: a group takes the time of a sync and that of its bytes, and the
//!   next begins when it is done and the sync interval has passed.
//!
//! Limits: places for so many requests ([`Machine::max_connections`]), of which so many wait for the spool
//! ([`Machine::queue_batches`] for each worker, and as many in the group that is being synced).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::wheel::Waiting;
use crate::{
    admission::{
        Asked, Board, Capacity, Cause, Done, FairShare, Flow, Gate, GateLimits, Moment, Refused, Reservation, Signals,
        Work,
    },
    client::contract::Answer,
    schema::Priority,
};

/// What an instance can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// What its gate is told.
    pub limits: Limits,
    /// Bytes of stored lines that its disk takes a second, beyond the time of a sync.
    pub disk: f64,
    /// How long a sync takes that has nothing to write.
    pub sync: Duration,
    /// From the beginning of a sync to that of the next, at least.
    pub sync_interval: Duration,
    /// What one sync takes at most, in bytes, as far as it is more than one batch.
    pub group_bytes: u64,
    /// Worker's time for a batch that is let in, beyond that of its events.
    pub accept: Duration,
    /// Worker's time for each event that is let in.
    pub accept_event: Duration,
    /// Worker's time for a batch that is refused.
    pub refuse: Duration,
    /// Places for batches that wait for the spool, for each worker.
    pub queue_batches: usize,
    /// Places for requests. Who finds none is refused without a worker's time.
    pub max_connections: usize,
    /// Bytes of a segment, at which it is sealed.
    pub segment_size: u64,
    /// The age of a segment at which it is sealed.
    pub seal_after: Duration,
}

/// [`GateLimits`], as a comparison of two fleets needs them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes that all batches in memory may occupy.
    pub budget: usize,
    /// Within which time what was let in must be done.
    pub target: Duration,
    /// Bytes a second that can be taken, until that is measured and never less.
    pub capacity_floor: u64,
    /// The longest time that anybody is sent away for.
    pub retry_after_cap: Duration,
    /// How many workers there are.
    pub workers: usize,
}

impl Default for Machine {
    /// One worker, with the defaults of the configuration, on a volume of 125 MB a second. The prices of a worker's time
    /// are those that the end-to-end benchmark has measured.
    fn default() -> Self {
        Self {
            limits: Limits {
                budget: 64 << 20,
                target: Duration::from_secs(1),
                capacity_floor: 10 << 20,
                retry_after_cap: Duration::from_mins(5),
                workers: 1,
            },
            disk: 125e6,
            sync: Duration::from_millis(1),
            sync_interval: Duration::from_millis(2),
            group_bytes: 8 << 20,
            accept: Duration::from_micros(13),
            accept_event: Duration::from_nanos(2_500),
            refuse: Duration::from_micros(12),
            queue_batches: 4_096,
            max_connections: 8_192,
            segment_size: 64 << 20,
            seal_after: Duration::from_mins(5),
        }
    }
}

/// What every batch is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Batch {
    /// Its body as it is sent, in bytes.
    pub(super) body: usize,
    /// Its events.
    pub(super) events: u32,
    /// Its lines as they are stored, in bytes.
    pub(super) stored: usize,
}

/// What an instance waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// This worker has time for the next request.
    Turn(u32),
    /// The spool begins or ends a sync.
    Sync,
}

/// An answer on its way to a device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) waiting: Waiting,
    /// When the instance gives it, in nanoseconds.
    pub(super) at: u64,
    pub(super) answer: Answer,
    /// The cause of a refusal, or what a failure was.
    pub(super) what: &'static str,
}

/// What comes of something that happens to an instance.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) wakes: Vec<(u64, Wake)>,
    pub(super) told: Vec<Told>,
}

impl Effects {
    fn tell(&mut self, waiting: Waiting, at: u64, answer: Answer, what: &'static str) {
        self.told.push(Told { waiting, at, answer, what });
    }

    fn refuse(&mut self, waiting: Waiting, at: u64, refused: Refused) {
        let retry = refused.retry_after;
        let answer = Answer {
            retry_after: Some(Duration::from_secs(retry.seconds())),
            retry_after_ms: Some(retry.millis()),
            ..Answer::of(429)
        };
        self.tell(waiting, at, answer, refused.cause.as_str());
    }
}

/// A request, and when it came.
#[derive(Debug)]
struct Caller {
    waiting: Waiting,
    device: u64,
    came: u64,
}

#[derive(Debug)]
struct Worker {
    fair: FairShare,
    /// Until when it has something to do, in nanoseconds.
    free_at: u64,
    line: VecDeque<Caller>,
}

impl Worker {
    fn new(fair: FairShare) -> Self {
        Self { fair, free_at: 0, line: VecDeque::new() }
    }
}

/// A batch that was let in and is not durable yet.
#[derive(Debug)]
struct Queued {
    waiting: Waiting,
    /// Held until the batch is durable.
    _reservation: Reservation,
    /// When its worker is done with it, in nanoseconds.
    ready: u64,
}

/// A virtual instance.
#[derive(Debug)]
pub(super) struct Instance {
    machine: Machine,
    batch: Batch,
    gate: Gate,
    workers: Vec<Worker>,
    queue: VecDeque<Queued>,
    group: Vec<Queued>,
    /// When the last sync began.
    began: u64,
    /// Whether a sync runs, or its beginning is agreed.
    syncing: bool,
    /// Requests that have no answer yet.
    open: usize,
    alive: bool,
    /// Since the last beat.
    done: Done,
    segment: Segment,
    seals: u64,
    stored: u64,
}

/// What has not been sealed.
#[derive(Debug, Default)]
struct Segment {
    bytes: u64,
    since: u64,
}

impl Instance {
    pub(super) fn new(machine: Machine, batch: Batch) -> Self {
        let Limits { budget, target, capacity_floor, retry_after_cap, workers } = machine.limits;
        let workers = workers.max(1);
        let gate = Gate::new(GateLimits {
            budget,
            // Sinks keep up here: what is sealed is gone.
            disk_quota: u64::MAX / 2,
            target,
            capacity_floor,
            retry_after_cap,
        });
        let board = Board::new(workers);
        Self {
            machine,
            batch,
            gate,
            workers: (0..workers).map(|number| Worker::new(FairShare::new(Arc::clone(&board), number))).collect(),
            queue: VecDeque::new(),
            group: Vec::new(),
            began: 0,
            syncing: false,
            open: 0,
            alive: true,
            done: Done::default(),
            segment: Segment::default(),
            seals: 0,
            stored: 0,
        }
    }

    /// A request of `device` comes at `now`; `chance` lies between 0 and 1.
    pub(super) fn arrive(&mut self, waiting: Waiting, device: u64, now: u64, chance: f64, effects: &mut Effects) {
        if !self.alive {
            // The load balancer answers for it.
            return effects.tell(waiting, now, Answer::of(502), "status 502");
        }
        let body = self.batch.body as u64;
        if self.open >= self.machine.max_connections {
            self.gate.offer(body);
            let refused = self.gate.refuse(Cause::Connections, body, Moment::from_nanos(now), chance);
            return effects.refuse(waiting, now, refused);
        }
        self.open += 1;
        // Chance has many digits: those that choose the worker are not those that the gate looks at first.
        let number = (chance * 65_536.0).fract() * self.workers.len() as f64;
        let number = (number as usize).min(self.workers.len() - 1);
        let caller = Caller { waiting, device, came: now };
        let worker = &mut self.workers[number];
        if worker.line.is_empty() && worker.free_at <= now {
            self.decide(number, &caller, now, chance, effects);
        } else {
            if worker.line.is_empty() {
                effects.wakes.push((worker.free_at, Wake::Turn(number as u32)));
            }
            worker.line.push_back(caller);
        }
    }

    /// What was agreed for `now`.
    pub(super) fn wake(&mut self, wake: Wake, now: u64, chance: f64, effects: &mut Effects) {
        match wake {
            Wake::Turn(number) => self.turn(number as usize, now, chance, effects),
            Wake::Sync => self.sync(now, effects),
        }
    }

    fn turn(&mut self, number: usize, now: u64, chance: f64, effects: &mut Effects) {
        // It died meanwhile, if there is nobody.
        let Some(caller) = self.workers[number].line.pop_front() else { return };
        self.decide(number, &caller, now, chance, effects);
        let worker = &self.workers[number];
        if !worker.line.is_empty() {
            effects.wakes.push((worker.free_at, Wake::Turn(number as u32)));
        }
    }

    /// Lets the caller in or refuses it, as the hot route does.
    fn decide(&mut self, number: usize, caller: &Caller, now: u64, chance: f64, effects: &mut Effects) {
        let Batch { body, events, stored } = self.batch;
        let moment = Moment::from_nanos(now);
        let asked = Asked {
            bytes: body,
            priority: Priority::Normal,
            flow: Flow { release: 0, device: Some(caller.device) },
            quota: None,
        };
        let signals = Signals {
            spool_bytes: self.segment.bytes,
            disk_full: false,
            queue_full: self.queue.len() >= self.machine.queue_batches * self.workers.len(),
            lag: Duration::from_nanos(now - caller.came),
        };
        let worker = &mut self.workers[number];
        let admitted =
            self.gate.admit(&mut worker.fair, &asked, signals, moment, chance).and_then(|mut reservation| {
                let more = stored.saturating_sub(body);
                let memory = |_| self.gate.refuse(Cause::Memory, body as u64, moment, chance);
                reservation.grow(more).map_err(memory).map(|()| reservation)
            });
        match admitted {
            Ok(reservation) => {
                let price = self.machine.accept + self.machine.accept_event * events;
                worker.free_at = now + nanos(price);
                self.done.workers += price / self.workers.len() as u32;
                self.done.bodies += body as u64;
                self.done.lines += stored as u64;
                let ready = now + nanos(price);
                self.queue.push_back(Queued { waiting: caller.waiting, _reservation: reservation, ready });
                if !self.syncing {
                    self.agree(now, effects);
                }
            }
            Err(refused) => {
                worker.free_at = now + nanos(self.machine.refuse);
                self.open -= 1;
                effects.refuse(caller.waiting, worker.free_at, refused);
            }
        }
    }

    /// Agrees when the next sync begins, if there is something to sync.
    fn agree(&mut self, now: u64, effects: &mut Effects) {
        self.syncing = !self.queue.is_empty();
        if let Some(first) = self.queue.front() {
            let begins = now.max(first.ready).max(self.began + nanos(self.machine.sync_interval));
            effects.wakes.push((begins, Wake::Sync));
        }
    }

    fn sync(&mut self, now: u64, effects: &mut Effects) {
        if self.group.is_empty() { self.begin(now, effects) } else { self.end(now, effects) }
    }

    fn begin(&mut self, now: u64, effects: &mut Effects) {
        let stored = self.batch.stored.max(1) as u64;
        let most = (self.machine.group_bytes / stored).max(1) as usize;
        // Workers finish in the order of the queue, but for those that stand beside each other.
        let ready = self.queue.iter().take(most).take_while(|queued| queued.ready <= now).count();
        if ready == 0 {
            // It died meanwhile, or there is nothing any more.
            return self.agree(now, effects);
        }
        self.group.extend(self.queue.drain(..ready));
        self.began = now;
        let busy = self.machine.sync + Duration::from_secs_f64((ready as u64 * stored) as f64 / self.machine.disk);
        effects.wakes.push((now + nanos(busy), Wake::Sync));
    }

    fn end(&mut self, now: u64, effects: &mut Effects) {
        let bytes = self.group.len() as u64 * self.batch.stored as u64;
        self.open -= self.group.len();
        for queued in self.group.drain(..) {
            effects.tell(queued.waiting, now, Answer::of(200), "");
        }
        let busy = Duration::from_nanos(now - self.began);
        self.done.spool = Work { bytes: self.done.spool.bytes + bytes, busy: self.done.spool.busy + busy };
        self.stored += bytes;
        if self.segment.bytes > 0 && self.segment.bytes + bytes > self.machine.segment_size {
            self.seal();
        }
        if self.segment.bytes == 0 {
            self.segment.since = self.began;
        }
        self.segment.bytes += bytes;
        self.agree(now, effects);
    }

    fn seal(&mut self) {
        self.seals += u64::from(self.segment.bytes > 0);
        self.segment.bytes = 0;
    }

    /// What the pulse of a real instance does several times a second.
    pub(super) fn beat(&mut self, now: u64) {
        if !self.alive {
            return;
        }
        self.gate.capacity().learn(std::mem::take(&mut self.done));
        self.gate.learn_arrivals(Moment::from_nanos(now));
        if now - self.segment.since.min(now) >= nanos(self.machine.seal_after) {
            self.seal();
        }
    }

    /// It dies: whoever waits for an answer gets none. What was acknowledged is on its disk, and is not lost.
    pub(super) fn die(&mut self, now: u64, effects: &mut Effects) {
        self.alive = false;
        let lines = self.workers.iter_mut().flat_map(|worker| worker.line.drain(..)).map(|caller| caller.waiting);
        let queued = self.queue.drain(..).chain(self.group.drain(..)).map(|queued| queued.waiting);
        for waiting in lines.chain(queued) {
            effects.tell(waiting, now, Answer::default(), "cut");
        }
        self.open = 0;
    }

    /// Requests that have no answer yet.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Bytes that were let in and are not durable yet.
    pub(super) fn backlog(&self) -> usize {
        self.gate.budget().used()
    }

    /// What it has found that it can take.
    pub(super) fn capacity(&self) -> &Capacity {
        self.gate.capacity()
    }

    /// Segments that it has sealed, and the open one; bytes of lines that it has stored.
    pub(super) fn segments(&self) -> (u64, u64) {
        (self.seals + u64::from(self.segment.bytes > 0), self.stored)
    }
}

/// Five centuries fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
