//! On which terms the spool keeps: lag, skipping, beginning now, retiring.

use std::{fmt::Write as _, os::unix::fs::MetadataExt};

use super::*;

const AGE: MaxLag = MaxLag { bytes: u64::MAX, age: Duration::from_mins(1) };

fn best_effort(lag: MaxLag) -> Terms {
    Terms { need: Need::BestEffort(lag), start: Start::Oldest }
}

fn at(millis: i64) -> Millis {
    Millis::new(millis).unwrap()
}

impl Rig {
    /// Seals what is open, and waits until `segments` are sealed.
    async fn seal(&self, segments: usize) {
        self.submitter.request_seal();
        while self.spool.shelf().sealed().0 < segments {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A line that was received some seconds after [`NOW`].
    async fn later(&self, seconds: i64, text: &str) {
        self.put("heard", Book::Accepted, NOW + seconds * 1_000, text).await.unwrap();
    }

    fn skipped(&self, sink: &str) -> (u64, u64) {
        skipped(&self.metrics, sink)
    }
}

fn skipped(metrics: &Metrics, sink: &str) -> (u64, u64) {
    let counts = metrics.counts(&[&crate::metrics::SINK_SKIPPED_EVENTS, &crate::metrics::SINK_SKIPPED_BYTES]);
    let of = |name: &str| {
        let found = counts.iter().find(|count| count.metric.name == name && count.labels == [sink]);
        found.map_or(0, |count| count.value)
    };
    (of(crate::metrics::SINK_SKIPPED_EVENTS.name), of(crate::metrics::SINK_SKIPPED_BYTES.name))
}

fn lines(followed: Option<Followed>) -> (String, Mark) {
    let Some(Followed::Lines(stretch)) = followed else { panic!("lines, not {followed:?}") };
    (stretch.pieces.iter().map(|piece| String::from_utf8(piece.text.clone()).unwrap()).collect(), stretch.end)
}

/// The driver of an object sink hangs in a segment, and one of a follower with what it has read.
#[test]
fn the_spool_goes_on_without_a_best_effort_sink_that_lags_too_far_by_age() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let mut required = shelf.consumer("required", Terms::REQUIRED);
        let mut objects = shelf.consumer("objects", best_effort(AGE));
        let mut tail = Follower::new(shelf.consumer("tail", best_effort(AGE)));
        shelf.all_joined();
        rig.later(0, "a\nb\nc\n").await;
        rig.later(1, "d\n").await;
        let (text, mark) = lines(tail.read_now(3).unwrap());
        assert_eq!(text, "a\n");
        tail.done_now(mark).unwrap();
        let (_, read_only) = lines(tail.read_now(1 << 20).unwrap());
        rig.seal(1).await;
        rig.later(30, "e\n").await;
        rig.seal(2).await;
        rig.later(50, "f\n").await;
        let hangs = objects.open(SegmentId(1), &[]).unwrap().unwrap();
        let skipped = objects.skipped(SegmentId(1));
        assert!(now(objects.skipped(SegmentId(1))).is_none() && now(tail.skipped()).is_none());
        required.pass(SegmentId(1), at(NOW)).unwrap();

        shelf.keep_up(at(NOW + 60_000));
        assert_eq!((rig.skipped("objects"), rig.skipped("tail")), ((0, 0), (0, 0)), "a minute is not too much");
        assert_eq!(tail.lag().since, Some(at(NOW)), "of a frame it has done a part");
        assert!(rig.metric("logweir_sink_lag_seconds{sink=\"tail\"} 60"));
        assert!(rig.metric("logweir_sink_lag_seconds{sink=\"required\"} 30"));
        assert_eq!(shelf.sealed().0, 2);

        shelf.keep_up(at(NOW + 60_001));
        assert_eq!(rig.skipped("objects"), (5, 10), "a to e, of what is sealed");
        assert_eq!(rig.skipped("tail"), (5, 10), "b to f: all that is durable, but for what it has done");
        assert!(rig.metric("logweir_sink_lag_seconds{sink=\"objects\"} 0"));
        assert!(rig.metric("logweir_sink_lag_bytes{sink=\"tail\"} 0"));
        assert_eq!(shelf.sealed().0, 1, "the required sink still needs one");
        assert_eq!((now(skipped), now(tail.skipped())), (Some(()), Some(())));
        assert_eq!(read(hangs).unwrap()[0].1, "a\nb\nc\nd\n", "what is being read can be read to its end");

        // Whoever hung and comes back changes nothing.
        objects.pass(SegmentId(1), at(NOW)).unwrap();
        tail.done_now(read_only).unwrap();
        assert!(matches!(tail.read_now(1 << 20).unwrap(), Some(Followed::Skipped)));
        assert!(tail.read_now(1 << 20).unwrap().is_none());
        rig.later(70, "g\n").await;
        assert_eq!(lines(tail.read_now(1 << 20).unwrap()).0, "g\n");
        rig.spool.close();
        assert_eq!(objects.next().await, Some(SegmentId(3)));
        drop((required, objects, tail, shelf));

        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let mut tail = Follower::new(shelf.consumer("tail", best_effort(AGE)));
        assert_eq!(lines(tail.read_now(1 << 20).unwrap()).0, "g\n", "what was skipped stays so");
        assert_eq!(shelf.consumer("objects", best_effort(AGE)).next().await, Some(SegmentId(3)));
        rig.spool.close();
    });
}

#[test]
fn the_spool_goes_on_without_a_best_effort_sink_that_lags_too_far_by_bytes() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let most = |bytes| best_effort(MaxLag { bytes, age: Duration::MAX });
        let mut tail = Follower::new(shelf.consumer("tail", most(16_384)));
        let objects = shelf.consumer("objects", most(16_384));
        shelf.all_joined();
        // The first block, and a block for each group.
        for n in 0..3 {
            rig.line(&n.to_string()).await;
        }
        assert_eq!((tail.lag().bytes, objects.lag_bytes()), (16_384, 0));
        shelf.keep_up(at(NOW));
        assert_eq!(rig.skipped("tail"), (0, 0));
        rig.line("3").await;
        shelf.keep_up(at(NOW));
        assert_eq!((rig.skipped("tail"), rig.skipped("objects")), ((4, 8), (0, 0)));
        assert!(matches!(tail.read_now(1 << 20).unwrap(), Some(Followed::Skipped)));
        rig.line("4").await;
        assert_eq!(lines(tail.read_now(1 << 20).unwrap()).0, "4\n");
        let metrics = Arc::clone(&rig.metrics);
        rig.spool.close();
        shelf.keep_up(at(NOW));
        assert_eq!(skipped(&metrics, "objects"), (5, 10));
        assert_eq!((objects.next().await, shelf.sealed().0), (None, 1), "it is the follower that holds it");
        shelf.keep_up(at(NOW));
        assert_eq!(skipped(&metrics, "objects"), (5, 10), "nothing is counted twice");
    });
}

/// Quiet for an hour, and then a line: it is as old as it is, not as old as the quiet.
#[test]
fn the_age_of_a_lag_is_that_of_what_is_lacking() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let mut tail = Follower::new(shelf.consumer("tail", Terms::REQUIRED));
        rig.later(0, "a\n").await;
        let (_, mark) = lines(tail.read_now(1).unwrap());
        assert_eq!((tail.lag().since, shelf.oldest_unstored()), (Some(at(NOW)), Some(at(NOW))));
        tail.done_now(mark).unwrap();
        assert_eq!((tail.lag().since, shelf.oldest_unstored()), (None, None));
        rig.later(3_600, "b\n").await;
        let since = Some(at(NOW + 3_600_000));
        assert_eq!((tail.lag().since, shelf.oldest_unstored()), (since, since));
        rig.seal(1).await;
        assert_eq!((tail.lag().since, shelf.oldest_unstored()), (since, since), "also once it is sealed");
        rig.spool.close();
        drop((tail, shelf));
        // Of a segment that another process has sealed the footer tells; not more is claimed than that.
        let rig = Rig::open(settings(dir.path()));
        let tail = Follower::new(rig.spool.shelf().consumer("tail", Terms::REQUIRED));
        assert_eq!(tail.lag().since, Some(at(NOW)));
        rig.spool.close();
    });
}

#[test]
fn what_a_sink_has_done_of_a_frame_is_not_skipped() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let mut text = String::new();
        for n in 0..1_000 {
            writeln!(text, "{n:05}").unwrap();
        }
        rig.later(0, &text).await;
        rig.later(0, &text).await;
        for state in ["open", "sealed"] {
            let mut sinks = Vec::new();
            for (n, bytes) in [6, 600, 5_994, 6_000, 6_006, 11_994, 12_000].into_iter().enumerate() {
                let name = format!("{state}-{n}");
                let mut tail = Follower::new(shelf.consumer(&name, best_effort(AGE)));
                let mut left = bytes;
                while left > 0 {
                    let (text, mark) = lines(tail.read_now(left).unwrap());
                    left -= text.len();
                    tail.done_now(mark).unwrap();
                }
                sinks.push((name, bytes as u64));
            }
            if state == "sealed" {
                rig.seal(1).await;
            }
            shelf.all_joined();
            shelf.keep_up(at(NOW + 61_000));
            for (name, bytes) in sinks {
                assert_eq!(rig.skipped(&name), ((12_000 - bytes) / 6, 12_000 - bytes), "{name}");
            }
        }
        rig.spool.close();
    });
}

#[test]
fn a_sink_that_begins_now_does_not_get_what_there_was() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let terms = Terms { need: Need::Required, start: Start::Now };
        let rig = Rig::open(settings(dir.path()));
        let keeps = rig.spool.shelf().consumer("keeps", Terms::REQUIRED);
        rig.line("sealed").await;
        rig.seal(1).await;
        rig.line("open").await;
        let shelf = rig.spool.shelf();
        let mut tail = Follower::new(shelf.consumer("tail", terms));
        assert_eq!(tail.lag(), Lag::default());
        assert!(tail.read_now(1 << 20).unwrap().is_none());
        drop((tail, shelf, keeps));
        // Where it begins is durable at once.
        rig.spool.close();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let keeps = shelf.consumer("keeps", Terms::REQUIRED);
        let objects = shelf.consumer("objects", terms);
        let mut tail = Follower::new(shelf.consumer("tail", terms));
        assert!(tail.read_now(1 << 20).unwrap().is_none());
        rig.line("new").await;
        assert_eq!(lines(tail.read_now(1 << 20).unwrap()).0, "new\n");
        rig.spool.close();
        assert_eq!(objects.next().await, Some(SegmentId(3)));
        assert_eq!(keeps.next().await, Some(SegmentId(1)));
    });
}

#[test]
fn a_sink_that_is_retired_is_told_of_and_comes_back_where_it_stood() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let (mut stays, mut goes) = (shelf.consumer("stays", Terms::REQUIRED), shelf.consumer("goes", Terms::REQUIRED));
        rig.line("a").await;
        rig.seal(1).await;
        rig.line("b").await;
        rig.seal(2).await;
        rig.spool.close();
        goes.pass(SegmentId(1), at(NOW)).unwrap();
        let (segments, bytes) = shelf.sealed();
        assert_eq!(survey(dir.path()).unwrap().segments, segments);
        drop((stays, goes, shelf));

        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        stays = shelf.consumer("stays", Terms::REQUIRED);
        let held = shelf.retire(&["stays"]);
        assert_eq!(held, [Held { sink: "goes".into(), segments: 1, bytes: bytes / 2 }]);
        assert!(files(dir.path()).contains(&"retired-goes".to_owned()));
        shelf.all_joined();
        stays.pass(SegmentId(1), at(NOW)).unwrap();
        rig.line("c").await;
        rig.spool.close();
        assert_eq!(shelf.sealed().0, 2);
        drop((stays, shelf));

        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        assert_eq!(shelf.retire(&["stays"]), [], "it was told once");
        let gone = [1, 2].map(|segment| shelf.gone_since(SegmentId(segment)));
        assert_eq!(gone, [1, 0], "what it lacked is there");
        goes = shelf.consumer("goes", Terms { need: Need::Required, start: Start::Now });
        assert_eq!(goes.next().await, Some(SegmentId(2)), "it is not new");
        assert!(!files(dir.path()).contains(&"retired-goes".to_owned()));
        rig.spool.close();
    });
}

/// The writer's thread runs while the sinks join one by one.
#[test]
fn nothing_is_let_go_or_called_stored_before_every_sink_has_joined() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let (mut ahead, lacks) = (shelf.consumer("ahead", Terms::REQUIRED), shelf.consumer("lacks", Terms::REQUIRED));
        shelf.all_joined();
        rig.line("a").await;
        rig.spool.close();
        ahead.pass(SegmentId(1), at(NOW)).unwrap();
        drop((ahead, lacks, shelf));

        let disk: SharedDisk = Arc::new(RealDisk::open(dir.path()).unwrap());
        let (_lanes, intake) = queue::queues(1, 1);
        let (published, metrics) = (intake.published(), Arc::new(Metrics::new().unwrap()));
        let mut spool = TakenUp::new(&disk, settings(dir.path()), intake, &metrics).unwrap();
        let shelf = spool.shelf();
        let ahead = shelf.consumer("ahead", Terms::REQUIRED);
        for _ in 0..3 {
            spool.step();
        }
        shelf.keep_up(at(NOW));
        shelf.tidy();
        assert!(files(dir.path()).contains(&"0000000001.sealed".to_owned()), "the other one lacks it");
        assert_eq!(published.stored_before(), SegmentId(0));
        let mut lacks = shelf.consumer("lacks", Terms::REQUIRED);
        shelf.all_joined();
        assert_eq!(published.stored_before(), SegmentId(0));
        assert_eq!(read(lacks.open(SegmentId(1), &[]).unwrap().unwrap()).unwrap()[0].1, "a\n");
        lacks.pass(SegmentId(1), at(NOW)).unwrap();
        assert_eq!((shelf.sealed().0, published.stored_before()), (0, SegmentId(2)));
        assert_eq!(ahead.lag_bytes(), 0);
    });
}

#[test]
fn a_spool_is_surveyed_beside_the_process_that_has_it() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(survey(&dir.path().join("none")).unwrap(), Survey::default());
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let mut objects = shelf.consumer("objects", Terms::REQUIRED);
        let mut tail = Follower::new(shelf.consumer("tail", Terms::REQUIRED));
        shelf.all_joined();
        for segment in 1..=2 {
            rig.line("a").await;
            rig.seal(segment).await;
        }
        rig.line("b").await;
        objects.pass(SegmentId(1), at(NOW)).unwrap();
        let (_, mark) = lines(tail.read_now(1).unwrap());
        tail.done_now(mark).unwrap();
        let names = files(dir.path());
        let len = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
        let [one, two, open] = ["0000000001.sealed", "0000000002.sealed", "0000000003.open"]
            .map(|name| if names.contains(&name.to_owned()) { len(name) } else { 0 });
        let held = |sink: &str, segments, bytes| Held { sink: sink.into(), segments, bytes };
        assert_eq!(one, 0, "both have passed it: {names:?}");
        assert_eq!(
            survey(dir.path()).unwrap(),
            Survey {
                held: vec![held("objects", 2, two + open), held("tail", 2, two + open)],
                segments: 2,
                bytes: two + open
            }
        );
        assert_eq!(names, files(dir.path()), "nothing was changed");
        rig.spool.close();
    });
}

/// What one sink reads, others have passed: its file must not become another segment under its eyes.
#[test]
fn a_file_that_is_being_read_is_removed_and_not_recycled() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let file = |name: &str| fs::metadata(dir.path().join(name)).unwrap().ino();
        let is_there = |ino| {
            files(dir.path()).iter().any(|name| fs::metadata(dir.path().join(name)).is_ok_and(|file| file.ino() == ino))
        };
        let mut objects = shelf.consumer("objects", Terms::REQUIRED);
        shelf.all_joined();
        rig.line("a").await;
        rig.seal(1).await;
        let first = file("0000000001.sealed");
        assert!(is_there(first));
        let upload = objects.open(SegmentId(1), &[]).unwrap().unwrap();
        objects.pass(SegmentId(1), at(NOW)).unwrap();
        assert_eq!((shelf.sealed().0, is_there(first)), (0, false));
        assert_eq!(read(upload).unwrap()[0].1, "a\n");
        assert!(objects.open(SegmentId(1), &[]).unwrap().is_none(), "it is there no more");

        // A follower that reads the open segment, and is skipped.
        let mut tail = Follower::new(shelf.consumer("tail", best_effort(AGE)));
        rig.later(0, "b\nc\n").await;
        let (text, mark) = lines(tail.read_now(2).unwrap());
        assert_eq!(text, "b\n");
        tail.done_now(mark).unwrap();
        let second = file("0000000002.open");
        rig.seal(1).await;
        objects.pass(SegmentId(2), at(NOW)).unwrap();
        shelf.keep_up(at(NOW + 61_000));
        assert_eq!((rig.skipped("tail"), shelf.sealed().0, is_there(second)), ((1, 2), 0, false));
        assert!(matches!(tail.read_now(1 << 20).unwrap(), Some(Followed::Skipped)));
        rig.later(61, "d\n").await;
        assert_eq!(lines(tail.read_now(1 << 20).unwrap()).0, "d\n");

        // Nobody reads it: it is a file for another segment.
        let third = file("0000000003.open");
        rig.seal(1).await;
        assert!(tail.read_now(1).unwrap().is_none());
        tail.done_now(Mark { segment: SegmentId(4), offset: 0, received: at(NOW) }).unwrap();
        objects.pass(SegmentId(3), at(NOW)).unwrap();
        assert_eq!((shelf.sealed().0, is_there(third)), (0, true));
        rig.spool.close();
    });
}

#[test]
fn how_far_a_best_effort_sink_may_lag_changes_while_it_runs_and_a_required_one_stays_so() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let _required = shelf.consumer("required", Terms::REQUIRED);
        let _objects = shelf.consumer("objects", best_effort(AGE));
        shelf.all_joined();
        rig.later(0, "a\nb\n").await;
        rig.seal(1).await;
        let longer = MaxLag { age: Duration::from_mins(2), ..AGE };
        for name in ["objects", "required", "nobody"] {
            shelf.allow_lag(name, longer);
        }
        shelf.keep_up(at(NOW + 60_001));
        assert_eq!(rig.skipped("objects"), (0, 0), "it may lag two minutes now");
        shelf.allow_lag("objects", AGE);
        shelf.keep_up(at(NOW + 60_001));
        shelf.keep_up(at(NOW + 600_000));
        assert_eq!((rig.skipped("objects"), rig.skipped("required")), ((2, 4), (0, 0)));
        drop(shelf);
        rig.spool.close();
    });
}
