//! The files of the loader: the certificates that it believes, and the metrics that it leaves.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The longest file of certificates, in bytes: those of a whole system have some 250 KiB.
const MAX_CERTIFICATES: u64 = 4 * 1024 * 1024;

/// A file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// The certificates in `path`.
pub(super) fn certificates(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileError { path: path.to_owned(), error };
    let mut pem = Vec::new();
    let mut file = File::open(path).map_err(failed)?.take(MAX_CERTIFICATES + 1);
    #[expect(clippy::disallowed_methods, reason = "`take` limits it")]
    file.read_to_end(&mut pem).map_err(failed)?;
    if pem.len() as u64 > MAX_CERTIFICATES {
        return Err(failed(io::Error::other(format!("it has more than {MAX_CERTIFICATES} bytes"))));
    }
    Ok(pem)
}

/// Writes `text` to `path`, so that whoever reads it sees what was there before or all of it: aside, and renamed.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let mut aside = path.as_os_str().to_owned();
    // Collectors of text files read what ends in .prom.
    aside.push(".new");
    let written = fs::write(&aside, text).and_then(|()| fs::rename(&aside, path));
    written.map_err(|error| FileError { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_aside() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("load.prom");
        for text in ["a 1\n", "a 2\n"] {
            replace(&path, text).unwrap();
            assert_eq!(certificates(&path).unwrap(), text.as_bytes());
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        assert!(replace(&place.path().join("none/x"), "").is_err());
        assert!(certificates(&place.path().join("none")).is_err());
    }
}
