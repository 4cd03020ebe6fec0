//! What a fleet of devices was told of its batches, and what is stored of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    time::Instant,
};

use serde_json::Value;

use crate::{device::Batch, objects};

/// An attempt that did not end in an answer of a logweir that was well: nobody told the device what became of its batch.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) batch: String,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// The status, if there was one.
    pub(crate) status: Option<u16>,
    /// Whom the load balancer had chosen, if it said so.
    pub(crate) server: Option<String>,
    /// Whether it went over a connection that had carried another one before.
    pub(crate) reused: bool,
}

impl Trouble {
    /// Whether a connection that was idle ended without an answer: it may have been closed as the request came.
    pub(crate) fn met_a_closed_connection(&self) -> bool {
        self.reused && self.status.is_none()
    }
}

/// What became of the batches of some devices.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Of each batch that was acknowledged, how many events it has.
    pub(crate) acknowledged: BTreeMap<String, usize>,
    /// Batches that were not, in the end.
    pub(crate) given_up: Vec<String>,
    /// Every trouble that there was.
    pub(crate) troubles: Vec<Trouble>,
    /// How many attempts there were.
    pub(crate) attempts: usize,
    /// How many of them were refused.
    pub(crate) refused: usize,
    /// How many batches each instance acknowledged.
    pub(crate) by_server: BTreeMap<String, usize>,
}

impl Account {
    pub(crate) fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.given_up.extend(other.given_up);
        self.troubles.extend(other.troubles);
        self.attempts += other.attempts;
        self.refused += other.refused;
        for (server, count) in other.by_server {
            *self.by_server.entry(server).or_default() += count;
        }
    }

    pub(crate) fn acknowledge(&mut self, batch: &Batch, server: &str) {
        self.acknowledged.insert(batch.id.clone(), batch.events);
        *self.by_server.entry(server.to_owned()).or_default() += 1;
    }

    /// Calls every instance as `name` says, which is given what an answer called it.
    pub(crate) fn call(&mut self, name: impl Fn(&str) -> String) {
        for (server, count) in std::mem::take(&mut self.by_server) {
            *self.by_server.entry(name(&server)).or_default() += count;
        }
        for server in self.troubles.iter_mut().filter_map(|trouble| trouble.server.as_mut()) {
            *server = name(server);
        }
    }

    /// Compares with the objects below `root`.
    ///
    /// # Panics
    /// If an acknowledged event is missing, if one is there more often than nobody knew what became of it, if two copies
    /// of one have different ids or two events the same, or if something is there that was never sent.
    pub(crate) fn compare(&self, root: &Path) -> Stored {
        let mut copies: BTreeMap<(String, u64), usize> = BTreeMap::new();
        let mut ids: BTreeMap<String, (String, u64)> = BTreeMap::new();
        let mut stored = Stored::default();
        for object in objects::each(root) {
            stored.instances.insert(object.instance);
            for line in &object.lines {
                let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no {key}"));
                let event = (text("batch_id").to_owned(), line.get("index").and_then(Value::as_u64).unwrap());
                let other = ids.insert(text("event_id").to_owned(), event.clone());
                assert!(other.as_ref().is_none_or(|other| *other == event), "{other:?} and {event:?} have one id");
                *copies.entry(event).or_default() += 1;
            }
        }
        // As many ids as events: each event's copies have one, and no two events share it.
        assert_eq!(ids.len(), copies.len(), "copies of an event have different ids");
        let mut uncertain: BTreeMap<&str, usize> = BTreeMap::new();
        for trouble in &self.troubles {
            *uncertain.entry(&trouble.batch).or_default() += 1;
        }
        for (batch, events) in &self.acknowledged {
            let unknown = uncertain.get(batch.as_str()).copied().unwrap_or_default();
            for index in 0..*events as u64 {
                let found = copies.remove(&(batch.clone(), index)).unwrap_or_default();
                assert!(found >= 1, "event {index} of {batch} was acknowledged and is lost");
                assert!(found <= 1 + unknown, "event {index} of {batch} is stored {found} times; {unknown} unanswered");
                stored.events += 1;
                stored.doubled += usize::from(found > 1);
            }
        }
        copies.retain(|(batch, _), _| !self.given_up.contains(batch));
        assert!(copies.is_empty(), "nobody sent {:?}", copies.first_key_value());
        stored
    }
}

/// What is stored.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// Events that were acknowledged, each counted once.
    pub(crate) events: usize,
    /// Of them, those that are there more than once.
    pub(crate) doubled: usize,
    /// Who stored.
    pub(crate) instances: BTreeSet<String>,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, doubled, instances } = self;
        write!(f, "{events} acknowledged events stored by {} instances, {doubled} of them twice", instances.len())
    }
}
