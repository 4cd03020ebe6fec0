//! In which ways the back end of a sink fails, whatever its family.

use std::{error::Error, fmt};

use super::BodyError;

/// In which way a back end failed: a store of objects, or a service that takes lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The attempt took too long. It may have had effect.
    Timeout,
    /// It could not be reached, or the connection broke.
    Network,
    /// It asks to be asked less (503 `SlowDown`, `ServiceUnavailableException` and the like).
    Throttled,
    /// Access is denied, or there are no credentials.
    Denied,
    /// Somebody else puts the same key (409). Of objects only.
    Conflict,
    /// It failed within (5xx).
    Server,
    /// Its disk is full. Of files only.
    Full,
    /// Anything else.
    Other,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Network,
        Self::Throttled,
        Self::Denied,
        Self::Conflict,
        Self::Server,
        Self::Full,
        Self::Other,
    ];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Server => "server",
            Self::Full => "full",
            Self::Other => "other",
        }
    }
}

/// A back end could not do what it was asked.
#[derive(Debug)]
pub struct StoreError {
    /// In which way, for the metrics.
    pub cause: Failure,
    /// What it said.
    pub source: Box<dyn Error + Send + Sync>,
}

/// An object could not be put; it is to be tried again.
#[derive(Debug)]
pub enum PutError {
    /// The store failed, or could not be reached.
    Store(StoreError),
    /// The segment could not be read.
    Body(BodyError),
}

impl PutError {
    /// An error of the store.
    pub fn store(cause: Failure, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Store(StoreError { cause, source: source.into() })
    }
}

impl From<BodyError> for PutError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<PutError> for StoreError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Store(error) => error,
            PutError::Body(error) => Self { cause: Failure::Other, source: error.into() },
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause.as_str(), self.source)?;
        // An SDK's error says what happened only in its sources.
        let mut deeper = self.source.source();
        while let Some(error) = deeper {
            write!(f, ": {error}")?;
            deeper = error.source();
        }
        Ok(())
    }
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
        }
    }
}

impl Error for StoreError {}

impl Error for PutError {}
