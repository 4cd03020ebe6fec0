//! What is held of every sink.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use logweir::{
    batch::{Book, InstanceId, StreamName},
    metrics::{Metrics, SINK_LINES},
    sink::{Aside, Backoff, FileStore, Filter, LineDriver, LineSettings, ObjectDriver, ObjectSettings},
    spool::{Destination, Follower, Shelf, Terms},
};
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{
    file::{destination, lines_below},
    ground::Ground,
    rig::{Rig, Sink},
    script::{Fault, Script},
    segments::SINK,
    watched::Watched,
};

/// A test that takes so long hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// How long an attempt may take: those that hang take as long.
const ATTEMPT: Duration = Duration::from_millis(300);
/// How many scripts and grounds are drawn.
const SCRIPTS: u64 = 24;
/// How many attempts a script has that is drawn.
const ATTEMPTS: usize = 12;
/// How much is read at a time, in bytes.
const STRETCH_BYTES: usize = 1_500;
/// The shortest line, with its line feed, in bytes.
const LEAST_LINE: usize = 34;
const INSTANCE: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// A rig and a ground.
struct World<R> {
    rig: R,
    ground: Ground,
    filter: Filter,
    concurrency: usize,
    aside: TempDir,
}

/// What came of a driver.
struct Ran {
    /// The watch over a line sink.
    watched: Option<Watched>,
    /// What lines are counted as, by outcome.
    lines: BTreeMap<String, u64>,
}

impl<R: Rig> World<R> {
    async fn new(random: &mut fastrand::Rng, script: Script) -> Self {
        let rig = R::start(script).await;
        let destinations = match rig.sink() {
            Sink::Lines(_) => Vec::new(),
            Sink::Objects(_, destination) => vec![destination],
        };
        let streams = if random.bool() { vec!["heard", "started"] } else { Vec::new() };
        let streams = streams.into_iter().map(|stream| StreamName::new(stream).unwrap()).collect();
        let filter = match rig.sink() {
            Sink::Lines(_) => Filter { streams, rejected: random.bool() },
            // An object sink that takes both books of every stream.
            Sink::Objects(..) => Filter { streams: Vec::new(), rejected: true },
        };
        let ground = Ground::new(random, destinations);
        Self { rig, ground, filter, concurrency: random.usize(1..5), aside: tempfile::tempdir().unwrap() }
    }

    /// The lines that the sink wants, in the order of the spool.
    fn wanted(&self) -> Vec<String> {
        let wants = |stream, book| self.filter.wants(&StreamName::new(stream).unwrap(), book);
        let wanted = self.ground.lines.iter().filter(|line| wants(line.stream, line.book));
        wanted.map(|line| line.text.clone()).collect()
    }

    fn destinations(&self) -> Vec<Destination> {
        match self.rig.sink() {
            Sink::Lines(_) => Vec::new(),
            Sink::Objects(_, destination) => vec![destination],
        }
    }

    /// Runs the driver, to its end or until it is broken off: what came of it.
    async fn run(&self, at_most: Option<Duration>) -> Ran {
        let destinations = self.destinations();
        let (spool, metrics) = self.ground.open(destinations);
        let (ends, watched) = self.drive(&spool, &metrics, at_most).await;
        assert!(ends || at_most.is_some(), "the driver hangs");
        // What was broken off may still read on a thread of its own, and keeps the directory as long.
        while Arc::strong_count(&spool) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
        let counts = metrics.counts(&[&SINK_LINES]).into_iter();
        Ran { watched, lines: counts.map(|mut count| (count.labels.remove(1), count.value)).collect() }
    }

    /// Whether the driver has ended by itself.
    async fn drive(
        &self,
        spool: &Arc<Shelf>,
        metrics: &Arc<Metrics>,
        at_most: Option<Duration>,
    ) -> (bool, Option<Watched>) {
        let consumer = spool.consumer(SINK, Terms::REQUIRED);
        spool.all_joined();
        let backoff = backoff();
        let most = at_most.unwrap_or(PATIENCE);
        match self.rig.sink() {
            Sink::Objects(store, destination) => {
                let settings =
                    ObjectSettings { destination, concurrency: self.concurrency, attempt_timeout: ATTEMPT, backoff };
                let driver = ObjectDriver::new(settings, store, consumer, metrics);
                (timeout(most, driver.run()).await.is_ok(), None)
            }
            Sink::Lines(sink) => {
                let watched = Watched::new(sink, self.wanted());
                let settings = line_settings(self.concurrency, ATTEMPT, self.filter.clone());
                let aside = Aside {
                    store: Arc::new(FileStore::default()),
                    destination: destination("file", self.aside.path().to_str().unwrap()),
                    attempt_timeout: PATIENCE,
                    backoff,
                };
                let sink = Arc::new(watched.clone());
                let driver = LineDriver::new(settings, sink, Follower::new(consumer), Some(aside), metrics);
                (timeout(most, driver.run()).await.is_ok(), Some(watched))
            }
        }
    }

    /// The lines that were set aside, as often as they were.
    fn set_aside(&self) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Told<'a> {
            sink: &'a str,
            stream: &'a str,
            #[serde(borrow)]
            line: &'a RawValue,
        }
        let mut lines = Vec::new();
        for line in lines_below(self.aside.path(), "_undelivered") {
            let told: Told<'_> = serde_json::from_str(&line).unwrap();
            assert_eq!(told.sink, SINK);
            let text = told.line.get().to_owned();
            assert!(self.ground.lines.iter().any(|line| line.stream == told.stream && line.text == text), "{line}");
            lines.push(text);
        }
        lines
    }

    /// Every line that the sink wants has arrived or was set aside, and nothing else has arrived.
    fn lost_nothing(&self, what: &str) -> BTreeMap<String, usize> {
        let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
        for line in self.rig.arrived() {
            *arrived.entry(line).or_default() += 1;
        }
        let aside: BTreeSet<String> = self.set_aside().into_iter().collect();
        let wanted: BTreeSet<String> = self.wanted().into_iter().collect();
        let there: BTreeSet<String> = arrived.keys().cloned().chain(aside).collect();
        let lost: Vec<_> = wanted.difference(&there).collect();
        let strange: Vec<_> = there.difference(&wanted).collect();
        assert!(lost.is_empty() && strange.is_empty(), "{what}: lost {lost:?}, unwanted {strange:?}");
        if matches!(self.rig.sink(), Sink::Objects(..)) {
            let twice: Vec<_> = arrived.iter().filter(|(_, copies)| **copies > 1).collect();
            assert!(twice.is_empty(), "{what}: twice {twice:?}");
        }
        arrived
    }

    /// One process has delivered everything.
    fn judge(&self, ran: &Ran, what: &str) {
        let arrived = self.lost_nothing(what);
        let Some(watched) = &ran.watched else { return };
        let aside = self.set_aside();
        let counted = |outcome: &str| ran.lines[outcome];
        let distinct: BTreeSet<_> = aside.iter().collect();
        assert_eq!((aside.len(), counted("undelivered")), (distinct.len(), aside.len() as u64), "{what}");
        assert_eq!(counted("delivered"), (self.wanted().len() - aside.len()) as u64, "{what}");
        let copies: usize = arrived.values().map(|copies| copies - 1).sum();
        assert!(copies as u64 <= counted("repeated"), "{what}: {copies} copies of {}", counted("repeated"));
        watched.seen(|seen| {
            for (line, copies) in &arrived {
                let perhaps = seen.perhaps.get(line).copied().unwrap_or_default();
                assert!(*copies <= 1 + perhaps, "{what}: {copies} of {line}, {perhaps} attempts of unknown outcome");
            }
            let window = self.concurrency * (STRETCH_BYTES / LEAST_LINE + 1);
            assert_eq!(seen.calls.0, 0, "{what}: calls are on their way");
            assert!(seen.calls.1 <= self.concurrency, "{what}: {} calls", seen.calls.1);
            assert!(seen.window <= window, "{what}: {} lines ahead", seen.window);
        });
    }

    /// Nothing is left for a driver that begins now.
    async fn is_done(&self, what: &str) {
        let before = self.rig.arrived().len();
        let ran = self.run(None).await;
        assert_eq!((self.rig.arrived().len(), ran.lines.get("delivered").copied().unwrap_or(0)), (before, 0), "{what}");
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(1), Duration::from_millis(5))
}

/// The settings of a line sink.
pub(crate) fn line_settings(concurrency: usize, attempt_timeout: Duration, filter: Filter) -> LineSettings {
    LineSettings {
        sink: SINK.into(),
        instance: InstanceId::parse(INSTANCE).unwrap(),
        concurrency,
        stretch_bytes: STRETCH_BYTES,
        linger: Duration::ZERO,
        attempt_timeout,
        backoff: backoff(),
        filter,
    }
}

/// The faults that the attempts of `R` can meet with; the others are told of.
fn faults<R: Rig>() -> Vec<Fault> {
    let (can, cannot): (Vec<_>, Vec<_>) = Fault::all().into_iter().partition(|fault| R::cannot(*fault).is_none());
    for fault in cannot {
        let (rig, why) = (std::any::type_name::<R>(), R::cannot(fault).unwrap());
        drop(writeln!(io::stdout(), "{rig}: {fault:?} is not met with: {why}"));
    }
    assert!(can.len() >= 4);
    can
}

/// Every fault, at the first attempts and in between.
pub(crate) async fn each_fault<R: Rig>() {
    for (number, fault) in faults::<R>().into_iter().enumerate() {
        let mut random = fastrand::Rng::with_seed(number as u64);
        let attempts = [Some(fault), Some(fault), None, Some(fault), None, None, Some(fault)];
        let script = Script::new(attempts);
        let world: World<R> = World::new(&mut random, script).await;
        let ran = world.run(None).await;
        let what = format!("{fault:?}");
        world.judge(&ran, &what);
        if !fault.is_ambiguous() && ran.watched.is_some() {
            assert_eq!(ran.lines["repeated"], 0, "{what}");
        }
        world.is_done(&what).await;
    }
}

/// Scripts of any faults.
pub(crate) async fn any_script<R: Rig>() {
    let faults = faults::<R>();
    for seed in 0..SCRIPTS {
        let mut random = fastrand::Rng::with_seed(seed);
        let attempt = |random: &mut fastrand::Rng| (random.u8(..3) > 0).then(|| faults[random.usize(..faults.len())]);
        let attempts: Vec<_> = (0..random.usize(1..ATTEMPTS)).map(|_| attempt(&mut random)).collect();
        let what = format!("seed {seed}: {attempts:?}");
        let world: World<R> = World::new(&mut random, Script::new(attempts)).await;
        let ran = world.run(None).await;
        world.judge(&ran, &what);
        world.is_done(&what).await;
    }
}

/// Drivers that are broken off at any point, until one ends by itself.
pub(crate) async fn killed_anywhere<R: Rig>() {
    let faults = faults::<R>();
    for seed in 100..100 + SCRIPTS {
        let mut random = fastrand::Rng::with_seed(seed);
        let attempt = |random: &mut fastrand::Rng| (random.u8(..3) == 0).then(|| faults[random.usize(..faults.len())]);
        let attempts: Vec<_> = (0..ATTEMPTS).map(|_| attempt(&mut random)).collect();
        let what = format!("seed {seed}: {attempts:?}");
        let world: World<R> = World::new(&mut random, Script::new(attempts)).await;
        for _ in 0..random.usize(1..5) {
            world.run(Some(Duration::from_micros(random.u64(..20_000)))).await;
        }
        world.run(None).await;
        world.lost_nothing(&what);
        world.is_done(&what).await;
    }
}

/// Both books are there.
#[test]
fn the_ground_has_lines_of_both_books_and_each_once() {
    let ground = Ground::new(&mut fastrand::Rng::with_seed(3), Vec::new());
    let of = |book| ground.lines.iter().filter(|line| line.book == book).count();
    assert!(of(Book::Accepted) > 0 && of(Book::Rejected) > 0);
    assert!(ground.lines.iter().all(|line| line.text.len() + 1 >= LEAST_LINE));
    assert!(ground.lines.windows(2).all(|pair| pair[0].text < pair[1].text));
}
