//! What a file holds, as far as it tells.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use zstd::zstd_safe::get_frame_content_size;

use crate::sink::{Codec, Counted, Member, ObjectFacts, Told};

/// The length of a gzip member's trailer, in bytes: CRC-32 and length of what was compressed.
const TRAILER_BYTES: usize = 8;
/// The longest header of a zstd frame, in bytes (RFC 8878, section 3.1.1.1).
const FRAME_HEADER_BYTES: u64 = 18;
/// How much is read at a time, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Whether `file` holds what `facts` tell.
pub(super) fn is_of(file: &mut File, facts: &ObjectFacts, codec: Codec) -> io::Result<bool> {
    // Without reading on, if the frame itself says that it does not.
    if codec == Codec::Zstd && frame_length(file)? != Some(facts.bytes) {
        return Ok(false);
    }
    Ok(told(file, codec)?.matches(facts.events, facts.bytes, facts.crc32))
}

/// What `file` tells: by its gzip trailer; a zstd frame is read. What is unreadable tells nothing.
pub(super) fn told(file: &mut File, codec: Codec) -> io::Result<Told> {
    Ok(match codec {
        Codec::Gzip => trailer(file)?,
        Codec::Zstd => read(file)?.map_or_else(Told::default, |Counted { events, bytes, crc32 }| Told {
            events: Some(events),
            bytes: Some(bytes),
            crc32: Some(crc32),
        }),
    })
}

/// The last bytes of a file.
fn trailer(file: &mut File) -> io::Result<Told> {
    if file.seek(SeekFrom::End(-(TRAILER_BYTES as i64))).is_err() {
        return Ok(Told::default());
    }
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact(&mut trailer)?;
    let word = |at: usize| u32::from_le_bytes([trailer[at], trailer[at + 1], trailer[at + 2], trailer[at + 3]]);
    Ok(Told { events: None, bytes: Some(u64::from(word(4))), crc32: Some(word(0)) })
}

/// The length of the lines, as the header of a zstd frame tells it; `None` if it is none that does.
fn frame_length(file: &mut File) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(0))?;
    let mut header = Vec::with_capacity(FRAME_HEADER_BYTES as usize);
    io::copy(&mut file.take(FRAME_HEADER_BYTES), &mut header)?;
    Ok(get_frame_content_size(&header).ok().flatten())
}

/// What the lines of a zstd file come to; `None` if it is not exactly one sound frame of lines.
fn read(file: &mut File) -> io::Result<Option<Counted>> {
    file.seek(SeekFrom::Start(0))?;
    let mut member = Member::counting(Codec::Zstd);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(member.content().ok()),
            Ok(read) if member.take(&piece[..read]) => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
