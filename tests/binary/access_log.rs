//! Real input: an Apache access log in the combined format, each line an event.

use std::{fs, path::Path};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

/// A line of the log, taken apart.
pub(crate) struct Hit {
    /// The number of the line, from 1: what tells two events apart.
    pub(crate) number: u64,
    at: Timestamp,
    /// Every field but the time and the number.
    fields: Map<String, Value>,
}

/// Every line of `tests/data/apache_access.log`.
pub(crate) fn hits() -> Vec<Hit> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/apache_access.log");
    let text = fs::read_to_string(path).unwrap();
    text.lines().zip(1..).map(|(line, number)| Hit::parse(line, number)).collect()
}

impl Hit {
    fn parse(line: &str, number: u64) -> Self {
        let (ip, rest) = line.split_once(" - - [").expect(line);
        let (at, rest) = rest.split_once("] \"").expect(line);
        let (request, rest) = rest.split_once("\" ").expect(line);
        let (numbers, rest) = rest.split_once(" \"").expect(line);
        let (referrer, agent) = rest.split_once("\" \"").expect(line);
        // One line was cut before the closing quote, as real lines are.
        let agent = agent.strip_suffix('"').unwrap_or(agent);
        let [method, path, protocol] = request.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (status, bytes) = numbers.split_once(' ').expect(line);
        let status: u16 = status.parse().expect(line);
        let bytes: Option<u64> = (bytes != "-").then(|| bytes.parse().expect(line));
        let Value::Object(fields) = json!({
            "ip": ip, "method": method, "path": path, "protocol": protocol, "status": status, "bytes": bytes,
            "referrer": referrer, "agent": agent,
        }) else {
            panic!("{line}")
        };
        Self { number, at: Timestamp::strptime("%d/%b/%Y:%H:%M:%S %z", at).expect(line), fields }
    }

    /// The event that a device sends: every other one tells the time as Seoul's clocks do.
    pub(crate) fn event(&self) -> Map<String, Value> {
        let (ahead, offset) = if self.number.is_multiple_of(2) { (9, "+09:00") } else { (0, "+00:00") };
        let local = self.at + SignedDuration::from_hours(ahead);
        let mut event = self.fields.clone();
        event.insert("n".into(), self.number.into());
        event.insert("time".into(), format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S")).into());
        event
    }

    /// When it happened, as it is stored.
    pub(crate) fn canonical_time(&self) -> String {
        canonical(self.at)
    }
}

/// An instant as stored lines spell it: RFC 3339, UTC, milliseconds.
pub(crate) fn canonical(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
