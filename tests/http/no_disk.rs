//! An instance that keeps nothing: an answer waits for the sinks, is bounded as ever, and never says more than is so.

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

use crate::{
    client::{Answer, Client, until},
    request::Request,
    server::{TestServer, log},
    stored::Stored,
};

/// Small windows, and as little memory as there may be.
const BASE: &str = "
    streams = { quick = { ack = \"memory\" }, usual = {} }
    limits = { encoded_body = \"256KiB\", decoded_body = \"256KiB\", output = \"512KiB\" }
";
const MEMORY: u64 = 4 << 20;

/// A server with this window and `ingest.stored_timeout`.
fn start_with(window: &str, timeout: &str) -> TestServer {
    TestServer::start(&format!(
        "{BASE}\n[spool]\nkind = \"none\"\nwindow = \"{window}\"\nmemory = \"4MiB\"\nsegment_size = \"1MiB\"\n\
         [ingest]\nstored_timeout = \"{timeout}\""
    ))
}

fn start() -> TestServer {
    start_with("20ms", "10s")
}

/// A batch of one event, which is known by its number.
fn batch(number: usize) -> Request {
    Request::post("usual", format!(r#"{{"batch_id":"{number}","events":[{{"n":{number}}}]}}"#))
}

/// The same with 50 KB beside.
fn large(number: usize) -> Request {
    let ballast = "x".repeat(1_000);
    let fields: Vec<String> = (0..50).map(|field| format!(r#""f{field}":"{ballast}""#)).collect();
    let event = format!(r#"{{"n":{number},{}}}"#, fields.join(","));
    Request::post("usual", format!(r#"{{"batch_id":"{number}","events":[{event}]}}"#))
}

/// The numbers of what is stored, each once.
fn numbers(stored: &[Stored]) -> BTreeSet<u64> {
    let numbers: BTreeSet<u64> = stored.iter().map(|line| line.get("n").as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), stored.len(), "something is stored twice");
    numbers
}

/// A file stands where the sink's directory must be.
fn break_sink(server: &TestServer) {
    fs::write(server.objects(), "in the way").unwrap();
}

fn mend_sink(server: &TestServer) {
    fs::remove_file(server.objects()).unwrap();
}

/// Holds an answer to what is told of a batch that was not stored in time.
fn assert_not_stored(answer: &Answer) {
    assert_eq!((answer.status, answer.problem().as_str()), (503, "not-stored"), "{answer:?}");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    let millis = answer.json()["retry_after_ms"].as_u64().unwrap();
    assert!((1..=300).contains(&seconds) && millis.abs_diff(seconds * 1_000) <= 1_000, "{answer:?}");
}

#[test]
fn a_stream_that_asks_for_nothing_is_answered_when_the_object_is_there() {
    let server = start();
    let mut client = server.connect();
    for number in 0..5 {
        let answer = client.ask(&batch(number));
        let expected = format!(r#"{{"batch_id":"{number}","ack":"stored","accepted":1,"rejected":[]}}"#);
        assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
        assert_eq!(numbers(&server.stored()).len(), number + 1);
    }
    // So is one that nobody has declared, and an event that is rejected.
    let answer = client.ask(&Request::post("unheard_of", r#"[{"n":5},7]"#));
    assert_eq!((answer.status, answer.json()["ack"].as_str()), (200, Some("stored")));
    assert_eq!(server.stored().len(), 7);
    assert!(!server.objects().with_file_name("spool").exists(), "nothing is kept");
}

#[test]
fn memory_may_be_asked_for_and_is_called_that() {
    let server = start();
    break_sink(&server);
    let answer = server.ask(&Request::post("quick", r#"[{"n":1}]"#));
    assert_eq!((answer.status, answer.json()["ack"].as_str()), (200, Some("memory")));
    mend_sink(&server);
    // It does not wait for the sinks, and reaches them without being asked for.
    server.until("it is stored", |metrics| metrics.get("logweir_object_lines_total{sink=\"files\"}") == 1);
}

#[test]
fn what_is_not_stored_in_time_is_to_be_sent_again_and_keeps_its_id() {
    let server = start_with("20ms", "100ms");
    break_sink(&server);
    let mut client = server.connect();
    assert_not_stored(&client.ask(&batch(1)));
    assert_not_stored(&client.ask(&Request::post("usual", "[7]")));
    let metrics = server.metrics();
    assert!(!log().contains("a request could not be served"), "the sink tells of its outage");
    assert!(log().contains("an object could not be stored"));
    let outcomes = ["not_stored", "pending", "accepted", "all_rejected"].map(|outcome| metrics.outcome(outcome));
    assert_eq!(outcomes, [2, 0, 0, 0]);
    mend_sink(&server);
    let again = until("it is taken", || Some(client.ask(&batch(1))).filter(|answer| answer.status == 200));
    assert_eq!(again.json()["ack"], "stored");
    let stored: Vec<_> = server.stop().into_iter().filter(|line| !line.rejected).collect();
    assert!(stored.len() >= 2, "the first attempt comes, too");
    let ids: BTreeSet<_> = stored.iter().map(|line| line.get("event_id").as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1, "and is known by its id");
}

#[test]
fn while_the_sinks_are_dead_memory_fills_to_its_limit_and_then_429_says_when() {
    let server = start_with("10ms", "20ms");
    break_sink(&server);
    let mut client = server.connect();
    let mut told_503 = BTreeSet::new();
    let refused = loop {
        let number = told_503.len();
        let answer = client.ask(&large(number));
        if answer.status == 429 {
            break answer;
        }
        assert_not_stored(&answer);
        told_503.insert(number as u64);
        assert!(told_503.len() < 100, "it takes more than it has room for");
    };
    assert!(told_503.len() > 40, "{}", told_503.len());
    assert_eq!(refused.json()["cause"], "disk");
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(after < 60, "it is not the whole of an outage: {after}");
    assert_eq!(server.ask(&Request::new("GET", "/readyz")).status, 200, "it is full, and ready");
    let metrics = server.until("it is shown", |metrics| metrics.get("logweir_spool_bytes") > MEMORY / 2);
    assert!(metrics.get("logweir_spool_bytes") <= MEMORY);
    assert_eq!(metrics.get("logweir_spool_quota_bytes"), MEMORY);
    // It recovers by itself, and what it took comes once.
    mend_sink(&server);
    until("it takes again", || Some(client.ask(&large(1_000))).filter(|answer| answer.status == 200));
    let mut stored = numbers(&server.stop().into_iter().filter(|line| *line.get("n") != 1_000).collect::<Vec<_>>());
    assert!(stored.is_superset(&told_503));
    stored.retain(|number| !told_503.contains(number));
    assert!(stored.is_empty(), "{stored:?} was refused");
}

#[test]
fn a_client_that_goes_while_it_waits_holds_nothing_up() {
    let server = start();
    break_sink(&server);
    let mut gone = server.connect();
    gone.send(batch(1).bytes());
    server.until("it is taken", |metrics| {
        metrics.get("logweir_events_total{stream=\"usual\",verdict=\"accepted\"}") == 1
    });
    drop(gone);
    mend_sink(&server);
    assert_eq!(server.ask(&batch(2)).status, 200);
    assert_eq!(numbers(&server.stop()), [1, 2].into());
}

#[test]
fn many_batches_share_a_window() {
    let server = start_with("500ms", "10s");
    // The first one waits for nobody, so that those behind it fall into one window or two.
    assert_eq!(server.ask(&batch(0)).status, 200);
    let address = server.address;
    thread::scope(|scope| {
        let clients: Vec<_> =
            (1..=20).map(|number| scope.spawn(move || Client::connect(address).ask(&batch(number)).status)).collect();
        assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    });
    let seals = server.metrics().sum("logweir_seals_total");
    assert!(seals < 15, "{seals} windows for twenty batches at a time");
    assert_eq!(numbers(&server.stop()).len(), 21);
}

#[test]
fn a_drain_seals_the_window_at_once_and_answers_who_waits() {
    let server = start_with("29s", "55s");
    assert_eq!(server.ask(&batch(0)).status, 200, "it waits for nobody");
    let mut waiting = server.connect();
    waiting.send(batch(1).bytes());
    server.until("it waits", |metrics| metrics.get("logweir_events_total{stream=\"usual\",verdict=\"accepted\"}") == 2);
    assert!(!waiting.hears_within(Duration::from_millis(200)));
    let began = Instant::now();
    let stored = thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop());
        let answer = waiting.receive();
        assert_eq!((answer.status, answer.json()["ack"].as_str()), (200, Some("stored")));
        stopping.join().unwrap()
    });
    assert!(began.elapsed() < Duration::from_secs(15), "it waited for the window: {:?}", began.elapsed());
    assert_eq!(numbers(&stored), [0, 1].into());
}

#[test]
fn a_drain_that_cannot_store_says_so_to_who_waits() {
    let server = start_with("20ms", "55s");
    break_sink(&server);
    let mut waiting = server.connect();
    waiting.send(batch(1).bytes());
    server.until("it waits", |metrics| metrics.get("logweir_events_total{stream=\"usual\",verdict=\"accepted\"}") == 1);
    thread::scope(|scope| {
        // It is given a moment, and the sink never comes back.
        scope.spawn(|| drop(server));
        assert_not_stored(&waiting.receive());
    });
}
