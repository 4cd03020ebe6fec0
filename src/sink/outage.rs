//! What is said of a sink that fails: that it does, again every few minutes, and that it is over.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::batch::{Clock, Millis, StreamName};

/// How often the beginning of an outage is said at the most: a service that fails now and then would fill the log. One
/// that goes on for longer is said then.
const SAID_EVERY: Duration = Duration::from_mins(1);
/// How often an outage is said again that goes on.
const REMINDED_EVERY: Duration = Duration::from_mins(5);

/// Whether attempts of a sink fail, since when and how often. One of each sink's driver, for everything that it has on its
/// way.
#[derive(Debug)]
pub(super) struct Outage {
    sink: String,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<(Instant, Millis)>,
    /// How many calls, or objects, failed.
    calls: u64,
    /// How many attempts to make them again failed too.
    retries: u64,
    /// How many calls or objects are to be tried again; see [`Failing`].
    failing: usize,
    /// Whether it was said.
    said: bool,
    last_said: Option<Instant>,
}

/// An attempt that failed.
pub(super) struct Failed<'a> {
    pub(super) what: What<'a>,
    pub(super) error: &'a dyn Display,
    /// How long until the next.
    pub(super) wait: Duration,
    /// Which attempt it was, from 1 on.
    pub(super) attempt: u64,
}

/// What was to be stored or delivered.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    /// Lines of a stream.
    Lines(&'a StreamName),
    /// An object, by its key.
    Object(&'a dyn Display),
}

/// What may be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Say {
    First,
    Again,
    Nothing,
}

impl Outage {
    pub(super) fn new(sink: &str) -> Self {
        Self { sink: sink.into(), clock: Clock::default(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers, which are whole between two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt failed at `now`, and is made again.
    pub(super) fn failed(&self, failed: &Failed<'_>, now: Instant) {
        let mut state = self.state();
        let say = state.failed(failed.attempt, now, self.clock.now());
        let (calls, retries) = (state.calls, state.retries);
        let since = state.began.map(|(_, since)| tracing::field::display(since));
        drop(state);
        let Failed { what, error, wait, attempt } = failed;
        let (stream, key, text) = match what {
            What::Lines(stream) => (Some(tracing::field::display(stream)), None, "lines could not be delivered"),
            What::Object(key) => (None, Some(tracing::field::display(key)), "an object could not be stored"),
        };
        let sink = &self.sink;
        match say {
            Say::First => tracing::warn!(sink, stream, key, %error, ?wait, "{text}; trying again"),
            Say::Again => {
                tracing::warn!(sink, stream, key, %error, ?wait, since, calls, retries, "{text} yet; trying again");
            }
            Say::Nothing => tracing::debug!(sink, stream, key, %error, ?wait, attempt, "{text}; trying again"),
        }
    }

    /// An attempt succeeded at `now`. If none that failed is to be made again, the outage is over: whether it was one.
    pub(super) fn succeeded(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.failing > 0 {
            return false;
        }
        let Some((began, since)) = state.began.take() else { return false };
        let lasted = now.saturating_duration_since(began);
        let (calls, retries) = (std::mem::take(&mut state.calls), std::mem::take(&mut state.retries));
        let said = std::mem::take(&mut state.said);
        drop(state);
        let sink = &self.sink;
        if said {
            tracing::info!(sink, %since, ?lasted, calls, retries, "the sink works again");
        } else {
            tracing::debug!(sink, %since, ?lasted, calls, retries, "the sink works again");
        }
        true
    }
}

impl State {
    /// What may be said of an attempt that failed.
    fn failed(&mut self, attempt: u64, now: Instant, time: Millis) -> Say {
        self.began.get_or_insert((now, time));
        *(if attempt == 1 { &mut self.calls } else { &mut self.retries }) += 1;
        let every = if self.said { REMINDED_EVERY } else { SAID_EVERY };
        if self.last_said.is_some_and(|last| now.saturating_duration_since(last) < every) {
            return Say::Nothing;
        }
        self.last_said = Some(now);
        if std::mem::replace(&mut self.said, true) { Say::Again } else { Say::First }
    }
}

/// Something that failed and is to be tried again: while there is one, the outage is not over.
pub(super) struct Failing(Arc<Outage>);

impl Failing {
    pub(super) fn of(outage: &Arc<Outage>) -> Self {
        outage.state().failing += 1;
        Self(Arc::clone(outage))
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.0.state().failing -= 1;
    }
}

#[cfg(test)]
pub(super) mod tests;
