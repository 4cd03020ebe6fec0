//! A gzip encoder for lines that repeat each other.
//!
//! Compression is the largest cost of the whole path, so it is worth an encoder of its own: one gzip member (RFC 1952)
//! of deflate blocks (RFC 1951) with dynamic Huffman codes, written in safe Rust, for the stored lines of logs.
//!
//! # How it compresses
//!
//! Stored lines consist of long passages that stand in the line before (keys, names, versions) with short ones between
//! that stand nowhere (ids, digits). So only matches of eight bytes and more are looked for: shorter ones lie mostly
//! within ids, where a match by chance costs more bits than the literals it replaces. One table remembers where each
//! hash of eight bytes stood last; before it is asked, the distance of the last match is tried again, since what
//! follows a changed value usually continues in the same line. Where nothing matches, the search strides four bytes at
//! a time: a match that it enters in the middle is extended backwards to its beginning.
//!
//! That is too coarse for other text, where words of five letters count. So each block may be searched finely instead:
//! from every byte, for matches of five and more. Which of the two is worth its time is tried on one segment, at the
//! beginning and then every one to eight MiB.
//!
//! Text is compressed in segments. A block's first one is searched, its symbols are counted, and codes are made of them
//! in which every symbol has one. The up to 31 segments behind it are written by these codes while they are searched:
//! no match is noted, no literal is looked at twice. Where that takes an eighth more than the first segment did, the
//! block ends, and the next one makes codes of its own; a segment that would become larger is stored.
//!
//! # What others do
//!
//! MB/s (ratio) on one core of a cloud's 2-core virtual machine (Intel Xeon with AVX-512 and AMX, 3.8 GHz, November
//! 2026), the best of nine interleaved runs while others built beside; GNU gzip 1.12 as a process, the best of five.
//! Stored lines of 640 bytes as SDKs send them, one, ten and a hundred events a batch; short ones of 250 bytes; an
//! ingress's JSON lines; Apache's access log as events and as it is; syslog lines of words; test logs of the JDK and
//! GDB.
//! `cargo bench --bench stages -- gzip` shows the present on the machine at hand.
//!
//! | text | GNU gzip -1 | zlib-rs 1 | libdeflate 1 | ISA-L 1 | this before | **this** |
//! |---|---|---|---|---|---|---|
//! | one | 120 (4.103) | 408 (3.098) | 314 (4.525) | 818 (4.499) | 586 (4.743) | **1,011 (4.620)** |
//! | ten | 131 (4.934) | 480 (3.780) | 363 (5.498) | 966 (5.481) | 677 (5.684) | **1,102 (5.550)** |
//! | hundred | 134 (5.073) | 484 (3.892) | 365 (5.639) | 930 (5.632) | 680 (5.859) | **1,116 (5.678)** |
//! | short | 127 (4.965) | 509 (3.714) | 409 (5.631) | 1,136 (5.548) | 881 (5.813) | **1,383 (5.658)** |
//! | ingress | 117 (4.276) | 419 (3.345) | 329 (4.693) | 749 (4.557) | 501 (4.509) | **787 (4.421)** |
//! | Apache as events | 158 (7.154) | 758 (5.776) | 553 (8.236) | 1,470 (7.629) | 865 (7.328) | **785 (7.459)** |
//! | Apache | 156 (7.650) | 787 (6.546) | 538 (8.742) | 1,318 (7.879) | 750 (7.053) | **592 (7.885)** |
//! | syslog | 105 (3.211) | 374 (2.627) | 287 (3.451) | 524 (3.227) | 247 (2.428) | **237 (3.351)** |
//! | JDK | 116 (5.448) | 566 (4.619) | 383 (6.100) | 898 (5.579) | 467 (4.620) | **415 (5.537)** |
//! | GDB | 208 (14.18) | 1,311 (11.83) | 754 (15.98) | 2,124 (14.35) | 1,160 (13.36) | **973 (14.33)** |
//!
//! It is smaller than GNU gzip -1 on all of them, which it was not before it could search finely.
//!
//! # What was tried
//!
//! On stored lines, a hundred events a batch: MB/s (ratio) of the whole, or ns a line of 640 bytes for a part. A line
//! has 16 matches and 120 literals, and what costs is a branch that nobody can foretell: where a match begins, or ends.
//! By callgrind a line now takes 8,350 instructions and 36 wrongly foretold branches, where it took 9,900 and 114.
//! Differences of less than four in a hundred are noise.
//!
//! | what | before | after | kept |
//! |---|---|---|---|
//! | positions of 16 bits: a table of 32 KiB, not 64 | search 462 ns | 583 ns: more seems to match | no |
//! | bits of the hash beside the position, compared before the text is | search 443 ns | 373 ns | yes |
//! | 8,192 places beside that | 1,225 (5.676) | 1,288 (5.601) | no |
//! | both distances compared under one branch | search 373 ns | 370 ns | no |
//! | 32 bytes compared at a time, the length chosen without branches | search 387 ns | 371 ns | yes |
//! | written while it is searched, by a sample's codes | 329 + 110 + 183 ns | 373 ns | yes |
//! | codes of its own for each segment | 1,122 (5.690) | 625 (5.668) | no |
//! | 32 segments a block, not 4 or 16 | 954, 1,122 (5.690) | 1,205 (5.696) | yes |
//! | 64 segments a block | 1,205 (5.696) | 1,227 (5.687) | no |
//! | buffers of a fixed length, so that no bounds are checked | 979 | 1,155 | yes |
//! | four literals by masks before a match, not eight | 1,058 | 1,146 | yes |
//! | bits joined from the word's top | 8,960 instructions | 8,670 instructions | yes |
//! | stride 4, not 3 | 1,061 (5.736) | 1,186 (5.648) | yes |
//! | the last two places of a match remembered, not one | 1,171 (5.648) | 1,183 (5.660) | yes |
//! | the last four: the compiler makes vectors of their hashes | 1,183 (5.660) | 972 (5.696) | no |
//! | strides of 7 after 13 literals | 1,350 (5.681) | 1,338 (5.607) | no |
//! | literals held back for two strides, for longer matches backwards | 1,130 (5.767) | 1,166 (5.770) | no |
//! | fine, matches of 6, not 5: Apache, syslog | (7.885), (3.351) | (7.933), (3.222) | no |
//! | fine, matches of 4 | (7.885), (3.351) | (7.769), (3.435) | no |
//! | fine, stride 2 | (7.885), (3.351) | (7.647), (3.291) | no |
//! | built for AVX2 and BMI2: `unsafe`, to be chosen at run time | 1,132 | 1,167 | no |
//!
//! # Limits
//!
//! Memory: some 645 KiB. The window and what is not compressed yet lie in a buffer of 256 KiB, the tables of the two
//! searches take 64 and 128 KiB, what is written is put together in 64 KiB, and the matches of a segment take 64 KiB at
//! most, twice while both searches are tried. Input that does not compress is stored: the output is never larger than
//! the input by more than eight bytes for each 32 KiB, and 30. The output depends on the input alone, not on the pieces
//! in which it came. The slowest text found, words in an alphabet that changes every 32 KiB, took 92 MB/s.

mod bits;
mod block;
mod codes;
mod huffman;
mod lz;
mod matcher;

use self::{
    block::BlockWriter,
    lz::{Buffer, LOOKAHEAD_BYTES, Text},
    matcher::Segment,
};

/// How far back a match may lie, in bytes: deflate's limit.
pub const WINDOW_BYTES: usize = 32 * 1024;
/// How much input is compressed at a time, in bytes.
pub const SEGMENT_BYTES: usize = 32 * 1024;
/// How much input is held, in bytes: the window is moved when there is no room for a segment behind it.
const BUFFER_BYTES: usize = 256 * 1024;
const _: () = assert!(WINDOW_BYTES + SEGMENT_BYTES + LOOKAHEAD_BYTES < BUFFER_BYTES);

/// The header of a member without a name or a time: the same lines give the same bytes. Operating system 255 is
/// "unknown".
const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];

/// Compresses one gzip member.
#[derive(Debug)]
pub struct Encoder {
    /// The window, and behind it what is not compressed yet.
    buffer: Box<Buffer>,
    /// How much of the buffer is text.
    filled: usize,
    /// Where what is not compressed begins.
    pending: usize,
    /// How many bytes were removed from the buffer, modulo 2³².
    base: u32,
    blocks: BlockWriter,
    begun: bool,
    sum: crc32fast::Hasher,
    len: u64,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder at the beginning of a member.
    pub fn new() -> Self {
        Self {
            buffer: zeros(),
            filled: 0,
            pending: 0,
            base: 0,
            blocks: BlockWriter::new(),
            begun: false,
            sum: crc32fast::Hasher::new(),
            len: 0,
        }
    }

    /// Takes `input`, and appends to `out` what is compressed by now.
    pub fn write(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        self.len += input.len() as u64;
        while !input.is_empty() {
            // No more than this is looked at, so that the pieces in which input comes do not matter.
            let enough = self.pending + SEGMENT_BYTES + LOOKAHEAD_BYTES;
            if enough > BUFFER_BYTES {
                self.slide();
                continue;
            }
            let (now, later) = input.split_at((enough - self.filled).min(input.len()));
            self.buffer[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            self.sum.update(now);
            input = later;
            if self.filled == enough {
                self.segment(false, out);
            }
        }
    }

    /// Ends the member: appends what is left of it to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.segment(true, out);
        out.extend_from_slice(&self.sum.finalize().to_le_bytes());
        // The trailer counts modulo 2³².
        out.extend_from_slice(&(self.len as u32).to_le_bytes());
    }

    /// How many bytes were taken.
    pub fn total_in(&self) -> u64 {
        self.len
    }

    /// CRC-32 of the bytes taken.
    pub fn crc32(&self) -> u32 {
        self.sum.clone().finalize()
    }

    fn segment(&mut self, last: bool, out: &mut Vec<u8>) {
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(&HEADER);
        }
        let text = Text { buffer: &self.buffer, len: self.filled, base: self.base };
        let limit = if last { self.filled } else { self.pending + SEGMENT_BYTES };
        self.pending = self.blocks.write(Segment { text, start: self.pending, limit, last }, out);
    }

    /// Forgets what no match can reach any more.
    fn slide(&mut self) {
        let gone = self.pending.saturating_sub(WINDOW_BYTES);
        self.buffer.copy_within(gone..self.filled, 0);
        self.filled -= gone;
        self.pending -= gone;
        self.base = self.base.wrapping_add(gone as u32);
    }
}

/// `N` zeros, made where they stay: not on the stack first.
#[expect(clippy::unnecessary_box_returns, reason = "an array of hundreds of KiB is no return value")]
fn zeros<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N].into_boxed_slice().try_into().unwrap_or_else(|_| Box::new([T::default(); N]))
}

#[cfg(test)]
mod tests;
