//! A configuration that is read again while the instance runs: what it takes over, and what needs a restart.
//!
//! Taken over: keys and where they are read from, with their quotas; `mute`, `hints` and `fleet`; streams, as far as they are
//! new or widened ([`Schema::widens`](crate::schema::Schema::widens)), and their `ack` and `priority`; `log.level`; how far
//! best-effort sinks may lag; `watch`; and what other processes use, `warehouse` and `rollups`. Everything else was built
//! into the instance when it started, and needs a restart.
//!
//! What is in effect afterwards is itself a configuration that passed every check: where something that is taken over would
//! not go with something that is not, nothing is taken over. What would break loads is judged by who knows the warehouses.

pub(super) mod differences;
mod fingerprint;

use self::differences::differences;
use super::{
    Config, DeclaredStream, Loaded, Log, Ordered, Problem, Problems, Sink, Source, loading::Reading, setting::Setting,
};
use crate::schema::{Schema, Stream};

/// The most settings that a line of the log names.
const MAX_LISTED: usize = 20;

/// What becomes of a configuration that is read again.
#[derive(Debug)]
pub struct Reload {
    /// What is in effect from now on: what ran, with what can be taken over.
    pub in_effect: Loaded,
    /// What was read.
    pub read: Loaded,
    /// The settings that are taken over, in the order of the file, secrets and keys last.
    pub changed: Vec<Setting>,
    /// The settings that differ from what is in effect: they need a restart.
    pub restart: Vec<Setting>,
}

/// What the instance that runs with `running` makes of `source` and of `variables`.
///
/// # Errors
/// What is wrong with it, or with what would be in effect.
pub fn reload(
    source: Source,
    variables: impl Iterator<Item = (String, String)>,
    running: &Loaded,
) -> Result<Reload, Problems> {
    let (read, mut reading) = Reading::new(source, variables)?.checked()?;
    let config = merged(running, &read);
    let changed = differences(&running.config, &config);
    let restart = differences(&config, &read.config);
    let (streams, problems) = reading.check(&config);
    if !problems.is_empty() {
        let problems = problems.into_iter().map(|problem| until_restart(problem, &restart)).collect();
        return Err(Problems::new(problems).of(read.look));
    }
    let (old, new) = (&running.config.streams, &config.streams);
    let same = |stream: &Stream| old.get(stream.name.as_str()) == new.get(stream.name.as_str());
    let known = |stream: &Stream| running.streams.iter().find(|known| known.name == stream.name).cloned();
    let streams =
        streams.into_iter().map(|stream| known(&stream).filter(|_| same(&stream)).unwrap_or(stream)).collect();
    let in_effect = Loaded { config, streams, ..read.clone() };
    Ok(Reload { in_effect, read, changed, restart })
}

/// `settings` for a line of the log: the first of them by name, and how many more there are.
pub fn listed(settings: &[Setting]) -> String {
    let mut named: Vec<String> = settings.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    if let more @ 1.. = settings.len().saturating_sub(MAX_LISTED) {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}

/// What is in effect when `read` comes to who runs with `running`. Every section is named, so that a new one is decided on.
pub(super) fn merged(running: &Loaded, read: &Loaded) -> Config {
    let (was, is) = (running.config.clone(), read.config.clone());
    Config {
        keys_file: is.keys_file,
        server: was.server,
        admin: was.admin,
        limits: was.limits,
        ingest: was.ingest,
        queue: was.queue,
        pacing: was.pacing,
        admission: was.admission,
        hints: is.hints,
        spool: was.spool,
        sinks: was.sinks.into_iter().map(|sink| with_lag(sink, &is.sinks)).collect(),
        ledger: was.ledger,
        fleet: is.fleet,
        keys: is.keys,
        keys_of_file: is.keys_of_file,
        mute: is.mute,
        privacy: was.privacy,
        streams: streams(running, read),
        // What loads and counts is another process.
        warehouse: is.warehouse,
        rollups: is.rollups,
        drain: was.drain,
        log: Log { level: is.log.level, ..was.log },
        watch: is.watch,
    }
}

/// `sink`, with how far it may lag by what was `read`. Whether it is required was decided when it joined.
fn with_lag(sink: Sink, read: &[Sink]) -> Sink {
    match read.iter().find(|other| other.name == sink.name) {
        Some(other) if !sink.required && !other.required => {
            Sink { max_lag_bytes: other.max_lag_bytes, max_lag_age: other.max_lag_age, ..sink }
        }
        _ => sink,
    }
}

/// The streams that were read, each as it can be taken over; and those that are not declared any more.
fn streams(running: &Loaded, read: &Loaded) -> Ordered<DeclaredStream> {
    let (was, is) = (&running.config.streams, &read.config.streams);
    let declared = is.iter().map(|(name, new)| {
        let Some(old) = was.get(name) else { return (name.to_owned(), new.clone()) };
        let widens = schema(read, name).zip(schema(running, name)).is_some_and(|(new, old)| new.widens(old));
        let schema = if widens { new } else { old };
        (name.to_owned(), DeclaredStream { ack: new.ack, priority: new.priority, ..schema.clone() })
    });
    let gone = was.iter().filter(|(name, _)| is.get(name).is_none());
    declared.chain(gone.map(|(name, old)| (name.to_owned(), old.clone()))).collect()
}

fn schema<'l>(loaded: &'l Loaded, name: &str) -> Option<&'l Schema> {
    loaded.streams.iter().find(|stream| stream.name.as_str() == name).map(|stream| &stream.schema)
}

/// A problem that is only there until a restart has put what was read in effect as a whole.
fn until_restart(problem: Problem, restart: &[Setting]) -> Problem {
    Problem {
        what: format!("{}, as long as what needs a restart is not in effect: {}", problem.what, listed(restart)),
        remedy: format!("restart the instance; or {}", problem.remedy),
        ..problem
    }
}
