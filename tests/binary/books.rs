//! The books balance when the disk fails (P3): what nobody waited for is counted like everything else.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use socket2::SockRef;

use crate::{
    client::{Client, get},
    process::{END, Place, Server},
};

/// The streams: one whose batches nobody waits for, and one whose clients wait for the disk.
const STREAMS: [&str; 2] = ["quick", "usual"];
/// Three events, of which one is rejected.
const BATCH: &str = r#"[{"a":1},{"a":2},7]"#;
/// Batches for each stream and way of sending, while it fails.
const BATCHES: usize = 8;

/// Every series and its value.
type Samples = BTreeMap<String, u64>;

fn samples(server: &Server) -> Samples {
    let text = get(server.admin, "/metrics").text();
    let lines = text.lines().filter(|line| line.starts_with("logweir_") && !line.contains("_bucket"));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.into(), value.parse().ok()?)))
        .collect()
}

/// The sum of the series of `name` that belong to `stream`.
fn of(samples: &Samples, name: &str, stream: &str) -> u64 {
    let stream = format!("stream=\"{stream}\"");
    samples.iter().filter(|(series, _)| series.starts_with(name) && series.contains(&stream)).map(|(_, n)| n).sum()
}

/// Whether every event that was received has become one thing, and every rejection has its reason.
fn balanced(samples: &Samples) -> bool {
    STREAMS.iter().all(|stream| {
        let verdict =
            |verdict: &str| samples.get(&format!("logweir_events_total{{stream=\"{stream}\",verdict=\"{verdict}\"}}"));
        let (accepted, rejected) = (verdict("accepted").unwrap_or(&0), verdict("rejected").unwrap_or(&0));
        let refused = of(samples, "logweir_events_refused_total", stream);
        of(samples, "logweir_events_received_total", stream) == accepted + rejected + refused
            && of(samples, "logweir_rejections_total", stream) == *rejected
    })
}

/// Lets the process write files up to this length, or as long as it likes.
fn limit_files(server: &Server, length: Option<u64>) {
    let id = Pid::from_raw(server.id().cast_signed()).unwrap();
    prlimit(Some(id), Resource::Fsize, Rlimit { current: length, maximum: None }).unwrap();
}

fn until(what: &str, server: &Server, wanted: impl Fn() -> bool) {
    let deadline = Instant::now() + END;
    while !wanted() {
        assert!(Instant::now() < deadline, "waited in vain until {what}: {:#?}", samples(server));
        sleep(Duration::from_millis(10));
    }
}

/// Sends a batch and resets the connection, or reads the answer.
fn send(address: SocketAddr, stream: &str, abandon: bool) {
    let request = format!(
        "POST /v1/logs/{stream} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BATCH}",
        BATCH.len()
    );
    if abandon {
        let mut connection = TcpStream::connect(address).unwrap();
        SockRef::from(&connection).set_linger(Some(Duration::ZERO)).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        // Long enough for the request to be read, mostly: either way the books must balance.
        sleep(Duration::from_millis(1));
    } else {
        let answer = Client::connect(address).unwrap().post_json(stream, &serde_json::from_str(BATCH).unwrap());
        assert!(matches!(answer.unwrap().status, 200 | 429 | 503));
    }
}

#[test]
fn the_books_balance_when_the_disk_fails_and_nobody_waits() {
    let place = Place::new();
    let mut command = Command::new("/bin/sh");
    place.prepare(&mut command);
    // A file beyond its limit is then an error, as a disk's, and not the end of the process.
    command.args(["-c", "trap '' XFSZ; exec \"$0\"", env!("CARGO_BIN_EXE_logweir")]);
    command.env("LOGWEIR__STREAMS__QUICK__ACK", "memory").env("LOGWEIR__SPOOL__SEAL_AFTER", "1h");
    let server = Server::start(command);
    for stream in STREAMS {
        send(server.address, stream, false);
    }
    limit_files(&server, Some(1));
    // The first that meet the failing disk have been taken; those behind them are refused before they are read.
    for stream in STREAMS {
        for batch in 0..BATCHES {
            send(server.address, stream, batch % 2 == 0);
        }
    }
    until("the books balance", &server, || balanced(&samples(&server)));
    let last = samples(&server);
    assert!(of(&last, "logweir_events_refused_total", "quick") > 0, "nothing was lost: {last:#?}");
    limit_files(&server, None);
    server.stop();
}
