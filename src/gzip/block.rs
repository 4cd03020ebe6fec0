//! Writing deflate blocks (RFC 1951).
//!
//! The first segment of a block is searched before a bit of it is written: what occurs in it makes the block's codes.
//! The segments behind it are written by these while they are searched, since lines resemble each other. Where they do
//! not, the block ends, and what comes next makes codes of its own; what does not compress is stored.

use super::{
    SEGMENT_BYTES,
    bits::{BitWriter, Cursor, ROOM_BYTES, word},
    codes::{Coder, Codes, Counts, LONGEST, MOST_TABLE_BYTES, Ready},
    lz::LOOKAHEAD_BYTES,
    matcher::{Found, Matcher, Segment, Way},
};

/// How many segments a block has at most.
pub(super) const BLOCK_SEGMENTS: u32 = 32;
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

/// No segment is longer: its last match begins before its limit.
const MOST_SEGMENT_BYTES: usize = SEGMENT_BYTES + LOOKAHEAD_BYTES;
const _: () = assert!(MOST_SEGMENT_BYTES < 65_536, "a segment is stored in one block");
const _: () = assert!(
    MOST_TABLE_BYTES + (MOST_SEGMENT_BYTES + 1) * LONGEST / 8 + 32 < ROOM_BYTES,
    "there is room for a segment of which each byte is a literal with the longest code"
);

/// Compresses segments.
#[derive(Debug)]
pub(super) struct BlockWriter {
    matcher: Matcher,
    found: Found,
    bits: BitWriter,
    /// The codes of the block that was begun.
    codes: Box<Ready>,
    /// How many segments the block that was begun may have yet; 0 for none begun.
    left: u32,
    /// How many bits its first segment took, of how many bytes.
    rate: (u64, u64),
    /// How many segments are written until both ways to search are tried.
    until_trial: u32,
    /// How many there were to be when they were tried last.
    trial_segments: u32,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self {
            matcher: Matcher::new(),
            found: Found::default(),
            bits: BitWriter::new(),
            codes: Box::default(),
            left: 0,
            rate: (0, 1),
            until_trial: 0,
            trial_segments: BLOCK_SEGMENTS / 2,
        }
    }

    /// Appends a segment, up to the place that is returned. The last one ends the text.
    pub(super) fn write(&mut self, segment: Segment<'_>, out: &mut Vec<u8>) -> usize {
        let end = if self.left > 0 { self.go_on(segment, out) } else { self.begin(segment, out) };
        self.until_trial = self.until_trial.saturating_sub(1);
        if segment.last {
            self.bits.finish(out);
        }
        end
    }

    /// How the next segment is searched.
    #[cfg(test)]
    pub(super) fn way(&self) -> Way {
        self.matcher.way
    }

    /// Begins a block: searches, makes codes, writes.
    fn begin(&mut self, segment: Segment<'_>, out: &mut Vec<u8>) -> usize {
        let Segment { text, start, last, .. } = segment;
        let tries = self.until_trial == 0 || last;
        let (end, mut counts) = if tries { self.try_both(segment) } else { self.look(segment) };
        if !last {
            counts.as_sample();
        }
        let made = Codes::new(&counts);
        self.codes.set(&made);
        let input = &text.buffer[start..end];
        let Self { bits, found, codes, rate, .. } = self;
        let stored = bits.append(out, |mut cursor| {
            let mark = cursor.mark();
            cursor.put([word(u64::from(last) | 2 << 1, 3)]);
            made.write(&mut cursor);
            let begun = cursor.mark();
            let mut sink = Coder { codes, cursor };
            found.each(input, &mut sink, Coder::run, Coder::match_of);
            let mut cursor = sink.cursor;
            *rate = (cursor.bits_since(begun), input.len() as u64);
            if last {
                codes.end(&mut cursor);
            }
            let stored = cursor.bits_since(mark) > 8 * input.len() as u64;
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
    fn look(&mut self, segment: Segment<'_>) -> (usize, Counts) {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        let end;
        (end, self.found) = self.matcher.find(segment, found);
        self.found.end();
        (end, self.found.counts(&segment.text.buffer[segment.start..end]))
    }

    /// Searches a segment both ways, and chooses.
    fn try_both(&mut self, segment: Segment<'_>) -> (usize, Counts) {
        let Segment { start, .. } = segment;
        let before = self.matcher.way;
        let worth = match before {
            _ if start == 0 => WORTH_AT_FIRST_PERCENT,
            Way::Swift => WORTH_PERCENT,
            Way::Fine => WORTH_KEEPING_PERCENT,
        };
        // The way that was not gone knows nothing of the window.
        self.matcher.way = before.other();
        let seen = Segment { start: start.saturating_sub(SEEN_BYTES), limit: start, last: false, ..segment };
        self.matcher.find(seen, ());
        let [first, second] = [before, before.other()].map(|way| {
            self.matcher.way = way;
            let (end, counts) = self.look(segment);
            let bits = Codes::new(&counts).bits(&counts);
            let cost = if way == Way::Fine { bits * 100 } else { bits * worth };
            (cost, way, end, counts, std::mem::take(&mut self.found))
        });
        let (_, way, end, counts, found) = if second.0 < first.0 { second } else { first };
        // A choice that holds is tried again later each time.
        self.trial_segments =
            if way == before { MOST_TRIAL_SEGMENTS.min(2 * self.trial_segments) } else { BLOCK_SEGMENTS };
        self.until_trial = self.trial_segments;
        (self.matcher.way, self.found) = (way, found);
        (end, counts)
    }

    /// Goes on with the block that was begun: writes while it searches.
    fn go_on(&mut self, segment: Segment<'_>, out: &mut Vec<u8>) -> usize {
        let Segment { text, start, last, .. } = segment;
        self.left -= 1;
        let Self { matcher, bits, codes, left, rate, .. } = self;
        let (end, stored) = bits.append(out, |cursor| {
            let mark = cursor.mark();
            let (end, Coder { mut cursor, .. }) = matcher.find(segment, Coder { codes, cursor });
            let (bits, len) = (cursor.bits_since(mark), (end - start) as u64);
            let stored = bits > 8 * len;
            if stored {
                cursor.back_to(mark);
            }
            // An eighth more than codes of its own would take, as far as the first segment tells.
            let (rate_bits, rate_len) = *rate;
            if stored || last || bits * rate_len > len * (rate_bits + rate_bits / 8) {
                *left = 0;
            }
            if *left == 0 {
                codes.end(&mut cursor);
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

/// Says that `len` bytes follow as they are.
fn store_header(len: usize, last: bool, cursor: &mut Cursor<'_>) {
    cursor.put([word(u64::from(last), 3)]);
    cursor.fill_byte();
    let len = len as u64;
    cursor.put([word(len | (!len & 0xFFFF) << 16, 32)]);
}
