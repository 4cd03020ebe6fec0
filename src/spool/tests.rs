//! The spool on a real disk: what is acknowledged is found again, whatever the last process left.

mod faults;
mod following;
mod terms;

use std::{fs, os::unix::fs::FileExt, path::Path, rc::Rc};

use super::*;
use crate::{
    admission::ByteBudget,
    batch::{Book, FrameBuilder, Millis, SegmentId, StreamName},
    metrics::Metrics,
    queue::{self, Durable, Lost, Submission, Submitter},
};

const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_795_338_000_123;

fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        disk_quota: 1 << 30,
        segment_size: 1 << 20,
        object_size: None,
        seal_after: Duration::from_hours(1),
        seal_jitter: 0.0,
        early_seal_interval: Duration::from_millis(50),
        sync_interval: Duration::ZERO,
        max_rate: None,
        destinations: vec![Destination {
            sink: "files".into(),
            kind: "file".into(),
            place: "objects".into(),
            prefix: "p/".into(),
            codec: "gzip".into(),
            level: 1,
            streams: Vec::new(),
        }],
    }
}

/// A spool with one worker, on the current thread.
struct Rig {
    spool: Spool,
    submitter: Rc<Submitter>,
    metrics: Arc<Metrics>,
    budget: Arc<ByteBudget>,
}

impl Rig {
    fn open(settings: Settings) -> Self {
        let (mut lanes, intake) = queue::queues(1, 1_000);
        let metrics = Arc::new(Metrics::new().unwrap());
        let spool = Spool::open(settings, intake, &metrics).unwrap();
        let submitter = lanes.pop().unwrap().bind();
        tokio::task::spawn_local(Rc::clone(&submitter).deliver());
        Self { spool, submitter, metrics, budget: ByteBudget::new(1 << 30) }
    }

    /// The same in memory.
    fn in_memory(settings: Settings) -> Self {
        let (mut lanes, intake) = queue::queues(1, 1_000);
        let metrics = Arc::new(Metrics::new().unwrap());
        let spool = Spool::in_memory(settings, intake, &metrics).unwrap();
        let submitter = lanes.pop().unwrap().bind();
        tokio::task::spawn_local(Rc::clone(&submitter).deliver());
        Self { spool, submitter, metrics, budget: ByteBudget::new(1 << 30) }
    }

    async fn put(&self, stream: &str, book: Book, received: i64, lines: &str) -> Result<Durable, Lost> {
        let mut builder = FrameBuilder::new(StreamName::new(stream).unwrap(), book, lines.len());
        builder.lines().extend_from_slice(lines.as_bytes());
        let at = Millis::new(received).unwrap();
        let events = lines.lines().count() as u32;
        let frame = builder.finish(events, at, at, at);
        let submission = Submission { accepted: frame, rejected: None, reservation: self.budget.reserve(0).unwrap() };
        self.submitter.submit(submission).unwrap().await
    }

    async fn line(&self, text: &str) -> Durable {
        self.put("heard", Book::Accepted, NOW, &format!("{text}\n")).await.unwrap()
    }

    /// Ends the spool without sealing anything, as a crash would: the directory as it is now, elsewhere.
    #[expect(clippy::unused_self, reason = "the spool is open while its directory is copied")]
    fn crash(&self, dir: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(dir).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_dir() {
                continue;
            }
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        copy
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|found| found == line)
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), test).await.expect("the test ends") });
}

/// What a consumer called `name` finds: each segment's lines by stream, book and hour. Like a sink's driver, it repairs
/// a segment that it finds damaged.
fn drain(shelf: &Arc<Shelf>, name: &str) -> Vec<(SegmentId, Vec<(String, String)>)> {
    let mut consumer = shelf.consumer(name, Terms::REQUIRED);
    shelf.all_joined();
    let mut found = Vec::new();
    while let Some(Some(id)) = now(consumer.next()) {
        let segment = consumer.open(id, &[]).unwrap().expect("something valid");
        let contents = read(segment)
            .or_else(|_| read(consumer.repair(id, &[]).unwrap().expect("something valid")))
            .expect("a repaired segment can be read");
        found.push((id, contents));
        consumer.pass(id, Millis::new(NOW).unwrap()).unwrap();
    }
    found
}

fn read(segment: SealedSegment) -> Result<Vec<(String, String)>, ReadError> {
    let segment = Arc::new(segment);
    let mut contents = Vec::new();
    for content in &segment.footer.contents {
        let mut text = Vec::new();
        let mut lines = Lines::new(Arc::clone(&segment), content.clone());
        while let Some(piece) = lines.next_piece()? {
            text.extend_from_slice(piece);
        }
        assert_eq!((text.len() as u64, crc32fast::hash(&text)), (content.bytes, content.crc32));
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count() as u64, content.events);
        let (stream, book) = (content.stream().unwrap(), content.book().unwrap().as_str());
        contents.push((format!("{stream}/{book}/{}", content.hour().partition()), text));
    }
    Ok(contents)
}

/// What a future gives without waiting.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(ready) => Some(ready),
        std::task::Poll::Pending => None,
    }
}

fn lines_of(found: &[(SegmentId, Vec<(String, String)>)]) -> String {
    found.iter().flat_map(|(_, contents)| contents.iter().map(|(_, text)| text.as_str())).collect()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Where the groups of a segment's file begin.
fn group_offsets(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let starts = bytes.chunks(BLOCK_BYTES).enumerate();
    starts.filter(|(_, block)| block.starts_with(b"LWGROUP")).map(|(n, _)| (n * BLOCK_BYTES) as u64).collect()
}

#[test]
fn what_is_acknowledged_is_sealed_by_stream_book_and_hour_and_read_back() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        rig.put("heard", Book::Accepted, NOW, "a\nb\n").await.unwrap();
        rig.put("seen", Book::Accepted, NOW, "c\n").await.unwrap();
        rig.put("heard", Book::Rejected, NOW, "d\n").await.unwrap();
        rig.put("heard", Book::Accepted, NOW + HOUR, "e\n").await.unwrap();
        rig.put("heard", Book::Accepted, NOW, "f\n").await.unwrap();
        assert!(rig.metric("logweir_events_total{stream=\"heard\",verdict=\"accepted\"} 4"));
        let (shelf, instance) = (rig.spool.shelf(), rig.spool.instance());
        assert_eq!(shelf.sealed().0, 0);
        rig.spool.close();
        let found = drain(&shelf, "files");
        let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(
            found,
            [(
                SegmentId(1),
                vec![
                    text("heard/accepted/dt=2026-11-22/hour=09", "a\nb\nf\n"),
                    text("heard/accepted/dt=2026-11-22/hour=10", "e\n"),
                    text("heard/rejected/dt=2026-11-22/hour=09", "d\n"),
                    text("seen/accepted/dt=2026-11-22/hour=09", "c\n"),
                ]
            )]
        );
        assert_eq!(instance.to_string(), fs::read_to_string(dir.path().join("instance")).unwrap().trim());
    });
}

#[test]
fn an_open_segment_is_taken_up_after_a_crash() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        rig.line("a").await;
        rig.line("b").await;
        let crashed = rig.crash(dir.path());
        rig.spool.close();
        let again = Rig::open(settings(crashed.path()));
        assert!(again.spool.clock().now() >= Millis::new(NOW).unwrap(), "received times go on");
        assert_eq!(again.line("c").await.segment, SegmentId(2), "a number is never used twice");
        let shelf = again.spool.shelf();
        again.spool.close();
        assert_eq!(lines_of(&drain(&shelf, "files")), "a\nb\nc\n");
    });
}

#[test]
fn a_torn_tail_is_cut_wherever_it_tears() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        rig.line("kept").await;
        rig.put("heard", Book::Accepted, NOW, &"torn\n".repeat(2_000)).await.unwrap();
        let crashed = rig.crash(dir.path());
        rig.spool.close();
        let name = "0000000001.open";
        let groups = group_offsets(&crashed.path().join(name));
        let whole = fs::read(crashed.path().join(name)).unwrap();
        let second = groups[1] as usize;
        // Every block but the first of the group may be missing, alone or with all behind it.
        for (block, cut) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
            let from = second + block * BLOCK_BYTES;
            let mut torn = whole.clone();
            if cut {
                torn.truncate(from);
            } else {
                torn[from..from + BLOCK_BYTES].fill(0);
            }
            fs::write(crashed.path().join(name), torn).unwrap();
            let again = Rig::open(settings(crashed.path()));
            let shelf = again.spool.shelf();
            again.spool.close();
            assert_eq!(lines_of(&drain(&shelf, "files")), "kept\n", "block {block}, cut {cut}");
            let quarantined = again.metrics.counts(&[&crate::metrics::QUARANTINED]);
            assert!(quarantined.iter().all(|count| count.value == 0), "{quarantined:?}");
            fs::remove_dir_all(crashed.path()).unwrap();
            fs::create_dir(crashed.path()).unwrap();
            for file in ["instance", name] {
                fs::copy(dir.path().join("instance"), crashed.path().join("instance")).unwrap();
                if file == name {
                    fs::write(crashed.path().join(name), &whole).unwrap();
                }
            }
        }
    });
}

#[test]
fn a_damaged_place_is_quarantined_and_what_follows_is_kept() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        for line in ["a", "b", "c", "d"] {
            rig.line(line).await;
        }
        let crashed = rig.crash(dir.path());
        rig.spool.close();
        let path = crashed.path().join("0000000001.open");
        let groups = group_offsets(&path);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_at(b"X", groups[1] + 100).unwrap();
        file.write_at(&u32::MAX.to_le_bytes(), groups[2] + 32).unwrap();
        let again = Rig::open(settings(crashed.path()));
        assert!(again.metric("logweir_quarantined_total{what=\"place\"} 1"));
        assert!(again.metric("logweir_quarantined_bytes_total 8192"));
        assert!(again.metric("logweir_torn_tails_total 0") || !again.metrics.render().contains("torn_tails_total 1"));
        let shelf = again.spool.shelf();
        again.spool.close();
        assert_eq!(lines_of(&drain(&shelf, "files")), "a\nd\n");
        let kept = fs::read(crashed.path().join(format!("quarantine/0000000001-{}", groups[1]))).unwrap();
        assert_eq!(kept.len(), 8_192);
        assert!(kept.windows(2).any(|bytes| bytes == b"c\n"));
    });
}

#[test]
fn a_recycled_file_does_not_bring_its_former_life_back() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        for n in 0..5 {
            rig.line(&format!("former {n}")).await;
        }
        let shelf = rig.spool.shelf();
        rig.spool.close();
        assert_eq!(drain(&shelf, "files").len(), 1);
        drop(shelf);
        let spares = |dir: &Path| files(dir).into_iter().filter(|name| name.starts_with("spare")).count();
        assert!(spares(dir.path()) >= 1, "{:?}", files(dir.path()));
        // Only the recycled file may be at hand.
        for name in files(dir.path()) {
            let path = dir.path().join(&name);
            if name.starts_with("spare") && !fs::read(&path).unwrap().windows(8).any(|bytes| bytes == b"former 0") {
                fs::remove_file(path).unwrap();
            }
        }
        assert_eq!(spares(dir.path()), 1);
        let rig = Rig::open(settings(dir.path()));
        rig.line("new").await;
        let crashed = rig.crash(dir.path());
        rig.spool.close();
        assert!(fs::read(crashed.path().join("0000000002.open")).unwrap().windows(8).any(|bytes| bytes == b"former 3"));
        let again = Rig::open(settings(crashed.path()));
        let shelf = again.spool.shelf();
        again.spool.close();
        assert_eq!(lines_of(&drain(&shelf, "files")), "new\n");
    });
}

#[test]
fn segments_are_sealed_by_size() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let big = "x".repeat(300_000) + "\n";
        for _ in 0..6 {
            rig.put("heard", Book::Accepted, NOW, &big).await.unwrap();
        }
        // A group is settled before its segment is sealed.
        while rig.spool.shelf().sealed().0 < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!rig.metric("logweir_seals_total{cause=\"size\"} 0"));
        let huge = "x".repeat(3_000_000) + "\n";
        rig.put("heard", Book::Accepted, NOW, &huge).await.unwrap();
        let shelf = rig.spool.shelf();
        rig.spool.close();
        let found = drain(&shelf, "files");
        assert_eq!(
            lines_of(&found).len(),
            6 * big.len() + huge.len(),
            "a group larger than a segment has one of its own"
        );
        assert_eq!(shelf.sealed(), (0, 0));
    });
}

#[test]
fn segments_are_sealed_by_age_and_by_request() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(Settings { seal_after: Duration::from_millis(200), ..settings(dir.path()) });
        let shelf = rig.spool.shelf();
        let consumer = shelf.consumer("files", Terms::REQUIRED);
        rig.line("aged").await;
        assert_eq!(consumer.next().await, Some(SegmentId(1)));
        assert!(rig.metric("logweir_seals_total{cause=\"age\"} 1"));
        rig.spool.close();

        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let mut consumer = shelf.consumer("files", Terms::REQUIRED);
        shelf.all_joined();
        for n in 1..=2 {
            let durable = rig.line("asked").await;
            rig.submitter.request_seal();
            assert_eq!(consumer.next().await, Some(SegmentId(n)));
            assert_eq!(durable.segment, SegmentId(n));
            let stored = rig.submitter.stored(durable.segment);
            consumer.pass(SegmentId(n), Millis::new(NOW).unwrap()).unwrap();
            stored.await;
        }
        rig.spool.close();
        assert_eq!(consumer.next().await, None, "none will come any more");
    });
}

#[test]
fn a_segment_goes_when_every_sink_has_passed_it() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let mut fast = shelf.consumer("fast", Terms::REQUIRED);
        let mut slow = shelf.consumer("slow", Terms::KEPT);
        shelf.all_joined();
        assert_eq!(shelf.oldest_unstored(), None);
        rig.line("a").await;
        assert_eq!(shelf.oldest_unstored(), Millis::new(NOW));
        rig.spool.close();
        assert_eq!((fast.lag_bytes() > 0, slow.lag_bytes()), (true, fast.lag_bytes()));
        let at = Millis::new(NOW).unwrap();
        fast.pass(SegmentId(1), at).unwrap();
        assert_eq!(shelf.sealed().0, 1);
        assert_eq!(shelf.oldest_unstored(), None, "a sink that is not required does not count");
        slow.pass(SegmentId(1), at).unwrap();
        assert_eq!(shelf.sealed().0, 0);
        assert!(!files(dir.path()).contains(&"0000000001.sealed".to_owned()));
    });
}

#[test]
fn a_cursor_is_taken_up_and_numbers_go_on() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        rig.line("a").await;
        let shelf = rig.spool.shelf();
        rig.spool.close();
        drain(&shelf, "files");
        drop(shelf);
        let rig = Rig::open(settings(dir.path()));
        assert_eq!(rig.line("b").await.segment, SegmentId(2));
        let shelf = rig.spool.shelf();
        rig.spool.close();
        assert_eq!(lines_of(&drain(&shelf, "files")), "b\n");
    });
}

#[test]
fn a_segment_whose_footer_was_written_before_the_crash_keeps_it() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        rig.line("a").await;
        let shelf = rig.spool.shelf();
        rig.spool.close();
        drop(shelf);
        fs::rename(dir.path().join("0000000001.sealed"), dir.path().join("0000000001.open")).unwrap();
        let rig = Rig::open(Settings { destinations: vec![], ..settings(dir.path()) });
        let shelf = rig.spool.shelf();
        rig.spool.close();
        let consumer = shelf.consumer("files", Terms::REQUIRED);
        let segment = consumer.open(SegmentId(1), &[]).unwrap().unwrap();
        assert_eq!(segment.footer.destination("files").unwrap().prefix, "p/", "what it becomes was frozen");
    });
}

#[test]
fn a_directory_that_is_no_spool_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("instance"), "something else").unwrap();
    let (_lanes, intake) = queue::queues(1, 1);
    let metrics = Arc::new(Metrics::new().unwrap());
    let refused = Spool::open(settings(dir.path()), intake, &metrics).unwrap_err();
    assert!(matches!(refused, StartError::Instance(_)), "{refused}");
}

#[test]
fn a_sealed_segment_that_went_bad_is_repaired_from_its_valid_groups() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        for line in ["a", "b", "c", "d"] {
            rig.line(line).await;
        }
        let shelf = rig.spool.shelf();
        rig.spool.close();
        let path = dir.path().join("0000000001.sealed");
        let groups = group_offsets(&path);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_at(b"X", groups[1] + 120).unwrap();
        let consumer = shelf.consumer("files", Terms::REQUIRED);
        let segment = Arc::new(consumer.open(SegmentId(1), &[]).unwrap().unwrap());
        let mut lines = Lines::new(Arc::clone(&segment), segment.footer.contents[0].clone());
        let damaged = loop {
            match lines.next_piece() {
                Ok(piece) => assert!(piece.is_some(), "the damage is found"),
                Err(error) => break error,
            }
        };
        assert!(matches!(damaged, ReadError::Damaged(_)));
        let repaired = consumer.repair(SegmentId(1), &[]).unwrap().unwrap();
        assert_eq!(repaired.footer.destination("files").unwrap().prefix, "p/");
        assert!(rig.metrics.render().contains("logweir_quarantined_bytes_total 4096"));
        let content = &repaired.footer.contents[0];
        assert_eq!((content.events, content.former()[0].events, content.lost_events()), (3, 4, 1), "the books tell it");
        drop(consumer);
        assert_eq!(lines_of(&drain(&shelf, "again")), "a\nc\nd\n");

        // A lost footer is made again; a segment without a valid group is quarantined.
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(lines_of(&drain(&shelf, "once-more")), "a\nc\nd\n");
        fs::write(&path, vec![7; 10_000]).unwrap();
        let consumer = shelf.consumer("last", Terms::REQUIRED);
        assert!(consumer.open(SegmentId(1), &[]).unwrap().is_none());
        assert!(files(&dir.path().join("quarantine")).contains(&"0000000001.sealed".to_owned()));
    });
}

/// What a newer version wrote is not ours to read, nor to lose.
#[test]
fn a_segment_of_another_version_is_moved_aside_and_everything_else_goes_on() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        rig.line("sealed").await;
        rig.spool.close();
        let rig = Rig::open(settings(dir.path()));
        rig.line("open").await;
        let crashed = rig.crash(dir.path());
        rig.spool.close();
        for name in ["0000000001.sealed", "0000000002.open"] {
            let path = crashed.path().join(name);
            let mut bytes = fs::read(&path).unwrap();
            // The version of the first block, whose checksum is right; and of a sealed one no footer that is known.
            bytes[8] = 9;
            let sum = crc32fast::hash(&bytes[..60]);
            bytes[60..64].copy_from_slice(&sum.to_le_bytes());
            let len = bytes.len();
            bytes[len - 32..].fill(0);
            fs::write(path, bytes).unwrap();
        }
        let again = Rig::open(settings(crashed.path()));
        assert_eq!(again.line("new").await.segment, SegmentId(3), "numbers go on");
        let shelf = again.spool.shelf();
        again.spool.close();
        let consumer = shelf.consumer("files", Terms::REQUIRED);
        assert!(consumer.open(SegmentId(1), &[]).unwrap().is_none(), "it is passed");
        drop(consumer);
        assert_eq!(files(&crashed.path().join("quarantine")), ["0000000001.sealed", "0000000002.open"]);
        assert!(again.metrics.render().contains("logweir_quarantined_total{what=\"segment\"} 2"));
    });
}

#[test]
fn a_cursor_that_points_nowhere_begins_at_the_oldest_segment() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        rig.line("a").await;
        rig.spool.close();
        {
            let disk: SharedDisk = Arc::new(RealDisk::open(dir.path()).unwrap());
            let position = Position { segment: SegmentId(1_000), offset: 0, received: Millis::new(NOW).unwrap() };
            cursor::Cursor::open(&disk, "files").advance(position).unwrap();
        }
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        rig.spool.close();
        assert_eq!(lines_of(&drain(&shelf, "files")), "a\n");
        assert!(rig.metrics.render().contains("logweir_quarantined_total{what=\"cursor\"} 1"));
    });
}

#[test]
fn a_spool_in_memory_takes_what_it_may_can_be_drained_when_full_and_takes_again() {
    run(async {
        let rig = Rig::in_memory(Settings { disk_quota: 4 << 20, ..settings(Path::new("nowhere")) });
        let mut sink = rig.spool.shelf().consumer("files", Terms::REQUIRED);
        rig.spool.shelf().all_joined();
        let line = format!("{}\n", "x".repeat(100_000));
        for _ in 0..3 {
            // Nobody takes anything: it fills up, and says so.
            let mut taken = 0;
            let lost = loop {
                match rig.put("heard", Book::Accepted, NOW, &line).await {
                    Ok(_) => taken += 1,
                    Err(lost) => break lost,
                }
            };
            assert_eq!(lost, Lost::DiskFull);
            assert!((36..=41).contains(&taken), "{taken}");
            // What is full is sealed all the same, and the sink gets all of it.
            let mut found = 0;
            while found < taken {
                let segment = sink.next().await.unwrap();
                let contents = read(sink.open(segment, &[]).unwrap().unwrap()).unwrap();
                found += contents.iter().map(|(_, text)| text.lines().count()).sum::<usize>();
                sink.pass(segment, Millis::new(NOW).unwrap()).unwrap();
            }
            assert_eq!(found, taken);
        }
        rig.spool.close();
    });
}

#[test]
fn a_spool_in_memory_has_an_identity_of_its_own_each_time_and_leaves_nothing() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("spool");
        let rigs = [(); 2].map(|()| Rig::in_memory(settings(&place)));
        assert_ne!(rigs[0].spool.instance(), rigs[1].spool.instance());
        for rig in rigs {
            rig.line("one").await;
            rig.spool.close();
        }
        assert!(!place.exists());
    });
}

#[test]
fn in_memory_a_window_that_is_due_stays_open_while_the_sinks_have_enough_to_do() {
    run(async {
        let rig = Rig::in_memory(Settings { early_seal_interval: Duration::ZERO, ..settings(Path::new("nowhere")) });
        let shelf = rig.spool.shelf();
        let mut sink = shelf.consumer("files", Terms::REQUIRED);
        let _best_effort = shelf.consumer("search", Terms::KEPT);
        shelf.all_joined();
        let sealed = async |count: usize| {
            while shelf.sealed().0 < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let mut waiting = Vec::new();
        for count in 1..=2 {
            waiting.push(rig.line("waits").await.segment);
            rig.submitter.request_seal();
            sealed(count).await;
        }
        // The sink takes nothing: what comes now goes together.
        for _ in 0..5 {
            waiting.push(rig.line("waits").await.segment);
            rig.submitter.request_seal();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(shelf.sealed().0, 2);
        let passed = sink.next().await.unwrap();
        sink.pass(passed, Millis::new(NOW).unwrap()).unwrap();
        // One is passed, and is kept for the other sink, which nobody waits for.
        sealed(3).await;
        assert_eq!(waiting[2..].iter().collect::<std::collections::BTreeSet<_>>().len(), 1);
        rig.spool.close();
    });
}

#[test]
fn in_a_hurry_a_seal_does_not_wait_for_its_interval() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let hour = Duration::from_hours(1);
        let rig = Rig::open(Settings { early_seal_interval: hour, ..settings(dir.path()) });
        let shelf = rig.spool.shelf();
        let wait = async |count: usize| {
            while shelf.sealed().0 < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        rig.line("first").await;
        rig.submitter.request_seal();
        wait(1).await;
        rig.line("second").await;
        rig.submitter.request_seal();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(shelf.sealed().0, 1, "it waits for its interval");
        rig.spool.hurry();
        wait(2).await;
        rig.spool.close();
    });
}
