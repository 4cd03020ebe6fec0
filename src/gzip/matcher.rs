//! Two ways to search, and what they find.

use super::{
    codes::Counts,
    lz::{Fine, HELD_BYTES, Sink, Swift, Text},
};

/// How a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Swift,
    Fine,
}

impl Way {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Swift => Self::Fine,
            Self::Fine => Self::Swift,
        }
    }
}

/// Searches one way or the other.
#[derive(Debug)]
pub(super) struct Matcher {
    swift: Swift,
    fine: Fine,
    pub(super) way: Way,
}

impl Matcher {
    pub(super) fn new() -> Self {
        Self { swift: Swift::new(), fine: Fine::new(), way: Way::Swift }
    }

    /// Tells `sink` what there is in a segment, up to the place that is returned.
    #[inline]
    pub(super) fn find<S: Sink>(&mut self, segment: Segment<'_>, sink: S) -> (usize, S) {
        let Segment { text, start, limit, last } = segment;
        let (end, mut sink) = match self.way {
            Way::Swift => self.swift.find(text, start, limit, sink),
            Way::Fine => self.fine.find(text, start, limit, sink),
        };
        if !last {
            return (end, sink);
        }
        for rest in text.buffer[end..text.len].chunks(HELD_BYTES) {
            let mut bytes = [0; HELD_BYTES];
            bytes[..rest.len()].copy_from_slice(rest);
            sink.few(bytes, rest.len());
        }
        (text.len, sink)
    }
}

/// What is compressed at a time.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) text: Text<'a>,
    /// Where the segment begins: before it is the window.
    pub(super) start: usize,
    /// The last byte before this is in the segment; it ends where a match does, or little before.
    pub(super) limit: usize,
    /// Whether all text ends with it; the limit is then that end.
    pub(super) last: bool,
}

/// So many literals, and then a match; the last one of a segment has no match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    /// Bytes before the match that stand nowhere else.
    literals: u32,
    /// The match's length; 0 for none.
    len: u16,
    /// How far back it lies, less one.
    distance: u16,
}

/// Remembers what is found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    matches: Vec<Match>,
    literals: u32,
}

impl Sink for Found {
    #[inline]
    fn literals<const N: usize>(&mut self, _: [u8; HELD_BYTES]) {
        self.literals += N as u32;
    }

    #[inline]
    fn few(&mut self, _: [u8; HELD_BYTES], count: usize) {
        self.literals += count as u32;
    }

    #[inline]
    fn repeat(&mut self, len: usize, distance: usize) {
        self.matches.push(Match { literals: self.literals, len: len as u16, distance: (distance - 1) as u16 });
        self.literals = 0;
    }
}

impl Found {
    pub(super) fn clear(&mut self) {
        self.matches.clear();
        self.literals = 0;
    }

    /// Nothing more is found.
    pub(super) fn end(&mut self) {
        self.matches.push(Match { literals: self.literals, len: 0, distance: 0 });
        self.literals = 0;
    }

    /// Calls `literals` and `repeat` for what was found in `input`.
    #[inline]
    pub(super) fn each<T>(
        &self,
        input: &[u8],
        to: &mut T,
        literals: impl Fn(&mut T, &[u8]),
        repeat: impl Fn(&mut T, usize, usize),
    ) {
        let mut rest = input;
        for one in &self.matches {
            let (before, behind) = rest.split_at(one.literals as usize);
            literals(to, before);
            rest = &behind[usize::from(one.len)..];
            if one.len > 0 {
                repeat(to, usize::from(one.len), usize::from(one.distance) + 1);
            }
        }
    }

    /// How often each symbol occurs in `input`.
    pub(super) fn counts(&self, input: &[u8]) -> Counts {
        let mut counts = Counts::new();
        self.each(input, &mut counts, Counts::literals, Counts::repeat);
        counts
    }
}

/// Forgets what is found: for a search that is to know the window.
impl Sink for () {
    fn literals<const N: usize>(&mut self, _: [u8; HELD_BYTES]) {}

    fn few(&mut self, _: [u8; HELD_BYTES], _: usize) {}

    fn repeat(&mut self, _: usize, _: usize) {}
}
