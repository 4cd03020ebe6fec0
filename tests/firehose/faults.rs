//! What the sink says of each way in which a call can fail.

use std::{
    fmt::Write,
    net::TcpListener,
    time::{Duration, Instant},
};

use logweir::{
    batch::Book,
    sink::{Failure, Fate, FirehoseSink, Left, LineSink, Outcome, Packing, Parcel, Targets},
};
use tokio::time::timeout;

use crate::{
    DELIVERY_STREAM, Log, SECRET_KEY, config,
    firehose_server::{Fault, FirehoseServer},
    lines, parcel, settings, sink, sink_at, stream, texts,
};

/// Nothing answers for longer than this where a test waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

fn left(outcome: &Outcome) -> Vec<(std::ops::Range<usize>, Fate)> {
    outcome.left.iter().map(|Left { lines, fate }| (lines.clone(), fate.clone())).collect()
}

#[tokio::test]
async fn lines_arrive_packed_in_their_order_and_with_their_line_feeds() {
    let server = FirehoseServer::start([]);
    let sink = sink(&server, Packing::Lines);
    let parcel = lines(1_200);
    let outcome = sink.deliver(&parcel).await;
    assert!(outcome.left.is_empty() && outcome.error.is_none() && outcome.after.is_none(), "{outcome:?}");
    assert_eq!(server.lines(DELIVERY_STREAM), texts(&parcel));
    let records = server.records(DELIVERY_STREAM);
    assert_eq!(records.len(), 3, "500 lines a record");
    assert!(records.iter().all(|record| record.ends_with(b"\n")));
    assert_eq!(records.concat(), parcel.range(0..parcel.lines()));
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn single_lines_arrive_a_record_each_without_their_line_feeds() {
    let server = FirehoseServer::start([]);
    let sink = sink(&server, Packing::Single);
    let parcel = lines(3);
    assert!(sink.deliver(&parcel).await.left.is_empty());
    assert_eq!(server.records(DELIVERY_STREAM), ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}"]);
}

#[tokio::test]
async fn records_that_fail_are_told_of_by_their_lines() {
    use {Failure as F, Fate::Later};
    let (slow, broken) = ("ServiceUnavailableException", "InternalFailure");
    let server = FirehoseServer::start([
        Fault::Partly(vec![(0, slow)]),
        Fault::Partly(vec![(1, broken)]),
        Fault::Partly(vec![(3, slow)]),
        Fault::Partly(vec![(0, slow), (1, slow), (3, broken)]),
        Fault::THROTTLED,
    ]);
    let sink = sink(&server, Packing::Lines);
    // Four records: 500, 500, 500 and 100 lines.
    let parcel = lines(1_600);
    for expected in [
        vec![(0..500, Later(F::Throttled))],
        vec![(500..1_000, Later(F::Server))],
        vec![(1_500..1_600, Later(F::Throttled))],
        // Neighbours of one fate are one.
        vec![(0..1_000, Later(F::Throttled)), (1_500..1_600, Later(F::Server))],
        vec![(0..1_600, Later(F::Throttled))],
    ] {
        let before = server.lines(DELIVERY_STREAM).len();
        let outcome = sink.deliver(&parcel).await;
        assert_eq!(left(&outcome), expected);
        let text = outcome.error.unwrap().to_string();
        assert!(text.contains("of 4 records were not taken"), "{text}");
        // What is not told of has arrived, and nothing else.
        let failed: usize = expected.iter().map(|(lines, _)| lines.len()).sum();
        assert_eq!(server.lines(DELIVERY_STREAM).len() - before, 1_600 - failed);
    }
}

#[tokio::test]
async fn every_failure_of_a_whole_call_is_told_exactly() {
    use {Failure as F, Fate::Later, Fate::Unknown};
    let server = FirehoseServer::start([]);
    let sink = sink(&server, Packing::Lines);
    let parcel = lines(3);
    for (fault, expected, arrive) in [
        (Fault::UNAVAILABLE, Later(F::Throttled), false),
        (Fault::Refuse(500, "ServiceUnavailableException"), Later(F::Throttled), false),
        (Fault::Refuse(400, "ThrottlingException"), Later(F::Throttled), false),
        (Fault::Refuse(400, "LimitExceededException"), Later(F::Throttled), false),
        (Fault::Refuse(400, "AccessDeniedException"), Later(F::Denied), false),
        (Fault::Refuse(400, "ExpiredTokenException"), Later(F::Denied), false),
        (Fault::Refuse(400, "UnrecognizedClientException"), Later(F::Denied), false),
        (Fault::Refuse(400, "InvalidKMSResourceException"), Later(F::Denied), false),
        (Fault::Refuse(400, "ResourceNotFoundException"), Later(F::Other), false),
        (Fault::Refuse(400, "InvalidArgumentException"), Later(F::Other), false),
        (Fault::Refuse(500, "InternalFailure"), Unknown(F::Server), false),
        (Fault::Bare(429), Later(F::Throttled), false),
        (Fault::Bare(403), Later(F::Denied), false),
        (Fault::Bare(500), Unknown(F::Server), false),
        (Fault::Bare(503), Unknown(F::Server), false),
        (Fault::TakeAndBare(504), Unknown(F::Server), true),
        (Fault::CutEarly, Unknown(F::Network), false),
        (Fault::Cut, Unknown(F::Network), false),
        (Fault::TakeAndCut, Unknown(F::Network), true),
        (Fault::TakeAndSay("{"), Unknown(F::Network), true),
        (Fault::TakeAndSay("<html>"), Unknown(F::Network), true),
        (Fault::TakeAndSay("{}"), Unknown(F::Other), true),
        (Fault::TakeAndSay("{\"FailedPutCount\":0,\"RequestResponses\":[]}"), Unknown(F::Other), true),
        (
            Fault::TakeAndSay("{\"FailedPutCount\":1,\"RequestResponses\":[{\"RecordId\":\"1\"}]}"),
            Unknown(F::Other),
            true,
        ),
    ] {
        let (before, met) = (server.lines(DELIVERY_STREAM).len(), server.calls().len());
        assert_eq!(fault.is_ambiguous(), matches!(expected, Unknown(_)), "{fault:?}");
        server.fault(fault.clone());
        let outcome = timeout(PATIENCE, sink.deliver(&parcel)).await.unwrap();
        assert_eq!(left(&outcome), [(0..3, expected)], "{fault:?}: {:?}", outcome.error);
        assert!(outcome.error.is_some(), "{fault:?}");
        assert_eq!(server.lines(DELIVERY_STREAM).len() - before, if arrive { 3 } else { 0 }, "{fault:?}");
        assert_eq!(server.calls().len() - met, 1, "{fault:?}: one call is one attempt");
    }
    assert!(sink.deliver(&parcel).await.left.is_empty(), "every failure is for the driver to try again");
}

#[tokio::test]
async fn what_cannot_be_connected_to_has_taken_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = sink_at(format!("http://{free}"), Packing::Lines);
    let outcome = sink.deliver(&lines(3)).await;
    assert_eq!(left(&outcome), [(0..3, Fate::Later(Failure::Network))], "{:?}", outcome.error);

    // A server that goes away and comes back.
    let server = FirehoseServer::start([]);
    let sink = crate::sink(&server, Packing::Lines);
    assert!(sink.deliver(&lines(3)).await.left.is_empty());
    server.refuse_connections();
    // What is in the pool may be found broken first.
    let mut outcome = sink.deliver(&lines(3)).await;
    if matches!(outcome.left[0].fate, Fate::Unknown(_)) {
        outcome = sink.deliver(&lines(3)).await;
    }
    assert_eq!(left(&outcome), [(0..3, Fate::Later(Failure::Network))], "{:?}", outcome.error);
    server.accept_connections();
    let deadline = Instant::now() + PATIENCE;
    while !sink.deliver(&lines(3)).await.left.is_empty() {
        assert!(Instant::now() < deadline, "it is found again");
    }
    assert_eq!(server.lines(DELIVERY_STREAM).len(), 6);
}

/// A listener that never accepts: the kernel does, until its queue is full; and nothing is answered.
#[tokio::test]
async fn a_connection_that_takes_too_long_to_make_has_carried_nothing() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut full = Vec::new();
    loop {
        match std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            Ok(stream) => full.push(stream),
            Err(_) => break,
        }
        assert!(full.len() < 100, "the queue is full some time");
    }
    let mut settings = settings(format!("http://{address}"), Packing::Lines);
    settings.connect_timeout = Duration::from_millis(200);
    let sink = FirehoseSink::with_config(&config(), settings).unwrap();
    let outcome = timeout(PATIENCE, sink.deliver(&lines(3))).await.unwrap();
    assert_eq!(left(&outcome), [(0..3, Fate::Later(Failure::Network))], "{:?}", outcome.error);
}

#[tokio::test]
async fn a_hanging_call_can_be_given_up_and_may_have_been_taken() {
    let server = FirehoseServer::start([Fault::Hang, Fault::TakeAndHang]);
    let sink = sink(&server, Packing::Lines);
    let parcel = lines(3);
    for arrived in [0, 3] {
        let mut call = sink.deliver(&parcel);
        let calls = server.calls().len();
        while server.calls().len() == calls {
            assert!(timeout(Duration::from_millis(20), &mut call).await.is_err(), "there is no answer");
        }
        drop(call);
        assert_eq!(server.lines(DELIVERY_STREAM).len(), arrived);
    }
    assert!(sink.deliver(&parcel).await.left.is_empty());
}

#[tokio::test]
async fn a_slow_or_late_answer_is_waited_for() {
    let server = FirehoseServer::start([Fault::Slow(100_000), Fault::Delay(Duration::from_millis(200))]);
    let sink = sink(&server, Packing::Lines);
    let parcel = lines(500);
    assert!(sink.deliver(&parcel).await.left.is_empty());
    assert!(sink.deliver(&parcel).await.left.is_empty());
    assert_eq!(server.lines(DELIVERY_STREAM).len(), 1_000);
}

#[tokio::test]
async fn a_service_that_asks_to_be_left_alone_is_heard() {
    let server = FirehoseServer::start([Fault::RefuseFor(503, "ServiceUnavailableException", 7)]);
    let outcome = sink(&server, Packing::Lines).deliver(&lines(3)).await;
    assert_eq!(outcome.after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_stream_without_a_delivery_stream_is_told_of_and_not_sent() {
    let server = FirehoseServer::start([]);
    let parcels = [
        Parcel::new(stream("heard"), Book::Rejected, "{}\n"),
        Parcel::new(stream(&"a".repeat(60)), Book::Accepted, "{}\n"),
    ];
    for parcel in parcels {
        let outcome = sink(&server, Packing::Lines).deliver(&parcel).await;
        let [Left { lines, fate: Fate::Never(reason) }] = &outcome.left[..] else { panic!("{outcome:?}") };
        assert_eq!(*lines, 0..1);
        assert!(reason.starts_with("no delivery stream takes "), "{reason}");
    }
    assert!(server.calls().is_empty());

    let mut settings = settings(server.endpoint(), Packing::Lines);
    settings.targets = Targets {
        delivery_stream: None,
        delivery_streams: [(stream("heard"), "tones".to_owned())].into(),
        rejected_stream: Some("bad-{stream}".into()),
    };
    let sink = FirehoseSink::with_config(&config(), settings).unwrap();
    assert!(sink.deliver(&parcel("{\"a\":1}\n")).await.left.is_empty());
    let rejected = Parcel::new(stream("shown"), Book::Rejected, "{\"a\":2}\n");
    assert!(sink.deliver(&rejected).await.left.is_empty());
    assert_eq!(
        (server.lines("tones"), server.lines("bad-shown")),
        (vec!["{\"a\":1}".into()], vec!["{\"a\":2}".into()])
    );
}

#[tokio::test]
async fn a_delivery_stream_that_is_missing_is_for_people_to_mend() {
    let server = FirehoseServer::start([]);
    server.know_only(&["another"]);
    let sink = sink(&server, Packing::Lines);
    let outcome = sink.deliver(&lines(3)).await;
    assert_eq!(left(&outcome), [(0..3, Fate::Later(Failure::Other))]);
    let text = outcome.error.unwrap().to_string();
    assert!(text.starts_with(&format!("delivery stream {DELIVERY_STREAM}: 400 ResourceNotFoundException: ")), "{text}");
    server.know_only(&[DELIVERY_STREAM]);
    assert!(sink.deliver(&lines(3)).await.left.is_empty());
}

#[tokio::test]
async fn neither_data_nor_secrets_are_told() {
    let (log, _guard) = Log::listen();
    let server = FirehoseServer::start([
        Fault::Partly(vec![(0, "InternalFailure")]),
        Fault::UNAVAILABLE,
        Fault::Bare(502),
        Fault::Cut,
        Fault::TakeAndSay("{"),
    ]);
    let sink = sink(&server, Packing::Lines);
    let parcel = parcel("{\"password\":\"hunter2\"}\n");
    let base64 = "eyJwYXNzd29yZCI6Imh1bnRlcjIifQ";
    let mut told = format!("{sink:?}");
    for _ in 0..6 {
        let outcome = sink.deliver(&parcel).await;
        if let Some(error) = outcome.error {
            write!(told, "{error} {error:?}").unwrap();
        }
    }
    assert_eq!((server.faults_left(), server.calls().len()), (0, 6));
    let logged = log.text();
    // The SDK tells a debug log what it does; it has to be heard for this test to mean anything.
    assert!(logged.contains("aws_"), "{logged}");
    for secret in [SECRET_KEY, "hunter2", base64] {
        assert!(!told.contains(secret), "{told}");
        assert!(!logged.contains(secret), "{logged}");
    }
}

#[tokio::test]
async fn a_call_is_signed_and_says_who_calls() {
    let server = FirehoseServer::start([]);
    assert!(sink(&server, Packing::Lines).deliver(&lines(1)).await.left.is_empty());
    let [authorization, content_type, user_agent] = server.calls().remove(0).headers;
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIALOGWEIRTESTS/"), "{authorization}");
    assert!(authorization.contains("/us-east-1/firehose/aws4_request"), "{authorization}");
    assert_eq!(content_type, "application/x-amz-json-1.1");
    assert!(user_agent.starts_with("aws-sdk-rust/"), "{user_agent}");
}
