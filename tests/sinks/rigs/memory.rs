//! A line sink in memory, which can meet with everything.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{Arc, Mutex},
};

use logweir::sink::{BoxFuture, CallLimits, Failure, Fate, Left, LineSink, Outcome, Parcel};

use crate::{
    rig::{Rig, Sink},
    script::{Fault, Part, Script},
    watched::texts,
};

/// A line sink in memory.
#[derive(Clone)]
pub(crate) struct Memory {
    script: Script,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    arrived: Vec<String>,
    /// What was once never to be taken never is.
    never: BTreeSet<String>,
}

impl Rig for Memory {
    fn cannot(_: Fault) -> Option<&'static str> {
        None
    }

    async fn start(script: Script) -> Self {
        Self { script, state: Arc::default() }
    }

    fn sink(&self) -> Sink {
        Sink::Lines(Arc::new(self.clone()))
    }

    fn arrived(&self) -> Vec<String> {
        self.state.lock().unwrap().arrived.clone()
    }
}

impl Memory {
    /// Takes the lines of `parcel` but those for which there is a fate.
    fn take(&self, parcel: &Parcel, fate: impl Fn(usize) -> Option<Fate>) -> Outcome {
        let mut state = self.state.lock().unwrap();
        let mut left = Vec::new();
        for (number, line) in texts(parcel).into_iter().enumerate() {
            let never = || state.never.contains(&line).then(|| Fate::Never("never, as before".into()));
            match never().or_else(|| fate(number)) {
                None => state.arrived.push(line),
                Some(fate) => {
                    if let Fate::Never(_) = &fate {
                        state.never.insert(line);
                    }
                    left.push(Left { lines: number..number + 1, fate });
                }
            }
        }
        Outcome { left, ..Outcome::default() }
    }

    fn take_all(&self, parcel: &Parcel) -> Outcome {
        self.take(parcel, |_| None)
    }

    fn take_part(&self, parcel: &Parcel, part: Part, fate: &Fate) -> Outcome {
        self.take(parcel, |line| part.has(line, parcel.lines()).then(|| fate.clone()))
    }
}

impl LineSink for Memory {
    fn limits(&self) -> CallLimits {
        CallLimits { bytes: 700, lines: 12 }
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let lines = parcel.lines();
            match self.script.next() {
                None => self.take_all(parcel),
                Some(Fault::Refused) => Outcome::later(lines, Failure::Server, "as told"),
                Some(Fault::Throttled(after)) => {
                    Outcome { after, ..Outcome::later(lines, Failure::Throttled, "too much, as told") }
                }
                Some(Fault::Part(part)) => self.take_part(parcel, part, &Fate::Later(Failure::Throttled)),
                Some(Fault::Never(part)) => self.take_part(parcel, part, &Fate::Never("as told".into())),
                Some(Fault::Lost) => Outcome::unknown(lines, Failure::Network, "as told"),
                Some(Fault::AnswerLost) => {
                    self.take_all(parcel);
                    Outcome::unknown(lines, Failure::Network, "as told")
                }
                Some(Fault::Hangs) => pending().await,
                Some(Fault::HangsAfter) => {
                    self.take_all(parcel);
                    pending().await
                }
                Some(Fault::Panics) => {
                    self.take_all(parcel);
                    panic!("as told")
                }
            }
        })
    }
}
