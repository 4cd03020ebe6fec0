//! `[privacy]`: what makes private values unrecognisable.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{report::Report, secret::Secret};
use crate::schema::PrivacyKey;

/// What makes private values unrecognisable.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Privacy {
    /// The secret under which fields with `private = "hash"` are hashed, at least 16 bytes; every instance has the
    /// same, for ever. Default empty: no field is hashed.
    pub hash_key: Secret,
}

impl Privacy {
    /// The key, if one is given.
    pub(super) fn key(&self) -> Option<Arc<PrivacyKey>> {
        (!self.hash_key.is_empty()).then(|| Arc::new(PrivacyKey::new(self.hash_key.expose().as_bytes())))
    }

    pub(super) fn check(&self, report: &mut Report) {
        let bytes = self.hash_key.expose().len();
        if !self.hash_key.is_empty() && bytes < PrivacyKey::MIN_BYTES {
            report.wrong(
                "privacy.hash_key",
                format!("has {bytes} bytes, fewer than {}", PrivacyKey::MIN_BYTES),
                "take a longer one, such as the output of `openssl rand -hex 32`: a short one can be guessed",
            );
        }
    }
}
