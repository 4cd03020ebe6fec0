//! The books as sinks write them: a page for each segment and hour, behind the objects that it names.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "what is common to tests is used by others of them")]

#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "common/segments.rs"]
mod segments;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use logweir::{
    batch::Book,
    ledger::{Entry, Line},
    sink::{Backoff, FileStore, ObjectDriver, ObjectSettings},
    spool::Destination,
};
use segments::{Batch, RECEIVED, SINK, Segments};
use tokio::time::timeout;

const LINE: &str = "{\"event_id\":\"1\"}\n";
const HOUR: i64 = 3_600_000;

fn destination(kind: &str, place: &Path) -> Destination {
    Destination {
        sink: SINK.into(),
        kind: kind.into(),
        place: place.to_str().unwrap().into(),
        prefix: "raw/".into(),
        codec: "gzip".into(),
        level: 1,
        streams: Vec::new(),
    }
}

async fn drive(segments: &Segments, destination: Destination) {
    let settings = ObjectSettings {
        destination,
        concurrency: 2,
        attempt_timeout: Duration::from_secs(10),
        backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(20)),
    };
    let root = PathBuf::from(&settings.destination.place);
    let before = if root.is_dir() { files(&root) } else { Vec::new() };
    let driver = ObjectDriver::new(settings, Arc::new(FileStore::default()), segments.consumer(), &segments.metrics);
    timeout(Duration::from_mins(1), driver.run()).await.unwrap();
    // What stood there before was put there by a test.
    for key in files(&root).iter().filter(|key| !before.contains(key)) {
        copy_rules::check(&fs::read(root.join(key)).unwrap()).unwrap_or_else(|rule| panic!("{key}: {rule}"));
    }
}

/// Every file below `dir`, sorted.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn page(path: &Path) -> Vec<Entry> {
    let text = io::read_to_string(flate2::read::GzDecoder::new(File::open(path).unwrap())).unwrap();
    let entry = |line: &str| match Line::read(line.as_bytes()).unwrap() {
        Line::Content(entry) => entry,
        Line::Damage(damage) => panic!("{damage:?}"),
    };
    text.lines().map(entry).collect()
}

#[tokio::test]
async fn each_hour_of_a_segment_has_a_page_that_names_its_objects() {
    let root = tempfile::tempdir().unwrap();
    let destination = destination("file", root.path());
    let heard = |received| Batch { received, ..Batch::accepted("heard", LINE.repeat(3)) };
    let rejected = Batch { book: Book::Rejected, ..Batch::accepted("heard", LINE) };
    let segments = Segments::each(
        &destination,
        vec![vec![heard(RECEIVED), rejected, heard(RECEIVED + HOUR)], vec![heard(RECEIVED + HOUR)]],
    );
    drive(&segments, destination.clone()).await;
    let files = files(root.path());
    let pages: Vec<&String> = files.iter().filter(|key| key.starts_with("raw/_ledger/segments/")).collect();
    assert_eq!(pages.len(), 3, "{files:?}");
    assert!(
        pages[0].starts_with("raw/_ledger/segments/dt=2026-11-22/hour=09/")
            && pages[0].ends_with("-0000000001.ndjson.gz")
    );
    let entries: Vec<Entry> = pages.iter().flat_map(|key| page(&root.path().join(key))).collect();
    let told: Vec<_> = entries.iter().map(|e| (e.book.as_str(), e.events, e.bytes, e.segment.0)).collect();
    let bytes = LINE.len() as u64;
    assert_eq!(
        told,
        [
            ("accepted", 3, 3 * bytes, 1),
            ("rejected", 1, bytes, 1),
            ("accepted", 3, 3 * bytes, 1),
            ("accepted", 3, 3 * bytes, 2)
        ]
    );
    let named: Vec<&String> = entries.iter().map(|entry| &entry.key).collect();
    let mut objects: Vec<&String> = files.iter().filter(|key| !key.contains("_ledger/")).collect();
    objects.sort_by_key(|key| named.iter().position(|named| named == key));
    assert_eq!(named, objects, "the books name every object and no other");
    let text = segments.metrics.render();
    assert!(text.contains("logweir_ledger_pages_total{sink=\"s3\",outcome=\"stored\"} 3"), "{text}");
    assert!(text.contains("logweir_objects_total{sink=\"s3\",outcome=\"stored\"} 4"), "{text}");
}

#[tokio::test]
async fn a_page_tells_the_key_that_an_object_really_has() {
    let root = tempfile::tempdir().unwrap();
    let destination = destination("file", root.path());
    let segments = Segments::each(&destination, vec![vec![Batch::accepted("heard", LINE)]]);
    let plan = segments.objects().remove(0).plan();
    let taken = root.path().join(plan.key.to_string());
    fs::create_dir_all(taken.parent().unwrap()).unwrap();
    fs::write(&taken, "something else").unwrap();
    drive(&segments, destination.clone()).await;
    let key = files(root.path()).into_iter().find(|key| key.contains("_ledger/")).unwrap();
    assert_eq!(page(&root.path().join(key))[0].key, plan.key.another().to_string());
}

#[tokio::test]
async fn segments_of_a_sink_that_was_a_bucket_go_where_the_directory_is_now() {
    let root = tempfile::tempdir().unwrap();
    let former =
        Destination { place: root.path().join("bucket").to_str().unwrap().into(), ..destination("s3", root.path()) };
    let now = destination("file", &root.path().join("objects"));
    let segments =
        Segments::each(&former, vec![vec![Batch::accepted("heard", LINE)], vec![Batch::accepted("seen", LINE)]]);
    drive(&segments, now).await;
    assert!(!root.path().join("bucket").exists());
    assert_eq!(files(root.path()).iter().filter(|key| key.starts_with("objects/raw/")).count(), 4);
    // A footer that does not tell what the sink was is taken at its word.
    let old = Destination { kind: String::new(), ..destination("", &root.path().join("old")) };
    let segments = Segments::each(&old, vec![vec![Batch::accepted("heard", LINE)]]);
    drive(&segments, destination("file", &root.path().join("objects"))).await;
    assert!(root.path().join("old/raw/heard").is_dir());
}

#[tokio::test]
async fn the_cursor_stands_still_until_the_pages_are_stored() {
    let root = tempfile::tempdir().unwrap();
    let destination = destination("file", root.path());
    let segments = Segments::each(&destination, vec![vec![Batch::accepted("heard", LINE)]]);
    // Where the books should be made there is a file.
    let books = root.path().join("raw/_ledger");
    fs::create_dir(root.path().join("raw")).unwrap();
    fs::write(&books, "").unwrap();
    let driver = drive(&segments, destination.clone());
    assert!(timeout(Duration::from_secs(1), driver).await.is_err(), "it goes on trying");
    assert!(segments.metrics.render().contains("logweir_objects_total{sink=\"s3\",outcome=\"stored\"} 1"));
    assert!(segments.consumer().lag_bytes() > 0, "the cursor has not moved");
    fs::remove_file(&books).unwrap();
    drive(&segments, destination).await;
    assert_eq!(segments.consumer().lag_bytes(), 0);
    let text = segments.metrics.render();
    assert!(text.contains("logweir_objects_total{sink=\"s3\",outcome=\"existed\"} 1"), "{text}");
    assert_eq!(files(root.path()).iter().filter(|key| key.contains("_ledger/")).count(), 1);
}

#[tokio::test]
async fn what_occupies_the_key_of_a_page_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let destination = destination("file", root.path());
    let segments = Segments::each(&destination, vec![vec![Batch::accepted("heard", LINE)]]);
    let key = segments.objects().remove(0).plan().key.to_string().replace("heard/", "_ledger/segments/");
    let taken = root.path().join(&key);
    fs::create_dir_all(taken.parent().unwrap()).unwrap();
    fs::write(&taken, "something else").unwrap();
    drive(&segments, destination).await;
    assert_eq!(fs::read(&taken).unwrap(), b"something else");
    assert_eq!(page(&root.path().join(key.replace(".ndjson.gz", "-1.ndjson.gz"))).len(), 1);
}
