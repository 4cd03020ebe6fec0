//! Which directory a spool is, by whatever name.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use super::LOCK;

/// Which directory it is, whatever leads there: that of the file which is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskId {
    /// The file system.
    pub device: u64,
    /// The lock file's number on it.
    pub inode: u64,
}

impl DiskId {
    /// Of the directory `root`; `None` if nobody has ever had it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn at(root: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(root.join(LOCK)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            metadata => Ok(Some(Self::of(&metadata?))),
        }
    }

    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}
