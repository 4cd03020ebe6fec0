//! What a spool holds for whom, seen from outside: without its lock, while a process may be at work on it.

use std::{io, path::Path};

use super::{
    cursor::{self, Place, Position},
    disk::Onlooker,
    segment::Name,
    shelf::Held,
};
use crate::batch::SegmentId;

/// What a spool holds. If a process is at work on it, it was so a moment ago.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// What each sink that has a cursor has not passed, in the order of their names. Of a segment that is not sealed the
    /// length of its file counts, which may be more than it holds.
    pub held: Vec<Held>,
    /// How many segments there are, those that are not sealed included.
    pub segments: usize,
    /// Their files' length in bytes.
    pub bytes: u64,
}

/// Looks at the spool in `dir`, and changes nothing. There is none if there is no directory.
///
/// # Errors
/// The operating system's, if the directory cannot be read.
pub fn survey(dir: &Path) -> io::Result<Survey> {
    let disk = Onlooker::new(dir);
    let files = match disk.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Survey::default()),
        listed => listed?,
    };
    let segments: Vec<(SegmentId, u64)> = files
        .iter()
        .filter_map(|(name, bytes)| match Name::parse(name)? {
            Name::Open(segment) | Name::Sealed(segment) => Some((segment, *bytes)),
            Name::Spare(_) => None,
        })
        .collect();
    let mut held = Vec::new();
    for sink in files.iter().filter_map(|(name, _)| name.strip_prefix("cursor-")) {
        let found = match disk.open(&cursor::file_name(sink)) {
            // It was retired a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => cursor::found(&*opened?),
        };
        let at = found.position.map_or(Place::default(), Position::place);
        held.push(Held::of(sink, at, segments.iter().copied()));
    }
    held.sort_by(|one, other| one.sink.cmp(&other.sink));
    Ok(Survey { held, segments: segments.len(), bytes: segments.iter().map(|(_, bytes)| bytes).sum() })
}
