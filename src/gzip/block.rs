//! Writing deflate blocks (RFC 1951).
//!
//! The first segment of a block is searched before a bit of it is written: what occurs in it makes the block's codes.
//! The segments behind it are written by these while they are searched, since lines resemble each other. Where they do
//! not, the block ends, and what comes next makes codes of its own; what does not compress is stored.

use super::{
    bits::{BitWriter, Cursor, ROOM_BYTES, word},
    codes::{Codes, Coder, Counts, LONGEST, MOST_TABLE_BYTES, Ready},
    lz::{Fine, MOST_FEW, Sink, Swift, Text},
    SEGMENT_BYTES,
};

/// How many segments a block has at most.
const BLOCK_SEGMENTS: u32 = 32;
/// After so many segments at most, the next block begins with a trial of both ways to search.
const MOST_TRIAL_SEGMENTS: u32 = 256;
/// How much of the window a way gets to know before it is tried.
const SEEN_BYTES: usize = 16 * 1024;
/// The fine way is chosen where it takes less than this of the swift way's bits, in percent: it takes twice the time.
const WORTH_PERCENT: u64 = 91;
/// The same where it was chosen before: text may be mixed.
const WORTH_KEEPING_PERCENT: u64 = 96;
/// The same at the beginning of all text, where short matches pay more than they do later.
const WORTH_AT_FIRST_PERCENT: u64 = 86;
/// A search of a segment ends less than this behind its limit.
const MOST_SEGMENT_BYTES: usize = SEGMENT_BYTES + super::lz::LOOKAHEAD_BYTES;
/// Stored in one block.
const _: () = assert!(MOST_SEGMENT_BYTES < 65_535);
/// There is room for a segment of which each byte is a literal with the longest code.
const _: () = assert!(MOST_TABLE_BYTES + (MOST_SEGMENT_BYTES + 1) * LONGEST / 8 + 16 < ROOM_BYTES);

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
#[derive(Debug, Default)]
struct Found {
    matches: Vec<Match>,
    literals: u32,
}

impl Sink for Found {
    #[inline]
    fn literals<const N: usize>(&mut self, _: [u8; 8]) {
        self.literals += N as u32;
    }

    #[inline]
    fn few(&mut self, _: [u8; 8], count: usize) {
        self.literals += count as u32;
    }

    #[inline]
    fn repeat(&mut self, len: usize, distance: usize) {
        self.matches.push(Match { literals: self.literals, len: len as u16, distance: (distance - 1) as u16 });
        self.literals = 0;
    }
}

impl Found {
    fn clear(&mut self) {
        self.matches.clear();
        self.literals = 0;
    }

    fn end(&mut self) {
        self.matches.push(Match { literals: self.literals, len: 0, distance: 0 });
        self.literals = 0;
    }

    /// Calls `literals` and `repeat` for what was found in `input`.
    #[inline]
    fn each<T>(&self, input: &[u8], to: &mut T, literals: impl Fn(&mut T, &[u8]), repeat: impl Fn(&mut T, usize, usize)) {
        let mut rest = input;
        for one in &self.matches {
            let (before, behind) = rest.split_at((one.literals as usize).min(rest.len()));
            literals(to, before);
            rest = behind;
            if one.len > 0 {
                rest = rest.get(usize::from(one.len)..).unwrap_or_default();
                repeat(to, usize::from(one.len), usize::from(one.distance) + 1);
            }
        }
    }

    fn counts(&self, input: &[u8]) -> Counts {
        let mut counts = Counts::new();
        self.each(input, &mut counts, Counts::literals, Counts::repeat);
        counts
    }
}

/// How a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Swift,
    Fine,
}

impl Way {
    fn other(self) -> Self {
        match self {
            Self::Swift => Self::Fine,
            Self::Fine => Self::Swift,
        }
    }
}

/// Forgets what is found: for a search that is to know the window.
impl Sink for () {
    fn literals<const N: usize>(&mut self, _: [u8; 8]) {}
    fn few(&mut self, _: [u8; 8], _: usize) {}
    fn repeat(&mut self, _: usize, _: usize) {}
}

/// Finds matches, the way that was chosen.
#[derive(Debug)]
struct Matcher {
    swift: Swift,
    fine: Fine,
    way: Way,
}

impl Matcher {
    #[inline]
    fn find<S: Sink>(&mut self, text: Text<'_>, start: usize, limit: usize, last: bool, sink: S) -> (usize, S) {
        let (end, mut sink) = match self.way {
            Way::Swift => self.swift.find(text, start, limit, sink),
            Way::Fine => self.fine.find(text, start, limit, sink),
        };
        if !last {
            return (end, sink);
        }
        for rest in text.buffer[end..text.len].chunks(MOST_FEW) {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            sink.few(bytes, rest.len());
        }
        (text.len, sink)
    }
}

/// Compresses segments.
#[derive(Debug)]
pub(super) struct BlockWriter {
    matcher: Matcher,
    found: Found,
    bits: BitWriter,
    /// The codes of the block that was begun.
    codes: Ready,
    /// How many segments the block that was begun may have yet; 0 for none begun.
    left: u32,
    /// How many bits its first segment took, of how many bytes.
    rate: (u64, u64),
    /// How many segments are written until both ways to search are tried.
    until_trial: u32,
    /// How many segments there were to be until the last trial.
    trial_segments: u32,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self {
            matcher: Matcher { swift: Swift::new(), fine: Fine::new(), way: Way::Swift },
            found: Found::default(),
            bits: BitWriter::new(),
            codes: Ready::none(),
            left: 0,
            rate: (0, 1),
            until_trial: 0,
            trial_segments: BLOCK_SEGMENTS / 2,
        }
    }

    /// Appends `text` from `start` to about `limit`: up to the place that is returned. If it is the last, to its end.
    pub(super) fn write(&mut self, text: Text<'_>, start: usize, limit: usize, last: bool, out: &mut Vec<u8>) -> usize {
        let end = if self.left > 0 { self.go_on(text, start, limit, last, out) } else { self.begin(text, start, limit, last, out) };
        self.until_trial = self.until_trial.saturating_sub(1);
        if last {
            self.bits.finish(out);
        }
        end
    }

    /// Begins a block: searches, makes codes, writes.
    fn begin(&mut self, text: Text<'_>, start: usize, limit: usize, last: bool, out: &mut Vec<u8>) -> usize {
        let (end, mut counts) = if self.until_trial == 0 || last {
            self.try_both(text, start, limit, last)
        } else {
            self.look(text, start, limit, last)
        };
        let input = &text.buffer[start..end];
        if !last {
            counts.as_sample();
        }
        let codes = Codes::new(&counts);
        self.codes.set(&codes);
        let Self { bits, found, codes: ready, .. } = self;
        let stored = bits.append(out, |mut cursor| {
            let mark = cursor.mark();
            cursor.put([word(u64::from(last) | 2 << 1, 3)]);
            codes.write(&mut cursor);
            let begun = cursor.mark();
            let mut coder = Coder { codes: ready, cursor };
            found.each(input, &mut coder, literals, Coder::repeat);
            let mut cursor = coder.cursor;
            if last {
                ready.end(&mut cursor);
            }
            let (all, taken) = (cursor.bits_since(mark), cursor.bits_since(begun));
            self.rate = (taken, input.len() as u64);
            let stored = all > 8 * input.len() as u64 + 35;
            if stored {
                cursor.back_to(mark);
                store_header(input.len(), last, &mut cursor);
            }
            (cursor, stored)
        });
        if stored {
            out.extend_from_slice(input);
        }
        self.left = if stored || last { 0 } else { BLOCK_SEGMENTS - 1 };
        end
    }

    /// Searches a segment, and counts what is found.
    fn look(&mut self, text: Text<'_>, start: usize, limit: usize, last: bool) -> (usize, Counts) {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        let end;
        (end, self.found) = self.matcher.find(text, start, limit, last, found);
        self.found.end();
        (end, self.found.counts(&text.buffer[start..end]))
    }

    /// Searches a segment both ways, and chooses.
    fn try_both(&mut self, text: Text<'_>, start: usize, limit: usize, last: bool) -> (usize, Counts) {
        let worth = match self.matcher.way {
            _ if start == 0 => WORTH_AT_FIRST_PERCENT,
            Way::Swift => WORTH_PERCENT,
            Way::Fine => WORTH_KEEPING_PERCENT,
        };
        // The way that was not gone knows nothing of the window.
        let (way, other) = (self.matcher.way, self.matcher.way.other());
        self.matcher.way = other;
        self.matcher.find(text, start.saturating_sub(SEEN_BYTES), start, false, ());
        let tried = [way, other].map(|way| {
            self.matcher.way = way;
            let (end, counts) = self.look(text, start, limit, last);
            let bits = Codes::new(&counts).bits(&counts);
            let cost = if way == Way::Fine { bits * 100 } else { bits * worth };
            (cost, way, end, counts, std::mem::take(&mut self.found))
        });
        let [first, second] = tried;
        let (_, chosen, end, counts, found) = if second.0 < first.0 { second } else { first };
        // A choice that holds is tried again later each time.
        self.trial_segments = if chosen == way { MOST_TRIAL_SEGMENTS.min(2 * self.trial_segments) } else { BLOCK_SEGMENTS };
        self.until_trial = self.trial_segments;
        (self.matcher.way, self.found) = (chosen, found);
        (end, counts)
    }

    /// Goes on with the block that was begun: writes while it searches.
    fn go_on(&mut self, text: Text<'_>, start: usize, limit: usize, last: bool, out: &mut Vec<u8>) -> usize {
        let Self { matcher, bits, codes, .. } = self;
        self.left -= 1;
        let (end, stored) = bits.append(out, |mut cursor| {
            let mark = cursor.mark();
            let (end, Coder { mut cursor, .. }) = matcher.find(text, start, limit, last, Coder { codes, cursor });
            let (bits, len) = (cursor.bits_since(mark), (end - start) as u64);
            let stored = bits > 8 * len;
            if stored {
                cursor.back_to(mark);
            }
            // An eighth more than codes of its own would take, as far as the first segment tells.
            let (rate_bits, rate_len) = self.rate;
            if stored || last || self.left == 0 || bits * rate_len > len * (rate_bits + rate_bits / 8) {
                codes.end(&mut cursor);
                self.left = 0;
            }
            if stored {
                store_header(end - start, last, &mut cursor);
            } else if last {
                // An empty block, by the codes that the RFC gives.
                cursor.put([word(1 | 1 << 1, 3 + 7)]);
            }
            (cursor, (end, stored))
        });
        if stored {
            out.extend_from_slice(&text.buffer[start..end]);
        }
        end
    }
}

#[inline]
fn literals(coder: &mut Coder<'_, '_>, literals: &[u8]) {
    let (fours, few) = literals.as_chunks::<4>();
    let mut bytes = [0; 8];
    for four in fours {
        bytes[..4].copy_from_slice(four);
        coder.literals::<4>(bytes);
    }
    bytes[..few.len()].copy_from_slice(few);
    coder.few(bytes, few.len());
}

/// Says that `len` bytes follow as they are.
fn store_header(len: usize, last: bool, cursor: &mut Cursor<'_>) {
    cursor.put([word(u64::from(last), 3)]);
    cursor.to_byte();
    let len = len as u64;
    cursor.put([word(len | (!len & 0xFFFF) << 16, 32)]);
}
