//! The client against whole servers in this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request as HttpRequest, Response};
use logweir::{
    batch::Millis,
    client::{
        BoxFuture, Client, Clock, Counts, HttpTransport, NoAnswer, Roots, Settings, SystemClock, Tally, Timeouts,
        Transport,
    },
};
use serde_json::json;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use crate::{
    client::until,
    copy_rules::Schemas,
    fault_proxy::{FaultProxy, Weather},
    request::Request,
    server::TestServer,
    stored::{Stored, read_objects},
    world::heard,
};

/// A budget that five bodies hold.
const SMALL_BUDGET: &str = r#"
limits = { encoded_body = "64KiB", decoded_body = "128KiB", output = "128KiB", event = "16KiB", context = "1KiB" }
queue = { bytes = "320KiB" }
streams = { heard = { priority = "high" } }
"#;
const BUDGET_BYTES: u64 = 5 * 64 * 1024;

/// How much faster a [`FastClock`] goes.
const HASTE: u32 = 20;

/// The clocks of a device whose uptime goes fast, so that a wait of the back-off, whose length is chance, does not outlast a
/// test's patience.
#[derive(Debug)]
struct FastClock(SystemClock);

impl Clock for FastClock {
    fn uptime(&self) -> Duration {
        self.0.uptime() * HASTE
    }

    fn wall(&self) -> Millis {
        self.0.wall()
    }

    fn sleep_until(&self, uptime: Duration) -> BoxFuture<'_, ()> {
        // A part of a nanosecond more, or it might be awake a little too early again and again.
        self.0.sleep_until(uptime / HASTE + Duration::from_nanos(1))
    }
}

/// A client that runs on threads of its own.
struct Running {
    runtime: Runtime,
    client: Arc<Client>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(client: Client) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = Arc::new(client);
        let (stop, stopped) = oneshot::channel();
        let runner = Arc::clone(&client);
        let task = runtime.spawn(async move { runner.run(async { drop(stopped.await) }).await });
        Self { runtime, client, stop, task }
    }

    fn log(&self, numbers: std::ops::Range<u32>) {
        numbers.for_each(|n| self.client.log(&heard(), &json!({ "n": n })));
    }

    fn until(&self, what: &str, wanted: impl Fn(&Counts) -> bool) -> Counts {
        until(what, || Some(self.client.counts()).filter(&wanted))
    }

    /// Ends `run`, and tells what is left.
    fn stop(self) -> Tally {
        let Self { runtime, client, stop, task } = self;
        drop(stop);
        runtime.block_on(task).unwrap();
        client.waiting()
    }
}

/// Five events a batch, closed soon.
fn settings(server: &str) -> Settings {
    let mut settings = Settings::new(server);
    settings.batch.events = 5;
    settings.batch.age = Duration::from_millis(50);
    settings.device_id = Some("device-7".into());
    settings.sdk_version = Some("reference/1.0.0".into());
    settings.context.insert("os".into(), "test".into());
    settings.timeouts.answer = Duration::from_secs(5);
    settings
}

/// The event ids under which each number is stored, and how many lines there are.
fn ids(stored: &[Stored]) -> (BTreeMap<u64, BTreeSet<String>>, usize) {
    let mut ids = BTreeMap::<u64, BTreeSet<String>>::new();
    for line in stored {
        assert!(!line.rejected && line.stream == "heard");
        assert_eq!(line.get("os"), "test");
        let id = line.get("event_id").as_str().unwrap().to_owned();
        ids.entry(line.get("n").as_u64().unwrap()).or_default().insert(id);
    }
    (ids, stored.len())
}

/// Each of the numbers below `count` is stored, under one id, which no other has.
fn assert_each_once(stored: &[Stored], count: u64) {
    let (ids, lines) = ids(stored);
    assert_eq!(ids.keys().copied().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>(), "of {lines} lines");
    let of_two = ids.iter().find(|(_, ids)| ids.len() != 1);
    assert!(of_two.is_none(), "{of_two:?}");
    assert_eq!(ids.values().flatten().collect::<BTreeSet<_>>().len() as u64, count);
}

#[test]
fn every_event_arrives_under_one_id_through_cut_connections_a_restart_and_refusals() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let on_disk = format!("{SMALL_BUDGET}\nspool = {{ dir = '{place}/spool' }}\n[[sinks]]\ndir = '{place}/objects'");
    let server = TestServer::start(&on_disk);
    let address = server.address;
    let network = Runtime::new().unwrap();
    let proxy = network.block_on(FaultProxy::start(address));
    let settings = Settings { directory: Some(dir.path().join("device")), ..settings(&proxy.endpoint()) };
    let transport = Arc::new(HttpTransport::new(&settings.server, &settings.roots, settings.timeouts).unwrap());
    let clock = Arc::new(FastClock(SystemClock::new()));
    let device = Running::start(Client::with(settings, transport, clock).unwrap());

    device.log(0..50);
    device.until("fair weather is enough", |counts| counts.delivered.batches == 10);

    proxy.turn(Weather::Storm(7));
    device.log(50..100);
    device.until("connections are cut", |counts| counts.retries >= 2 || counts.delivered.batches == 20);
    proxy.turn(Weather::Down);
    device.log(100..150);
    let before = device.client.counts().attempts;
    device.until("nobody answers", |counts| counts.attempts >= before + 2);
    drop(server.stop());
    // Its last thread may hold the spool a moment longer.
    let lock = std::fs::File::open(dir.path().join("spool/lock")).unwrap();
    until("the spool is free", || lock.try_lock().ok());
    drop(lock);

    let server = TestServer::start(&format!("{on_disk}\n[server]\nlisten = '{address}'"));
    proxy.turn(Weather::Clear);
    device.until("the restarted server takes all", |counts| counts.delivered.events == 150);

    let mut holders: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let announced = Request::post("heard", "").header("content-length", "65536");
    for holder in &mut holders {
        holder.send(announced.head());
    }
    server.until("the budget is held", |metrics| metrics.get("logweir_queue_bytes") == BUDGET_BYTES);
    let before = device.client.counts();
    device.log(150..200);
    device.until("it is refused", |counts| counts.attempts > before.attempts);
    server.until("it is refused", |metrics| metrics.sum("logweir_refusals_total") >= 1);
    drop(holders);
    let counts = device.until("the freed server takes all", |counts| counts.delivered.events == 200);
    assert_eq!((counts.accepted, counts.rejected, counts.dropped()), (200, 0, Tally::default()));
    assert!(counts.retries >= 3, "{counts:?}");

    assert_eq!(device.stop(), Tally::default());
    drop(server.stop());
    assert_each_once(&read_objects(&dir.path().join("objects"), &Schemas::default()), 200);
}

/// A network on which the first answers are lost, after the server has given them.
#[derive(Debug)]
struct LosesAnswers(HttpTransport, AtomicUsize);

impl Transport for LosesAnswers {
    fn send(&self, request: HttpRequest<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, NoAnswer>> {
        Box::pin(async move {
            let answer = self.0.send(request).await;
            let lost = self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            if lost { Err(NoAnswer::TimedOut) } else { answer }
        })
    }
}

#[test]
fn a_batch_whose_answer_was_lost_is_stored_twice_under_the_same_event_ids() {
    let server = TestServer::start("");
    let address = format!("http://{}", server.address);
    let transport = HttpTransport::new(&address, &Roots::System, Timeouts::default()).unwrap();
    let transport = Arc::new(LosesAnswers(transport, AtomicUsize::new(1)));
    let client = Client::with(settings(&address), transport, Arc::new(SystemClock::new())).unwrap();
    let device = Running::start(client);
    device.log(0..5);
    let counts = device.until("it arrives", |counts| counts.delivered.events == 5);
    assert_eq!((counts.attempts, counts.retries), (2, 1));
    device.stop();
    let stored = server.stop();
    assert_eq!(stored.len(), 10, "what was not acknowledged is there all the same");
    assert_each_once(&stored, 5);
}

#[test]
fn a_client_without_its_key_keeps_its_batches_until_one_with_it_comes() {
    let key = "0123456789abcdef0123456789abcdef";
    let server = TestServer::start(&format!("[[keys]]\nname = 'sdk'\nkey = '{key}'"));
    let dir = tempfile::tempdir().unwrap();
    let address = format!("http://{}", server.address);
    let settings = |key: Option<&str>| Settings {
        directory: Some(dir.path().join("device")),
        key: key.map(Into::into),
        ..settings(&address)
    };
    let device = Running::start(Client::new(settings(None)).unwrap());
    device.log(0..10);
    let pause = dir.path().join("device/pause");
    until("it is turned away, and notes that", || pause.exists().then_some(()));
    assert_eq!(device.client.counts().attempts, 1);
    until("the other batch is closed", || {
        let files = std::fs::read_dir(dir.path().join("device")).unwrap();
        (files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "gz")).count() == 2)
            .then_some(())
    });
    let left = device.stop();
    assert_eq!(left, Tally { batches: 2, events: 10 });

    // An application that is updated does not ask again within the hour; one whose pause is over does.
    std::fs::remove_file(pause).unwrap();
    let device = Running::start(Client::new(settings(Some(key))).unwrap());
    assert_eq!(device.client.counts().found, left);
    device.until("all is delivered", |counts| counts.delivered == left);
    assert_eq!(device.stop(), Tally::default());
    assert_each_once(&server.stop(), 10);
}

#[test]
fn what_the_server_rejects_is_counted_and_forgotten() {
    let server = TestServer::start("streams.heard.fields = { n = 'int' }\ningest.undeclared_streams = 'refuse'");
    let device = Running::start(Client::new(settings(&format!("http://{}", server.address))).unwrap());
    device.log(0..3);
    device.client.log(&heard(), &json!({ "n": "no number" }));
    device.client.log(&heard(), &json!({ "n": "no number" }));
    let counts = device.until("it is taken", |counts| counts.delivered.batches == 1);
    assert_eq!((counts.accepted, counts.rejected), (3, 2));
    let unknown = logweir::batch::StreamName::new("unknown").unwrap();
    device.client.log(&unknown, &json!({}));
    device.until("it is dropped", |counts| counts.dropped_refused == Tally { batches: 1, events: 1 });
    assert_eq!(device.stop(), Tally::default());
}

/// The clocks of a device whose wall clock is an hour slow.
#[derive(Debug)]
struct SlowClock(SystemClock);

impl Clock for SlowClock {
    fn uptime(&self) -> Duration {
        self.0.uptime()
    }

    fn wall(&self) -> Millis {
        self.0.wall().saturating_add(-3_600_000)
    }

    fn sleep_until(&self, uptime: Duration) -> BoxFuture<'_, ()> {
        self.0.sleep_until(uptime)
    }
}

#[test]
fn the_times_of_a_device_whose_clock_is_slow_are_set_right() {
    let server = TestServer::start("streams.heard = { time_field = 'at', fields = { at = 'timestamp', n = 'int' } }");
    let address = format!("http://{}", server.address);
    let transport = Arc::new(HttpTransport::new(&address, &Roots::System, Timeouts::default()).unwrap());
    let clock = Arc::new(SlowClock(SystemClock::new()));
    let before = clock.0.wall();
    let client = Client::with(settings(&address), transport, Arc::clone(&clock) as _).unwrap();
    let device = Running::start(client);
    device.client.log(&heard(), &json!({ "n": 0, "at": clock.wall().to_string() }));
    device.until("it arrives", |counts| counts.delivered.events == 1);
    device.stop();
    let after = clock.0.wall();
    let stored = server.stop();
    let time = Millis::parse(stored[0].get("event_time").as_str().unwrap()).unwrap();
    // To within what a request takes.
    let slack = 2_000;
    assert!(time >= before.saturating_add(-slack) && time <= after.saturating_add(slack), "{before} {time} {after}");
}
