//! Stream names.

use std::{fmt, sync::Arc};

/// The name of a stream: `[a-z][a-z0-9_]{0,62}`.
///
/// It is a directory in the object key, a table in the warehouse and a label in the metrics, so it is kept to what
/// all three take without quoting. Cloning is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

/// The text is not a stream name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream name is a lower-case letter followed by up to 62 lower-case letters, digits or underscores")]
pub struct InvalidStreamName;

impl StreamName {
    /// The longest stream name, in bytes.
    pub const MAX_BYTES: usize = 63;

    /// Takes `name` if it is a valid stream name.
    ///
    /// # Errors
    /// [`InvalidStreamName`] if it does not match `[a-z][a-z0-9_]{0,62}`.
    pub fn new(name: &str) -> Result<Self, InvalidStreamName> {
        if Self::is_valid(name) { Ok(Self(name.into())) } else { Err(InvalidStreamName) }
    }

    /// Whether `name` matches `[a-z][a-z0-9_]{0,62}`.
    pub fn is_valid(name: &str) -> bool {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && name.len() <= Self::MAX_BYTES
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_are_a_letter_and_up_to_62_more() {
        for good in ["a", "heard", "a_1", &"x".repeat(63)] {
            assert!(StreamName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "_a", "a-b", "a.b", "a/b", "é", "a ", &"x".repeat(64)] {
            assert_eq!(StreamName::new(bad), Err(InvalidStreamName), "{bad}");
        }
    }
}
