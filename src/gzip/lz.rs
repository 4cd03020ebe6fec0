//! Finding what stood before.

use super::WINDOW_BYTES;

/// The shortest match, in bytes: that of the words that are compared.
pub(super) const MIN_MATCH: usize = 8;
/// The longest match, in bytes: deflate's limit.
pub(super) const MAX_MATCH: usize = 258;
/// How many bytes the search goes on where nothing matches.
pub(super) const STRIDE: usize = 3;
/// The base-two logarithm of the table's places: 64 KiB, half of a core's nearest cache.
const TABLE_BITS: u32 = 14;
/// Positions are counted up to here before the table is emptied.
const MAX_POSITION: u32 = 1 << 30;

/// So many literals, and then a match; the last one of a block has no match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    /// Bytes before the match that stand nowhere else.
    pub(super) literals: u32,
    /// The match's length; 0 for none.
    pub(super) len: u16,
    /// How far back it lies, less one.
    pub(super) distance: u16,
}

/// Finds matches in the window.
#[derive(Debug)]
pub(super) struct Matcher {
    /// Where the last word with each hash stood: its place in the buffer, counted from `base`; 0 for nowhere.
    table: Vec<u32>,
    /// What is added to a place in the buffer.
    base: u32,
    matches: Vec<Match>,
}

impl Matcher {
    pub(super) fn new() -> Self {
        Self { table: vec![0; 1 << TABLE_BITS], base: 1, matches: Vec::new() }
    }

    /// The matches in `buffer` from `start` on. What is before `start` is the window.
    pub(super) fn find(&mut self, buffer: &[u8], start: usize) -> &[Match] {
        self.matches.clear();
        // A reference to an array, so that no place of a hash can be out of its bounds.
        let Some(table) = self.table.first_chunk_mut::<{ 1 << TABLE_BITS }>() else { return &[] };
        let last = buffer.len().saturating_sub(MIN_MATCH);
        let (mut here, mut anchor, mut distance) = (start, start, 0);
        while here < last {
            let word = word_at(buffer, here);
            let place = &mut table[hash(word)];
            let position = here as u32 + self.base;
            let candidate = position.wrapping_sub(std::mem::replace(place, position)) as usize;
            let known = |distance: usize| {
                distance.wrapping_sub(1) < WINDOW_BYTES && distance <= here && word_at(buffer, here - distance) == word
            };
            if !known(distance) {
                if !known(candidate) {
                    here += STRIDE;
                    continue;
                }
                distance = candidate;
            }
            let (from, len) = extend(buffer, here, anchor, distance);
            self.matches.push(Match {
                literals: (from - anchor) as u32,
                len: len as u16,
                distance: (distance - 1) as u16,
            });
            here = from + len;
            anchor = here;
            // The end of a match is where a line goes its own way: the word there is worth to be remembered.
            if here < last {
                let before = here - 2;
                table[hash(word_at(buffer, before))] = before as u32 + self.base;
            }
        }
        self.matches.push(Match { literals: (buffer.len() - anchor) as u32, len: 0, distance: 0 });
        &self.matches
    }

    /// The first `gone` bytes of the buffer were removed.
    pub(super) fn slide(&mut self, gone: usize) {
        self.base += gone as u32;
        if self.base > MAX_POSITION {
            self.table.fill(0);
            self.base = 1;
        }
    }
}

/// Extends the match of a word at `here` forwards, and backwards to `anchor`: where it begins, and its length.
#[inline]
fn extend(buffer: &[u8], here: usize, anchor: usize, distance: usize) -> (usize, usize) {
    let most = MAX_MATCH.min(buffer.len() - here);
    let mut len = MIN_MATCH;
    loop {
        if len + 8 > most {
            while len < most && buffer[here + len] == buffer[here - distance + len] {
                len += 1;
            }
            break;
        }
        let differing = word_at(buffer, here + len) ^ word_at(buffer, here - distance + len);
        if differing != 0 {
            len += (differing.trailing_zeros() / 8) as usize;
            break;
        }
        len += 8;
    }
    let mut from = here;
    while from > anchor && from > distance && len < MAX_MATCH && buffer[from - 1] == buffer[from - 1 - distance] {
        from -= 1;
        len += 1;
    }
    (from, len)
}

#[inline]
fn hash(word: u64) -> usize {
    (word.wrapping_mul(0x9E37_79B1_85EB_CA87) >> (64 - TABLE_BITS)) as usize
}

/// The eight bytes at `at`; 0 where there are fewer, which no caller asks for.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        Some(Ok(word)) => u64::from_le_bytes(word),
        _ => 0,
    }
}
