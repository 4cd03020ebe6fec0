//! What is handed over beside the sockets, and how it is written.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use crate::spool::DiskId;

/// What is handed over, beside the sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estate {
    /// Whether a supervisor has the public socket, too, and passes it to whomever it starts next.
    pub supervised: bool,
    /// The spool; `None` without a disk.
    pub spool: Option<SpoolDir>,
}

/// The directory of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolDir {
    /// What it was called when it was locked, for people.
    pub path: PathBuf,
    /// Which one it is: by its name, another one may stand by now.
    pub id: DiskId,
}

impl Estate {
    /// One flag for each; the two numbers of the directory, and its path.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.supervised), u8::from(self.spool.is_some())];
        if let Some(SpoolDir { path, id: DiskId { device, inode } }) = &self.spool {
            bytes.extend_from_slice(&device.to_le_bytes());
            bytes.extend_from_slice(&inode.to_le_bytes());
            bytes.extend_from_slice(path.as_os_str().as_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let ([supervised @ (0 | 1), has_spool @ (0 | 1)], bytes) = bytes.split_first_chunk()? else { return None };
        let spool = if *has_spool == 1 {
            let (device, bytes) = bytes.split_first_chunk()?;
            let (inode, path) = bytes.split_first_chunk()?;
            let id = DiskId { device: u64::from_le_bytes(*device), inode: u64::from_le_bytes(*inode) };
            Some(SpoolDir { path: Path::new(std::ffi::OsStr::from_bytes(path)).to_owned(), id })
        } else {
            None
        };
        Some(Self { supervised: *supervised == 1, spool })
    }
}
