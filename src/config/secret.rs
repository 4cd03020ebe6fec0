//! Settings that nobody may read.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What stands where a secret would.
const MASK: &str = "***";

/// A setting that is never printed: not in logs, not in errors, not by `check`.
///
/// An empty one means that the setting is not given, and is printed as such.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A secret of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that compares or hashes it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn masked(&self) -> &'static str {
        if self.is_empty() { "" } else { MASK }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.masked())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("correct horse battery staple");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(toml::Value::try_from(&secret).unwrap().as_str(), Some("***"));
        assert_eq!(secret.expose(), "correct horse battery staple");
        assert_eq!(format!("{:?}", Secret::default()), "");
    }
}
