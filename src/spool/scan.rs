//! Reading a segment from its groups, without trusting a footer: after a crash, or where a place has gone bad.
//!
//! Groups follow each other block by block, numbered from 0. Where none begins that should, the next valid one of the
//! same segment is searched for, block by block: if there is one, the place between is a *gap*, to be quarantined;
//! if there is none, everything from there on is a *torn tail* that was never acknowledged, and is cut. A group's
//! header cannot be mistaken for the text of an event: it contains NUL, which no stored line does.

use std::io;

use super::{
    BLOCK_BYTES,
    disk::DiskFile,
    footer::Facts,
    group::{FrameSum, GroupHeader},
    segment,
};
use crate::batch::{FrameHeader, SegmentId};

/// The largest group that is read, in bytes: larger than any that is written.
pub(super) const MAX_GROUP_BYTES: u64 = 64 * 1024 * 1024;
/// How much is read at a time when searching, in bytes.
const SEARCH_BYTES: usize = 1024 * 1024;

/// What a segment's groups tell.
#[derive(Debug)]
pub(super) struct Scan {
    /// What the valid groups hold; the gaps are among them.
    pub(super) facts: Facts,
    /// Where the last valid group ends.
    pub(super) data_end: u64,
    /// Whether something that was begun follows the last valid group.
    pub(super) torn: bool,
}

/// Reads every group of `segment` in `file`.
pub(super) fn scan(file: &dyn DiskFile, segment: SegmentId) -> io::Result<Scan> {
    let len = file.len()?;
    let mut scan = Scan { facts: Facts::default(), data_end: BLOCK_BYTES as u64, torn: false };
    let mut first = vec![0; BLOCK_BYTES];
    file.read_at(&mut first, 0)?;
    // A damaged first block costs nothing: what follows says itself which segment it belongs to.
    scan.torn = !segment::is_first_block(&first, segment) && first.iter().any(|byte| *byte != 0);
    let mut buffer = Vec::new();
    let mut next = 0;
    loop {
        let at = scan.data_end;
        if let Some(header) = read_group(file, segment, at, len, &mut buffer)?.filter(|header| header.sequence == next)
        {
            add_frames(&header, &buffer, &mut scan.facts);
            scan.data_end = at + header.padded_len();
            next += 1;
            continue;
        }
        let Some((found, sequence)) = search(file, segment, at, len, next, &mut buffer)? else {
            scan.torn |= begun(file, segment, at)?;
            return Ok(scan);
        };
        scan.facts.gaps.push((at, found));
        scan.data_end = found;
        next = sequence;
    }
}

/// Reads the group at `at` and verifies it; its frames are then in `buffer`.
pub(super) fn read_group(
    file: &dyn DiskFile,
    segment: SegmentId,
    at: u64,
    len: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<GroupHeader>> {
    let mut header = [0; GroupHeader::BYTES];
    let read = file.read_at(&mut header, at)?;
    let Some(header) = GroupHeader::decode(&header[..read]).filter(|header| header.segment == segment) else {
        return Ok(None);
    };
    if header.padded_len() > MAX_GROUP_BYTES.min(len - at) {
        return Ok(None);
    }
    buffer.resize(header.payload_len as usize, 0);
    let read = file.read_at(buffer, at + GroupHeader::BYTES as u64)?;
    Ok((read == buffer.len() && frames_are_sound(&header, buffer)).then_some(header))
}

fn frames_are_sound(header: &GroupHeader, mut frames: &[u8]) -> bool {
    let mut sum = FrameSum::default();
    for _ in 0..header.frames {
        let Some((frame, payload)) = split_frame(frames) else { return false };
        if frame.verify(payload).is_err() {
            return false;
        }
        sum.add(frames);
        frames = &frames[frame.frame_len()..];
    }
    frames.is_empty() && sum.finish() == header.frames_sum
}

fn split_frame(frames: &[u8]) -> Option<(FrameHeader, &[u8])> {
    let header = FrameHeader::decode(frames).ok()?;
    let payload = frames.get(header.len()..header.frame_len())?;
    Some((header, payload))
}

fn add_frames(header: &GroupHeader, mut frames: &[u8], facts: &mut Facts) {
    facts.groups += 1;
    for _ in 0..header.frames {
        let Some((frame, payload)) = split_frame(frames) else { return };
        facts.add(&frame, payload);
        frames = &frames[frame.frame_len()..];
    }
}

/// The first valid group behind `at` whose number is `next` or higher.
fn search(
    file: &dyn DiskFile,
    segment: SegmentId,
    at: u64,
    len: u64,
    next: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(u64, u64)>> {
    let mut window = vec![0; SEARCH_BYTES];
    let mut from = at;
    while from < len {
        let read = file.read_at(&mut window, from)?;
        for (place, block) in window[..read].chunks(BLOCK_BYTES).enumerate() {
            let here = from + (place * BLOCK_BYTES) as u64;
            let promising =
                GroupHeader::decode(block).is_some_and(|header| header.segment == segment && header.sequence >= next);
            if promising
                && here > at
                && let Some(header) = read_group(file, segment, here, len, buffer)?
            {
                return Ok(Some((here, header.sequence)));
            }
        }
        if read < window.len() {
            break;
        }
        from += read as u64;
    }
    Ok(None)
}

/// Whether a group of `segment` was begun at `at`.
fn begun(file: &dyn DiskFile, segment: SegmentId, at: u64) -> io::Result<bool> {
    let mut header = [0; GroupHeader::BYTES];
    let read = file.read_at(&mut header, at)?;
    Ok(GroupHeader::decode(&header[..read]).is_some_and(|header| header.segment == segment))
}
