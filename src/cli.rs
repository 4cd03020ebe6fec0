//! The command line.

use std::{convert::Infallible, fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::version::BUILD;

/// Durable HTTP log ingest: batches in over HTTP, NDJSON out to S3 or a directory as objects, and to Firehose as lines.
///
/// Without a command it serves. Without --config it serves with the embedded default: on 127.0.0.1:8080, with objects
/// under ./data/objects and no account anywhere.
///
/// Exits with 0 if what was asked is done, 1 if something differs or somebody should look, 69 if something that is
/// needed cannot be reached or used, 75 if it was interrupted before everything was done, and 78 if the configuration
/// or an argument is wrong; each command says when.
#[derive(Debug, Parser)]
#[command(name = "logweir", version = BUILD, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve, if no command is given.
    #[command(flatten)]
    pub serve: ConfigArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take batches over HTTP and store them
    ///
    /// SIGTERM or SIGINT drains and exits with 0; a second one exits at once. What is not stored yet then stays in the
    /// spool on disk, and goes out when an instance starts there again. What was answered "spooled" or "stored" is not
    /// lost either way. What was answered "memory" may be, if there is no draining; and without a disk (spool.kind =
    /// "none"), what is not stored when the draining ends. On SIGHUP, or when a file of the configuration
    /// has changed, it is read again: keys, quotas, mutes, hints, new and widened streams, the log's level and the lags of
    /// best-effort sinks are taken over, all or nothing; what else has changed is told in the log and needs a restart.
    ///
    /// SIGUSR2 starts a successor, the executable that stands now where this one stood, and gives way to it once it is
    /// ready: no connection is refused, and uploads are not waited for. If the successor is not sound, this process serves
    /// on. SIGUSR1 gives way in the same manner where a supervisor has the listening sockets and starts the next process,
    /// as systemd does with a socket unit. A container ends with its first process: there, neither is for a server that is
    /// the first process, nor for one below a program that only passes signals on (docker run --init).
    ///
    /// Exits with 0 after draining, 69 if the server cannot start here (its port is taken, or another process has the
    /// spool), 78 if the configuration or an argument is wrong or fewer files may be open than it needs, and 143 if it
    /// was told twice to stop.
    Serve(ConfigArgs),
    /// Check a configuration, and print what it comes to
    ///
    /// Prints every problem with its place and a remedy and exits with 78; or prints the effective configuration with
    /// secrets masked, how many objects it makes, how long the disk lasts without a sink, and the memory ceiling.
    ///
    /// With --since it also tells what has changed for the warehouse's tables, and refuses, with 78, what would break
    /// loads: a type that changes, a field that becomes required, a stream that another mechanism loads from now on.
    Check(CheckArgs),
    /// Print what a warehouse is told of the streams: tables, keys, indexes, grants, COPY jobs
    ///
    /// Made from the declarations that validate events, so that what is accepted loads. It goes to standard output and
    /// asks no warehouse: read it, then run it there.
    ///
    /// Exits with 0, or with 78 if the configuration or an argument is wrong, if the target cannot hold what is declared,
    /// or if what has changed --since an older configuration would break loads.
    Schema(SchemaArgs),
    /// Store what the spool of a dead instance holds, under its original keys
    ///
    /// Attach the instance's volume, name its spool with --spool, and the sinks with --config. It is safe to repeat and
    /// to interrupt. Exits with 0 when every sink has everything, and with 75 when it was interrupted before, or when the
    /// instance had a sink that is not configured here: what that one still needs is kept; or when the last heartbeat,
    /// which says that nothing is left, could not be written.
    Replay(ReplayArgs),
    /// Compare what was spooled, by the books, with what is stored
    ///
    /// Reads the books that sinks keep under `_ledger/`, lists and reads the objects of the hours in question, prints a
    /// table per stream and hour, and names every difference down to the object: missing, unreadable, changed, duplicate,
    /// not in the books. Says up to which received time everything is stored, and which instances are silent.
    ///
    /// Exits with 0 if everything adds up, 1 if something does not, 69 if the store cannot be read, and 78 if the
    /// configuration or an argument is wrong.
    Audit(AuditArgs),
    /// Load what is stored into the warehouse, each object exactly once
    ///
    /// Finds the objects of the streams with load = "loader" that the warehouse's ledger does not have, and loads them in
    /// transactions: all of one, its rows in the ledger included, or nothing. It is safe to kill, to repeat, and to run
    /// twice at the same time. An object that cannot be loaded is set aside, with its error in the ledger, and the rest is
    /// loaded. Tells on standard error how it goes, and prints what was done.
    ///
    /// Exits with 0 if everything is loaded; 1 if it is and somebody should look: an object is set aside, a line bears the
    /// id of another event (see the stream's table of conflicts), or something stands among the objects that is none; 69
    /// if the warehouse or the store cannot be reached; 75 if it was told to stop before everything was loaded; and 78 if
    /// the configuration, an argument, a table or a permission is wrong. On SIGTERM the transaction that runs has 30 s to
    /// end, and is then rolled back. A loop ends with 0 if it was told to stop between two rounds.
    Load(LoadArgs),
    /// Play a fleet of devices against an instance, before the real one comes
    ///
    /// Sends new batches as a profile says, whatever the answers are, and lets refused devices come back as their kind
    /// does. Tells on standard error how it goes, and prints a report: offered, accepted, refused, latencies, backlog,
    /// memory, how long it took to recover, and how many came back to an open door. Ctrl-C, or a terminal that hangs up,
    /// ends it early with the report so far.
    ///
    /// It is a flood, so it goes to loopback addresses only, unless you say that the target is yours. What it sends is
    /// stored like any other batch: give it a stream of its own. It sends from one core; where it could not send what was
    /// due, or was late, the report says so.
    ///
    /// Exits with 0 if the rehearsal ran, 69 if the target cannot be reached, 75 if it was stopped before it began, and 78
    /// if an argument is wrong or the target is another machine.
    Rehearse(Box<RehearseArgs>),
    /// Ask whether the instance on this machine lives, or whether it is ready
    ///
    /// Asks /livez on the admin port, for the health check of a container, which has no curl. An instance lives as long
    /// as it answers, however loaded it is; it is not ready (--ready) while it drains or when its disk has failed, and is
    /// not to be replaced for that.
    ///
    /// Exits with 0 if so, 1 if not, and 69 if there is no answer within seconds.
    Health(HealthArgs),
    /// Print a script by which a shell completes commands and options
    ///
    /// It goes to standard output: `logweir completions bash > /etc/bash_completion.d/logweir`, or for zsh into a file
    /// `_logweir` of $fpath, for fish into ~/.config/fish/completions/logweir.fish.
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands
    ///
    /// Without --dir the page of logweir itself goes to standard output: `logweir man | man -l -`.
    ///
    /// Exits with 0, or with 69 if a page cannot be written.
    Man(ManArgs),
    /// Make keys for devices
    #[command(subcommand)]
    Key(KeyCommand),
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a new key
    ///
    /// Prints the key on standard error, this once, and on standard output the section for the configuration or its keys
    /// file, which has the key's hash alone: `logweir key new --name sdk >> keys.toml`. A second section of the same
    /// name is a second secret of the same key: give devices the new one, and take the old section out when no device
    /// sends it any more. A server that runs takes the file over within seconds, or on SIGHUP.
    ///
    /// Exits with 0, or with 78 if an argument is wrong.
    New(KeyNewArgs),
}

/// The key that is wanted.
#[derive(Debug, Clone, Args)]
pub struct KeyNewArgs {
    /// Its name, which stands in metrics and in the identity of events
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A stream that it may post to; can be given again [default: all]
    #[arg(long, value_name = "NAME")]
    pub stream: Vec<String>,
    /// Let it also come as ?key=, for web pages that cannot set headers
    #[arg(long)]
    pub browser: bool,
}

/// A key on the command line, which nobody reads in a log.
#[derive(Clone)]
pub struct KeyText(pub String);

impl FromStr for KeyText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(***)")
    }
}

/// What to rehearse.
#[derive(Debug, Clone, Args)]
pub struct RehearseArgs {
    /// The instance, as a URL with http
    #[arg(value_name = "TARGET", default_value = "http://127.0.0.1:8080")]
    pub target: String,
    /// The shape of the load: advert, launch, retry-storm, seed-outage or steady
    ///
    /// advert: from nothing to the peak in 2 s, held for 10 s, then decaying for 48 s.
    /// launch: a ramp of 5 min to a plateau of 4 min, then 1 min at 0.3 of it.
    /// retry-storm: 0.7 times the capacity for 30 s, 5 times for 30 s, 0.7 times for 90 s; a third of the devices ignores
    /// Retry-After.
    /// seed-outage: 10 times the capacity for 1 min from devices that never give up, then 0.3 times for 3 min.
    /// steady: the same for 1 min.
    #[arg(long, value_name = "NAME", verbatim_doc_comment)]
    pub profile: String,
    /// New batches a second at the profile's peak, at most 100,000 [default: from the capacity that the target tells]
    #[arg(long, value_name = "REQ/S")]
    pub peak: Option<f64>,
    /// How long new batches come, 1s to 1h: the profile is stretched or shortened [default: the profile's own]
    #[arg(long, value_name = "D")]
    pub duration: Option<String>,
    /// How many devices the batches come from, in turn
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub devices: u64,
    /// The part of devices that come back when they are told, and else back off [default: the profile's]
    ///
    /// The three parts are weights; if one is given, those that are not are 0.
    #[arg(long, value_name = "PART")]
    pub behave: Option<f64>,
    /// The part of devices that come back after 1 s whatever they are told, and give up after 10 tries
    #[arg(long, value_name = "PART")]
    pub careless: Option<f64>,
    /// The part of devices that come back at once, at most twice a second, and never give up
    #[arg(long, value_name = "PART")]
    pub stubborn: Option<f64>,
    /// Events a batch, of 470 bytes each
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub events: usize,
    /// Compress batches with gzip
    #[arg(long)]
    pub gzip: bool,
    /// The stream that batches go to
    #[arg(long, value_name = "NAME", default_value = "rehearsal")]
    pub stream: String,
    /// A file that holds the API key [default: the variable `LOGWEIR_REHEARSE_KEY`, if it is set]
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub key_file: Option<PathBuf>,
    /// The API key; other users of this machine can read it in the list of processes
    #[arg(long, value_name = "KEY")]
    pub key: Option<KeyText>,
    /// How many connections may be open together, at most 8192
    #[arg(long, value_name = "N", default_value_t = 2_048)]
    pub connections: usize,
    /// What chance is drawn from: the same number gives the same arrivals
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Let devices take this for every Retry-After of a refusal, whatever the server told
    ///
    /// It shows what pacing changes: a second, told to everybody, was the outage that logweir exists to prevent.
    #[arg(long, value_name = "D")]
    pub constant_retry_after: Option<String>,
    /// Where the instance tells its metrics
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090/metrics")]
    pub metrics: String,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as one page of HTML, with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Show another report, written with --json, beside this one
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Let the target be another machine: it is yours, and those who run it know
    #[arg(long)]
    pub i_own_this_target: bool,
    /// What there is in virtual time only.
    #[command(flatten)]
    pub in_virtual_time: VirtualArgs,
}

/// A rehearsal in virtual time.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Virtual time")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
pub struct VirtualArgs {
    /// Play in virtual time: nothing is sent, and as many instances take part as you say
    ///
    /// Each virtual instance decides with the code of a real one; lines with measured times stand for its workers and its
    /// disk. Each device reports once, unless --peak says otherwise. TARGET, --metrics, --stream, --key and --connections
    /// do not matter.
    #[arg(long = "virtual")]
    pub virtual_time: bool,
    /// How many instances stand behind the load balancer, at most 10,000
    #[arg(long, value_name = "N", default_value_t = 1, requires = "virtual_time")]
    pub instances: u32,
    /// Find the fewest instances with which everything is in --within, and no more than --refused are refused at first
    ///
    /// Exits with 1 if no number does.
    #[arg(long, requires = "virtual_time")]
    pub plan: bool,
    /// How long after the last new batch everything is in
    #[arg(long, value_name = "D", default_value = "5m")]
    pub within: String,
    /// The share of new batches that may be refused at the first try
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub refused: f64,
    /// Let instances be like the one of this report, written with --json against a real one
    #[arg(long, value_name = "FILE", requires = "virtual_time")]
    pub calibrate: Option<PathBuf>,
    /// What the disk of an instance takes, in MB of lines a second [default: 125, or as calibrated]
    #[arg(long, value_name = "MB/S", requires = "virtual_time")]
    pub disk: Option<f64>,
    /// Workers of an instance [default: 1, or as calibrated]
    #[arg(long, value_name = "N", requires = "virtual_time")]
    pub workers: Option<usize>,
    /// Let devices read the header only, which tells whole seconds
    #[arg(long, requires = "virtual_time")]
    pub header_only: bool,
    /// Of two instances, send to the one that has fewer requests without an answer
    #[arg(long, requires = "virtual_time")]
    pub least_outstanding: bool,
    /// Let so many instances die at a time, such as 3@30s; can be given again
    #[arg(long, value_name = "N@T", requires = "virtual_time")]
    pub kill: Vec<String>,
    /// From an answer to when its device knows it
    #[arg(long, value_name = "D", default_value = "0s")]
    pub network: String,
    /// How long the instances are kept, for the bill
    #[arg(long, value_name = "D", default_value = "1h")]
    pub keep: String,
    /// How many streams there are: each is an object of its own at every seal
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub streams: u32,
    /// Prices in the form of config/prices.toml [default: those]
    #[arg(long, value_name = "FILE", requires = "virtual_time")]
    pub prices: Option<PathBuf>,
}

/// What to check.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// An older configuration: what has changed since is told, or refused if it would break loads
    #[arg(long, value_name = "OLD")]
    pub since: Option<PathBuf>,
}

/// What a warehouse is to be told.
#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    /// What is told: redshift, copy-job, postgres, athena, spectrum, duckdb, spark, bigquery or tableau
    ///
    /// redshift: tables of Amazon Redshift for `logweir load`, with encodings, keys and grants.
    /// copy-job: a COPY JOB of Redshift for each stream that is loaded by one, and the views over it.
    /// postgres: tables of PostgreSQL for `logweir load`, with indexes and grants.
    /// athena: external tables and views of Amazon Athena over the objects.
    /// spectrum: external tables and views of Redshift over the objects, by Athena's catalog.
    /// duckdb: views of DuckDB over the objects.
    /// spark: a reader of the objects for PySpark.
    /// bigquery: a schema and a load command for BigQuery, and the view over what they load.
    /// tableau: a data source of Tableau over a stream's table (.tds).
    #[arg(value_name = "TARGET", verbatim_doc_comment)]
    pub target: String,
    /// One stream [default: all]
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// An older configuration: print what brings its tables to what they should be now
    #[arg(long, value_name = "OLD")]
    pub since: Option<PathBuf>,
}

/// What to replay, and where to.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The spool directory of the dead instance
    #[arg(long, value_name = "DIR")]
    pub spool: PathBuf,
    /// Where the sinks are configured.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What to audit.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The first received hour: a date (UTC) or RFC 3339, such as 2026-11-22 or 2026-11-22T18:00:00+09:00
    #[arg(long, value_name = "T")]
    pub from: String,
    /// Where the received hours end, in the same form; a date is the beginning of its day
    #[arg(long, value_name = "T")]
    pub to: String,
    /// The sink [default: the first required one]
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Compare metadata only (of a gzip file, its trailer) instead of reading every object
    #[arg(long)]
    pub quick: bool,
    /// Compare the warehouse's ledger and tables too, for the streams that `logweir load` loads
    #[arg(long)]
    pub warehouse: bool,
}

/// What to load.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// This stream only
    #[arg(long, value_name = "S")]
    pub stream: Option<String>,
    /// Load again and again, with so much time between two rounds, 1s to 1d [default: `warehouse.interval`]
    #[arg(long, value_name = "D", num_args = 0..=1)]
    pub every: Option<Option<String>>,
    /// Take the objects again that are set aside
    #[arg(long)]
    pub retry: bool,
    /// After the load count these days anew, final ones too, such as 2026-11-20..2026-11-22: both included, days of
    /// `rollups.timezone`
    #[arg(long, value_name = "FROM..TO", conflicts_with = "every")]
    pub restate: Option<String>,
    /// Print what was done as JSON: an object for each round, on a line
    #[arg(long)]
    pub json: bool,
}

/// What to ask an instance.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Where its admin port is
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub admin: SocketAddr,
    /// Ask whether it is to be sent requests (/readyz)
    #[arg(long)]
    pub ready: bool,
}

/// What is to be completed where.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Where manual pages go.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Write the pages of all commands into this directory, which exists: logweir.1, logweir-serve.1 and so on
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// The configuration file [default: the embedded one]
    ///
    /// Every setting can also come from the environment, as `LOGWEIR__SECTION__KEY`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::commands::{EXIT_CONFIG, EXIT_DIFFERENCE, EXIT_INTERRUPTED, EXIT_UNAVAILABLE};

    /// A help text without its line breaks.
    fn flowing(mut command: clap::Command) -> String {
        command.render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn help_tells_where_lines_go_what_may_be_lost_and_what_is_exited_with() {
        let whole = flowing(Cli::command());
        assert!(whole.contains("to Firehose as lines"), "{whole}");
        for code in [EXIT_DIFFERENCE, EXIT_UNAVAILABLE, EXIT_INTERRUPTED, EXIT_CONFIG] {
            assert!(whole.contains(&format!("{code} if ")), "nothing of {code}: {whole}");
        }
        let serve = flowing(Cli::command().find_subcommand("serve").cloned().unwrap_or_default());
        for told in ["0 after draining", "69 if ", "78 if ", "143 if ", "\"memory\" may be", "without a disk"] {
            assert!(serve.contains(told), "nothing of {told}: {serve}");
        }
    }
}
