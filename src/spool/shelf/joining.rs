//! Sinks join: where each of them begins.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use super::{Consumer, Place, Position, Shelf, sinks::SinkState};
use crate::{
    metrics,
    spool::{
        cursor::Cursor,
        terms::{Start, Terms},
        writer::is_full,
    },
};

/// How far a cursor may stand before the newest segment there is, in segments.
const MAX_BROUGHT_BACK: u64 = 64;

impl Shelf {
    /// The sink called `name` begins to take segments where its cursor stands; if it has none, where `terms` say.
    pub fn consumer(self: &Arc<Self>, name: &str, terms: Terms) -> Consumer {
        let stood = self.bring_back(name).is_err();
        let (place, news) = self.add_sink(name, terms, stood);
        Consumer::new(self, place, news)
    }

    /// Keeps what the sink called `name` still needs, which nobody drives now.
    pub fn keep_for(&self, name: &str) {
        self.add_sink(name, Terms::KEPT, true);
    }

    /// `stood` if it is known to have stood somewhere, whatever its cursor tells.
    fn add_sink(&self, name: &str, terms: Terms, stood: bool) -> (usize, Arc<Notify>) {
        let mut cursor = Cursor::open(&self.recovery.disk, name);
        let found = cursor.found();
        let mut at = self.begin_at(name, found.position);
        let (mut durable, mut begins) = (at, None);
        // One that cannot be read or is damaged is no new sink's: it begins at the oldest.
        if terms.start == Start::Now && found.is_new() && !stood {
            at = self.behind_everything();
            let now = Position { segment: at.segment, offset: at.offset, received: self.unknown_since };
            match self.begin_now(&mut cursor, now) {
                Ok(()) => durable = at,
                // Nothing is let go until it is, nor is anything acknowledged if the sink is required: the next process
                // would begin behind it.
                Err(error) => {
                    tracing::warn!(sink = name, %error, "where a new sink begins is not durable; it is tried again");
                    begins = Some(now);
                }
            }
        }
        let news = Arc::new(Notify::new());
        let mut state = self.state();
        state.sinks.push(SinkState {
            name: name.to_owned(),
            need: terms.need,
            cursor: Arc::new(Mutex::new(cursor)),
            news: Arc::clone(&news),
            follows: false,
            at,
            received: found.position.map_or(self.unknown_since, |position| position.received),
            durable,
            begins,
            hops: VecDeque::new(),
            wakes_at: None,
            skips: 0,
            skipped_to: Place::default(),
            unsaid: (0, 0),
            said: None,
        });
        (state.sinks.len() - 1, news)
    }

    /// Makes durable that a new sink begins at `now`; on a full disk with the room of the spare files.
    fn begin_now(&self, cursor: &mut Cursor, now: Position) -> io::Result<()> {
        let begun = cursor.advance(now);
        if begun.as_ref().is_err_and(is_full) && !self.recovery.disk.is_memory() {
            self.spares.set_scarce(true);
            let again = cursor.advance(now);
            self.spares.set_scarce(false);
            return again;
        }
        begun
    }

    /// Before a group is acknowledged: makes durable where new required sinks begin, if that has not been possible.
    pub(in crate::spool) fn begin_new(&self) -> io::Result<()> {
        let not_begun: Vec<(usize, Position)> = {
            let state = self.state();
            let begins = |(n, sink): (usize, &SinkState)| sink.begins.filter(|_| sink.is_required()).map(|at| (n, at));
            state.sinks.iter().enumerate().filter_map(begins).collect()
        };
        not_begun.into_iter().try_for_each(|(sink, begins)| self.move_cursor(sink, begins))
    }

    /// Behind everything that there is.
    fn behind_everything(&self) -> Place {
        let state = self.state();
        let open = state.open.as_ref().map(|open| Place { segment: open.segment, offset: open.end });
        Place::at(state.next).max(open.unwrap_or_default())
    }

    /// Where the sink called `name` begins whose cursor stands at `position`.
    ///
    /// A cursor that points nowhere begins at the oldest segment: what is there was not passed, and if it was, it is found
    /// stored. It points nowhere if it stands before segments that are still to come, whose numbers begin anew then; or
    /// far before every segment there is: what a sink has passed is removed, and a crash brings only a few of the last
    /// removed back.
    fn begin_at(&self, name: &str, position: Option<Position>) -> Place {
        let Some(position) = position else { return Place::default() };
        let segment = position.segment;
        let far = self.newest.is_some_and(|newest| segment.0 > newest.0.saturating_add(MAX_BROUGHT_BACK));
        if segment <= self.state().next && !far {
            return position.place();
        }
        self.recovery.metrics.counter(&metrics::QUARANTINED, &["cursor"]).increment(1);
        tracing::error!(sink = name, cursor = %segment, "a cursor points nowhere; beginning at the oldest segment");
        Place::default()
    }
}
