//! A start on a spool that is much larger than memory may be: it serves at once, and stays below its ceiling while the
//! backlog is worked off (P4, P7).

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use flate2::bufread::GzDecoder;

use crate::{
    bucket::Bucket,
    client::Client,
    figures::{asked, tell},
    objects,
    process::{Place, status_bytes},
    scrape::Scrape,
    segments::{self, Batch},
    tracer,
};

/// How large the spool is in GiB, unless `LOGWEIR_TEST_SPOOL_GIB` says otherwise.
const SPOOL_GIB: f64 = 0.125;
/// The same, where there is time.
const LARGE_SPOOL_GIB: f64 = 2.0;
const GIB: f64 = (1_u64 << 30) as f64;
/// How long a segment is, in bytes of lines.
const SEGMENT_BYTES: usize = 48 * 1024 * 1024;
/// What of a line its number does not take: a text that does not compress and comes several times, so that a line
/// compresses as logs do.
const PADDING: (usize, usize) = (100, 10);
/// About how long a line is, in bytes.
const LINE_BYTES: usize = 1_040;
/// The stream of what is in the spool.
const STREAM: &str = "backlog";
/// What stands before a line's number, and how many digits that has.
const BEFORE_NUMBER: &str = "{\"number\":\"";
const DIGITS: usize = 12;
/// How long a start may take. It takes milliseconds; a machine that does other things meanwhile is slow.
const START: Duration = Duration::from_secs(10);
/// How long the backlog may take.
const LIMIT: Duration = Duration::from_hours(2);
const POLL: Duration = Duration::from_millis(100);
const SETTINGS: [(&str, &str); 3] =
    [("SPOOL__SEGMENT_SIZE", "64MiB"), ("SPOOL__DISK_QUOTA", "1TiB"), ("SINKS__0__ATTEMPT_TIMEOUT", "1m")];

#[test]
fn a_spool_of_some_segments_is_served_at_once_and_worked_off_below_the_ceiling() {
    work_off(asked("SPOOL_GIB", SPOOL_GIB));
}

#[test]
#[ignore = "takes minutes: tests/run without --fast"]
fn a_spool_that_is_larger_than_memory_is_served_at_once_and_worked_off_below_the_ceiling() {
    work_off(asked("SPOOL_GIB", LARGE_SPOOL_GIB));
}

fn work_off(gib: f64) {
    let (place, bucket) = (Place::new(), Bucket::new());
    let lines = (gib * GIB) as usize / LINE_BYTES;
    let free = free_bytes(&place.path(""));
    // The spool, and the objects that it becomes.
    assert!(free as f64 > 2.0 * gib * GIB, "{free} bytes of disk are free, too little for a spool of {gib} GiB");
    generate(&place.path("spool"), lines);
    let (segments, bytes) = sealed(&place.path("spool"));

    let began = Instant::now();
    let server = bucket.serve(&place, &SETTINGS);
    let started = began.elapsed();
    let event = serde_json::json!([{ "fresh": true }]);
    let answer = Client::connect(server.address).unwrap().post_json("fresh", &event).unwrap();
    let taken = began.elapsed();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(taken < START, "it took {taken:?} until a batch was taken");
    let stored = || Scrape::of(server.admin).sum("logweir_object_lines_total", "sink") as usize;
    while stored() < lines {
        assert!(began.elapsed() < LIMIT, "after {LIMIT:?} {} of {lines} lines are stored", stored());
        sleep(POLL);
    }
    let worked = began.elapsed().as_secs_f64();
    let (peak, ceiling) =
        (status_bytes(server.id(), "VmHWM"), server.entry("memory ceiling")["bytes"].as_u64().unwrap());
    tell(format_args!(
        "a spool of {bytes} bytes in {segments} segments: serving after {started:?}, a batch taken after {taken:?}, worked \
         off in {worked:.1} s ({:.1} MB/s), at most {peak} bytes resident of {ceiling}",
        bytes as f64 / worked / 1e6,
    ));
    assert!(peak < ceiling, "{peak} bytes were resident, and the ceiling is {ceiling}");
    server.stop();
    let fresh = objects::keys(&bucket.objects().join("fresh"));
    assert_eq!(fresh.len(), 1, "{fresh:?}");
    each_arrived_once(&bucket.objects().join(STREAM), lines);
}

/// Makes a spool of this many lines.
fn generate(dir: &Path, lines: usize) {
    let mut text = String::with_capacity(SEGMENT_BYTES + LINE_BYTES);
    for number in 0..lines {
        text.push_str(BEFORE_NUMBER);
        let _ = write!(text, "{number:0DIGITS$}");
        text.push_str("\",\"padding\":\"");
        text.push_str(&tracer::padding(PADDING.0).repeat(PADDING.1));
        text.push_str("\"}\n");
        if text.len() >= SEGMENT_BYTES || number + 1 == lines {
            segments::append(dir, Vec::new(), vec![vec![Batch::accepted(STREAM, std::mem::take(&mut text))]]);
        }
    }
}

/// How many sealed segments there are, and their bytes.
fn sealed(spool: &Path) -> (usize, u64) {
    let entries = fs::read_dir(spool).unwrap().map(Result::unwrap);
    let sealed = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "sealed"));
    let lens: Vec<u64> = sealed.map(|entry| entry.metadata().unwrap().len()).collect();
    (lens.len(), lens.iter().sum())
}

/// Every line below `root` has a number of its own, and they are all there.
fn each_arrived_once(root: &Path, lines: usize) {
    let mut found = vec![false; lines];
    for key in objects::keys(root) {
        let mut text = BufReader::new(GzDecoder::new(BufReader::new(File::open(root.join(&key)).unwrap())));
        let mut line = String::new();
        while text.read_line(&mut line).unwrap() > 0 {
            let digits = line.strip_prefix(BEFORE_NUMBER).and_then(|rest| rest.get(..DIGITS));
            let number: usize =
                digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{key}: {line}"));
            assert!(!std::mem::replace(&mut found[number], true), "line {number} is there twice, the second in {key}");
            line.clear();
        }
    }
    let lost = found.iter().filter(|found| !**found).count();
    assert_eq!(lost, 0, "lines are lost");
}

fn free_bytes(path: &Path) -> u64 {
    let stats = rustix::fs::statvfs(path).unwrap();
    stats.f_bavail * stats.f_frsize
}
