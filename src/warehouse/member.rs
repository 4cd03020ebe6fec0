//! What an object holds: decompressed piece by piece, and never kept.

use std::io::{self, Write};

use crc32fast::Hasher;
use flate2::write::GzDecoder;

use super::place::Taker;

/// The lines of an object, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) crc32: u32,
}

/// Counts lines.
#[derive(Debug, Default)]
pub(super) struct Counter {
    events: u64,
    bytes: u64,
    sum: Hasher,
    within_line: bool,
}

impl Counter {
    fn content(self) -> Result<Content, &'static str> {
        if self.within_line {
            return Err("it ends within a line");
        }
        Ok(Content { events: self.events, bytes: self.bytes, crc32: self.sum.finalize() })
    }
}

impl Write for Counter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.events += lines.split(|byte| *byte == b'\n').count() as u64 - 1;
        self.bytes += lines.len() as u64;
        self.sum.update(lines);
        if let Some(last) = lines.last() {
            self.within_line = *last != b'\n';
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes exactly one gzip member, and writes what it held to `W`.
#[derive(Debug)]
pub(super) struct Member<W: Write> {
    decoder: GzDecoder<W>,
    broken: Option<String>,
}

impl<W: Write> Member<W> {
    pub(super) fn new(out: W) -> Self {
        Self { decoder: GzDecoder::new(out), broken: None }
    }

    /// What is written to.
    pub(super) fn out(&mut self) -> &mut W {
        self.decoder.get_mut()
    }

    /// Writes what is still held back, so that [`Self::out`] has all of it. Whether the member is sound, only
    /// [`Self::finish`] tells.
    pub(super) fn write_rest(&mut self) {
        if self.decoder.header().is_some() {
            let _ = self.decoder.try_finish();
        }
    }

    /// What was written, or why this was no gzip member.
    pub(super) fn finish(mut self) -> Result<W, String> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        match self.decoder.try_finish() {
            // An empty file is no member, although there is nothing wrong with any byte of it.
            Ok(()) if self.decoder.header().is_none() => Err("it is empty".into()),
            Ok(()) => self.decoder.finish().map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err("it is truncated".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Member<Counter> {
    pub(super) fn counting() -> Self {
        Self::new(Counter::default())
    }

    /// What the lines come to, or why they cannot be read.
    pub(super) fn content(self) -> Result<Content, String> {
        self.finish()?.content().map_err(Into::into)
    }
}

impl<W: Write> Taker for Member<W> {
    fn take(&mut self, mut piece: &[u8]) -> bool {
        while !piece.is_empty() {
            match self.decoder.write(piece) {
                Ok(0) => {
                    self.broken = Some("there is something behind its gzip member".into());
                    return false;
                }
                Ok(taken) => piece = &piece[taken..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.broken = Some(error.to_string());
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const LINES: &[u8] = b"{\"a\":1}\n{\"a\":2}\n";

    fn gzip(lines: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(lines).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Content, String> {
        let mut member = Member::counting();
        let _ = bytes.chunks(piece).all(|piece| member.take(piece));
        member.content()
    }

    #[test]
    fn an_object_is_counted_however_it_comes() {
        let expected = Content { events: 2, bytes: LINES.len() as u64, crc32: crc32fast::hash(LINES) };
        for piece in [1, 3, 7, 1_000] {
            assert_eq!(read(&gzip(LINES), piece), Ok(expected), "{piece}");
        }
    }

    #[test]
    fn what_is_not_exactly_one_sound_member_is_told() {
        let sound = gzip(LINES);
        let mut changed = sound.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 0x10;
        let mut wrong_sum = sound.clone();
        let sum_at = wrong_sum.len() - 8;
        wrong_sum[sum_at] ^= 1;
        let two = [sound.clone(), sound.clone()].concat();
        let within = gzip(b"{\"a\":1}\n{");
        for bytes in
            [&sound[..sound.len() - 1], &sound[..12], &sound[..3], b"", b"{}", &changed, &wrong_sum, &two, &within]
        {
            for piece in [1, 1_000] {
                assert!(read(bytes, piece).is_err(), "{bytes:?} in pieces of {piece}");
            }
        }
    }
}
