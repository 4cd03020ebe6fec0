//! The pages of the books, read for those who use them: the audit and the loader.

use std::io::{self, Write};

use super::{
    member::Member,
    place::{Place, PlaceError},
};
use crate::{
    batch::Hour,
    ledger::{self, Line},
    sink::{Codec, ObjectKey, ObjectName},
};

/// A page as a listing tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedPage {
    /// Its whole key.
    pub(super) key: String,
    /// What its name tells; of several suffixes the highest is right. `None` if it is no name of a page.
    pub(super) name: Option<ObjectName>,
}

/// The pages of `hour`, in the order of their keys.
pub(super) async fn list(place: &Place, hour: Hour) -> Result<Vec<ListedPage>, PlaceError> {
    let directory = format!("{}{}{}/", place.prefix, ledger::SEGMENTS, hour.partition());
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = place.list(&directory, after).await?;
        found.extend(page.objects.into_iter().map(|listed| {
            let name = listed.key.strip_prefix(&directory).and_then(ObjectKey::parse_name);
            ListedPage { key: listed.key, name }
        }));
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// The lines of the page at `key`, or why it cannot be read; `None` if there is none.
pub(super) async fn read(place: &Place, key: &str) -> Result<Option<Result<Vec<Line>, String>>, PlaceError> {
    let text = place.read(key, || Member::new(Codec::of_key(key), Lines::default())).await?;
    Ok(text.map(|text| match text.finish() {
        Ok(Lines { read, bad: 0, .. }) => Ok(read),
        Ok(_) => Err("it has lines that are none of the books".to_owned()),
        Err(why) => Err(why),
    }))
}

/// Reads the lines of a page.
#[derive(Debug, Default)]
struct Lines {
    read: Vec<Line>,
    partial: Vec<u8>,
    bad: u64,
}

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            if self.partial.len() + piece.len() > ledger::MAX_LINE_BYTES {
                return Err(io::Error::other("it has a line that is too long"));
            }
            self.partial.extend_from_slice(piece);
            if let Some(line) = self.partial.strip_suffix(b"\n") {
                match Line::read(line) {
                    Some(line) => self.read.push(line),
                    None => self.bad += 1,
                }
                self.partial.clear();
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
