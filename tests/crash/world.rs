//! The world of a schedule: a machine, the process on it, the stores behind it, and the model that knows what was said.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use logweir::{
    admission::ByteBudget,
    batch::{Book, Frame, FrameBuilder, Millis, StreamName},
    metrics::{self, Metrics},
    queue::{self, Receipt, Submission, Submitter},
    sink::{Backoff, ObjectDriver, ObjectSettings},
    spool::{BLOCK_BYTES, Destination, Followed, Follower, Settings, Shelf, StartError, Step, TakenUp, Terms},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    disk::{Machine, Sabotage},
    schedule::{Done, Op},
    store::{Objects, Store},
    tail::{Kind, TAIL, Tail},
};

/// When everything is received: a few hours around 2026-11-22T09:00Z.
const RECEIVED: i64 = 1_795_338_000_123;
const HOUR: i64 = 3_600_000;
const SINKS: [&str; 2] = ["first", "second"];
/// How many steps may pass until a writer that is mended has nothing to do.
const MAX_STEPS: usize = 200;
/// How many operations it may take to store a segment.
const STUCK: u32 = 3_000;
/// How many places go bad at the most: an instance's name stands in three, and one of them must tell it.
const MAX_DAMAGES: usize = 2;
/// How often every sink is driven to the end at a stop.
const STOP_ATTEMPTS: usize = 3;
/// How often a start may fail, because faults hit it, before it must work.
const MAX_STARTS: usize = 40;

pub(crate) struct World {
    runtime: Runtime,
    machine: Machine,
    sabotage: Sabotage,
    /// One of them, or two.
    sinks: &'static [&'static str],
    stores: [Arc<Mutex<Objects>>; 2],
    /// A sink that follows, and what it was given.
    follows: Kind,
    tail: Tail,
    process: Option<Process>,
    budget: Arc<ByteBudget>,
    next_event: u32,
    /// How many steps the writer makes behind the joining of each sink.
    join_steps: u8,
    /// By which prefix objects go now.
    prefix: u32,
    sent: BTreeSet<u32>,
    acknowledged: BTreeSet<u32>,
    /// Events that damage may have cost.
    excused: BTreeSet<u32>,
    /// How much was damaged on purpose.
    damages: usize,
    /// What was damaged of each segment's file, by the number that begins its name.
    segments_hit: BTreeMap<String, Hit>,
    quarantined: bool,
}

/// What was damaged of a segment's file.
#[derive(Default)]
struct Hit {
    group: bool,
    /// Its first block, its footer, or what follows the groups.
    beside: bool,
}

/// A process that runs.
struct Process {
    spool: Arc<Mutex<TakenUp>>,
    segments: Arc<Shelf>,
    submitter: Rc<Submitter>,
    deliver: Pin<Box<dyn Future<Output = ()>>>,
    drivers: Vec<ObjectDriver>,
    follower: Option<Follower>,
    waiting: Vec<(Vec<u32>, Receipt)>,
    metrics: Arc<Metrics>,
}

impl World {
    pub(crate) fn new(seed: u64, follows: Kind, sabotage: Sabotage) -> Self {
        Self {
            runtime: Builder::new_current_thread().enable_time().build().unwrap(),
            machine: Machine::new(seed, sabotage),
            sinks: &SINKS[..=(seed % 2) as usize],
            sabotage,
            stores: Default::default(),
            follows,
            tail: Tail::new(sabotage),
            process: None,
            budget: ByteBudget::new(1 << 30),
            next_event: 0,
            join_steps: 0,
            prefix: 0,
            sent: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            excused: BTreeSet::new(),
            damages: 0,
            segments_hit: BTreeMap::new(),
            quarantined: false,
        }
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Fuse(operations) => self.machine.light_fuse(operations),
            Op::Fail(call, calls) => self.machine.fail(call, calls),
            Op::Full(full) => self.machine.set_full(full),
            Op::Join(steps) => self.join_steps = steps,
            Op::Reconfigure => self.prefix += 1,
            Op::Crash => self.crash(),
            Op::Kill => {
                self.end_process();
                self.machine.kill();
            }
            Op::Flip { file, bit } => {
                self.crash();
                self.damage(file, bit, Machine::flip);
            }
            Op::Spoil { file, place } => {
                self.end_process();
                self.machine.kill();
                self.damage(file, place, |machine, name, bit| machine.spoil(name, bit / 8));
            }
            Op::Push { stream, rejected, accepted, bytes } => {
                if self.run()? {
                    self.push(stream, rejected, accepted, bytes);
                }
            }
            Op::Step => self.steps(1)?,
            Op::Seal => {
                if self.run()? {
                    self.process().submitter.request_seal();
                    self.steps(3)?;
                }
            }
            Op::Drive(sink) => {
                if self.run()? {
                    self.drive(usize::from(sink));
                }
            }
            Op::Follow { reads, most, done } => {
                if self.run()? {
                    for _ in 0..reads {
                        self.follow(most as usize)?;
                    }
                    self.done(done);
                }
            }
            Op::Disturb { most, reads, steps } => {
                if self.run()? {
                    self.disturb(reads, steps);
                    self.follow(most as usize)?;
                    self.machine.undisturbed();
                    self.hear();
                }
            }
            Op::KeepUp(half_hours) => {
                if self.run()? {
                    let now = self.now(half_hours);
                    self.process().segments.keep_up(now);
                    self.look_for_skips();
                }
            }
            Op::Spare => {
                if self.run()? {
                    let _ = self.step_with(|spool| spool.prepare_spare().is_ok());
                }
            }
            Op::Stop => self.stop()?,
        }
        if !self.machine.is_on() {
            self.crash();
        }
        Ok(())
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a process that runs")
    }

    /// Whether a process runs; one is started if none does. A start may meet faults, but no file may stop it.
    fn run(&mut self) -> Result<bool, String> {
        if self.process.is_some() {
            return Ok(true);
        }
        let (mut lanes, intake) = queue::queues(1, 1_000);
        let metrics = Arc::new(Metrics::new().unwrap());
        let opened = TakenUp::new(&self.machine.disk(), self.settings(), intake, &metrics);
        let mut spool = match opened {
            Ok(spool) => spool,
            Err(StartError::Instance(_)) => return Err("a start was refused".into()),
            Err(_) => return Ok(false),
        };
        let segments = spool.shelf();
        let mut drivers = Vec::new();
        for (place, name) in self.sinks.iter().enumerate() {
            let consumer = segments.consumer(name, if place == 0 { Terms::REQUIRED } else { Terms::KEPT });
            let store = Arc::new(Store::new(&self.machine, self.sabotage, &self.stores[place]));
            let settings = ObjectSettings {
                destination: self.destination(name),
                concurrency: 1,
                attempt_timeout: Duration::from_hours(1),
                backoff: Backoff::new(Duration::ZERO, Duration::ZERO),
            };
            drivers.push(ObjectDriver::new(settings, store, consumer, &metrics));
            // Its thread runs before the first sink has joined.
            for _ in 0..self.join_steps {
                spool.step();
            }
        }
        let follower = self.follows.terms().map(|terms| Follower::new(segments.consumer(TAIL, terms)));
        segments.all_joined();
        let spool = Arc::new(Mutex::new(spool));
        let submitter = lanes.pop().unwrap().bind();
        let deliver = Box::pin(Rc::clone(&submitter).deliver());
        let waiting = Vec::new();
        self.process = Some(Process { spool, segments, submitter, deliver, drivers, follower, waiting, metrics });
        Ok(true)
    }

    fn destination(&self, sink: &str) -> Destination {
        Destination {
            sink: sink.into(),
            kind: "simulated".into(),
            place: sink.into(),
            prefix: format!("p{}/", self.prefix),
            codec: "gzip".into(),
            level: 1,
            streams: Vec::new(),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            dir: "simulated".into(),
            disk_quota: 1 << 40,
            segment_size: 512 << 10,
            object_size: None,
            seal_after: Duration::from_hours(1),
            seal_jitter: 0.0,
            early_seal_interval: Duration::ZERO,
            sync_interval: Duration::ZERO,
            max_rate: None,
            destinations: self.sinks.iter().map(|sink| self.destination(sink)).collect(),
        }
    }

    fn push(&mut self, stream: u8, rejected: u8, accepted: u8, bytes: u32) {
        let hour = i64::from(self.next_event / 40) * HOUR;
        let mut events = Vec::new();
        let mut frame = |count: u8, book| {
            let name = StreamName::new(["heard", "seen", "felt"][usize::from(stream)]).unwrap();
            let mut builder = FrameBuilder::new(name, book, 0);
            for _ in 0..count {
                self.next_event += 1;
                events.push(self.next_event);
                let bytes = bytes as usize / usize::from(count);
                let padding = "x".repeat(bytes.saturating_sub("{\"e\":\"\"}".len()));
                let line = format!("{{\"e\":\"<{}>{padding}\"}}\n", self.next_event);
                builder.lines().extend_from_slice(line.as_bytes());
            }
            let at = Millis::new(RECEIVED + hour).unwrap();
            builder.finish(u32::from(count), at, at, at)
        };
        let (accepted, rejected): (Option<Frame>, Option<Frame>) =
            (frame(accepted, Book::Accepted), frame(rejected, Book::Rejected));
        if events.is_empty() {
            return;
        }
        let submission = Submission { accepted, rejected, reservation: self.budget.reserve(0).unwrap() };
        self.sent.extend(&events);
        let process = self.process();
        if let Ok(receipt) = process.submitter.submit(submission) {
            process.waiting.push((events, receipt));
        }
    }

    /// Lets the writer make steps, and hears what it settles.
    fn steps(&mut self, steps: usize) -> Result<(), String> {
        if !self.run()? {
            return Ok(());
        }
        for _ in 0..steps {
            self.step_with(TakenUp::step);
            self.hear();
        }
        Ok(())
    }

    fn step_with<T>(&mut self, work: impl FnOnce(&mut TakenUp) -> T) -> T {
        work(&mut self.process().spool.lock().unwrap())
    }

    /// So many half hours after the last event was received.
    fn now(&self, half_hours: u8) -> Millis {
        let hours = i64::from(self.next_event / 40);
        Millis::new(RECEIVED + hours * HOUR + i64::from(half_hours) * HOUR / 2).unwrap()
    }

    /// The sink that follows reads what is there; whether there may be more.
    fn follow(&mut self, most: usize) -> Result<bool, String> {
        let damaged = self.damages > 0;
        let Some(follower) = &mut self.process.as_mut().expect("a process that runs").follower else {
            return Ok(false);
        };
        let came = follower.read_now(most);
        self.look_for_skips();
        match came {
            Ok(Some(Followed::Lines(stretch))) => self.tail.take(&stretch, damaged).map(|()| true),
            Ok(Some(Followed::Skipped)) => Ok(true),
            Ok(Some(Followed::Ended) | None) | Err(_) => Ok(false),
        }
    }

    /// It says what it has done.
    fn done(&mut self, done: Done) {
        let process = self.process.as_mut().expect("a process that runs");
        let Some(follower) = &mut process.follower else { return };
        if done == Done::Nothing {
            return;
        }
        if let Some(mark) = self.tail.next_done(done != Done::First) {
            // What fails now is done with what comes next.
            let _ = follower.done_now(mark);
        }
        if done == Done::Saved && follower.save_now().is_ok() {
            self.tail.saved();
        }
    }

    /// In the middle of what the sink that follows reads next, the shelf and the writer are at work.
    fn disturb(&mut self, reads: u32, steps: u8) {
        let now = self.now(3);
        let process = self.process();
        let (segments, spool) = (Arc::clone(&process.segments), Arc::clone(&process.spool));
        self.machine.meanwhile(reads, move || {
            segments.keep_up(now);
            for _ in 0..steps {
                spool.lock().unwrap().step();
            }
        });
    }

    fn look_for_skips(&mut self) {
        let counts = self.process().metrics.counts(&[&metrics::SINK_SKIPPED_EVENTS]);
        let counted = counts.iter().find(|count| count.labels == [TAIL]).map_or(0, |count| count.value);
        self.tail.look(counted);
    }

    /// Notes what was acknowledged.
    fn hear(&mut self) {
        let Some(process) = &mut self.process else { return };
        let mut context = Context::from_waker(Waker::noop());
        let _ = process.deliver.as_mut().poll(&mut context);
        let acknowledged = &mut self.acknowledged;
        process.waiting.retain_mut(|(events, receipt)| match Pin::new(receipt).poll(&mut context) {
            Poll::Ready(Ok(_)) => {
                acknowledged.extend(events.iter());
                false
            }
            Poll::Ready(Err(_)) => false,
            Poll::Pending => true,
        });
    }

    /// Lets a sink store what is sealed, until the power goes.
    fn drive(&mut self, sink: usize) {
        let (machine, runtime) = (self.machine.clone(), &self.runtime);
        let process = self.process.as_mut().expect("a process that runs");
        let Some(driver) = process.drivers.get_mut(sink) else { return };
        let mut ends = true;
        while ends && driver.has_next() && machine.is_on() {
            runtime.block_on(async {
                tokio::select! {
                    _ = driver.run_once() => {}
                    () = machine.off_or_stuck(STUCK) => ends = false,
                }
            });
        }
    }

    /// The process ends in good order.
    fn stop(&mut self) -> Result<(), String> {
        if !self.run()? {
            return Ok(());
        }
        self.step_with(|spool| spool.request_stop());
        for _ in 0..MAX_STEPS {
            let step = self.step_with(TakenUp::step);
            self.hear();
            if step == Step::Ended {
                break;
            }
        }
        // What one sink's repair leaves is found by the others with their next attempt, which drivers make.
        for _ in 0..STOP_ATTEMPTS {
            for sink in 0..self.sinks.len() {
                self.drive(sink);
            }
            while self.follow(100_000)? {}
        }
        self.done(Done::Saved);
        self.process().segments.tidy();
        self.end_process();
        Ok(())
    }

    fn end_process(&mut self) {
        self.hear();
        self.tail.end_process();
        if let Some(process) = self.process.take() {
            let counts = process.metrics.counts(&[&metrics::QUARANTINED]);
            self.quarantined |= counts.iter().any(|count| count.value > 0);
        }
    }

    fn crash(&mut self) {
        self.end_process();
        self.machine.restart();
        for store in &self.stores {
            store.lock().unwrap().forget_late();
        }
    }

    /// Something happens to a place in one of the files.
    fn damage(&mut self, file: u16, bit: u64, happens: impl FnOnce(&Machine, &str, u64)) {
        let files: Vec<_> = self.machine.files().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        if files.is_empty() || self.damages >= MAX_DAMAGES {
            return;
        }
        let (name, bytes) = &files[usize::from(file) % files.len()];
        let bit = bit % (bytes.len() as u64 * 8);
        self.damages += 1;
        happens(&self.machine, name, bit);
        let events = events_in_group(bytes, (bit / 8) as usize);
        if let Some((segment, _)) = name.split_once('.') {
            let hit = self.segments_hit.entry(segment.to_owned()).or_default();
            *if events.is_empty() { &mut hit.beside } else { &mut hit.group } = true;
        }
        self.excused.extend(events);
    }

    /// Whether the object at `key` is of a segment that lost a group and its footer, which had counted the group: what is
    /// left of it cannot be recognised as part of what was stored before, and is stored again.
    fn may_be_stored_again(&self, key: &str) -> bool {
        let of = |segment: &str| key.contains(&format!("-{segment}"));
        self.segments_hit.iter().any(|(segment, hit)| hit.group && hit.beside && of(segment))
    }

    /// Everything drains, and every promise is held to what the stores have.
    pub(crate) fn judge(mut self) -> Result<(), String> {
        self.machine.mend();
        for starts in 0.. {
            if self.run()? {
                break;
            }
            self.machine.mend();
            if starts > MAX_STARTS {
                return Err("it does not start".into());
            }
        }
        self.steps(8)?;
        let segments = Arc::clone(&self.process().segments);
        let waits = self.process().waiting.len();
        if waits > 0 {
            return Err(format!("{waits} batches wait for their receipts for ever"));
        }
        self.stop()?;
        let (left, bytes) = segments.kept();
        if left > 0 {
            return Err(format!("{left} segments of {bytes} bytes were never stored"));
        }
        if self.quarantined && self.damages == 0 {
            return Err("something was quarantined that nobody damaged".into());
        }
        let mut found = [BTreeMap::new(), BTreeMap::new()];
        let mut stores = self.stores.iter().zip(self.sinks).zip(&mut found);
        let judged = stores.try_for_each(|((store, name), found)| {
            let judged = self.judge_store(&mut store.lock().unwrap(), found);
            judged.map_err(|error| format!("{name}: {error}"))
        });
        if self.follows != Kind::None {
            // Held to what the required sink has, whatever is to be said of that.
            let tail = self.tail.judge(&self.acknowledged, &self.excused, &found[0], self.damages > 0);
            tail.map_err(|error| format!("{TAIL}: {error}"))?;
        }
        judged
    }

    /// Holds the store to the promises. Which events it has, and where, goes to `found`.
    fn judge_store(&self, store: &mut Objects, found: &mut BTreeMap<u32, String>) -> Result<(), String> {
        store.catch_up(0);
        if let (Some(key), false) = (store.occupied.first(), self.damages > 0) {
            return Err(format!("the key {key} was to hold two contents"));
        }
        for (key, (_, lines)) in store.stored.iter().filter(|(key, _)| !key.contains("/_ledger/")) {
            for line in lines {
                let event = event_of(line).ok_or_else(|| format!("{key} holds a line that nobody sent: {line:.40}"))?;
                if !self.sent.contains(&event) {
                    return Err(format!("{key} holds the event {event}, which nobody sent"));
                }
                if let Some(other) = found.insert(event, key.clone())
                    && !(self.may_be_stored_again(key) && self.may_be_stored_again(&other))
                {
                    return Err(format!("the event {event} is in {other} and in {key}"));
                }
            }
        }
        let lost: Vec<_> = self.acknowledged.iter().filter(|event| !found.contains_key(event)).collect();
        match lost.iter().find(|event| !self.excused.contains(event)) {
            Some(event) => Err(format!("the event {event} was acknowledged and is lost ({} are)", lost.len())),
            None => Ok(()),
        }
    }
}

pub(crate) fn event_of(line: &str) -> Option<u32> {
    line.split_once('<')?.1.split_once('>')?.0.parse().ok()
}

/// The events of the group that the byte at `place` of a segment's file lies in.
fn events_in_group(file: &[u8], place: usize) -> BTreeSet<u32> {
    let mut starts = (0..file.len()).step_by(BLOCK_BYTES).rev().filter(|at| file[*at..].starts_with(b"LWGROUP"));
    let Some(start) = starts.find(|at| *at <= place && *at + 64 <= file.len()) else { return BTreeSet::new() };
    let mut len = [0; 4];
    len.copy_from_slice(&file[start + 32..start + 36]);
    let end = (start + 64 + u32::from_le_bytes(len) as usize).next_multiple_of(BLOCK_BYTES).min(file.len());
    if place >= end {
        return BTreeSet::new();
    }
    let text = String::from_utf8_lossy(&file[start..end]);
    text.split('<').skip(1).filter_map(|piece| piece.split_once('>')?.0.parse().ok()).collect()
}
