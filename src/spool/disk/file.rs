//! A file of the real file system.

use std::{
    fs::File,
    io::{self, IoSlice},
    os::unix::fs::FileExt,
};

use super::{DiskFile, calls::Call};

#[derive(Debug)]
pub(super) struct RealFile(pub(super) File);

/// The most parts that one system call takes: `IOV_MAX` of Linux.
const MAX_PARTS: usize = 1_024;

impl DiskFile for RealFile {
    fn write_at(&self, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
        let _call = Call::begin();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let some = left.len().min(MAX_PARTS);
            match rustix::io::pwritev(&self.0, &left[..some], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let _call = Call::begin();
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        let _call = Call::begin();
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let _call = Call::begin();
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        let _call = Call::begin();
        Ok(self.0.metadata()?.len())
    }
}
