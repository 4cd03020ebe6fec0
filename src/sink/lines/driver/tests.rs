//! The driver over a spool and a sink that do as they are told.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::Notify, task::JoinHandle, time::timeout};

use super::*;
use crate::{
    batch::{Book, Millis, SegmentId, StreamName},
    metrics,
    sink::{BoxFuture, CallLimits, Failure, Fate, FirehoseSink, Left, Outcome, Parcel, outage::tests::Log},
    spool::{Mark, Piece, Stretch},
};

const INSTANCE: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// A test that takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the spool does, and what it was told.
#[derive(Default)]
struct State {
    steps: VecDeque<io::Result<Followed>>,
    skipped: bool,
    done: Vec<u64>,
    saved: usize,
    /// What `done` and `save` fail with, so many times.
    failures: usize,
    delivered: Vec<String>,
    calls: usize,
}

/// A spool and a sink, seen from the test.
#[derive(Clone, Default)]
struct World {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl World {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
        changed
    }

    fn push(&self, step: io::Result<Followed>) {
        self.change(|state| state.steps.push_back(step));
    }

    /// A stretch that ends at `end`, of lines of streams.
    fn lines(&self, end: u64, pieces: &[(&str, &str)]) {
        let piece = |(stream, text): &(&str, &str)| Piece {
            stream: StreamName::new(stream).unwrap(),
            book: Book::Accepted,
            received: Millis::new(1_795_338_000_123).unwrap(),
            text: text.as_bytes().to_vec(),
        };
        let pieces = pieces.iter().map(piece).collect();
        self.push(Ok(Followed::Lines(Stretch { pieces, end: mark(end) })));
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let waited = timeout(PATIENCE, async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if is_so(&self.state.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        });
        assert!(waited.await.is_ok(), "what was waited for does not come");
    }
}

fn mark(offset: u64) -> Mark {
    Mark { segment: SegmentId(1), offset, received: Millis::MIN }
}

impl Source for World {
    fn read(&mut self, _: usize, _: Duration) -> BoxFuture<'_, io::Result<Followed>> {
        Box::pin(async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                {
                    let mut state = self.state.lock().unwrap();
                    if std::mem::take(&mut state.skipped) {
                        return Ok(Followed::Skipped);
                    }
                    if let Some(step) = state.steps.pop_front() {
                        return step;
                    }
                }
                changed.await;
            }
        })
    }

    fn skipped(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if self.state.lock().unwrap().skipped {
                    return;
                }
                changed.await;
            }
        })
    }

    fn done(&mut self, mark: Mark) -> BoxFuture<'_, io::Result<()>> {
        let told = self.change(|state| {
            if state.failures > 0 {
                state.failures -= 1;
                return Err(io::Error::other("no disk"));
            }
            state.done.push(mark.offset);
            Ok(())
        });
        Box::pin(std::future::ready(told))
    }

    fn save(&mut self) -> BoxFuture<'_, io::Result<()>> {
        let told = self.change(|state| {
            if state.failures > 0 {
                state.failures -= 1;
                return Err(io::Error::other("no disk"));
            }
            state.saved += 1;
            Ok(())
        });
        Box::pin(std::future::ready(told))
    }
}

/// What a sink does with the call of a number, from 1 on.
type Does = Box<dyn Fn(usize, &Parcel) -> BoxFuture<'static, Outcome> + Send + Sync>;

struct Scripted {
    world: World,
    does: Does,
}

impl LineSink for Scripted {
    fn limits(&self) -> CallLimits {
        CallLimits { bytes: 100, lines: 4 }
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome> {
        let number = self.world.change(|state| {
            state.calls += 1;
            state.calls
        });
        Box::pin(async move {
            let outcome = (self.does)(number, parcel).await;
            let named = |line: usize| outcome.left.iter().any(|left| left.lines.contains(&line));
            self.world.change(|state| {
                for line in (0..parcel.lines()).filter(|line| !named(*line)) {
                    state.delivered.push(String::from_utf8(parcel.line(line).to_vec()).unwrap().trim_end().to_owned());
                }
            });
            outcome
        })
    }
}

fn now(outcome: Outcome) -> BoxFuture<'static, Outcome> {
    Box::pin(std::future::ready(outcome))
}

fn forever() -> BoxFuture<'static, Outcome> {
    Box::pin(std::future::pending())
}

fn settings(concurrency: usize) -> LineSettings {
    LineSettings {
        sink: "firehose".into(),
        instance: InstanceId::parse(INSTANCE).unwrap(),
        concurrency,
        stretch_bytes: 1_000,
        linger: Duration::ZERO,
        attempt_timeout: PATIENCE,
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(4)),
        filter: Filter::default(),
    }
}

struct Running {
    world: World,
    metrics: Arc<Metrics>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(
        settings: LineSettings,
        aside: Option<Aside>,
        does: impl Fn(usize, &Parcel) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    ) -> Self {
        let (world, metrics) = (World::default(), Arc::new(Metrics::new().unwrap()));
        let sink = Arc::new(Scripted { world: world.clone(), does: Box::new(does) });
        let mut work = work(settings, sink, aside, &metrics);
        let mut source = world.clone();
        let task = tokio::spawn(async move { run(&mut source, &mut work).await });
        Self { world, metrics, task }
    }

    /// Waits for the end.
    async fn end(self) -> (State, BTreeMap<String, u64>) {
        self.world.push(Ok(Followed::Ended));
        if timeout(PATIENCE, self.task).await.is_err() {
            let state = self.world.state.lock().unwrap();
            panic!(
                "the driver does not end: {} steps, done {:?}, {:?}",
                state.steps.len(),
                state.done,
                state.delivered
            );
        }
        let state = std::mem::take(&mut *self.world.state.lock().unwrap());
        (state, counts(&self.metrics))
    }
}

/// What the counters with an outcome or a cause stand at, without those at 0.
fn counts(metrics: &Metrics) -> BTreeMap<String, u64> {
    let counts = metrics.counts(&[&metrics::SINK_LINES, &metrics::SINK_CALLS, &metrics::SINK_RETRIES]);
    let name = |count: &metrics::Count| {
        let what = count.metric.name.trim_start_matches("logweir_sink_").trim_end_matches("_total");
        format!("{what} {}", count.labels[1])
    };
    counts.iter().filter(|count| count.value > 0).map(|count| (name(count), count.value)).collect()
}

fn expect(counts: &BTreeMap<String, u64>, expected: &[(&str, u64)]) {
    let expected: BTreeMap<_, _> = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(*counts, expected);
}

#[tokio::test]
async fn lines_are_delivered_by_stream_and_split_and_the_cursor_is_saved_at_the_end() {
    let mut settings = settings(2);
    settings.filter.streams = vec![StreamName::new("heard").unwrap(), StreamName::new("shown").unwrap()];
    let running = Running::start(settings, None, |_, parcel| {
        assert!(parcel.lines() <= 4 && parcel.bytes() <= 100);
        now(Outcome::delivered())
    });
    running.world.lines(10, &[("heard", "1\n2\n3\n4\n5\n"), ("other", "x\n"), ("shown", "6\n")]);
    running.world.lines(20, &[("other", "x\n")]);
    let (mut state, counts) = running.end().await;
    state.delivered.sort();
    assert_eq!(state.delivered, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!((state.done.last(), state.saved), (Some(&20), 1));
    expect(&counts, &[("lines delivered", 6), ("calls delivered", 3)]);
}

#[tokio::test]
async fn what_a_partial_failure_leaves_is_sent_again_alone() {
    let running = Running::start(settings(1), None, |number, parcel| {
        let lines = parcel.range(0..parcel.lines());
        let left = |lines, cause| Left { lines, fate: Fate::Later(cause) };
        match number {
            1 => {
                assert_eq!(lines, b"1\n2\n3\n4\n");
                let left = vec![left(0..1, Failure::Server), left(2..4, Failure::Throttled)];
                now(Outcome { left, ..Outcome::default() })
            }
            2 => {
                assert_eq!(lines, b"1\n3\n4\n");
                now(Outcome { left: vec![left(1..2, Failure::Server)], ..Outcome::default() })
            }
            _ => {
                assert_eq!(lines, b"3\n");
                now(Outcome::delivered())
            }
        }
    });
    running.world.lines(10, &[("heard", "1\n2\n3\n4\n")]);
    let (state, counts) = running.end().await;
    assert_eq!(state.delivered, ["2", "1", "4", "3"]);
    expect(&counts, &[("lines delivered", 4), ("calls partial", 2), ("calls delivered", 1), ("retries server", 2)]);
}

#[tokio::test]
async fn lines_of_unknown_outcome_are_counted_as_repeated_once_they_are_sent_again() {
    let mut settings = settings(1);
    settings.attempt_timeout = Duration::from_millis(20);
    let running = Running::start(settings, None, |number, parcel| match number {
        1 => forever(),
        2 => now(Outcome::unknown(parcel.lines(), Failure::Network, "cut")),
        3 => now(Outcome::later(parcel.lines(), Failure::Server, "no")),
        4 => panic!("the sink's own fault"),
        _ => now(Outcome::delivered()),
    });
    running.world.lines(10, &[("heard", "1\n2\n")]);
    let (state, counts) = running.end().await;
    assert_eq!(state.delivered, ["1", "2"]);
    expect(
        &counts,
        &[
            ("lines delivered", 2),
            ("lines repeated", 6),
            ("calls unknown", 3),
            ("calls later", 1),
            ("calls delivered", 1),
            ("retries timeout", 1),
            ("retries network", 1),
            ("retries server", 1),
            ("retries other", 1),
        ],
    );
}

#[tokio::test]
async fn the_cursor_waits_for_the_oldest_stretch_and_no_more_than_the_limit_are_on_their_way() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let running = Running::start(settings(3), None, move |_, parcel| {
        if parcel.line(0) == b"1\n" {
            let gate = Arc::clone(&gate);
            return Box::pin(async move {
                gate.notified().await;
                Outcome::delivered()
            });
        }
        now(Outcome::delivered())
    });
    for (end, text) in [(10, "1\n"), (20, "2\n"), (30, "3\n"), (40, "4\n"), (50, "5\n")] {
        running.world.lines(end, &[("heard", text)]);
    }
    running.world.until(|state| state.delivered.len() == 2).await;
    running.world.change(|state| {
        // Two are read no more, though two calls have ended.
        assert_eq!((state.steps.len(), state.done.len()), (2, 0));
    });
    opened.notify_one();
    let (state, _) = running.end().await;
    assert_eq!(state.delivered.len(), 5);
    assert!(state.done.is_sorted() && state.done.last() == Some(&50), "{:?}", state.done);
}

#[tokio::test]
async fn the_cursor_moves_though_no_line_follows() {
    let running = Running::start(settings(3), None, |_, _| now(Outcome::delivered()));
    running.world.lines(10, &[("heard", "1\n")]);
    running.world.until(|state| state.done == [10]).await;
    // And is durable, some time after.
    running.world.until(|state| state.saved == 1).await;
    running.task.abort();
}

#[tokio::test]
async fn what_the_spool_has_skipped_is_not_sent_any_more() {
    for reads in [true, false] {
        // With room the driver learns it by reading, without by waiting for it.
        let running = Running::start(settings(if reads { 9 } else { 2 }), None, |_, parcel| match parcel.line(0) {
            b"hangs\n" => forever(),
            b"fails\n" => now(Outcome::later(1, Failure::Server, "no")),
            _ => now(Outcome::delivered()),
        });
        running.world.lines(10, &[("heard", "hangs\n")]);
        running.world.lines(20, &[("heard", "fails\n")]);
        running.world.until(|state| state.calls > 5).await;
        running.world.change(|state| state.skipped = true);
        running.world.lines(90, &[("heard", "new\n")]);
        running.world.until(|state| state.done == [90]).await;
        let calls = running.world.change(|state| state.calls);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (state, _) = running.end().await;
        assert_eq!((state.calls, state.delivered), (calls, vec!["new".to_owned()]));
    }
}

#[tokio::test]
async fn an_outage_is_told_with_its_stream_and_its_cause_once_and_its_end_once_nothing_is_left_of_it() {
    let (log, _listening) = Log::listen();
    let running = Running::start(settings(2), None, |number, parcel| {
        if number > 6 || parcel.stream.as_str() == "shown" {
            return now(Outcome::delivered());
        }
        now(Outcome::later(1, Failure::Network, io::Error::other("no way")))
    });
    running.world.lines(10, &[("heard", "1\n"), ("shown", "2\n")]);
    running.end().await;
    let said = log.take();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("WARN ") && said[0].contains("stream=heard error=network: no way wait="), "{said:?}");
    assert!(said[1].starts_with("INFO ") && said[1].contains("calls=1 retries=4"), "{said:?}");
}

/// A service that fails, and a spool that goes on without it again and again.
#[tokio::test]
async fn a_sink_that_is_skipped_again_and_again_is_called_no_oftener_than_its_back_off_allows() {
    const SKIPS: u64 = 300;
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let settings = LineSettings { backoff, ..settings(2) };
    let mends = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&mends);
    let running = Running::start(settings, None, move |_, parcel| {
        if mended.load(Ordering::Relaxed) {
            return now(Outcome::delivered());
        }
        now(Outcome::later(parcel.lines(), Failure::Network, "no"))
    });
    for skip in 0..SKIPS {
        running.world.lines(skip, &[("heard", "1\n"), ("shown", "2\n")]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        running.world.change(|state| state.skipped = true);
        while running.world.change(|state| state.skipped) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    // Two calls or so each time that the back-off has passed, which grows; without it, two for each skip.
    let calls = running.world.change(|state| state.calls);
    assert!((2..SKIPS as usize / 2).contains(&calls), "{calls}");
    mends.store(true, Ordering::Relaxed);
    running.world.lines(SKIPS, &[("heard", "3\n")]);
    let (state, _) = running.end().await;
    assert_eq!(state.delivered.last().unwrap(), "3");
}

#[tokio::test]
async fn a_spool_that_fails_is_asked_again() {
    let running = Running::start(settings(2), None, |_, _| now(Outcome::delivered()));
    running.world.push(Err(io::Error::other("no disk")));
    running.world.change(|state| state.failures = 3);
    running.world.push(Err(io::Error::other("no disk")));
    running.world.lines(10, &[("heard", "1\n")]);
    running.world.until(|state| state.done == [10]).await;
    running.world.change(|state| state.failures = 2);
    let (state, _) = running.end().await;
    assert_eq!((state.delivered.len(), state.saved), (1, 1));
}

#[tokio::test]
async fn lines_that_are_never_taken_are_held_without_a_place_for_them() {
    let running = Running::start(settings(2), None, |number, parcel| {
        let never = |lines| Left { lines, fate: Fate::Never("too long".into()) };
        match (number, parcel.lines()) {
            (1, 3) => now(Outcome { left: vec![never(1..2)], ..Outcome::default() }),
            (2..9, 1) => now(Outcome { left: vec![never(0..1)], ..Outcome::default() }),
            (9, 1) => now(Outcome::delivered()),
            other => panic!("{other:?}"),
        }
    });
    running.world.lines(10, &[("heard", "1\n2\n3\n")]);
    running.world.until(|state| state.calls > 5).await;
    running.world.change(|state| assert!(state.done.is_empty()));
    let (state, counts) = running.end().await;
    assert_eq!(state.delivered, ["1", "3", "2"]);
    expect(
        &counts,
        &[
            ("lines delivered", 3),
            ("calls partial", 1),
            ("calls undelivered", 7),
            ("calls delivered", 1),
            ("retries undelivered", 8),
        ],
    );
}

#[tokio::test]
async fn a_service_that_asks_to_be_left_alone_gets_no_call_until_then() {
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let after = Duration::from_millis(150);
    let running = Running::start(settings(1), None, move |number, parcel| {
        asked.lock().unwrap().push(Instant::now());
        if number > 1 {
            return now(Outcome::delivered());
        }
        let outcome = Outcome::later(parcel.lines(), Failure::Throttled, "slow down");
        now(Outcome { after: Some(after), ..outcome })
    });
    running.world.lines(10, &[("heard", "1\n"), ("shown", "2\n")]);
    let (state, _) = running.end().await;
    assert_eq!(state.delivered.len(), 2);
    let seen = seen.lock().unwrap();
    assert!(seen[1] - seen[0] >= after && seen.len() == 3, "{seen:?}");
}

#[test]
fn memory_grows_with_the_stretches() {
    const MIB: usize = 1024 * 1024;
    assert_eq!(LineSettings::memory_bytes(3, 4 * MIB), 4 * 21 * MIB);
    let stretch = FirehoseSink::CALL_LINE_BYTES;
    // As it was read, and a call of Firehose, whose lines are a part of it that was copied.
    assert!(LineSettings::unit_bytes(stretch) >= stretch + FirehoseSink::CALL_MEMORY_BYTES);
}
