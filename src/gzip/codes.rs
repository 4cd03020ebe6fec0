//! The codes of a block (RFC 1951): made from how often symbols occur, told at its beginning, used for what follows.

#![expect(
    clippy::inline_always,
    reason = "the search is one loop: what it holds in registers would go through memory at every call"
)]

use super::{
    bits::{BITS_A_FLUSH, Cursor, word},
    huffman::{Code, codes, lengths},
    lz::{HELD_BYTES, MAX_MATCH, Sink},
};

/// Literals, the end of the block, and lengths.
const LITERALS: usize = 286;
const END_OF_BLOCK: usize = 256;
const FIRST_LENGTH: usize = 257;
const DISTANCES: usize = 30;
const LENGTH_CODES: usize = 19;
/// The longest code of a literal, a length or a distance: so that four literals, or a match, fit between two flushes.
pub(super) const LONGEST: usize = 14;
const _: () =
    assert!(HELD_BYTES as u32 * LONGEST as u32 <= BITS_A_FLUSH && (2 * LONGEST + 5 + 13) as u32 <= BITS_A_FLUSH);
/// The longest code of a code's length; deflate's limit.
const LONGEST_LENGTH_CODE: usize = 7;
/// The order in which the lengths of the lengths' codes are told (RFC 1951 §3.2.7).
const LENGTH_CODE_ORDER: [usize; LENGTH_CODES] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// The most bytes that [`Codes::write`] takes: each length of a code in at most 14 bits, and 20 bytes.
pub(super) const MOST_TABLE_BYTES: usize = 600;

/// The least length of each length symbol, and its extra bits (RFC 1951 §3.2.5).
const LENGTH_BASE: [u16; 29] =
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const LENGTH_EXTRA: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
/// The least distance of each distance symbol, and its extra bits.
const DISTANCE_BASE: [u16; DISTANCES] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
    8193, 12289, 16385, 24577,
];
const DISTANCE_EXTRA: [u8; DISTANCES] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];

/// The symbol of each length, less [`FIRST_LENGTH`].
static LENGTH_SYMBOL: [u8; MAX_MATCH + 1] = {
    let mut symbols = [0; MAX_MATCH + 1];
    let mut len = 0;
    while len < symbols.len() {
        symbols[len] = symbol_of(&LENGTH_BASE, len);
        len += 1;
    }
    symbols
};
/// The symbol of each distance less one: below 256 by itself, above by its upper bits.
static DISTANCE_SYMBOL: [u8; 512] = {
    let mut symbols = [0; 512];
    let mut place = 0;
    while place < symbols.len() {
        symbols[place] = symbol_of(&DISTANCE_BASE, if place < 256 { place + 1 } else { ((place - 256) << 7) + 1 });
        place += 1;
    }
    symbols
};

/// The last of the rising `bases` that is not above `value`.
const fn symbol_of(bases: &[u16], value: usize) -> u8 {
    let mut symbol = 0;
    while symbol + 1 < bases.len() && bases[symbol + 1] as usize <= value {
        symbol += 1;
    }
    symbol as u8
}

#[inline(always)]
fn symbol_of_distance(distance: usize) -> usize {
    let less = distance - 1;
    let place = if less < 256 { less } else { 256 + (less >> 7) };
    usize::from(DISTANCE_SYMBOL[place & 511])
}

/// How often each symbol occurs.
pub(super) struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Counts {
    /// Of a block in which nothing stands yet but its end.
    pub(super) fn new() -> Self {
        let mut counts = Self { literals: [0; LITERALS], distances: [0; DISTANCES] };
        counts.literals[END_OF_BLOCK] = 1;
        counts
    }

    #[inline(always)]
    pub(super) fn literals(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.literals[usize::from(*byte)] += 1;
        }
    }

    #[inline(always)]
    pub(super) fn repeat(&mut self, len: usize, distance: usize) {
        self.literals[FIRST_LENGTH + usize::from(LENGTH_SYMBOL[len])] += 1;
        self.distances[symbol_of_distance(distance)] += 1;
    }

    /// Takes what was counted for a sample of more: what did not occur in it may yet.
    pub(super) fn as_sample(&mut self) {
        for count in self.literals.iter_mut().chain(&mut self.distances) {
            *count = *count * 16 + 1;
        }
    }
}

/// The codes of a block.
pub(super) struct Codes {
    literal_lengths: [u8; LITERALS],
    distance_lengths: [u8; DISTANCES],
    literals: [Code; LITERALS],
    distances: [Code; DISTANCES],
}

impl Codes {
    /// The best for what was counted.
    pub(super) fn new(counts: &Counts) -> Self {
        let literal_lengths = lengths(&counts.literals, LONGEST);
        let distance_lengths = lengths(&counts.distances, LONGEST);
        Self {
            literals: codes(&literal_lengths),
            distances: codes(&distance_lengths),
            literal_lengths,
            distance_lengths,
        }
    }

    /// How many bits what was counted takes, with the extra bits.
    pub(super) fn bits(&self, counts: &Counts) -> u64 {
        let sum = |counts: &[u32], lengths: &[u8]| -> u64 {
            counts.iter().zip(lengths).map(|(count, len)| u64::from(*count) * u64::from(*len)).sum()
        };
        sum(&counts.literals, &self.literal_lengths)
            + sum(&counts.distances, &self.distance_lengths)
            + sum(&counts.literals[FIRST_LENGTH..], &LENGTH_EXTRA)
            + sum(&counts.distances, &DISTANCE_EXTRA)
    }

    /// Tells the lengths of all codes (RFC 1951 §3.2.7).
    pub(super) fn write(&self, cursor: &mut Cursor<'_>) {
        let used = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|len| *len > 0).map_or(0, |last| last + 1).max(least)
        };
        let literals = used(&self.literal_lengths, FIRST_LENGTH);
        let distances = used(&self.distance_lengths, 1);
        let all = [&self.literal_lengths[..literals], &self.distance_lengths[..distances]].concat();
        let runs = runs(&all);
        let mut counts = [0; LENGTH_CODES];
        for (symbol, _) in &runs {
            counts[usize::from(*symbol)] += 1;
        }
        let lengths = lengths(&counts, LONGEST_LENGTH_CODE);
        let codes = codes(&lengths);
        let told = LENGTH_CODE_ORDER.iter().rposition(|symbol| lengths[*symbol] > 0).map_or(0, |last| last + 1).max(4);
        let [literals, distances, rest] = [literals - FIRST_LENGTH, distances - 1, told - 4].map(|count| count as u64);
        cursor.put([word(literals, 5), word(distances, 5), word(rest, 4)]);
        for symbol in &LENGTH_CODE_ORDER[..told] {
            cursor.put([word(lengths[*symbol].into(), 3)]);
        }
        for (symbol, repeats) in runs {
            let extra = match symbol {
                16 => 2,
                17 => 3,
                18 => 7,
                _ => 0,
            };
            cursor.put([codes[usize::from(symbol)].word(), word(repeats.into(), extra)]);
        }
    }
}

/// `lengths` in runs: a length, or one of the three ways to repeat with its extra bits.
fn runs(lengths: &[u8]) -> Vec<(u8, u8)> {
    let mut runs = Vec::with_capacity(lengths.len());
    for run in lengths.chunk_by(|one, next| one == next) {
        let (len, mut left) = (run[0], run.len());
        if len > 0 {
            runs.push((len, 0));
            left -= 1;
        }
        // What is repeated, how often at the least and at the most, and the symbol for it.
        let ways: &[(usize, usize, u8)] = if len > 0 { &[(3, 6, 16)] } else { &[(11, 138, 18), (3, 10, 17)] };
        for (least, most, symbol) in ways {
            while left >= *least {
                let repeats = left.min(*most);
                runs.push((*symbol, (repeats - least) as u8));
                left -= repeats;
            }
        }
        runs.extend(std::iter::repeat_n((len, 0), left));
    }
    runs
}

/// Codes as they are looked up: [`word`]s.
#[derive(Debug)]
pub(super) struct Ready {
    literals: [u64; 256],
    /// By a match's length, with its extra bits.
    lengths: [u64; MAX_MATCH + 1],
    distances: [Distance; 32],
    end: u64,
}

/// A distance symbol's code.
#[derive(Debug, Clone, Copy, Default)]
struct Distance {
    code: u64,
    /// The least distance.
    base: u16,
    /// How many bits follow that say how much more it is.
    extra: u8,
}

/// No codes: nothing takes a bit.
impl Default for Ready {
    fn default() -> Self {
        let distances = [Distance::default(); 32];
        Self { literals: [0; 256], lengths: [0; MAX_MATCH + 1], distances, end: 0 }
    }
}

impl Ready {
    pub(super) fn set(&mut self, codes: &Codes) {
        for (ready, code) in self.literals.iter_mut().zip(&codes.literals) {
            *ready = code.word();
        }
        for (len, ready) in self.lengths.iter_mut().enumerate().skip(3) {
            let symbol = usize::from(LENGTH_SYMBOL[len]);
            let code = codes.literals[FIRST_LENGTH + symbol];
            let extra = len as u64 - u64::from(LENGTH_BASE[symbol]);
            *ready = word(u64::from(code.bits) | extra << code.len, u32::from(code.len + LENGTH_EXTRA[symbol]));
        }
        for (symbol, (ready, code)) in self.distances.iter_mut().zip(&codes.distances).enumerate() {
            *ready = Distance { code: code.word(), base: DISTANCE_BASE[symbol], extra: DISTANCE_EXTRA[symbol] };
        }
        self.end = codes.literals[END_OF_BLOCK].word();
    }

    /// Ends the block.
    pub(super) fn end(&self, cursor: &mut Cursor<'_>) {
        cursor.put([self.end]);
    }
}

/// Writes what is found by codes that stand.
pub(super) struct Coder<'a, 'b> {
    pub(super) codes: &'a Ready,
    pub(super) cursor: Cursor<'b>,
}

/// `MASKS[count]` keeps the first `count` codes.
static MASKS: [[u64; HELD_BYTES]; 8] = {
    let mut masks = [[0; HELD_BYTES]; 8];
    let mut count = 0;
    while count < masks.len() {
        let mut place = 0;
        while place < count && place < HELD_BYTES {
            masks[count][place] = u64::MAX;
            place += 1;
        }
        count += 1;
    }
    masks
};

impl Coder<'_, '_> {
    /// Puts `literals`.
    pub(super) fn run(&mut self, literals: &[u8]) {
        let (whole, few) = literals.as_chunks();
        for bytes in whole {
            self.literals::<HELD_BYTES>(*bytes);
        }
        let mut bytes = [0; HELD_BYTES];
        bytes[..few.len()].copy_from_slice(few);
        self.few(bytes, few.len());
    }

    /// Puts a match.
    pub(super) fn match_of(&mut self, len: usize, distance: usize) {
        self.repeat(len, distance);
    }
}

impl Sink for Coder<'_, '_> {
    #[inline(always)]
    fn literals<const N: usize>(&mut self, bytes: [u8; HELD_BYTES]) {
        self.cursor.put::<N>(std::array::from_fn(|place| self.codes.literals[usize::from(bytes[place])]));
    }

    /// Without branches: how many literals there are, nobody can foretell.
    #[inline(always)]
    fn few(&mut self, bytes: [u8; HELD_BYTES], count: usize) {
        let masks = &MASKS[count & 7];
        let code = |place: usize| self.codes.literals[usize::from(bytes[place])] & masks[place];
        self.cursor.put::<HELD_BYTES>(std::array::from_fn(code));
    }

    #[inline(always)]
    fn repeat(&mut self, len: usize, distance: usize) {
        let far = self.codes.distances[symbol_of_distance(distance) & 31];
        let extra = (distance - usize::from(far.base)) as u64;
        // A word even where there are no extra bits, and so none is set.
        let extra = (extra << ((64 - u32::from(far.extra)) & 63)) | u64::from(far.extra);
        self.cursor.put([self.codes.lengths[len], far.code, extra]);
    }
}
