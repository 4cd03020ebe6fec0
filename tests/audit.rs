//! The audit, on directories and on buckets: what adds up is said to, and every kind of difference is named.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "what is common to tests is used by others of them")]

#[path = "audit/completeness.rs"]
mod completeness;
#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "common/postgres.rs"]
mod postgres;
#[path = "common/s3_server.rs"]
mod s3_server;
#[path = "common/segments.rs"]
mod segments;
#[path = "audit/warehouse.rs"]
mod warehouse;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_config::{Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use flate2::{Compression, write::GzEncoder};
use logweir::{
    batch::{Book, InstanceId, Millis, SegmentId},
    ledger::{EventCounts, Heartbeat},
    sink::{Backoff, FileStore, ObjectDriver, ObjectSettings, ObjectStore, S3Encryption, S3Settings, S3Store},
    spool::{Destination, Terms},
    warehouse::{
        Place,
        audit::{self, Range, Request, Summary},
    },
};
use s3_server::{ACCESS_KEY, BUCKET, Fault, Operation, S3Server, SECRET_KEY};
use segments::{Batch, RECEIVED, SINK, Segments};
use tokio::time::timeout;

const HOUR: i64 = 3_600_000;
const PREFIX: &str = "raw/";
/// Long after everything.
const LATER: i64 = RECEIVED + 240 * HOUR;

/// A place for objects that a test can reach into.
struct Site {
    store: Arc<dyn ObjectStore>,
    place: String,
    kind: &'static str,
    codec: &'static str,
    streams: Vec<String>,
    root: PathBuf,
    _dir: Option<tempfile::TempDir>,
    server: Option<S3Server>,
}

impl Site {
    fn directory() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("objects");
        let place = root.to_str().unwrap().to_owned();
        Self {
            store: Arc::new(FileStore::default()),
            place,
            kind: "file",
            codec: "gzip",
            streams: Vec::new(),
            root,
            _dir: Some(dir),
            server: None,
        }
    }

    async fn bucket() -> Self {
        let server = S3Server::start().await;
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
        let config = SdkConfig::builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .region(Region::new("ap-northeast-2"))
            .build();
        let settings = S3Settings {
            region: None,
            endpoint: Some(server.endpoint()),
            path_style: true,
            storage_class: None,
            encryption: S3Encryption::Bucket,
            connect_timeout: Duration::from_secs(3),
        };
        let store = Arc::new(S3Store::with_config(&config, settings).unwrap());
        Self {
            store,
            place: BUCKET.into(),
            kind: "s3",
            codec: "gzip",
            streams: Vec::new(),
            root: server.path(""),
            _dir: None,
            server: Some(server),
        }
    }

    async fn both() -> [Self; 2] {
        [Self::directory(), Self::bucket().await]
    }

    fn destination(&self) -> Destination {
        Destination {
            sink: SINK.into(),
            kind: self.kind.into(),
            place: self.place.clone(),
            prefix: PREFIX.into(),
            codec: self.codec.into(),
            level: 1,
            streams: self.streams.clone(),
        }
    }

    /// Makes and stores segments, by the real spool and the real driver: whose they are.
    async fn store(&self, batches: Vec<Vec<Batch>>) -> InstanceId {
        let destination = self.destination();
        let segments = Segments::each(&destination, batches);
        self.drive(&segments).await;
        let consumer = segments.shelf.consumer("tests", Terms::KEPT);
        let segment = consumer.open(SegmentId(1), &[]);
        segment.unwrap().unwrap().footer.instance().unwrap()
    }

    async fn drive(&self, segments: &Segments) {
        let settings = ObjectSettings {
            destination: self.destination(),
            concurrency: 2,
            attempt_timeout: Duration::from_secs(10),
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(20)),
        };
        // A consumer that never passes anything keeps the segments.
        let _keeper = segments.shelf.consumer("tests", Terms::KEPT);
        let driver = ObjectDriver::new(settings, Arc::clone(&self.store), segments.consumer(), &segments.metrics);
        timeout(Duration::from_mins(1), driver.run()).await.unwrap();
        // Before a test reaches in.
        let streams = &self.streams;
        let keys = segments.objects().into_iter().map(|object| object.plan().key);
        for key in keys.filter(|key| streams.is_empty() || streams.iter().any(|it| key.to_string().contains(it))) {
            let (frozen, another) = (self.path(&key.to_string()), self.path(&key.another().to_string()));
            let object = fs::read(if another.exists() { another } else { frozen }).unwrap();
            copy_rules::check(&object).unwrap_or_else(|rule| panic!("{key}: {rule}"));
        }
    }

    async fn beat(&self, heartbeat: &Heartbeat) {
        self.store.overwrite(&self.place, &heartbeat.key(PREFIX), heartbeat.write()).await.unwrap();
    }

    async fn audit(&self, quick: bool, now: i64) -> (Summary, String) {
        let place = Arc::new(Place {
            store: Arc::clone(&self.store),
            bucket: self.place.clone(),
            prefix: PREFIX.into(),
            timeout: Duration::from_secs(10),
        });
        let range = Range::parse("2026-11-22", "2026-11-23").unwrap();
        let request = Request { range, quick, required: true, now: Millis::new(now).unwrap() };
        let mut out = Vec::new();
        let summary = audit::run(&place, request, None, &mut out).await.unwrap();
        (summary, String::from_utf8(out).unwrap())
    }

    /// The keys of the objects of a stream's directory, without the books.
    fn keys(&self, directory: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut dirs = vec![self.root.join(PREFIX).join(directory)];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    keys.push(path.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

fn lines(count: usize, name: &str) -> String {
    (0..count).fold(String::new(), |lines, number| lines + &format!("{{\"event_id\":\"{name}-{number}\"}}\n"))
}

/// Three segments, three hours, two streams, rejected events.
fn batches() -> Vec<Vec<Batch>> {
    let at = |stream, hours: i64, lines: String| Batch {
        received: RECEIVED + hours * HOUR,
        ..Batch::accepted(stream, lines)
    };
    let rejected = |stream, hours, lines| Batch { book: Book::Rejected, ..at(stream, hours, lines) };
    vec![
        vec![at("heard", 0, lines(100, "a")), rejected("heard", 0, lines(3, "b")), at("seen", 0, lines(7, "c"))],
        vec![at("heard", 0, lines(50, "d")), at("heard", 1, lines(60, "e")), at("seen", 1, lines(8, "f"))],
        vec![at("heard", 2, lines(70, "g")), rejected("seen", 2, lines(2, "h")), at("seen", 2, lines(9, "i"))],
    ]
}

/// The figures of a row: spooled, stored, rejected spooled, rejected stored, difference.
fn row<'a>(report: &'a str, hour: &str, stream: &str) -> Vec<&'a str> {
    let row = report.lines().find(|line| line.split_whitespace().take(2).eq([hour, stream]));
    row.unwrap_or_else(|| panic!("no row of {hour} {stream}:\n{report}")).split_whitespace().skip(3).collect()
}

fn gzip(path: &Path, lines: &str) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    fs::write(path, encoder.finish().unwrap()).unwrap();
}

#[tokio::test]
async fn what_was_stored_as_it_was_spooled_adds_up() {
    for site in Site::both().await {
        site.store(batches()).await;
        for quick in [false, true] {
            let (summary, report) = site.audit(quick, LATER).await;
            assert_eq!(summary, Summary::default(), "{} quick: {quick}\n{report}", site.kind);
            assert_eq!(row(&report, "2026-11-22T09", "heard"), ["150", "150", "3", "3", "0"], "{report}");
            assert_eq!(row(&report, "2026-11-22T10", "heard"), ["60", "60", "0", "0", "0"]);
            assert_eq!(row(&report, "2026-11-22T11", "seen"), ["9", "9", "2", "2", "0"]);
            assert!(report.contains("everything adds up"), "{report}");
        }
    }
}

#[tokio::test]
async fn what_was_removed_cut_changed_or_copied_is_named() {
    for site in Site::both().await {
        site.store(batches()).await;
        let nine = "heard/dt=2026-11-22/hour=09";
        let removed = site.keys("seen/dt=2026-11-22/hour=10").remove(0);
        fs::remove_file(site.path(&removed)).unwrap();
        let cut = site.keys(nine).remove(0);
        let bytes = fs::read(site.path(&cut)).unwrap();
        fs::write(site.path(&cut), &bytes[..bytes.len() / 2]).unwrap();
        let changed = site.keys(nine).remove(1);
        gzip(&site.path(&changed), &lines(49, "d"));
        let original = site.keys("heard/dt=2026-11-22/hour=11").remove(0);
        let copy = original.replace(".ndjson.gz", "-1.ndjson.gz");
        fs::copy(site.path(&original), site.path(&copy)).unwrap();
        let foreign = "raw/_rejected/seen/dt=2026-11-22/hour=11/part-0.ndjson.gz";
        gzip(&site.path(foreign), &lines(4, "x"));
        let nested = "raw/seen/dt=2026-11-22/hour=09/sub/x.ndjson.gz";
        fs::create_dir_all(site.path(nested).parent().unwrap()).unwrap();
        gzip(&site.path(nested), &lines(4, "x"));

        let (summary, report) = site.audit(false, LATER).await;
        for named in [
            format!("missing: {removed} (8 events)"),
            format!("unreadable: {cut} (it is truncated)"),
            format!("changed: {changed} (49 events in "),
            format!("duplicate: {copy} (70 events of {original})"),
            format!("not in the books: {foreign} (4 events)"),
            "not in the books: raw/seen/dt=2026-11-22/hour=09/sub/ (".to_owned(),
        ] {
            assert!(report.contains(&named), "{} does not name {named}:\n{report}", site.kind);
        }
        assert_eq!(summary.differences, 6, "{report}");
        assert_eq!(row(&report, "2026-11-22T09", "heard"), ["150", "49", "3", "3", "-101"], "{report}");
        assert_eq!(row(&report, "2026-11-22T11", "heard"), ["70", "140", "0", "0", "70"]);
        assert_eq!(row(&report, "2026-11-22T10", "seen"), ["8", "0", "0", "0", "-8"]);

        // What a listing and what is told of objects can tell.
        let (_, report) = site.audit(true, LATER).await;
        assert!(report.contains(&format!("missing: {removed}")), "{report}");
        assert!(report.contains(&format!(": {copy} (")) && report.contains(&format!(": {foreign} (")), "{report}");
        if site.kind == "file" {
            assert!(report.contains(&format!("changed: {cut}")) && report.contains(&format!("changed: {changed}")));
        }
    }
}

#[tokio::test]
async fn a_place_of_both_codecs_adds_up_and_what_is_wrong_with_its_frames_is_named() {
    for mut site in Site::both().await {
        site.store(batches()).await;
        site.codec = "zstd";
        site.store(batches()).await;
        for quick in [false, true] {
            let (summary, report) = site.audit(quick, LATER).await;
            assert_eq!(summary, Summary::default(), "{} quick: {quick}\n{report}", site.kind);
            assert_eq!(row(&report, "2026-11-22T09", "heard"), ["300", "300", "6", "6", "0"], "{report}");
        }
        let frames = |directory: &str| -> Vec<String> {
            site.keys(directory).into_iter().filter(|key| key.ends_with(".ndjson.zst")).collect()
        };
        let [cut, twice] = &frames("heard/dt=2026-11-22/hour=09")[..] else { panic!() };
        let bytes = fs::read(site.path(cut)).unwrap();
        fs::write(site.path(cut), &bytes[..bytes.len() - 1]).unwrap();
        let bytes = fs::read(site.path(twice)).unwrap();
        fs::write(site.path(twice), [&bytes[..], &bytes[..]].concat()).unwrap();
        let original = &frames("heard/dt=2026-11-22/hour=11")[0];
        let copy = original.replace(".ndjson.zst", "-1.ndjson.zst");
        fs::copy(site.path(original), site.path(&copy)).unwrap();
        // Under the name of the other codec, and so the same lines a second time.
        let renamed = original.replace(".ndjson.zst", ".ndjson.gz");
        gzip(&site.path(&renamed), &lines(70, "g"));
        let removed = &frames("seen/dt=2026-11-22/hour=10")[0];
        fs::remove_file(site.path(removed)).unwrap();
        let (summary, report) = site.audit(false, LATER).await;
        for named in [
            format!("unreadable: {cut} (it is truncated)"),
            format!("unreadable: {twice} (there is something behind its zstd frame)"),
            format!("duplicate: {copy} (70 events of "),
            format!("duplicate: {renamed} (70 events of "),
            format!("missing: {removed} (8 events)"),
        ] {
            assert!(report.contains(&named), "{} does not name {named}:\n{report}", site.kind);
        }
        assert_eq!(summary.differences, 5, "{report}");
        let (_, report) = site.audit(true, LATER).await;
        assert!(report.contains(&format!("missing: {removed}")) && report.contains(&format!(": {copy} (")), "{report}");
        // A file is read, since a frame tells too little.
        if site.kind == "file" {
            assert!(report.contains(&format!(": {cut} (")) && report.contains(&format!(": {twice} (")), "{report}");
        }
    }
}

#[tokio::test]
async fn a_place_of_some_streams_adds_up_and_what_it_lacks_of_them_is_named() {
    for mut site in Site::both().await {
        site.streams = vec!["seen".into()];
        let instance = site.store(batches()).await;
        let at = |millis| Millis::new(millis).unwrap();
        let mut heartbeat = Heartbeat::new(instance, at(RECEIVED), Duration::from_mins(1));
        heartbeat.at = at(RECEIVED + 3 * HOUR);
        heartbeat.ended = true;
        // The heartbeats of such a place count what the sink has there.
        let counts = EventCounts { received: 26, accepted: 24, refused: 0, rejected: 2 };
        heartbeat.events.insert("seen".into(), counts);
        site.beat(&heartbeat).await;
        for quick in [false, true] {
            let (summary, report) = site.audit(quick, LATER).await;
            assert_eq!(summary, Summary::default(), "{report}");
            assert_eq!(row(&report, "2026-11-22T11", "seen"), ["9", "9", "2", "2", "0"], "{report}");
            assert!(!report.contains("  heard"), "{report}");
        }
        let page = site.keys("_ledger/segments/dt=2026-11-22/hour=10").remove(0);
        fs::remove_file(site.path(&page)).unwrap();
        let (summary, report) = site.audit(false, LATER).await;
        assert_eq!(summary.differences, 2, "the object is not in the books, and events are not spooled: {report}");
        assert!(report.contains("not spooled: seen, accepted events of ") && report.contains("(24 by its"), "{report}");
    }
}

#[tokio::test]
async fn an_object_whose_key_was_occupied_is_found_where_the_books_say() {
    for site in Site::both().await {
        let segments = Segments::each(&site.destination(), vec![vec![Batch::accepted("heard", lines(5, "a"))]]);
        let plan = segments.objects().remove(0).plan();
        let frozen = plan.key.to_string();
        fs::create_dir_all(site.path(&frozen).parent().unwrap()).unwrap();
        gzip(&site.path(&frozen), &lines(2, "somebody else's"));
        site.drive(&segments).await;
        let (summary, report) = site.audit(false, LATER).await;
        assert!(report.contains(&format!("not in the books: {frozen} (2 events)")), "{report}");
        assert_eq!(summary.differences, 1, "{report}");
        fs::remove_file(site.path(&frozen)).unwrap();
        assert_eq!(site.audit(false, LATER).await.0, Summary::default());
    }
}

#[tokio::test]
async fn an_object_without_a_page_is_in_flight_until_its_instance_says_that_its_hour_is_complete() {
    let site = Site::directory();
    let instance = site.store(vec![vec![Batch::accepted("heard", lines(5, "a"))]]).await;
    let page = site.keys("_ledger/segments").remove(0);
    fs::remove_file(site.path(&page)).unwrap();
    let at = |millis| Millis::new(millis).unwrap();
    let expected = |differences, in_flight| Summary { differences, in_flight };
    // Nobody knows the instance: an hour is what such an object is given.
    assert_eq!(site.audit(false, RECEIVED + HOUR).await.0, expected(0, 1));
    assert_eq!(site.audit(false, LATER).await.0, expected(1, 0));
    let mut heartbeat = Heartbeat::new(instance, at(RECEIVED - 1), Duration::from_mins(1));
    heartbeat.at = at(RECEIVED + 2 * HOUR);
    heartbeat.oldest_unstored = Some(at(RECEIVED));
    site.beat(&heartbeat).await;
    let (summary, report) = site.audit(false, LATER).await;
    assert_eq!(summary, expected(0, 1), "{report}");
    assert!(report.contains(&format!("complete up to 2026-11-22T09:00:00.123Z; {instance}")), "{report}");
    assert!(report.contains(&format!("{instance} is silent since 2026-11-22T11:00:00.123Z")), "{report}");
    // The next heartbeat tells that everything is stored.
    heartbeat.at = at(RECEIVED + 3 * HOUR);
    heartbeat.oldest_unstored = None;
    site.beat(&heartbeat).await;
    let (summary, report) = site.audit(false, RECEIVED + 3 * HOUR).await;
    assert_eq!(summary, expected(1, 0), "{report}");
    assert!(report.contains("complete up to 2026-11-22T11:59:00.123Z") && !report.contains("silent"), "{report}");
}

#[tokio::test]
async fn events_that_an_instance_counted_and_its_pages_do_not_are_told() {
    let site = Site::directory();
    let instance = site.store(vec![vec![Batch::accepted("heard", lines(5, "a"))]]).await;
    let at = |millis| Millis::new(millis).unwrap();
    let mut heartbeat = Heartbeat::new(instance, at(RECEIVED - 1), Duration::from_mins(1));
    heartbeat.at = at(RECEIVED + HOUR);
    heartbeat.ended = true;
    let counts = EventCounts { received: 6, accepted: 5, refused: 1, rejected: 0 };
    heartbeat.events.insert("heard".into(), counts);
    site.beat(&heartbeat).await;
    let (summary, report) = site.audit(false, LATER).await;
    assert_eq!(summary, Summary::default(), "{report}");
    assert!(report.contains("has ended and stored everything"), "{report}");
    // The figure stands in the hour of the heartbeat, and does not lag: the process has ended.
    assert!(report.lines().any(|line| line.starts_with("2026-11-22T10  heard") && line.contains(" 5 ")), "{report}");

    heartbeat.events.insert("heard".into(), EventCounts { accepted: 7, ..counts });
    heartbeat.events.insert("lost".into(), EventCounts { rejected: 1, ..EventCounts::default() });
    site.beat(&heartbeat).await;
    let (summary, report) = site.audit(false, LATER).await;
    assert_eq!(summary.differences, 2, "{report}");
    let told = format!("not spooled: heard, accepted events of {instance} (7 by its heartbeats, 5 by its pages)");
    assert!(report.contains(&told), "{report}");
    // As long as it may store more, nothing is missing.
    heartbeat.ended = false;
    heartbeat.oldest_unstored = Some(at(RECEIVED));
    site.beat(&heartbeat).await;
    let (summary, report) = site.audit(false, LATER).await;
    assert_eq!(summary, Summary::default(), "{report}");
    assert!(report.lines().any(|line| line.starts_with("2026-11-22T10  heard") && line.contains(" ~7 ")), "{report}");
}

#[tokio::test]
async fn a_page_that_cannot_be_read_is_named() {
    let site = Site::directory();
    site.store(batches()).await;
    let pages = site.keys("_ledger/segments");
    fs::write(site.path(&pages[0]), "no page").unwrap();
    gzip(&site.path(&pages[1]), "{\"kind\":\"content\"}\n");
    let (summary, report) = site.audit(false, LATER).await;
    for page in &pages[..2] {
        assert!(report.contains(&format!("bad page: {page} (")), "{report}");
    }
    assert!(summary.differences > 2, "what they named is not in the books: {report}");
}

#[tokio::test]
async fn damage_is_told_and_of_two_pages_of_a_segment_the_later_one_is_right() {
    let site = Site::directory();
    let instance = site.store(vec![vec![Batch::accepted("heard", lines(5, "a"))]]).await;
    let page = site.keys("_ledger/segments").remove(0);
    let object = site.keys("heard").remove(0);
    let written = io::read_to_string(flate2::read::GzDecoder::new(fs::File::open(site.path(&page)).unwrap())).unwrap();
    // The segment was damaged after it had been stored, repaired, and stored again.
    let again = object.replace(".ndjson.gz", "-1.ndjson.gz");
    gzip(&site.path(&again), &lines(4, "a"));
    let (bytes, sum) = (lines(4, "a").len(), crc32fast::hash(lines(4, "a").as_bytes()));
    let mut told: serde_json::Value = serde_json::from_str(&written).unwrap();
    told["key"] = again.as_str().into();
    told["events"] = 4.into();
    told["bytes"] = bytes.into();
    told["crc32"] = format!("{sum:08x}").into();
    let damage = format!(
        "{{\"kind\":\"damage\",\"format\":1,\"instance\":\"{instance}\",\"segment\":1,\"dt\":\"2026-11-22\",\"hour\":\"09\",\
         \"places\":1,\"bytes\":4096}}\n"
    );
    gzip(&site.path(&page.replace(".ndjson.gz", "-1.ndjson.gz")), &format!("{told}\n{damage}"));
    let (summary, report) = site.audit(false, LATER).await;
    assert_eq!(summary.differences, 2, "{report}");
    assert!(report.contains(&format!("damaged: segment 0000000001 of {instance} (1 places of 4096 bytes")), "{report}");
    assert!(report.contains(&format!("not in the books: {object} (5 events)")), "{report}");
    assert_eq!(row(&report, "2026-11-22T09", "heard"), ["4", "9", "0", "0", "5"], "{report}");
}

#[tokio::test]
async fn a_store_that_fails_for_a_moment_is_asked_again_and_one_that_does_not_answer_is_told() {
    let site = Site::bucket().await;
    site.store(batches()).await;
    let server = site.server.as_ref().unwrap();
    server.fault(Operation::Other, 2, Fault::Answer(503, "SlowDown"));
    assert_eq!(site.audit(false, LATER).await.0, Summary::default());
    server.fault(Operation::Other, 100, Fault::Answer(403, "AccessDenied"));
    let place = Arc::new(Place {
        store: Arc::clone(&site.store),
        bucket: BUCKET.into(),
        prefix: PREFIX.into(),
        timeout: Duration::from_secs(10),
    });
    let range = Range::parse("2026-11-22", "2026-11-23").unwrap();
    let request = Request { range, quick: false, required: true, now: Millis::new(LATER).unwrap() };
    let error = audit::run(&place, request, None, &mut Vec::new()).await.unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read raw/_ledger/") && error.to_string().contains("denied"),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_accepted_stands_in_the_hour_of_its_heartbeat_until_the_process_has_ended() {
    let site = Site::directory();
    let at = |millis| Millis::new(millis).unwrap();
    let instance = site.store(batches()).await;
    // A process that is older than the range, and whose former count nobody knows; and one whose counts are all known.
    let old = Heartbeat::new(instance, at(RECEIVED - 100 * HOUR), Duration::from_mins(1));
    let new = Heartbeat::new(instance, at(RECEIVED), Duration::from_mins(1));
    let counts = |accepted| [("heard".to_owned(), EventCounts { accepted, ..EventCounts::default() })].into();
    for (heartbeat, hours, accepted) in
        [(&old, -1, 1_000), (&old, 0, 1_010), (&new, 0, 140), (&new, 1, 200), (&new, 2, 270)]
    {
        let mut heartbeat = heartbeat.clone();
        heartbeat.at = at(RECEIVED + hours * HOUR + 1);
        heartbeat.events = counts(accepted);
        heartbeat.ended = hours == 2;
        site.beat(&heartbeat).await;
    }
    let (summary, report) = site.audit(false, LATER).await;
    assert_eq!(summary, Summary::default(), "{report}");
    let accepted = |hour: &str| {
        let row = report.lines().find(|line| line.split_whitespace().take(2).eq([hour, "heard"])).unwrap();
        row.split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!(
        ["T09", "T10", "T11"].map(|hour| accepted(&format!("2026-11-22{hour}"))),
        ["~150", "~60", "70"],
        "{report}"
    );
}
