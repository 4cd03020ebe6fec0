//! Followers: every line once, as soon as it is durable, from wherever they stood.

use std::{
    fmt::Write as _,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Wake, Waker},
};

use super::*;

const MANY: usize = 1 << 20;

fn text_of(stretch: &Stretch) -> String {
    stretch.pieces.iter().map(|piece| String::from_utf8(piece.text.clone()).unwrap()).collect()
}

/// What is there, as one text, in stretches of `most` bytes; with each stretch done or not.
fn take(follower: &mut Follower, most: usize, done: bool) -> String {
    let mut text = String::new();
    while let Some(followed) = follower.read_now(most).unwrap() {
        match followed {
            Followed::Lines(stretch) => {
                text += &text_of(&stretch);
                if done {
                    follower.done_now(stretch.end).unwrap();
                }
            }
            Followed::Skipped => text += "(skipped)",
            Followed::Ended => break,
        }
    }
    text
}

async fn sealed(rig: &Rig, segments: usize) {
    rig.submitter.request_seal();
    while rig.spool.shelf().sealed().0 < segments {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn follower(shelf: &Arc<Shelf>, name: &str) -> Follower {
    let follower = Follower::new(shelf.consumer(name, Terms::REQUIRED));
    shelf.all_joined();
    follower
}

#[test]
fn a_follower_has_lines_as_they_become_durable_and_goes_on_across_the_seal() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let mut tail = follower(&shelf, "tail");
        assert!(tail.read_now(MANY).unwrap().is_none());
        for n in 0..6 {
            rig.line(&format!("a{n}")).await;
            let Followed::Lines(stretch) = tail.read(MANY, Duration::ZERO).await.unwrap() else { panic!("lines") };
            assert_eq!(text_of(&stretch), format!("a{n}\n"));
            assert!(tail.lag().bytes > 0, "it is not done");
            tail.done(stretch.end).await.unwrap();
            assert_eq!(tail.lag(), Lag::default());
            if n == 2 {
                sealed(&rig, 1).await;
            }
        }
        // What was read and not done is done by the mark of its end, also if its segment was sealed meanwhile.
        rig.line("b").await;
        let Some(Followed::Lines(stretch)) = tail.read_now(MANY).unwrap() else { panic!("a line") };
        rig.spool.close();
        assert!(matches!(tail.read(MANY, Duration::ZERO).await.unwrap(), Followed::Ended));
        assert_eq!(shelf.sealed().0, 1, "the last segment is still wanted");
        tail.done(stretch.end).await.unwrap();
        assert_eq!(shelf.sealed().0, 0);
        assert_eq!(shelf.oldest_unstored(), None);
    });
}

#[test]
fn a_stretch_has_a_piece_for_each_stream_and_book_and_the_oldest_received_time() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let mut tail = follower(&rig.spool.shelf(), "tail");
        rig.put("heard", Book::Accepted, NOW + 5, "a\n").await.unwrap();
        rig.put("seen", Book::Accepted, NOW, "b\n").await.unwrap();
        rig.put("heard", Book::Rejected, NOW, "c\n").await.unwrap();
        rig.put("heard", Book::Accepted, NOW + HOUR, "d\n").await.unwrap();
        let Some(Followed::Lines(stretch)) = tail.read_now(MANY).unwrap() else { panic!("lines") };
        let piece = |stream: &str, book, received, text: &str| Piece {
            stream: StreamName::new(stream).unwrap(),
            book,
            received: Millis::new(received).unwrap(),
            text: text.into(),
        };
        assert_eq!(
            stretch.pieces,
            [
                piece("heard", Book::Accepted, NOW + 5, "a\nd\n"),
                piece("seen", Book::Accepted, NOW, "b\n"),
                piece("heard", Book::Rejected, NOW, "c\n"),
            ]
        );
        assert_eq!(stretch.end.received.get(), NOW + HOUR);
        rig.spool.close();
    });
}

/// Lines of every length around `most`, in frames that end anywhere.
async fn various(rig: &Rig, most: usize) -> String {
    let mut all = String::new();
    for frame in 0..12 {
        let mut lines = String::new();
        for n in 0..frame * 3 {
            writeln!(lines, "{frame}-{n}-{}", "x".repeat((n * 37 + frame * 11) % (2 * most))).unwrap();
        }
        if !lines.is_empty() {
            rig.put("heard", Book::Accepted, NOW, &lines).await.unwrap();
        }
        all += &lines;
    }
    all
}

#[test]
fn a_stretch_ends_at_a_line_wherever_in_a_frame_that_is() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let all = various(&rig, 200).await;
        let tails: Vec<_> = [1, 7, 100, 200, 1_000, 5_000, MANY].into_iter().enumerate().collect();
        for (n, most) in &tails {
            let mut tail = follower(&shelf, &format!("tail-{n}"));
            let mut text = String::new();
            while let Some(Followed::Lines(stretch)) = tail.read_now(*most).unwrap() {
                let read = text_of(&stretch);
                assert!(read.len() <= *most || read.lines().count() == 1, "{most}: {}", read.len());
                assert!(read.ends_with('\n'));
                text += &read;
            }
            assert!(text == all, "of {most} bytes");
        }
        rig.spool.close();
        for (n, most) in &tails {
            assert!(
                take(&mut follower(&shelf, &format!("sealed-{n}")), *most, false) == all,
                "sealed, of {most} bytes"
            );
        }
    });
}

/// From a crash at every place between two stretches, in an open segment that is then taken up.
#[test]
fn a_follower_goes_on_in_the_middle_of_a_frame_after_a_crash() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let all = various(&rig, 200).await;
        let mut tail = follower(&rig.spool.shelf(), "tail");
        let mut before = String::new();
        let mut count = 0;
        while let Some(Followed::Lines(stretch)) = tail.read_now(900).unwrap() {
            before += &text_of(&stretch);
            tail.done_now(stretch.end).unwrap();
            tail.save_now().unwrap();
            count += 1;
            if count % 3 != 0 {
                continue;
            }
            let crashed = rig.crash(dir.path());
            let again = Rig::open(settings(crashed.path()));
            again.line("new").await;
            let shelf = again.spool.shelf();
            let mut tail = follower(&shelf, "tail");
            assert!(before.clone() + &take(&mut tail, 1_000, true) == all.clone() + "new\n", "stretch {count}");
            again.spool.close();
            take(&mut tail, 1_000, true);
            assert_eq!(shelf.sealed().0, 0);
        }
        assert!(count > 10 && before == all);
        rig.spool.close();
    });
}

#[test]
fn a_cursor_moves_at_the_end_of_a_segment_when_saved_and_not_with_every_call() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let mut tail = follower(&rig.spool.shelf(), "tail");
        let durable = || fs::read(dir.path().join("cursor-tail")).unwrap();
        rig.line("first").await;
        take(&mut tail, 1, true);
        let fresh = durable();
        rig.line("a").await;
        rig.line("b").await;
        take(&mut tail, 1, true);
        assert_eq!((durable() == fresh, tail.lag()), (true, Lag::default()));
        tail.save_now().unwrap();
        let within = durable();
        assert_ne!(within, fresh);
        tail.save_now().unwrap();
        assert_eq!(durable(), within, "nothing is written that is known");
        sealed(&rig, 1).await;
        assert!(tail.read_now(MANY).unwrap().is_none());
        assert_ne!(durable(), within, "the segment is done");
        assert_eq!(rig.spool.shelf().sealed().0, 0);
        rig.spool.close();
    });
}

#[test]
fn a_long_frame_is_given_in_parts_and_a_damaged_one_not_at_all() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(Settings { segment_size: 1 << 26, ..settings(dir.path()) });
        let shelf = rig.spool.shelf();
        let mut long = String::new();
        for n in 0..60_000 {
            writeln!(long, "{n:08}-{}", "y".repeat(91)).unwrap();
        }
        rig.line("before").await;
        rig.put("heard", Book::Accepted, NOW, &long).await.unwrap();
        let mut tail = follower(&shelf, "tail");
        assert!(take(&mut tail, 1 << 18, false) == format!("before\n{long}"));

        let groups = group_offsets(&dir.path().join("0000000001.open"));
        rig.line("after").await;
        let file = fs::OpenOptions::new().write(true).open(dir.path().join("0000000001.open")).unwrap();
        file.write_at(b"Z", groups[1] + 5_000_000).unwrap();
        let mut other = follower(&shelf, "other");
        assert_eq!(take(&mut other, 1 << 18, true), "before\n", "no line of a frame whose checksum is wrong");
        assert!(other.read_now(1 << 18).unwrap().is_none(), "it waits until the segment is sealed");
        let waits = other.lag();
        assert!(waits.bytes > long.len() as u64);
        let metrics = Arc::clone(&rig.metrics);
        rig.spool.close();
        assert_eq!(take(&mut other, 1 << 18, true), "after\n");
        assert!(metrics.render().contains("logweir_quarantined_total{what=\"place\"} 1"));
        assert_eq!(other.lag(), Lag::default());
    });
}

/// A sealed segment is damaged before, at and behind the place where a follower stands.
#[test]
fn a_follower_repairs_a_sealed_segment_and_goes_on_where_it_stood() {
    run(async {
        let lines: Vec<String> = (0..6).map(|n| format!("{n}{}\n", "z".repeat(100))).collect();
        for (damaged, done) in [(0, 3), (2, 3), (3, 3), (5, 3), (4, 0), (5, 5)] {
            let dir = tempfile::tempdir().unwrap();
            let rig = Rig::open(settings(dir.path()));
            let shelf = rig.spool.shelf();
            let mut tail = follower(&shelf, "tail");
            for line in &lines {
                rig.put("heard", Book::Accepted, NOW, line).await.unwrap();
            }
            for line in &lines[..done] {
                assert_eq!(take_one(&mut tail), *line);
            }
            tail.save_now().unwrap();
            rig.spool.close();
            drop((tail, shelf));
            let path = dir.path().join("0000000001.sealed");
            let groups = group_offsets(&path);
            fs::OpenOptions::new().write(true).open(&path).unwrap().write_at(b"X", groups[damaged] + 150).unwrap();
            let rig = Rig::open(settings(dir.path()));
            let shelf = rig.spool.shelf();
            let left: String = lines
                .iter()
                .enumerate()
                .filter(|(n, _)| *n >= done && *n != damaged)
                .map(|(_, line)| &**line)
                .collect();
            let mut tail = follower(&shelf, "tail");
            assert_eq!(take(&mut tail, 150, true), left, "{damaged} damaged, {done} done");
            rig.spool.close();
            take(&mut tail, 150, true);
            assert_eq!(shelf.sealed().0, 0);
        }
    });
}

fn take_one(follower: &mut Follower) -> String {
    let Some(Followed::Lines(stretch)) = follower.read_now(1).unwrap() else { panic!("a line") };
    follower.done_now(stretch.end).unwrap();
    text_of(&stretch)
}

#[test]
fn a_sink_may_take_segments_after_it_took_lines_and_the_other_way_round() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let mut tail = follower(&rig.spool.shelf(), "turns");
        rig.line("a").await;
        rig.line("b").await;
        take_one(&mut tail);
        tail.save_now().unwrap();
        drop(tail);
        rig.spool.close();
        let rig = Rig::open(settings(dir.path()));
        rig.line("c").await;
        let shelf = rig.spool.shelf();
        let mut objects = shelf.consumer("turns", Terms::REQUIRED);
        assert!(objects.lag_bytes() > 0);
        let id = objects.next().await.unwrap();
        let contents = read(objects.open(id, &[]).unwrap().unwrap()).unwrap();
        assert_eq!(contents[0].1, "a\nb\n", "it begins the segment anew");
        objects.pass(id, Millis::new(NOW).unwrap()).unwrap();
        drop(objects);
        rig.spool.close();
        drop(shelf);
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        assert_eq!(take(&mut follower(&shelf, "turns"), MANY, true), "c\n");
        rig.spool.close();
    });
}

/// How often somebody was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn nobody_is_woken_for_less_than_what_it_waits_for() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let shelf = rig.spool.shelf();
        let count = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let woken = || count.0.load(Ordering::SeqCst);
        let mut idle = follower(&shelf, "idle");
        let objects = shelf.consumer("objects", Terms::KEPT);
        let mut tail = follower(&shelf, "tail");

        // A follower that does not read, and a sink that takes segments, are not woken by a group.
        let (mut skipped, mut next) = (Box::pin(idle.skipped()), Box::pin(objects.next()));
        assert!(skipped.as_mut().poll(&mut context).is_pending() && next.as_mut().poll(&mut context).is_pending());
        rig.line("a").await;
        assert_eq!(woken(), 0);

        // One that lingers is woken when there is as much as it wants.
        {
            let mut read = pin!(tail.read(16_000, Duration::from_hours(1)));
            assert!(read.as_mut().poll(&mut context).is_pending());
            rig.line("b").await;
            assert_eq!(woken(), 0);
            rig.line("c").await;
            assert_eq!(woken(), 1);
            assert!(matches!(read.await.unwrap(), Followed::Lines(stretch) if text_of(&stretch) == "a\nb\nc\n"));
        }

        // One that has everything is woken by a group; one that lingers by the seal.
        {
            let mut read = pin!(tail.read(MANY, Duration::from_hours(1)));
            assert!(read.as_mut().poll(&mut context).is_pending());
            rig.line("d").await;
            assert_eq!(woken(), 2);
            assert!(read.as_mut().poll(&mut context).is_pending(), "it lingers now");
            rig.line("e").await;
            assert_eq!(woken(), 2);
            sealed(&rig, 1).await;
            assert!(woken() > 2);
            assert!(matches!(read.await.unwrap(), Followed::Lines(stretch) if text_of(&stretch) == "d\ne\n"));
        }
        drop((skipped, next));
        assert_eq!(take(&mut idle, MANY, true), "a\nb\nc\nd\ne\n");
        rig.spool.close();
    });
}

/// A driver selects reading against other things, so that it is dropped again and again.
#[test]
fn reading_that_is_dropped_loses_nothing_and_lingers_no_longer() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::open(settings(dir.path()));
        let mut tail = follower(&rig.spool.shelf(), "tail");
        let mut all = String::new();
        let mut text = String::new();
        for n in 0..200 {
            rig.line(&format!("{n}")).await;
            writeln!(all, "{n}").unwrap();
            let mut read = pin!(tail.read(20, Duration::from_millis(1)));
            // At times once, at times more often, then dropped.
            for _ in 0..=n % 3 {
                if let Poll::Ready(followed) = read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    let Followed::Lines(stretch) = followed.unwrap() else { panic!("lines") };
                    text += &text_of(&stretch);
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        while text.len() < all.len() {
            let Followed::Lines(stretch) = tail.read(20, Duration::from_millis(1)).await.unwrap() else {
                panic!("lines")
            };
            text += &text_of(&stretch);
            tail.done(stretch.end).await.unwrap();
        }
        assert_eq!(text, all);
        rig.spool.close();
    });
}
