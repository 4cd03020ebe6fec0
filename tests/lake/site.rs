//! What a server stored of what was sent to it, and a count of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use jiff::{Timestamp, ToSpan, civil::DateTime};
use serde_json::{Value, json};

use crate::{
    client::Client,
    configured,
    process::{Place, Server},
    request::Request,
};

/// Events of the stream `heard`, each of which is sent at least once.
pub(crate) const EVENTS: usize = 4_000;
/// Events in a batch.
const BATCH: usize = 100;
/// Every so manieth batch is sent again at once, and every so manieth once the server was started anew.
const AGAIN: usize = 4;
const AGAIN_LATER: usize = 3;
/// Devices that send.
const DEVICES: usize = 700;
/// Events of the stream `class`.
pub(crate) const OTHERS: usize = 50;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Korea has had one offset since 1988.
const KST: i64 = 9 * HOUR;
/// What an earlier copy of an event is known by.
pub(crate) const EARLIER: &str = "an-earlier-copy";

/// Figures: events, and the devices that sent them.
type Figures<K> = BTreeMap<K, (u64, BTreeSet<String>)>;

/// What stands in a directory, and what is known of it.
pub(crate) struct Site {
    pub(crate) place: Place,
    /// Lines of the stream `heard`.
    pub(crate) stored: usize,
    /// Its events by their ids, as a reader must find them.
    pub(crate) events: BTreeMap<String, Value>,
    /// Their prices' sum.
    pub(crate) sum: String,
    pub(crate) days: Figures<String>,
    pub(crate) hours: Figures<String>,
    /// By day, dimension and value.
    pub(crate) counts: Figures<(String, String, Option<String>)>,
}

/// An event as it is sent, and as it must be read.
struct Event {
    sent: Value,
    read: Value,
    at: i64,
    /// In ten thousandths.
    price: i128,
}

impl Site {
    /// The directory of objects, with a slash at the end.
    pub(crate) fn root(&self) -> String {
        format!("{}/", self.place.path("objects").display())
    }

    /// Starts a server, sends to it, starts it anew, sends some of it again, and puts copies of some of it where an hour
    /// before they would have been received.
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let root = place.path("objects");
        let settings =
            "[ingest]\nundeclared_streams = \"refuse\"\n[spool]\nseal_after = \"1h\"\n[drain]\nlinger = \"0s\"\n";
        place.write("config.toml", &format!("{}\n{settings}", configured(root.to_str().unwrap())));
        let midnight = (Timestamp::now().as_millisecond() + KST).div_euclid(DAY) * DAY - KST - DAY;
        let events: Vec<Event> = (0..EVENTS).map(|number| event(number, midnight)).collect();
        let batches: Vec<&[Event]> = events.chunks(BATCH).collect();

        let mut stored = 0;
        for later in [false, true] {
            let server = Server::start(place.command(&["--config", "config.toml"]));
            let mut client = Client::connect(server.address);
            for (number, batch) in batches.iter().enumerate() {
                let times =
                    if later { usize::from(number % AGAIN_LATER == 0) } else { 1 + usize::from(number % AGAIN == 0) };
                for _ in 0..times {
                    send(&mut client, "heard", &format!("batch-{number}"), batch.iter().map(|event| &event.sent));
                    stored += batch.len();
                }
            }
            if !later {
                let others: Vec<_> =
                    (0..OTHERS).map(|number| json!({ "n": number, "import": {"a": [number]} })).collect();
                send(&mut client, "class", "others", others.iter());
            }
            server.stop();
        }
        let mut site = Self::count(place, &events);
        site.stored = stored + site.copy_to_an_hour_before();
        site
    }

    /// Counts what was sent, each event once.
    fn count(place: Place, events: &[Event]) -> Self {
        let sum: i128 = events.iter().map(|event| event.price).sum();
        let mut site = Self {
            place,
            stored: 0,
            events: BTreeMap::new(),
            sum: format!("{}.{:04}", sum / 10_000, sum % 10_000),
            days: BTreeMap::new(),
            hours: BTreeMap::new(),
            counts: BTreeMap::new(),
        };
        for event in events {
            let device = event.read["device_id"].as_str().unwrap().to_owned();
            let local = civil(event.at + KST);
            let (day, hour) = (local.date().to_string(), format!("{} {:02}:00:00", local.date(), local.hour()));
            add(&mut site.days, day.clone(), &device);
            add(&mut site.hours, hour, &device);
            for dimension in ["select", "order"] {
                let value = &event.read[dimension];
                let text = (!value.is_null()).then(|| value.to_string());
                add(&mut site.counts, (day.clone(), dimension.to_owned(), text), &device);
            }
            site.events.insert(event.read["event_id"].as_str().unwrap().to_owned(), event.read.clone());
        }
        site
    }

    /// Puts the lines of the newest object of `heard` where they would be if they had been received an hour before, in
    /// another batch: how many there are. So they are the copies that were received first.
    fn copy_to_an_hour_before(&mut self) -> usize {
        let stream = self.place.path("objects").join("raw/heard");
        let newest = objects(&stream).into_iter().max_by_key(|path| path.file_name().unwrap().to_owned()).unwrap();
        let lines: Vec<String> = BufReader::new(GzDecoder::new(BufReader::new(fs::File::open(&newest).unwrap())))
            .lines()
            .map(Result::unwrap)
            .collect();
        let mut hours = BTreeMap::<PathBuf, Vec<String>>::new();
        for line in &lines {
            let read: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| format!("\"{name}\":{}", read[name]);
            let received: Timestamp = read["received_at"].as_str().unwrap().parse().unwrap();
            let before = format!("{:.3}", received.checked_sub(1.hour()).unwrap());
            let copy = line.replace(&text("received_at"), &format!("\"received_at\":\"{before}\""));
            let copy = copy.replace(&text("batch_id"), &format!("\"batch_id\":\"{EARLIER}\""));
            assert!(copy.contains(&before) && copy.contains(EARLIER), "{copy}");
            self.events.get_mut(read["event_id"].as_str().unwrap()).unwrap()["batch_id"] = json!(EARLIER);
            hours.entry(stream.join(format!("dt={}/hour={}", &before[..10], &before[11..13]))).or_default().push(copy);
        }
        for (hour, copies) in hours {
            fs::create_dir_all(&hour).unwrap();
            let file = fs::File::create(hour.join("01JD0000000000000000000000-0000000001.ndjson.gz")).unwrap();
            let mut object = GzEncoder::new(file, Compression::fast());
            for copy in copies {
                writeln!(object, "{copy}").unwrap();
            }
            object.finish().unwrap();
        }
        lines.len()
    }
}

impl Site {
    /// Makes zstd objects of every second one, as if the codec had been changed: how many.
    pub(crate) fn recompress_half(&self) -> usize {
        let mut found = objects(&self.place.path("objects").join("raw/heard"));
        found.sort();
        let every_second = found.iter().step_by(2);
        every_second
            .map(|path| {
                let mut lines = Vec::new();
                std::io::copy(&mut GzDecoder::new(&*fs::read(path).unwrap()), &mut lines).unwrap();
                let file = fs::File::create(path.with_extension("zst")).unwrap();
                let mut object = zstd::Encoder::new(file, 3).unwrap();
                object.include_checksum(true).unwrap();
                object.set_pledged_src_size(Some(lines.len() as u64)).unwrap();
                object.write_all(&lines).unwrap();
                object.finish().unwrap();
                fs::remove_file(path).unwrap();
            })
            .count()
    }
}

fn objects(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { objects(&path) } else { vec![path] }).collect()
}

fn add<K: Ord>(figures: &mut Figures<K>, key: K, device: &str) {
    let (events, devices) = figures.entry(key).or_default();
    *events += 1;
    devices.insert(device.to_owned());
}

/// The clock that shows `millis` since the epoch.
fn civil(millis: i64) -> DateTime {
    jiff::civil::datetime(1970, 1, 1, 0, 0, 0, 0).checked_add(millis.milliseconds()).unwrap()
}

fn send<'e>(client: &mut Client, stream: &str, batch: &str, events: impl Iterator<Item = &'e Value>) {
    let body = json!({ "batch_id": batch, "events": events.collect::<Vec<_>>() });
    let answer = client.ask(&Request::post(stream, body.to_string()));
    assert_eq!((answer.status, &answer.json()["rejected"]), (200, &json!([])), "{answer:?}");
}

/// The event of this number. They crowd around `midnight`, one of them at the very millisecond, and some are days late.
fn event(number: usize, midnight: i64) -> Event {
    let signed = number as i64;
    let at = match number % 10 {
        0 => midnight,
        1 => midnight - 1,
        2 => midnight + 1,
        3 => midnight - DAY * (1 + signed % 9),
        4 => midnight + DAY - 1 - signed,
        _ => midnight + (signed - EVENTS as i64 / 2) * 20_000,
    };
    let device = format!("기기-{}", number * 7_919 % DEVICES);
    let price = match number % 6 {
        0 => 123_456_789_012_345_678_901_234_i128 + number as i128,
        _ => number as i128 * 37,
    };
    let price_text = format!("{}.{:04}", price / 10_000, price % 10_000);
    let user = match number % 5 {
        0 => Value::Null,
        1 => json!(""),
        2 => json!(format!("김 \"철수\" \\ | '{number}' 🌊\n\t")),
        _ => json!(format!("user{}", number % 3)),
    };
    let order = match number % 7 {
        0 => Value::Null,
        1 => json!(i64::MAX - 1),
        2 => json!(9_007_199_254_740_993_i64),
        rest => json!(rest),
    };
    let inner = match number % 4 {
        0 => Value::Null,
        1 => json!({"모델": "갤럭시", "nested": [[1, {"a": null}], "\"\\/", 1.5e10], "price": 2.5}),
        2 => json!([number, true, "x"]),
        _ => json!("a plain text"),
    };
    let group = if number.is_multiple_of(3) { Value::Null } else { json!(number as f64 / 8.0) };
    let select = [json!(true), json!(false), Value::Null][number % 3].clone();
    let table = if number.is_multiple_of(2) { json!("2026-02-28") } else { Value::Null };
    let id = format!("0b6e1c1e-0f5c-4c0e-9f5c-{number:012x}");
    let share = if number.is_multiple_of(2) { json!("0.12345") } else { Value::Null };
    let mut sent = json!({
        "event_id": format!("e-{number:06}"), "device_id": device, "user": user, "order": order,
        "group": group, "select": select, "table": table, "from": id, "price": price_text, "_share": share,
        "device": inner, "advertising_id": id, "location": {"secret": number}, "copy_number": number,
    });
    // Both forms of a time.
    sent["heard_at"] = if number.is_multiple_of(2) {
        json!(at)
    } else {
        let local = civil(at + KST);
        json!(format!("{}T{}+09:00", local.date(), format_args!("{:.3}", local.time())))
    };
    let mut extra = Value::Null;
    if number.is_multiple_of(3) {
        sent["Undeclared"] = json!({"색": ["빨강", number]});
        extra = json!({"undeclared": {"색": ["빨강", number]}});
    }
    let read = json!({
        "event_id": sent["event_id"], "event_time": at, "heard_at": at, "batch_id": format!("batch-{}", number / BATCH),
        "device_id": device, "user": user, "order": order, "group": group, "select": select, "table": table,
        "from": id, "price": price_text, "_share": share, "copy_number": number, "device": inner, "extra": extra,
    });
    Event { sent, read, at, price }
}
