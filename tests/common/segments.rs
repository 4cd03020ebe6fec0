//! Sealed segments of given lines, made by the spool itself.

use std::{path::Path, rc::Rc, sync::Arc, thread, time::Duration};

use logweir::{
    admission::ByteBudget,
    batch::{Book, FrameBuilder, Millis, SegmentId, StreamName},
    metrics::Metrics,
    queue::{self, Submission},
    sink::{Compression, ObjectBody, ObjectFacts, ObjectKey, ObjectPlan},
    spool::{Consumer, Destination, Lines, SealedSegment, Settings, Shelf, Spool, Terms},
};
use tokio::runtime::{Builder, LocalOptions};

/// The sink whose objects the segments become.
pub(crate) const SINK: &str = "s3";
/// When everything was received: 2026-11-22T09:00:00.123Z.
pub(crate) const RECEIVED: i64 = 1_795_338_000_123;
/// How much is submitted at a time, in bytes.
const SUBMISSION_BYTES: usize = 1024 * 1024;

/// A batch that becomes a part of a segment.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) stream: &'static str,
    pub(crate) book: Book,
    pub(crate) received: i64,
    pub(crate) lines: String,
}

impl Batch {
    /// Accepted events that were received at [`RECEIVED`].
    pub(crate) fn accepted(stream: &'static str, lines: impl Into<String>) -> Self {
        Self { stream, book: Book::Accepted, received: RECEIVED, lines: lines.into() }
    }
}

/// A closed spool with sealed segments.
pub(crate) struct Segments {
    /// What holds the segment, for sinks to consume.
    pub(crate) shelf: Arc<Shelf>,
    /// The spool's metrics, for the sinks to add to.
    pub(crate) metrics: Arc<Metrics>,
    _dir: tempfile::TempDir,
}

impl Segments {
    /// A segment with the lines of each stream, which are to become objects at `destination`.
    pub(crate) fn sealed(destination: &Destination, streams: &[(&'static str, String)]) -> Self {
        let batches = streams.iter().map(|(stream, lines)| Batch::accepted(stream, lines.clone()));
        Self::each(destination, vec![batches.collect()])
    }

    /// Segments of batches, which are to become objects at `destination`.
    pub(crate) fn each(destination: &Destination, segments: Vec<Vec<Batch>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (shelf, metrics) = append(dir.path(), vec![destination.clone()], segments);
        Self { shelf, metrics, _dir: dir }
    }

    /// The sink's view of it.
    pub(crate) fn consumer(&self) -> Consumer {
        self.shelf.consumer(SINK, Terms::REQUIRED)
    }

    /// The objects that it becomes, in the order of their streams' names.
    pub(crate) fn objects(&self) -> Vec<Object> {
        let consumer = self.shelf.consumer("tests", Terms::KEPT);
        let segment = Arc::new(consumer.open(SegmentId(1), &[]).unwrap().unwrap());
        (0..segment.footer.contents.len()).map(|content| Object { segment: Arc::clone(&segment), content }).collect()
    }
}

/// What one stream's lines become.
pub(crate) struct Object {
    segment: Arc<SealedSegment>,
    content: usize,
}

impl Object {
    /// The plan that the driver makes of it.
    pub(crate) fn plan(&self) -> ObjectPlan {
        let (footer, content) = (&self.segment.footer, &self.segment.footer.contents[self.content]);
        let destination = footer.destination(SINK).unwrap();
        let instance = footer.instance().unwrap();
        let (stream, book) = (content.stream().unwrap(), content.book().unwrap());
        ObjectPlan {
            place: destination.place.clone(),
            key: ObjectKey::new(
                &destination.prefix,
                &stream,
                book,
                content.hour(),
                (instance, footer.segment),
                self.compression().codec,
            ),
            facts: ObjectFacts {
                events: content.events,
                bytes: content.bytes,
                crc32: content.crc32,
                first_event: content.first_event(),
                last_event: content.last_event(),
                instance,
                segment: footer.segment,
            },
        }
    }

    /// Its compressed bytes.
    pub(crate) fn body(&self) -> ObjectBody {
        let content = &self.segment.footer.contents[self.content];
        ObjectBody::new(Arc::clone(&self.segment), content, self.compression())
    }

    fn compression(&self) -> Compression {
        let destination = self.segment.footer.destination(SINK).unwrap();
        Compression::named(&destination.codec, destination.level).unwrap()
    }

    /// Compressed bytes that end in an error, because the footer counts something else.
    pub(crate) fn failing_body(&self) -> ObjectBody {
        let mut content = self.segment.footer.contents[self.content].clone();
        content.crc32 ^= 1;
        ObjectBody::new(Arc::clone(&self.segment), &content, self.compression())
    }

    /// Its lines.
    pub(crate) fn lines(&self) -> Vec<u8> {
        let mut lines = Lines::new(Arc::clone(&self.segment), self.segment.footer.contents[self.content].clone());
        let mut text = Vec::new();
        while let Some(piece) = lines.next_piece().unwrap() {
            text.extend_from_slice(piece);
        }
        text
    }
}

/// Lines of about `bytes` bytes that hardly compress.
pub(crate) fn noise(bytes: usize, seed: u64) -> String {
    const LINE_BYTES: usize = 1_000;
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::with_capacity(bytes + LINE_BYTES);
    while text.len() < bytes {
        text.push_str("{\"noise\":\"");
        text.extend((0..LINE_BYTES).map(|_| char::from(LETTERS[random.usize(..LETTERS.len())])));
        text.push_str("\"}\n");
    }
    text
}

/// Appends sealed segments of batches to the spool at `dir`. Without destinations they become what whoever takes them up
/// makes of them.
pub(crate) fn append(
    dir: &Path,
    destinations: Vec<Destination>,
    segments: Vec<Vec<Batch>>,
) -> (Arc<Shelf>, Arc<Metrics>) {
    let settings = settings(dir, destinations);
    // The spool's submitters live on one thread; the tests' runtimes need not.
    let written = thread::Builder::new().name("segments".into()).spawn(move || {
        // Closing the spool seals what it holds.
        let mut written = None;
        for batches in &segments {
            // What is left of a spool keeps its directory locked.
            drop(written.take());
            written = Some(write(settings.clone(), batches));
        }
        written.unwrap()
    });
    written.unwrap().join().unwrap()
}

pub(crate) fn settings(dir: &Path, destinations: Vec<Destination>) -> Settings {
    Settings {
        dir: dir.to_owned(),
        disk_quota: 1 << 30,
        segment_size: 1 << 29,
        object_size: None,
        seal_after: Duration::from_hours(1),
        seal_jitter: 0.0,
        early_seal_interval: Duration::from_millis(50),
        sync_interval: Duration::ZERO,
        max_rate: None,
        destinations,
    }
}

fn write(settings: Settings, batches: &[Batch]) -> (Arc<Shelf>, Arc<Metrics>) {
    let runtime = Builder::new_current_thread().enable_time().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        let (mut lanes, intake) = queue::queues(1, 1_000);
        let metrics = Arc::new(Metrics::new().unwrap());
        let spool = Spool::open(settings, intake, &metrics).unwrap();
        let submitter = lanes.pop().unwrap().bind();
        tokio::task::spawn_local(Rc::clone(&submitter).deliver());
        let budget = ByteBudget::new(1 << 30);
        for Batch { stream, book, received, lines } in batches {
            let mut rest = lines.as_str();
            while !rest.is_empty() {
                let most = rest.len().min(SUBMISSION_BYTES);
                let cut = rest.as_bytes()[most - 1..].iter().position(|byte| *byte == b'\n').unwrap() + most;
                let (batch, behind) = rest.split_at(cut);
                rest = behind;
                let mut builder = FrameBuilder::new(StreamName::new(stream).unwrap(), *book, batch.len());
                builder.lines().extend_from_slice(batch.as_bytes());
                let at = Millis::new(*received).unwrap();
                let accepted = builder.finish(batch.lines().count() as u32, at, at, at);
                let reservation = budget.reserve(0).unwrap();
                submitter.submit(Submission { accepted, rejected: None, reservation }).unwrap().await.unwrap();
            }
        }
        let shelf = spool.shelf();
        spool.close();
        (shelf, metrics)
    })
}
