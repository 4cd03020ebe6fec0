//! The files of a rehearsal: the key that it is given, reports that it writes and reads.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::report::{FORMAT, Report};

/// The longest file of a key, in bytes.
const MAX_KEY: u64 = 4_096;
/// The longest file of prices, in bytes.
const MAX_PRICES: u64 = 64 * 1024;
/// The longest report that is read, in bytes.
const MAX_REPORT: u64 = 64 * 1024 * 1024;

/// A file cannot be read or written, or is none of those meant.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system's.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is longer than it may be.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// It is no report.
    #[error("{} is no report of a rehearsal: {error}", path.display())]
    NoReport {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// It is a report of another version.
    #[error("{} is a report of format {found}, and this version reads {FORMAT}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// The key that `path` holds, without the white space around it.
///
/// # Errors
/// [`FileError`].
pub fn key(path: &Path) -> Result<String, FileError> {
    Ok(read(path, MAX_KEY)?.trim().to_owned())
}

/// The report that `path` holds, written by [`write()`] with [`json`].
///
/// # Errors
/// [`FileError`].
pub fn report(path: &Path) -> Result<Report, FileError> {
    let text = read(path, MAX_REPORT)?;
    let report: Report =
        serde_json::from_str(&text).map_err(|error| FileError::NoReport { path: path.to_owned(), error })?;
    if report.format != FORMAT {
        return Err(FileError::Format { path: path.to_owned(), found: report.format });
    }
    Ok(report)
}

/// The text of the file of prices at `path`.
///
/// # Errors
/// [`FileError`].
pub fn prices(path: &Path) -> Result<String, FileError> {
    read(path, MAX_PRICES)
}

/// A report as JSON.
///
/// # Errors
/// None is expected: a report is plain data.
pub fn json(report: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// Whether `path` can be written, so that a rehearsal does not find out at its end. Makes the file, if there is none.
///
/// # Errors
/// [`FileError::Io`].
pub fn writable(path: &Path) -> Result<(), FileError> {
    let opened = File::options().create(true).append(true).open(path);
    opened.map(drop).map_err(|error| FileError::Io { path: path.to_owned(), error })
}

/// Writes `text` to `path`.
///
/// # Errors
/// [`FileError::Io`].
pub fn write(path: &Path, text: &str) -> Result<(), FileError> {
    fs::write(path, text).map_err(|error| FileError::Io { path: path.to_owned(), error })
}

fn read(path: &Path, limit: u64) -> Result<String, FileError> {
    let io = |error| FileError::Io { path: path.to_owned(), error };
    let mut text = String::new();
    let mut file = File::open(path).map_err(io)?.take(limit + 1);
    #[expect(clippy::disallowed_methods, reason = "`take` limits it")]
    file.read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > limit {
        return Err(FileError::TooLong { path: path.to_owned(), limit });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_no_report_is_told() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("report.json");
        writable(&path).unwrap();
        assert!(matches!(report(&path), Err(FileError::NoReport { .. })), "an empty file is no report");
        let mut written = Report { format: FORMAT, ..Report::default() };
        written.setup.profile = "advert".into();
        write(&path, &json(&written).unwrap()).unwrap();
        writable(&path).unwrap();
        assert_eq!(report(&path).unwrap(), written);
        written.format = FORMAT + 1;
        write(&path, &json(&written).unwrap()).unwrap();
        assert!(matches!(report(&path), Err(FileError::Format { found, .. }) if found == FORMAT + 1));
        assert!(matches!(report(&place.path().join("none")), Err(FileError::Io { .. })));
        assert!(matches!(writable(&place.path().join("none/x")), Err(FileError::Io { .. })));
    }

    #[test]
    fn a_key_is_read_without_its_line_end_and_only_if_it_is_short() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        write(&path, " secret-0123456789\n").unwrap();
        assert_eq!(key(&path).unwrap(), "secret-0123456789");
        write(&path, &"x".repeat(5_000)).unwrap();
        assert!(matches!(key(&path), Err(FileError::TooLong { .. })));
    }
}
