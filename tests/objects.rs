//! What may be chosen of a sink's objects: compression, level, streams, size.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "what is common to tests is used by others of them")]

#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "common/segments.rs"]
mod segments;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use logweir::{
    admission::ByteBudget,
    batch::{Book, FrameBuilder, Millis, StreamName},
    ledger::Line,
    metrics::Metrics,
    queue::{self, Submission},
    sink::{
        Backoff, BoxFuture, Codec, FileStore, Member, ObjectBody, ObjectDriver, ObjectPlan, ObjectReader,
        ObjectSettings, ObjectStore, Page, Placed, PutError, StoreError, Told,
    },
    spool::{self, Consumer, Destination, Spool, Terms},
};
use segments::{Batch, RECEIVED, SINK, noise};
use tokio::{
    runtime::{Builder, LocalOptions},
    time::timeout,
};

const LINE: &str = "{\"event_id\":\"1\"}\n";
const HOUR: i64 = 3_600_000;

fn destination(root: &Path, codec: &str) -> Destination {
    Destination {
        sink: SINK.into(),
        kind: "file".into(),
        place: root.to_str().unwrap().into(),
        prefix: "raw/".into(),
        codec: codec.into(),
        level: 2,
        streams: Vec::new(),
    }
}

fn driver(consumer: Consumer, destination: Destination, metrics: &Arc<Metrics>) -> ObjectDriver {
    let store = Arc::new(FileStore::default());
    ObjectDriver::new(settings(destination, Duration::from_mins(1)), store, consumer, metrics)
}

fn settings(destination: Destination, attempt_timeout: Duration) -> ObjectSettings {
    let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(20));
    ObjectSettings { destination, concurrency: 2, attempt_timeout, backoff }
}

/// Files, of which the first that is asked for what is told of it never answers.
#[derive(Default)]
struct Silent(FileStore, AtomicBool);

impl ObjectStore for Silent {
    fn put<'a>(&'a self, plan: &'a ObjectPlan, body: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>> {
        self.0.put(plan, body)
    }

    fn overwrite<'a>(&'a self, place: &'a str, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.overwrite(place, key, bytes)
    }

    fn list<'a>(
        &'a self,
        place: &'a str,
        directory: &'a str,
        after: Option<String>,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.0.list(place, directory, after)
    }

    fn get<'a>(
        &'a self,
        place: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Box<dyn ObjectReader>>, StoreError>> {
        self.0.get(place, key)
    }

    fn told<'a>(&'a self, place: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Told>, StoreError>> {
        if self.1.swap(true, Ordering::Relaxed) { self.0.told(place, key) } else { Box::pin(std::future::pending()) }
    }
}

/// Every object below `root` by its key, without the books.
fn objects(root: &Path) -> BTreeMap<String, Vec<u8>> {
    files(root).into_iter().filter(|(key, _)| !key.contains("_ledger/")).collect()
}

/// The lines of every page.
fn pages(root: &Path) -> BTreeMap<String, Vec<Line>> {
    let page = |(key, bytes): (String, Vec<u8>)| {
        let text = copy_rules::lines(&bytes).unwrap();
        (key, text.split(|byte| *byte == b'\n').map(|line| Line::read(line).unwrap()).collect())
    };
    files(root).into_iter().filter(|(key, _)| key.contains("_ledger/segments/")).map(page).collect()
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let key = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(key, fs::read(path).unwrap());
            }
        }
    }
    found
}

fn lines(key: &str, bytes: &[u8]) -> u64 {
    copy_rules::check(bytes).unwrap_or_else(|rule| panic!("{key}: {rule}"));
    let mut member = Member::counting(Codec::of_key(key));
    member.take(bytes);
    member.content().unwrap().events
}

#[tokio::test]
async fn each_segment_keeps_the_compression_that_was_configured_when_it_was_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, spool) = (dir.path().join("objects"), dir.path().join("spool"));
    let batch = |count| vec![Batch::accepted("heard", LINE.repeat(count))];
    drop(segments::append(&spool, vec![destination(&root, "gzip")], vec![batch(1)]));
    drop(segments::append(&spool, vec![destination(&root, "zstd")], vec![batch(2), batch(3)]));
    // Nobody was there for whom it was sealed; and one of a codec that is not known.
    drop(segments::append(&spool, Vec::new(), vec![batch(4)]));
    let (shelf, metrics) = segments::append(&spool, vec![destination(&root, "lz77")], vec![batch(5)]);
    let run = driver(shelf.consumer(SINK, Terms::REQUIRED), destination(&root, "zstd"), &metrics).run();
    timeout(Duration::from_mins(1), run).await.unwrap();
    let found: Vec<(bool, u64)> =
        objects(&root).iter().map(|(key, bytes)| (key.ends_with(".ndjson.zst"), lines(key, bytes))).collect();
    assert_eq!(found, [(false, 1), (true, 2), (true, 3), (true, 4), (true, 5)]);
    let pages = pages(&root);
    let named: Vec<&str> = pages.values().flatten().map(|line| entry(line).key.as_str()).collect();
    assert_eq!(named, objects(&root).keys().collect::<Vec<_>>());
    assert!(pages.keys().all(|key| key.ends_with(".ndjson.gz")), "the books are gzip: {:?}", pages.keys());
}

fn entry(line: &Line) -> &logweir::ledger::Entry {
    match line {
        Line::Content(entry) => entry,
        Line::Damage(damage) => panic!("{damage:?}"),
    }
}

#[tokio::test]
async fn a_sink_of_some_streams_has_objects_and_pages_of_those_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (root, spool) = (dir.path().join("objects"), dir.path().join("spool"));
    let of = |stream, received, count| Batch { received, ..Batch::accepted(stream, LINE.repeat(count)) };
    let rejected = |stream| Batch { book: Book::Rejected, ..Batch::accepted(stream, LINE) };
    let segments = vec![
        vec![of("heard", RECEIVED, 1), of("seen", RECEIVED, 2), rejected("heard"), rejected("seen")],
        vec![of("seen", RECEIVED, 3), of("heard", RECEIVED + HOUR, 4), of("heard", RECEIVED + 2 * HOUR, 5)],
        vec![of("heard", RECEIVED, 6)],
        vec![of("bought", RECEIVED, 7)],
    ];
    let some = Destination { streams: vec!["seen".into(), "bought".into()], ..destination(&root, "zstd") };
    let (shelf, metrics) = segments::append(&spool, vec![some.clone()], segments);
    // What is configured now is another matter: the streams are frozen, too.
    let run = driver(shelf.consumer(SINK, Terms::REQUIRED), destination(&root, "zstd"), &metrics).run();
    shelf.all_joined();
    timeout(Duration::from_mins(1), run).await.unwrap();
    let counts: Vec<(String, u64)> = objects(&root)
        .iter()
        .map(|(key, bytes)| (key.split("/dt=").next().unwrap().to_owned(), lines(key, bytes)))
        .collect();
    let expected = [("raw/_rejected/seen", 1), ("raw/bought", 7), ("raw/seen", 2), ("raw/seen", 3)];
    assert_eq!(counts, expected.map(|(directory, count)| (directory.to_owned(), count)));
    let told: Vec<Vec<(u64, String, u64)>> = pages(&root)
        .values()
        .map(|page| page.iter().map(entry).map(|it| (it.segment.0, it.stream.to_string(), it.events)).collect())
        .collect();
    let seen = |segment, events| (segment, "seen".to_owned(), events);
    // A segment, and an hour of one, of which the sink has nothing has no page.
    let bought = (4, "bought".to_owned(), 7);
    assert_eq!(told, [vec![seen(1, 2), seen(1, 1)], vec![seen(2, 3)], vec![bought]]);
    let kept = shelf.sealed();
    assert_eq!(kept.0, 0, "every segment is passed, also one of which the sink has nothing: {kept:?}");
}

/// Makes a place of the first segment below `spool` unreadable, where `text` stands.
fn damage(spool: &Path, text: &str) {
    let path = spool.join("0000000001.sealed");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn what_is_left_of_a_damaged_segment_becomes_a_frame_and_is_found_where_it_was_stored_before() {
    for before in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (root, spool) = (dir.path().join("objects"), dir.path().join("spool"));
        let destination = Destination { streams: vec!["heard".into()], ..destination(&root, "zstd") };
        let of = |stream, name: &str| Batch::accepted(stream, format!("{{\"event_id\":\"{name}\"}}\n"));
        let batches = vec![of("heard", "first"), of("heard", "second"), of("other", "third"), of("heard", "fourth")];
        let (shelf, metrics) = segments::append(&spool, vec![destination.clone()], vec![batches]);
        let _keeper = shelf.consumer("tests", Terms::KEPT);
        if before {
            let run = driver(shelf.consumer("former", Terms::KEPT), destination.clone(), &metrics).run();
            timeout(Duration::from_mins(1), run).await.unwrap();
        }
        damage(&spool, "second");
        if before {
            // What is there already is not read; another sink finds the damage.
            let other = Destination { sink: "other".into(), prefix: "other/".into(), ..destination.clone() };
            let run = driver(shelf.consumer("other", Terms::KEPT), other, &metrics).run();
            timeout(Duration::from_mins(1), run).await.unwrap();
            fs::remove_dir_all(root.join("other")).unwrap();
        }
        // What is asked of the store has a time, too.
        let store = Arc::new(Silent::default());
        let consumer = shelf.consumer(SINK, Terms::REQUIRED);
        let run = ObjectDriver::new(settings(destination, Duration::from_secs(2)), store, consumer, &metrics).run();
        timeout(Duration::from_mins(1), run).await.unwrap();
        let retried = metrics.render().contains("logweir_upload_retries_total{sink=\"s3\",cause=\"timeout\"} 1");
        assert_eq!(retried, before, "only what was stored before is asked for");
        let objects = objects(&root);
        let counts: Vec<u64> = objects.iter().map(|(key, bytes)| lines(key, bytes)).collect();
        // What was stored before the damage has more than is left, and stays.
        assert_eq!(counts, [if before { 3 } else { 2 }], "{:?}", objects.keys());
        let told: Vec<Line> = pages(&root).into_values().flatten().collect();
        if before {
            // A frame was read, to find out that it is what the segment held; the page has a second version.
            assert!(metrics.render().contains("logweir_objects_total{sink=\"s3\",outcome=\"existed\"} 1"));
            let of_all = told.iter().filter(|line| matches!(line, Line::Content(it) if it.events == 3)).count();
            assert_eq!(of_all, 2, "{told:?}");
        } else {
            assert_eq!(entry(&told[0]).events, 2);
        }
        assert!(told.iter().any(|line| matches!(line, Line::Damage(_))), "{told:?}");
    }
}

#[tokio::test]
async fn damage_is_told_in_the_books_of_a_sink_that_has_nothing_of_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (root, spool) = (dir.path().join("objects"), dir.path().join("spool"));
    let destination = Destination { streams: vec!["heard".into()], ..destination(&root, "zstd") };
    let batches = vec![Batch::accepted("other", LINE), Batch::accepted("other", "{\"event_id\":\"bad\"}\n")];
    let (shelf, metrics) = segments::append(&spool, vec![destination.clone()], vec![batches]);
    damage(&spool, "bad");
    // Only what is read is known to be damaged: another sink takes it.
    let _keeper = shelf.consumer("tests", Terms::KEPT);
    let all = Destination { sink: "all".into(), streams: Vec::new(), ..destination.clone() };
    let run = driver(shelf.consumer("all", Terms::KEPT), Destination { prefix: "all/".into(), ..all }, &metrics).run();
    timeout(Duration::from_mins(1), run).await.unwrap();
    let run = driver(shelf.consumer(SINK, Terms::REQUIRED), destination, &metrics).run();
    timeout(Duration::from_mins(1), run).await.unwrap();
    let pages: Vec<Vec<Line>> =
        pages(&root).into_iter().filter(|(key, _)| key.starts_with("raw/")).map(|(_, page)| page).collect();
    assert!(matches!(&pages[..], [page] if matches!(page[..], [Line::Damage(_)])), "{pages:?}");
}

/// Compressed sizes of the objects that `text` becomes, a group after the other, by a sink that keeps up.
fn sizes(codec: &str, object_size: u64, streams: &[&str], text: &[(&str, String)]) -> Vec<u64> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("objects");
    let destination =
        Destination { streams: streams.iter().map(ToString::to_string).collect(), ..destination(&root, codec) };
    let settings = spool::Settings {
        segment_size: 64 << 20,
        object_size: Some(object_size),
        ..segments::settings(&dir.path().join("spool"), vec![destination.clone()])
    };
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        let (mut lanes, intake) = queue::queues(1, 1_000);
        let metrics = Arc::new(Metrics::new().unwrap());
        let spool = Spool::open(settings, intake, &metrics).unwrap();
        let submitter = lanes.pop().unwrap().bind();
        tokio::task::spawn_local(Rc::clone(&submitter).deliver());
        let budget = ByteBudget::new(1 << 30);
        let shelf = spool.shelf();
        let mut driver = driver(shelf.consumer(SINK, Terms::REQUIRED), destination, &metrics);
        shelf.all_joined();
        for (stream, batch) in text {
            let mut builder = FrameBuilder::new(StreamName::new(stream).unwrap(), Book::Accepted, batch.len());
            builder.lines().extend_from_slice(batch.as_bytes());
            let at = Millis::new(RECEIVED).unwrap();
            let accepted = builder.finish(batch.lines().count() as u32, at, at, at);
            let reservation = budget.reserve(0).unwrap();
            submitter.submit(Submission { accepted, rejected: None, reservation }).unwrap().await.unwrap();
            // The segment is sealed after the receipt.
            while shelf.sealed().0 > 0 {
                assert!(driver.run_once().await);
            }
        }
        spool.close();
    });
    objects(&root).values().map(|bytes| bytes.len() as u64).collect()
}

/// Holds all but the first and the last of `sizes` to the target, give or take 30 %.
fn hit(sizes: &[u64], target: u64, learning: usize) {
    let learned = &sizes[learning..sizes.len() - 1];
    assert!(learned.len() >= 4, "{sizes:?}");
    let within = target * 7 / 10..=target * 13 / 10;
    assert!(learned.iter().all(|size| within.contains(size)), "{sizes:?} for {target}");
}

#[test]
fn objects_come_near_their_target_size_once_the_ratio_is_learned() {
    const TARGET: u64 = 192 * 1024;
    const BATCH: usize = 64 * 1024;
    // What hardly compresses, and what does so twenty times: far from what is believed at first.
    let noisy: Vec<_> = (0..64).map(|seed| ("heard", noise(BATCH, seed))).collect();
    let plain = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        let line = |_| {
            let id = random.u64(..);
            format!(
                "{{\"event_id\":\"{id:016x}\",\"app\":\"radio\",\"program\":\"{}\"}}\n",
                "the morning news ".repeat(24)
            )
        };
        ("heard", (0..BATCH / 500).map(line).collect::<String>())
    };
    let plain: Vec<_> = (0..900).map(plain).collect();
    hit(&sizes("gzip", TARGET, &[], &noisy), TARGET, 3);
    hit(&sizes("zstd", TARGET, &[], &plain), TARGET, 3);
}

#[test]
fn a_stream_that_no_sink_takes_seals_no_segment_for_its_size() {
    const TARGET: u64 = 192 * 1024;
    let batch = |seed| [("heard", noise(16 * 1024, seed)), ("other", noise(64 * 1024, seed))];
    let text: Vec<_> = (0..200).flat_map(batch).collect();
    hit(&sizes("gzip", TARGET, &["heard"], &text), TARGET, 3);
}
