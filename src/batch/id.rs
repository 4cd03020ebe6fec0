//! Identities: of batches, of events, of instances.

use std::fmt;

use ulid::Ulid;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{Millis, StreamName};

/// The client's name for a batch: 1 to 128 bytes of UTF-8 without control characters.
///
/// A batch that is sent again under the same id gives its events the same ids again, which is how the warehouse
/// recognises a retry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BatchId(Box<str>);

/// The text is no batch id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a batch id has 1 to 128 bytes and no control characters")]
pub struct InvalidBatchId;

impl BatchId {
    /// The longest batch id, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Takes `id` if it is a valid batch id.
    ///
    /// # Errors
    /// [`InvalidBatchId`] if it is empty, longer than 128 bytes or contains a control character.
    pub fn new(id: &str) -> Result<Self, InvalidBatchId> {
        // Most ids are ASCII, where a byte is a character.
        let plain = id.bytes().all(|byte| matches!(byte, 0x20..=0x7E));
        let valid = !id.is_empty() && id.len() <= Self::MAX_BYTES && (plain || !id.chars().any(char::is_control));
        if valid { Ok(Self(id.into())) } else { Err(InvalidBatchId) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// An event's identity: 128 bits, stored as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId(u128);

impl EventId {
    /// The length of [`Self::hex`], in bytes.
    pub const HEX_BYTES: usize = 32;

    /// The id as it is stored.
    pub fn hex(self) -> [u8; Self::HEX_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; Self::HEX_BYTES];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }
}

/// What the events of one batch have in common in their identities.
///
/// An event's id is a hash of the key's name, the stream, the batch id, its index and its bytes: the same batch
/// sent again, to whichever instance, gives the same ids. The hash is XXH3-128, which is specified for ever and
/// costs some 30 ns an event. It is not cryptographic, and need not be: whoever makes two of his own events collide
/// only makes the loader set one of his own aside as a conflict.
#[derive(Debug, Clone, Copy)]
pub struct BatchHash([u8; 16]);

impl BatchHash {
    /// The common part for the batch that the key named `key` sent to `stream` under `batch`.
    pub fn new(key: &str, stream: &StreamName, batch: &str) -> Self {
        let mut hash = Xxh3::new();
        for part in [key, stream.as_str(), batch] {
            // The length before each part keeps ("ab", "c") apart from ("a", "bc").
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.digest128().to_le_bytes())
    }

    /// The common part of a batch that has no id: `nonce` stands in for it, and a retry cannot be recognised.
    pub fn random(nonce: u128) -> Self {
        Self(nonce.to_le_bytes())
    }

    /// The id of the event at `index`, whose bytes have the XXH3-128 hash `content`.
    pub fn event(&self, index: u32, content: u128) -> EventId {
        let mut whole = [0; 36];
        whole[..16].copy_from_slice(&self.0);
        whole[16..32].copy_from_slice(&content.to_le_bytes());
        whole[32..].copy_from_slice(&index.to_le_bytes());
        EventId(xxh3_128(&whole))
    }
}

/// Numbers that no other instance, worker or batch uses: a random seed of 128 bits, hashed with a counter.
#[derive(Debug)]
pub struct Nonces {
    seed: [u8; 16],
    count: u64,
}

impl Nonces {
    /// Seeds from the operating system.
    ///
    /// # Errors
    /// The operating system's, if it has no random numbers.
    pub fn from_os() -> std::io::Result<Self> {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed)?;
        Ok(Self { seed, count: 0 })
    }

    /// The next number.
    pub fn next_nonce(&mut self) -> u128 {
        self.count += 1;
        let mut whole = [0; 24];
        whole[..16].copy_from_slice(&self.seed);
        whole[16..].copy_from_slice(&self.count.to_le_bytes());
        xxh3_128(&whole)
    }
}

/// A segment's number: counted from 1 within an instance, never used twice.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// The segment after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SegmentId {
    /// Ten digits, so that names sort as numbers do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

/// An instance's identity: a ULID made with its spool directory, part of the name of every object it stores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Ulid);

impl InstanceId {
    /// A new identity, made at `now`.
    ///
    /// # Errors
    /// The operating system's, if it has no random numbers.
    pub fn generate(now: Millis) -> std::io::Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        Ok(Self(Ulid::from_parts(now.get().max(0) as u64, u128::from_le_bytes(random))))
    }

    /// Reads the 26 characters that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Ulid::from_string(text).ok().map(Self)
    }

    /// The identity as 16 bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// The identity of [`Self::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(bytes))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    #[test]
    fn batch_ids_are_short_text_without_control_characters() {
        assert_eq!(BatchId::new("b-1").unwrap().as_str(), "b-1");
        assert!(BatchId::new(&"é".repeat(64)).is_ok());
        for bad in ["", "a\nb", "a\0", "\u{85}", &"x".repeat(129)] {
            assert_eq!(BatchId::new(bad), Err(InvalidBatchId), "{bad:?}");
        }
    }

    #[test]
    fn event_ids_repeat_for_a_retry_and_differ_for_anything_else() {
        let id = |key, s: &str, batch, index, content| BatchHash::new(key, &stream(s), batch).event(index, content);
        let first = id("k", "heard", "b1", 0, 7);
        assert_eq!(first, id("k", "heard", "b1", 0, 7));
        for other in [
            id("l", "heard", "b1", 0, 7),
            id("k", "seen", "b1", 0, 7),
            id("k", "heard", "b2", 0, 7),
            id("k", "heard", "b1", 1, 7),
            id("k", "heard", "b1", 0, 8),
            id("kh", "eard", "b1", 0, 7),
        ] {
            assert_ne!(first, other);
        }
    }

    /// The ids that stand in warehouses for ever: a change of the hash would store every retry twice.
    #[test]
    fn event_ids_are_the_same_in_every_version() {
        let id = BatchHash::new("app", &stream("heard"), "b-1").event(3, xxh3_128(br#"{"a":1}"#));
        assert_eq!(std::str::from_utf8(&id.hex()).unwrap(), "47ea65b493e6de044be4bed38d95809e");
    }

    #[test]
    fn nonces_do_not_repeat() {
        let (mut a, mut b) = (Nonces::from_os().unwrap(), Nonces::from_os().unwrap());
        let (first, second, other) = (a.next_nonce(), a.next_nonce(), b.next_nonce());
        assert!(first != second && first != other && second != other);
    }

    #[test]
    fn instance_ids_survive_text_and_bytes() {
        let id = InstanceId::generate(Millis::new(1_795_338_000_000).unwrap()).unwrap();
        assert_eq!(id.to_string().len(), 26);
        assert_eq!(InstanceId::parse(&id.to_string()), Some(id));
        assert_eq!(InstanceId::from_bytes(id.to_bytes()), id);
        assert_eq!(InstanceId::parse("not a ulid"), None);
    }
}
