//! What the process says of itself while it runs: log lines on standard error.
//!
//! A log line carries no value of an event and no secret: what a client sent is counted and described, never repeated.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat, LogLevel};

/// The targets of AWS's SDKs. What they warn of they warn of at each attempt, of credentials that are not there among others;
/// the error of the attempt says it too, and sinks repeat that once a minute.
const AWS: &str = "aws_";

/// The log of the process, whose level can be changed.
#[derive(Debug, Clone)]
pub struct Telemetry(reload::Handle<Targets, Registry>);

impl Telemetry {
    /// From now on what is as important as `level` is written.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only if there is no log any more.
        let _ = self.0.reload(filter(level_filter(level)));
    }
}

/// Begins to log as `log` says; libraries only say what is a warning, and AWS's what is an error.
///
/// Called once by the process. A second call changes nothing.
pub fn start(log: &Log) -> Telemetry {
    let terminal = io::stderr().is_terminal();
    let pretty = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let layer = if pretty {
        fmt::layer().with_writer(io::stderr).with_ansi(terminal).boxed()
    } else {
        fmt::layer().with_writer(io::stderr).json().flatten_event(true).boxed()
    };
    let (filter, handle) = reload::Layer::new(filter(level_filter(log.level)));
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    Telemetry(handle)
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// What is written of whom.
fn filter(level: LevelFilter) -> Targets {
    Targets::new()
        .with_target("logweir", level)
        .with_target(AWS, level.min(LevelFilter::ERROR))
        .with_default(level.min(LevelFilter::WARN))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_an_sdk_warns_of_at_each_attempt_is_left_to_our_own_lines() {
        for level in [LevelFilter::INFO, LevelFilter::TRACE] {
            let filter = filter(level);
            for target in ["aws_config::meta::credentials::chain", "aws_smithy_runtime::client", "aws_sdk_s3"] {
                assert!(!filter.would_enable(target, &Level::WARN), "{target}");
                assert!(filter.would_enable(target, &Level::ERROR), "{target}");
            }
            for target in ["logweir::aws", "logweir::sink::driver"] {
                assert!(filter.would_enable(target, &Level::INFO), "{target}");
            }
            assert!(filter.would_enable("hyper::proto", &Level::WARN) && !filter.would_enable("hyper", &Level::INFO));
        }
    }
}
