//! Objects as files: exactly the S3 layout below a directory.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, CWD, RenameFlags, fadvise, renameat_with};

use super::{BoxFuture, ObjectBody, ObjectFacts, ObjectPlan, ObjectStore, Placed, PutError, PutFailure};

/// Where files are written before they get their name, below the root; it is on the same file system.
const TEMPORARY: &str = ".tmp";
/// How much is written at a time, in bytes: what was compressed is still in the core's cache then.
const PART_BYTES: usize = 512 * 1024;
/// The length of a gzip member's trailer, in bytes: CRC-32 and length of what was compressed.
const TRAILER_BYTES: usize = 8;

/// A directory of objects.
///
/// An object is written under a temporary name, synced, and then gets its name, if there is no such file: what has a
/// name is whole and durable. There is no metadata beside it; what a file holds is told by its gzip trailer.
#[derive(Debug, Default)]
pub struct FileStore;

impl ObjectStore for FileStore {
    fn put<'a>(&'a self, plan: &'a ObjectPlan, body: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>> {
        Box::pin(put(plan, body))
    }
}

async fn put(plan: &ObjectPlan, mut body: ObjectBody) -> Result<Placed, PutError> {
    let root = PathBuf::from(&plan.place);
    let path = root.join(plan.key.to_string());
    if let Some(placed) = blocking({
        let (path, facts) = (path.clone(), plan.facts.clone());
        move || compare(&path, &facts)
    })
    .await?
    {
        return Ok(placed);
    }
    let name = format!("{}-{}-{}", plan.facts.instance, plan.facts.segment, plan.key.to_string().replace('/', "-"));
    let temporary = root.join(TEMPORARY).join(name);
    let mut file = blocking({
        let (root, temporary) = (root.clone(), temporary.clone());
        move || {
            make_dir(&root.join(TEMPORARY))?;
            File::create(&temporary)
        }
    })
    .await?;
    let mut len = 0;
    while let Some(part) = body.next_part(PART_BYTES).await? {
        len += part.bytes.len() as u64;
        file = blocking(move || file.write_all(&part.bytes).map(|()| file)).await?;
    }
    let facts = plan.facts.clone();
    let named = blocking(move || {
        file.sync_data()?;
        // Nobody here will read it again: its place in the page cache is worth more to the spool.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        drop(file);
        give_name(&temporary, &path)?.map_or_else(|| compare(&path, &facts), |()| Ok(None))
    });
    Ok(named.await?.unwrap_or(Placed::Stored(len)))
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, PutError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| {
            let cause = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PutFailure::Full,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => PutFailure::Denied,
                _ => PutFailure::Other,
            };
            PutError::store(cause, error)
        }),
        Err(error) => Err(PutError::store(PutFailure::Other, error)),
    }
}

/// What stands at `path`: nothing, the same, or something else.
fn compare(path: &Path, facts: &ObjectFacts) -> io::Result<Option<Placed>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut trailer = [0; TRAILER_BYTES];
    let whole = file.seek(SeekFrom::End(-(TRAILER_BYTES as i64))).is_ok();
    if whole {
        file.read_exact(&mut trailer)?;
    }
    let told = [facts.crc32.to_le_bytes(), (facts.bytes as u32).to_le_bytes()].concat();
    Ok(Some(if whole && trailer[..] == told { Placed::Existed } else { Placed::Occupied }))
}

/// Moves `temporary` to `path`, durably; `None` if there is a file of that name.
fn give_name(temporary: &Path, path: &Path) -> io::Result<Option<()>> {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_dir(dir)?;
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => {
            fs::remove_file(temporary)?;
            return Ok(None);
        }
        // Some file systems do not know the flag: a second name fails just as well if there is a file.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match fs::hard_link(temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(temporary)?;
                return Ok(None);
            }
            linked => {
                linked?;
                fs::remove_file(temporary)?;
            }
        },
        Err(error) => return Err(error.into()),
    }
    sync_dir(dir)?;
    Ok(Some(()))
}

/// Makes `dir` and what is missing above it, durably.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_dir(parent)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_dir(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_data()
}
