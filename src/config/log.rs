//! `[log]`: what the instance says of itself.

use serde::{Deserialize, Serialize};

/// What the instance says of itself, on standard error.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How it is written. Default `auto`.
    pub format: LogFormat,
    /// The least important that is written. Default `info`: single requests are `debug`.
    pub level: LogLevel,
}

/// How log records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, else for machines.
    #[default]
    Auto,
    /// For machines: a JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// How important a log record is; the more is written, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed that should not.
    Error,
    /// Something will fail unless someone looks.
    Warn,
    /// What the instance does.
    #[default]
    Info,
    /// What requests do.
    Debug,
    /// What the code does.
    Trace,
}
