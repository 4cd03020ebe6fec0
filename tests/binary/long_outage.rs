//! An outage of S3 that lasts longer than memory could hold: the spool takes it up to its quota, then devices are told to
//! come back, while the instance stays healthy; afterwards the oldest goes first, beside what comes new (P7, P11).

use std::{
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    bucket::Bucket,
    client::get,
    fault_proxy::Weather,
    figures::{asked, tell},
    objects,
    process::{Place, Server, status_bytes},
    s3_server::{Operation, Seen},
    scrape::Scrape,
    tracer::{Book, Load},
};

/// Connections of the load.
const CONNECTIONS: usize = 4;
/// Bytes of padding of each of its events.
const PADDING: usize = 8_000;
/// What memory may hold of batches, and what the disk may. What is in memory when the quota is reached, and grows there
/// as it is decoded, comes on top.
const QUEUE_BYTES: u64 = 2 * 1024 * 1024;
const QUEUE: (&str, &str) = ("QUEUE__BYTES", "2MiB");
const QUOTA_BYTES: u64 = 8 * 1024 * 1024;
const QUOTA: (&str, &str) = ("SPOOL__DISK_QUOTA", "8MiB");
/// How long an instance whose sink works or not may take to be full, or empty.
const LIMIT: Duration = Duration::from_mins(10);
const POLL: Duration = Duration::from_millis(50);
/// How long the outage of the figures lasts.
const OUTAGE_SECONDS: u64 = 1;

#[test]
fn an_outage_longer_than_the_quota_is_told_as_429_by_a_healthy_instance_and_drains_oldest_first_beside_new_data() {
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    bucket.turn(Weather::Down);
    let server = bucket.serve(&place, &[QUEUE, QUOTA]);
    let load = Load::padded(server.address, CONNECTIONS, "load", PADDING);
    let deadline = Instant::now() + LIMIT;
    for probe in 0.. {
        let answer = book.try_one(server.address, &format!("probe-{probe}"), 1);
        if answer.status == 429 && answer.json()["cause"] == "disk" {
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
            break;
        }
        assert!(Instant::now() < deadline, "the quota is never reached");
        sleep(POLL);
    }
    // It stays full, and healthy, for as long as the outage lasts.
    for probe in 0..20 {
        assert_eq!(get(server.address, "/readyz").status, 200);
        assert_eq!(get(server.address, "/livez").status, 200);
        // A batch that is smaller than what was refused may still fit.
        let status = book.try_one(server.address, &format!("full-{probe}"), 1).status;
        assert!([200, 429].contains(&status), "{status}");
        sleep(POLL);
    }
    let used = Scrape::of(server.admin).value("logweir_spool_bytes");
    assert!(used <= (QUOTA_BYTES + QUEUE_BYTES) as f64, "{used} bytes of disk are used, of {QUOTA_BYTES}");
    assert_eq!(bucket.server.keys(), Vec::<String>::new(), "S3 was to be down");

    let (backlog, before) = (newest_segment(&place.path("spool")), Scrape::of(server.admin));
    bucket.turn(Weather::Clear);
    let (_, after) = drain_through(backlog, &bucket, &server);
    let taken = |scrape: &Scrape| scrape.sum("logweir_events_total", "verdict");
    assert!(taken(&after) > taken(&before), "new data was to be taken beside the backlog");
    load.end();
    book.merge(load.join());
    let (peak, ceiling) =
        (status_bytes(server.id(), "VmHWM"), server.entry("memory ceiling")["bytes"].as_u64().unwrap());
    assert!(peak < ceiling, "{peak} bytes were resident, and the ceiling is {ceiling}");
    server.stop();
    tell(format_args!("an outage up to the quota: {}", book.compare(&bucket.objects())));
}

#[test]
fn a_backlog_is_stored_beside_full_load() {
    let outage = Duration::from_secs(asked("OUTAGE_SECONDS", OUTAGE_SECONDS));
    let (place, bucket) = (Place::new(), Bucket::new());
    bucket.turn(Weather::Down);
    let server = bucket.serve(&place, &[("SPOOL__DISK_QUOTA", "8GiB"), ("DRAIN__TIMEOUT", "1h")]);
    let load = Load::padded(server.address, CONNECTIONS, "load", PADDING);
    sleep(outage);
    let (backlog, before, began) = (newest_segment(&place.path("spool")), Scrape::of(server.admin), Instant::now());
    bucket.turn(Weather::Clear);
    let (ended, after) = drain_through(backlog, &bucket, &server);
    load.end();
    let book = load.join();
    server.stop_within(LIMIT);
    let seconds = (ended - began).as_secs_f64();
    let rate = |metric: &str, label| (after.sum(metric, label) - before.sum(metric, label)) / seconds;
    let (taken, stored) = (rate("logweir_events_total", "verdict"), rate("logweir_object_lines_total", "sink"));
    let alone = before.sum("logweir_events_total", "verdict") / outage.as_secs_f64();
    tell(format_args!(
        "a backlog of {backlog} segments, stored within {seconds:.1} s: events a second taken before {alone:.0}, beside \
         it {taken:.0}; stored {stored:.0}, {:.2} times what was taken beside it; {}",
        stored / taken,
        book.compare(&bucket.objects())
    ));
}

/// The number of the newest segment in a spool.
fn newest_segment(spool: &Path) -> u64 {
    let names = fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let numbers = names.filter_map(|name| name.split_once('.')?.0.parse().ok());
    numbers.max().expect("there is a segment")
}

/// Waits until every segment up to `last` is stored, and holds the sink to storing the oldest first: when that was, and
/// the metrics then.
fn drain_through(last: u64, bucket: &Bucket, server: &Server) -> (Instant, Scrape) {
    let deadline = Instant::now() + LIMIT;
    let mut segment = 0;
    while segment <= last {
        let object = |seen: &Seen| seen.operation == Operation::Put && !seen.path.contains("/_ledger/");
        for seen in bucket.server.seen().into_iter().filter(object) {
            let next = objects::segment(&seen.path);
            assert!(next >= segment, "segment {next} is put after segment {segment}");
            segment = next;
        }
        assert!(Instant::now() < deadline, "after {LIMIT:?} segment {segment} is being stored, of {last}");
        sleep(POLL);
    }
    (Instant::now(), Scrape::of(server.admin))
}
