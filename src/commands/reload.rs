//! Changes without a restart: a configuration that is read again is put in force as a whole, or not at all.

mod reader;

use std::{path::PathBuf, sync::Arc};

use tokio::sync::Notify;

use self::reader::{Reader, Taken, read_again};
use crate::{
    app::{ApplyError, Breaking, Server},
    config::{Config, Loaded, Problems, Reload, Source, listed},
    metrics,
    telemetry::Telemetry,
};

/// The most bytes of what is wrong with a configuration that one line of the log tells.
const MAX_TOLD_BYTES: usize = 8 * 1024;

/// What is in force while a server runs.
#[derive(Debug)]
pub struct InForce {
    running: Arc<Loaded>,
    telemetry: Telemetry,
    reader: Reader<Result<Reload, Refusal>>,
}

/// How far a reload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloading {
    /// The files are being read.
    Begun,
    /// What was read is in force, or refused; nothing else is being read.
    Done,
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
    #[error("no thread could be started that reads it: {0}")]
    NoThread(#[from] std::io::Error),
}

impl InForce {
    /// What a server was started with, which was read from `file`. When the configuration has been read again, because a file
    /// that it was read from has changed or because it was asked for, `news` is told.
    pub fn new(loaded: Loaded, file: Option<PathBuf>, telemetry: Telemetry, news: Arc<Notify>) -> Self {
        let source = file.map_or(Source::Embedded, Source::File);
        tell_warnings(&loaded);
        let running = Arc::new(loaded);
        let reader = Reader::new(&running, news, move |running| read_again(source.clone(), running));
        if let Err(error) = reader.start() {
            tracing::warn!(%error, "the files of the configuration are not watched; SIGHUP reads them again");
        }
        Self { running, telemetry, reader }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.running.config
    }

    /// Puts in force for `server` what has been read: takes over what can be, and tells what needs a restart. What is not
    /// sound, or would break loads, changes nothing. If nothing has been read, it is read now, by another thread: the one that
    /// waits for signals never waits for a file. To be called on each SIGHUP and each piece of news.
    pub fn reload(&mut self, server: &Server) -> Reloading {
        let read = match self.reader.take_or_ask() {
            Ok(Taken::Asked) => return Reloading::Begun,
            Ok(Taken::Read(read)) => read,
            Err(error) => Err(error.into()),
        };
        let outcome = match read.and_then(|reload| self.take_over(reload, server)) {
            Ok(()) => "taken_over",
            Err(refusal) => {
                let problems = shortened(&refusal.to_string());
                tracing::error!(
                    problems,
                    "the configuration was read again and is refused: everything stays as it was"
                );
                "refused"
            }
        };
        server.metrics().counter(&metrics::RELOADS, &[outcome]).increment(1);
        if self.reader.settle(&self.running) { Reloading::Begun } else { Reloading::Done }
    }

    fn take_over(&mut self, reload: Reload, server: &Server) -> Result<(), Refusal> {
        let Reload { in_effect, read: _, changed, restart } = reload;
        let version = server.apply(&in_effect)?;
        let (was, is) = (self.running.config.log.level, in_effect.config.log.level);
        self.running = Arc::new(in_effect);
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

/// The beginning of `text`, in whole lines if there are any, and what is left out.
fn shortened(text: &str) -> String {
    if text.len() <= MAX_TOLD_BYTES {
        return text.to_owned();
    }
    let begin = &text[..text.floor_char_boundary(MAX_TOLD_BYTES)];
    let begin = begin.rfind('\n').map_or(begin, |end| &begin[..end]);
    format!("{begin}\n… and {} bytes more, which `logweir check` tells", text.len() - begin.len())
}

fn tell_warnings(loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_whole_lines_up_to_a_limit() {
        assert_eq!(shortened("a\nb"), "a\nb");
        let line = format!("{}é\n", "x".repeat(98));
        let long = line.repeat(100_000 / line.len());
        let told = shortened(&long);
        assert!(told.len() < MAX_TOLD_BYTES + 100, "{}", told.len());
        let lines: Vec<&str> = told.lines().collect();
        let (last, whole) = lines.split_last().unwrap();
        assert!(whole.len() == MAX_TOLD_BYTES / line.len() && whole.iter().all(|told| *told == line.trim_end()));
        let left_out = long.len() - whole.len() * line.len() + 1;
        assert_eq!(*last, format!("… and {left_out} bytes more, which `logweir check` tells"));
        assert!(shortened(&"é".repeat(MAX_TOLD_BYTES)).len() < MAX_TOLD_BYTES + 100, "one line without an end");
    }
}
