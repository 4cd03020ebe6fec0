//! A sink's driver: segment by segment, object by object, until everything is stored.

use std::{sync::Arc, time::Duration};

use ::metrics::{Counter, Gauge, Histogram};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Backoff, BodyError, ObjectBody, ObjectFacts, ObjectKey, ObjectPlan, ObjectStore, Placed, PutError, PutFailure,
};
use crate::{
    batch::{Millis, SegmentId},
    metrics::{self, Metrics},
    spool::{Consumer, Content, Destination, ReadError, SealedSegment},
};

/// Under how many other keys an object is tried, if every one is taken by something else, before the search begins
/// anew: each that is taken is an alarm already.
const MAX_SUFFIX: u32 = 99;

/// How a sink works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where objects go whose segment was sealed before this sink was configured.
    pub destination: Destination,
    /// Objects that are stored at the same time.
    pub concurrency: usize,
    /// The longest that one attempt may take.
    pub attempt_timeout: Duration,
    /// How long to wait between attempts.
    pub backoff: Backoff,
}

/// Takes segments from a consumer and stores them.
pub struct Driver {
    settings: Settings,
    store: Arc<dyn ObjectStore>,
    consumer: Consumer,
    counts: Arc<Counts>,
}

/// A sink's metrics.
struct Counts {
    metrics: Arc<Metrics>,
    sink: String,
    stored: Counter,
    existed: Counter,
    occupied: Counter,
    bytes: Counter,
    lines: Counter,
    seconds: Histogram,
    lag_bytes: Gauge,
}

impl Counts {
    fn new(metrics: &Arc<Metrics>, sink: &str) -> Self {
        let objects = |outcome| metrics.counter(&metrics::OBJECTS, &[sink, outcome]);
        Self {
            sink: sink.into(),
            stored: objects("stored"),
            existed: objects("existed"),
            occupied: objects("occupied"),
            bytes: metrics.counter(&metrics::OBJECT_BYTES, &[sink]),
            lines: metrics.counter(&metrics::OBJECT_LINES, &[sink]),
            seconds: metrics.histogram(&metrics::UPLOAD_SECONDS, &[sink]),
            lag_bytes: metrics.gauge(&metrics::SINK_LAG_BYTES, &[sink]),
            metrics: Arc::clone(metrics),
        }
    }

    fn retry(&self, cause: &str) {
        self.metrics.counter(&metrics::UPLOAD_RETRIES, &[&self.sink, cause]).increment(1);
    }
}

/// A segment must be repaired before it can be stored.
struct Damaged;

impl Driver {
    /// The driver of the sink that `consumer` belongs to.
    pub fn new(settings: Settings, store: Arc<dyn ObjectStore>, consumer: Consumer, metrics: &Arc<Metrics>) -> Self {
        let counts = Arc::new(Counts::new(metrics, &settings.destination.sink));
        Self { settings, store, consumer, counts }
    }

    /// Stores segments until none will come any more. Dropping it between two polls loses nothing: what was stored is
    /// found stored.
    pub async fn run(mut self) {
        while self.run_once().await {}
    }

    /// Waits for the next segment, stores it and moves the cursor, for as long as it takes; `false` if none will come.
    pub async fn run_once(&mut self) -> bool {
        let Some(segment) = self.consumer.next().await else { return false };
        self.counts.lag_bytes.set(self.lag_bytes() as f64);
        self.store(segment).await;
        self.counts.lag_bytes.set(self.lag_bytes() as f64);
        true
    }

    /// How many bytes of sealed segments the sink has not passed.
    pub fn lag_bytes(&self) -> u64 {
        self.consumer.lag_bytes()
    }

    /// Stores `segment` and moves the cursor.
    async fn store(&mut self, segment: SegmentId) {
        let mut backoff = self.settings.backoff;
        let mut repair = false;
        loop {
            let error = match self.open(segment, repair) {
                Ok(None) => match self.pass(segment, None) {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Ok(Some(opened)) => {
                    let Ok(received) = self.store_all(Arc::new(opened)).await else {
                        repair = true;
                        continue;
                    };
                    match self.pass(segment, received) {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.counts.retry("spool");
            tracing::error!(sink = self.counts.sink, %segment, %error, "the spool's disk failed; trying again");
            sleep(backoff.next_wait(fastrand::f64())).await;
        }
    }

    fn open(&self, segment: SegmentId, repair: bool) -> std::io::Result<Option<SealedSegment>> {
        let destinations = std::slice::from_ref(&self.settings.destination);
        if repair { self.consumer.repair(segment, destinations) } else { self.consumer.open(segment, destinations) }
    }

    fn pass(&mut self, segment: SegmentId, received: Option<Millis>) -> std::io::Result<()> {
        self.consumer.pass(segment, received.unwrap_or(Millis::MIN))
    }

    /// Stores every object of `segment`: the received time of its last event.
    async fn store_all(&self, segment: Arc<SealedSegment>) -> Result<Option<Millis>, Damaged> {
        let received = segment.footer.last_received();
        let places = Arc::new(Semaphore::new(self.settings.concurrency));
        let mut objects = JoinSet::new();
        for content in &segment.footer.contents {
            let Some(plan) = plan(&segment, content, &self.settings.destination) else { return Err(Damaged) };
            let upload = Upload {
                plan,
                segment: Arc::clone(&segment),
                content: content.clone(),
                settings: self.settings.clone(),
                store: Arc::clone(&self.store),
                counts: Arc::clone(&self.counts),
            };
            let places = Arc::clone(&places);
            objects.spawn(async move {
                let _place = places.acquire_owned().await;
                upload.run().await
            });
        }
        while let Some(stored) = objects.join_next().await {
            // An upload that panicked is as good as a damaged segment: both are looked at anew.
            stored.map_err(|_| Damaged)??;
        }
        Ok(received)
    }
}

/// What the lines of `content` become; `None` if the footer makes no sense.
fn plan(segment: &SealedSegment, content: &Content, now_configured: &Destination) -> Option<ObjectPlan> {
    let footer = &segment.footer;
    let destination = footer.destination(&now_configured.sink).unwrap_or(now_configured);
    let instance = footer.instance()?;
    let who = (instance, footer.segment);
    Some(ObjectPlan {
        place: destination.place.clone(),
        key: ObjectKey::new(&destination.prefix, &content.stream()?, content.book()?, content.hour(), who),
        facts: ObjectFacts {
            events: content.events,
            bytes: content.bytes,
            crc32: content.crc32,
            first_event: content.first_event(),
            last_event: content.last_event(),
            instance,
            segment: footer.segment,
        },
    })
}

/// One object on its way.
struct Upload {
    plan: ObjectPlan,
    segment: Arc<SealedSegment>,
    content: Content,
    settings: Settings,
    store: Arc<dyn ObjectStore>,
    counts: Arc<Counts>,
}

impl Upload {
    /// Stores the object, for as long as it takes.
    async fn run(mut self) -> Result<(), Damaged> {
        let mut backoff = self.settings.backoff;
        let frozen = self.plan.key.clone();
        let mut attempt: u64 = 0;
        loop {
            attempt += 1;
            let began = Instant::now();
            let error = match self.attempt().await {
                Ok(Placed::Occupied) => {
                    self.counts.occupied.increment(1);
                    let (key, sink) = (&self.plan.key, &self.counts.sink);
                    tracing::error!(sink, %key, "the key holds something else; storing under another");
                    self.plan.key = if key.suffix() < MAX_SUFFIX { key.another() } else { frozen.clone() };
                    if self.plan.key == frozen {
                        sleep(backoff.next_wait(fastrand::f64())).await;
                    }
                    continue;
                }
                Ok(placed) => {
                    self.count(placed, began);
                    return Ok(());
                }
                Err(error) => error,
            };
            let cause = match &error {
                PutError::Body(BodyError::Read(ReadError::Damaged(_)) | BodyError::Footer { .. }) => {
                    return Err(Damaged);
                }
                PutError::Body(_) => "spool",
                PutError::Store { cause, .. } => cause.as_str(),
            };
            self.counts.retry(cause);
            let wait = backoff.next_wait(fastrand::f64());
            let (key, sink) = (&self.plan.key, &self.counts.sink);
            // The first failure is worth a warning; the others of the same outage are not.
            if attempt == 1 {
                tracing::warn!(sink, %key, %error, ?wait, "an object could not be stored; trying again");
            } else {
                tracing::debug!(sink, %key, %error, ?wait, attempt, "an object could not be stored; trying again");
            }
            sleep(wait).await;
        }
    }

    async fn attempt(&self) -> Result<Placed, PutError> {
        let destination = self.segment.footer.destination(&self.settings.destination.sink);
        let level = destination.unwrap_or(&self.settings.destination).level;
        let body = ObjectBody::new(Arc::clone(&self.segment), &self.content, level);
        let put = timeout(self.settings.attempt_timeout, self.store.put(&self.plan, body));
        put.await.unwrap_or_else(|elapsed| Err(PutError::store(PutFailure::Timeout, elapsed)))
    }

    fn count(&self, placed: Placed, began: Instant) {
        self.counts.seconds.record(began.elapsed().as_secs_f64());
        let (key, sink, events) = (&self.plan.key, &self.counts.sink, self.content.events);
        match placed {
            Placed::Stored(bytes) => {
                self.counts.stored.increment(1);
                self.counts.bytes.increment(bytes);
                self.counts.lines.increment(events);
                tracing::info!(sink, %key, events, bytes, "stored an object");
            }
            Placed::Existed | Placed::Occupied => {
                self.counts.existed.increment(1);
                tracing::info!(sink, %key, events, "the object was stored before");
            }
        }
    }
}
