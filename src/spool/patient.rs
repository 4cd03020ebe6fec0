//! Reading from a disk that may have gone bad: a few attempts, then block by block around what cannot be read.

use std::{cell::RefCell, io};

use super::{
    BLOCK_BYTES,
    disk::{Disk, DiskFile},
};

/// How often a read is attempted before its place counts as unreadable: a device that recovers does so within its own
/// retries, and a sink must not wait for one that does not.
const ATTEMPTS: usize = 3;

/// A file whose unreadable blocks read as zeros, and are remembered.
pub(super) struct Patient<'f> {
    file: &'f dyn DiskFile,
    unreadable: RefCell<Vec<(u64, u64)>>,
}

impl<'f> Patient<'f> {
    pub(super) fn new(file: &'f dyn DiskFile) -> Self {
        Self { file, unreadable: RefCell::default() }
    }

    /// Fills `buffer` from `offset` on, as far as the file reaches, and tells how far that was.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        if let Ok(read) = read_again(self.file, buffer, offset) {
            return read;
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let block = (BLOCK_BYTES - (at % BLOCK_BYTES as u64) as usize).min(buffer.len() - filled);
            let piece = &mut buffer[filled..filled + block];
            match read_again(self.file, piece, at) {
                Ok(read) if read < block => return filled + read,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(offset = at, %error, "a block cannot be read");
                    piece.fill(0);
                    self.unreadable.borrow_mut().push((at, at + block as u64));
                }
            }
            filled += block;
        }
        filled
    }

    /// Where the last unreadable block ends, if there is one.
    pub(super) fn unreadable_end(&self) -> Option<u64> {
        self.unreadable.borrow().iter().map(|(_, to)| to.next_multiple_of(BLOCK_BYTES as u64)).max()
    }
}

/// Reads like [`DiskFile::read_at`], and tries again a few times.
pub(super) fn read_again(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut outcome = file.read_at(buffer, offset);
    for _ in 1..ATTEMPTS {
        if outcome.is_ok() {
            break;
        }
        outcome = file.read_at(buffer, offset);
    }
    outcome
}

/// Opens like [`Disk::open`], and tries again a few times unless there is no such file.
pub(super) fn open_again(disk: &dyn Disk, name: &str) -> io::Result<Box<dyn DiskFile>> {
    let mut outcome = disk.open(name);
    for _ in 1..ATTEMPTS {
        if outcome.as_ref().err().is_none_or(|error| error.kind() == io::ErrorKind::NotFound) {
            break;
        }
        outcome = disk.open(name);
    }
    outcome
}
