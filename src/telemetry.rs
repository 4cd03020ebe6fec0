//! What the process says of itself while it runs: log lines on standard error.
//!
//! A log line carries no value of an event and no secret: what a client sent is counted and described, never repeated.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat, LogLevel};

/// Begins to log as `log` says; libraries only say what is a warning.
///
/// Called once by the process. A second call changes nothing.
pub fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let terminal = io::stderr().is_terminal();
    let pretty = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let filter = Targets::new().with_target("logweir", level).with_default(level.min(LevelFilter::WARN));
    let layer = if pretty {
        fmt::layer().with_writer(io::stderr).with_ansi(terminal).boxed()
    } else {
        fmt::layer().with_writer(io::stderr).json().flatten_event(true).boxed()
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}
