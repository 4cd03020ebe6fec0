//! The books balance (P3): whatever comes from however many clients at once, every request has one outcome, every event
//! one verdict, and the objects hold exactly what was counted.

use std::{fs, thread, time::Duration};

use crate::{
    client::{Client, until},
    protocol::STREAMS,
    request::Request,
    samples::Samples,
    server::TestServer,
};

const CLIENTS: usize = 6;
const ROUNDS: usize = 60;

/// What clients were told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    requests: u64,
    /// Requests whose client did not wait for an answer.
    unanswered: u64,
    accepted: u64,
    rejected: u64,
    refused: u64,
}

/// Sends every kind of request, and broken ones on connections of their own.
fn client(address: std::net::SocketAddr, number: usize) -> Told {
    let mut told = Told::default();
    let mut connection = Client::connect(address);
    let lines = |body: &str| Request::post("heard", body).header("content-type", "application/x-ndjson");
    for round in 0..ROUNDS {
        let batch =
            format!("{{\"batch_id\":\"{number}-{round}\",\"events\":[{{\"ad_id\":\"a\"}},{{\"ad_id\":\"b\"}}]}}");
        let cut = Request::post("heard", &batch).header("content-length", "5000");
        for request in [
            Request::post("heard", &batch),
            Request::post("heard", &batch).chunked(11),
            Request::post("timed", r#"[{"at":1},{"at":"x"},7]"#),
            lines("{\"ad_id\":\"c\"}\n{\"ad_id\":\n{}\n"),
            lines("5\n6"),
            Request::post("heard", "[{"),
            Request::post("heard", "[]"),
            Request::post("heard", "[{}]").header("content-type", "text/plain"),
            Request::post("No-Stream", "[{}]"),
            Request::post("third", "[{}]"),
            Request::new("GET", "/v1/logs/heard"),
            Request::post("free", vec![b' '; 70_000]),
        ] {
            let answer = connection.ask(&request);
            told.requests += 1;
            match answer.status {
                200 | 422 => {
                    let body = answer.json();
                    told.accepted += body["accepted"].as_u64().unwrap();
                    told.rejected += body["rejected"].as_array().unwrap().len() as u64;
                }
                429 => told.refused += 1,
                _ => {}
            }
            if answer.header("connection") == Some("close") {
                connection = Client::connect(address);
            }
        }
        if round % 10 == 0 {
            Client::connect(address).send(cut.bytes());
            told.requests += 1;
            told.unanswered += 1;
        }
    }
    told
}

fn of(metrics: &Samples, name: &str) -> u64 {
    metrics.sum(name)
}

fn events(metrics: &Samples, verdict: &str) -> u64 {
    let streams = ["heard", "timed", "free"].map(|stream| format!("{{stream=\"{stream}\",verdict=\"{verdict}\"}}"));
    streams.iter().map(|labels| metrics.get(&format!("logweir_events_total{labels}"))).sum()
}

#[test]
fn the_books_balance_after_a_mixed_load() {
    // One place in each queue, so that some batches are refused after they were parsed; and three streams, no more.
    let settings = "limits.streams = 3\nspool.seal_after = \"1s\"\nqueue.batches = 1\n[streams.free]\n";
    let server = TestServer::start(&format!("{settings}{STREAMS}"));
    let address = server.address;
    let told = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(address, number))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).fold(Told::default(), |all, one| Told {
            requests: all.requests + one.requests,
            unanswered: all.unanswered + one.unanswered,
            accepted: all.accepted + one.accepted,
            rejected: all.rejected + one.rejected,
            refused: all.refused + one.refused,
        })
    });
    assert!(told.accepted > 0 && told.rejected > 0 && told.refused > 0, "{told:?}");
    let metrics =
        server.until("every request has its outcome", |metrics| of(metrics, "logweir_requests_total") >= told.requests);
    assert_eq!(of(&metrics, "logweir_requests_total"), told.requests);
    // Who goes away may have been refused before.
    let gone = metrics.outcome("gone");
    let refused = metrics.outcome("refused");
    assert_eq!(gone + refused, told.unanswered + told.refused);
    assert_eq!(of(&metrics, "logweir_refusals_total"), refused);

    let (accepted, rejected) = (events(&metrics, "accepted"), events(&metrics, "rejected"));
    assert_eq!((accepted, rejected), (told.accepted, told.rejected));
    assert_eq!(of(&metrics, "logweir_rejections_total"), rejected);
    let refused = of(&metrics, "logweir_events_refused_total");
    assert_eq!(of(&metrics, "logweir_events_received_total"), accepted + rejected + refused);

    let all = accepted + rejected;
    server.until("everything is stored", |metrics| of(metrics, "logweir_object_lines_total") >= all);
    let stored = server.stop();
    assert_eq!(stored.iter().filter(|line| line.rejected).count() as u64, rejected);
    assert_eq!(stored.len() as u64, all);
}

/// A request that is cut at the end of a drain has its events in the books all the same.
#[test]
fn a_batch_that_nobody_waits_for_any_more_keeps_its_verdicts_in_the_books() {
    let server = TestServer::start(&format!("{STREAMS}\n[streams.safe]\nack = \"stored\""));
    let (admin, objects) = (server.admin, server.objects());
    // A file stands where the sink's directory must be.
    fs::write(&objects, "in the way").unwrap();
    let mut client = server.connect();
    client.send(Request::post("safe", r#"[{"a":"\u0000"},7,{}]"#).bytes());
    let verdict = |verdict: &str| format!("logweir_events_total{{stream=\"safe\",verdict=\"{verdict}\"}}");
    server.until("it is durable", |metrics| metrics.get(&verdict("accepted")) == 2);
    let stored = thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop_within(Duration::from_secs(6)));
        let metrics = until("it is abandoned", || {
            let answer = Client::connect(admin).ask(&Request::new("GET", "/metrics"));
            Some(Samples::parse(answer.text())).filter(|metrics| metrics.outcome("abandoned") == 1)
        });
        fs::remove_file(&objects).unwrap();
        assert_eq!(metrics.get(&verdict("rejected")), 1);
        assert_eq!(of(&metrics, "logweir_rejections_total"), 1);
        assert_eq!(of(&metrics, "logweir_mended_total"), 1);
        assert_eq!(of(&metrics, "logweir_events_received_total"), 3);
        stopping.join().unwrap()
    });
    client.end();
    assert_eq!(stored.len(), 3);
}
