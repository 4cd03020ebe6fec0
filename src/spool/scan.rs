//! Reading a segment from its groups, without trusting a footer: after a crash, or where a place has gone bad.
//!
//! Groups follow each other block by block, numbered from 0. Where none begins that should, the next header of the same
//! segment and life is searched for, block by block. A group whose header is whole and whose frames are not is
//! *doubtful*. What becomes of it depends on whether it was ever synced, and it was if a sound group follows, or if the
//! footer of a sealed segment counted it:
//!
//! - synced: its sound frames are kept one by one, since they were acknowledged; what lies between is a *gap*;
//! - not known to be synced: it is a *torn tail*, which a crash leaves of a group that was never acknowledged. Its
//!   frames cannot be trusted one by one: a recycled file may show whole ones of its former life among them.
//!
//! A group's header cannot be mistaken for the text of an event: it contains NUL, which no stored line does.

use super::{
    BLOCK_BYTES,
    disk::DiskFile,
    footer::Facts,
    group::{FrameSum, GroupHeader, HeaderRead},
    patient::Patient,
    segment::{FirstBlock, Life},
};
use crate::batch::{FrameHeader, InstanceId, SegmentId};

/// The largest group that is read, in bytes: larger than any that is written.
pub(super) const MAX_GROUP_BYTES: u64 = 72 * 1024 * 1024;
/// How much is read at a time when searching, in bytes.
const SEARCH_BYTES: usize = 1024 * 1024;

/// What a segment's groups tell.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// What the sound frames hold; the gaps are among them.
    pub(super) facts: Facts,
    /// Where the last of what must be kept ends.
    pub(super) data_end: u64,
    /// The last sound group, as `[from, to)`.
    pub(super) last: Option<(u64, u64)>,
    /// Whole blocks that hold what cannot be read, as `[from, to)`.
    pub(super) damaged: Vec<(u64, u64)>,
    /// A group that was begun behind `data_end`, as `[from, to)`.
    pub(super) torn: Option<(u64, u64)>,
    /// The life that the groups belong to; `None` if there are none and the first block tells nothing.
    pub(super) life: Option<Life>,
    /// Who wrote the segment, if its first block tells.
    pub(super) instance: Option<InstanceId>,
    /// Whether there is something of another version, which then nobody reads here.
    pub(super) other_version: bool,
}

/// Reads every group of `segment` in `file`. What lies before `synced_to` was synced.
pub(super) fn scan(file: &dyn DiskFile, segment: SegmentId, synced_to: u64) -> std::io::Result<Scan> {
    let len = file.len()?;
    let mut scan = Scan { data_end: BLOCK_BYTES as u64, ..Scan::default() };
    let scanner = Scanner { file: Patient::new(file), segment, len };
    let mut first = vec![0; BLOCK_BYTES];
    let read = scanner.file.read_at(&mut first, 0);
    match FirstBlock::read(&first[..read], segment) {
        FirstBlock::This(life, instance) => (scan.life, scan.instance) = (Some(life), Some(instance)),
        FirstBlock::OtherVersion(_) => return Ok(Scan { other_version: true, ..scan }),
        // A damaged first block costs nothing: what follows says itself which segment it belongs to.
        FirstBlock::None => {}
    }
    scanner.groups(&mut scan, synced_to);
    if let Some(unreadable) = scanner.file.unreadable_end()
        && unreadable > scan.data_end
    {
        // Nobody knows what stood there: it is kept from being written over.
        scan.lose(scan.data_end, unreadable.min(len));
        scan.torn = None;
    }
    Ok(scan)
}

impl Scan {
    /// Nothing between `from` and `to` can be read, and something was there.
    fn lose(&mut self, from: u64, to: u64) {
        if from < to {
            self.facts.gaps.push((from, to));
            self.set_aside(from, to);
            self.data_end = to;
        }
    }

    /// The blocks between `from` and `to` hold something that cannot be read.
    fn set_aside(&mut self, from: u64, to: u64) {
        match self.damaged.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => self.damaged.push((from, to)),
        }
    }
}

struct Scanner<'f> {
    file: Patient<'f>,
    segment: SegmentId,
    len: u64,
}

/// A group that was found.
struct Group {
    at: u64,
    header: GroupHeader,
    sound: bool,
}

impl Group {
    fn end(&self) -> u64 {
        self.at + self.header.padded_len()
    }
}

/// What stands at a block, or behind it.
enum Found {
    Group(Group),
    OtherVersion,
    Nothing,
}

impl Scanner<'_> {
    fn groups(&self, scan: &mut Scan, synced_to: u64) {
        let mut buffer = Vec::new();
        let mut doubtful: Vec<Group> = Vec::new();
        let (mut at, mut next) = (scan.data_end, 0);
        loop {
            let group = match self.find(at, next, scan.life, &mut buffer) {
                Found::Group(group) => group,
                Found::OtherVersion => {
                    scan.other_version = true;
                    return;
                }
                Found::Nothing => break,
            };
            scan.life = Some(group.header.life);
            (at, next) = (group.end(), group.header.sequence + 1);
            if group.sound || group.end() <= synced_to {
                for before in doubtful.drain(..) {
                    self.keep(scan, &before, &mut Vec::new());
                }
                self.keep(scan, &group, &mut buffer);
            } else {
                doubtful.push(group);
            }
        }
        let lost_to = synced_to.min(self.len);
        scan.lose(scan.data_end, lost_to);
        let torn_from = doubtful.first().map(|group| group.at);
        let torn_to = doubtful.last().map(Group::end);
        scan.torn = torn_from.zip(torn_to).or_else(|| self.begun(scan.data_end));
    }

    /// A group whose header was begun at `at`, or has gone bad: how long it was nobody knows.
    fn begun(&self, at: u64) -> Option<(u64, u64)> {
        let mut bytes = [0; GroupHeader::BYTES];
        let read = self.file.read_at(&mut bytes, at);
        let none = matches!(GroupHeader::read(&bytes[..read]), HeaderRead::None);
        (none && GroupHeader::is_begun(&bytes[..read])).then(|| (at, self.len.min(at + super::MAX_GROUP_BYTES as u64)))
    }

    /// Counts what is sound in `group`, which was synced; `buffer` holds its frames if all of it is.
    fn keep(&self, scan: &mut Scan, group: &Group, buffer: &mut Vec<u8>) {
        scan.lose(scan.data_end, group.at);
        scan.facts.groups += 1;
        scan.last = group.sound.then(|| (group.at, group.end()));
        if group.sound {
            each_frame(&group.header, buffer, |frame, payload| scan.facts.add(frame, payload));
        } else {
            let frames = group.at + GroupHeader::BYTES as u64;
            buffer.resize(group.header.payload_len as usize, 0);
            let read = self.file.read_at(buffer, frames);
            buffer.truncate(read);
            let before = scan.facts.gaps.len();
            salvage(&group.header, buffer, frames, scan);
            if scan.facts.gaps.len() > before {
                scan.set_aside(group.at, group.end());
            }
        }
        scan.data_end = group.end();
    }

    /// The first group from `at` on whose number is `next` or higher; its frames are then in `buffer`, if it is sound.
    fn find(&self, at: u64, next: u64, life: Option<Life>, buffer: &mut Vec<u8>) -> Found {
        let found = self.look(at, next, life, buffer);
        if !matches!(found, Found::Nothing) {
            return found;
        }
        let mut window = vec![0; SEARCH_BYTES];
        let mut from = at + BLOCK_BYTES as u64;
        while from < self.len {
            let read = self.file.read_at(&mut window, from);
            for (place, block) in window[..read].chunks(BLOCK_BYTES).enumerate() {
                if matches!(GroupHeader::read(block), HeaderRead::None) {
                    continue;
                }
                let found = self.look(from + (place * BLOCK_BYTES) as u64, next, life, buffer);
                if !matches!(found, Found::Nothing) {
                    return found;
                }
            }
            if read < window.len() {
                break;
            }
            from += read as u64;
        }
        Found::Nothing
    }

    /// What stands at `at`, if it belongs here and its number is `next` or higher.
    fn look(&self, at: u64, next: u64, life: Option<Life>, buffer: &mut Vec<u8>) -> Found {
        let mut bytes = [0; GroupHeader::BYTES];
        let read = self.file.read_at(&mut bytes, at);
        let header = match GroupHeader::read(&bytes[..read]) {
            HeaderRead::Header(header) => header,
            // A recycled file's former life may have been another version's too, but of another segment.
            HeaderRead::OtherVersion if GroupHeader::segment_of(&bytes) == self.segment => return Found::OtherVersion,
            HeaderRead::OtherVersion | HeaderRead::None => return Found::Nothing,
        };
        let here = header.segment == self.segment
            && life.is_none_or(|life| life == header.life)
            && header.sequence >= next
            && header.padded_len() <= MAX_GROUP_BYTES.min(self.len.saturating_sub(at));
        if !here {
            return Found::Nothing;
        }
        buffer.resize(header.payload_len as usize, 0);
        let read = self.file.read_at(buffer, at + GroupHeader::BYTES as u64);
        let sound = read == buffer.len() && frames_are_sound(&header, buffer);
        Found::Group(Group { at, header, sound })
    }
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

fn each_frame(header: &GroupHeader, mut frames: &[u8], mut take: impl FnMut(&FrameHeader, &[u8])) {
    for _ in 0..header.frames {
        let Some((frame, payload)) = split_frame(frames) else { return };
        take(&frame, payload);
        frames = &frames[frame.frame_len()..];
    }
}

/// Counts the sound frames of a synced group, of which `frames` begin at `at`. What is not sound becomes gaps.
fn salvage(header: &GroupHeader, frames: &[u8], at: u64, scan: &mut Scan) {
    let end = at - GroupHeader::BYTES as u64 + header.padded_len();
    let mut place = 0;
    for _ in 0..header.frames {
        let here = at + place as u64;
        let Some((frame, payload)) = split_frame(&frames[place..]) else {
            // Where the next frame would begin is not known.
            scan.facts.gaps.push((here, end));
            return;
        };
        place += frame.frame_len();
        if frame.verify(payload).is_ok() {
            scan.facts.add(&frame, payload);
        } else {
            scan.facts.gaps.push((here, at + place as u64));
        }
    }
}
