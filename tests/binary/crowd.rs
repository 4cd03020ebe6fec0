//! Clients that send all the time and forgive nothing: what each waited at the most, and every error.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use crate::{client::Client, tracer::Book};

/// How long a client pauses between two requests.
const PAUSE: Duration = Duration::from_millis(2);

/// What clients have seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) book: Book,
    /// Requests sent, and how many of them were answered 429.
    pub(crate) requests: usize,
    pub(crate) refused: usize,
    /// The longest time from connecting, or sending, to an answer.
    pub(crate) worst: Duration,
    /// What else came than an answer of 200 or 429.
    pub(crate) errors: Vec<String>,
}

/// Clients that run.
pub(crate) struct Crowd {
    clients: Vec<JoinHandle<Seen>>,
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Crowd {
    /// Starts `kept` clients that keep their connections until they are told that these are closed, and `anew` that make
    /// one for each request.
    pub(crate) fn start(address: SocketAddr, kept: usize, anew: usize, name: &str) -> Self {
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |number: usize| {
            let (name, over, answered) = (format!("{name}-{number}"), Arc::clone(&over), Arc::clone(&answered));
            let send = move || send(address, &name, number < kept, (&over, &answered));
            thread::Builder::new().name("crowd".into()).spawn(send).unwrap()
        };
        let clients = (0..kept + anew).map(client).collect();
        Self { clients, over, answered }
    }

    /// Waits until `more` requests have been answered from now on.
    pub(crate) fn wait_for(&self, more: usize) {
        let (most, deadline) = (self.answered.load(Ordering::Relaxed) + more, Instant::now() + Duration::from_mins(1));
        while self.answered.load(Ordering::Relaxed) < most {
            assert!(Instant::now() < deadline, "nobody is answered any more");
            sleep(PAUSE);
        }
    }

    /// Ends them behind their next answers.
    pub(crate) fn end(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for client in self.clients {
            let seen = client.join().unwrap();
            all.book.merge(seen.book);
            all.requests += seen.requests;
            all.refused += seen.refused;
            all.worst = all.worst.max(seen.worst);
            all.errors.extend(seen.errors);
        }
        all
    }
}

fn send(address: SocketAddr, name: &str, keep: bool, (over, answered): (&AtomicBool, &AtomicUsize)) -> Seen {
    let (mut seen, mut kept) = (Seen::default(), None);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let reused = kept.is_some();
        let connected = kept.take().map_or_else(|| Client::connect(address), Ok);
        let mut client = match connected {
            Ok(client) => client,
            Err(error) => {
                seen.errors.push(format!("connecting: {error}"));
                continue;
            }
        };
        seen.requests += 1;
        let batch = format!("{name}-{}", seen.requests);
        match seen.book.ask(&mut client, &batch, 3) {
            Ok(answer) if [200, 429].contains(&answer.status) => {
                answered.fetch_add(1, Ordering::Relaxed);
                seen.refused += usize::from(answer.status == 429);
                if keep && answer.header("connection") != Some("close") {
                    kept = Some(client);
                }
            }
            Ok(answer) => seen.errors.push(format!("answer {}", answer.status)),
            Err(error) => seen.errors.push(format!("{} connection: {error}", if reused { "kept" } else { "new" })),
        }
        seen.worst = seen.worst.max(began.elapsed());
        sleep(PAUSE);
    }
    seen
}
