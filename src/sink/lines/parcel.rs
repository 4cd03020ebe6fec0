//! What is handed to a line sink in one call.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::batch::{Book, StreamName};

/// What one call of a line sink takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Bytes, line feeds included.
    pub bytes: usize,
    /// Lines.
    pub lines: usize,
}

/// Lines of one stream and book, in the order of the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The stream of every line.
    pub stream: StreamName,
    /// The book of every line.
    pub book: Book,
    text: Bytes,
    /// Where each line ends, behind its line feed.
    ends: Vec<u32>,
}

impl Parcel {
    /// The lines of `text`, each of which ends in a line feed; less than 4 GiB.
    pub fn new(stream: StreamName, book: Book, text: impl Into<Bytes>) -> Self {
        let text = text.into();
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at as u32 + 1).collect();
        Self { stream, book, text, ends }
    }

    /// How many lines there are.
    pub fn lines(&self) -> usize {
        self.ends.len()
    }

    /// Their length in bytes.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Line `number`, with its line feed.
    pub fn line(&self, number: usize) -> &[u8] {
        self.range(number..number + 1)
    }

    /// The lines of `lines`, one behind the other.
    pub fn range(&self, lines: Range<usize>) -> &[u8] {
        &self.text[self.start(lines.start)..self.start(lines.end)]
    }

    /// The lines of `lines` without copying.
    pub fn shared(&self, lines: Range<usize>) -> Bytes {
        self.text.slice(self.start(lines.start)..self.start(lines.end))
    }

    /// Where line `number` starts: where the one before it ends.
    fn start(&self, number: usize) -> usize {
        number.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    /// A parcel of `lines` alone. Shares their bytes if they are one range, and else copies them: sending a part again is
    /// rare.
    #[must_use]
    pub fn only(&self, lines: &[Range<usize>]) -> Self {
        let text = if let [all] = lines {
            self.shared(all.clone())
        } else {
            let mut text = BytesMut::new();
            for range in lines {
                text.extend_from_slice(self.range(range.clone()));
            }
            text.freeze()
        };
        Self::new(self.stream.clone(), self.book, text)
    }

    /// Parcels that fit `limits` each, without copying; a line that is longer than a call has one of its own.
    pub fn split(self, limits: CallLimits) -> Vec<Self> {
        if self.bytes() <= limits.bytes && self.lines() <= limits.lines {
            return vec![self];
        }
        let mut parcels = Vec::new();
        let mut from = 0;
        while from < self.lines() {
            let mut to = from + 1;
            while to < self.lines() && to - from < limits.lines && self.start(to + 1) - self.start(from) <= limits.bytes
            {
                to += 1;
            }
            parcels.push(self.only(std::slice::from_ref(&(from..to))));
            from = to;
        }
        parcels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(text: &'static str) -> Parcel {
        Parcel::new(StreamName::new("heard").unwrap(), Book::Accepted, text)
    }

    #[test]
    fn lines_are_found_and_shared() {
        let parcel = parcel("a\nbb\n\nccc\n");
        assert_eq!((parcel.lines(), parcel.bytes()), (4, 10));
        assert_eq!(parcel.line(1), b"bb\n");
        assert_eq!(parcel.range(1..3), b"bb\n\n");
        assert_eq!(parcel.only(&[0..1, 3..4]).range(0..2), b"a\nccc\n");
        assert_eq!(parcel.range(2..2), b"");
    }

    #[test]
    fn parcels_are_split_by_bytes_and_by_lines() {
        let texts = |limits| {
            let parcels = parcel("a\nbb\nccccccc\nd\ne\nf\n").split(limits);
            let text = |parcel: Parcel| String::from_utf8(parcel.range(0..parcel.lines()).to_vec()).unwrap();
            parcels.into_iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(texts(CallLimits { bytes: 5, lines: 9 }), ["a\nbb\n", "ccccccc\n", "d\ne\n", "f\n"]);
        assert_eq!(texts(CallLimits { bytes: 99, lines: 2 }), ["a\nbb\n", "ccccccc\nd\n", "e\nf\n"]);
        assert_eq!(texts(CallLimits { bytes: 99, lines: 9 }).len(), 1);
    }
}
