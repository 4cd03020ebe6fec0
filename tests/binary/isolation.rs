//! A sink that is slow, full or dead delays only itself.
//!
//! Each illness of the one sink is looked at while the other is well: everything that is sent is taken, all of it reaches
//! the sink that is well while the other is still ill, and memory stays below its ceiling. Then the ill one gets well, and
//! has everything that it is owed.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    fault_proxy::Weather,
    figures::tell,
    firehose::{TwoSinks, lines},
    firehose_server::{Fault, FirehoseServer},
    process::{Place, Server, status_bytes},
    replay::heartbeats_in,
    scrape::Scrape,
    tracer::{Book, Load},
};

/// How long the load lasts beside each illness.
const LOAD: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 2;
/// How long what must happen may take.
const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(50);
/// Bytes a second: about a hundredth of what a call takes.
const CRAWL: usize = 20_000;

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(POLL);
    }
}

/// A load for a while, of which nothing may be refused.
fn load(server: &Server, name: &str) -> Book {
    let load = Load::start(server.address, CONNECTIONS, name);
    sleep(LOAD);
    load.end();
    let book = load.join();
    assert!(book.uncertain.is_empty(), "{name}: {} events were not taken", book.uncertain.len());
    assert!(!book.acknowledged.is_empty());
    book
}

fn below_the_ceiling(server: &Server) {
    let ceiling = Scrape::of(server.admin).value("logweir_memory_ceiling_bytes");
    let peak = status_bytes(server.id(), "VmHWM") as f64;
    assert!(peak < ceiling, "{peak} bytes of memory were needed, {ceiling} is the ceiling");
}

/// What makes Firehose ill, and what makes it well.
type Illness = (&'static str, fn(&FirehoseServer), fn(&FirehoseServer));

fn well(firehose: &FirehoseServer) {
    firehose.fault_always(Fault::None);
}

const ILLNESSES: [Illness; 5] = [
    ("slow", |firehose| firehose.fault_always(Fault::Slow(CRAWL)), well),
    ("hung", |firehose| firehose.fault_always(Fault::Hang), well),
    ("refusing", FirehoseServer::refuse_connections, FirehoseServer::accept_connections),
    ("failing", |firehose| firehose.fault_always(Fault::Bare(500)), well),
    ("throttling", |firehose| firehose.fault_always(Fault::THROTTLED), well),
];

/// However Firehose fails, the bucket gets everything at once, and Firehose once it is well.
#[test]
fn a_required_sink_that_is_ill_delays_only_itself() {
    let (place, sinks) = (Place::new(), TwoSinks::new());
    let server = sinks.serve(&place, &[], "");
    let mut all = load(&server, "healthy");
    for (name, fall_ill, get_well) in ILLNESSES {
        fall_ill(&sinks.firehose);
        all.merge(load(&server, name));
        until(&format!("{name}: the bucket has everything"), || all.audit(&sinks.bucket.objects()).lost.is_empty());
        below_the_ceiling(&server);
        get_well(&sinks.firehose);
        until(&format!("{name}: Firehose has everything"), || sinks.lacking(&all).is_empty());
        tell(format_args!("{name}: {} events acknowledged until now", all.acknowledged.len()));
    }
    until("nothing is owed", || Scrape::of(server.admin).value("logweir_sink_lag_bytes{sink=\"stream\"}") == 0.0);
    // Lines came twice only if a call's outcome was not known.
    let repeated = lines(&Scrape::of(server.admin), "repeated");
    let doubled = sinks.doubled();
    assert!(doubled as f64 <= repeated, "{doubled} lines came twice, {repeated} were sent again");
    let ended = server.stop();
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
    all.compare(&sinks.bucket.objects());
}

/// A best-effort sink that lags too far is gone on without, and every event that it does not have is counted.
#[test]
fn a_best_effort_sink_that_is_dead_costs_no_more_than_its_lag() {
    let (place, sinks) = (Place::new(), TwoSinks::new());
    sinks.firehose.refuse_connections();
    // Room for eight segments, of which the dead sink may hold two.
    let server = sinks.serve(&place, &[("SPOOL__DISK_QUOTA", "8MiB")], "required = false\nmax_lag_bytes = \"2MiB\"\n");
    let mut book = Book::default();
    let skipped = |name: &str| Scrape::of(server.admin).value(&format!("{name}{{sink=\"stream\"}}"));
    for round in 0.. {
        let load = Load::padded(server.address, CONNECTIONS, &format!("{round}"), 8_000);
        sleep(LOAD);
        load.end();
        book.merge(load.join());
        if skipped("logweir_sink_skipped_events_total") > 0.0 {
            break;
        }
        assert!(round < 20, "nothing was skipped");
    }
    let told = server
        .entry("a best-effort sink lagged too far and goes on at the newest; what lies between it will never have");
    assert_eq!(told["sink"], "stream", "{told}");
    until("the bucket has everything", || book.audit(&sinks.bucket.objects()).lost.is_empty());
    below_the_ceiling(&server);
    sinks.firehose.accept_connections();
    book.merge(load(&server, "after"));
    let scrape = || Scrape::of(server.admin);
    until("Firehose has what it is still owed", || scrape().value("logweir_sink_lag_bytes{sink=\"stream\"}") == 0.0);
    // Whatever did not come is counted. What was on its way when the sink was gone on without may have come and be counted.
    let stored = book.audit(&sinks.bucket.objects());
    let durable = stored.acknowledged + stored.uncertain_found;
    let (arrived, skipped) = (sinks.arrived().len(), skipped("logweir_sink_skipped_events_total") as usize);
    assert!(arrived + skipped >= durable, "{arrived} arrived, {skipped} were skipped, {durable} are stored");
    assert!(skipped <= durable, "{skipped} were skipped, {durable} are stored");
    assert!(sinks.lacking(&book).iter().all(|name| !name.contains("after")), "what came after the outage has arrived");
    server.stop();
    book.compare(&sinks.bucket.objects());
}

/// The other way round: with a bucket that answers nobody, Firehose gets what comes as it comes.
#[test]
fn with_a_dead_bucket_the_other_sink_gets_what_comes() {
    let (place, sinks) = (Place::new(), TwoSinks::new());
    sinks.bucket.turn(Weather::Down);
    let server = sinks.serve(&place, &[("DRAIN__TIMEOUT", "2s")], "");
    let book = load(&server, "dead");
    until("Firehose has everything", || sinks.lacking(&book).is_empty());
    assert!(sinks.bucket.server.all_keys().is_empty(), "the bucket is dead");
    assert_eq!(sinks.doubled(), 0);
    let ended = server.stop();
    assert!(ended.entry("stopped; what is not stored stays in the spool").is_some(), "{}", ended.stderr);
    sinks.bucket.turn(Weather::Clear);
    let ended = sinks.serve(&place, &[], "").stop();
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
    book.compare(&sinks.bucket.objects());
}

/// At the end, too: nobody waits for best-effort sinks that do not come on, and the end is told where everything is.
#[test]
fn best_effort_sinks_that_are_dead_hold_up_neither_a_stop_nor_what_is_complete() {
    let (place, sinks) = (Place::new(), TwoSinks::new());
    sinks.firehose.refuse_connections();
    // It takes connections and says nothing, and so hangs whoever writes objects or heartbeats there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hung = format!(
        "required = false\n[[sinks]]\nname = \"hung\"\nkind = \"s3\"\nbucket = \"copy\"\npath_style = true\n\
         endpoint = \"http://{}\"\nrequired = false\n",
        silent.local_addr().unwrap()
    );
    // Much longer than anybody waits here.
    let server = sinks.serve(&place, &[("DRAIN__TIMEOUT", "5m")], &hung);
    let mut book = Book::default();
    book.send_one(server.address, "left", 20);
    let ended = server.stop_within(PATIENCE);
    let left = ended.entry("stopped; what is not stored stays in the spool");
    assert!(left.is_some_and(|left| left["segments_left"].as_u64().unwrap() > 0), "{}", ended.stderr);
    book.compare(&sinks.bucket.objects());
    let heartbeats = heartbeats_in(&sinks.bucket.objects());
    let last = heartbeats.last().unwrap();
    assert!(last.ended && last.oldest_unstored.is_none(), "{heartbeats:?}");

    // Well again, it gets what it is owed before the end.
    sinks.firehose.accept_connections();
    let ended = sinks.serve(&place, &[], "required = false\n").stop();
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
    assert!(sinks.lacking(&book).is_empty(), "Firehose has everything");
}
