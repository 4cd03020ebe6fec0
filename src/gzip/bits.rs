//! Writing bits, the lowest first, as deflate wants them.

/// How many bytes [`Cursor::flush`] writes at a time.
const WORD_BYTES: usize = 8;
/// How many bits may be put between two flushes.
pub(super) const BITS_A_FLUSH: u32 = 56;

/// Bits that are not a whole byte yet, between two blocks.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bits: u64,
    count: u32,
}

impl BitWriter {
    /// Lets `write` append at most `most` bytes to `out`.
    pub(super) fn append(&mut self, most: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Cursor<'_>)) {
        let start = out.len();
        out.resize(start + most + WORD_BYTES, 0);
        let mut cursor = Cursor { bytes: &mut out[start..], place: 0, bits: self.bits, count: self.count };
        write(&mut cursor);
        let len = cursor.place;
        (self.bits, self.count) = (cursor.bits, cursor.count);
        out.truncate(start + len);
    }

    /// Fills the last byte up with zeros.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.count > 0 {
            out.push(self.bits as u8);
        }
        *self = Self::default();
    }

    /// How many bits are missing to a whole byte.
    pub(super) fn to_byte(&self) -> u32 {
        (8 - self.count) % 8
    }
}

/// A place in the output.
pub(super) struct Cursor<'a> {
    bytes: &'a mut [u8],
    place: usize,
    bits: u64,
    count: u32,
}

impl Cursor<'_> {
    /// Puts the lowest `count` bits of `bits`, which has no others. At most [`BITS_A_FLUSH`] may be put before the next
    /// flush.
    #[inline]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.bits |= bits << self.count;
        self.count += count;
    }

    /// Writes the whole bytes that were put.
    #[inline]
    pub(super) fn flush(&mut self) {
        // A whole word is written each time; what is beyond the whole bytes is written over by the next.
        if let Some(word) = self.bytes.get_mut(self.place..self.place + WORD_BYTES) {
            word.copy_from_slice(&self.bits.to_le_bytes());
        }
        self.place += (self.count / 8) as usize;
        self.bits >>= self.count & !7;
        self.count &= 7;
    }

    /// Appends `bytes`, between two whole bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.count, 0);
        if let Some(room) = self.bytes.get_mut(self.place..self.place + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.place += bytes.len();
    }
}
