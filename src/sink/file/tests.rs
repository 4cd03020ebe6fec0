//! The file sink: what it says of names, of attempts that overlap, and of what others left.

use super::*;
use crate::{
    batch::{Book, Millis, SegmentId, StreamName},
    sink::{Compression, ObjectKey},
};

const TEXT: &str = "{\"event_id\":\"1\"}\n{\"event_id\":\"2\"}\n";
const INSTANCE: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn zstd_plan(root: &Path, text: &str) -> ObjectPlan {
    let plan = plan(root, "", text);
    let hour = Millis::new(1_795_338_000_123).unwrap().hour();
    let who = (plan.facts.instance, plan.facts.segment);
    let key = ObjectKey::new("", &StreamName::new("heard").unwrap(), Book::Accepted, hour, who, Codec::Zstd);
    ObjectPlan { key, ..plan }
}

fn zstd_body(text: &str, level: u32) -> ObjectBody {
    ObjectBody::of_text(text.into(), Compression { codec: Codec::Zstd, level })
}

#[tokio::test]
async fn a_zstd_file_is_compared_by_its_lines_and_not_by_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("objects");
    let store = FileStore::default();
    let text = TEXT.repeat(1_000);
    let plan = zstd_plan(&root, &text);
    let path = root.join(plan.key.to_string());
    assert!(matches!(store.put(&plan, zstd_body(&text, 1)).await.unwrap(), Placed::Stored(_)));
    let bytes = fs::read(&path).unwrap();
    // As another version of the encoder might write it.
    assert_eq!(store.put(&plan, zstd_body(&text, 9)).await.unwrap(), Placed::Existed);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let told = store.told(&plan.place, &plan.key.to_string()).await.unwrap().unwrap();
    assert_eq!((told.events, told.bytes, told.crc32), (Some(2_000), Some(text.len() as u64), Some(plan.facts.crc32)));

    let another = zstd_plan(&root, &text.replace('1', "3"));
    assert_eq!(another.facts.bytes, plan.facts.bytes, "of the same length, with other lines");
    assert_eq!(store.put(&another, zstd_body(&text.replace('1', "3"), 1)).await.unwrap(), Placed::Occupied);
    let longer = zstd_plan(&root, &TEXT.repeat(1_001));
    assert_eq!(store.put(&longer, zstd_body(&TEXT.repeat(1_001), 1)).await.unwrap(), Placed::Occupied);
    let mut damaged = bytes.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let gzip = gzip_bytes(&text).await;
    for other in [&damaged, &bytes[..last], &[&bytes[..], &bytes[..]].concat(), &gzip, &[][..], b"something else"] {
        fs::write(&path, other).unwrap();
        assert_eq!(store.put(&plan, zstd_body(&text, 1)).await.unwrap(), Placed::Occupied, "{}", other.len());
        assert_eq!(fs::read(&path).unwrap(), other);
        let told = store.told(&plan.place, &plan.key.to_string()).await.unwrap().unwrap();
        assert_eq!((told.bytes, told.crc32), (None, None), "what is unreadable tells nothing");
    }
    assert_eq!(temporary_files(&root), 0);
}

async fn gzip_bytes(text: &str) -> Vec<u8> {
    body(text).next_part(usize::MAX).await.unwrap().unwrap().bytes
}

fn plan(root: &Path, prefix: &str, text: &str) -> ObjectPlan {
    let (instance, segment) = (InstanceId::parse(INSTANCE).unwrap(), SegmentId(7));
    let hour = Millis::new(1_795_338_000_123).unwrap().hour();
    let stream = StreamName::new("heard").unwrap();
    ObjectPlan {
        place: root.to_str().unwrap().into(),
        key: ObjectKey::new(prefix, &stream, Book::Accepted, hour, (instance, segment), Codec::Gzip),
        facts: ObjectFacts {
            events: text.lines().count() as u64,
            bytes: text.len() as u64,
            crc32: crc32fast::hash(text.as_bytes()),
            first_event: None,
            last_event: None,
            instance,
            segment,
        },
    }
}

fn body(text: &str) -> ObjectBody {
    ObjectBody::of_text(text.into(), Compression { codec: Codec::Gzip, level: 1 })
}

fn gunzip(path: &Path) -> String {
    io::read_to_string(flate2::read::GzDecoder::new(File::open(path).unwrap())).unwrap()
}

fn temporary_files(root: &Path) -> usize {
    fs::read_dir(root.join(TEMPORARY)).unwrap().count()
}

/// A store whose syncs of directories go through `sync`.
fn store_with(sync: fn(&Path) -> io::Result<()>) -> FileStore {
    FileStore { names: Arc::new(Names::new(sync)), attempts: AtomicU64::default() }
}

#[tokio::test]
async fn an_object_that_is_there_already_is_told_only_once_its_name_is_synced() {
    static FAILING: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("objects");
    let plan = plan(&root, "", TEXT);
    let store = store_with(|dir| {
        let last = dir.to_string_lossy().contains("/hour=");
        if last && FAILING.load(Ordering::Relaxed) { Err(io::Error::other("no sync")) } else { Ok(()) }
    });
    // The file gets its name, and the sync of the directory fails: now, and when the object is found there.
    for _ in 0..3 {
        assert!(store.put(&plan, body(TEXT)).await.is_err());
        assert_eq!(gunzip(&root.join(plan.key.to_string())), TEXT);
    }
    FAILING.store(false, Ordering::Relaxed);
    assert_eq!(store.put(&plan, body(TEXT)).await.unwrap(), Placed::Existed);
    assert_eq!(temporary_files(&root), 0);
}

#[tokio::test]
async fn a_directory_whose_own_name_was_not_synced_is_synced_before_its_objects_count() {
    static FAILING: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    static STREAM_SYNCS: AtomicU64 = AtomicU64::new(0);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("objects");
    let plan = plan(&root, "", TEXT);
    let store = store_with(|dir| {
        let is_stream = dir.ends_with("heard");
        STREAM_SYNCS.fetch_add(u64::from(is_stream), Ordering::Relaxed);
        if is_stream && FAILING.load(Ordering::Relaxed) { Err(io::Error::other("no sync")) } else { Ok(()) }
    });
    // The day's directory is made, and its name in the stream's directory is not synced.
    for _ in 0..3 {
        assert!(store.put(&plan, body(TEXT)).await.is_err());
        assert!(root.join("heard/dt=2026-11-22").is_dir());
    }
    FAILING.store(false, Ordering::Relaxed);
    assert!(matches!(store.put(&plan, body(TEXT)).await.unwrap(), Placed::Stored(_)));
    let syncs = STREAM_SYNCS.load(Ordering::Relaxed);
    // From here on it is known.
    assert_eq!(store.put(&plan, body(TEXT)).await.unwrap(), Placed::Existed);
    assert_eq!(STREAM_SYNCS.load(Ordering::Relaxed), syncs);
    // Another process does not know, and syncs before it says so.
    let other = store_with(|dir| if dir.ends_with("heard") { Err(io::Error::other("no sync")) } else { Ok(()) });
    assert!(other.put(&plan, body(TEXT)).await.is_err());
}

#[tokio::test]
async fn two_attempts_at_one_object_write_different_files() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), "", TEXT);
    let store = FileStore::default();
    let create = || Temporary::create(&store.names, dir.path(), &store.temporary_name(&plan)).unwrap();
    let mut slow = create();
    slow.file.write_all(b"half").unwrap();
    // While the first attempt still writes, another one stores the object.
    assert!(matches!(store.put(&plan, body(TEXT)).await.unwrap(), Placed::Stored(_)));
    let path = dir.path().join(plan.key.to_string());
    slow.file.write_all(b" of it").unwrap();
    assert!(!slow.give_name(&store.names, dir.path(), &path).unwrap());
    assert_eq!(gunzip(&path), TEXT);
    assert_eq!(temporary_files(dir.path()), 0);
}

#[test]
fn the_process_that_was_here_before_calls_its_temporary_files_otherwise() {
    let plan = plan(Path::new("objects"), "", TEXT);
    let store = FileStore::default();
    let (instance, own) = (plan.facts.instance.to_string(), format!("-{}-0", process::id()));
    let name = store.temporary_name(&plan);
    assert!(name.starts_with(&instance) && name.ends_with(&own), "{name}");
    assert_ne!(store.temporary_name(&plan), name);
}

#[tokio::test]
async fn an_attempt_that_fails_or_is_given_up_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), "", TEXT);
    let store = FileStore::default();
    // A directory stands where the object should.
    fs::create_dir_all(dir.path().join(plan.key.to_string())).unwrap();
    assert!(store.put(&plan, body(TEXT)).await.is_err());
    drop(Temporary::create(&store.names, dir.path(), "given-up").unwrap());
    assert_eq!(fs::read_dir(dir.path().join(TEMPORARY)).map_or(0, Iterator::count), 0);
}

#[tokio::test]
async fn a_sweep_removes_what_a_killed_process_of_the_instance_has_left_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let instance = InstanceId::parse(INSTANCE).unwrap();
    FileStore::sweep(dir.path(), instance).unwrap();
    let temporary = dir.path().join(TEMPORARY);
    fs::create_dir(&temporary).unwrap();
    fs::write(temporary.join(format!("{instance}-0000000007-1f-0")), "half").unwrap();
    fs::write(temporary.join("01BX5ZZKBKACTAV9WEVGEMMVRZ-0000000007-1f-0"), "another instance's").unwrap();
    FileStore::sweep(dir.path(), instance).unwrap();
    assert_eq!(temporary_files(dir.path()), 1);
}

#[tokio::test]
async fn a_key_may_be_as_long_as_the_rules_allow() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = format!("{}/{}/", "p".repeat(255), "q".repeat(255));
    let plan = plan(dir.path(), &prefix, TEXT);
    assert!(matches!(FileStore::default().put(&plan, body(TEXT)).await.unwrap(), Placed::Stored(_)));
    assert_eq!(gunzip(&dir.path().join(plan.key.to_string())), TEXT);
}

#[tokio::test]
async fn what_a_file_holds_is_told_by_its_trailer() {
    let dir = tempfile::tempdir().unwrap();
    let other = "{\"event_id\":\"3\"}\n";
    let another = plan(dir.path(), "", other);
    let plan = plan(dir.path(), "", TEXT);
    let store = FileStore::default();
    store.put(&plan, body(TEXT)).await.unwrap();
    let path = dir.path().join(plan.key.to_string());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(store.put(&plan, body(TEXT)).await.unwrap(), Placed::Occupied);
    fs::write(&path, &bytes[..4]).unwrap();
    assert_eq!(store.put(&plan, body(TEXT)).await.unwrap(), Placed::Occupied);
    fs::remove_file(&path).unwrap();
    store.put(&another, body(other)).await.unwrap();
    assert_eq!(store.put(&plan, body(TEXT)).await.unwrap(), Placed::Occupied);
    assert_eq!(gunzip(&path), other);
}

#[tokio::test]
async fn what_stands_below_the_root_is_listed_page_by_page_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let store = FileStore::default();
    store.overwrite(place, "a/one.json", b"1".to_vec()).await.unwrap();
    store.overwrite(place, "a/one.json", b"other".to_vec()).await.unwrap();
    store.overwrite(place, "a/b/two.json", b"2".to_vec()).await.unwrap();
    let page = store.list(place, "a/", None).await.unwrap();
    let one = crate::sink::Listed { key: "a/one.json".into(), bytes: 5 };
    assert_eq!(page, Page { objects: vec![one], directories: vec!["a/b/".into()], next: None });
    assert_eq!(store.list(place, "", None).await.unwrap().directories, ["a/"]);
    assert_eq!(store.list(place, "none/", None).await.unwrap(), Page::default());
    let mut object = store.get(place, "a/one.json").await.unwrap().unwrap();
    assert_eq!(object.next_piece().await.unwrap().unwrap(), "other");
    assert_eq!(object.next_piece().await.unwrap(), None);
    assert!(store.get(place, "a/three.json").await.unwrap().is_none());
    for number in 0..1_005 {
        fs::write(dir.path().join(format!("a/b/{number:04}")), "").unwrap();
    }
    let first = store.list(place, "a/b/", None).await.unwrap();
    let second = store.list(place, "a/b/", first.next.clone()).await.unwrap();
    assert_eq!((first.objects.len(), second.objects.len(), second.next.as_deref()), (1_000, 6, None));
    assert_eq!(second.objects[0].key, "a/b/1000");
}
