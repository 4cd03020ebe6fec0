//! The path of a batch, from end to end: ten thousand real log lines are sent in every form, and what is found in the
//! objects afterwards is compared with what was sent, line by line.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    access_log::{self, canonical},
    client::{Client, Post},
    copy_rules::Line,
    objects::{self, Object},
    plan::{self, CONFIG, FREE, Fate, POISON, Planned, TYPED},
    process::{Place, Server},
    scrape::Scrape,
};

/// Connections that send at the same time.
const CONNECTIONS: usize = 4;
/// How long a gauge may take to show what is.
const PULSE: Duration = Duration::from_secs(10);

/// A batch that was answered, and when.
struct Sent {
    planned: Planned,
    asked: Timestamp,
    answered: Timestamp,
}

#[test]
fn ten_thousand_real_lines_are_stored_once_each_with_every_value_they_had() {
    let place = Place::new();
    place.write("logweir.toml", CONFIG);
    let planned = plan::plan(&access_log::hits());
    let server = Server::start(place.command(&["--config", "logweir.toml"]));
    let sent = send_all(&server, planned);
    let counts = Counts::of(&sent);
    assert_eq!(counts.accepted.values().sum::<u64>(), 10_000);
    assert!(counts.rejected > 100 && counts.malformed > 10, "{} {}", counts.rejected, counts.malformed);
    the_metrics_agree(&server, &counts);
    let ended = server.stop();
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);

    let root = place.path("objects");
    let objects = objects::read(&root.join("logs"));
    let instance = fs::read_to_string(place.path("spool/instance")).unwrap();
    assert!(objects.iter().all(|object| object.instance == instance.trim()));
    assert!(objects.len() > 10, "{} objects are too few to show that segments follow each other", objects.len());
    compare(&sent, &objects);

    // Whoever starts on the same directory finds nothing to do.
    let keys = objects::keys(&root);
    Server::start(place.command(&["--config", "logweir.toml"])).stop();
    assert_eq!(objects::keys(&root), keys);
}

/// How many events there are of each fate.
struct Counts {
    accepted: BTreeMap<&'static str, u64>,
    rejected: u64,
    malformed: u64,
}

impl Counts {
    fn of(sent: &[Sent]) -> Self {
        let mut counts = Self { accepted: BTreeMap::new(), rejected: 0, malformed: 0 };
        for Sent { planned, .. } in sent {
            counts.malformed += u64::from(planned.problem.is_some());
            for fate in &planned.fates {
                match fate {
                    Fate::Accepted { .. } => *counts.accepted.entry(planned.stream).or_default() += 1,
                    Fate::Rejected { .. } => counts.rejected += 1,
                }
            }
        }
        counts
    }
}

fn send_all(server: &Server, planned: Vec<Planned>) -> Vec<Sent> {
    let mut shares: Vec<Vec<Planned>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
    for (number, planned) in planned.into_iter().enumerate() {
        shares[number % CONNECTIONS].push(planned);
    }
    let address = server.address;
    thread::scope(|scope| {
        let senders: Vec<_> = shares
            .into_iter()
            .map(|share| {
                scope.spawn(move || {
                    let mut client = Client::connect(address).unwrap();
                    share.into_iter().map(|planned| send(&mut client, planned)).collect::<Vec<_>>()
                })
            })
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    })
}

/// Sends a batch and holds the answer to what is planned for it.
fn send(client: &mut Client, planned: Planned) -> Sent {
    let headers: Vec<(&str, &str)> = planned.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let asked = Timestamp::now();
    let answer = client.post(Post { stream: planned.stream, headers: &headers, body: &planned.body }).unwrap();
    let answered = Timestamp::now();
    if let Some(problem) = planned.problem {
        assert_eq!(
            (answer.status, answer.json()["type"].clone()),
            (400, format!("urn:logweir:problem:{problem}").into())
        );
        return Sent { planned, asked, answered };
    }
    let mut rejected = Vec::new();
    for (index, fate) in planned.fates.iter().enumerate() {
        if let Fate::Rejected { field, reason, .. } = fate {
            let mut rejection = json!({ "index": index, "reason": reason });
            if let Some(field) = field {
                rejection["field"] = json!(field);
            }
            rejected.push(rejection);
        }
    }
    let accepted = planned.fates.len() - rejected.len();
    let mut expected = json!({ "ack": "spooled", "accepted": accepted, "rejected": rejected });
    if let Some(id) = &planned.id {
        expected["batch_id"] = json!(id);
    }
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.status, if accepted == 0 { 422 } else { 200 });
    Sent { planned, asked, answered }
}

fn the_metrics_agree(server: &Server, counts: &Counts) {
    let value = |series: &str| Scrape::of(server.admin).value(series) as u64;
    let events = |stream: &str, verdict: &str| {
        value(&format!("logweir_events_total{{stream=\"{stream}\",verdict=\"{verdict}\"}}"))
    };
    assert_eq!(events(TYPED, "accepted"), counts.accepted[TYPED]);
    assert_eq!(events(FREE, "accepted"), counts.accepted[FREE]);
    assert_eq!(events(TYPED, "rejected"), counts.rejected);
    // What is measured is shown once a second.
    let deadline = Instant::now() + PULSE;
    while value("logweir_queue_bytes") > 0 {
        assert!(Instant::now() < deadline, "some batch still holds memory");
        thread::sleep(Duration::from_millis(50));
    }
}

fn compare(sent: &[Sent], objects: &[Object]) {
    let mut ids = BTreeSet::new();
    let mut accepted: HashMap<u64, (&Object, &Line)> = HashMap::new();
    let mut rejected: HashMap<(&str, u64), (&Object, &Line)> = HashMap::new();
    for (object, line) in objects.iter().flat_map(|object| object.lines.iter().map(move |line| (object, line))) {
        assert!(ids.insert(text(line, "event_id")), "an identity comes twice: {}", text(line, "event_id"));
        assert!(line.0.iter().all(|(_, value)| !value.to_string().contains(POISON)), "{}", object.key);
        let before = if object.rejected {
            rejected.insert((text(line, "batch_id"), number(line, "index")), (object, line))
        } else {
            accepted.insert(number(line, "n"), (object, line))
        };
        assert!(before.is_none(), "an event is in {} and in {}", object.key, before.unwrap().0.key);
    }
    for batch in sent {
        for (index, fate) in batch.planned.fates.iter().enumerate() {
            match fate {
                Fate::Accepted { number, fields, claimed } => {
                    let (object, line) = accepted.remove(number).unwrap_or_else(|| panic!("line {number} is lost"));
                    assert_eq!((object.stream.as_str(), object.rejected), (batch.planned.stream, false));
                    compare_accepted(batch, line, fields, claimed.as_deref());
                }
                Fate::Rejected { .. } => {
                    let id = batch.planned.id.as_deref().unwrap();
                    let found = rejected.remove(&(id, index as u64));
                    let (object, line) = found.unwrap_or_else(|| panic!("event {index} of {id} is lost"));
                    assert_eq!((object.stream.as_str(), object.rejected), (TYPED, true));
                    compare_rejected(batch, index, line, fate);
                }
            }
        }
    }
    assert!(accepted.is_empty() && rejected.is_empty(), "something was stored that nobody sent");
}

/// Compares a stored line with what its event was, and its times with when it was sent.
fn compare_accepted(batch: &Sent, line: &Line, fields: &Map<String, Value>, claimed: Option<&str>) {
    let mut own: Map<String, Value> = line.0.iter().cloned().collect();
    let received = check_times(batch, line);
    let take =
        |own: &mut Map<String, Value>, key: &str| own.remove(key).map(|value| value.as_str().unwrap().to_owned());
    let (_, _) = (take(&mut own, "event_id").unwrap(), take(&mut own, "received_at"));
    assert_eq!(take(&mut own, "batch_id"), batch.planned.id);
    // What the device claims lies years back: the event's time is as far back as a time may lie.
    let expected = claimed.map_or(received, |_| received - SignedDuration::from_hours(30 * 24));
    assert_eq!(take(&mut own, "event_time"), Some(canonical(expected)));
    assert_eq!(take(&mut own, "client_time").as_deref(), claimed);
    assert_eq!(own, *fields);
}

fn compare_rejected(batch: &Sent, index: usize, line: &Line, fate: &Fate) {
    let Fate::Rejected { field, reason, original } = fate else { unreachable!() };
    let received = check_times(batch, line);
    let mut own: Map<String, Value> = line.0.iter().cloned().collect();
    own.remove("event_id");
    let mut expected = json!({
        "event_time": canonical(received), "received_at": canonical(received), "batch_id": batch.planned.id,
        "stream": TYPED, "index": index, "field": field, "reason": reason, "original": original,
        "original_bytes": original.len(),
    });
    if let Some(context) = batch.planned.context_text() {
        expected["context"] = json!(context);
    }
    assert_eq!(Value::Object(own), expected);
}

/// When a line was received, which lies between the request and its answer.
fn check_times(batch: &Sent, line: &Line) -> Timestamp {
    let received: Timestamp = text(line, "received_at").parse().unwrap();
    let millisecond = SignedDuration::from_millis(1);
    assert!(batch.asked - millisecond <= received && received <= batch.answered, "received at {received}");
    received
}

fn text<'l>(line: &'l Line, key: &str) -> &'l str {
    line.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no text {key}"))
}

fn number(line: &Line, key: &str) -> u64 {
    line.get(key).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number {key}"))
}
