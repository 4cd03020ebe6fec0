//! Where each sink stands, and what it lacks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use super::{Shelf, State};
use crate::{
    batch::{Millis, SegmentId},
    spool::{
        cursor::{Cursor, Place, Position},
        follow::Lag,
        terms::{MaxLag, Need},
    },
};

/// Where a sink stands.
#[derive(Debug)]
pub(super) struct SinkState {
    pub(super) name: String,
    pub(super) need: Need,
    pub(super) cursor: Arc<Mutex<Cursor>>,
    /// There may be something to take, or the shelf has gone on without the sink.
    pub(super) news: Arc<Notify>,
    /// Whether it takes lines as they become durable, and not whole segments.
    pub(super) follows: bool,
    /// Everything before is done.
    pub(super) at: Place,
    /// The received time of the last event that is done.
    pub(super) received: Millis,
    /// What the cursor says durably: nothing behind it is let go.
    pub(super) durable: Place,
    /// Where it begins as a new sink, as long as that is not durable.
    pub(super) begins: Option<Position>,
    /// Places behind which a follower has found no line, up to another: who has done everything before the one has done
    /// everything before the other. In their order; at most one for each stretch that is not done.
    pub(super) hops: VecDeque<(Place, Place)>,
    /// A follower wants to know when this much of the open segment is durable.
    pub(super) wakes_at: Option<Place>,
    /// How often the shelf went on without it, and where to the last time.
    pub(super) skips: u64,
    pub(super) skipped_to: Place,
    /// Events and bytes that were skipped since the log said so, and when that was.
    pub(super) unsaid: (u64, u64),
    pub(super) said: Option<Millis>,
}

/// Since when a sink has been lacking something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacks {
    Nothing,
    Since(Millis),
    /// Since the first event of this segment, whose footer tells.
    First(SegmentId),
}

impl Shelf {
    /// From now on the best-effort sink called `name` may lag so far. A required one stays required.
    pub fn allow_lag(&self, name: &str, most: MaxLag) {
        let mut state = self.state();
        let best_effort = state.sinks.iter_mut().filter(|sink| sink.name == name && !sink.is_required());
        best_effort.for_each(|sink| sink.need = Need::BestEffort(most));
    }
}

impl SinkState {
    pub(super) fn is_required(&self) -> bool {
        self.need == Need::Required
    }

    /// Everything before `to` is done, and what follows it without a line.
    pub(super) fn done(&mut self, mut to: Place, received: Millis) {
        while let Some((_, behind)) = self.hops.pop_front_if(|(from, _)| *from <= to) {
            to = to.max(behind);
        }
        if to > self.at {
            self.at = to;
            self.received = self.received.max(received);
        }
    }
}

impl State {
    /// How many bytes `sink` lacks: of sealed segments, and if it follows, of what is durable of the open one.
    pub(super) fn lag_bytes(&self, sink: &SinkState) -> u64 {
        let sealed = self.sealed.range(sink.at.segment..).map(|(segment, sealed)| {
            let here = *segment == sink.at.segment && sink.follows;
            let done = if here { sink.at.offset } else { 0 };
            let all = sealed.data_end.is_some_and(|end| done >= end);
            if all { 0 } else { sealed.bytes.saturating_sub(done) }
        });
        let open = self.open.as_ref().filter(|open| sink.follows && open.segment >= sink.at.segment);
        let open = open.map_or(0, |open| {
            open.end.saturating_sub(if open.segment == sink.at.segment { sink.at.offset } else { 0 })
        });
        sealed.sum::<u64>() + open
    }

    /// Since when `sink` lacks something of sealed segments, or of the `open` ones too.
    pub(super) fn lacks(&self, sink: &SinkState, open: bool) -> Lacks {
        let offset = if sink.follows { sink.at.offset } else { 0 };
        for (segment, sealed) in self.sealed.range(sink.at.segment..) {
            let offset = if *segment == sink.at.segment { offset } else { 0 };
            if sealed.data_end.is_some_and(|end| offset >= end) {
                continue;
            }
            let since = sealed.ages.since(offset).or(sealed.since);
            return since.map_or(Lacks::First(*segment), Lacks::Since);
        }
        let Some(since) = self.open_since.filter(|_| open && self.unsealed > 0) else { return Lacks::Nothing };
        // Of what no follower can see yet, nothing is done.
        let Some(readable) = self.open.as_ref().filter(|_| sink.follows && self.unsealed == 1) else {
            return Lacks::Since(since);
        };
        if sink.at.segment > readable.segment || sink.at.segment == readable.segment && offset >= readable.end {
            return Lacks::Nothing;
        }
        let offset = if sink.at.segment == readable.segment { offset } else { 0 };
        Lacks::Since(readable.ages.since(offset).unwrap_or(since))
    }

    /// Where the newest is for `sink`: behind what is durable if it follows, else behind the last sealed segment.
    pub(super) fn newest(&self, sink: &SinkState) -> Place {
        let sealed = self.sealed.last_key_value().map_or(sink.at, |(segment, _)| Place::at(segment.next()));
        let open = self.open.as_ref().filter(|_| sink.follows);
        let open = open.map_or(sink.at, |open| Place { segment: open.segment, offset: open.end });
        sealed.max(open).max(sink.at)
    }
}

impl Lag {
    /// Whether it is further than `need` allows.
    pub(super) fn exceeds(&self, need: Need, now: Millis) -> bool {
        let Need::BestEffort(most) = need else { return false };
        let age = self.since.map_or(0, |since| now.get().saturating_sub(since.get()).max(0));
        self.bytes > most.bytes || u128::from(age.unsigned_abs()) > most.age.as_millis()
    }
}
