//! Keeping up: how far each sink lags, and going on without a best-effort sink that lags too far.

use std::{io, sync::PoisonError};

use super::{Lag, Place, Position, Shelf};
use crate::{
    batch::{Millis, SegmentId},
    metrics,
    spool::{follow::Source, terms::Need},
};

/// How long the log says nothing more of what a sink skips, in milliseconds.
const SAID_EVERY: i64 = 60_000;

/// How often a segment is attempted to be counted.
const ATTEMPTS: usize = 3;

/// What a sink will never have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::spool) struct Skipped {
    pub(in crate::spool) events: u64,
    pub(in crate::spool) bytes: u64,
}

impl Shelf {
    /// Publishes how far each sink lags at `now`, and goes on without every best-effort sink that lags further than its
    /// terms allow: object sinks then begin behind the last sealed segment, followers behind what is durable. What they do
    /// not get is counted. To be called about once a second; it does not depend on the sinks' drivers. Does nothing before
    /// [`Self::all_joined`]. Blocks.
    ///
    /// The events of every stream are counted, also if the sink takes some only. Of what cannot be read any more nothing is
    /// counted here: it is in the quarantine.
    pub fn keep_up(&self, now: Millis) {
        let sinks = {
            let state = self.state();
            if state.all_joined { state.sinks.len() } else { 0 }
        };
        for sink in 0..sinks {
            if self.lag(sink).exceeds(self.state().sinks[sink].need, now) {
                self.skip(sink, now);
            }
            self.say_skipped(sink, now);
            if let Err(error) = self.save_segment(sink) {
                let name = self.state().sinks[sink].name.clone();
                tracing::warn!(sink = name, %error, "how far a sink has come could not be made durable");
            }
            self.publish_lag(sink, now);
        }
        self.tidy();
    }

    /// How far `sink` lags.
    pub(in crate::spool) fn lag(&self, sink: usize) -> Lag {
        let (bytes, lacks) = {
            let state = self.state();
            let sink = &state.sinks[sink];
            (state.lag_bytes(sink), state.lacks(sink, sink.follows))
        };
        Lag { bytes, since: self.since(lacks) }
    }

    fn publish_lag(&self, sink: usize, now: Millis) {
        let (lag, name) = (self.lag(sink), self.state().sinks[sink].name.clone());
        let metrics = &self.recovery.metrics;
        metrics.gauge(&metrics::SINK_LAG_BYTES, &[&name]).set(lag.bytes as f64);
        let age = lag.since.map_or(0, |since| now.get().saturating_sub(since.get()).max(0));
        metrics.gauge(&metrics::SINK_LAG_SECONDS, &[&name]).set(age as f64 / 1_000.0);
        let need = self.state().sinks[sink].need;
        if let Need::BestEffort(most) = need {
            metrics.gauge(&metrics::SINK_LAG_LIMIT_BYTES, &[&name]).set(most.bytes as f64);
            metrics.gauge(&metrics::SINK_LAG_LIMIT_SECONDS, &[&name]).set(most.age.as_secs_f64());
        }
    }

    /// Goes on without `sink`, which lags too far at `now`.
    fn skip(&self, sink: usize, now: Millis) {
        let cursor = std::sync::Arc::clone(&self.state().sinks[sink].cursor);
        // Held until it is counted: as long as the cursor does not move, nothing of it is let go.
        let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.lag(sink).exceeds(self.state().sinks[sink].need, now) {
            return;
        }
        let (from, to) = {
            let mut state = self.state();
            let to = state.newest(&state.sinks[sink]);
            let sink = &mut state.sinks[sink];
            let from = sink.at;
            if to <= from {
                return;
            }
            (sink.at, sink.skipped_to) = (to, to);
            sink.skips += 1;
            sink.hops.clear();
            sink.wakes_at = None;
            sink.news.notify_waiters();
            (from, to)
        };
        let (skipped, received) = self.count(from, to);
        let (name, received) = {
            let mut state = self.state();
            let sink = &mut state.sinks[sink];
            sink.received = sink.received.max(received.unwrap_or(Millis::MIN));
            sink.unsaid = (sink.unsaid.0 + skipped.events, sink.unsaid.1 + skipped.bytes);
            (sink.name.clone(), sink.received)
        };
        let metrics = &self.recovery.metrics;
        metrics.counter(&metrics::SINK_SKIPPED_EVENTS, &[&name]).increment(skipped.events);
        metrics.counter(&metrics::SINK_SKIPPED_BYTES, &[&name]).increment(skipped.bytes);
        match cursor.advance(Position { segment: to.segment, offset: to.offset, received }) {
            Ok(()) => {
                let sink = &mut self.state().sinks[sink];
                (sink.durable, sink.begins) = (to, None);
            }
            // Until it is, nothing is let go; it is tried again with the next call.
            Err(error) => tracing::warn!(sink = name, %error, "what a sink skipped could not be made durable"),
        }
    }

    /// Says what `sink` has skipped since it was last said: at most once a minute as long as the shelf is not closed.
    pub(super) fn say_skipped(&self, sink: usize, now: Millis) {
        let (name, (events, bytes), at) = {
            let mut state = self.state();
            let closed = state.closed;
            let sink = &mut state.sinks[sink];
            let lately = !closed && sink.said.is_some_and(|said| now.get().saturating_sub(said.get()) < SAID_EVERY);
            if sink.unsaid == (0, 0) || lately {
                return;
            }
            sink.said = Some(now);
            (sink.name.clone(), std::mem::take(&mut sink.unsaid), sink.skipped_to)
        };
        tracing::warn!(
            sink = name,
            events,
            bytes,
            segment = %at.segment,
            offset = at.offset,
            "a best-effort sink lagged too far and goes on at the newest; what lies between it will never have"
        );
    }

    /// What lies between two places, and when the last of it was received.
    fn count(&self, from: Place, to: Place) -> (Skipped, Option<Millis>) {
        let mut segments: Vec<SegmentId> =
            self.state().sealed.range(from.segment..to.segment).map(|(segment, _)| *segment).collect();
        if to.offset > 0 {
            segments.push(to.segment);
        }
        let (mut all, mut last) = (Skipped::default(), None);
        for segment in segments {
            let offset = if segment == from.segment { from.offset } else { 0 };
            let end = (segment == to.segment).then_some(to.offset);
            // Nobody counts it later: a disk that fails for a moment must not cost the count.
            let counted = (0..ATTEMPTS).find_map(|attempt| match self.count_segment(segment, offset, end) {
                Err(_) if attempt + 1 < ATTEMPTS => None,
                counted => Some(counted),
            });
            match counted.unwrap_or_else(|| Ok(Default::default())) {
                Ok((skipped, received)) => {
                    all = Skipped { events: all.events + skipped.events, bytes: all.bytes + skipped.bytes };
                    last = last.max(received);
                }
                // Whoever keeps it for that would let a sink fill the disk that nobody needs.
                Err(error) => tracing::error!(%segment, %error, "what a sink skipped could not be counted"),
            }
        }
        (all, last)
    }

    /// What lies between `offset` and `end` of a segment; without an end, up to where it was sealed.
    fn count_segment(
        &self,
        segment: SegmentId,
        offset: u64,
        end: Option<u64>,
    ) -> io::Result<(Skipped, Option<Millis>)> {
        let mut repair = false;
        loop {
            let sealed = self.open(segment, &[], repair)?;
            let mut source = match (sealed, end) {
                (Some(sealed), None) if offset == 0 => {
                    let contents = &sealed.footer.contents;
                    let events = contents.iter().map(|content| content.events).sum();
                    let bytes = contents.iter().map(|content| content.bytes).sum();
                    return Ok((Skipped { events, bytes }, sealed.footer.last_received()));
                }
                (Some(sealed), end) => {
                    let end = end.unwrap_or(sealed.footer.data_end).min(sealed.footer.data_end);
                    Source::sealed(sealed, end)
                }
                (None, Some(end)) => {
                    let Some((file, being_read)) = self.open_unsealed(segment)? else { return Ok(Default::default()) };
                    Source::open(segment, file, being_read, end)
                }
                (None, None) => return Ok(Default::default()),
            };
            match source.seek(offset).and_then(|()| source.count()) {
                Ok(counted) => return Ok(counted),
                Err(_) if source.is_sealed() && !repair => repair = true,
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
}
