//! A device's world made of promises: a clock that goes when it is told to, and a network that answers as it is told.
//!
//! Nothing here waits for real time. A test looks when the client is idle: all that follows from what was told has happened
//! then, and what has not will not.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use logweir::{
    batch::{Millis, StreamName},
    client::{BoxFuture, Client, Clock, NoAnswer, Settings, Transport},
};
use tokio::{sync::watch, task};

/// How long the client may take in real time until it is idle.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a task that is ready has its turn before it is looked whether the clock was read.
const TURNS: usize = 16;
/// What the wall clock shows at the start: 2026-11-22T09:00:00Z.
pub(crate) const START: i64 = 1_795_338_000_000;

/// Runs a test in such a world: on one thread, with one other for the disk, so that both can be seen to have nothing to do.
pub(crate) fn told(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(test);
}

pub(crate) fn heard() -> StreamName {
    StreamName::new("heard").unwrap()
}

/// A clock that goes when it is told to, and counts who reads it: whatever a client does, it reads the clock.
#[derive(Debug)]
pub(crate) struct ToldClock {
    now: watch::Sender<Duration>,
    reads: AtomicU64,
}

impl ToldClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { now: watch::channel(Duration::ZERO).0, reads: AtomicU64::new(0) })
    }

    /// Goes on by `time`, and by nothing more than that.
    pub(crate) fn advance(&self, time: Duration) {
        self.now.send_modify(|now| *now += time);
    }

    /// Waits until nobody does anything but wait for this clock, or for the test.
    pub(crate) async fn idle(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut quiet = 0;
        while quiet < 2 {
            assert!(Instant::now() < deadline, "something is still done after {PATIENCE:?}");
            let before = self.reads.load(Ordering::Relaxed);
            // The disk's only thread takes what it is given in turn: all that was given to it before is done then.
            task::spawn_blocking(|| ()).await.unwrap();
            for _ in 0..TURNS {
                task::yield_now().await;
            }
            quiet = if self.reads.load(Ordering::Relaxed) == before { quiet + 1 } else { 0 };
        }
    }
}

impl Clock for ToldClock {
    fn uptime(&self) -> Duration {
        self.reads.fetch_add(1, Ordering::Relaxed);
        *self.now.borrow()
    }

    fn wall(&self) -> Millis {
        Millis::new(START + self.uptime().as_millis() as i64).unwrap()
    }

    fn sleep_until(&self, uptime: Duration) -> BoxFuture<'_, ()> {
        let mut now = self.now.subscribe();
        Box::pin(async move { drop(now.wait_for(|now| *now >= uptime).await) })
    }
}

/// A request that came.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) request: Request<Bytes>,
}

impl Came {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.request.headers()[name].to_str().unwrap()
    }

    /// The envelope.
    pub(crate) fn envelope(&self) -> serde_json::Value {
        serde_json::from_reader(flate2::read::GzDecoder::new(&self.request.body()[..])).unwrap()
    }

    pub(crate) fn batch_id(&self) -> String {
        self.envelope()["batch_id"].as_str().unwrap().to_owned()
    }
}

/// What becomes of a request.
#[derive(Debug)]
enum Told {
    Answer(Response<Bytes>),
    /// There is no answer, and the client is told so.
    Nothing,
    /// Nobody ever tells the client anything.
    Silence,
}

/// A network that answers as it is told, and 200 when it is told nothing.
#[derive(Debug)]
pub(crate) struct ToldNetwork {
    pub(crate) came: Mutex<Vec<Came>>,
    answers: Mutex<VecDeque<Told>>,
}

impl ToldNetwork {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { came: Mutex::default(), answers: Mutex::default() })
    }

    /// The next request that nothing is told for gets this answer.
    pub(crate) fn tell(&self, status: u16, headers: &[(&str, &str)], body: &'static str) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Bytes::from_static(body.as_bytes())).unwrap();
        self.answers.lock().unwrap().push_back(Told::Answer(response));
    }

    /// The next request that nothing is told for gets no answer.
    pub(crate) fn tell_nothing(&self) {
        self.answers.lock().unwrap().push_back(Told::Nothing);
    }

    /// The next request that nothing is told for waits for ever.
    pub(crate) fn keep_silent(&self) {
        self.answers.lock().unwrap().push_back(Told::Silence);
    }

    pub(crate) fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }
}

impl Transport for ToldNetwork {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, NoAnswer>> {
        self.came.lock().unwrap().push(Came { request });
        let told = self.answers.lock().unwrap().pop_front();
        Box::pin(async {
            match told {
                None => Ok(Response::new(Bytes::new())),
                Some(Told::Answer(response)) => Ok(response),
                Some(Told::Nothing) => Err(NoAnswer::TimedOut),
                Some(Told::Silence) => std::future::pending().await,
            }
        })
    }
}

/// A client in such a world, which runs until this is dropped.
pub(crate) struct Device {
    pub(crate) client: Arc<Client>,
    pub(crate) clock: Arc<ToldClock>,
    pub(crate) network: Arc<ToldNetwork>,
    running: task::JoinHandle<()>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Device {
    pub(crate) fn start(settings: Settings) -> Self {
        let clock = ToldClock::new();
        Self::start_in(settings, clock, ToldNetwork::new())
    }

    pub(crate) fn start_in(settings: Settings, clock: Arc<ToldClock>, network: Arc<ToldNetwork>) -> Self {
        let client = Arc::new(Client::with(settings, Arc::clone(&network) as _, Arc::clone(&clock) as _).unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let runner = Arc::clone(&client);
        let running = tokio::spawn(async move { runner.run(async { drop(stopped.await) }).await });
        Self { client, clock, network, running, stop: Some(stop) }
    }

    /// Logs `count` events, which become a batch each: see [`each_event_a_batch`].
    pub(crate) fn log(&self, count: usize) {
        (0..count).for_each(|n| self.client.log(&heard(), &serde_json::json!({ "n": n })));
    }

    /// Goes on by `time`, when all has happened that happens before.
    pub(crate) async fn advance(&self, time: Duration) {
        self.clock.idle().await;
        self.clock.advance(time);
    }

    /// Lets happen what happens by now, and sees that `count` requests came in all.
    pub(crate) async fn until_count(&self, count: usize) {
        self.clock.idle().await;
        assert_eq!(self.network.count(), count);
    }

    /// Ends `run`.
    pub(crate) async fn stop(mut self) -> (Arc<Client>, Arc<ToldClock>, Arc<ToldNetwork>) {
        drop(self.stop.take());
        self.running.await.unwrap();
        (self.client, self.clock, self.network)
    }
}

/// Settings by which each event is a batch.
pub(crate) fn each_event_a_batch() -> Settings {
    let mut settings = Settings::new("http://nobody.test");
    settings.batch.events = 1;
    settings
}
