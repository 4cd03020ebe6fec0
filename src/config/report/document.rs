//! The text of a configuration, and where in it something stands.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::config::{
    problem::{Place, Position, Problem, Problems},
    setting::Setting,
    tree::{Node, Origin, SyntaxError},
};

/// The longest file that is read, in bytes: ten thousand keys and every stream that there may be take a fraction of it.
const MAX_BYTES: u64 = 4 << 20;
/// The permission of everybody to read.
const READABLE_BY_ALL: u32 = 0o004;

/// The text of a configuration and its name. It is not printable: it may hold secrets.
pub(in crate::config) struct Document {
    pub name: String,
    pub text: String,
    /// Whether every user of the machine may read the file.
    pub readable_by_all: bool,
}

/// What a file held at one look: a hash of it, or why it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Content {
    Is([u8; 32]),
    Unreadable(io::ErrorKind),
}

/// Why a file could not be read as a text, and what it held.
#[derive(Debug)]
pub(in crate::config) struct Unread {
    pub error: io::Error,
    pub content: Content,
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        Self::Is(Sha256::digest(bytes).into())
    }

    fn unreadable(error: &io::Error) -> Self {
        Self::Unreadable(error.kind())
    }
}

impl Document {
    /// A text that is in no file.
    pub(in crate::config) fn of(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), readable_by_all: false }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The operating system's, or what is wrong with the file as a text.
    pub(in crate::config) fn open(path: &Path) -> Result<Self, Unread> {
        let (bytes, mode) = read(path).map_err(|error| Unread { content: Content::unreadable(&error), error })?;
        let text = String::from_utf8(bytes).map_err(|wrong| Unread {
            content: Content::of(wrong.as_bytes()),
            error: io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8"),
        })?;
        Ok(Self { name: path.display().to_string(), text, readable_by_all: mode & READABLE_BY_ALL != 0 })
    }

    /// What the file holds.
    pub(in crate::config) fn content(&self) -> Content {
        Content::of(self.text.as_bytes())
    }

    /// What the text says.
    ///
    /// # Errors
    /// Everywhere that it is not TOML. What such a text means is anyone's guess, so nothing else is looked for.
    pub(in crate::config) fn parse(&self) -> Result<Node, Vec<Problem>> {
        Node::from_file(&self.text).map_err(|errors| {
            let problem = |SyntaxError { what, at }| Problem {
                place: self.place(&at.map_or(Origin::File, Origin::At)),
                setting: Setting::default(),
                what,
                remedy: "correct the TOML here: key = value, strings in quotes, each key once".to_owned(),
            };
            errors.into_iter().map(problem).collect()
        })
    }

    /// Where something stands.
    pub(in crate::config) fn place(&self, origin: &Origin) -> Place {
        let file = |at| Place::File { name: self.name.clone(), at };
        match origin {
            Origin::File => file(None),
            Origin::At(byte) => file(Some(Position::of(&self.text, *byte))),
            Origin::Variable(name) => Place::Variable(name.to_string()),
        }
    }
}

/// That the configuration's own file cannot be read, which is the one problem there is.
pub(in crate::config) fn unreadable(path: &Path, error: &io::Error) -> Problems {
    Problems::new(vec![Problem {
        place: Place::File { name: path.display().to_string(), at: None },
        setting: Setting::default(),
        what: format!("cannot be read: {error}"),
        remedy: "name a readable TOML file with --config, or none for the embedded default".to_owned(),
    }])
}

/// What the file at `path` holds now, behind every link.
pub(in crate::config) fn content(path: &Path) -> Content {
    match read(path) {
        Ok((bytes, _)) => Content::of(&bytes),
        Err(error) => Content::unreadable(&error),
    }
}

/// The bytes and the permissions of the file at `path`. Nothing else is read: a pipe or a device may have no end, or never
/// begin, so that it is not waited for either.
#[expect(clippy::disallowed_methods, reason = "the reader is limited")]
fn read(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mode = metadata.mode();
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok((bytes, mode))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_known_by_what_it_holds_behind_every_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("one"), "a = 1\n").unwrap();
        fs::write(path("other"), "a = 2\n").unwrap();
        std::os::unix::fs::symlink(path("one"), path("link")).unwrap();
        let first = content(&path("link"));
        assert_eq!(first, content(&path("one")));
        fs::remove_file(path("link")).unwrap();
        std::os::unix::fs::symlink(path("other"), path("link")).unwrap();
        assert_eq!((content(&path("link")) == first, content(&path("link"))), (false, content(&path("other"))));
        fs::remove_file(path("other")).unwrap();
        assert_eq!(content(&path("link")), Content::Unreadable(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.toml");
        fs::write(&path, vec![b' '; MAX_BYTES as usize]).unwrap();
        assert!(Document::open(&path).is_ok());
        fs::write(&path, vec![b' '; MAX_BYTES as usize + 1]).unwrap();
        let Unread { error, .. } = Document::open(&path).err().unwrap();
        assert_eq!(unreadable(&path, &error).iter().count(), 1);
        assert!(error.to_string().contains("more than 4194304 bytes"), "{error}");
    }

    #[test]
    fn what_is_no_regular_file_is_neither_read_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [&pipe, dir.path(), Path::new("/dev/zero")] {
            let Unread { error, content: held } = Document::open(path).err().unwrap();
            assert_eq!(error.to_string(), "it is no regular file", "{}", path.display());
            assert_eq!(held, content(path));
        }
    }

    #[test]
    fn what_is_no_text_holds_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.toml");
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(Document::open(&path).err().unwrap().content, content(&path));
    }
}
