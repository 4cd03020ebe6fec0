//! What Redshift's COPY, Athena's JSON `SerDe`, Spark and `DuckDB` all take: a strict reader of stored lines.
//!
//! Written from the vendors' rules, not from the code that writes the lines, so that the two can disagree.

use std::{collections::BTreeSet, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Redshift: a JSON object has at most 4 MB, and `|` counts twice.
const MAX_OBJECT_BYTES: usize = 4 * 1024 * 1024;
/// Redshift: a SUPER nests at most 1,000 deep.
const MAX_NESTING: usize = 1_000;

/// A line's members, in their order.
pub(crate) struct Line(pub(crate) Vec<(String, Value)>);

impl Line {
    /// The value under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Line;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Line(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Reads one stored line, without its line feed, and says which rule it breaks.
pub(crate) fn read_line(line: &[u8]) -> Result<Line, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
    if text.contains(['\n', '\r']) {
        return Err("a line break within the line".into());
    }
    if text.len() + text.matches('|').count() >= MAX_OBJECT_BYTES {
        return Err(format!("{} bytes are too many", text.len()));
    }
    // serde_json refuses lone surrogates and numbers beyond a double by itself.
    let parsed: Line = serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))?;
    let mut keys = BTreeSet::new();
    for (key, value) in &parsed.0 {
        if *key != key.to_lowercase() {
            return Err(format!("key {key:?} is not in lower case"));
        }
        if key.len() > 127 {
            return Err(format!("key {key:?} is too long for a column"));
        }
        if !keys.insert(key) {
            return Err(format!("key {key:?} comes twice"));
        }
        if key.contains('\0') {
            return Err(format!("key {key:?} contains NUL"));
        }
        value_rules(value, 1)?;
    }
    for (key, required) in [("event_id", true), ("event_time", true), ("received_at", true), ("client_time", false)] {
        match parsed.get(key) {
            None if required => return Err(format!("no {key}")),
            None => {}
            Some(Value::String(text)) if key == "event_id" && (text.is_empty() || text.len() > 128) => {
                return Err(format!("event_id {text:?}"));
            }
            Some(Value::String(_)) if key == "event_id" => {}
            Some(Value::String(text)) if is_canonical_instant(text) => {}
            Some(other) => return Err(format!("{key} is {other}")),
        }
    }
    Ok(parsed)
}

fn value_rules(value: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_NESTING {
        return Err("nested too deep".into());
    }
    match value {
        Value::String(text) if text.contains('\0') => Err(format!("NUL in {text:?}")),
        Value::Array(items) => items.iter().try_for_each(|item| value_rules(item, depth + 1)),
        Value::Object(members) => members.iter().try_for_each(|(key, member)| {
            if key.contains('\0') { Err(format!("NUL in key {key:?}")) } else { value_rules(member, depth + 1) }
        }),
        _ => Ok(()),
    }
}

/// `2026-11-22T09:00:00.123Z`: what TIMEFORMAT 'auto' reads without losing the zone.
pub(crate) fn is_canonical_instant(text: &str) -> bool {
    let shape = "dddd-dd-ddTdd:dd:dd.dddZ";
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, form)| if form == b'd' { byte.is_ascii_digit() } else { byte == form })
}
