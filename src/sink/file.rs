//! Objects as files: exactly the S3 layout below a directory.
//!
//! An object is written under a temporary name, synced, and then gets its name, if there is no such file: what has a
//! name is whole. There is no metadata beside it; what a file holds is told by its gzip trailer. A zstd frame tells the
//! length of the lines, and a checksum that is not the one of the books; so a zstd file is read to compare it, which
//! happens where an attempt was made before, and where the audit asks.
//!
//! # Invariants
//!
//! - **`Stored` and `Existed` mean durable.** Either is answered only after the file, its name, and the names of all
//!   directories between it and the root are synced. A name whose sync failed is found by the next attempt, which syncs
//!   it anew before it says `Existed`.
//! - **No two attempts share a file.** An attempt that ran out of time may still be writing on its thread: the next one
//!   has a temporary name of its own, and whichever is first gives the object its name. So may the process that was
//!   here before: its number is part of the name.
//! - **A temporary file does not outlive its attempt**, unless the process is killed; [`FileStore::sweep`] removes what
//!   a killed one has left.

mod content;
mod names;
mod reading;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{Advice, fadvise};
use xxhash_rust::xxh3::xxh3_64;

use self::names::Names;
use super::{
    BoxFuture, Codec, Failure, ObjectBody, ObjectFacts, ObjectPlan, ObjectReader, ObjectStore, Page, Placed, PutError,
    StoreError, Told,
};
use crate::batch::InstanceId;

/// Where files are written before they get their name, below the root; it is on the same file system.
const TEMPORARY: &str = ".tmp";
/// How much is written at a time, in bytes: what was compressed is still in the core's cache then.
const PART_BYTES: usize = 512 * 1024;

/// Directories of objects.
#[derive(Debug, Default)]
pub struct FileStore {
    names: Arc<Names>,
    /// Counts attempts, so that no two of this process have the same temporary name.
    attempts: AtomicU64,
}

impl FileStore {
    /// Removes what attempts of a killed process have left below `root`. To be called before anything is put for
    /// `instance`; other instances may be writing to the same root.
    ///
    /// # Errors
    /// The operating system's. What is left takes room and does no other harm.
    pub fn sweep(root: &Path, instance: InstanceId) -> io::Result<()> {
        let entries = match fs::read_dir(root.join(TEMPORARY)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let own = format!("{instance}-");
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&own) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    async fn place(&self, plan: &ObjectPlan, mut body: ObjectBody) -> Result<Placed, PutError> {
        let root = PathBuf::from(&plan.place);
        let (path, codec) = (root.join(plan.key.to_string()), plan.key.codec());
        let found = blocking({
            let (names, root, path, facts) = (Arc::clone(&self.names), root.clone(), path.clone(), plan.facts.clone());
            move || compare(&names, &root, &path, (&facts, codec))
        });
        if let Some(placed) = found.await? {
            return Ok(placed);
        }
        let mut file = blocking({
            let (names, root, name) = (Arc::clone(&self.names), root.clone(), self.temporary_name(plan));
            move || Temporary::create(&names, &root, &name)
        })
        .await?;
        let mut len = 0;
        while let Some(part) = body.next_part(PART_BYTES).await? {
            len += part.bytes.len() as u64;
            file = blocking(move || file.file.write_all(&part.bytes).map(|()| file)).await?;
        }
        let (names, facts) = (Arc::clone(&self.names), plan.facts.clone());
        let taken = blocking(move || {
            file.sync()?;
            if file.give_name(&names, &root, &path)? {
                Ok(None)
            } else {
                compare(&names, &root, &path, (&facts, codec))
            }
        });
        Ok(taken.await?.unwrap_or(Placed::Stored(len)))
    }

    async fn replace(&self, place: &str, key: &str, bytes: Vec<u8>) -> Result<(), PutError> {
        let (names, root) = (Arc::clone(&self.names), PathBuf::from(place));
        let path = root.join(key);
        // Such keys begin with the instance, and so does what is left of them.
        let base = key.rsplit('/').next().unwrap_or(key).split('-').next().unwrap_or_default();
        let name = format!("{base}-{:016x}-{}", xxh3_64(key.as_bytes()), self.next_attempt());
        blocking(move || {
            let mut file = Temporary::create(&names, &root, &name)?;
            file.file.write_all(&bytes)?;
            file.sync()?;
            file.replace(&names, &root, &path)
        })
        .await
    }

    /// What no other attempt is called, of this process or of another one that runs.
    fn next_attempt(&self) -> String {
        format!("{}-{}", process::id(), self.attempts.fetch_add(1, Ordering::Relaxed))
    }

    /// A name that no other attempt has: of other keys, since they hash differently, or of the same. Short, however
    /// long the key is.
    fn temporary_name(&self, plan: &ObjectPlan) -> String {
        let (instance, segment) = (plan.facts.instance, plan.facts.segment);
        let key = xxh3_64(plan.key.to_string().as_bytes());
        format!("{instance}-{segment}-{key:016x}-{}", self.next_attempt())
    }
}

impl ObjectStore for FileStore {
    fn put<'a>(&'a self, plan: &'a ObjectPlan, body: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>> {
        Box::pin(self.place(plan, body))
    }

    fn overwrite<'a>(&'a self, place: &'a str, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.replace(place, key, bytes).await?) })
    }

    fn list<'a>(
        &'a self,
        place: &'a str,
        directory: &'a str,
        after: Option<String>,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(reading::list(place, directory, after))
    }

    fn get<'a>(
        &'a self,
        place: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Box<dyn ObjectReader>>, StoreError>> {
        Box::pin(reading::get(place, key))
    }

    fn told<'a>(&'a self, place: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Told>, StoreError>> {
        Box::pin(reading::told(place, key))
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, PutError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| {
            let cause = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Full,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Failure::Denied,
                _ => Failure::Other,
            };
            PutError::store(cause, error)
        }),
        Err(error) => Err(PutError::store(Failure::Other, error)),
    }
}

/// A file that has no name yet but a temporary one; it is removed unless it gets one.
struct Temporary {
    path: PathBuf,
    file: File,
    named: bool,
}

impl Temporary {
    fn create(names: &Names, root: &Path, name: &str) -> io::Result<Self> {
        let dir = root.join(TEMPORARY);
        names.make_dir(&dir, root)?;
        let path = dir.join(name);
        // Never one that is there: somebody may be writing it.
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { path, file, named: false })
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        // Nobody here will read it again: its place in the page cache is worth more to the spool.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        Ok(())
    }

    /// Moves the file to `path`, durably; false if there is a file of that name.
    fn give_name(mut self, names: &Names, root: &Path, path: &Path) -> io::Result<bool> {
        names.make_dir(parent(path), root)?;
        self.named = names::rename_to_new(&self.path, path)?;
        if self.named {
            names.sync_dir(parent(path))?;
        }
        Ok(self.named)
    }

    /// Moves the file to `path`, durably, in the place of what is there.
    fn replace(mut self, names: &Names, root: &Path, path: &Path) -> io::Result<()> {
        names.make_dir(parent(path), root)?;
        fs::rename(&self.path, path)?;
        self.named = true;
        names.sync_dir(parent(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// What stands at `path`: nothing, the same, or something else. What is the same is durable when this says so.
fn compare(
    names: &Names,
    root: &Path,
    path: &Path,
    (facts, codec): (&ObjectFacts, Codec),
) -> io::Result<Option<Placed>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !content::is_of(&mut file, facts, codec)? {
        return Ok(Some(Placed::Occupied));
    }
    // An earlier attempt may have given it this name and failed to sync it.
    file.sync_data()?;
    names.make_dir(parent(path), root)?;
    names.sync_dir(parent(path))?;
    Ok(Some(Placed::Existed))
}

#[cfg(test)]
mod tests;
