//! Lines that a line sink will never take: where they are set aside, and in which form.
//!
//! They become objects of NDJSON below `_undelivered/{sink}/{stream}/`, by the received hour of the oldest line of their
//! stretch. A line of them is
//!
//! ```json
//! {"sink":"firehose","stream":"heard","book":"accepted","why":"…","received_at":"2026-11-22T09:00:00.123Z","line":{…}}
//! ```
//!
//! with the line as it was; as a string if it is no JSON, and then with U+FFFD where it is no UTF-8. `received_at` is the
//! line's own, or else that of the oldest line of its stretch.
//!
//! An object ends at [`OBJECT_BYTES`], and one is stored at a time.
//!
//! They are set aside at least once: the cursor moves afterwards, so that a crash in between sets them aside again, perhaps
//! under another key. They are in no book and under no stream's prefix: no loader sees them.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::delivery::Never;
use crate::{
    batch::{Hour, InstanceId, StreamName},
    metrics::Metrics,
    sink::{
        Backoff, Compression, ObjectFacts, ObjectKey, ObjectPlan, ObjectStore,
        objects::upload::{Counts, Lines, Upload},
    },
    spool::{Destination, Mark},
};

/// Where an object of such lines ends, in bytes of text; what does not fit goes into others, whose names end in a number. The
/// line that passes it is still in it.
const OBJECT_BYTES: usize = 2 * 1024 * 1024;
/// How often is said at the most that lines were set aside: somebody ought to look, but not at each of them.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Where lines go that a line sink will never take.
pub struct Aside {
    /// The store of an object sink.
    pub store: Arc<dyn ObjectStore>,
    /// Where that sink puts its objects: its place, its prefix, its compression.
    pub destination: Destination,
    /// The longest that one attempt to store an object may take.
    pub attempt_timeout: Duration,
    /// How long to wait between attempts.
    pub backoff: Backoff,
}

/// Sets lines aside for one line sink.
pub(super) struct Undelivered {
    aside: Aside,
    sink: String,
    instance: InstanceId,
    counts: Arc<Counts>,
    said: Mutex<Said>,
}

/// When it was said that lines were set aside, and how many were since.
#[derive(Default)]
struct Said {
    last: Option<Instant>,
    lines: u64,
}

/// A line that is set aside.
#[derive(Serialize)]
struct Told<'a> {
    sink: &'a str,
    stream: &'a str,
    book: &'a str,
    why: &'a str,
    received_at: Cow<'a, str>,
    line: Line<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

/// What is read of a line.
#[derive(Deserialize)]
struct Received<'a> {
    #[serde(borrow)]
    received_at: Cow<'a, str>,
}

impl Undelivered {
    pub(super) fn new(aside: Aside, sink: &str, instance: InstanceId, metrics: &Arc<Metrics>) -> Self {
        let counts = Arc::new(Counts::new(metrics, &aside.destination.sink));
        Self { aside, sink: sink.into(), instance, counts, said: Mutex::default() }
    }

    /// Stores `lines` of the stretch that ends at `end`, for as long as it takes.
    pub(super) async fn store(&self, lines: &[Arc<Never>], end: Mark) {
        let mut groups: BTreeMap<(&StreamName, Hour), Vec<&Never>> = BTreeMap::new();
        for never in lines {
            groups.entry((&never.parcel.stream, never.received.hour())).or_default().push(never);
        }
        // One object at a time, and no more of it in memory than it may have.
        for ((stream, hour), group) in groups {
            let place = ((self.instance, end.segment), end.offset);
            let destination = &self.aside.destination;
            let mut key = ObjectKey::undelivered(&destination.prefix, &self.sink, stream, hour, place);
            let (mut text, mut events) = (Vec::new(), 0);
            let last = group.last().copied();
            for never in group {
                for line in 0..never.parcel.lines() {
                    self.tell(never, never.parcel.line(line), &mut text);
                    events += 1;
                    if text.len() >= OBJECT_BYTES {
                        let another = key.another();
                        let key = std::mem::replace(&mut key, another);
                        let lines = (std::mem::take(&mut text), std::mem::take(&mut events));
                        self.upload(key, lines, end, never).await;
                    }
                }
            }
            if events > 0
                && let Some(never) = last
            {
                self.upload(key, (text, events), end, never).await;
            }
        }
    }

    /// Stores lines as one object; the last of them are of `never`.
    async fn upload(&self, key: ObjectKey, (text, events): (Vec<u8>, u64), end: Mark, never: &Never) {
        let destination = &self.aside.destination;
        let facts = ObjectFacts {
            events,
            bytes: text.len() as u64,
            crc32: crc32fast::hash(&text),
            first_event: None,
            last_event: None,
            instance: self.instance,
            segment: end.segment,
        };
        let upload = Upload {
            plan: ObjectPlan { place: destination.place.clone(), key, facts },
            lines: Lines::Undelivered(text),
            compression: Compression::FAST_GZIP,
            attempt_timeout: self.aside.attempt_timeout,
            backoff: self.aside.backoff,
            store: Arc::clone(&self.aside.store),
            counts: Arc::clone(&self.counts),
            failing: None,
        };
        // Only a segment can be damaged: this text is in memory.
        if let Ok(Some(kept)) = upload.run().await {
            self.say(&kept.key, events, never);
        }
    }

    /// Says, once in a while, that lines were set aside: `lines` of them now, at `key`, the last of them those of `never`.
    fn say(&self, key: &ObjectKey, lines: u64, never: &Never) {
        let (sink, stream, why) = (&self.sink, &never.parcel.stream, &never.why);
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.lines += lines;
        if said.last.is_some_and(|last| now.saturating_duration_since(last) < SAID_EVERY) {
            tracing::debug!(sink, %stream, %why, lines, %key, "lines that will never be taken are set aside");
            return;
        }
        said.last = Some(now);
        let lines = std::mem::take(&mut said.lines);
        drop(said);
        tracing::warn!(sink, %stream, %why, lines, %key, "lines that will never be taken are set aside");
    }

    /// Appends `line`, with its line feed, as it is set aside.
    fn tell(&self, never: &Never, line: &[u8], text: &mut Vec<u8>) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let own = serde_json::from_slice(line).ok().map(|Received { received_at }| received_at);
        let told = Told {
            sink: &self.sink,
            stream: never.parcel.stream.as_str(),
            book: never.parcel.book.as_str(),
            why: &never.why,
            received_at: own.unwrap_or_else(|| never.received.to_string().into()),
            line: match serde_json::from_slice(line) {
                Ok(json) => Line::Json(json),
                Err(_) => Line::Text(String::from_utf8_lossy(line)),
            },
        };
        // Strings into memory: there is nothing that can fail.
        let before = text.len();
        match serde_json::to_writer(&mut *text, &told) {
            Ok(()) => text.push(b'\n'),
            Err(_) => text.truncate(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{Book, Millis, SegmentId},
        sink::{FileStore, Parcel, outage::tests::Log},
    };

    fn undelivered(root: &std::path::Path) -> Undelivered {
        let destination = Destination {
            sink: "objects".into(),
            kind: "file".into(),
            place: root.to_str().unwrap().into(),
            prefix: "logs/".into(),
            codec: "gzip".into(),
            level: 1,
            streams: Vec::new(),
        };
        let (attempt_timeout, backoff) = (Duration::from_mins(1), Backoff::new(Duration::ZERO, Duration::ZERO));
        let aside = Aside { store: Arc::new(FileStore::default()), destination, attempt_timeout, backoff };
        let instance = InstanceId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        Undelivered::new(aside, "firehose", instance, &Arc::new(Metrics::new().unwrap()))
    }

    fn never(stream: &str, book: Book, hours: i64, text: &'static [u8]) -> Arc<Never> {
        let parcel = Parcel::new(StreamName::new(stream).unwrap(), book, text);
        let received = Millis::new(1_795_338_000_123 + hours * 3_600_000).unwrap();
        Arc::new(Never { parcel, why: "a \"reason\"".into(), received })
    }

    #[tokio::test]
    async fn what_is_too_much_for_an_object_goes_into_several() {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("\"{}\"\n", "x".repeat(100_000));
        let parcel = Parcel::new(StreamName::new("heard").unwrap(), Book::Accepted, line.repeat(45));
        let lines = [Arc::new(Never { parcel, why: "no".into(), received: Millis::new(0).unwrap() })];
        let end = Mark { segment: SegmentId(7), offset: 1, received: Millis::MIN };
        let undelivered = undelivered(dir.path());
        let (log, _listening) = Log::listen();
        undelivered.store(&lines, end).await;
        let place = dir.path().join("logs/_undelivered/firehose/heard/dt=1970-01-01/hour=00");
        let counts = ["", "-1", "-2"].map(|suffix| {
            let name = format!("01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000007-1{suffix}.ndjson.gz");
            read(&place.join(name)).lines().count()
        });
        assert_eq!(counts, [21, 21, 3]);
        // It is said of the first, and of the others once the minute is over.
        let said = log.take();
        assert!(
            said.len() == 1 && said[0].starts_with("WARN lines that will never be taken are set aside"),
            "{said:?}"
        );
        let what = "sink=\"firehose\" stream=heard why=no lines=21 key=logs/_undelivered/firehose/heard/";
        assert!(said[0].contains(what), "{said:?}");
        undelivered.said.lock().unwrap().last = Some(Instant::now() - SAID_EVERY);
        undelivered.store(&lines, end).await;
        let said = log.take();
        assert!(said.len() == 1 && said[0].contains("lines=45 key="), "{said:?}");
    }

    fn read(path: &std::path::Path) -> String {
        std::io::read_to_string(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())).unwrap()
    }

    #[tokio::test]
    async fn lines_are_set_aside_as_they_were_by_stream_and_hour() {
        let dir = tempfile::tempdir().unwrap();
        let undelivered = undelivered(dir.path());
        let lines = [
            never("heard", Book::Accepted, 0, b"{\"a\" : 1.50, \"received_at\":\"2026-11-22T08:59:59.999Z\"}\n"),
            never("heard", Book::Rejected, 0, b"{\"received_at\":7}\nno \"json\"\n\xFF\n\n"),
            never("heard", Book::Accepted, 1, b"[]\n"),
            never("shown", Book::Accepted, 0, b"{}\n"),
        ];
        let end = Mark { segment: SegmentId(7), offset: 4_096, received: Millis::MIN };
        // Once more is what a restart does: the same objects are there.
        for _ in 0..2 {
            undelivered.store(&lines, end).await;
        }
        let object = |stream: &str, hour: &str| {
            let name = "01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000007-4096.ndjson.gz";
            read(&dir.path().join(format!("logs/_undelivered/firehose/{stream}/dt=2026-11-22/hour={hour}/{name}")))
        };
        let told = |stream: &str, book: &str, at: &str, line: &str| {
            format!(
                "{{\"sink\":\"firehose\",\"stream\":\"{stream}\",\"book\":\"{book}\",\"why\":\"a \\\"reason\\\"\",\
                 \"received_at\":\"2026-11-22T{at}Z\",\"line\":{line}}}\n"
            )
        };
        assert_eq!(
            object("heard", "09"),
            [
                told(
                    "heard",
                    "accepted",
                    "08:59:59.999",
                    "{\"a\" : 1.50, \"received_at\":\"2026-11-22T08:59:59.999Z\"}"
                ),
                told("heard", "rejected", "09:00:00.123", "{\"received_at\":7}"),
                told("heard", "rejected", "09:00:00.123", "\"no \\\"json\\\"\""),
                told("heard", "rejected", "09:00:00.123", "\"\u{FFFD}\""),
                told("heard", "rejected", "09:00:00.123", "\"\""),
            ]
            .concat()
        );
        assert_eq!(object("heard", "10"), told("heard", "accepted", "10:00:00.123", "[]"));
        assert_eq!(object("shown", "09"), told("shown", "accepted", "09:00:00.123", "{}"));
    }
}
