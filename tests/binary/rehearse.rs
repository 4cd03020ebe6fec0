//! `logweir rehearse`: a fleet against the built binary, and against servers that are played here, so that what devices
//! send and when they come back is seen from the other side.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use logweir::rehearse::report::{Report, Totals};
use rustix::process::Signal;

use crate::{
    checks::EXIT_CONFIG,
    process::{END, Ended, Place, Process, Server},
    scrape::Scrape,
};

/// The exit code of sysexits.h for a target that cannot be reached.
const EXIT_UNAVAILABLE: i32 = 69;
/// The key that the played server is sent.
const KEY: &str = "sdk-key-0123456789abcdef";

/// Rehearses against `target` within `place`, and writes `report.json` and `report.html` there.
fn rehearse(place: &Place, target: SocketAddr, more: &[&str]) -> Ended {
    let target = format!("http://{target}");
    place.run(&[&["rehearse", &target, "--json", "report.json", "--html", "report.html"], more].concat())
}

fn report(place: &Place) -> Report {
    serde_json::from_str(&fs::read_to_string(place.path("report.json")).unwrap()).unwrap()
}

/// Every try has one outcome, and every batch one end.
fn balances(totals: &Totals) {
    assert_eq!(totals.new + totals.returns, totals.sent + totals.unsent, "{totals:?}");
    let answered = totals.accepted + totals.all_refused() + totals.dropped + totals.all_failed();
    assert_eq!(totals.sent, answered, "{totals:?}");
    let batches = totals.accepted + totals.dropped + totals.given_up + totals.unsent + totals.waiting;
    assert_eq!(totals.new, batches, "{totals:?}");
}

#[test]
fn the_report_counts_what_the_server_counts_and_its_page_has_every_plot() {
    let place = Place::new();
    // One stream, so that everything for another is refused.
    let server = place.serve(&[("LIMITS__STREAMS", "1")]);
    let metrics = format!("http://{}/metrics", server.admin);
    let flood = ["--profile", "advert", "--peak", "600", "--duration", "3s", "--gzip", "--metrics", &metrics];
    let ended = rehearse(&place, server.address, &flood);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (first, scrape) = (report(&place), Scrape::of(server.admin));
    balances(&first.totals);
    assert!(
        first.totals.new > 300 && first.totals.failed.is_empty() && first.totals.dropped == 0,
        "{:?}",
        first.totals
    );
    assert_eq!(first.totals.accepted, outcome(&server, "accepted"));
    // A busy machine may refuse some.
    let refused_before = outcome(&server, "refused");
    assert_eq!(first.totals.all_refused(), refused_before);
    let events = scrape.value("logweir_events_total{stream=\"rehearsal\",verdict=\"accepted\"}") as u64;
    assert_eq!(events, 10 * first.totals.accepted);
    assert!(first.samples.len() >= 2, "{:?}", first.samples);
    let last = first.samples.last().unwrap();
    assert!(last.backlog.is_some() && last.resident.is_some() && last.ceiling > last.resident, "{last:?}");
    assert!(last.accepted.unwrap() as u64 <= first.totals.accepted && last.accepted.unwrap() > 0.0, "{last:?}");
    assert_eq!(first.seconds.iter().map(|second| second.accepted).sum::<u64>(), first.totals.accepted);
    assert!(ended.stdout.contains(&format!("accepted                {} (", thousands(first.totals.accepted))));

    let page = fs::read_to_string(place.path("report.html")).unwrap();
    assert_eq!(page.matches("<svg ").count(), 6, "{page}");
    for name in ["offered", "accepted", "p99", "backlog", "resident", "returns"] {
        assert!(page.contains(&format!("><title>{name}</title></path>")), "no line of {name}");
    }

    // A second one, which is refused, stands beside the first.
    fs::rename(place.path("report.json"), place.path("first.json")).unwrap();
    let second = ["--profile", "steady", "--peak", "60", "--duration", "2s", "--stream", "another", "--behave", "1"];
    let second = [&second[..], &["--compare", "first.json", "--metrics", &metrics]].concat();
    let ended = rehearse(&place, server.address, &second);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let refused = report(&place);
    balances(&refused.totals);
    assert_eq!(
        refused.totals.refused,
        BTreeMap::from([("streams".to_owned(), outcome(&server, "refused") - refused_before)])
    );
    assert_eq!(refused.totals.refused["streams"], refused.totals.new);
    assert_eq!((refused.totals.waiting, refused.totals.accepted), (refused.totals.new, 0));
    let told = refused.told.spread;
    assert!(told.p50 > 150.0 && told.max <= 301.0 && refused.told.seconds.len() > 20, "{told:?}");
    let samples = refused.samples.last().unwrap();
    assert!(samples.refusals["streams"] > 0.0 && samples.accepted == Some(0.0), "{samples:?}");
    let both = ended.stdout.lines().find(|line| line.starts_with("  accepted ")).unwrap();
    assert!(both.contains(&format!("| {} (", thousands(first.totals.accepted))), "{}", ended.stdout);
    let page = fs::read_to_string(place.path("report.html")).unwrap();
    assert!(page.contains("class=\"line s0 other\""), "{page}");
    server.stop();
}

/// How many requests of `server` had this outcome.
fn outcome(server: &Server, outcome: &str) -> u64 {
    Scrape::of(server.admin).value(&format!("logweir_requests_total{{outcome=\"{outcome}\"}}")) as u64
}

/// A count as the report writes it.
fn thousands(count: u64) -> String {
    if count < 1_000 { count.to_string() } else { format!("{},{:03}", count / 1_000, count % 1_000) }
}

#[test]
fn the_peak_comes_from_the_capacity_that_the_target_tells() {
    let place = Place::new();
    let server = place.serve(&[]);
    let metrics = format!("http://{}/metrics", server.admin);
    let many = ["--profile", "steady", "--duration", "1s", "--events", "1000", "--metrics", &metrics];
    let ended = rehearse(&place, server.address, &many);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Nothing but the rehearsal has taught it anything, and that began with what it said first.
    let capacity = report(&place).samples[0].capacity.unwrap();
    assert!(capacity > 0.0);
    let expected = 0.8 * capacity / (1_000.0 * 640.0);
    let found = report(&place).setup.peak;
    assert!((found - expected.max(1.0)).abs() < 1e-6, "{found} for a capacity of {capacity}");
    assert!(ended.stdout.contains("The peak is 0.8 times"), "{}", ended.stdout);
    server.stop();
    // Without one, it must be given.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = ["--profile", "steady", "--metrics", "http://127.0.0.1:1/metrics"];
    let ended = rehearse(&place, nobody.local_addr().unwrap(), &nowhere);
    assert_eq!(ended.code, Some(EXIT_CONFIG), "{}", ended.stderr);
    assert!(ended.stderr.contains("give --peak"), "{}", ended.stderr);
}

/// One request, as the played server saw it.
#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// The tries of each batch, by its id.
type Tries = HashMap<String, Vec<Seen>>;

/// Serves on a port of its own until the process ends: each batch is refused when it first comes, with `told` milliseconds
/// and a `Retry-After` that says something else, and taken from then on. Returns what it has seen, by batch.
fn refuses_first(told: u64) -> (SocketAddr, Arc<Mutex<Tries>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::<Mutex<Tries>>::default();
    let all = Arc::clone(&seen);
    let accept = move || {
        for stream in listener.incoming() {
            let all = Arc::clone(&all);
            let Ok(stream) = stream else { break };
            thread::Builder::new().spawn(move || serve(&stream, told, &all)).unwrap();
        }
    };
    thread::Builder::new().spawn(accept).unwrap();
    (address, seen)
}

fn serve(stream: &TcpStream, told: u64, all: &Mutex<Tries>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let post = line.starts_with("POST /v1/logs/flood HTTP/1.1");
        let mut headers = HashMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let answer = if post {
            let mut all = all.lock().unwrap();
            let tries = all.entry(headers["idempotency-key"].clone()).or_default();
            tries.push(Seen { at: Instant::now(), headers, body });
            if tries.len() == 1 {
                let body = format!("{{\"status\":429,\"cause\":\"share\",\"retry_after_ms\":{told}}}");
                format!("429 Too Many\r\nretry-after: 77\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            } else {
                "200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned()
            }
        } else {
            "404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()
        };
        writer.write_all(format!("HTTP/1.1 {answer}").as_bytes())?;
    }
}

/// A second of a steady load against a server that refuses each batch once, and two more for the returns.
const FIRST: [&str; 16] = [
    "--profile",
    "seed-outage",
    "--peak",
    "100",
    "--duration",
    "4s",
    "--devices",
    "7",
    "--stream",
    "flood",
    "--events",
    "2",
    "--metrics",
    "http://127.0.0.1:1/metrics",
    "--seed",
    "11",
];

#[test]
fn a_refused_batch_comes_back_when_told_as_it_was_and_is_let_in() {
    let place = Place::new();
    place.write("key", &format!("{KEY}\n"));
    let (address, seen) = refuses_first(600);
    let ended = rehearse(&place, address, &[&FIRST[..], &["--key-file", "key"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (report, seen) = (report(&place), seen.lock().unwrap());
    balances(&report.totals);
    assert_eq!(report.totals.new, seen.len() as u64);
    assert_eq!(report.totals.sent, seen.values().map(|tries| tries.len() as u64).sum::<u64>());
    assert_eq!(report.totals.refused["share"], report.totals.new);
    let behave = report.first_returns["behave"];
    assert_eq!((behave.returned, behave.let_in), (report.totals.returns, report.totals.accepted));
    assert!(behave.let_in > 80 && behave.share() == Some(1.0), "{behave:?}");
    assert!((report.told.spread.p50 - 0.6).abs() < 0.01, "{:?}", report.told.spread);
    let mut devices: Vec<&str> = Vec::new();
    for tries in seen.values() {
        let first = &tries[0];
        devices.push(&first.headers["x-device-id"]);
        assert_eq!(first.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!(serde_json::from_slice::<Vec<serde_json::Value>>(&first.body).unwrap().len(), 2);
        for again in &tries[1..] {
            assert!(again.at - first.at >= Duration::from_millis(590), "back after {:?}", again.at - first.at);
            let timeless = |seen: &Seen| {
                let mut headers = seen.headers.clone();
                assert!(headers.remove("x-sent-at").is_some(), "{:?}", seen.headers);
                headers
            };
            assert_eq!((timeless(again), &again.body), (timeless(first), &first.body));
        }
    }
    devices.sort_unstable();
    devices.dedup();
    assert_eq!(devices.len(), 7);
}

#[test]
fn devices_can_be_made_to_hear_a_constant_and_the_stubborn_hear_nothing() {
    let place = Place::new();
    let (address, seen) = refuses_first(3_600_000);
    let more = ["--constant-retry-after", "1500ms", "--behave", "1", "--stubborn", "1"];
    let mut command = place
        .command(&[&["rehearse", &format!("http://{address}"), "--json", "report.json"], &FIRST[..], &more].concat());
    command.env("LOGWEIR_REHEARSE_KEY", KEY);
    let ended = Process::start(command).wait(END);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report = report(&place);
    balances(&report.totals);
    assert_eq!(report.setup.constant_retry_after, Some(1.5));
    let mut waits: HashMap<&str, Vec<u128>> = HashMap::new();
    {
        let seen = seen.lock().unwrap();
        for tries in seen.values() {
            assert_eq!(tries[0].headers["authorization"], format!("Bearer {KEY}"));
            let device = tries[0].headers["x-device-id"].rsplit('-').next().unwrap().parse().unwrap();
            let waits = waits.entry(report.setup.mix.of(device).name()).or_default();
            waits.extend(tries.get(1).map(|again| (again.at - tries[0].at).as_millis()));
        }
    }
    let (stubborn, told) = (&waits["stubborn"], &waits["behave"]);
    // A busy machine makes any of them late, and none early.
    assert!(told.len() > 20 && told.iter().all(|wait| *wait >= 1_490), "{told:?}");
    assert!(stubborn.len() > 20 && stubborn.iter().any(|wait| *wait < 1_490), "{stubborn:?}");
    assert_eq!(report.first_returns["stubborn"].returned, stubborn.len() as u64);
    assert_eq!(report.first_returns["behave"].returned, told.len() as u64);
    assert!(ended.stdout.contains("every Retry-After taken for 1.5 s"), "{}", ended.stdout);
}

#[test]
fn a_refusal_that_comes_before_the_request_is_heard_as_one() {
    const REFUSAL: &str = "{\"cause\":\"connections\",\"retry_after_ms\":2500}";
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let refuse = move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let head = format!("HTTP/1.1 429 No\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", REFUSAL.len());
            let _ = stream.write_all(format!("{head}{REFUSAL}").as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            // As an instance does, it listens for a moment: a reset would overtake the answer.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let linger = move || while stream.read(&mut [0; 4_096]).is_ok_and(|read| read > 0) {};
            thread::Builder::new().spawn(linger).unwrap();
        }
    };
    thread::Builder::new().spawn(refuse).unwrap();
    let ended = rehearse(&place, address, &FIRST);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let totals = report(&place).totals;
    balances(&totals);
    assert_eq!(
        (totals.refused.get("connections"), &totals.failed),
        (Some(&totals.sent), &BTreeMap::new()),
        "{totals:?}"
    );
    assert!(totals.sent > 80 && totals.accepted == 0, "{totals:?}");
}

#[test]
fn another_machine_is_refused_before_anything_is_sent() {
    let place = Place::new();
    let ours = TcpListener::bind("127.0.0.1:0").unwrap();
    ours.set_nonblocking(true).unwrap();
    let address = ours.local_addr().unwrap();
    let start = Instant::now();
    let far = place.run(&["rehearse", "http://192.0.2.1:8080", "--profile", "steady", "--peak", "1"]);
    let metrics = ["--metrics", "http://192.0.2.1:9090/metrics", "--profile", "steady", "--peak", "1"];
    let half = rehearse(&place, address, &metrics);
    for ended in [far, half] {
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(EXIT_CONFIG), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains("192.0.2.1") && ended.stderr.contains("--i-own-this-target"), "{}", ended.stderr);
    }
    assert_eq!(ours.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "somebody came");
    assert!(!place.path("report.json").exists());
    assert!(start.elapsed() < Duration::from_secs(8), "nobody waits for a machine that is not there");
}

#[test]
fn a_target_that_is_not_there_and_an_argument_that_is_wrong_have_exit_codes_of_their_own() {
    let place = Place::new();
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    place.write("empty", "\n");
    let ended = rehearse(&place, nobody, &["--profile", "steady", "--peak", "1"]);
    assert_eq!(ended.code, Some(EXIT_UNAVAILABLE), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot be reached at 127.0.0.1:1"), "{}", ended.stderr);
    for (wrong, told) in [
        (&["--profile", "flood"][..], "there is no profile \"flood\""),
        (&["--profile", "steady", "--peak", "0"], "--peak is 0"),
        (&["--profile", "steady", "--duration", "soon"], "--duration is \"soon\""),
        (&["--profile", "steady", "--duration", "2h"], "--duration is"),
        (&["--profile", "steady", "--connections", "9000"], "--connections is 9000"),
        (&["--profile", "steady", "--stream", "No"], "--stream: "),
        (&["--profile", "steady", "--careless=-1"], "--behave, --careless and --stubborn"),
        (&["--profile", "steady", "--key-file", "none"], "none: "),
        (&["--profile", "steady", "--key-file", "empty"], "the key is empty"),
        (&["--profile", "steady", "--compare", "none"], "none: "),
    ] {
        let ended = rehearse(&place, nobody, wrong);
        assert_eq!(ended.code, Some(EXIT_CONFIG), "{wrong:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{wrong:?}: {}", ended.stderr);
    }
}

#[test]
fn a_rehearsal_that_is_interrupted_reports_what_it_saw_so_far() {
    stops_on(Signal::INT);
}

#[test]
fn a_rehearsal_does_not_outlive_its_terminal() {
    stops_on(Signal::HUP);
}

fn stops_on(signal: Signal) {
    let place = Place::new();
    let (address, seen) = refuses_first(10);
    let target = format!("http://{address}");
    let arguments = [&["rehearse", &target, "--json", "report.json"], &FIRST[..]].concat();
    let arguments: Vec<&str> =
        arguments.iter().map(|argument| if *argument == "4s" { "10m" } else { argument }).collect();
    let process = Process::start(place.command(&arguments));
    let deadline = Instant::now() + END;
    while seen.lock().unwrap().len() < 20 {
        assert!(Instant::now() < deadline, "nothing comes");
        thread::sleep(Duration::from_millis(5));
    }
    process.signal(signal);
    let ended = process.wait(END);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("! It was stopped before its time."), "{}", ended.stdout);
    let report = report(&place);
    balances(&report.totals);
    assert!(report.setup.stopped && report.totals.new >= 20, "{:?}", report.totals);
    assert_eq!(report.totals.sent, seen.lock().unwrap().values().map(|tries| tries.len() as u64).sum::<u64>());
}
