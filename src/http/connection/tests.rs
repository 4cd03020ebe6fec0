use std::net::{Ipv4Addr, TcpListener};

use bytes::Bytes;
use http::Response;
use http_body_util::{Either, Full};
use tokio::task::yield_now;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
/// More turns than a connection needs to notice anything.
const TURNS: usize = 50;

/// What a client does on a connection, before which nothing was sent, and what tells the connection to end.
async fn served(client: impl AsyncFnOnce(&mut tokio::net::TcpStream, &Draining)) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    let health = Arc::<Health>::default();
    health.give_way(true);
    let draining = Draining::new(health);
    let limits = ConnectionLimits {
        most: 1,
        head_bytes: 8_192,
        head_timeout: Duration::from_mins(1),
        idle_timeout: Duration::from_mins(1),
    };
    let (strain, metrics) = (Strain::new(Arc::default()), Metrics::new().unwrap());
    let answer = async |_| Response::new(Either::Left(Full::from(Bytes::from_static(b"ok"))));
    let serving = serve(server, answer, &limits, &draining, (&strain, &metrics));
    // In this order at each turn: what the client does is there before the runtime has heard of it.
    futures_util::future::join(client(&mut stream, &draining), serving).await;
}

async fn turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

/// What comes until the end of the connection.
async fn rest(stream: &mut tokio::net::TcpStream) -> String {
    let mut text = String::new();
    let mut piece = [0; 1_024];
    loop {
        match timeout(Duration::from_mins(1), stream.read(&mut piece)).await.unwrap().unwrap() {
            0 => return text,
            read => text += std::str::from_utf8(&piece[..read]).unwrap(),
        }
    }
}

fn is_last_answer(text: &str) -> bool {
    text.starts_with("HTTP/1.1 200 OK") && text.contains("connection: close") && text.ends_with("ok")
}

#[tokio::test]
async fn a_connection_that_was_made_a_moment_ago_may_still_say_something() {
    served(async |stream, draining| {
        turns().await;
        draining.begin();
        turns().await;
        stream.write_all(REQUEST).await.unwrap();
        let text = rest(stream).await;
        assert!(is_last_answer(&text), "{text}");
    })
    .await;
}

#[tokio::test]
async fn one_that_says_nothing_is_closed_soon() {
    let began = Instant::now();
    served(async |stream, draining| {
        draining.begin();
        assert_eq!(rest(stream).await, "");
    })
    .await;
    assert!(began.elapsed() >= FIRST_BYTE);
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered() {
    served(async |stream, draining| {
        let (one, other) = REQUEST.split_at(10);
        stream.write_all(one).await.unwrap();
        turns().await;
        draining.begin();
        turns().await;
        sleep_until(Instant::now() + 2 * FIRST_BYTE).await;
        stream.write_all(other).await.unwrap();
        let text = rest(stream).await;
        assert!(is_last_answer(&text), "{text}");
    })
    .await;
}

#[tokio::test]
async fn one_that_is_kept_is_closed_unless_something_has_come_that_was_not_read_yet() {
    for sends in [false, true] {
        served(async |stream, draining| {
            // A client of a server that does not drain yet.
            if let Some(health) = &draining.health {
                health.give_way(false);
            }
            stream.write_all(REQUEST).await.unwrap();
            let mut first = [0; 256];
            let len = stream.read(&mut first).await.unwrap();
            assert!(!std::str::from_utf8(&first[..len]).unwrap().contains("connection: close"));
            turns().await;
            if let Some(health) = &draining.health {
                health.give_way(true);
            }
            // In one go: the connection's task has no turn between the two.
            if sends {
                assert_eq!(stream.try_write(REQUEST).unwrap(), REQUEST.len());
            }
            draining.begin();
            let text = rest(stream).await;
            assert_eq!((is_last_answer(&text), text.is_empty()), (sends, !sends), "{text}");
        })
        .await;
    }
}
