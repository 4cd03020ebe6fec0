//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Durable HTTP log ingest: batches in over HTTP, gzip'd NDJSON objects out to S3.
///
/// Without a command it serves. Without --config it serves with the embedded default: on 127.0.0.1:8080, with objects
/// under ./data/objects and no account anywhere.
#[derive(Debug, Parser)]
#[command(name = "logweir", version, args_conflicts_with_subcommands = true)]
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
    /// SIGTERM or SIGINT drains and exits with 0; a second one exits at once. Nothing that was acknowledged is lost
    /// either way: what is not stored yet stays in the spool. SIGHUP reads the configuration again and takes over mutes,
    /// hints and quotas; what else has changed is told in the log and needs a restart.
    Serve(ConfigArgs),
    /// Check a configuration, and print what it comes to
    ///
    /// Prints every problem with its place and a remedy and exits with 78; or prints the effective configuration with
    /// secrets masked, how many objects it makes, how long the disk lasts without a sink, and the memory ceiling.
    Check(ConfigArgs),
    /// Store what the spool of a dead instance holds, under its original keys
    ///
    /// Attach the instance's volume, name its spool with --spool, and the sinks with --config. It is safe to repeat and
    /// to interrupt. Exits with 0 when every sink has everything, and with 75 when it was interrupted before, or when the
    /// instance had a sink that is not configured here: what that one still needs is kept.
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
    /// Compare metadata only (of a file, the gzip trailer) instead of reading every object
    #[arg(long)]
    pub quick: bool,
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
