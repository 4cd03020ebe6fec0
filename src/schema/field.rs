//! A declared field: its type, what happens when a value breaks it, and whether it is private.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{EXTRA, MAX_COLUMN_BYTES, MAX_PRECISION, MAX_STRING_BYTES, SERVER_FIELDS, SchemaError, UnknownFields};

/// A declared field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its column.
    pub name: Box<str>,
    /// What its values are.
    pub kind: FieldType,
    /// Whether an event that lacks it, or has null, is rejected.
    pub required: bool,
    /// What happens to a value that is not of the type.
    pub on_error: OnError,
    /// What is stored instead of its value, if that is nobody's business.
    pub private: Option<Private>,
}

/// What the values of a field are, and how they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// A JSON string of at most `max_bytes` bytes of UTF-8, as a warehouse's VARCHAR counts them.
    String {
        /// The column's size in bytes.
        max_bytes: u32,
    },
    /// A JSON number without a fraction that fits 64 bits.
    Int,
    /// A JSON number.
    Double,
    /// `true` or `false`.
    Bool,
    /// RFC 3339 with an offset, or a number of seconds or milliseconds since the epoch; stored as RFC 3339 in UTC with
    /// milliseconds.
    Timestamp,
    /// A calendar date, `2026-11-22`.
    Date,
    /// A UUID with hyphens; stored in lower case.
    Uuid,
    /// A decimal number, as a JSON number or string; stored as a string, since JSON readers make doubles of numbers.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// Any JSON value, stored as it came.
    Json {
        /// The longest value, in bytes of JSON.
        max_bytes: u32,
    },
}

/// What happens to a value that breaks its field's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The event is rejected.
    #[default]
    Reject,
    /// Null is stored, and counted.
    Null,
    /// A string that is too long is cut, and counted; another type rejects the event.
    Truncate,
}

/// What is stored instead of a private field's value, before anything is written anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Private {
    /// Nothing.
    Drop,
    /// HMAC-SHA-256 of the value under the privacy key, in hexadecimal: equal values stay recognisable as equal, and
    /// without the key nobody can try values out.
    Hash,
}

impl Field {
    /// An optional, public field whose broken values reject the event.
    pub fn new(name: &str, kind: FieldType) -> Self {
        Self { name: name.into(), kind, required: false, on_error: OnError::Reject, private: None }
    }

    pub(super) fn check(&self, unknown: UnknownFields, has_privacy_key: bool) -> Result<(), SchemaError> {
        let name = || self.name.clone();
        if !is_column(&self.name) {
            return Err(SchemaError::FieldName(name()));
        }
        if SERVER_FIELDS.contains(&&*self.name) {
            return Err(SchemaError::ReservedName(name()));
        }
        if unknown == UnknownFields::Collect && &*self.name == EXTRA {
            return Err(SchemaError::ExtraDeclared);
        }
        match self.kind {
            FieldType::String { max_bytes } | FieldType::Json { max_bytes }
                if !(1..=MAX_STRING_BYTES).contains(&max_bytes) =>
            {
                return Err(SchemaError::MaxBytes(name()));
            }
            FieldType::Decimal { precision, scale }
                if !(1..=MAX_PRECISION).contains(&precision) || scale > precision =>
            {
                return Err(SchemaError::Precision(name()));
            }
            FieldType::Json { .. } if self.private == Some(Private::Hash) => {
                return Err(SchemaError::HashedJson(name()));
            }
            _ => {}
        }
        match self.on_error {
            OnError::Truncate if !matches!(self.kind, FieldType::String { .. }) => {
                Err(SchemaError::TruncateType(name()))
            }
            OnError::Null if self.required => Err(SchemaError::RequiredNull(name())),
            _ if self.required && self.private == Some(Private::Drop) => Err(SchemaError::RequiredDropped(name())),
            _ if self.private == Some(Private::Hash) && !has_privacy_key => Err(SchemaError::NoPrivacyKey(name())),
            _ => Ok(()),
        }
    }
}

fn is_column(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
        && name.len() <= MAX_COLUMN_BYTES
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The secret under which private values are hashed.
///
/// The same key gives the same hashes in every instance and for ever; a new key makes every device a new one.
pub struct PrivacyKey(Hmac<Sha256>);

impl PrivacyKey {
    /// The shortest secret, in bytes.
    pub const MIN_BYTES: usize = 16;

    /// A key of `secret`, which may have any length; the configuration asks for [`Self::MIN_BYTES`].
    pub fn new(secret: &[u8]) -> Self {
        // HMAC takes keys of every length (RFC 2104 §2), so the error of the general trait cannot occur; if it did,
        // the hash of a fixed block would stand for the key rather than a panic.
        Self(Hmac::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&[0; 64].into())))
    }

    /// The hash of `value`, 64 hexadecimal digits.
    pub fn hash(&self, value: &[u8]) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut mac = self.0.clone();
        mac.update(value);
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(mac.finalize().into_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }
}

impl fmt::Debug for PrivacyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivacyKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2: what anyone's HMAC-SHA-256 gives, so that a hash can be recomputed elsewhere.
    #[test]
    fn a_private_value_is_its_hmac_sha_256() {
        let hash = PrivacyKey::new(b"Jefe").hash(b"what do ya want for nothing?");
        assert_eq!(
            std::str::from_utf8(&hash).unwrap(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_privacy_key_is_never_printed() {
        assert_eq!(format!("{:?}", PrivacyKey::new(b"secret")), "PrivacyKey(…)");
    }
}
