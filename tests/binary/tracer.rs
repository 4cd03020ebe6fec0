//! Events that can be told apart: what was promised about each is kept, and compared with what the objects hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::SocketAddr,
    path::Path,
    rc::Rc,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    client::{Answer, Client, Post, gzip},
    copy_rules::Line,
    objects::{self, Object},
};

/// The streams that the events go to.
pub(crate) const STREAMS: [&str; 3] = ["traced", "heard", "seen"];
/// What the name of an event ends in that is to be rejected.
const BAD: char = '!';
/// The longest padding of an event, in bytes.
const MOST_PADDING: usize = 8_192;
/// How long a connection of a load waits after a refusal. A device waits longer; a test has no time.
const AFTER_REFUSAL: Duration = Duration::from_millis(10);

/// Text that hardly compresses, of which events carry some.
static NOISE: LazyLock<String> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(7);
    (0..16 * MOST_PADDING).map(|_| random.alphanumeric()).collect()
});

/// Text of `len` bytes, at most [`MOST_PADDING`], that hardly compresses.
pub(crate) fn padding(len: usize) -> &'static str {
    let from = fastrand::usize(..NOISE.len() - MOST_PADDING);
    &NOISE[from..from + len]
}

/// What was sent, and what was promised about it.
#[derive(Default)]
pub(crate) struct Book {
    /// Events whose batch was answered with success: each must be in exactly one object, once.
    pub(crate) acknowledged: BTreeSet<String>,
    /// Events whose batch got no answer, or another: each may be found, once.
    pub(crate) uncertain: BTreeSet<String>,
}

/// A batch that is to be sent.
struct Batch<'a> {
    stream: &'static str,
    name: &'a str,
    count: usize,
    /// Bytes of padding of each event.
    padding: usize,
    /// Of how many events one is to be rejected, the first of them; 0 if none is.
    bad_of: usize,
    packed: bool,
}

impl<'a> Batch<'a> {
    fn plain(name: &'a str, count: usize) -> Self {
        Self { stream: STREAMS[0], name, count, padding: 200, bad_of: 0, packed: false }
    }

    /// The one of this number in a load that has some of everything.
    fn mixed(name: &'a str, number: usize, padding: usize) -> Self {
        let bad_of = if number % 4 == 1 { 5 } else { 0 };
        Self { stream: STREAMS[number % 3], name, count: 1 + number % 20, padding, bad_of, packed: number % 2 == 1 }
    }

    /// The names of its events.
    fn names(&self) -> Vec<String> {
        let bad = |index: usize| self.bad_of > 0 && index.is_multiple_of(self.bad_of);
        let name = |index| format!("{}:{}:{index}", self.stream, self.name);
        (0..self.count).map(|index| if bad(index) { format!("{}{BAD}", name(index)) } else { name(index) }).collect()
    }

    fn body(&self, names: &[String]) -> Vec<u8> {
        let event = |name: &String| {
            let mut event = json!({ "trace": name, "padding": padding(self.padding) });
            if name.ends_with(BAD) {
                // Keys that differ in nothing but their case reject an event.
                event["Trace"] = json!(0);
            }
            event
        };
        let body = names.iter().map(event).collect::<Value>().to_string().into_bytes();
        if self.packed { gzip(&body) } else { body }
    }
}

impl Book {
    pub(crate) fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.uncertain.extend(other.uncertain);
    }

    /// Sends a batch of `count` events whose names hold `name`, and notes what came of it.
    pub(crate) fn send(&mut self, client: &mut Client, name: &str, count: usize) -> io::Result<u16> {
        self.ask(client, name, count).map(|answer| answer.status)
    }

    /// The same: the whole answer.
    pub(crate) fn ask(&mut self, client: &mut Client, name: &str, count: usize) -> io::Result<Answer> {
        self.send_batch(client, &Batch::plain(name, count))
    }

    fn send_batch(&mut self, client: &mut Client, batch: &Batch<'_>) -> io::Result<Answer> {
        let names = batch.names();
        let encoding = if batch.packed { "gzip" } else { "identity" };
        let answer = client.post(Post {
            stream: batch.stream,
            headers: &[
                ("content-type", "application/json"),
                ("content-encoding", encoding),
                ("idempotency-key", batch.name),
            ],
            body: &batch.body(&names),
        });
        match answer {
            Ok(answer) if [200, 422].contains(&answer.status) => {
                let bad = names.iter().filter(|name| name.ends_with(BAD)).count();
                assert_eq!(answer.json()["accepted"], names.len() - bad);
                assert_eq!(answer.json()["rejected"].as_array().unwrap().len(), bad);
                self.acknowledged.extend(names);
                Ok(answer)
            }
            other => {
                self.uncertain.extend(names);
                other
            }
        }
    }

    /// Sends one batch of `count` events on a connection of its own: the answer.
    pub(crate) fn try_one(&mut self, address: SocketAddr, name: &str, count: usize) -> Answer {
        self.send_batch(&mut Client::connect(address).unwrap(), &Batch::plain(name, count)).unwrap()
    }

    /// The same, for a batch that must be taken.
    pub(crate) fn send_one(&mut self, address: SocketAddr, name: &str, count: usize) {
        assert_eq!(self.try_one(address, name, count).status, 200);
    }

    /// Compares with the objects below `root`: what is there of what was promised.
    pub(crate) fn audit(&self, root: &Path) -> Audit {
        let mut audit =
            Audit { acknowledged: self.acknowledged.len(), uncertain: self.uncertain.len(), ..Audit::default() };
        let mut found: BTreeMap<String, Rc<str>> = BTreeMap::new();
        for object in objects::each(root) {
            audit.objects += 1;
            let key: Rc<str> = object.key.as_str().into();
            for line in &object.lines {
                let name = name(&object, line);
                if let Some(other) = found.insert(name.clone(), Rc::clone(&key)) {
                    audit.doubled.push(format!("{name} in {other} and {key}"));
                }
            }
        }
        audit.lost = self.acknowledged.iter().filter(|name| !found.contains_key(*name)).cloned().collect();
        for name in found.into_keys().filter(|name| !self.acknowledged.contains(name)) {
            if self.uncertain.contains(&name) {
                audit.uncertain_found += 1;
            } else {
                audit.invented.push(name);
            }
        }
        audit
    }

    /// The same, and nothing may be lost, doubled or invented.
    pub(crate) fn compare(&self, root: &Path) -> Audit {
        let audit = self.audit(root);
        assert!(audit.lost.is_empty() && audit.doubled.is_empty() && audit.invented.is_empty(), "{audit}\n{audit:#?}");
        audit
    }
}

/// The name of the event that `line` is of, as a line sink got it: of its own, or of what it was before it was rejected.
pub(crate) fn name_in(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap();
    let original = line.get("original").map(|text| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap());
    original.as_ref().unwrap_or(&line)["trace"].as_str().unwrap().to_owned()
}

/// The name of the event that `line` is of, which stands where its name says.
fn name(object: &Object, line: &Line) -> String {
    let text =
        |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no {key} in {}", object.key));
    let name = if object.rejected {
        let original: Value = serde_json::from_str(text("original")).unwrap();
        original["trace"].as_str().unwrap().to_owned()
    } else {
        text("trace").to_owned()
    };
    assert_eq!(name.ends_with(BAD), object.rejected, "{name} is in {}", object.key);
    assert_eq!(name.split(':').next(), Some(&*object.stream), "{name} is in {}", object.key);
    name
}

/// What became of events.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) acknowledged: usize,
    pub(crate) uncertain: usize,
    /// Of the uncertain ones, how many are stored.
    pub(crate) uncertain_found: usize,
    pub(crate) objects: usize,
    /// What was acknowledged and is not there.
    pub(crate) lost: Vec<String>,
    /// What is there more than once.
    pub(crate) doubled: Vec<String>,
    /// What nobody sent.
    pub(crate) invented: Vec<String>,
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, uncertain, uncertain_found, objects, lost, doubled, invented } = self;
        let (lost, doubled, invented) = (lost.len(), doubled.len(), invented.len());
        write!(
            f,
            "{acknowledged} events acknowledged, {lost} lost, {doubled} doubled, {invented} invented; \
             {uncertain} not acknowledged, {uncertain_found} of them stored; {objects} objects"
        )
    }
}

/// Connections that send batch after batch until they are told to end, or the server is gone.
pub(crate) struct Load {
    connections: Vec<JoinHandle<Book>>,
    over: Arc<AtomicBool>,
}

impl Load {
    /// Starts `connections` of them; the events' names begin with `name`.
    pub(crate) fn start(address: SocketAddr, connections: usize, name: &str) -> Self {
        Self::padded(address, connections, name, 200)
    }

    /// The same, with events that carry `padding` bytes each.
    pub(crate) fn padded(address: SocketAddr, connections: usize, name: &str, padding: usize) -> Self {
        let over = Arc::<AtomicBool>::default();
        let connection = |number| {
            let (name, over) = (format!("{name}-{number}"), Arc::clone(&over));
            let send = move || send_until_gone(address, &name, padding, &over);
            thread::Builder::new().name("load".into()).spawn(send).unwrap()
        };
        Self { connections: (0..connections).map(connection).collect(), over }
    }

    /// Tells every connection to end behind its next answer.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Waits until every connection has ended or noticed that the server is gone.
    pub(crate) fn join(self) -> Book {
        let mut book = Book::default();
        for connection in self.connections {
            book.merge(connection.join().unwrap());
        }
        book
    }
}

fn send_until_gone(address: SocketAddr, name: &str, padding: usize, over: &AtomicBool) -> Book {
    let mut book = Book::default();
    let Ok(mut client) = Client::connect(address) else { return book };
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let Ok(answer) = book.send_batch(&mut client, &Batch::mixed(&format!("{name}-{number}"), number, padding))
        else {
            break;
        };
        match answer.status {
            200 | 422 => {}
            429 | 503 => sleep(AFTER_REFUSAL),
            status => panic!("{status}"),
        }
        // A refusal does not wait for a large body. Without being told so nobody connects again: behind the port of a
        // server that is gone there may be another test's.
        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            let Ok(another) = Client::connect(address) else { break };
            client = another;
        }
    }
    book
}
