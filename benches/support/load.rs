//! The load: so many connections that each send the next batch when the last is answered, or that send batches as they
//! come, with bodies of which no two are alike.

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
    arrivals::Arrivals,
    events::Bodies,
    servers::{Cores, Target, own_cpu, pin},
};

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
    /// Those answered 200.
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) time: Duration,
    /// What the server used meanwhile.
    pub(crate) cpu: Duration,
    /// What the load used meanwhile.
    pub(crate) load_cpu: Duration,
    /// What the server had used when the first request was sent.
    pub(crate) cpu_before: Duration,
    /// The numbers of the bodies answered 200, from the first request on to the last.
    pub(crate) taken: Vec<u64>,
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
    /// Sends from `cores` and measures `target` meanwhile.
    pub(crate) fn run(&self, cores: impl Into<Cores>, target: &Target) -> Measured {
        self.play(None, cores.into(), target)
    }

    /// The same with batches that come by chance, so many a second, whatever has been answered. Latencies are counted from
    /// when a batch came, also if it had to wait for a connection.
    pub(crate) fn run_at(&self, rate: f64, cores: impl Into<Cores>, target: &Target) -> Measured {
        self.play(Some(rate), cores.into(), target)
    }

    fn play(&self, rate: Option<f64>, cores: Cores, target: &Target) -> Measured {
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                pin(cores);
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                runtime.expect("a runtime").block_on(self.send(rate, target))
            });
            sender.join().expect("the load ends")
        })
    }

    async fn send(&self, rate: Option<f64>, target: &Target) -> Measured {
        let requests = Rc::new(Requests::new(self.stream, self.events));
        let counts = Rc::new(RefCell::new(Measured::default()));
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            streams.push(connect(self.address).await);
        }
        let (cpu_before, start) = (target.cpu(), Instant::now());
        let (begin, end) = (start + self.warm_up, start + self.warm_up + self.time);
        let arrivals = rate.map_or(Arrivals::InTurn { end }, |rate| Arrivals::by_chance(rate, (start, end)));
        let mut connections = Vec::new();
        for (number, stream) in streams.into_iter().enumerate() {
            let (requests, arrivals, counts) = (Rc::clone(&requests), arrivals.clone(), Rc::clone(&counts));
            let random = fastrand::Rng::with_seed(number as u64);
            connections.push(tokio::task::spawn_local(converse(stream, requests, (random, arrivals), begin, counts)));
        }
        tokio::time::sleep_until(begin.into()).await;
        let (used_before, load_before, warm) = (target.cpu(), own_cpu(), Instant::now());
        tokio::time::sleep_until(end.into()).await;
        let (cpu, time) = (target.cpu().saturating_sub(used_before), warm.elapsed());
        let load_cpu = own_cpu().saturating_sub(load_before);
        counts.borrow_mut().peak_bytes = target.peak_bytes();
        let metrics = target.metrics();
        for connection in connections {
            connection.await.expect("a connection ends");
        }
        let mut measured = counts.take();
        measured.latencies.sort_by(f32::total_cmp);
        Measured { time, cpu, load_cpu, cpu_before, metrics, ..measured }
    }
}

async fn converse(
    mut stream: TcpStream,
    requests: Rc<Requests>,
    (mut random, arrivals): (fastrand::Rng, Arrivals),
    begin: Instant,
    counts: Rc<RefCell<Measured>>,
) {
    let (mut request, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let number = random.u64(..);
        requests.write(number, &mut request);
        let Some(due) = arrivals.next().await else { return };
        // Whoever is told that the connection ends connects anew, which is a part of the price.
        let sending = stream.write_all(&request).await;
        let (status, ends) = answer(&mut stream, &mut buffer).await;
        assert!(sending.is_ok() || ends, "the request is sent");
        if ends {
            stream = connect(stream.peer_addr().expect("it was connected")).await;
        }
        let now = Instant::now();
        let mut counts = counts.borrow_mut();
        if status == 200 {
            counts.taken.push(number);
        }
        if due < begin || !arrivals.counts(now) {
            continue;
        }
        match status {
            200 => {
                counts.requests += 1;
                counts.latencies.push((now - due).as_secs_f32() * 1e3);
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
        let header = |name: &str| {
            let mut headers = text.lines().filter_map(|line| line.split_once(": "));
            headers.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
        };
        let body: usize = header("content-length").and_then(|value| value.parse().ok()).expect("a length");
        if len >= head + 4 + body {
            return (text[9..12].parse().expect("a status"), header("connection") == Some("close"));
        }
    }
}

/// Requests as an SDK sends them.
struct Requests {
    head: Vec<u8>,
    bodies: Bodies,
}

impl Requests {
    fn new(stream: &str, events: usize) -> Self {
        let bodies = Bodies::new(events);
        let head = format!(
            "POST /v1/logs/{stream} HTTP/1.1\r\nhost: logs.example.com\r\nuser-agent: sdk/1.0\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            bodies.len()
        );
        Self { head: head.into_bytes(), bodies }
    }

    /// Makes `request` the one with this number.
    fn write(&self, number: u64, request: &mut Vec<u8>) {
        request.clear();
        request.extend_from_slice(&self.head);
        self.bodies.write(number, request);
    }
}
