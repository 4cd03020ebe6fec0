//! The spool's file calls, all of them: the real disk here, one in [memory](super::memory), a simulated one in the tests.
//!
//! Names belong to one directory, and those that begin with `quarantine/` to one below it. Nothing is durable before
//! [`DiskFile::sync`] for a file's bytes and [`Disk::sync_dir`] for names; both return only once the device has said so.

mod calls;
mod file;
mod id;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

pub(super) use self::calls::tell_calls;
pub use self::id::DiskId;
use self::{calls::Call, file::RealFile};
use super::segment::Name;

/// A directory of files on something that can fail.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Every file's name and length in bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Makes a new, empty file.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is one of that name, else the operating system's.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// The operating system's.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name; a file that has it is replaced.
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renames and removals so far durable, but for those in the quarantine.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_dir(&self) -> io::Result<()>;

    /// Makes all creations, renames and removals so far in the quarantine durable.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_quarantine(&self) -> io::Result<()>;

    /// Bytes that can still be written to the file system.
    ///
    /// # Errors
    /// The operating system's.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Whether a group of `bytes` may be written, as far as that is known beforehand. Only a disk that knows its room
    /// exactly says no: it keeps a rest for footers and cursors, without which nothing would leave it.
    fn has_room(&self, bytes: u64) -> bool {
        let _ = bytes;
        true
    }

    /// Whether its files are memory: none is worth to be kept for another use, and every batch waits for the sinks.
    fn is_memory(&self) -> bool {
        false
    }
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a length on disk is asked for and may fail; emptiness is not")]
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Writes all of `parts`, one behind the other, from `offset` on.
    ///
    /// # Errors
    /// The operating system's; what was written by then is unknown.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset` on, as far as the file reaches, and tells how far that was.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes all bytes written so far durable: fdatasync.
    ///
    /// # Errors
    /// The operating system's. After an error nobody knows what is durable, and a second call that succeeds proves
    /// nothing: the kernel may have dropped what it could not write.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// The operating system's.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn len(&self) -> io::Result<u64>;
}

/// What the names of files begin with that stand in the directory for what cannot be read.
pub(super) const QUARANTINE: &str = "quarantine/";

/// The file that is locked.
const LOCK: &str = "lock";
/// How often it is tried to lock a directory that another process is about to give up.
const LOCK_POLL: Duration = Duration::from_millis(2);

/// A directory of the real file system, locked for this process.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    dir: File,
    quarantine: File,
    lock: File,
}

/// Another process has the directory.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The lock is held.
    #[error("another process uses the spool at {0}")]
    Locked(PathBuf),
    /// The directory cannot be made or read.
    #[error("cannot open the spool at {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl RealDisk {
    /// Opens the directory `root`, makes it if there is none, and locks it until this is dropped.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if another process has it, else the operating system's error.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        Self::open_while(root, &mut || false)
    }

    /// As [`Self::open`], from another process that is to give the directory up: waits as long as `may_come` says that it may
    /// come free. That is asked every few milliseconds.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_while(root: &Path, may_come: &mut dyn FnMut() -> bool) -> Result<Self, OpenError> {
        Self::open_at(root, may_come).map_err(|source| OpenError::Io { path: root.to_owned(), source })?
    }

    /// Whether there is a spool at `root`, which is neither made nor locked.
    pub fn holds_spool(root: &Path) -> bool {
        let is_spool = |name: &str| name == "instance" || Name::parse(name).is_some();
        let names =
            fs::read_dir(root).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.into_iter().any(|name| is_spool(&name))
    }

    /// Which directory it is.
    ///
    /// # Errors
    /// The operating system's.
    pub fn id(&self) -> io::Result<DiskId> {
        self.lock.metadata().map(|metadata| DiskId::of(&metadata))
    }

    fn open_at(root: &Path, may_come: &mut dyn FnMut() -> bool) -> io::Result<Result<Self, OpenError>> {
        make_dir(root)?;
        // Somebody may have made it without a sync. If it cannot be synced now, what is to be durable will tell.
        let parent = root.canonicalize()?;
        if let Err(error) = File::open(parent.parent().unwrap_or(root)).and_then(|parent| parent.sync_data()) {
            tracing::warn!(spool = %root.display(), %error, "the name of the spool's directory cannot be synced");
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join(LOCK))?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // Waiting for it in the kernel would have no end.
                Err(TryLockError::WouldBlock) if may_come() => thread::sleep(LOCK_POLL),
                Err(TryLockError::WouldBlock) => return Ok(Err(OpenError::Locked(root.to_owned()))),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        let quarantine = root.join(QUARANTINE);
        make_dir(&quarantine)?;
        let (dir, quarantine) = (File::open(root)?, File::open(quarantine)?);
        Ok(Ok(Self { root: root.to_owned(), dir, quarantine, lock }))
    }

    /// Adds the files of the directory `at` to `files`, under names that begin with `prefix`.
    fn list_into(&self, at: &str, files: &mut Vec<(String, u64)>) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(at))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // Names that are not UTF-8 are nobody's here.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((format!("{at}{name}"), metadata.len()));
            }
        }
        Ok(())
    }
}

/// Makes `dir` and what is missing above it. The names of all of them are durable then.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_data(),
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let _call = Call::begin();
        let mut files = Vec::new();
        self.list_into("", &mut files)?;
        self.list_into(QUARANTINE, &mut files)?;
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let _call = Call::begin();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.root.join(name))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let _call = Call::begin();
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(true).open(self.root.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let _call = Call::begin();
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let _call = Call::begin();
        fs::remove_file(self.root.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let _call = Call::begin();
        self.dir.sync_data()
    }

    fn sync_quarantine(&self) -> io::Result<()> {
        let _call = Call::begin();
        self.quarantine.sync_data()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let _call = Call::begin();
        let stats = rustix::fs::fstatvfs(&self.dir)?;
        Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
    }
}

/// Somebody who looks at a directory, whoever has it, and changes nothing.
#[derive(Debug)]
pub(super) struct Onlooker<'r>(&'r Path);

impl<'r> Onlooker<'r> {
    pub(super) fn new(root: &'r Path) -> Self {
        Self(root)
    }

    /// The name and length in bytes of every file but those in the quarantine.
    pub(super) fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.0)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => {
                    files.extend(entry.file_name().into_string().ok().map(|name| (name, metadata.len())));
                }
                Ok(_) => {}
                // It has another name by now, or none.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Opens a file for reading.
    pub(super) fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(self.0.join(name))?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_the_spool() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("made/on/demand");
        let first = RealDisk::open(&path).unwrap();
        assert!(matches!(RealDisk::open(&path), Err(OpenError::Locked(_))));
        drop(first);
        RealDisk::open(&path).unwrap();
    }

    #[test]
    fn a_spool_is_waited_for_as_long_as_it_may_come_free() {
        let root = tempfile::tempdir().unwrap();
        let mut first = Some(RealDisk::open(root.path()).unwrap());
        let mut asked = 0;
        let mut thrice = || {
            asked += 1;
            asked <= 3
        };
        assert!(matches!(RealDisk::open_while(root.path(), &mut thrice), Err(OpenError::Locked(_))));
        assert_eq!(asked, 4);
        let mut given_up = || {
            first = None;
            true
        };
        RealDisk::open_while(root.path(), &mut given_up).unwrap();
    }

    #[test]
    fn a_directory_is_itself_whatever_leads_there_and_another_one_under_its_name_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (spool, link) = (root.path().join("spool"), root.path().join("link"));
        assert_eq!(DiskId::at(&spool).unwrap(), None);
        let id = RealDisk::open(&spool).unwrap().id().unwrap();
        std::os::unix::fs::symlink(&spool, &link).unwrap();
        assert_eq!(DiskId::at(&link).unwrap(), Some(id));
        fs::rename(&spool, root.path().join("aside")).unwrap();
        assert_eq!(DiskId::at(&link).unwrap(), None);
        RealDisk::open(&spool).unwrap();
        assert_ne!(DiskId::at(&link).unwrap(), Some(id));
    }

    #[test]
    fn parts_are_written_one_behind_the_other() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(root.path()).unwrap();
        let file = disk.create("a").unwrap();
        assert_eq!(disk.create("a").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let many: Vec<&[u8]> = (0..3_000).map(|n| if n % 2 == 0 { &b"ab"[..] } else { &b""[..] }).collect();
        file.write_at(&many, 2).unwrap();
        file.sync().unwrap();
        let mut buffer = vec![0; 4_000];
        assert_eq!(file.read_at(&mut buffer, 2).unwrap(), 3_000);
        assert!(buffer[..3_000].chunks(2).all(|pair| pair == b"ab"));
        assert_eq!(file.len().unwrap(), 3_002);
        disk.rename("a", "b").unwrap();
        let mut names: Vec<_> = disk.list().unwrap().into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, ["b", "lock"]);
        disk.rename("b", "quarantine/b").unwrap();
        assert!(disk.list().unwrap().contains(&("quarantine/b".to_owned(), 3_002)));
        disk.rename("quarantine/b", "b").unwrap();
        disk.sync_quarantine().unwrap();
        assert!(disk.free_bytes().unwrap() > 0);
        disk.remove("b").unwrap();
        disk.sync_dir().unwrap();
    }
}
