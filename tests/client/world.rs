//! A device's world made of promises: a clock that goes when it is told to, and a network that answers as it is told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use logweir::{
    batch::{Millis, StreamName},
    client::{BoxFuture, Client, Clock, NoAnswer, Settings, Transport},
};
use tokio::sync::watch;

/// How long anything may take in real time that must happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a test looks at what must not happen, in real time.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);
/// What the wall clock shows at the start: 2026-11-22T09:00:00Z.
pub(crate) const START: i64 = 1_795_338_000_000;

/// Waits in real time until `look` is true.
pub(crate) async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn heard() -> StreamName {
    StreamName::new("heard").unwrap()
}

/// A clock that goes when it is told to.
#[derive(Debug)]
pub(crate) struct ToldClock(watch::Sender<Duration>);

impl ToldClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::channel(Duration::ZERO).0))
    }

    pub(crate) fn advance(&self, time: Duration) {
        self.0.send_modify(|now| *now += time);
    }
}

impl Clock for ToldClock {
    fn uptime(&self) -> Duration {
        *self.0.borrow()
    }

    fn wall(&self) -> Millis {
        Millis::new(START + self.uptime().as_millis() as i64).unwrap()
    }

    fn sleep_until(&self, uptime: Duration) -> BoxFuture<'_, ()> {
        let mut now = self.0.subscribe();
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

/// A network that answers as it is told, and 200 when it is told nothing.
#[derive(Debug)]
pub(crate) struct ToldNetwork {
    pub(crate) came: Mutex<Vec<Came>>,
    /// None is no answer.
    answers: Mutex<VecDeque<Option<Response<Bytes>>>>,
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
        self.answers.lock().unwrap().push_back(Some(response));
    }

    /// The next request that nothing is told for gets no answer.
    pub(crate) fn tell_nothing(&self) {
        self.answers.lock().unwrap().push_back(None);
    }

    pub(crate) fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    /// Waits until `count` requests came, and sees that no more come.
    pub(crate) async fn until_count(&self, count: usize) {
        until(&format!("{count} requests"), || self.count() >= count).await;
        tokio::time::sleep(GLANCE).await;
        assert_eq!(self.count(), count);
    }
}

impl Transport for ToldNetwork {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, NoAnswer>> {
        self.came.lock().unwrap().push(Came { request });
        let told = self.answers.lock().unwrap().pop_front();
        let answer = told.unwrap_or_else(|| Some(Response::new(Bytes::new())));
        Box::pin(async { answer.ok_or(NoAnswer::TimedOut) })
    }
}

/// A client in such a world, which runs until this is dropped.
pub(crate) struct Device {
    pub(crate) client: Arc<Client>,
    pub(crate) clock: Arc<ToldClock>,
    pub(crate) network: Arc<ToldNetwork>,
    running: tokio::task::JoinHandle<()>,
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

    /// Goes on by `time`, and by nothing more than that.
    pub(crate) async fn advance(&self, time: Duration) {
        // What is ready to wait begins to wait before the clock goes on.
        tokio::time::sleep(GLANCE).await;
        self.clock.advance(time);
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
