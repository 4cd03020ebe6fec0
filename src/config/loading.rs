//! From a source to a configuration that passed every check, or to everything that is wrong with it.

use std::path::{Path, PathBuf};

use super::{
    Config, Look, Problem, Problems, environment,
    keys::{self, KeysFile},
    read,
    report::{Content, Document, Report, Unread, unreadable},
    spool, validate,
};
use crate::schema::Stream;

/// Where a configuration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a TOML file.
    File(PathBuf),
    /// In the program: what a newcomer gets.
    Embedded,
    /// Here, under a name for messages: rehearsals and tests.
    Text {
        /// What messages call it.
        name: String,
        /// The TOML.
        text: String,
    },
}

/// A configuration that passed every check.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it was read from, for a message.
    pub source: String,
    /// The settings.
    pub config: Config,
    /// The streams that are declared, in the order of the text.
    pub streams: Vec<Stream>,
    /// The files that it was read from, as they were.
    pub look: Look,
    /// What is sound, and yet hardly meant: sentences.
    pub warnings: Vec<String>,
}

/// Loads a configuration: `source`, and over it those of `variables` that are settings ([`environment()`](super::environment())
/// has them).
///
/// # Errors
/// [`Problems`]: the file could not be read, is not TOML, has settings that are none or of a wrong type, or settings
/// that break a rule. All that can be told is told at once.
pub fn load(source: Source, variables: impl Iterator<Item = (String, String)>) -> Result<Loaded, Problems> {
    Reading::new(source, variables)?.checked().map(|(loaded, _)| loaded)
}

/// A configuration that was read, with the places of its settings.
pub(super) struct Reading {
    config: Config,
    report: Report,
    keys: Option<KeysFile>,
    files: Vec<(PathBuf, Content)>,
}

impl Reading {
    /// Reads `source`, with `variables` over it.
    pub(super) fn new(source: Source, variables: impl Iterator<Item = (String, String)>) -> Result<Self, Problems> {
        let mut files = Vec::new();
        let mut dir = PathBuf::new();
        let document = match source {
            Source::File(path) => {
                let document = Document::open(&path).map_err(|Unread { error, content }| {
                    unreadable(&path, &error).of(Look::new(vec![(path.clone(), content)]))
                })?;
                dir = path.parent().map(Path::to_owned).unwrap_or_default();
                files.push((path, document.content()));
                document
            }
            Source::Embedded => Document::of("the embedded default", include_str!("../../config/default.toml")),
            Source::Text { name, text } => Document::of(name, text),
        };
        let tree = document.parse().map_err(|problems| Problems::new(problems).of(Look::new(files.clone())))?;
        let mut report = Report::new(document, tree);
        spool::kind::spell_out(report.tree());
        let misplaced = environment::overlay(report.tree(), variables);
        report.misplaced(misplaced);
        spool::kind::fill_in(report.tree());
        let (mut config, misreads): (Config, _) = read::read(report.tree());
        report.misread(misreads);
        let keys = keys::read(&mut config, &dir, &mut report, &mut files);
        Ok(Self { config, report, keys, files })
    }

    /// What was read, if it is sound, and what else can be checked by the places of its settings.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn checked(mut self) -> Result<(Loaded, Self), Problems> {
        let config = self.config.clone();
        let (streams, problems) = self.check(&config);
        if !problems.is_empty() {
            return Err(Problems::new(problems).of(self.look()));
        }
        let exposed = self.keys.as_ref().filter(|keys| keys.exposed).map(|keys| {
            format!(
                "{} can be read by every user of this machine, and has keys that are not hashed: chmod o-r, or write \
                 key_hash",
                keys.path.display()
            )
        });
        let source = self.report.name().to_owned();
        let warnings = exposed.into_iter().collect();
        Ok((Loaded { source, config, streams, look: self.look(), warnings }, self))
    }

    /// The files that it was read from, or was to be.
    pub(super) fn look(&self) -> Look {
        Look::new(self.files.clone())
    }

    /// The streams that `config` declares, and what is wrong with it, told by the places of what was read.
    pub(super) fn check(&mut self, config: &Config) -> (Vec<Stream>, Vec<Problem>) {
        let mut file = self.keys.as_mut().map(|keys| &mut keys.report);
        let streams = validate::check(config, &mut self.report, file.as_deref_mut());
        let mut problems = self.report.take_problems();
        problems.extend(file.into_iter().flat_map(Report::take_problems));
        (streams, problems)
    }
}
