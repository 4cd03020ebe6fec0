//! Who is let in: mutes, quotas, shares, priorities, the time target, and in which order they decide.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{Answer, Client},
    request::Request,
    server::TestServer,
};

const KEYS: &str = r#"
[[keys]]
name = "sdk"
key = "the-key-of-the-sdk-0"
[[keys]]
name = "web"
key = "the-key-of-the-web-0"
"#;

/// A disk that takes 256 KiB a second, and is known to.
const SLOW: &str = r#"
spool.max_rate = "256KiB"
pacing.capacity_floor = "256KiB"
"#;

fn cause(answer: &Answer) -> String {
    match answer.status {
        429 => answer.json()["cause"].as_str().unwrap().to_owned(),
        status => status.to_string(),
    }
}

fn post(key: &str) -> Request {
    Request::post("heard", "[{}]").header("authorization", &format!("Bearer the-key-of-the-{key}-0"))
}

#[test]
fn a_mute_silences_whom_it_names_for_hours_and_nobody_else() {
    let mutes = r#"
        [[mute]]
        key = "sdk"
        sdk = "android/2.*"
        [[mute]]
        stream = "noise"
        retry_after = "7d"
        [[mute]]
        key = "web"
        devices = 0.5"#;
    let server = TestServer::start(&format!("{KEYS}{mutes}"));
    let mut client = server.connect();
    let mut ask = |request: &Request| cause(&client.ask(request));
    assert_eq!(ask(&post("sdk").header("x-sdk-version", "android/2.3.1")), "mute");
    assert_eq!(ask(&post("sdk").header("x-sdk-version", "android/3.0.0")), "200");
    assert_eq!(ask(&post("sdk")), "200");
    let noise = Request::post("noise", "not even JSON").header("x-api-key", "the-key-of-the-sdk-0");
    let answer = client.ask(&noise);
    assert_eq!(cause(&answer), "mute", "before anything else of the request is looked at");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((302_400..=604_800).contains(&seconds), "the last half of a week: {seconds}");
    let of_device =
        |client: &mut Client, n: u32| cause(&client.ask(&post("web").header("x-device-id", &format!("device-{n}"))));
    let causes: Vec<_> = (0..200).map(|n| of_device(&mut client, n)).collect();
    let silenced = causes.iter().filter(|cause| *cause == "mute").count();
    assert!((60..140).contains(&silenced), "{silenced} of 200 devices");
    assert_eq!(causes, (0..200).map(|n| of_device(&mut client, n)).collect::<Vec<_>>(), "always the same ones");
    let refusals = server.metrics().get("logweir_refusals_total{cause=\"mute\"}");
    assert_eq!(refusals as usize, 2 + 2 * silenced);
    assert_eq!(server.metrics().get("logweir_offered_bytes_total") as usize, 4 * (2 + 2 * (200 - silenced)));
    server.stop();
}

#[test]
fn hints_stand_in_every_answer() {
    let server = TestServer::start("hints = { send_interval = '1500ms', sampling = 0.25 }");
    let mut client = server.connect();
    for request in [Request::post("heard", "[{}]"), Request::post("heard", "nonsense"), Request::post("N", "[]")] {
        let answer = client.ask(&request);
        assert_eq!(answer.header("logweir-send-interval"), Some("2"), "{answer:?}");
        assert_eq!(answer.header("logweir-sampling"), Some("0.25"), "{answer:?}");
    }
    server.stop();
    let silent = TestServer::start("");
    let answer = silent.ask(&Request::post("heard", "[{}]"));
    assert_eq!((answer.header("logweir-send-interval"), answer.header("logweir-sampling")), (None, None));
    silent.stop();
}

#[test]
fn a_quota_is_divided_by_the_fleet_and_holds_for_its_key_alone() {
    let key = "key = \"the-key-of-the-sdk-0\"\n";
    let quota = format!("{key}quota = {{ requests = 1.0, burst = '40s' }}\n");
    let text = format!("fleet.instances = 4\n{}", KEYS.replacen(key, &quota, 1));
    let server = TestServer::start(&text);
    let mut client = server.connect();
    // A quarter of a request a second, for forty seconds, and one more that overdraws it.
    let causes: Vec<_> = (0..20).map(|_| cause(&client.ask(&post("sdk")))).collect();
    assert_eq!(causes.iter().filter(|cause| *cause == "200").count(), 11, "{causes:?}");
    assert!(causes[11..].iter().all(|cause| cause == "quota"), "{causes:?}");
    let refused = client.ask(&post("sdk"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 30, "ten have taken what comes in forty seconds: {seconds}");
    assert_eq!(cause(&client.ask(&post("web"))), "200");
    server.stop();
}

#[test]
fn what_a_body_turns_out_to_hold_is_charged_afterwards() {
    for quota in ["{ bytes = '1000B', burst = '1s' }", "{ events = 10.0, burst = '1s' }"] {
        let key = "key = \"the-key-of-the-sdk-0\"\n";
        let server = TestServer::start(&KEYS.replacen(key, &format!("{key}quota = {quota}\n"), 1));
        let mut client = server.connect();
        let events = format!("[{}]", ["{\"a\":\"0123456789\"}"; 500].join(","));
        let large = post("sdk").body(&events);
        assert_eq!(cause(&client.ask(&large)), "200", "nobody knew before it came");
        let refused = client.ask(&post("sdk"));
        assert_eq!(cause(&refused), "quota", "{quota}");
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 5, "{refused:?}");
        server.stop();
    }
}

/// Posts bodies of 16 KiB to a stream on connections of its own until `until`: how many were taken, and what refused
/// the others.
fn flood(server: &TestServer, request: &Request, connections: usize, time: Duration) -> Vec<String> {
    let end = Instant::now() + time;
    thread::scope(|scope| {
        let post = || {
            let mut client = server.connect();
            let mut causes = Vec::new();
            while Instant::now() < end {
                causes.push(cause(&client.ask(request)));
            }
            causes
        };
        let senders: Vec<_> = (0..connections).map(|_| scope.spawn(post)).collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    })
}

/// Posts a request on 24 connections, each ten times a second until it is taken and then again: how many were taken of
/// those that were asked after two seconds, when what came first has been worked off.
fn patient_flood(server: &TestServer, request: &Request) -> usize {
    let began = Instant::now();
    thread::scope(|scope| {
        let post = || {
            let mut client = server.connect();
            let mut taken = 0;
            while began.elapsed() < Duration::from_secs(5) {
                let counts = began.elapsed() > Duration::from_secs(2);
                match cause(&client.ask(request)).as_str() {
                    "200" => taken += usize::from(counts),
                    _ => thread::sleep(Duration::from_millis(100)),
                }
            }
            taken
        };
        let senders: Vec<_> = (0..24).map(|_| scope.spawn(post)).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    })
}

fn body(bytes: usize) -> String {
    format!("[{{\"a\":\"{}\"}}]", "x".repeat(bytes - 10))
}

#[test]
fn under_pressure_low_is_shed_before_normal_before_high() {
    let streams = "[streams.low]\npriority = 'low'\n[streams.normal]\n[streams.high]\npriority = 'high'\n";
    let server = TestServer::start(&format!("{SLOW}{streams}"));
    let request = |stream: &str| Request::post(stream, body(16_384));
    for pair in [["low", "normal"], ["normal", "high"]] {
        let [first, last] = thread::scope(|scope| {
            let flood = |stream: &'static str| {
                let server = &server;
                scope.spawn(move || patient_flood(server, &request(stream)))
            };
            pair.map(flood).map(|sender| sender.join().unwrap())
        });
        assert!(last > 2 * first, "{pair:?}: {first} and {last}");
    }
    server.stop();
}

#[test]
fn what_is_let_in_is_done_within_the_target_and_refusals_say_why() {
    let server = TestServer::start(SLOW);
    let began = Instant::now();
    let causes = flood(&server, &Request::post("heard", body(16_384)), 64, Duration::from_secs(3));
    let taken = causes.iter().filter(|cause| *cause == "200").count();
    let backlog = causes.iter().filter(|cause| *cause == "backlog").count();
    // Where the machine is slow, the workers are late, too.
    assert!(causes.iter().all(|cause| ["200", "backlog", "cpu"].contains(&cause.as_str())), "{causes:?}");
    assert!(backlog > 0 && taken < causes.len() / 2, "{taken} taken, {backlog} refused of {}", causes.len());
    // What was let in last is done a second later, however slow the test was.
    let most = (began.elapsed().as_secs_f64() + 1.5) * 256.0 / 16.0;
    assert!((10.0..most).contains(&(taken as f64)), "{taken} of {most}");
    let metrics = server.metrics();
    assert_eq!(metrics.get("logweir_refusals_total{cause=\"backlog\"}") as usize, backlog);
    server.stop();
}

#[test]
fn a_broken_release_leaves_the_others_their_share() {
    let server = TestServer::start(SLOW);
    let by = |sdk: &str| Request::post("heard", body(8_192)).header("x-sdk-version", sdk);
    let (broken, sound) = thread::scope(|scope| {
        let broken = scope.spawn(|| flood(&server, &by("broken/1"), 48, Duration::from_secs(5)));
        let sound = scope.spawn(|| {
            let mut client = server.connect();
            let mut causes = Vec::new();
            // An eighth of what the disk takes.
            for _ in 0..20 {
                causes.push(cause(&client.ask(&by("sound/1"))));
                thread::sleep(Duration::from_millis(200));
            }
            causes
        });
        (broken.join().unwrap(), sound.join().unwrap())
    });
    let taken = |causes: &[String]| causes.iter().filter(|cause| *cause == "200").count() as f64 / causes.len() as f64;
    assert!(broken.iter().any(|cause| cause == "share"), "{broken:?}");
    assert!(taken(&broken) < 0.5, "{} of {}", taken(&broken), broken.len());
    assert!(taken(&sound[5..]) >= 0.8, "{sound:?}");
    server.stop();
}

/// No worker has a place for those who ask: nobody but the lobby can answer.
#[test]
fn health_is_answered_beside_a_flood_that_has_every_connection() {
    let server = TestServer::start(&format!("server.max_connections = 64\n{SLOW}"));
    thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&server, &Request::post("heard", body(4_096)), 64, Duration::from_secs(2)));
        server.until("every place is taken", |metrics| metrics.sum("logweir_connections") == 64);
        let mut asked = 0;
        while !flood.is_finished() {
            // Those of the flood that have ended leave places; so long as there is none, any other request is refused.
            let refused = server.ask(&Request::new("GET", "/openapi.json")).status == 429;
            for path in ["/livez", "/readyz"] {
                assert_eq!(server.ask(&Request::new("GET", path)).status, 200);
            }
            asked += usize::from(refused);
        }
        assert!(asked > 0);
        assert!(flood.join().unwrap().iter().any(|cause| cause == "backlog"));
    });
    server.stop();
}

#[test]
fn a_connection_that_asked_for_health_can_ask_for_anything_else() {
    let server = TestServer::start("");
    let mut kept = server.connect();
    for path in ["/livez", "/readyz"] {
        assert_eq!(kept.ask(&Request::new("GET", path)).status, 200);
    }
    assert_eq!(kept.ask(&Request::new("GET", "/openapi.json")).status, 200);
    assert_eq!(kept.ask(&Request::post("heard", "[{}]")).status, 200);
    assert_eq!(kept.ask(&Request::new("GET", "/livez")).status, 200);
    server.stop();
}

#[test]
fn behind_a_proxy_a_refused_body_is_read_and_the_connection_kept() {
    for behind_proxy in [false, true] {
        let server = TestServer::start(&format!("server.behind_proxy = {behind_proxy}\n[[mute]]\nstream = 'muted'"));
        let mut client = server.connect();
        let answer = client.ask(&Request::post("muted", body(500_000)));
        assert_eq!(cause(&answer), "mute");
        let closes = answer.header("connection") == Some("close");
        assert_eq!(closes, !behind_proxy, "{answer:?}");
        if behind_proxy {
            assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200, "strangers use it, too");
        }
        server.stop();
    }
}
