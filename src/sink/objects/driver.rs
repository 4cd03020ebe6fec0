//! An object sink's driver: segment by segment, object by object, until everything is stored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use super::{
    Codec, Compression, ObjectFacts, ObjectKey, ObjectPlan, ObjectStore,
    upload::{Counts, Damaged, Kept, Lines, SPOOL, Upload},
};
use crate::{
    batch::{Millis, SegmentId},
    ledger::Page,
    metrics::Metrics,
    sink::Backoff,
    spool::{Consumer, Content, Destination, Footer, SealedSegment},
};

/// How an object sink works.
#[derive(Debug, Clone)]
pub struct ObjectSettings {
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
pub struct ObjectDriver {
    settings: ObjectSettings,
    store: Arc<dyn ObjectStore>,
    consumer: Consumer,
    counts: Arc<Counts>,
    /// Whether it was told that segments are from when the sink was another one.
    told_of_other: AtomicBool,
}

impl ObjectDriver {
    /// The driver of the sink that `consumer` belongs to.
    pub fn new(
        settings: ObjectSettings,
        store: Arc<dyn ObjectStore>,
        consumer: Consumer,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let sink = &settings.destination.sink;
        let counts = Arc::new(Counts::new(metrics, sink));
        Self { settings, store, consumer, counts, told_of_other: AtomicBool::new(false) }
    }

    /// Stores segments until none will come any more. Dropping it between two polls loses nothing: what was stored is
    /// found stored.
    pub async fn run(mut self) {
        while self.run_once().await {}
    }

    /// Waits for the next segment, stores it and moves the cursor, for as long as it takes; `false` if none will come.
    pub async fn run_once(&mut self) -> bool {
        let Some(segment) = self.consumer.next().await else { return false };
        let skipped = self.consumer.skipped(segment);
        tokio::select! {
            () = self.store(segment) => {}
            // The spool went on without this sink: what is on its way is not waited for.
            () = skipped => {}
        }
        true
    }

    /// Whether there is a segment to take, of which nothing may be left.
    pub fn has_next(&self) -> bool {
        self.consumer.has_next()
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
                    let received = opened.footer.last_received();
                    if self.store_all(&Arc::new(opened)).await.is_err() {
                        // Once at once; a repair that does not help is not made again and again.
                        if repair {
                            sleep(backoff.next_wait(fastrand::f64())).await;
                        }
                        repair = true;
                        continue;
                    }
                    match self.pass(segment, received) {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.counts.retry(SPOOL);
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

    /// Where the objects of a segment go: where it says, unless it was sealed before this sink was configured; or when the
    /// sink was of another kind, whose place is none for this one; or by a version that knows a codec which this one does
    /// not.
    fn destination<'a>(&'a self, footer: &'a Footer) -> &'a Destination {
        let configured = &self.settings.destination;
        let Some(frozen) = footer.destination(&configured.sink) else { return configured };
        if frozen.is_for(&configured.kind) && Codec::named(&frozen.codec).is_some() {
            return frozen;
        }
        if !self.told_of_other.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                sink = configured.sink,
                segment = %footer.segment,
                was = frozen.kind,
                is = configured.kind,
                codec = frozen.codec,
                "the sink is of another kind than when segments were sealed, or its codec is not known; their objects go \
                 where it is now configured"
            );
        }
        configured
    }

    /// How the objects of `destination` are compressed, in the memory that is counted of what is configured.
    fn compression(&self, destination: &Destination) -> Compression {
        let of = |destination: &Destination| Compression::named(&destination.codec, destination.level);
        let configured = of(&self.settings.destination).unwrap_or(Compression::FAST_GZIP);
        of(destination).unwrap_or(configured).within(configured)
    }

    /// Stores every object of `segment`, and then the pages of the books that name them.
    async fn store_all(&self, segment: &Arc<SealedSegment>) -> Result<(), Damaged> {
        let footer = &segment.footer;
        let destination = self.destination(footer);
        let compression = self.compression(destination);
        let places = Arc::new(Semaphore::new(self.settings.concurrency));
        let mut objects = JoinSet::new();
        for (number, content) in footer.contents.iter().enumerate().filter(|(_, it)| destination.takes(it)) {
            let plan = plan(footer, content, (destination, compression.codec)).ok_or(Damaged)?;
            let lines = Lines::Content(Arc::clone(segment), content.clone());
            let upload = self.upload(plan, lines, compression);
            let places = Arc::clone(&places);
            objects.spawn(async move {
                let _place = places.acquire_owned().await;
                upload.run().await.map(|kept| (number, kept))
            });
        }
        let mut kept: Vec<Option<Kept>> = footer.contents.iter().map(|_| None).collect();
        while let Some(stored) = objects.join_next().await {
            // An upload that panicked is as good as a damaged segment: both are looked at anew.
            let (number, object) = stored.map_err(|_| Damaged)??;
            if let Some(Kept { bytes, compressed: Some(compressed), .. }) = object {
                self.consumer.stored(bytes, compressed);
            }
            kept[number] = object;
        }
        let (booked, keys) = booked(footer, kept);
        self.store_pages(&booked, &keys, destination).await
    }

    /// Stores the pages of a segment whose objects are at `keys`: one after the other, in the memory of an object. A page
    /// without lines, of an hour of which the sink has nothing, is left out as an object without lines is.
    async fn store_pages(&self, footer: &Footer, keys: &[String], destination: &Destination) -> Result<(), Damaged> {
        let who = (footer.instance().ok_or(Damaged)?, footer.segment);
        for hour in Page::hours(footer) {
            let page = Page::new(footer, keys, hour);
            let plan = ObjectPlan {
                place: destination.place.clone(),
                key: ObjectKey::page(&destination.prefix, hour, who),
                facts: ObjectFacts {
                    events: page.lines,
                    bytes: page.text.len() as u64,
                    crc32: crc32fast::hash(&page.text),
                    first_event: None,
                    last_event: None,
                    instance: who.0,
                    segment: who.1,
                },
            };
            // A task of its own, as every object has: a panic costs an attempt and not the driver.
            let mut upload = JoinSet::new();
            upload.spawn(self.upload(plan, Lines::Page(page.text), Compression::FAST_GZIP).run());
            while let Some(stored) = upload.join_next().await {
                stored.map_err(|_| Damaged)??;
            }
        }
        Ok(())
    }

    fn upload(&self, plan: ObjectPlan, lines: Lines, compression: Compression) -> Upload {
        Upload {
            plan,
            lines,
            compression,
            attempt_timeout: self.settings.attempt_timeout,
            backoff: self.settings.backoff,
            store: Arc::clone(&self.store),
            counts: Arc::clone(&self.counts),
            failing: None,
        }
    }
}

/// The footer as the books tell it: each content counted as it is stored, with its key; an empty one if there is no object,
/// because nothing is left of the content, or the sink does not take its stream.
fn booked(footer: &Footer, kept: Vec<Option<Kept>>) -> (Footer, Vec<String>) {
    let mut booked = footer.clone();
    let mut keys = vec![String::new(); kept.len()];
    for (number, object) in kept.into_iter().enumerate() {
        let Some(Kept { key, events, bytes, crc32, .. }) = object else { continue };
        let content = &mut booked.contents[number];
        (content.events, content.bytes, content.crc32) = (events, bytes, crc32);
        keys[number] = key.to_string();
    }
    (booked, keys)
}

/// What the lines of `content` become; `None` if the footer makes no sense.
fn plan(footer: &Footer, content: &Content, (destination, codec): (&Destination, Codec)) -> Option<ObjectPlan> {
    let instance = footer.instance()?;
    let who = (instance, footer.segment);
    Some(ObjectPlan {
        place: destination.place.clone(),
        key: ObjectKey::new(&destination.prefix, &content.stream()?, content.book()?, content.hour(), who, codec),
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
