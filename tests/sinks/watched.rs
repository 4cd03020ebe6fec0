//! A line sink between the driver and the sink, that sees what the driver does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use logweir::sink::{BoxFuture, CallLimits, Fate, LineSink, Outcome, Parcel};

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often each line was in an attempt of unknown outcome.
    pub(crate) perhaps: BTreeMap<String, usize>,
    /// How many calls are on their way, and were at the most.
    pub(crate) calls: (usize, usize),
    /// The lines that were taken, or will never be.
    settled: BTreeSet<String>,
    /// The newest line that was sent, by its text.
    newest: String,
    /// The lines that the sink wants, in the order of the spool.
    wanted: Vec<String>,
    /// How far the newest line was ahead of the oldest that was not settled, at the most.
    pub(crate) window: usize,
}

impl Seen {
    /// How far the newest line that was sent is ahead of the oldest that is not settled.
    fn ahead(&self) -> usize {
        let oldest = self.wanted.iter().position(|line| !self.settled.contains(line)).unwrap_or(self.wanted.len());
        let newest = self.wanted.iter().position(|line| *line == self.newest).map_or(0, |at| at + 1);
        newest.saturating_sub(oldest)
    }
}

/// A sink that is watched.
#[derive(Clone)]
pub(crate) struct Watched {
    sink: Arc<dyn LineSink>,
    seen: Arc<Mutex<Seen>>,
}

impl Watched {
    /// Watches `sink`, which is to get `wanted`, in the order of the spool; their texts are in the same order.
    pub(crate) fn new(sink: Arc<dyn LineSink>, wanted: Vec<String>) -> Self {
        assert!(wanted.is_sorted());
        Self { sink, seen: Arc::new(Mutex::new(Seen { wanted, ..Seen::default() })) }
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }
}

/// A call on its way: unless it is answered, its outcome is unknown.
struct Call<'a> {
    watched: &'a Watched,
    parcel: &'a Parcel,
    answered: bool,
}

impl<'a> Call<'a> {
    fn begin(watched: &'a Watched, parcel: &'a Parcel) -> Self {
        let mut seen = watched.seen.lock().unwrap();
        seen.calls.0 += 1;
        seen.calls.1 = seen.calls.1.max(seen.calls.0);
        let newest = texts(parcel).pop().unwrap();
        seen.newest = std::mem::take(&mut seen.newest).max(newest);
        seen.window = seen.window.max(seen.ahead());
        drop(seen);
        Self { watched, parcel, answered: false }
    }

    fn answered(mut self, outcome: &Outcome) {
        self.answered = true;
        let mut seen = self.watched.seen.lock().unwrap();
        for (number, line) in texts(self.parcel).into_iter().enumerate() {
            match outcome.left.iter().find(|left| left.lines.contains(&number)).map(|left| &left.fate) {
                None | Some(Fate::Never(_)) => {
                    seen.settled.insert(line);
                }
                Some(Fate::Unknown(_)) => *seen.perhaps.entry(line).or_default() += 1,
                Some(Fate::Later(_)) => {}
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut seen = self.watched.seen.lock().unwrap();
        seen.calls.0 -= 1;
        if !self.answered {
            for line in texts(self.parcel) {
                *seen.perhaps.entry(line).or_default() += 1;
            }
        }
    }
}

impl LineSink for Watched {
    fn limits(&self) -> CallLimits {
        self.sink.limits()
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let (limits, is_one) = (self.limits(), parcel.lines() == 1);
            assert!(
                parcel.lines() <= limits.lines && (parcel.bytes() <= limits.bytes || is_one),
                "a parcel fits a call"
            );
            let call = Call::begin(self, parcel);
            let outcome = self.sink.deliver(parcel).await;
            call.answered(&outcome);
            outcome
        })
    }
}

/// The lines of a parcel, without line feeds.
pub(crate) fn texts(parcel: &Parcel) -> Vec<String> {
    let text = |line| String::from_utf8(parcel.line(line).to_vec()).unwrap().trim_end().to_owned();
    (0..parcel.lines()).map(text).collect()
}
