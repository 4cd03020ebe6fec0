//! How a client works.

use std::{fmt, io, path::PathBuf};

use http::header::InvalidHeaderValue;
use serde_json::{Map, Value};

use super::{
    batcher::{BatchLimits, MAX_EVENT_BYTES},
    exchange::{DEVICE_ID, MAX_DEVICE_ID_BYTES, MAX_SDK_VERSION_BYTES, SDK_VERSION},
    transport::{AddressError, Roots, Timeouts},
};

/// The longest context, in bytes of JSON: what the server takes by default.
pub const MAX_CONTEXT_BYTES: usize = 16 * 1024;
/// The most that a batch may have, in bytes of JSON: half of what the server takes by default.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The buffer must hold this many of the largest batches: the one that is being sent, and others.
const MIN_BUFFERED: u64 = 4;

/// How a client works. All but the server has a default.
pub struct Settings {
    /// Where the server is: `https://logs.example.com`. No path: that is the client's business.
    pub server: String,
    /// The API key. None by default.
    pub key: Option<String>,
    /// An opaque id of the device, up to 128 bytes of printable ASCII; operators mute a share of all devices by it. None by
    /// default.
    pub device_id: Option<String>,
    /// The SDK's name and version, up to 64 bytes of printable ASCII; operators mute single versions by it. None by
    /// default.
    pub sdk_version: Option<String>,
    /// What every event has in common; the server merges it into each that lacks the key. Up to 16 KiB of JSON, empty by
    /// default.
    pub context: Map<String, Value>,
    /// Where batches wait that have not been delivered. None by default: in memory, and what waits there when the process
    /// ends is lost.
    pub directory: Option<PathBuf>,
    /// Bytes that may wait, compressed; at least four of the largest batches. Default 10 MiB: a day of a busy device.
    pub buffer_bytes: u64,
    /// When a batch is closed.
    pub batch: BatchLimits,
    /// How long a request may take.
    pub timeouts: Timeouts,
    /// Whom to trust for `https`. Default: whom this machine trusts.
    pub roots: Roots,
}

impl Settings {
    /// The default for `server`.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            key: None,
            device_id: None,
            sdk_version: None,
            context: Map::new(),
            directory: None,
            buffer_bytes: 10 * 1024 * 1024,
            batch: BatchLimits::default(),
            timeouts: Timeouts::default(),
            roots: Roots::System,
        }
    }

    /// Checks what the types do not.
    pub(super) fn validate(&self) -> Result<(), SetupError> {
        for (name, value, max) in
            [(DEVICE_ID, &self.device_id, MAX_DEVICE_ID_BYTES), (SDK_VERSION, &self.sdk_version, MAX_SDK_VERSION_BYTES)]
        {
            if value.as_ref().is_some_and(|value| value.is_empty() || value.len() > max) {
                return Err(SetupError::Length { name, max });
            }
        }
        if self.batch.events == 0 || !(MAX_EVENT_BYTES..=MAX_BATCH_BYTES).contains(&self.batch.bytes) {
            return Err(SetupError::Batch);
        }
        if self.buffer_bytes < self.batch.bytes as u64 * MIN_BUFFERED {
            return Err(SetupError::Buffer);
        }
        Ok(())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key, and no context, which may be personal.
        f.debug_struct("Settings").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A client cannot be made of its settings.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The server's address does not serve.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A value cannot stand in a header.
    #[error("the key, the device id and the SDK version must be printable ASCII")]
    Header(#[from] InvalidHeaderValue),
    /// A value is empty or too long.
    #[error("{name} must have 1 to {max} bytes")]
    Length {
        /// The header.
        name: &'static str,
        /// The longest value, in bytes.
        max: usize,
    },
    /// The context is too long.
    #[error("the context has at most {MAX_CONTEXT_BYTES} bytes")]
    Context,
    /// A batch may have no events, or too few or too many bytes.
    #[error("a batch has at least 1 event, and {MAX_EVENT_BYTES} to {MAX_BATCH_BYTES} bytes")]
    Batch,
    /// The buffer holds too few batches.
    #[error("the buffer must hold {MIN_BUFFERED} of the largest batches")]
    Buffer,
    /// Another client has the directory.
    #[error("another client uses {0}")]
    InUse(PathBuf),
    /// The directory cannot be used.
    #[error("cannot use {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}
