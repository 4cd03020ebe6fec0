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
//! follows a changed value usually continues in the same line. Where nothing matches, the search strides
//! a few bytes at a time: a match that it enters in the middle is extended backwards to its
//! beginning.
//!
//! # What was tried
//!
//! MB/s and ratio on one core of a 2-core virtual machine, stored lines of 640 bytes as SDKs send them one event a
//! batch | ten a batch | Apache's access log (November 2026; `cargo bench --bench gzip` shows the present):
//!
//! | encoder | one | ten | Apache |
//! |---|---|---|---|
//! | zlib-rs, level 1 | 349 (3.57) | 624 (6.41) | 502 (5.24) |
//! | zlib-rs, level 2 | 212 (5.19) | 406 (8.93) | 313 (6.94) |
//! | libdeflate, level 1, blocks of 1 MiB | 280 (5.28) | 459 (9.42) | 386 (7.40) |
//! | GNU gzip -1 | (4.69) | (8.17) | (6.44) |
//! | this, matches of 4 and 8 by two tables | 204 (5.31) | 410 (9.21) | 306 (6.97) |
//! | this, matches of 6 | 287 (5.52) | 556 (9.69) | 396 (6.90) |
//! | this, matches of 8 | 294 (5.66) | 547 (9.76) | 409 (7.01) |
//! | this, matches of 8, stride 2 | 436 (5.48) | 707 (9.58) | 513 (6.59) |
//! | **this, matches of 8, stride 3** | 508 (5.46) | 773 (9.52) | 545 (6.51) |
//! | this, matches of 8, stride 4 | 574 (5.37) | 809 (9.32) | 580 (6.37) |
//!
//! Stride 3 is the fastest that stays smaller than GNU gzip -1 on all of them.
//!
//! # Limits
//!
//! Memory: the window and one block of input ([`WINDOW_BYTES`] + [`BLOCK_BYTES`]), the table of 64 KiB, and the matches
//! of one block. Input that does not compress is stored: the output is never larger than the input by more than five
//! bytes for each 64 KiB, and 18.

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
