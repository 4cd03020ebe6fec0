//! The client's file calls, all of them: a directory whose files are whole or not there.
//!
//! A file is written under a temporary name, synced, and renamed; then the directory is synced. A device that loses its
//! power finds the file as it was meant or not at all, and a temporary one is removed at the next start.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
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
        fs::create_dir_all(root)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
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

    /// Makes a file of `bytes`, durably; one of the same name is replaced.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.root.join(format!("{name}{UNFINISHED}"));
        let written = (|| {
            let mut file = File::create(&unfinished)?;
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

#[cfg(test)]
mod tests {
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
        assert_eq!(directory.read("a", 6).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        drop(directory);
        let directory = Directory::open(&path).unwrap();
        let files = directory.list().unwrap();
        assert_eq!(files, [("a".to_owned(), 5), ("b".to_owned(), 3), (LOCK.to_owned(), 0)]);
        directory.remove("b").unwrap();
        assert_eq!(directory.list().unwrap().len(), 2);
    }

    #[test]
    fn one_client_has_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let first = Directory::open(root.path()).unwrap();
        assert_eq!(Directory::open(root.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
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
}
