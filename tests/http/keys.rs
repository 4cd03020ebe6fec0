//! Who may send what, and what a browser may know about it.

use crate::{
    request::Request,
    server::{TestServer, log},
};

const SDK: &str = "a-key-of-the-sdk-0123456789";
const WEB: &str = "a-key/of+the=web-0123456789";
const WEB_IN_A_QUERY: &str = "a-key%2Fof%2bthe=web-0123456789";

fn server() -> TestServer {
    let keys = format!(
        "[[keys]]\nname = 'sdk'\nkey = '{SDK}'\nstreams = ['heard', 'seen']\n\
         [[keys]]\nname = 'web'\nkey = '{WEB}'\nbrowser = true"
    );
    TestServer::start(&keys)
}

fn batch(query: &str) -> Request {
    Request::post(&format!("heard{query}"), "[{}]")
}

#[test]
fn a_key_is_taken_from_three_places() {
    let server = server();
    let mut client = server.connect();
    for request in [
        batch("").header("Authorization", &format!("Bearer {SDK}")),
        batch("").header("authorization", &format!("bearer   {SDK}")),
        batch("").header("X-Api-Key", SDK),
        batch("").header("x-api-key", WEB),
        batch(&format!("?key={WEB_IN_A_QUERY}")),
        batch(&format!("?v=1&key={WEB_IN_A_QUERY}&w")),
        // A scheme that is none of ours does not stand before a key.
        batch(&format!("?key={WEB_IN_A_QUERY}")).header("Authorization", "Basic eDp5"),
    ] {
        assert_eq!(client.ask(&request).status, 200, "{request:?}");
    }
    assert_eq!(server.stop().len(), 7);
}

#[test]
fn a_request_without_its_key_is_told_which_is_missing_wrong_or_misplaced() {
    let server = server();
    let mut client = server.connect();
    let wrong = "a-wrong-key-0123456789";
    for (request, status, problem) in [
        (batch(""), 401, "missing-key"),
        (batch("?k=1"), 401, "missing-key"),
        (batch("").header("X-Api-Key", ""), 401, "missing-key"),
        (batch("").header("Authorization", "Bearer"), 401, "missing-key"),
        (batch("").header("X-Api-Key", wrong), 401, "unknown-key"),
        (batch("").header("X-Api-Key", &SDK[1..]), 401, "unknown-key"),
        (batch("").header("X-Api-Key", &SDK.to_uppercase()), 401, "unknown-key"),
        (batch("").header("Authorization", &format!("Bearer {wrong}")), 401, "unknown-key"),
        (batch(&format!("?key={wrong}")), 401, "unknown-key"),
        (batch(&format!("?key={SDK}")), 403, "key-not-for-query"),
        (Request::post("other", "[{}]").header("X-Api-Key", SDK), 403, "stream-not-allowed"),
        // Whoever has no key learns nothing about streams.
        (Request::post("No-Stream", "[{}]"), 401, "missing-key"),
    ] {
        let answer = client.ask(&request);
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{request:?}");
        assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"), "{request:?}");
    }
    let metrics = server.metrics();
    for (outcome, count) in
        [("missing_key", 5), ("unknown_key", 5), ("key_not_for_query", 1), ("stream_not_allowed", 1)]
    {
        assert_eq!(metrics.outcome(outcome), count, "{outcome}");
    }
    assert!(server.stop().is_empty());
    let log = log();
    assert!([SDK, WEB, WEB_IN_A_QUERY, wrong].iter().all(|key| !log.contains(key)), "a key is in the log");
}

#[test]
fn a_page_of_any_origin_may_send_and_read_the_answer() {
    let server = server();
    let mut client = server.connect();
    let origin = "https://example.com";
    let asks = Request::new("OPTIONS", "/v1/logs/heard").header("Origin", origin);
    let answer = client.ask(&asks.header("Access-Control-Request-Method", "POST"));
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    let allowed = answer.header("access-control-allow-headers").unwrap();
    for name in ["content-type", "content-encoding", "x-api-key", "authorization", "idempotency-key", "x-sent-at"] {
        assert!(allowed.split(", ").any(|allowed| allowed == name), "{name} in {allowed}");
    }
    for (request, status) in [
        (batch(&format!("?key={WEB_IN_A_QUERY}")), 200),
        (batch("?key=wrong"), 401),
        (Request::post(&format!("heard?key={WEB_IN_A_QUERY}"), "["), 400),
        // What the preflight allows must be readable too, or the page takes a success for a failure and sends again.
        (batch("").header("X-Api-Key", WEB), 200),
        (batch("").header("Authorization", &format!("Bearer {WEB}")), 200),
        (batch(""), 401),
    ] {
        let answer = client.ask(&request.clone().header("Origin", origin));
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, Some("*")), "{request:?}");
        assert_eq!(
            answer.header("access-control-expose-headers"),
            Some("retry-after, logweir-send-interval, logweir-sampling"),
            "{request:?}"
        );
    }
}

#[test]
fn without_browser_keys_pages_are_not_spoken_to() {
    let server = TestServer::start(&format!("[[keys]]\nname = 'sdk'\nkey = '{SDK}'"));
    let mut client = server.connect();
    let asks = Request::new("OPTIONS", "/v1/logs/heard").header("Origin", "https://example.com");
    let answer = client.ask(&asks);
    assert_eq!((answer.status, answer.problem().as_str()), (405, "method-not-allowed"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = client.ask(&batch("").header("Origin", "https://example.com").header("X-Api-Key", SDK));
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
}
