//! The heartbeats of the books: every interval, and at the end, each sink is told how the instance is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::metrics::Counter;
use tokio::{
    runtime::Runtime,
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

/// Whose spool was stored to its end by somebody else.
#[derive(Debug, Clone)]
pub(super) struct Departed {
    pub(super) instance: InstanceId,
    /// When it was taken up to be stored, by the clock of the spool: later than any start of its own processes.
    pub(super) taken_up: Millis,
    pub(super) clock: Arc<Clock>,
    pub(super) shelf: Arc<Shelf>,
}

/// Tells every object sink, which put to `places`, that nothing is left of an instance that is no more. Until then its own
/// last heartbeat says that it may still store something. Whether all have been told, or are not to be.
pub(super) async fn tell_end(
    config: &Config,
    departed: Departed,
    (metrics, places): (&Arc<Metrics>, Vec<ObjectPlace>),
) -> bool {
    if !config.ledger.heartbeats {
        return true;
    }
    let vitals = Arc::new(Vitals {
        instance: departed.instance,
        started: departed.taken_up,
        interval: config.ledger.interval.get(),
        any_required: config.sinks.iter().any(|sink| sink.required),
        keeps: true,
        clock: departed.clock,
        shelf: departed.shelf,
        metrics: Arc::clone(metrics),
    });
    let mut told = JoinSet::new();
    for place in places {
        let runtime = place.runtime.clone();
        let heart = Heart::new(&vitals, place);
        told.spawn_on(async move { heart.run_once(true, Instant::now() + TIMEOUT).await }, &runtime);
    }
    let mut all = true;
    while let Some(written) = told.join_next().await {
        all &= written.unwrap_or_default();
    }
    all
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
struct End {
    /// Whether everything is stored.
    clean: bool,
    /// When the last heartbeat has to be written.
    deadline: Instant,
}

/// The heartbeats of every sink.
#[derive(Debug)]
pub(super) struct Hearts {
    tasks: JoinSet<()>,
    ended: watch::Sender<Option<End>>,
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
}

impl Vitals {
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
        // A segment that could not be sealed is not among those that are left, but its events are.
        let ended = clean_end && unstored.is_none();
        let mut heartbeat = Heartbeat::new(self.instance, self.started, self.interval);
        heartbeat.at = at;
        heartbeat.oldest_unstored = oldest.filter(|_| !ended);
        heartbeat.ended = ended;
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

/// How the process ended, once it has; `None` if nobody will ever tell.
async fn ended(end: &mut watch::Receiver<Option<End>>) -> Option<End> {
    end.wait_for(Option::is_some).await.ok().and_then(|end| *end)
}

impl Hearts {
    /// Starts the heartbeats of every object sink, which put to `places`, unless there are to be none. Each is written on
    /// its sink's own threads.
    pub(super) fn start(config: &Config, spool: &Spool, (metrics, places): (&Arc<Metrics>, Vec<ObjectPlace>)) -> Self {
        let (ended, end) = watch::channel(None);
        let mut tasks = JoinSet::new();
        if !config.ledger.heartbeats {
            return Self { tasks, ended };
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
        });
        for place in places {
            let runtime = place.runtime.clone();
            tasks.spawn_on(Heart::new(&vitals, place).run(end.clone()), &runtime);
        }
        Self { tasks, ended }
    }

    /// Writes the last ones, which say whether everything is stored, by `deadline` or soon after. Blocks.
    pub(super) fn end(mut self, runtime: &Runtime, clean: bool, deadline: Instant) {
        let deadline = deadline.max(Instant::now() + FAREWELL);
        let _ = self.ended.send(Some(End { clean, deadline }));
        runtime.block_on(async {
            let told = async { while self.tasks.join_next().await.is_some() {} };
            let _ = timeout_at(deadline.into(), told).await;
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

    /// Beats at once, every interval, and once more when `end` tells how the process ended.
    async fn run(self, mut end: watch::Receiver<Option<End>>) {
        loop {
            let limit = Instant::now() + TIMEOUT.min(self.vitals.interval);
            self.run_once(false, limit).await;
            tokio::select! {
                () = sleep(self.vitals.interval) => {}
                told = ended(&mut end) => {
                    if let Some(End { clean, deadline }) = told {
                        self.run_once(clean, deadline).await;
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
