//! A heartbeat: how an instance is, and what it has counted so far.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{FORMAT_VERSION, HEARTBEATS};
use crate::batch::{Hour, InstanceId, Millis};

/// By how much what an instance holds may be older than it says, in milliseconds: a batch gets its received time before
/// it waits for the disk, and is nowhere to be seen meanwhile.
const SETTLING_MILLIS: i64 = 60_000;
/// After how many intervals without a heartbeat an instance counts as silent.
const SILENT_INTERVALS: i64 = 3;
/// After how many intervals without a heartbeat an instance that keeps nothing counts as ended: enough for one that only
/// cannot be heard of to come back, since what it told its devices to send again may come from it, too, until then.
const VANISHED_INTERVALS: i64 = 10;

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    format: u32,
    /// Which instance.
    #[serde(with = "as_text")]
    pub instance: InstanceId,
    /// When its process started.
    #[serde(with = "as_text")]
    pub started: Millis,
    /// When this was written.
    #[serde(with = "as_text")]
    pub at: Millis,
    /// How often it is overwritten, in seconds.
    pub interval_seconds: u64,
    /// The received time of the oldest event that some required sink does not have; `None` if they have all.
    #[serde(with = "as_text_or_null")]
    pub oldest_unstored: Option<Millis>,
    /// Whether the process has ended and left nothing that a required sink does not have, nor the sink that this was
    /// written to. What another best-effort sink does not have is not told.
    pub ended: bool,
    /// Whether what the required sinks do not have outlives the process. Written only if it does not.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub keeps: bool,
    /// Requests to store a batch since the start, by outcome.
    pub requests: BTreeMap<String, u64>,
    /// Events since the start, by stream.
    pub events: BTreeMap<String, EventCounts>,
}

/// Events of one stream since the start of the process: received = accepted + rejected + refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// Of batches that could be parsed.
    pub received: u64,
    /// Parsed and then not taken: the client was told to come back.
    pub refused: u64,
    /// Made durable, and follow their schema.
    pub accepted: u64,
    /// Made durable, and do not.
    pub rejected: u64,
}

impl Heartbeat {
    /// The heartbeat of a process of `instance` that has counted nothing yet.
    pub fn new(instance: InstanceId, started: Millis, interval: Duration) -> Self {
        Self {
            format: FORMAT_VERSION,
            instance,
            started,
            at: started,
            interval_seconds: interval.as_secs(),
            oldest_unstored: None,
            ended: false,
            keeps: true,
            requests: BTreeMap::new(),
            events: BTreeMap::new(),
        }
    }

    /// Its key behind `prefix`.
    pub fn key(&self, prefix: &str) -> String {
        Self::key_of(prefix, self.at.hour(), (self.instance, self.started))
    }

    /// The key behind `prefix` of what a process of an instance, by its start, wrote in `hour`.
    pub fn key_of(prefix: &str, hour: Hour, (instance, started): (InstanceId, Millis)) -> String {
        format!("{prefix}{HEARTBEATS}{}/{instance}-{}.json", hour.partition(), started.get())
    }

    /// The instance and the start of the process that the name of a heartbeat tells.
    pub fn parse_name(name: &str) -> Option<(InstanceId, Millis)> {
        let (instance, started) = name.strip_suffix(".json")?.split_once('-')?;
        Some((InstanceId::parse(instance)?, Millis::new(started.parse().ok()?)?))
    }

    /// Its text.
    pub fn write(&self) -> Vec<u8> {
        // Strings and numbers always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a heartbeat; `None` if it is none, or of a version that this one does not know.
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().filter(|heartbeat: &Self| heartbeat.format == FORMAT_VERSION)
    }

    /// Up to which received time the required sinks have all that the instance took; `None` if that is for ever.
    pub fn complete_until(&self) -> Option<Millis> {
        let settled = self.at.saturating_add(-SETTLING_MILLIS);
        (!self.ended).then(|| self.oldest_unstored.map_or(settled, |oldest| oldest.min(settled)))
    }

    /// Whether the instance should have been heard of since.
    pub fn is_silent(&self, now: Millis) -> bool {
        !self.ended && self.is_unheard(SILENT_INTERVALS, now)
    }

    /// Whether the instance is silent, and has left nothing that anybody was told it keeps: it said so only once the
    /// required sinks had the events and the pages that name them.
    pub fn has_vanished(&self, now: Millis) -> bool {
        !self.keeps && !self.ended && self.is_unheard(VANISHED_INTERVALS, now)
    }

    fn is_unheard(&self, intervals: i64, now: Millis) -> bool {
        let patience = (self.interval_seconds as i64).saturating_mul(intervals * 1_000);
        self.at.saturating_add(patience) < now
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_yes(keeps: &bool) -> bool {
    *keeps
}

/// What is written as text.
trait Text: Sized {
    fn read(text: &str) -> Option<Self>;
}

impl Text for Millis {
    fn read(text: &str) -> Option<Self> {
        Self::parse_rfc3339(text)
    }
}

impl Text for InstanceId {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

mod as_text {
    use super::{Deserialize, Deserializer, Serializer, Text, de};

    pub(super) fn serialize<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.to_string())
    }

    pub(super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text).ok_or_else(|| de::Error::custom("not in its form"))
    }
}

mod as_text_or_null {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Text, de};

    #[expect(clippy::ref_option, reason = "serde asks for it")]
    pub(super) fn serialize<T: ToString, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| T::read(&text).ok_or_else(|| de::Error::custom("not in its form"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat() -> Heartbeat {
        let instance = InstanceId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        let started = Millis::new(1_795_338_000_123).unwrap();
        Heartbeat {
            at: started.saturating_add(600_000),
            oldest_unstored: Some(started),
            requests: [("accepted".to_owned(), 7)].into(),
            events: [("heard".to_owned(), EventCounts { received: 9, refused: 1, accepted: 7, rejected: 1 })].into(),
            ..Heartbeat::new(instance, started, Duration::from_mins(1))
        }
    }

    #[test]
    fn a_heartbeat_reads_as_it_is_documented() {
        let heartbeat = heartbeat();
        assert_eq!(
            String::from_utf8(heartbeat.write()).unwrap(),
            "{\"format\":1,\"instance\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"started\":\"2026-11-22T09:00:00.123Z\",\
             \"at\":\"2026-11-22T09:10:00.123Z\",\"interval_seconds\":60,\
             \"oldest_unstored\":\"2026-11-22T09:00:00.123Z\",\"ended\":false,\"requests\":{\"accepted\":7},\
             \"events\":{\"heard\":{\"received\":9,\"refused\":1,\"accepted\":7,\"rejected\":1}}}"
        );
        assert_eq!(Heartbeat::read(&heartbeat.write()), Some(heartbeat.clone()));
        let none = Heartbeat { oldest_unstored: None, ..heartbeat.clone() };
        assert_eq!(Heartbeat::read(&none.write()), Some(none));
        let other = String::from_utf8(heartbeat.write()).unwrap().replace("\"format\":1", "\"format\":2");
        assert_eq!(Heartbeat::read(other.as_bytes()), None);
    }

    #[test]
    fn the_key_is_in_the_hour_of_the_beat_and_names_the_process() {
        let heartbeat = heartbeat();
        let key = heartbeat.key("logs/");
        assert_eq!(key, "logs/_ledger/heartbeats/dt=2026-11-22/hour=09/01ARZ3NDEKTSV4RRFFQ69G5FAV-1795338000123.json");
        let name = key.rsplit('/').next().unwrap();
        assert_eq!(Heartbeat::parse_name(name), Some((heartbeat.instance, heartbeat.started)));
        assert_eq!(Heartbeat::parse_name("x-1.json"), None);
    }

    #[test]
    fn what_is_complete_is_what_is_stored_and_has_settled() {
        let heartbeat = heartbeat();
        let settled = heartbeat.at.saturating_add(-60_000);
        assert_eq!(heartbeat.complete_until(), heartbeat.oldest_unstored);
        assert_eq!(Heartbeat { oldest_unstored: None, ..heartbeat.clone() }.complete_until(), Some(settled));
        let fresh = Heartbeat { oldest_unstored: Some(heartbeat.at), ..heartbeat.clone() };
        assert_eq!(fresh.complete_until(), Some(settled));
        assert_eq!(Heartbeat { ended: true, ..heartbeat }.complete_until(), None);
    }

    #[test]
    fn an_instance_is_silent_after_three_intervals_unless_it_has_ended() {
        let heartbeat = heartbeat();
        let later = heartbeat.at.saturating_add(180_001);
        assert!(heartbeat.is_silent(later) && !heartbeat.is_silent(heartbeat.at.saturating_add(180_000)));
        assert!(!Heartbeat { ended: true, ..heartbeat }.is_silent(later));
    }

    #[test]
    fn an_instance_that_keeps_nothing_says_so_and_has_vanished_after_ten_intervals() {
        let keeping = heartbeat();
        let none = Heartbeat { keeps: false, ..heartbeat() };
        let text = String::from_utf8(none.write()).unwrap();
        assert!(text.contains("\"ended\":false,\"keeps\":false,"), "{text}");
        assert_eq!(Heartbeat::read(text.as_bytes()), Some(none.clone()));
        let later = none.at.saturating_add(600_001);
        assert!(none.has_vanished(later) && !none.has_vanished(none.at.saturating_add(600_000)));
        assert!(!keeping.has_vanished(later), "its spool is somewhere");
        assert!(!Heartbeat { ended: true, ..none }.has_vanished(later));
    }
}
