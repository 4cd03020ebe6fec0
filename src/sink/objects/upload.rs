//! One object on its way, for as long as it takes.

use std::{sync::Arc, time::Duration};

use ::metrics::{Counter, Histogram};
use tokio::time::{Instant, sleep, timeout};

use super::{BodyError, Compression, ObjectBody, ObjectFacts, ObjectKey, ObjectPlan, ObjectStore, Placed};
use crate::{
    metrics::{self, Declared, Metrics},
    sink::{
        Backoff, Failure, PutError, StoreError,
        counts::{by_cause, register_skipped},
        outage::{Failed, Failing, Outage, What},
    },
    spool::{Content, Former, ReadError, SealedSegment},
};

/// Under how many other keys an object is tried, if every one is taken by something else, before the search begins
/// anew: each that is taken is an alarm already.
const MAX_SUFFIX: u32 = 99;

/// A segment could not be read: the cause's name.
pub(in crate::sink) const SPOOL: &str = "spool";

/// A segment must be repaired before it can be stored.
#[derive(Debug)]
pub(in crate::sink) struct Damaged;

/// What is counted of a sink's uploads.
pub(in crate::sink) struct Counts {
    pub(in crate::sink) sink: String,
    objects: Outcomes,
    pages: Outcomes,
    bytes: Counter,
    lines: Counter,
    seconds: Histogram,
    /// By the cause's name.
    retries: [(&'static str, Counter); 9],
    metrics: Arc<Metrics>,
    outage: Arc<Outage>,
}

/// By how an object is there.
struct Outcomes {
    stored: Counter,
    existed: Counter,
    occupied: Counter,
}

impl Outcomes {
    fn new(metrics: &Metrics, metric: &Declared, sink: &str) -> Self {
        let outcome = |outcome| metrics.counter(metric, &[sink, outcome]);
        Self { stored: outcome("stored"), existed: outcome("existed"), occupied: outcome("occupied") }
    }
}

impl Counts {
    pub(in crate::sink) fn new(metrics: &Arc<Metrics>, sink: &str) -> Self {
        register_skipped(metrics, sink);
        Self {
            sink: sink.into(),
            objects: Outcomes::new(metrics, &metrics::OBJECTS, sink),
            pages: Outcomes::new(metrics, &metrics::LEDGER_PAGES, sink),
            bytes: metrics.counter(&metrics::OBJECT_BYTES, &[sink]),
            lines: metrics.counter(&metrics::OBJECT_LINES, &[sink]),
            seconds: metrics.histogram(&metrics::UPLOAD_SECONDS, &[sink]),
            retries: by_cause(SPOOL, |cause| metrics.counter(&metrics::UPLOAD_RETRIES, &[sink, cause])),
            outage: Arc::new(Outage::new(sink)),
            metrics: Arc::clone(metrics),
        }
    }

    /// An object is there that has so many events of `content`. Rare enough to look the counter up.
    fn stored(&self, content: &Content, events: u64) {
        if let (Some(stream), Some(book)) = (content.stream(), content.book()) {
            let labels = [&self.sink, stream.as_str(), book.as_str()];
            self.metrics.counter(&metrics::STORED_EVENTS, &labels).increment(events);
        }
    }

    pub(in crate::sink) fn retry(&self, cause: &str) {
        if let Some((_, counter)) = self.retries.iter().find(|(name, _)| *name == cause) {
            counter.increment(1);
        }
    }
}

/// What an object's lines are.
pub(in crate::sink) enum Lines {
    /// Those of a content of a segment.
    Content(Arc<SealedSegment>, Content),
    /// A page of the books.
    Page(Vec<u8>),
    /// What a line sink will never take: it is counted there, and in no book.
    Undelivered(Vec<u8>),
}

impl Lines {
    /// What was counted before places of the segment went bad.
    fn former(&self) -> &[Former] {
        match self {
            Self::Content(_, content) => content.former(),
            Self::Page(_) | Self::Undelivered(_) => &[],
        }
    }

    fn body(&self, compression: Compression) -> ObjectBody {
        match self {
            Self::Content(segment, content) => ObjectBody::new(Arc::clone(segment), content, compression),
            Self::Page(text) | Self::Undelivered(text) => ObjectBody::of_text(text.clone(), compression),
        }
    }
}

/// What is stored, and under which key.
pub(in crate::sink) struct Kept {
    pub(in crate::sink) key: ObjectKey,
    pub(in crate::sink) events: u64,
    pub(in crate::sink) bytes: u64,
    pub(in crate::sink) crc32: u32,
    /// How many compressed bytes were put; `None` if it was stored before.
    pub(in crate::sink) compressed: Option<u64>,
}

/// One object on its way.
pub(in crate::sink) struct Upload {
    pub(in crate::sink) plan: ObjectPlan,
    pub(in crate::sink) lines: Lines,
    pub(in crate::sink) compression: Compression,
    pub(in crate::sink) attempt_timeout: Duration,
    pub(in crate::sink) backoff: Backoff,
    pub(in crate::sink) store: Arc<dyn ObjectStore>,
    pub(in crate::sink) counts: Arc<Counts>,
    /// Whether it failed, and is to be tried again.
    pub(in crate::sink) failing: Option<Failing>,
}

impl Upload {
    /// Stores the object, for as long as it takes; `None` if it has no lines any more.
    pub(in crate::sink) async fn run(mut self) -> Result<Option<Kept>, Damaged> {
        let kept = self.kept().await?;
        if let (Some(kept), Lines::Content(_, content)) = (&kept, &self.lines) {
            self.counts.stored(content, kept.events);
        }
        Ok(kept)
    }

    async fn kept(&mut self) -> Result<Option<Kept>, Damaged> {
        if self.plan.facts.events == 0 {
            return Ok(self.former().await);
        }
        let frozen = self.plan.key.clone();
        let mut attempt: u64 = 0;
        loop {
            attempt += 1;
            let began = Instant::now();
            let placed = self.attempt().await;
            if placed.is_ok() {
                self.succeeded();
            }
            let error = match placed {
                Ok(Placed::Occupied) => {
                    // It was stored before places of the segment went bad, and has more than is left of it.
                    if let Some(kept) = self.former().await {
                        self.count(Placed::Existed, began);
                        return Ok(Some(kept));
                    }
                    self.step_aside(&frozen).await;
                    continue;
                }
                Ok(placed) => {
                    self.count(placed, began);
                    let ObjectFacts { events, bytes, crc32, .. } = self.plan.facts;
                    let compressed = match placed {
                        Placed::Stored(compressed) => Some(compressed),
                        Placed::Existed | Placed::Occupied => None,
                    };
                    return Ok(Some(Kept { key: self.plan.key.clone(), events, bytes, crc32, compressed }));
                }
                Err(error) => error,
            };
            let cause = match &error {
                PutError::Body(BodyError::Read(ReadError::Damaged(_)) | BodyError::Footer { .. }) => {
                    return Err(Damaged);
                }
                PutError::Body(_) => SPOOL,
                PutError::Store(error) => error.cause.as_str(),
            };
            self.try_again(cause, &error, attempt).await;
        }
    }

    /// Waits before the next attempt.
    async fn try_again(&mut self, cause: &str, error: &(dyn std::error::Error + Send + Sync), attempt: u64) {
        self.counts.retry(cause);
        let wait = self.backoff.next_wait(fastrand::f64());
        let outage = &self.counts.outage;
        self.failing.get_or_insert_with(|| Failing::of(outage));
        outage.failed(&Failed { what: What::Object(&self.plan.key), error: &error, wait, attempt }, Instant::now());
        sleep(wait).await;
    }

    /// The store has done what it was asked.
    fn succeeded(&mut self) {
        self.failing = None;
        self.counts.outage.succeeded(Instant::now());
    }

    /// What the key holds, if it is what the segment held before places of it went bad.
    async fn former(&mut self) -> Option<Kept> {
        let former = self.lines.former().to_vec();
        if former.is_empty() {
            return None;
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            let key = self.plan.key.to_string();
            let told = timeout(self.attempt_timeout, self.store.told(&self.plan.place, &key)).await;
            match told.unwrap_or_else(|elapsed| Err(StoreError { cause: Failure::Timeout, source: elapsed.into() })) {
                Ok(told) => {
                    self.succeeded();
                    let told = told?;
                    let same = |former: &Former| told.matches(former.events, former.bytes, former.crc32);
                    let Former { events, bytes, crc32 } = former.into_iter().find(same)?;
                    return Some(Kept { key: self.plan.key.clone(), events, bytes, crc32, compressed: None });
                }
                Err(error) => self.try_again(error.cause.as_str(), &error, attempt).await,
            }
        }
    }

    async fn attempt(&self) -> Result<Placed, PutError> {
        let put = timeout(self.attempt_timeout, self.store.put(&self.plan, self.lines.body(self.compression)));
        put.await.unwrap_or_else(|elapsed| Err(PutError::store(Failure::Timeout, elapsed)))
    }

    /// The key holds something else: the next attempt is for another one.
    async fn step_aside(&mut self, frozen: &ObjectKey) {
        if let Some(outcomes) = self.outcomes() {
            outcomes.occupied.increment(1);
        }
        let (key, sink) = (&self.plan.key, &self.counts.sink);
        tracing::error!(sink, %key, "the key holds something else; storing under another");
        self.plan.key = if key.suffix() < MAX_SUFFIX { key.another() } else { frozen.clone() };
        if self.plan.key == *frozen {
            sleep(self.backoff.next_wait(fastrand::f64())).await;
        }
    }

    fn outcomes(&self) -> Option<&Outcomes> {
        match self.lines {
            Lines::Content(..) => Some(&self.counts.objects),
            Lines::Page(_) => Some(&self.counts.pages),
            Lines::Undelivered(_) => None,
        }
    }

    fn count(&self, placed: Placed, began: Instant) {
        let (key, sink) = (&self.plan.key, &self.counts.sink);
        match (placed, self.outcomes()) {
            (Placed::Stored(_), Some(outcomes)) => outcomes.stored.increment(1),
            (Placed::Existed | Placed::Occupied, Some(outcomes)) => outcomes.existed.increment(1),
            (_, None) => {}
        }
        let Lines::Content(_, Content { events, .. }) = self.lines else {
            let what = if matches!(self.lines, Lines::Page(_)) { "a page of the books" } else { "undelivered lines" };
            tracing::debug!(sink, %key, what, "stored an object beside the events");
            return;
        };
        self.counts.seconds.record(began.elapsed().as_secs_f64());
        match placed {
            Placed::Stored(bytes) => {
                self.counts.bytes.increment(bytes);
                self.counts.lines.increment(events);
                tracing::info!(sink, %key, events, bytes, "stored an object");
            }
            Placed::Existed | Placed::Occupied => {
                tracing::info!(sink, %key, events, "the object was stored before");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        batch::{InstanceId, Millis, SegmentId, StreamName},
        sink::{BoxFuture, ObjectReader, Page, Told, outage::tests::Log},
    };

    /// Fails so many times, and then has everything.
    struct Broken(AtomicUsize);

    impl ObjectStore for Broken {
        fn put<'a>(&'a self, _: &'a ObjectPlan, _: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>> {
            let fails = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            let answer = if fails { Err(PutError::store(Failure::Network, "no way")) } else { Ok(Placed::Stored(1)) };
            Box::pin(std::future::ready(answer))
        }

        fn overwrite<'a>(&'a self, _: &'a str, _: &'a str, _: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
            unreachable!()
        }

        fn list<'a>(&'a self, _: &'a str, _: &'a str, _: Option<String>) -> BoxFuture<'a, Result<Page, StoreError>> {
            unreachable!()
        }

        fn get<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<Box<dyn ObjectReader>>, StoreError>> {
            unreachable!()
        }

        fn told<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Told>, StoreError>> {
            unreachable!()
        }
    }

    #[tokio::test]
    async fn an_outage_is_told_once_for_all_objects_and_its_end_once_the_last_is_stored() {
        let (log, _listening) = Log::listen();
        let metrics = Arc::new(Metrics::new().unwrap());
        let counts = Arc::new(Counts::new(&metrics, "files"));
        let retries = || {
            let counts = metrics.counts(&[&metrics::UPLOAD_RETRIES]);
            counts.iter().map(|count| (count.labels[1].clone(), count.value)).collect::<Vec<_>>()
        };
        assert_eq!(retries().len(), Failure::ALL.len() + 1, "every cause is there before its first");
        let store: Arc<dyn ObjectStore> = Arc::new(Broken(AtomicUsize::new(9)));
        let instance = InstanceId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        let upload = |stream: &str| {
            let (stream, hour) = (StreamName::new(stream).unwrap(), Millis::new(0).unwrap().hour());
            let key = ObjectKey::undelivered("", "hose", &stream, hour, ((instance, SegmentId(1)), 1));
            let facts = ObjectFacts {
                events: 1,
                bytes: 3,
                crc32: crc32fast::hash(b"{}\n"),
                first_event: None,
                last_event: None,
                instance,
                segment: SegmentId(1),
            };
            Upload {
                plan: ObjectPlan { place: String::new(), key, facts },
                lines: Lines::Undelivered(b"{}\n".to_vec()),
                compression: Compression::FAST_GZIP,
                attempt_timeout: Duration::from_mins(1),
                backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(4)),
                store: Arc::clone(&store),
                counts: Arc::clone(&counts),
                failing: None,
            }
        };
        let stored = tokio::join!(upload("heard").run(), upload("shown").run());
        assert!(matches!(stored, (Ok(Some(_)), Ok(Some(_)))));
        let said = log.take();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("WARN an object could not be stored; trying again"), "{said:?}");
        assert!(said[0].contains("heard") && said[0].contains("error=network: no way wait="), "{said:?}");
        assert!(said[1].starts_with("INFO the sink works again") && said[1].contains("calls=2 retries=7"), "{said:?}");
        assert!(retries().contains(&("network".into(), 9)));
    }
}
