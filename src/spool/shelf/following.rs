//! What followers ask of the shelf, and tell it.

use std::io;

use super::{Place, Position, Shelf, There};
use crate::batch::Millis;

impl Shelf {
    /// `sink` takes lines, and not whole segments: where it stands, and how often it was skipped.
    pub(in crate::spool) fn follow(&self, sink: usize) -> (Place, u64) {
        let sink = &mut self.state().sinks[sink];
        sink.follows = true;
        (sink.at, sink.skips)
    }

    /// Where `sink` stands, and how often it was skipped.
    pub(in crate::spool) fn stands(&self, sink: usize) -> (Place, u64) {
        let sink = &self.state().sinks[sink];
        (sink.at, sink.skips)
    }

    /// What there is at `at`.
    pub(in crate::spool) fn there(&self, at: Place) -> There {
        self.state().there(at)
    }

    /// What there is at `at`. If it is nothing, `sink` is woken when there is something; if it is a part of the open
    /// segment, when there are `most` bytes of it.
    pub(in crate::spool) fn there_or_wake(&self, sink: usize, at: Place, most: u64) -> There {
        let mut state = self.state();
        let there = state.there(at);
        state.sinks[sink].wakes_at = match there {
            There::Nothing => Some(Place { offset: at.offset + 1, ..at }),
            There::Open(segment, _) => {
                let begin = if segment == at.segment { at.offset } else { 0 };
                Some(Place { segment, offset: begin.saturating_add(most) })
            }
            There::Sealed(_) | There::Ended => None,
        };
        there
    }

    /// Between `from` and `to` there is no line for `sink`. If it has done everything before, it has now done that too; and
    /// if that is the rest of a segment, its cursor is moved.
    pub(in crate::spool) fn hop(&self, sink: usize, from: Place, to: Place) {
        {
            let mut state = self.state();
            let sink = &mut state.sinks[sink];
            if sink.at < from {
                match sink.hops.back_mut() {
                    Some((_, end)) if *end == from => *end = to,
                    _ => sink.hops.push_back((from, to)),
                }
                return;
            }
            sink.done(to, Millis::MIN);
        }
        if let Err(error) = self.save_segment(sink) {
            tracing::warn!(%error, "a sink's cursor could not be moved to the next segment; it is tried again");
        }
    }

    /// `sink` has done everything before `to`, of which the last line was received at `received`; whether that is all of a
    /// segment, so that its cursor is to be moved.
    pub(in crate::spool) fn done(&self, sink: usize, to: Place, received: Millis) -> bool {
        let sink = &mut self.state().sinks[sink];
        sink.done(to, received);
        sink.at.segment > sink.durable.segment
    }

    /// Moves the cursor of `sink` to where it stands, and lets go what nobody needs.
    pub(in crate::spool) fn save(&self, sink: usize) -> io::Result<()> {
        let (to, durable) = {
            let sink = &self.state().sinks[sink];
            let to = Position { segment: sink.at.segment, offset: sink.at.offset, received: sink.received };
            (to, sink.durable)
        };
        if to.place() <= durable {
            return Ok(());
        }
        self.move_cursor(sink, to)?;
        if to.segment > durable.segment {
            self.tidy();
        }
        Ok(())
    }

    /// The same, if it has come to another segment.
    pub(in crate::spool) fn save_segment(&self, sink: usize) -> io::Result<()> {
        let behind = {
            let sink = &self.state().sinks[sink];
            sink.at.segment > sink.durable.segment
        };
        if behind { self.save(sink) } else { Ok(()) }
    }
}
