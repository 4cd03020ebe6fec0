//! Reading what stands below the root, for the audit.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
};

use bytes::Bytes;

use super::{TEMPORARY, blocking, content};
use crate::sink::{BoxFuture, Codec, Listed, ObjectReader, Page, StoreError, Told};

/// How much is read at a time, in bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// How many names a page has.
const PAGE_NAMES: usize = 1_000;

/// What stands directly below `directory`, behind the name `after`.
pub(super) async fn list(place: &str, directory: &str, after: Option<String>) -> Result<Page, StoreError> {
    let (path, directory) = (PathBuf::from(place).join(directory), directory.to_owned());
    Ok(blocking(move || page(&path, &directory, after.as_deref())).await?)
}

/// Reads all names, but keeps a page of them: a directory is in no order.
fn page(path: &PathBuf, directory: &str, after: Option<&str>) -> io::Result<Page> {
    let entries = match fs::read_dir(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Page::default());
        }
        entries => entries?,
    };
    let mut names = std::collections::BTreeMap::new();
    let mut more = false;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if after.is_some_and(|after| *name <= *after) || (directory.is_empty() && name == TEMPORARY) {
            continue;
        }
        names.insert(name, entry);
        if names.len() > PAGE_NAMES {
            names.pop_last();
            more = true;
        }
    }
    let next = names.last_key_value().filter(|_| more).map(|(name, _)| name.clone());
    let mut page = Page { next, ..Page::default() };
    for (name, entry) in names {
        let metadata = entry.metadata()?;
        let key = format!("{directory}{name}");
        if metadata.is_dir() {
            page.directories.push(format!("{key}/"));
        } else {
            page.objects.push(Listed { key, bytes: metadata.len() });
        }
    }
    Ok(page)
}

/// The file at `key`; `None` if there is none.
pub(super) async fn get(place: &str, key: &str) -> Result<Option<Box<dyn ObjectReader>>, StoreError> {
    let file = open(PathBuf::from(place).join(key)).await?;
    Ok(file.map(|file| Box::new(FileReader(Some(file))) as Box<dyn ObjectReader>))
}

/// What the file tells.
pub(super) async fn told(place: &str, key: &str) -> Result<Option<Told>, StoreError> {
    let Some(mut file) = open(PathBuf::from(place).join(key)).await? else { return Ok(None) };
    let codec = Codec::of_key(key);
    Ok(Some(blocking(move || content::told(&mut file, codec)).await?))
}

async fn open(path: PathBuf) -> Result<Option<File>, StoreError> {
    Ok(blocking(move || match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    })
    .await?)
}

/// The bytes of a file; `None` once it has ended or failed.
struct FileReader(Option<File>);

impl ObjectReader for FileReader {
    fn next_piece(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            let Some(mut file) = self.0.take() else { return Ok(None) };
            let (file, piece) = blocking(move || {
                let mut piece = vec![0; PIECE_BYTES];
                let read = file.read(&mut piece)?;
                piece.truncate(read);
                Ok((file, piece))
            })
            .await?;
            if piece.is_empty() {
                return Ok(None);
            }
            self.0 = Some(file);
            Ok(Some(piece.into()))
        })
    }
}
