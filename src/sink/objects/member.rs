//! What an object holds: decompressed piece by piece, and never kept.
//!
//! An object is exactly one gzip member or one zstd frame, by its [`Codec`]; *member* stands for both here.
//!
//! # Limits
//!
//! A frame whose window is larger than [`MAX_WINDOW_BYTES`] is refused: this crate makes none above 1 MiB, and RFC 8878
//! asks decoders for 8 MiB. Beside the window a decoder has some 200 KiB.

use std::io::{self, Write};

use crc32fast::Hasher;
use flate2::write::GzDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::codec::Codec;

/// The largest window of a frame that is read, in bytes.
pub const MAX_WINDOW_BYTES: usize = 1 << MAX_WINDOW_LOG;
const MAX_WINDOW_LOG: u32 = 23;
/// How a frame begins, and no skippable one.
pub(super) const FRAME_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// How much of a frame is decompressed at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The lines of an object, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many lines.
    pub events: u64,
    /// Their length in bytes, line feeds included.
    pub bytes: u64,
    /// CRC-32 of these bytes.
    pub crc32: u32,
}

/// Counts lines.
#[derive(Debug, Default)]
pub struct Counter {
    events: u64,
    bytes: u64,
    sum: Hasher,
    within_line: bool,
}

impl Counter {
    /// What the lines come to.
    ///
    /// # Errors
    /// Why they are none.
    pub fn content(self) -> Result<Counted, &'static str> {
        if self.within_line {
            return Err("it ends within a line");
        }
        Ok(Counted { events: self.events, bytes: self.bytes, crc32: self.sum.finalize() })
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

/// Takes exactly one member, and writes what it held to `W`.
pub struct Member<W: Write> {
    decoder: Either<W>,
    codec: Codec,
    broken: Option<String>,
}

enum Either<W: Write> {
    Gzip(Box<GzDecoder<W>>),
    Zstd(Frame<W>),
}

/// A zstd frame.
struct Frame<W> {
    /// `None` if there can be no decoder.
    decoder: Option<Decoder<'static>>,
    out: W,
    piece: Vec<u8>,
    /// How many bytes of the magic number were seen.
    seen: usize,
    ended: bool,
}

impl<W: Write> std::fmt::Debug for Member<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("codec", &self.codec).field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl<W: Write> Member<W> {
    /// A member of `codec`, whose content goes to `out`.
    pub fn new(codec: Codec, out: W) -> Self {
        let decoder = match codec {
            Codec::Gzip => Either::Gzip(Box::new(GzDecoder::new(out))),
            Codec::Zstd => Either::Zstd(Frame::new(out)),
        };
        Self { decoder, codec, broken: None }
    }

    /// What is written to.
    pub fn out(&mut self) -> &mut W {
        match &mut self.decoder {
            Either::Gzip(decoder) => decoder.get_mut(),
            Either::Zstd(frame) => &mut frame.out,
        }
    }

    /// Takes a piece; false if no more is wanted.
    pub fn take(&mut self, mut piece: &[u8]) -> bool {
        while !piece.is_empty() && self.broken.is_none() {
            let taken = match &mut self.decoder {
                Either::Gzip(decoder) => decoder.write(piece),
                Either::Zstd(frame) => frame.take(piece),
            };
            match taken {
                Ok(0) => self.broken = Some(format!("there is something behind its {}", self.codec.unit())),
                Ok(taken) => piece = &piece[taken..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.broken = Some(error.to_string()),
            }
        }
        self.broken.is_none()
    }

    /// Writes what is still held back, so that [`Self::out`] has all of it. Whether the member is sound, only
    /// [`Self::finish`] tells.
    pub fn write_rest(&mut self) {
        match &mut self.decoder {
            Either::Gzip(decoder) if decoder.header().is_some() => drop(decoder.try_finish()),
            // A frame holds back nothing.
            Either::Gzip(_) | Either::Zstd(_) => {}
        }
    }

    /// What was written.
    ///
    /// # Errors
    /// Why this was no member.
    pub fn finish(self) -> Result<W, String> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        match self.decoder {
            Either::Gzip(mut decoder) => match decoder.try_finish() {
                // An empty file is no member, although there is nothing wrong with any byte of it.
                Ok(()) if decoder.header().is_none() => Err("it is empty".into()),
                Ok(()) => decoder.finish().map_err(|error| error.to_string()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err("it is truncated".into()),
                Err(error) => Err(error.to_string()),
            },
            Either::Zstd(Frame { seen: 0, .. }) => Err("it is empty".into()),
            Either::Zstd(Frame { ended: false, .. }) => Err("it is truncated".into()),
            Either::Zstd(Frame { out, .. }) => Ok(out),
        }
    }
}

impl Member<Counter> {
    /// A member of `codec` whose lines are counted.
    pub fn counting(codec: Codec) -> Self {
        Self::new(codec, Counter::default())
    }

    /// What the lines come to.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn content(self) -> Result<Counted, String> {
        self.finish()?.content().map_err(Into::into)
    }
}

impl<W: Write> Frame<W> {
    fn new(out: W) -> Self {
        let decoder = Decoder::new().and_then(|mut decoder| {
            decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
            Ok(decoder)
        });
        Self { decoder: decoder.ok(), out, piece: vec![0; PIECE_BYTES], seen: 0, ended: false }
    }

    /// How many bytes were taken: none behind the end.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let magic = &FRAME_MAGIC[self.seen..];
        let known = magic.len().min(bytes.len());
        if bytes[..known] != magic[..known] {
            return Err(io::Error::other("it does not begin as a zstd frame does"));
        }
        self.seen += known;
        let decoder = self.decoder.as_mut().ok_or(io::ErrorKind::OutOfMemory)?;
        let mut input = InBuffer::around(bytes);
        loop {
            let mut output = OutBuffer::around(self.piece.as_mut_slice());
            let left = decoder.run(&mut input, &mut output)?;
            let made = output.pos();
            self.out.write_all(&self.piece[..made])?;
            self.ended = left == 0;
            // A full piece may have left some behind.
            if self.ended || (input.pos() == bytes.len() && made < PIECE_BYTES) {
                return Ok(input.pos());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const LINES: &[u8] = b"{\"a\":1}\n{\"a\":2}\n";

    fn packed(codec: Codec, lines: &[u8]) -> Vec<u8> {
        match codec {
            Codec::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(lines).unwrap();
                encoder.finish().unwrap()
            }
            Codec::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
                encoder.include_checksum(true).unwrap();
                encoder.write_all(lines).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn read(codec: Codec, bytes: &[u8], piece: usize) -> Result<Counted, String> {
        let mut member = Member::counting(codec);
        let _ = bytes.chunks(piece).all(|piece| member.take(piece));
        member.content()
    }

    #[test]
    fn an_object_is_counted_however_it_comes() {
        let many = LINES.repeat(100_000);
        for codec in Codec::ALL {
            for (lines, pieces) in [(LINES, &[1, 3, 7, 1_000][..]), (&many[..], &[13, 1 << 20])] {
                let events = lines.len() as u64 / LINES.len() as u64 * 2;
                let expected = Counted { events, bytes: lines.len() as u64, crc32: crc32fast::hash(lines) };
                for piece in pieces {
                    assert_eq!(read(codec, &packed(codec, lines), *piece), Ok(expected), "{codec:?} {piece}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_exactly_one_sound_member_is_told() {
        for codec in Codec::ALL {
            let sound = packed(codec, LINES);
            let mut changed = sound.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 0x10;
            let mut wrong_sum = sound.clone();
            let sum_at = wrong_sum.len() - if codec == Codec::Gzip { 8 } else { 4 };
            wrong_sum[sum_at] ^= 1;
            let two = [sound.clone(), sound.clone()].concat();
            // An empty skippable frame.
            let skippable = [&sound[..], b"\x50\x2A\x4D\x18\0\0\0\0"].concat();
            let within = packed(codec, b"{\"a\":1}\n{");
            let other = packed(if codec == Codec::Gzip { Codec::Zstd } else { Codec::Gzip }, LINES);
            let cut = [&sound[..sound.len() - 1], &sound[..12], &sound[..3]];
            for bytes in cut.into_iter().chain([
                &b""[..],
                b"{}",
                &changed,
                &wrong_sum,
                &two,
                &skippable,
                &skippable[sound.len()..],
                &within,
                &other,
            ]) {
                for piece in [1, 1_000] {
                    assert!(read(codec, bytes, piece).is_err(), "{codec:?}: {bytes:?} in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn a_frame_with_too_large_a_window_is_refused() {
        for (log, sound) in [(MAX_WINDOW_LOG, true), (MAX_WINDOW_LOG + 1, false)] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(LINES).unwrap();
            let bytes = encoder.finish().unwrap();
            assert_eq!(read(Codec::Zstd, &bytes, 1_000).is_ok(), sound, "{log}");
        }
    }
}
