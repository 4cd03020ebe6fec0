//! Writing deflate blocks (RFC 1951): with codes made for each, or stored where that is shorter.

use super::{
    bits::{BITS_A_FLUSH, BitWriter, Cursor},
    huffman::{Code, codes, lengths},
    lz::{MAX_MATCH, Match},
};

/// Literals, the end of the block, and lengths.
const LITERALS: usize = 286;
const END_OF_BLOCK: usize = 256;
const FIRST_LENGTH: usize = 257;
const DISTANCES: usize = 30;
const LENGTH_CODES: usize = 19;
/// The longest code of a literal, a length or a distance: so that four literals, or a match, fit between two flushes.
const LONGEST: usize = 14;
const _: () = assert!(4 * LONGEST as u32 <= BITS_A_FLUSH && (2 * LONGEST + 5 + 13) as u32 <= BITS_A_FLUSH);
/// The longest code of a code's length; deflate's limit.
const LONGEST_LENGTH_CODE: usize = 7;
/// The order in which the lengths of the lengths' codes are told (RFC 1951 §3.2.7).
const LENGTH_CODE_ORDER: [usize; LENGTH_CODES] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// The most bytes that the tables of a block take.
const MOST_TABLE_BYTES: usize = 400;
/// The most bytes of a stored block.
const MOST_STORED_BYTES: usize = 65_535;

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

/// Writes blocks; its tables are made once.
#[derive(Debug)]
pub(super) struct BlockWriter {
    /// The symbol of each length, less [`FIRST_LENGTH`].
    length_symbol: [u8; MAX_MATCH + 1],
    /// The symbol of each distance less one: below 256 by itself, above by its upper bits.
    distance_symbol: [u8; 512],
}

/// The codes of one block.
struct Codes {
    literal_lengths: [u8; LITERALS],
    distance_lengths: [u8; DISTANCES],
    literals: [Code; LITERALS],
    distances: [Code; DISTANCES],
}

/// How often each symbol occurs in a block.
struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        let symbol_of =
            |bases: &[u16], value: usize| bases.iter().rposition(|base| usize::from(*base) <= value).unwrap_or(0) as u8;
        let mut length_symbol = [0; MAX_MATCH + 1];
        for (len, symbol) in length_symbol.iter_mut().enumerate() {
            *symbol = symbol_of(&LENGTH_BASE, len);
        }
        let mut distance_symbol = [0; 512];
        for (place, symbol) in distance_symbol.iter_mut().enumerate() {
            let distance = if place < 256 { place + 1 } else { ((place - 256) << 7) + 1 };
            *symbol = symbol_of(&DISTANCE_BASE, distance);
        }
        Self { length_symbol, distance_symbol }
    }

    /// Appends the block of `input`, which `matches` describe.
    pub(super) fn write(&self, input: &[u8], matches: &[Match], last: bool, bits: &mut BitWriter, out: &mut Vec<u8>) {
        let counts = self.count(input, matches);
        let codes = Codes::new(&counts);
        let estimate = codes.coded_bits(&counts) / 8 + MOST_TABLE_BYTES as u64;
        let stored = input.len() + 5 * input.len().div_ceil(MOST_STORED_BYTES).max(1);
        if estimate > stored as u64 {
            return store(input, last, bits, out);
        }
        bits.append(estimate as usize + MOST_TABLE_BYTES, out, |cursor| {
            cursor.put(u64::from(last), 1);
            cursor.put(2, 2);
            codes.write_tables(cursor);
            self.write_symbols(input, matches, &codes, cursor);
        });
    }

    #[inline]
    fn symbol_of_distance(&self, distance: u16) -> usize {
        let distance = usize::from(distance);
        let place = if distance < 256 { distance } else { 256 + (distance >> 7) };
        usize::from(self.distance_symbol[place & 511])
    }

    fn count(&self, input: &[u8], matches: &[Match]) -> Counts {
        let mut counts = Counts { literals: [0; LITERALS], distances: [0; DISTANCES] };
        // Four tables, so that the same byte twice in a row does not wait for itself.
        let mut bytes = [[0_u32; 256]; 4];
        let mut rest = input;
        for one in matches {
            let (literals, behind) = rest.split_at(one.literals as usize);
            let (fours, few) = literals.as_chunks::<4>();
            for four in fours {
                for (table, byte) in bytes.iter_mut().zip(four) {
                    table[usize::from(*byte)] += 1;
                }
            }
            for byte in few {
                bytes[0][usize::from(*byte)] += 1;
            }
            rest = behind;
            if one.len > 0 {
                rest = &rest[usize::from(one.len)..];
                counts.literals[FIRST_LENGTH + usize::from(self.length_symbol[usize::from(one.len)])] += 1;
                counts.distances[self.symbol_of_distance(one.distance)] += 1;
            }
        }
        for (byte, count) in counts.literals[..256].iter_mut().enumerate() {
            *count = bytes.iter().map(|table| table[byte]).sum();
        }
        counts.literals[END_OF_BLOCK] = 1;
        counts
    }

    fn write_symbols(&self, input: &[u8], matches: &[Match], codes: &Codes, cursor: &mut Cursor<'_>) {
        let mut literal = [Code::default(); 256];
        literal.copy_from_slice(&codes.literals[..256]);
        let lengths = self.lengths_with_extra(codes);
        let mut rest = input;
        for one in matches {
            let (literals, behind) = rest.split_at(one.literals as usize);
            let (fours, few) = literals.as_chunks::<4>();
            for four in fours {
                for byte in four {
                    let code = literal[usize::from(*byte)];
                    cursor.put(code.bits.into(), code.len.into());
                }
                cursor.flush();
            }
            for byte in few {
                let code = literal[usize::from(*byte)];
                cursor.put(code.bits.into(), code.len.into());
            }
            cursor.flush();
            rest = behind;
            if one.len > 0 {
                rest = &rest[usize::from(one.len)..];
                let code = lengths[usize::from(one.len)];
                cursor.put(code.bits.into(), code.len.into());
                let symbol = self.symbol_of_distance(one.distance);
                let code = codes.distances[symbol];
                let extra = u64::from(one.distance + 1 - DISTANCE_BASE[symbol]);
                let bits = u64::from(code.bits) | extra << code.len;
                cursor.put(bits, u32::from(code.len) + u32::from(DISTANCE_EXTRA[symbol]));
                cursor.flush();
            }
        }
        let end = codes.literals[END_OF_BLOCK];
        cursor.put(end.bits.into(), end.len.into());
        cursor.flush();
    }

    /// Each length's code with its extra bits behind it.
    fn lengths_with_extra(&self, codes: &Codes) -> [Code; MAX_MATCH + 1] {
        let mut lengths = [Code::default(); MAX_MATCH + 1];
        for (len, with_extra) in lengths.iter_mut().enumerate().skip(3) {
            let symbol = usize::from(self.length_symbol[len]);
            let code = codes.literals[FIRST_LENGTH + symbol];
            let extra = len as u32 - u32::from(LENGTH_BASE[symbol]);
            *with_extra = Code { bits: code.bits | extra << code.len, len: code.len + LENGTH_EXTRA[symbol] };
        }
        lengths
    }
}

impl Codes {
    fn new(counts: &Counts) -> Self {
        let literal_lengths = lengths(&counts.literals, LONGEST);
        let distance_lengths = lengths(&counts.distances, LONGEST);
        Self {
            literals: codes(&literal_lengths),
            distances: codes(&distance_lengths),
            literal_lengths,
            distance_lengths,
        }
    }

    /// How many bits the symbols take, with their extra bits.
    fn coded_bits(&self, counts: &Counts) -> u64 {
        let sum = |counts: &[u32], lengths: &[u8]| -> u64 {
            counts.iter().zip(lengths).map(|(count, len)| u64::from(*count) * u64::from(*len)).sum()
        };
        sum(&counts.literals, &self.literal_lengths)
            + sum(&counts.distances, &self.distance_lengths)
            + sum(&counts.literals[FIRST_LENGTH..], &LENGTH_EXTRA)
            + sum(&counts.distances, &DISTANCE_EXTRA)
    }

    /// Tells the lengths of all codes (RFC 1951 §3.2.7).
    fn write_tables(&self, cursor: &mut Cursor<'_>) {
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
        cursor.put((literals - FIRST_LENGTH) as u64, 5);
        cursor.put((distances - 1) as u64, 5);
        cursor.put((told - 4) as u64, 4);
        cursor.flush();
        for symbol in &LENGTH_CODE_ORDER[..told] {
            cursor.put(lengths[*symbol].into(), 3);
            cursor.flush();
        }
        for (symbol, repeats) in runs {
            let code = codes[usize::from(symbol)];
            cursor.put(code.bits.into(), code.len.into());
            let extra = match symbol {
                16 => 2,
                17 => 3,
                18 => 7,
                _ => 0,
            };
            cursor.put(repeats.into(), extra);
            cursor.flush();
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

/// Appends `input` as it is.
fn store(input: &[u8], last: bool, bits: &mut BitWriter, out: &mut Vec<u8>) {
    let mut parts = input.chunks(MOST_STORED_BYTES).peekable();
    let mut part = parts.next().unwrap_or_default();
    loop {
        let is_last = last && parts.peek().is_none();
        // Three bits of header, then the rest of the byte.
        let padding = (bits.to_byte() + 5) % 8;
        bits.append(part.len() + 16, out, |cursor| {
            cursor.put(u64::from(is_last), 3 + padding);
            let len = part.len() as u64;
            cursor.put(len, 16);
            cursor.put(!len & 0xFFFF, 16);
            cursor.flush();
            cursor.bytes(part);
        });
        match parts.next() {
            Some(next) => part = next,
            None => return,
        }
    }
}
