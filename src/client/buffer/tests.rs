use std::{fs, path::PathBuf};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;

const WALL: i64 = 1_795_338_000_000;
const LARGE: u64 = 1_000_000;

fn at(seconds: u64) -> Now {
    Now { uptime: Duration::from_secs(seconds), wall: Millis::new(WALL + seconds as i64 * 1_000).unwrap() }
}

/// A batch made at `seconds` of [`at`] whose unpacked body has `len` bytes that gzip cannot make fewer.
fn batch(seconds: u64, events: u32, len: usize) -> Packed {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    io::Write::write_all(&mut gzip, &vec![b'x'; len]).unwrap();
    let id = Ulid::from_parts(at(seconds).wall.get() as u64, fastrand::u128(..));
    let label = Label { id, stream: StreamName::new("heard").unwrap(), events };
    Packed { label, body: gzip.finish().unwrap().into() }
}

fn any_stream(_: &StreamName) -> bool {
    true
}

/// Takes all that waits, as a sender would whose every batch is delivered.
fn drain(buffer: &mut Buffer, counts: &mut Counts) -> Vec<Packed> {
    std::iter::from_fn(|| {
        let next = buffer.next(any_stream, at(0).uptime, counts)?.packed;
        buffer.remove(next.label.id);
        Some(next)
    })
    .collect()
}

fn ids(batches: &[Packed]) -> Vec<Ulid> {
    batches.iter().map(|batch| batch.label.id).collect()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open_at(&self, max_bytes: u64, seconds: u64) -> (Buffer, Counts) {
        let mut counts = Counts::default();
        let buffer = Buffer::in_directory(self.0.path(), max_bytes, at(seconds), &mut counts).unwrap();
        (buffer, counts)
    }

    fn open(&self) -> (Buffer, Counts) {
        self.open_at(LARGE, 0)
    }

    fn file(&self, batch: &Packed) -> PathBuf {
        self.0.path().join(batch.label.file_name())
    }

    fn batches(&self) -> usize {
        let names = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| Label::parse(&name.to_string_lossy()).is_some()).count()
    }
}

#[test]
fn batches_come_out_as_they_came_in_and_their_files_go() {
    let place = Place::new();
    let (mut buffer, mut counts) = place.open();
    let put: Vec<_> = (0..5).map(|n| batch(n, 1, 100)).collect();
    for batch in &put {
        buffer.put(batch.clone(), at(0), &mut counts);
    }
    assert_eq!(place.batches(), 5);
    let drained = drain(&mut buffer, &mut counts);
    assert_eq!(ids(&drained), ids(&put));
    assert!(drained.iter().zip(&put).all(|(out, put)| out.body == put.body));
    assert_eq!((place.batches(), buffer.bytes, counts), (0, 0, Counts::default()));
}

#[test]
fn the_next_run_finds_what_waits_in_order_and_under_the_same_ids() {
    let place = Place::new();
    let (mut buffer, mut counts) = place.open();
    let put: Vec<_> = (0..5).map(|n| batch(n, 2, 100)).collect();
    for batch in &put {
        buffer.put(batch.clone(), at(0), &mut counts);
    }
    buffer.next(any_stream, at(0).uptime, &mut counts).unwrap();
    drop(buffer);
    fs::write(place.0.path().join("something.part"), "half").unwrap();
    fs::write(place.0.path().join("README"), "not a batch").unwrap();
    let (mut buffer, mut counts) = place.open();
    assert_eq!(counts.found, Tally { batches: 5, events: 10 });
    assert_eq!(ids(&drain(&mut buffer, &mut counts)), ids(&put));
    assert!(place.0.path().join("README").exists() && !place.0.path().join("something.part").exists());
}

#[test]
fn a_full_buffer_drops_the_oldest_but_not_the_one_that_is_being_sent() {
    for place in [None, Some(Place::new())] {
        let size = batch(0, 1, 1_000).body.len() as u64;
        let (mut buffer, mut counts) = match &place {
            None => (Buffer::in_memory(size * 3), Counts::default()),
            Some(place) => place.open_at(size * 3, 0),
        };
        let put: Vec<_> = (0..6).map(|n| batch(n, n as u32 + 1, 1_000)).collect();
        for batch in &put[..3] {
            buffer.put(batch.clone(), at(0), &mut counts);
        }
        buffer.next(any_stream, at(0).uptime, &mut counts).unwrap();
        for batch in &put[3..5] {
            buffer.put(batch.clone(), at(0), &mut counts);
        }
        assert_eq!(counts.dropped_full, Tally { batches: 2, events: 2 + 3 });
        buffer.settled();
        buffer.put(put[5].clone(), at(0), &mut counts);
        assert_eq!(counts.dropped_full, Tally { batches: 3, events: 2 + 3 + 1 });
        assert_eq!(buffer.bytes, size * 3);
        assert!(place.as_ref().is_none_or(|place| place.batches() == 3));
        assert_eq!(ids(&drain(&mut buffer, &mut counts)), ids(&put[3..]));
    }
}

#[test]
fn there_is_a_limit_to_how_many_small_batches_wait() {
    let (mut buffer, mut counts) = (Buffer::in_memory(u64::MAX), Counts::default());
    for n in 0..MAX_BATCHES as u64 + 7 {
        buffer.put(batch(n, 1, 1), at(0), &mut counts);
    }
    assert_eq!((buffer.waiting().batches, counts.dropped_full.batches), (MAX_BATCHES as u64, 7));
}

#[test]
fn a_smaller_limit_than_that_of_the_last_run_holds_from_the_start() {
    let place = Place::new();
    let (mut buffer, mut counts) = place.open();
    (0..5).for_each(|n| buffer.put(batch(n, 1, 1_000), at(0), &mut counts));
    drop(buffer);
    let (buffer, counts) = place.open_at(2_500, 0);
    assert_eq!((buffer.waiting().batches, counts.dropped_full.batches, place.batches()), (2, 3, 2));
}

#[test]
fn a_broken_file_is_removed_and_counted_and_the_others_are_sent() {
    let damages: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes.truncate(bytes.len() / 2), Vec::clear, |bytes| bytes[40] ^= 1, |bytes| bytes[0] = b'x'];
    for damage in damages {
        let place = Place::new();
        let (mut buffer, mut counts) = place.open();
        let put: Vec<_> = (0..3).map(|n| batch(n, 7, 100)).collect();
        for batch in &put {
            buffer.put(batch.clone(), at(0), &mut counts);
        }
        drop(buffer);
        let mut bytes = put[0].body.to_vec();
        damage(&mut bytes);
        fs::write(place.file(&put[0]), bytes).unwrap();
        let (mut buffer, mut counts) = place.open();
        assert_eq!(ids(&drain(&mut buffer, &mut counts)), ids(&put[1..]));
        assert_eq!((counts.dropped_broken, place.batches()), (Tally::one(7), 0));
    }
}

#[test]
fn a_file_that_cannot_be_read_now_is_not_given_up_and_holds_up_no_other() {
    let place = Place::new();
    let (mut buffer, mut counts) = place.open();
    let put = [batch(0, 1, 100), batch(1, 1, 100)];
    for batch in &put {
        buffer.put(batch.clone(), at(0), &mut counts);
    }
    // A directory can be opened, but not read.
    fs::rename(place.file(&put[0]), place.0.path().join("kept")).unwrap();
    fs::create_dir(place.file(&put[0])).unwrap();
    assert_eq!(buffer.read_again(at(0).uptime), None);
    assert_eq!(ids(&drain(&mut buffer, &mut counts)), ids(&put[1..]));
    assert_eq!(buffer.read_again(at(0).uptime), Some(READ_AGAIN));
    fs::remove_dir(place.file(&put[0])).unwrap();
    fs::rename(place.0.path().join("kept"), place.file(&put[0])).unwrap();
    assert!(buffer.next(any_stream, at(9).uptime, &mut counts).is_none());
    assert_eq!(buffer.next(any_stream, at(10).uptime, &mut counts).unwrap().packed.label, put[0].label);
    assert_eq!((buffer.read_again(at(10).uptime), counts), (None, Counts::default()));
}

#[test]
fn what_cannot_be_written_waits_in_memory() {
    let place = Place::new();
    let (mut buffer, mut counts) = place.open();
    let put = batch(0, 1, 100);
    fs::create_dir(place.file(&put)).unwrap();
    buffer.put(put.clone(), at(0), &mut counts);
    assert_eq!((counts.unwritten, buffer.waiting()), (1, Tally::one(1)));
    assert_eq!(ids(&drain(&mut buffer, &mut counts)), ids(&[put]));
}

#[test]
fn a_file_whose_write_failed_in_the_end_goes_with_its_batch() {
    let place = Place::new();
    let (mut buffer, mut counts) = place.open();
    buffer.directory.as_mut().unwrap().fail_syncs();
    let put = batch(0, 1, 100);
    buffer.put(put.clone(), at(0), &mut counts);
    assert_eq!((counts.unwritten, buffer.waiting(), place.batches()), (1, Tally::one(1), 1));
    assert_eq!(ids(&drain(&mut buffer, &mut counts)), ids(&[put]));
    assert_eq!(place.batches(), 0, "the next run would send it again");
}

#[test]
fn what_is_older_than_seven_days_is_dropped_across_runs_too() {
    const DAY: u64 = 24 * 3_600;
    let place = Place::new();
    let (mut buffer, mut counts) = place.open();
    let put = [batch(0, 1, 100), batch(DAY, 2, 100)];
    buffer.put(put[0].clone(), at(0), &mut counts);
    buffer.put(put[1].clone(), at(DAY), &mut counts);
    drop(buffer);
    let (mut buffer, mut counts) = place.open_at(LARGE, 7 * DAY);
    assert_eq!((buffer.waiting().batches, counts.dropped_too_old), (2, Tally::default()));
    buffer.drop_old(at(7 * DAY + 1).uptime, &mut counts);
    assert_eq!((buffer.waiting(), counts.dropped_too_old), (Tally::one(2), Tally::one(1)));
    drop(buffer);
    let (buffer, counts) = place.open_at(LARGE, 8 * DAY + 1);
    assert_eq!((buffer.waiting(), counts.dropped_too_old), (Tally::default(), Tally::one(2)));
}

#[test]
fn an_age_by_a_clock_that_was_not_set_begins_anew() {
    let place = Place::new();
    for millis in [0, OLDEST_SENSIBLE - 1, WALL + 1] {
        let mut made = batch(0, 1, 100);
        made.label.id = Ulid::from_parts(millis as u64, 7);
        fs::write(place.file(&made), &made.body).unwrap();
    }
    let (mut buffer, mut counts) = place.open();
    buffer.drop_old(MAX_AGE, &mut counts);
    assert_eq!(buffer.waiting().batches, 3);
}

fn pause(seconds: u64) -> Pauses {
    let streams = [(StreamName::new("barred").unwrap(), Duration::from_secs(seconds / 2))].into();
    Pauses { device: Duration::from_secs(seconds), streams }
}

#[test]
fn a_pause_outlives_the_run_but_not_itself() {
    let place = Place::new();
    let (buffer, _) = place.open();
    assert_eq!(buffer.kept_pauses(at(0).wall), Pauses::default());
    buffer.keep_pauses(&pause(100), at(10).wall);
    drop(buffer);
    let (buffer, _) = place.open();
    assert_eq!(buffer.kept_pauses(at(10).wall), pause(100));
    let left = |seconds| buffer.kept_pauses(at(seconds).wall).device.as_secs();
    assert_eq!([10, 40, 110, 1_000].map(left), [100, 70, 0, 0]);
    for bad in [&b"x"[..], b"\xff 1\n", &[b'9'; 2 * MAX_TEXT_BYTES]] {
        fs::write(place.0.path().join(PAUSE), bad).unwrap();
        assert_eq!(left(10), 0);
    }
}

#[test]
fn a_pause_of_a_clock_that_ran_ahead_begins_anew_only_once() {
    let place = Place::new();
    place.open().0.keep_pauses(&pause(100), at(10_000).wall);
    let start = |seconds| place.open().0.kept_pauses(at(seconds).wall).device.as_secs();
    assert_eq!([0, 40, 99, 100].map(start), [100, 60, 1, 0]);
}

#[test]
fn a_stream_that_may_not_be_sent_does_not_hold_up_others() {
    let (mut buffer, mut counts) = (Buffer::in_memory(LARGE), Counts::default());
    let (barred, mut free) = (batch(0, 1, 100), batch(1, 1, 100));
    free.label.stream = StreamName::new("other").unwrap();
    buffer.put(barred.clone(), at(0), &mut counts);
    buffer.put(free.clone(), at(0), &mut counts);
    let next = buffer.next(|stream| *stream != barred.label.stream, at(0).uptime, &mut counts);
    assert_eq!(next.unwrap().packed.label, free.label);
}

proptest! {
    /// Whatever comes and goes: the limit holds, and every batch is delivered, dropped or waits, once.
    #[test]
    fn the_limit_holds_and_the_books_balance(steps in proptest::collection::vec((0_u8..4, 0_usize..2_000), 1..200)) {
        let (mut buffer, mut counts) = (Buffer::in_memory(5_000), Counts::default());
        let (mut put, mut delivered, mut sending) = (0, 0, None);
        for (step, len) in steps {
            match step {
                0 | 1 => {
                    buffer.put(batch(0, 1, len), at(0), &mut counts);
                    put += 1;
                }
                2 => {
                    let next = buffer.next(any_stream, at(0).uptime, &mut counts);
                    sending = next.map(|next| next.packed.label.id);
                }
                _ => if let Some(id) = sending.take() {
                    // Whoever was being sent has not been dropped meanwhile.
                    prop_assert_eq!(buffer.remove(id), Tally::one(1));
                    delivered += 1;
                },
            }
            prop_assert!(buffer.bytes <= 5_000);
            prop_assert_eq!(buffer.bytes, buffer.waiting.iter().map(|waiting| waiting.size).sum::<u64>());
            prop_assert_eq!(put, delivered + counts.dropped_full.batches + buffer.waiting().batches);
        }
    }
}
