//! Writing bits, the lowest first, as deflate wants them.

#![expect(
    clippy::inline_always,
    reason = "the search is one loop: what it holds in registers would go through memory at every call"
)]

use super::zeros;

/// How many bytes [`Cursor::flush`] writes at a time.
const WORD_BYTES: usize = 8;
/// How many bytes there is room for, between two times that they are appended to the output: a power of two, so that
/// the compiler knows that no place is out of the room's bounds.
pub(super) const ROOM_BYTES: usize = 64 * 1024;
/// How many bits may be put between two flushes.
pub(super) const BITS_A_FLUSH: u32 = 56;

/// Writes bits into a room of its own, and appends the whole bytes to the output.
#[derive(Debug)]
pub(super) struct BitWriter {
    /// Where bits are put together: kept, so that no output is filled with zeros only to be written over.
    room: Box<[u8; ROOM_BYTES + WORD_BYTES]>,
    /// Bits that are not a whole byte yet, between two pieces, as in [`Cursor`].
    bits: u64,
    count: u32,
}

impl BitWriter {
    pub(super) fn new() -> Self {
        Self { room: zeros(), bits: 0, count: 0 }
    }

    /// Appends to `out` what `write` puts.
    pub(super) fn append<R>(&mut self, out: &mut Vec<u8>, write: impl FnOnce(Cursor<'_>) -> (Cursor<'_>, R)) -> R {
        let cursor = Cursor { room: &mut self.room, place: 0, bits: self.bits, count: self.count };
        let (Cursor { place, bits, count, .. }, result) = write(cursor);
        debug_assert!(place <= ROOM_BYTES, "there was no room for {place} bytes");
        out.extend_from_slice(&self.room[..place]);
        (self.bits, self.count) = (bits, count);
        result
    }

    /// Fills the last byte up with zeros.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.count > 0 {
            out.push((self.bits >> (64 - self.count)) as u8);
        }
        (self.bits, self.count) = (0, 0);
    }
}

/// Bits in the form in which they are put: the last one is the highest of the word, and the lowest byte says how many
/// there are. Two such words are joined by one shift and one disjunction, and none is masked.
pub(super) const fn word(bits: u64, count: u32) -> u64 {
    if count == 0 { 0 } else { bits << (64 - count) | count as u64 }
}

/// A place in the output.
pub(super) struct Cursor<'a> {
    room: &'a mut [u8; ROOM_BYTES + WORD_BYTES],
    place: usize,
    /// The last `count` bits that were put are the highest; below them may be others, already written.
    bits: u64,
    count: u32,
}

/// A place to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    place: usize,
    bits: u64,
    count: u32,
}

impl Cursor<'_> {
    /// Puts `words` that [`word`] made: [`BITS_A_FLUSH`] at most.
    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, words: [u64; N]) {
        let (mut bits, mut count) = (0, 0_u32);
        for word in words {
            bits = bits >> (word & 63) | word;
            count += u32::from(word as u8);
        }
        // What is left of the counts lies in the lowest byte, where no more than 56 bits reach.
        self.bits = self.bits >> (count & 63) | bits & !255;
        self.count += count;
        self.flush();
    }

    /// Writes the whole bytes that were put.
    #[inline(always)]
    fn flush(&mut self) {
        // A whole word is written each time; what is beyond the whole bytes is written over by the next.
        if let Some(word) = self.room[self.place % ROOM_BYTES..].first_chunk_mut() {
            *word = (self.bits >> ((64 - self.count) & 63)).to_le_bytes();
        }
        self.place += (self.count / 8) as usize;
        self.count &= 7;
    }

    /// Fills the last byte up with zeros.
    pub(super) fn fill_byte(&mut self) {
        self.put([word(0, (8 - self.count) % 8)]);
    }

    /// This place.
    pub(super) fn mark(&self) -> Mark {
        Mark { place: self.place, bits: self.bits, count: self.count }
    }

    /// Forgets what was put since `mark`.
    pub(super) fn back_to(&mut self, mark: Mark) {
        (self.place, self.bits, self.count) = (mark.place, mark.bits, mark.count);
    }

    /// How many bits were put since `mark`.
    pub(super) fn bits_since(&self, mark: Mark) -> u64 {
        (self.place as u64 * 8 + u64::from(self.count)) - (mark.place as u64 * 8 + u64::from(mark.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stand_in_the_order_in_which_they_are_put() {
        let (mut writer, mut out) = (BitWriter::new(), Vec::new());
        writer.append(&mut out, |mut cursor| {
            cursor.put([word(0b1, 1), word(0b01, 2), word(0, 0), word(0b1101, 4)]);
            cursor.put([word(0xFF_FFFF_FFFF_FFFF, 56)]);
            (cursor, ())
        });
        // Seven bits, and 56: the last seven are kept for what follows.
        assert_eq!(out, [0b1110_1011, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        writer.append(&mut out, |mut cursor| {
            let mark = cursor.mark();
            cursor.put([word(0b10, 2)]);
            assert_eq!(cursor.bits_since(mark), 2);
            cursor.back_to(mark);
            cursor.put([word(0, 1), word(0b11, 2)]);
            cursor.fill_byte();
            cursor.fill_byte();
            (cursor, ())
        });
        writer.finish(&mut out);
        assert_eq!(out[7..], [0b0111_1111, 0b11]);
    }
}
