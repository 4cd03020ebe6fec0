//! The heartbeats of the books: every interval, and at the end, each sink is told how the instance is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::metrics::Counter;
use tokio::{
    runtime::{Handle, Runtime},
    sync::watch,
    task::JoinSet,
    time::{Instant as TokioInstant, sleep, timeout_at},
};

use super::sinks::ObjectPlace;
use crate::{
    batch::{Clock, InstanceId, Millis},
    config::Config,
    ledger::{EventCounts, Heartbeat},
    metrics::{self, Metrics},
    sink::ObjectStore,
    spool::{Destination, Shelf, Spool},
};

/// The longest that one may take. The next one tells more, so it is not worth to wait for long.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long the last one may take if nothing is left of the time for the drain.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long the last one of a best-effort sink may take, unless those of the others take longer.
const OTHERS_FAREWELL: Duration = Duration::from_secs(5);

/// Whose spool was stored by somebody else.
#[derive(Debug, Clone)]
pub(super) struct Departed {
    pub(super) instance: InstanceId,
    /// When it was taken up to be stored, by the clock of the spool: later than any start of its own processes.
    pub(super) taken_up: Millis,
    pub(super) clock: Arc<Clock>,
    pub(super) shelf: Arc<Shelf>,
}

/// What is still to be told of an instance that is no more: until then its own last heartbeat says that it may still store
/// something.
pub(super) struct Farewell {
    untold: Vec<(Handle, Arc<Heart>)>,
}

impl Farewell {
    /// Every object sink is to be told, which put to `places`, unless there are to be no heartbeats. For the sinks called
    /// `kept` nobody stores here, and nobody knows whether they are required: all the same it is no end as long as one of
    /// them lacks something.
    pub(super) fn new(
        config: &Config,
        departed: &Departed,
        (metrics, places): (&Arc<Metrics>, Vec<ObjectPlace>),
        kept: Vec<String>,
    ) -> Self {
        if !config.ledger.heartbeats {
            return Self { untold: Vec::new() };
        }
        let vitals = Arc::new(Vitals {
            instance: departed.instance,
            started: departed.taken_up,
            interval: config.ledger.interval.get(),
            any_required: config.sinks.iter().any(|sink| sink.required),
            keeps: true,
            clock: Arc::clone(&departed.clock),
            shelf: Arc::clone(&departed.shelf),
            metrics: Arc::clone(metrics),
            kept,
        });
        let heart = |place: ObjectPlace| (place.runtime.clone(), Arc::new(Heart::new(&vitals, place)));
        Self { untold: places.into_iter().map(heart).collect() }
    }

    /// Tells the sinks for which it is the end by now, and that have not been told yet. Whether none of them is left.
    pub(super) async fn tell(&mut self) -> bool {
        let mut telling = JoinSet::new();
        for (number, (runtime, heart)) in self.untold.iter().enumerate() {
            let heart = Arc::clone(heart);
            if !heart.is_owed() {
                let told = async move { (number, heart.run_once(true, Instant::now() + TIMEOUT).await) };
                telling.spawn_on(told, runtime);
            }
        }
        let (mut asked, mut told) = (telling.len(), Vec::new());
        while let Some(outcome) = telling.join_next().await {
            if let Ok((number, true)) = outcome {
                told.push(number);
            }
        }
        asked -= told.len();
        let mut number = 0..;
        self.untold.retain(|_| number.next().is_none_or(|number| !told.contains(&number)));
        asked == 0
    }
}

/// The heartbeats of every sink.
#[derive(Debug)]
pub(super) struct Hearts {
    /// Those of the sinks that are needed, and of the others.
    needed: JoinSet<()>,
    others: JoinSet<()>,
    /// When the last ones have to be written, once the process ends.
    ended: watch::Sender<Option<Instant>>,
}

/// What heartbeats tell, by whomever they are written.
struct Vitals {
    instance: InstanceId,
    started: Millis,
    interval: Duration,
    /// Whether any sink is required: if none is, nobody tells what is stored.
    any_required: bool,
    /// Whether what is not stored outlives the process.
    keeps: bool,
    clock: Arc<Clock>,
    shelf: Arc<Shelf>,
    metrics: Arc<Metrics>,
    /// The sinks that nobody stores for: whether they are required is not known.
    kept: Vec<String>,
}

impl Vitals {
    /// Whether a required sink lacks something, or the one called `sink`, whose own place must not tell of an end before
    /// that.
    fn owes(&self, sink: &str) -> bool {
        let others: Vec<&str> = self.kept.iter().map(String::as_str).chain([sink]).collect();
        self.shelf.owes(&others)
    }

    fn heartbeat(&self, clean_end: bool) -> Heartbeat {
        // In this order: all that was counted had been received by then, and what is received later is not called stored.
        let counts = self.metrics.counts(&[
            &metrics::REQUESTS,
            &metrics::EVENTS_RECEIVED,
            &metrics::EVENTS_REFUSED,
            &metrics::EVENTS,
        ]);
        let at = self.clock.now();
        let unstored = self.shelf.oldest_unstored();
        let oldest = if self.any_required { unstored } else { Some(self.started) };
        let mut heartbeat = Heartbeat::new(self.instance, self.started, self.interval);
        heartbeat.at = at;
        heartbeat.oldest_unstored = oldest.filter(|_| !clean_end);
        heartbeat.ended = clean_end;
        heartbeat.keeps = self.keeps;
        for count in counts {
            let of = |label: usize| count.labels.get(label).cloned().unwrap_or_default();
            if count.metric.name == metrics::REQUESTS.name {
                heartbeat.requests.insert(of(0), count.value);
                continue;
            }
            let verdict = of(1);
            let stream: &mut EventCounts = heartbeat.events.entry(of(0)).or_default();
            match (count.metric.name, verdict.as_str()) {
                (name, _) if name == metrics::EVENTS_RECEIVED.name => stream.received = count.value,
                (name, _) if name == metrics::EVENTS_REFUSED.name => stream.refused = count.value,
                (_, "rejected") => stream.rejected = count.value,
                _ => stream.accepted = count.value,
            }
        }
        heartbeat
    }
}

/// By when the last ones have to be written, once the process ends; `None` if nobody will ever tell.
async fn ended(end: &mut watch::Receiver<Option<Instant>>) -> Option<Instant> {
    end.wait_for(Option::is_some).await.ok().and_then(|end| *end)
}

impl Hearts {
    /// Starts the heartbeats of every object sink, which put to `places`, unless there are to be none. Each is written on
    /// its sink's own threads.
    pub(super) fn start(config: &Config, spool: &Spool, (metrics, places): (&Arc<Metrics>, Vec<ObjectPlace>)) -> Self {
        let (ended, end) = watch::channel(None);
        let (mut needed, mut others) = (JoinSet::new(), JoinSet::new());
        if !config.ledger.heartbeats {
            return Self { needed, others, ended };
        }
        let vitals = Arc::new(Vitals {
            instance: spool.instance(),
            started: spool.clock().now(),
            interval: config.ledger.interval.get(),
            any_required: config.sinks.iter().any(|sink| sink.required),
            keeps: config.spool.keeps(),
            clock: spool.clock(),
            shelf: spool.shelf(),
            metrics: Arc::clone(metrics),
            kept: Vec::new(),
        });
        for place in places {
            let runtime = place.runtime.clone();
            let tasks = if place.needed { &mut needed } else { &mut others };
            tasks.spawn_on(Heart::new(&vitals, place).run(end.clone()), &runtime);
        }
        Self { needed, others, ended }
    }

    /// Writes the last ones, of all that can be within `time`: another process of the same instance goes on, and tells
    /// how it is from now on.
    pub(super) async fn end_within(mut self, time: Duration) {
        let deadline = Instant::now() + time;
        let _ = self.ended.send(Some(deadline));
        let told = async {
            while self.needed.join_next().await.is_some() {}
            while self.others.join_next().await.is_some() {}
        };
        let _ = timeout_at(deadline.into(), told).await;
    }

    /// Writes the last ones, which say whether everything is stored, by `deadline` or soon after. Blocks.
    pub(super) fn end(mut self, runtime: &Runtime, deadline: Instant) {
        let deadline = deadline.max(Instant::now() + FAREWELL);
        let others = deadline.min(Instant::now() + OTHERS_FAREWELL);
        let _ = self.ended.send(Some(deadline));
        runtime.block_on(async {
            let told = async { while self.needed.join_next().await.is_some() {} };
            let _ = timeout_at(deadline.into(), told).await;
            // The place of a best-effort sink may be as dead as the sink.
            let told = async { while self.others.join_next().await.is_some() {} };
            let _ = timeout_at(others.into(), told).await;
        });
    }
}

/// The heartbeats of one sink.
struct Heart {
    vitals: Arc<Vitals>,
    destination: Destination,
    store: Arc<dyn ObjectStore>,
    written: Counter,
    failed: Counter,
}

impl Heart {
    fn new(vitals: &Arc<Vitals>, place: ObjectPlace) -> Self {
        let ObjectPlace { destination, store, .. } = place;
        let outcome = |outcome| vitals.metrics.counter(&metrics::HEARTBEATS, &[&destination.sink, outcome]);
        let (written, failed) = (outcome("written"), outcome("failed"));
        Self { vitals: Arc::clone(vitals), destination, store, written, failed }
    }

    /// Whether it is no end for this sink yet.
    fn is_owed(&self) -> bool {
        self.vitals.owes(&self.destination.sink)
    }

    /// Beats at once, every interval, and once more when `end` tells that the process ends.
    async fn run(self, mut end: watch::Receiver<Option<Instant>>) {
        loop {
            let limit = Instant::now() + TIMEOUT.min(self.vitals.interval);
            self.run_once(false, limit).await;
            tokio::select! {
                () = sleep(self.vitals.interval) => {}
                told = ended(&mut end) => {
                    if let Some(deadline) = told {
                        self.run_once(!self.is_owed(), deadline).await;
                    }
                    return;
                }
            }
        }
    }

    /// Writes one heartbeat, by `limit` or not at all: whether it was written.
    async fn run_once(&self, clean_end: bool, limit: Instant) -> bool {
        let mut heartbeat = self.vitals.heartbeat(clean_end);
        // The books of a place tell of what the sink has there.
        let streams = &self.destination.streams;
        heartbeat.events.retain(|stream, _| streams.is_empty() || streams.contains(stream));
        let key = heartbeat.key(&self.destination.prefix);
        let written = self.store.overwrite(&self.destination.place, &key, heartbeat.write());
        let error = match timeout_at(TokioInstant::from_std(limit), written).await {
            Ok(Ok(())) => {
                self.written.increment(1);
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        self.failed.increment(1);
        tracing::debug!(sink = self.destination.sink, key, error, "a heartbeat could not be written");
        false
    }
}
