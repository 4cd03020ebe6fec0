//! The load: so many connections that each send the next batch when the last is answered, with bodies that differ.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, LocalOptions},
};

use crate::{
    events,
    servers::{Target, pin},
};

/// How many different bodies are sent in turn.
const BODIES: usize = 200;

/// What is sent.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) events: usize,
    pub(crate) stream: &'static str,
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
}

/// What came of it, after the warm-up.
#[derive(Default, Clone)]
pub(crate) struct Measured {
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak_bytes: u64,
    /// Latencies in milliseconds, sorted.
    latencies: Vec<f32>,
    pub(crate) metrics: HashMap<String, f64>,
}

impl Measured {
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let place = ((self.latencies.len() as f64 * share) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(place).copied().unwrap_or(0.0).into()
    }
}

impl Load {
    /// Sends from `core` and measures `target` meanwhile.
    pub(crate) fn run(&self, core: usize, target: &Target) -> Measured {
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                pin(core);
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                runtime.expect("a runtime").block_on(self.send(target))
            });
            sender.join().expect("the load ends")
        })
    }

    async fn send(&self, target: &Target) -> Measured {
        let requests: Rc<Vec<Vec<u8>>> = Rc::new((0..BODIES).map(|n| request(self.stream, n, self.events)).collect());
        let counts = Rc::new(RefCell::new(Measured::default()));
        let start = Instant::now();
        let (begin, end) = (start + self.warm_up, start + self.warm_up + self.time);
        let mut connections = Vec::new();
        for number in 0..self.connections {
            let stream = connect(self.address).await;
            let (requests, counts) = (Rc::clone(&requests), Rc::clone(&counts));
            connections.push(tokio::task::spawn_local(converse(stream, requests, number, (begin, end), counts)));
        }
        tokio::time::sleep_until(begin.into()).await;
        let (used_before, warm) = (target.cpu(), Instant::now());
        tokio::time::sleep_until(end.into()).await;
        let (cpu, time) = (target.cpu().saturating_sub(used_before), warm.elapsed());
        counts.borrow_mut().peak_bytes = target.peak_bytes();
        let metrics = target.metrics();
        for connection in connections {
            connection.await.expect("a connection ends");
        }
        let mut measured = counts.borrow().clone();
        measured.latencies.sort_by(f32::total_cmp);
        Measured { time, cpu, metrics, ..measured }
    }
}

async fn converse(
    mut stream: TcpStream,
    requests: Rc<Vec<Vec<u8>>>,
    first: usize,
    (begin, end): (Instant, Instant),
    counts: Rc<RefCell<Measured>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    for turn in first.. {
        let sent = Instant::now();
        if sent >= end {
            return;
        }
        // Whoever is told that the connection ends connects anew, which is a part of the price.
        let sending = stream.write_all(&requests[turn % BODIES]).await;
        let (status, ends) = answer(&mut stream, &mut buffer).await;
        assert!(sending.is_ok() || ends, "the request is sent");
        if ends {
            stream = connect(stream.peer_addr().expect("it was connected")).await;
        }
        let now = Instant::now();
        if sent < begin || now > end {
            continue;
        }
        let mut counts = counts.borrow_mut();
        match status {
            200 => {
                counts.requests += 1;
                counts.latencies.push((now - sent).as_secs_f32() * 1e3);
            }
            429 => counts.refused += 1,
            other => panic!("the server answers {other}"),
        }
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("the server accepts");
    stream.set_nodelay(true).expect("a socket option");
    stream
}

/// Reads an answer: its status, and whether the connection ends behind it.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> (u16, bool) {
    let mut len = 0;
    loop {
        let read = stream.read(&mut buffer[len..]).await.expect("the answer is read");
        assert!(read > 0, "the server closed the connection");
        len += read;
        let Some(head) = buffer[..len].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head]).expect("a head");
        let body: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|value| value.parse().ok())
            .expect("a length");
        if len >= head + 4 + body {
            let ends = text.lines().any(|line| line == "connection: close");
            return (text[9..12].parse().expect("a status"), ends);
        }
    }
}

/// A batch as an SDK sends it.
fn request(stream: &str, number: usize, events: usize) -> Vec<u8> {
    let body = events::body(number, events);
    let head = format!(
        "POST /v1/logs/{stream} HTTP/1.1\r\nhost: logs.example.com\r\nuser-agent: sdk/1.0\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}
