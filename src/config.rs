//! The configuration: a TOML file, and the environment over it.
//!
//! A setting's documentation says what it is, its unit, its range, its default and the reason for it;
//! `config/logweir.toml` says the same to those who run the server. Nothing else in the crate reads the environment.
//!
//! # From the text to the settings
//!
//! ```text
//! file ──► tree: each value with its place ◄── LOGWEIR__SECTION__KEY
//!           │ read       unknown keys, wrong types; and the same with the keys file, if one is named
//!           │ check      ranges, and what relates settings to each other
//!           ▼
//!          Loaded: Config, and the streams it declares      or: Problems, all of them
//! ```
//!
//! Each stage tells everything it finds, and none judges what an earlier one could not make sense of. A problem names
//! the place, the setting, what is wrong and what to do; it never repeats a [`Secret`].

mod admin;
mod admission;
mod connection;
mod drain;
mod environment;
mod fleet;
mod forecast;
mod hints;
mod ingest;
mod keys;
mod ledger;
mod limits;
mod loading;
mod log;
mod mute;
mod nearest;
mod ordered;
mod pacing;
mod period;
mod privacy;
mod problem;
mod queue;
mod quota;
mod read;
mod reload;
mod report;
mod rollups;
mod secret;
mod server;
mod setting;
mod sinks;
mod size;
mod spool;
mod streams;
mod tree;
mod validate;
mod warehouse;
mod watch;

use std::{num::NonZero, path::PathBuf, thread::available_parallelism};

use serde::{Deserialize, Serialize};

pub use admin::Admin;
pub use admission::Admission;
pub use connection::{Connection, Tls};
pub use drain::Drain;
pub use environment::{CommandLine, SUCCESSOR, command_line, environment, is_successor};
pub use fleet::Fleet;
pub use forecast::{Forecast, Records};
pub use hints::Hints;
pub use ingest::{Ingest, UndeclaredStreams};
pub use keys::{Key, KeyDigest, is_key_name, key_hash};
pub use ledger::Ledger;
pub use limits::Limits;
pub use loading::{Loaded, Source, load};
pub use log::{Log, LogFormat, LogLevel};
pub use mute::Mute;
pub use nearest::nearest;
pub use ordered::Ordered;
pub use pacing::Pacing;
pub use period::Period;
pub use privacy::Privacy;
pub use problem::{Place, Position, Problem, Problems};
pub use queue::Queue;
pub use quota::{Allowance, Quota};
pub use reload::{Reload, listed, reload};
pub use rollups::{Rollup, Rollups};
pub use secret::Secret;
pub use server::{Server, is_loopback};
pub use setting::Setting;
pub use sinks::{Codec, FirehoseTarget, Packing, S3Target, Sink, SinkKind, SinkStart, SinkTarget, Sse};
pub use size::Size;
pub use spool::{Spool, SpoolKind};
pub use streams::{DeclaredField, DeclaredStream, FieldKind};
pub use warehouse::{RedshiftApi, Warehouse, WarehouseKind};
pub use watch::{Look, Watch};

use crate::spool::{Destination, Settings as SpoolSettings};

/// Every setting, in the order of `config/logweir.toml`.
///
/// The default is sound but for two things: it has no sink, and no stream.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A TOML file with more `[[keys]]`, from the directory of the configuration file. Default none. Whoever
    /// names one wants keys: without any, there or elsewhere, the configuration is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<PathBuf>,
    /// The public port.
    pub server: Server,
    /// The admin port.
    pub admin: Admin,
    /// How large what a device sends may be.
    pub limits: Limits,
    /// What becomes of a request.
    pub ingest: Ingest,
    /// What may wait for the spool.
    pub queue: Queue,
    /// When refused clients come back.
    pub pacing: Pacing,
    /// When a request is let in.
    pub admission: Admission,
    /// What every answer asks of the devices.
    pub hints: Hints,
    /// The durable log on disk.
    pub spool: Spool,
    /// Where spooled data goes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<Sink>,
    /// The books.
    pub ledger: Ledger,
    /// The instances that serve the same devices.
    pub fleet: Fleet,
    /// Who may post.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// The keys of `keys_file`.
    #[serde(skip)]
    pub keys_of_file: Vec<Key>,
    /// Who is refused whatever they send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mute: Vec<Mute>,
    /// What makes private values unrecognisable.
    pub privacy: Privacy,
    /// The streams as they are declared; [`Loaded::streams`] is what is made of them.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub streams: Ordered<DeclaredStream>,
    /// What the streams' objects are loaded into.
    pub warehouse: Warehouse,
    /// Figures by day and hour.
    pub rollups: Rollups,
    /// How an instance ends.
    pub drain: Drain,
    /// What the instance says of itself.
    pub log: Log,
    /// What is noticed without a signal.
    pub watch: Watch,
}

/// The effective configuration as TOML, in the order of `config/logweir.toml`, each secret as `***`; with what is in
/// force for each sink, whether it was written or not. What is read from it does the same, and is printed as the same.
/// The keys of `keys_file` are not in it: the file is named.
pub fn print_effective(config: &Config) -> String {
    print_written(&config.in_force())
}

/// As [`print_effective`], without what sinks have by default of what depends on their kind or on other settings.
fn print_written(config: &Config) -> String {
    // Only a path that is not Unicode has no form in TOML, and such a path does not come out of a TOML file.
    toml::to_string(config).unwrap_or_else(|error| format!("# this configuration cannot be printed: {error}\n"))
}

impl Config {
    /// How many workers there are: `server.workers`, or one for every core that the process may use.
    pub fn workers(&self) -> usize {
        let cores = || available_parallelism().map_or(1, NonZero::get);
        if self.server.workers == 0 { cores() } else { self.server.workers }
    }

    /// Every key: those of the configuration and the environment, and those of `keys_file`. Those of one name are one key
    /// with several secrets.
    pub fn all_keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().chain(&self.keys_of_file)
    }

    /// The same, with what is in force for each sink by default written out.
    fn in_force(&self) -> Self {
        Self { sinks: self.sinks.iter().map(|sink| sink.in_force(self)).collect(), ..self.clone() }
    }

    /// What each object sink makes of the segments.
    pub fn destinations(&self) -> Vec<Destination> {
        self.sinks.iter().filter_map(Sink::destination).collect()
    }

    /// What the spool is told.
    pub fn spool_settings(&self) -> SpoolSettings {
        self.spool.settings(self.destinations(), self.object_size())
    }

    /// The sinks that make objects of sealed segments.
    pub fn object_sinks(&self) -> impl Iterator<Item = &Sink> {
        self.sinks.iter().filter(|sink| sink.kind.has_objects())
    }

    /// The object sink that stands for all if none is named: the first required one, or else the first.
    pub fn main_object_sink(&self) -> Option<&Sink> {
        self.object_sinks().find(|sink| sink.required).or_else(|| self.object_sinks().next())
    }

    /// The object sink in whose place lines are kept that `sink`, a line sink, can never deliver.
    pub fn undelivered(&self, sink: &Sink) -> Option<&Sink> {
        match &sink.undelivered {
            Some(name) => self.object_sinks().find(|other| other.name == *name),
            None => self.main_object_sink(),
        }
    }

    /// The compressed bytes that an object is to have: the smallest of what the sinks ask for, since a segment is sealed for
    /// all of them.
    pub fn object_size(&self) -> Option<Size> {
        self.object_sinks().filter_map(|sink| sink.object_size).min()
    }
}

#[cfg(test)]
mod tests;
