//! What a place for objects can do.

use bytes::Bytes;

use super::{ObjectBody, ObjectPlan, Placed};
use crate::sink::{BoxFuture, PutError, StoreError};

/// A place for objects.
///
/// Objects are put for ever, on the condition that their key is free. The books' heartbeats are the only thing that is
/// overwritten, and the audit the only one that reads.
pub trait ObjectStore: Send + Sync {
    /// Puts the object of `plan`, whose compressed bytes `body` gives, unless its key is taken.
    ///
    /// Cancel-safe in the sense that a second attempt finds out what became of the first.
    fn put<'a>(&'a self, plan: &'a ObjectPlan, body: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>>;

    /// Puts `bytes` at `key` of `place`, whatever is there: a few KiB at the most, of JSON.
    fn overwrite<'a>(&'a self, place: &'a str, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>>;

    /// A page of what stands directly below `directory`, which is empty or ends in `/`: the first, or the one that
    /// [`Page::next`] tells.
    fn list<'a>(
        &'a self,
        place: &'a str,
        directory: &'a str,
        after: Option<String>,
    ) -> BoxFuture<'a, Result<Page, StoreError>>;

    /// The bytes at `key`, piece by piece; `None` if there is no such object.
    fn get<'a>(
        &'a self,
        place: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Box<dyn ObjectReader>>, StoreError>>;

    /// What is told of the object at `key`, without reading it if it can be; `None` if there is no such object.
    fn told<'a>(&'a self, place: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Told>, StoreError>>;
}

/// The bytes of an object.
pub trait ObjectReader: Send {
    /// Some of them, a few hundred KiB at the most; `None` at the end.
    fn next_piece(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>>;
}

/// A part of a directory, in the order of the keys; at most a thousand of both together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects directly in it.
    pub objects: Vec<Listed>,
    /// The directories directly in it, as keys that end in `/`.
    pub directories: Vec<String>,
    /// What to ask for next, if there is more.
    pub next: Option<String>,
}

/// An object as a listing tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its whole key.
    pub key: String,
    /// Its compressed length in bytes.
    pub bytes: u64,
}

/// What is told of an object's lines: by its metadata; or of a file by its gzip trailer, which knows the length only
/// modulo 2³² and no count, or by reading it if it is a zstd frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// How many lines.
    pub events: Option<u64>,
    /// Their uncompressed length in bytes.
    pub bytes: Option<u64>,
    /// CRC-32 of the uncompressed bytes.
    pub crc32: Option<u32>,
}

impl Told {
    /// Whether this is told of an object with such lines.
    pub fn matches(&self, events: u64, bytes: u64, crc32: u32) -> bool {
        self.crc32 == Some(crc32)
            && self.bytes.is_some_and(|told| told == bytes || told == bytes % (1 << 32))
            && self.events.is_none_or(|told| told == events)
    }
}
