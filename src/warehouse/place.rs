//! The place where a sink stores, read with patience.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use crate::{
    batch::{Book, StreamName},
    sink::{Backoff, BoxFuture, Failure, ObjectReader, ObjectStore, Page, REJECTED, StoreError, Told},
};

/// How often something is tried before the reader gives up.
const ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What is stored cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what}: {source}")]
pub struct PlaceError {
    /// What was to be read.
    pub what: String,
    /// What the store said.
    pub source: StoreError,
}

/// Where a sink stores.
#[derive(Clone)]
pub struct Place {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The bucket, or the root directory.
    pub bucket: String,
    /// What stands before every key.
    pub prefix: String,
    /// The longest that one answer may take.
    pub timeout: Duration,
}

/// What takes the bytes of an object.
pub(super) trait Taker {
    /// Takes a piece; false if no more is wanted.
    fn take(&mut self, piece: &[u8]) -> bool;
}

/// The first bytes of an object, up to a limit.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    pub(super) most: usize,
}

impl Taker for Whole {
    fn take(&mut self, piece: &[u8]) -> bool {
        let room = self.most.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        piece.len() <= room
    }
}

/// An object that is read piece by piece. What breaks off in the middle is opened again, and goes on where it was.
pub(super) struct Pieces<'p> {
    place: &'p Place,
    key: String,
    reader: Box<dyn ObjectReader>,
    /// How many bytes were given.
    taken: u64,
    /// How many of those the reader gives again.
    again: u64,
    /// How often it broke off since something new came.
    broken: u32,
}

impl Pieces<'_> {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PlaceError> {
        loop {
            match self.place.answer(self.reader.next_piece()).await {
                Ok(None) => return Ok(None),
                Ok(Some(mut piece)) => {
                    let known = self.again.min(piece.len() as u64);
                    self.again -= known;
                    piece = piece.split_off(known as usize);
                    if piece.is_empty() {
                        continue;
                    }
                    self.broken = 0;
                    self.taken += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Err(source) => {
                    self.broken += 1;
                    let failed = |source| PlaceError { what: self.key.clone(), source };
                    if self.broken == ATTEMPTS {
                        return Err(failed(source));
                    }
                    tracing::debug!(what = self.key, error = %source, "going on where it broke off");
                    let again = self.place.patiently(&self.key, || {
                        Box::pin(self.place.answer(self.place.store.get(&self.place.bucket, &self.key)))
                    });
                    self.reader = again.await?.ok_or_else(|| failed(source))?;
                    self.again = self.taken;
                }
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("bucket", &self.bucket).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Place {
    /// A page of what stands directly in `directory`.
    pub(super) async fn list(&self, directory: &str, after: Option<String>) -> Result<Page, PlaceError> {
        self.patiently(directory, || self.store.list(&self.bucket, directory, after.clone())).await
    }

    /// What is told of the object at `key`.
    pub(super) async fn told(&self, key: &str) -> Result<Option<Told>, PlaceError> {
        self.patiently(key, || self.store.told(&self.bucket, key)).await
    }

    /// Gives the bytes at `key` to a taker, a new one for each attempt; `None` if there is no such object.
    pub(super) async fn read<T: Taker + Send>(
        &self,
        key: &str,
        taker: impl Fn() -> T + Send + Sync,
    ) -> Result<Option<T>, PlaceError> {
        self.patiently(key, || {
            let mut taker = taker();
            Box::pin(async move {
                let Some(mut object) = self.answer(self.store.get(&self.bucket, key)).await? else { return Ok(None) };
                while let Some(piece) = self.answer(object.next_piece()).await? {
                    if !taker.take(&piece) {
                        break;
                    }
                }
                Ok(Some(taker))
            })
        })
        .await
    }

    /// Opens the object at `key`, to be read piece by piece; `None` if there is no such object.
    pub(super) async fn open(&self, key: &str) -> Result<Option<Pieces<'_>>, PlaceError> {
        let reader = self.patiently(key, || Box::pin(self.answer(self.store.get(&self.bucket, key)))).await?;
        Ok(reader.map(|reader| Pieces { place: self, key: key.to_owned(), reader, taken: 0, again: 0, broken: 0 }))
    }

    /// Puts `bytes` at `key`, whatever is there.
    pub(super) async fn overwrite(&self, key: &str, bytes: &[u8]) -> Result<(), PlaceError> {
        self.patiently(key, || Box::pin(self.answer(self.store.overwrite(&self.bucket, key, bytes.to_vec())))).await
    }

    /// The streams and books that have a directory.
    pub(super) async fn stream_directories(&self) -> Result<BTreeSet<(StreamName, Book)>, PlaceError> {
        let mut found = BTreeSet::new();
        for (directory, book) in
            [(self.prefix.clone(), Book::Accepted), (format!("{}{REJECTED}", self.prefix), Book::Rejected)]
        {
            let mut after = None;
            loop {
                let page = self.list(&directory, after).await?;
                let names = page.directories.iter().filter_map(|key| key.strip_prefix(&directory)?.strip_suffix('/'));
                found.extend(names.filter_map(|name| StreamName::new(name).ok()).map(|stream| (stream, book)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn answer<T>(&self, asked: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
        let late = |elapsed| Err(StoreError { cause: Failure::Timeout, source: Box::new(elapsed) });
        timeout(self.timeout, asked).await.unwrap_or_else(late)
    }

    async fn patiently<'a, T>(
        &self,
        what: &str,
        mut ask: impl FnMut() -> BoxFuture<'a, Result<T, StoreError>> + Send,
    ) -> Result<T, PlaceError> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut attempt = 1;
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(source) if attempt == ATTEMPTS => return Err(PlaceError { what: what.to_owned(), source }),
                Err(error) => tracing::debug!(what, %error, attempt, "trying again"),
            }
            attempt += 1;
            sleep(backoff.next_wait(fastrand::f64())).await;
        }
    }
}
