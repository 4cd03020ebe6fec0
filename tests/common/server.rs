//! A whole server in this process, with a directory of its own.

use std::{
    io,
    net::SocketAddr,
    panic,
    path::PathBuf,
    sync::{
        Mutex, Once,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use logweir::{
    app::{self, Server, Stopped},
    config::{self, Config, Source},
};
use tracing_subscriber::{Layer, filter::Targets, fmt::layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    client::{Answer, Client, PATIENCE, until},
    copy_rules::Schemas,
    request::Request,
    samples::Samples,
    stored::{Stored, read_objects},
};

/// The threads that a server starts, by the beginning of their names.
const SERVER_THREADS: [&str; 6] = ["worker-", "acceptor", "admin", "spool-", "background", "sink-"];

/// What every test begins from: free ports, small waits, any stream, and nothing that is stored unasked.
const BASE: &str = r#"
server = { listen = "127.0.0.1:0", workers = 2 }
admin = { listen = "127.0.0.1:0" }
ingest = { undeclared_streams = "accept" }
ledger = { heartbeats = false }
spool = { seal_after = "1h", seal_jitter = 0.0, early_seal_interval = "10ms" }
sinks = [{ name = "files", kind = "file", backoff_min = "10ms", backoff_max = "50ms" }]
"#;

/// How many threads of servers have panicked in this process.
static PANICS: AtomicUsize = AtomicUsize::new(0);
/// What all servers of this process have logged, down to single requests.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// A server that runs. It is stopped, at the latest, when this is dropped.
pub(crate) struct TestServer {
    running: Option<Server>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// What its configuration declares.
    schemas: Schemas,
    dir: tempfile::TempDir,
}

impl TestServer {
    /// Starts a server with `settings`, which are TOML over [`BASE`]. `DIR` in them is the server's directory.
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_with(settings, |_| ())
    }

    /// Starts a server whose configuration `adjust` changes after it was checked: the rules keep operators from time-outs
    /// that are as short as a test needs them.
    pub(crate) fn start_with(settings: &str, adjust: impl FnOnce(&mut Config)) -> Self {
        watch();
        let dir = tempfile::tempdir().unwrap();
        let mut merged: toml::Table = BASE.parse().unwrap();
        let place = dir.path().to_str().unwrap();
        merge(&mut merged, format!("spool.dir = '{place}/spool'\n[[sinks]]\ndir = '{place}/objects'").parse().unwrap());
        merge(&mut merged, settings.replace("DIR", place).parse().unwrap());
        let schemas = Schemas::of(&merged.to_string());
        let source = Source::Text { name: "the test".into(), text: merged.to_string() };
        let mut loaded = config::load(source, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
        adjust(&mut loaded.config);
        let config = loaded.config.clone();
        let server = Server::start(loaded).unwrap();
        app::announce(&server, &config);
        Self { address: server.address(), admin: server.admin_address(), running: Some(server), schemas, dir }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// What the public port answers, on a connection of its own.
    pub(crate) fn ask(&self, request: &Request) -> Answer {
        self.connect().ask(request)
    }

    /// What the admin port answers.
    pub(crate) fn ask_admin(&self, request: &Request) -> Answer {
        Client::connect(self.admin).ask(request)
    }

    pub(crate) fn metrics(&self) -> Samples {
        let answer = self.ask_admin(&Request::new("GET", "/metrics"));
        assert_eq!(answer.status, 200, "{answer:?}");
        Samples::parse(answer.text())
    }

    /// Waits until the metrics are as `wanted` says.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Samples) -> bool) -> Samples {
        until(what, || Some(self.metrics()).filter(&wanted))
    }

    /// Where the file sink stores.
    pub(crate) fn objects(&self) -> PathBuf {
        self.dir.path().join("objects")
    }

    /// What is stored so far.
    pub(crate) fn stored(&self) -> Vec<Stored> {
        read_objects(&self.objects(), &self.schemas)
    }

    /// Stops the server without a linger, and reads all that it stored.
    pub(crate) fn stop(self) -> Vec<Stored> {
        self.stop_after(Duration::ZERO)
    }

    /// Stops the server after `linger`, and reads all that it stored.
    pub(crate) fn stop_after(self, linger: Duration) -> Vec<Stored> {
        self.stop_as_told(linger, PATIENCE)
    }

    /// Stops the server, which has `timeout` for it, and reads all that it stored.
    pub(crate) fn stop_within(self, timeout: Duration) -> Vec<Stored> {
        self.stop_as_told(Duration::ZERO, timeout)
    }

    /// Has it give way to whoever comes next, as a process does that is about to end; and says where its spool is.
    pub(crate) fn give_way(mut self) -> (PathBuf, tempfile::TempDir) {
        self.running.take().unwrap().give_way(Duration::ZERO, PATIENCE, true);
        assert_no_panic();
        let (empty, spool) = (tempfile::tempdir().unwrap(), self.dir.path().join("spool"));
        (spool, std::mem::replace(&mut self.dir, empty))
    }

    fn stop_as_told(mut self, linger: Duration, timeout: Duration) -> Vec<Stored> {
        let stopped = stop(self.running.take().unwrap(), linger, timeout);
        // Nothing may be left behind.
        assert_eq!(stopped, Stopped { segments_left: 0, bytes_left: 0 });
        assert_no_panic();
        self.stored()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(server) = self.running.take() {
            stop(server, Duration::ZERO, Duration::from_millis(100));
            if !thread::panicking() {
                assert_no_panic();
                // Whoever does not ask what is stored has it held to the rules all the same.
                self.stored();
            }
        }
    }
}

/// Stops `server`, which must not take longer than it was told.
fn stop(server: Server, linger: Duration, timeout: Duration) -> Stopped {
    let (done, stopped) = mpsc::sync_channel(1);
    let stopping = move || {
        let _ = done.send(server.stop(linger, Duration::ZERO, timeout));
    };
    thread::Builder::new().name("stopping".into()).spawn(stopping).unwrap();
    stopped.recv_timeout(linger + timeout + PATIENCE).expect("the server stops")
}

/// Puts `over` over `under`: tables key by key, lists element by element.
fn merge(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
            (Some(toml::Value::Array(under)), toml::Value::Array(over)) => {
                for (place, value) in over.into_iter().enumerate() {
                    match (under.get_mut(place), value) {
                        (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
                        (_, value) => under.push(value),
                    }
                }
            }
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// Keeps what is logged, and counts panics of the servers' threads: a runtime would catch them and go on.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let thread = thread::current();
            if SERVER_THREADS.iter().any(|name| thread.name().is_some_and(|thread| thread.starts_with(name))) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            usual(info);
        }));
        let filter = Targets::new().with_target("logweir", tracing::Level::TRACE);
        tracing_subscriber::registry()
            .with(layer().with_writer(|| LogWriter).with_ansi(false).with_filter(filter))
            .init();
    });
}

/// No thread of any server in this process has panicked.
pub(crate) fn assert_no_panic() {
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "a thread of a server panicked");
    assert!(!log().contains("panicked"));
}

/// What all servers of this process have logged.
pub(crate) fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}

struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
