//! Names that survive: of files, and of the directories that they stand in.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// How many directories are remembered. A sink makes one an hour for each stream and book; when the memory is full it
/// is emptied, which costs a sync for each directory that is used again.
const MAX_KNOWN: usize = 4_096;

/// Which directories' own names are known to be synced.
#[derive(Debug)]
pub(super) struct Names {
    known: Mutex<HashSet<PathBuf>>,
    sync: fn(&Path) -> io::Result<()>,
}

impl Default for Names {
    fn default() -> Self {
        Self::new(|dir| File::open(dir)?.sync_data())
    }
}

impl Names {
    /// Names that `sync` makes durable, given a directory: tests let it fail.
    pub(super) fn new(sync: fn(&Path) -> io::Result<()>) -> Self {
        Self { known: Mutex::default(), sync }
    }

    /// Makes the names in `dir` durable.
    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.sync)(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })
    }

    /// Makes `dir`, and what is missing above it. When this succeeds its name is durable, and so are those of all
    /// directories between it and `root`, whoever made them: a process before this one may have failed to sync them.
    ///
    /// Above the root, only what is made here is certain to be synced: what was there before may belong to somebody who
    /// lets us neither read nor sync it.
    pub(super) fn make_dir(&self, dir: &Path, root: &Path) -> io::Result<()> {
        let is_dir = dir.is_dir();
        if is_dir && self.lock().contains(dir) {
            return Ok(());
        }
        let Some(above) = dir.parent() else { return Ok(()) };
        if !above.as_os_str().is_empty() {
            self.make_dir(above, root)?;
        }
        if !is_dir {
            match fs::create_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let ours = !is_dir || (dir != root && dir.starts_with(root));
        match self.sync_dir(above) {
            Err(error) if ours => return Err(error),
            _ => {}
        }
        let mut known = self.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(dir.to_owned());
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renames `from` to `to`; false, and nothing is changed, if there is such a file.
pub(super) fn rename_to_new(from: &Path, to: &Path) -> io::Result<bool> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        // Some file systems do not know the flag: a second name fails just as well if there is a file.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match fs::hard_link(from, to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            linked => linked.and_then(|()| fs::remove_file(from)).map(|()| true),
        },
        Err(error) => Err(error.into()),
    }
}
