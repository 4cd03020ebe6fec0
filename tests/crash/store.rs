//! Object stores that survive the machine: what they hold is what a warehouse would load.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use logweir::sink::{
    BoxFuture, Failure, ObjectBody, ObjectFacts, ObjectPlan, ObjectReader, ObjectStore, Page, Placed, PutError,
    StoreError, Told,
};

use crate::{
    copy_rules,
    disk::{Call, Machine, Sabotage},
};

/// A store.
pub(crate) struct Store {
    machine: Machine,
    sabotage: Sabotage,
    objects: Arc<Mutex<Objects>>,
}

/// What a store holds.
#[derive(Default)]
pub(crate) struct Objects {
    /// By place and key: the facts and the lines.
    pub(crate) stored: BTreeMap<String, (ObjectFacts, Vec<String>)>,
    /// Keys under which something else was to be put.
    pub(crate) occupied: Vec<String>,
    /// Answered, and not there yet.
    late: VecDeque<(String, ObjectFacts, Vec<String>)>,
}

/// How many later objects an object that is answered too early lets pass.
const LATE: usize = 3;

impl Objects {
    /// Of what was answered, all but the last `but` come to be after all.
    pub(crate) fn catch_up(&mut self, but: usize) {
        while self.late.len() > but {
            let (key, facts, lines) = self.late.pop_front().unwrap();
            self.stored.insert(key, (facts, lines));
        }
    }

    /// The power went: what was only answered never comes to be.
    pub(crate) fn forget_late(&mut self) {
        self.late.clear();
    }
}

impl Store {
    pub(crate) fn new(machine: &Machine, sabotage: Sabotage, objects: &Arc<Mutex<Objects>>) -> Self {
        Self { machine: machine.clone(), sabotage, objects: Arc::clone(objects) }
    }

    async fn place(&self, plan: &ObjectPlan, mut body: ObjectBody) -> Result<Placed, PutError> {
        let failed = |error| PutError::store(Failure::Server, error);
        let mut packed = Vec::new();
        while let Some(part) = body.next_part(1 << 20).await? {
            packed.extend(part.bytes);
        }
        let text = copy_rules::lines(&packed).unwrap_or_else(|rule| panic!("{}: {rule}", plan.key));
        // The lines are the test's own, and each is looked at in the end: the first one stands for them here.
        let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        copy_rules::check_lines(first).unwrap_or_else(|rule| panic!("{}: {rule}", plan.key));
        let text = String::from_utf8(text).unwrap() + "\n";
        let lines: Vec<String> = text.lines().map(Into::into).collect();
        let facts = &plan.facts;
        let found = (lines.len() as u64, text.len() as u64, crc32fast::hash(text.as_bytes()));
        assert_eq!(found, (facts.events, facts.bytes, facts.crc32), "the facts of {}", plan.key);
        // The first operation fails without an effect, the second after it.
        self.machine.operate(Call::Put).map_err(failed)?;
        let placed = self.keep(plan, lines);
        self.machine.operate(Call::Put).map_err(failed)?;
        Ok(placed)
    }

    fn keep(&self, plan: &ObjectPlan, lines: Vec<String>) -> Placed {
        let key = format!("{}/{}", plan.place, plan.key);
        let mut objects = self.objects.lock().unwrap();
        objects.catch_up(LATE);
        if let Some((facts, _)) = objects.stored.get(&key) {
            let metadata = facts.metadata();
            let told = |name: &str| metadata.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str());
            if plan.facts.matches(told) {
                return Placed::Existed;
            }
            objects.occupied.push(key);
            return Placed::Occupied;
        }
        if self.sabotage == Sabotage::StoreAnswersTooEarly {
            objects.late.push_back((key, plan.facts.clone(), lines));
        } else {
            objects.stored.insert(key, (plan.facts.clone(), lines));
        }
        Placed::Stored(1)
    }
}

impl ObjectStore for Store {
    fn put<'a>(&'a self, plan: &'a ObjectPlan, body: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>> {
        Box::pin(self.place(plan, body))
    }

    fn told<'a>(&'a self, place: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Told>, StoreError>> {
        Box::pin(async move {
            let failed = |error| StoreError::from(PutError::store(Failure::Server, error));
            self.machine.operate(Call::Put).map_err(failed)?;
            let objects = self.objects.lock().unwrap();
            let facts = objects.stored.get(&format!("{place}/{key}")).map(|(facts, _)| facts);
            Ok(facts.map(|facts| Told {
                events: Some(facts.events),
                bytes: Some(facts.bytes),
                crc32: Some(facts.crc32),
            }))
        })
    }

    // What only the audit and the heartbeats ask for.

    fn overwrite<'a>(&'a self, _: &'a str, _: &'a str, _: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        unreachable!("a driver overwrites nothing")
    }

    fn list<'a>(&'a self, _: &'a str, _: &'a str, _: Option<String>) -> BoxFuture<'a, Result<Page, StoreError>> {
        unreachable!("a driver lists nothing")
    }

    fn get<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Box<dyn ObjectReader>>, StoreError>> {
        unreachable!("a driver reads nothing back")
    }
}
