//! The client's file calls, all of them: a directory whose files are whole or not there.
//!
//! A file is written under a temporary name, synced, and renamed; then the directory is synced. A device that loses its
//! power finds the file as it was meant or not at all, and a temporary one is removed at the next start. So it is if a write
//! fails: the file is there as it was meant or not at all.
//!
//! What is made here is for its owner alone: directories 0700, files 0600. A directory that was there keeps its mode.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// How the name of a file ends that is not finished.
const UNFINISHED: &str = ".part";
/// The file whose lock says whose directory it is.
const LOCK: &str = "lock";

/// A directory of one client.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    dir: File,
    _lock: File,
}

impl Directory {
    /// Opens `root`, makes it if there is none, and removes what was not finished.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another client has it, else the operating system's.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        make(root)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(root.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            // A directory of such a name is none of ours, and could not be removed as a file.
            if entry.file_name().to_string_lossy().ends_with(UNFINISHED) && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { root: root.to_owned(), dir: File::open(root)?, _lock: lock })
    }

    /// Every file's name and length in bytes, in the order of their names.
    pub(super) fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // Names that are not UTF-8 are nobody's here.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((name, metadata.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    /// Makes a file of `bytes`, durably; one of the same name is replaced. If that fails, the file may be there all the same:
    /// whole, but not certain to outlive a loss of power.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.root.join(format!("{name}{UNFINISHED}"));
        let written = (|| {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            fs::rename(&unfinished, self.root.join(name))?;
            self.dir.sync_data()
        })();
        if written.is_err() {
            // On a full disk every byte counts. What stays is removed at the next start.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// The bytes of a file that has `len` of them.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there are fewer, else the operating system's.
    pub(super) fn read(&self, name: &str, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        File::open(self.root.join(name))?.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Removes a file. It may come back after a loss of power: then its batch is sent again under the same id, which the
    /// warehouse recognises.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }
}

/// Makes the directory `path` and those above it that are missing.
fn make(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or_else(|| Path::new(""));
    make(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        // Another thread was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    // So that a loss of power does not take the directory with all that is in it. Who may make directories in the parent
    // need not be allowed to open it; that must not keep a client from working.
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    if let Err(error) = File::open(parent).and_then(|parent| parent.sync_data()) {
        tracing::debug!(%error, path = %path.display(), "the parent of a new directory cannot be synced");
    }
    Ok(())
}

#[cfg(test)]
impl Directory {
    /// From now on writes fail in the end, when the file has its name and the directory is to be synced.
    pub(super) fn fail_syncs(&mut self) {
        // What is no file of a disk cannot be synced.
        self.dir = File::open("/dev/null").unwrap();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("made/on/demand");
        let directory = Directory::open(&path).unwrap();
        directory.write("b", b"two").unwrap();
        directory.write("a", b"one").unwrap();
        directory.write("a", b"three").unwrap();
        fs::write(path.join("c.part"), "half").unwrap();
        assert_eq!(directory.read("a", 5).unwrap(), b"three");
        assert_eq!(directory.read("a", 6).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        drop(directory);
        let directory = Directory::open(&path).unwrap();
        let files = directory.list().unwrap();
        assert_eq!(files, [("a".to_owned(), 5), ("b".to_owned(), 3), (LOCK.to_owned(), 0)]);
        directory.remove("b").unwrap();
        assert_eq!(directory.list().unwrap().len(), 2);
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("made/on/demand");
        Directory::open(&path).unwrap().write("a", b"secret").unwrap();
        for (name, mode) in
            [("made", 0o700), ("made/on", 0o700), ("made/on/demand", 0o700), ("made/on/demand/a", 0o600)]
        {
            assert_eq!(fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
        }
        assert_eq!(fs::metadata(path.join(LOCK)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_directory_that_looks_unfinished_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let other = root.path().join("x.part");
        fs::create_dir(&other).unwrap();
        Directory::open(root.path()).unwrap();
        assert!(other.is_dir());
    }

    #[test]
    fn one_client_has_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let first = Directory::open(root.path()).unwrap();
        assert_eq!(Directory::open(root.path()).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(first);
        Directory::open(root.path()).unwrap();
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        // A directory cannot be replaced by a file.
        fs::create_dir(root.path().join("taken")).unwrap();
        assert!(directory.write("taken", b"x").is_err());
        assert_eq!(directory.list().unwrap(), [(LOCK.to_owned(), 0)]);
    }

    #[test]
    fn a_sync_that_fails_is_an_error_and_leaves_the_whole_file() {
        let root = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(root.path()).unwrap();
        directory.fail_syncs();
        assert!(directory.write("a", b"x").is_err());
        assert_eq!(directory.list().unwrap(), [("a".to_owned(), 1), (LOCK.to_owned(), 0)]);
    }
}
