//! Changes without a restart: a configuration that is read again is put in force as a whole, or not at all.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    app::{self, ApplyError, Breaking, Server},
    config::{self, Config, Loaded, Look, Problems, Reload, Setting, Source},
    metrics,
    telemetry::Telemetry,
};

/// What is in force while a server runs.
#[derive(Debug)]
pub struct InForce {
    source: Source,
    running: Loaded,
    telemetry: Telemetry,
    watch: Arc<Watching>,
}

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Unsound(#[from] Problems),
    #[error(transparent)]
    Breaking(#[from] Breaking),
    #[error(transparent)]
    AsThingsStand(#[from] ApplyError),
}

impl InForce {
    /// What a server was started with, which was read from `file`. When a file that it was read from has changed, `changed` is
    /// told.
    pub fn new(loaded: Loaded, file: Option<PathBuf>, telemetry: Telemetry, changed: Arc<Notify>) -> Self {
        let source = file.map_or(Source::Embedded, Source::File);
        tell_warnings(&loaded);
        let watch = Arc::new(Watching::new(&loaded));
        watch_files(Arc::clone(&watch), changed);
        Self { source, running: loaded, telemetry, watch }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.running.config
    }

    /// Reads the configuration again, for `server`: takes over what can be, and tells what needs a restart. What is not
    /// sound, or would break loads, changes nothing.
    pub fn reload(&mut self, server: &Server) {
        // Looked at before, so that what is written meanwhile is noticed.
        let look = self.watch.state().look.now();
        let outcome = match self.take_over(server) {
            Ok(()) => "taken_over",
            Err(refusal) => {
                self.watch.set(look, &self.running.config);
                tracing::error!(problems = %refusal, "the configuration was read again and is refused: everything stays as it was");
                "refused"
            }
        };
        server.metrics().counter(&metrics::RELOADS, &[outcome]).increment(1);
    }

    fn take_over(&mut self, server: &Server) -> Result<(), Refusal> {
        let Reload { in_effect, read, changed, restart } =
            config::reload(self.source.clone(), config::environment(), &self.running)?;
        app::changes(&read, &self.running)?;
        let version = server.apply(&in_effect)?;
        self.watch.set(in_effect.look.clone(), &in_effect.config);
        let (was, is) = (self.running.config.log.level, in_effect.config.log.level);
        self.running = in_effect;
        // The line is written if either level lets it.
        self.telemetry.set_level(was.max(is));
        tracing::info!(version, changed = listed(&changed), "the configuration was read again and is in force");
        if !restart.is_empty() {
            tracing::warn!(settings = listed(&restart), "these settings have changed and need a restart");
        }
        tell_warnings(&self.running);
        self.telemetry.set_level(is);
        Ok(())
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        self.watch.state().ended = true;
        self.watch.news.notify_all();
    }
}

fn listed(settings: &[Setting]) -> String {
    settings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn tell_warnings(loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
}

/// The files that are looked at, and how often.
#[derive(Debug)]
struct Watching {
    state: Mutex<WatchState>,
    news: Condvar,
}

#[derive(Debug)]
struct WatchState {
    look: Look,
    interval: Duration,
    ended: bool,
}

impl Watching {
    fn new(loaded: &Loaded) -> Self {
        let state =
            WatchState { look: loaded.look.clone(), interval: loaded.config.watch.interval.get(), ended: false };
        Self { state: Mutex::new(state), news: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, WatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files have been read, and `config` is in force.
    fn set(&self, look: Look, config: &Config) {
        let mut state = self.state();
        (state.look, state.interval) = (look, config.watch.interval.get());
        drop(state);
        self.news.notify_all();
    }
}

/// Looks on a thread of its own, since a file system may hang: until `watch` has ended.
fn watch_files(watch: Arc<Watching>, changed: Arc<Notify>) {
    if watch.state().look.is_at_nothing() {
        return;
    }
    let looking = move || {
        let mut state = watch.state();
        while !state.ended {
            if state.interval.is_zero() {
                state = watch.news.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let interval = state.interval;
            let waited = watch.news.wait_timeout(state, interval).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() && !state.ended && state.look.is_changed() {
                changed.notify_one();
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("config-watch".to_owned()).spawn(looking) {
        tracing::warn!(%error, "the files of the configuration are not watched; SIGHUP reads them again");
    }
}
