//! Finding what stood before.

#![expect(
    clippy::inline_always,
    reason = "the search is one loop: what it holds in registers would go through memory at every call"
)]

use super::{BUFFER_BYTES, WINDOW_BYTES, zeros};

/// The longest match, in bytes: deflate's limit.
pub(super) const MAX_MATCH: usize = 258;
/// How far the search reads ahead of where it stands, in bytes, a match left out.
const MARGIN_BYTES: usize = 16;
/// How much text has to follow the limit of a search, so that no match beginning before it is cut short.
pub(super) const LOOKAHEAD_BYTES: usize = MAX_MATCH + 32 + MARGIN_BYTES;
/// Literals are told when this many lie behind the search: until then a match may be extended over them.
pub(super) const HELD_BYTES: usize = 4;
/// So many bytes behind the last place of a buffer may be read.
const BEHIND_BYTES: usize = 32;
/// The lowest bits of a table's entry are a position, modulo this: so much that two that a buffer holds differ.
const POSITIONS: u32 = 1 << 18;
const _: () = assert!(POSITIONS as usize >= BUFFER_BYTES);

/// For lines: finds what is long, and passes over what is not.
///
/// A match of fewer than eight bytes lies mostly within an id, where it costs more than the literals that it replaces.
/// So the search may go on by four bytes: a match that it enters in the middle is extended backwards.
pub(super) type Swift = Finder<8, 4, 2, { 1 << 14 }>;
/// For prose: finds words, wherever they begin.
pub(super) type Fine = Finder<5, 1, 8, { 1 << 15 }>;

/// Takes what a search finds.
pub(super) trait Sink {
    /// The first `N` of `bytes` are literals.
    fn literals<const N: usize>(&mut self, bytes: [u8; HELD_BYTES]);
    /// The first `count` of `bytes` are literals.
    fn few(&mut self, bytes: [u8; HELD_BYTES], count: usize);
    /// `len` bytes stand `distance` bytes before.
    fn repeat(&mut self, len: usize, distance: usize);
}

/// A buffer for text. Its length is fixed and places in it are taken modulo a power of two, so that the compiler knows
/// that no place is out of its bounds.
pub(super) type Buffer = [u8; BUFFER_BYTES + BEHIND_BYTES];
const _: () = assert!(BUFFER_BYTES.is_power_of_two());

/// Text that is searched: what is before the place where a search begins is the window.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) buffer: &'a Buffer,
    /// How much of the buffer is text.
    pub(super) len: usize,
    /// How many bytes stood before the buffer, modulo 2³².
    pub(super) base: u32,
}

/// Finds matches of `MIN` bytes or more, and goes on by `STRIDE` where nothing matches. Of a match, the last `ENDS`
/// places are remembered: where a line goes its own way. The table has `PLACES`.
#[derive(Debug)]
pub(super) struct Finder<const MIN: usize, const STRIDE: usize, const ENDS: usize, const PLACES: usize> {
    /// Where the last word with each hash stood, below other bits of its hash: an entry that is not this word's is
    /// nearly always known by them, without a look at the text.
    table: Box<[u32; PLACES]>,
    /// The distance of the last match: what follows a changed value usually continues in the same line.
    distance: usize,
}

impl<const MIN: usize, const STRIDE: usize, const ENDS: usize, const PLACES: usize> Finder<MIN, STRIDE, ENDS, PLACES> {
    const FITS: () = assert!(MIN <= 8 && STRIDE <= HELD_BYTES && PLACES.is_power_of_two());

    pub(super) fn new() -> Self {
        const { Self::FITS }
        Self { table: zeros(), distance: 1 }
    }

    /// Tells `sink` what there is in `text` from `start` on, at least to `limit`, up to the place that is returned.
    /// [`LOOKAHEAD_BYTES`] follow the limit unless the text ends.
    pub(super) fn find<S: Sink>(&mut self, text: Text<'_>, start: usize, limit: usize, mut sink: S) -> (usize, S) {
        let Text { buffer, len: end, base } = text;
        let table = &mut *self.table;
        let limit = limit.min(end.saturating_sub(MARGIN_BYTES));
        let mut distance = self.distance.min(start.max(1));
        // The first bytes of all have none before them.
        let (mut here, mut anchor) = (if start == 0 { STRIDE } else { start }, start);
        while here < limit {
            let word = word_at::<MIN>(buffer, here);
            let (place, entry) = remembered::<PLACES>(word, base.wrapping_add(here as u32));
            let found = std::mem::replace(&mut table[place], entry);
            if word_at::<MIN>(buffer, here - distance) != word {
                // One branch that is nearly always right, where those below it would seldom be.
                let candidate = (entry.wrapping_sub(found) % POSITIONS) as usize;
                if entry ^ found >= POSITIONS
                    || candidate.wrapping_sub(1) >= WINDOW_BYTES.min(here)
                    || word_at::<MIN>(buffer, here - candidate) != word
                {
                    if here - anchor > HELD_BYTES - STRIDE {
                        sink.literals::<STRIDE>(held(buffer, anchor));
                        anchor += STRIDE;
                    }
                    here += STRIDE;
                    continue;
                }
                distance = candidate;
            }
            let len = common::<MIN>(buffer, here, distance).min(end - here).min(MAX_MATCH);
            let back = common_before(buffer, here, distance).min(here - anchor).min(MAX_MATCH - len);
            sink.few(held(buffer, anchor), here - back - anchor);
            sink.repeat(back + len, distance);
            anchor = here + len;
            here = anchor;
            if here < limit {
                for before in 0..ENDS {
                    let before = anchor.saturating_sub(1 + before);
                    let (place, entry) =
                        remembered::<PLACES>(word_at::<MIN>(buffer, before), base.wrapping_add(before as u32));
                    table[place] = entry;
                }
            }
        }
        self.distance = distance;
        (anchor, sink)
    }
}

/// Where a word is remembered, and what: its position below other bits of its hash.
#[inline(always)]
fn remembered<const PLACES: usize>(word: u64, position: u32) -> (usize, u32) {
    let hash = word.wrapping_mul(0x9E37_79B1_85EB_CA87);
    let place = (hash >> (64 - PLACES.trailing_zeros())) as usize;
    (place, ((hash >> 14) as u32 & !(POSITIONS - 1)) | (position % POSITIONS))
}

/// How many bytes from `here` on are those `distance` before, where `MIN` are known to be; as many as are looked at.
#[inline(always)]
fn common<const MIN: usize>(buffer: &Buffer, here: usize, distance: usize) -> usize {
    let mut len = MIN;
    while len < MAX_MATCH {
        let (new, old) = (words_at(buffer, here + len), words_at(buffer, here + len - distance));
        let [first, second, third, fourth]: [u64; 4] = std::array::from_fn(|place| new[place] ^ old[place]);
        if first | second | third | fourth == 0 {
            len += 32;
            continue;
        }
        // Chosen without branches: how long a match is, nobody can foretell.
        let near = if first != 0 { (first, 0) } else { (second, 8) };
        let far = if third != 0 { (third, 16) } else { (fourth, 24) };
        let (differing, before) = if first | second != 0 { near } else { far };
        return len + before + (differing.trailing_zeros() / 8) as usize;
    }
    len
}

/// How many bytes just before `here`, of eight, are those `distance` before.
#[inline(always)]
fn common_before(buffer: &Buffer, here: usize, distance: usize) -> usize {
    if here - distance < 8 {
        return 0;
    }
    let differing = word_at::<8>(buffer, here - 8) ^ word_at::<8>(buffer, here - distance - 8);
    (differing.leading_zeros() / 8) as usize
}

/// The first `LEN` of the eight bytes at `at`, as the upper bytes of a word.
#[inline(always)]
fn word_at<const LEN: usize>(buffer: &Buffer, at: usize) -> u64 {
    match buffer[at % BUFFER_BYTES..].first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word) << (64 - 8 * LEN),
        None => 0,
    }
}

/// The bytes at `at`.
#[inline(always)]
fn held(buffer: &Buffer, at: usize) -> [u8; HELD_BYTES] {
    buffer[at % BUFFER_BYTES..].first_chunk().copied().unwrap_or_default()
}

/// The four words at `at`.
#[inline(always)]
fn words_at(buffer: &Buffer, at: usize) -> [u64; 4] {
    match buffer[at % BUFFER_BYTES..].first_chunk::<32>() {
        Some(bytes) => std::array::from_fn(|place| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[8 * place..8 * place + 8]);
            u64::from_le_bytes(word)
        }),
        None => [0; 4],
    }
}
