//! A line sink's driver: stretch by stretch, until everything is delivered.
//!
//! It reads stretches of the spool, makes a parcel of each stream and book in them, splits what is more than a call takes,
//! and delivers parcels of several stretches at the same time. What an outcome leaves is sent again alone, after a back-off
//! with full jitter, for as long as it takes.
//!
//! # Invariants
//!
//! - **The cursor moves in order, over stretches of which every line was delivered or durably set aside.** It waits for
//!   the oldest that is not; those behind it are delivered meanwhile, but no more of them than [`LineSettings::concurrency`].
//! - **A line is sent again only if it was not taken, or perhaps not**; so duplicates are those of unknown outcomes, and
//!   those of a process that ended before its cursor moved: `concurrency` stretches at the most, and what was delivered
//!   since the cursor was last made durable.
//! - **Dropping the driver loses nothing**: what was on its way is read again.
//! - **What the spool has skipped is not sent any more**, but for what was on its way: its calls are broken off. What
//!   follows waits as long as that would have: skipping makes no call.
//! - **A sink that panics or hangs costs one attempt**, whose outcome is unknown.
//!
//! # Limits
//!
//! [`LineSettings::concurrency`] stretches in memory and as many calls on their way, fewer while the service throttles (see
//! [`super::pace`]); [`LineSettings::memory_bytes`] for both. An attempt has [`LineSettings::attempt_timeout`]. A service
//! that asks to be left alone is left alone for [`MAX_AFTER`] at the most. One object of undelivered lines is stored at a
//! time.
//!
//! A stream whose lines fail while others' do not holds the others back too, once `concurrency` stretches are on their way:
//! there is one cursor. Sinks of their own keep streams apart.

use std::{io, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{Aside, LineSink, counts::Counts, source::Source, undelivered::Undelivered, work::Work};
use crate::{
    batch::InstanceId,
    metrics::Metrics,
    sink::{Backoff, Filter},
    spool::{Followed, Follower},
};

/// After how long without news the cursor is made durable where it stands. While there are news the follower does that by
/// itself, once in a while.
const SAVE_AFTER: Duration = Duration::from_secs(2);

/// How a line sink works.
#[derive(Debug, Clone)]
pub struct LineSettings {
    /// The sink's name.
    pub sink: String,
    /// The instance, for the names of undelivered objects.
    pub instance: InstanceId,
    /// Stretches in memory, and calls on their way, at the most; at least one.
    pub concurrency: usize,
    /// How much is read at a time, in bytes; a longer line is read alone. What a call of the sink takes is a good measure.
    pub stretch_bytes: usize,
    /// How long lines wait for others to be read with.
    pub linger: Duration,
    /// The longest that one attempt may take.
    pub attempt_timeout: Duration,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// Which lines the sink wants.
    pub filter: Filter,
}

impl LineSettings {
    /// How often a stretch may be in memory: as it was read, a part of it that is sent again, and what a call makes of it:
    /// base64 takes four thirds, and a buffer that grows by doubling is there twice for a moment.
    const COPIES: usize = 5;
    /// What a stretch takes beside its text, in bytes: where its lines end, a call's state, the reader's window.
    const STRETCH_OVERHEAD_BYTES: usize = 1024 * 1024;

    /// What a sink with `concurrency` stretches of `stretch_bytes` takes at the most, in bytes: [`Self::unit_bytes`] for
    /// each, and one more for the stretch that is being read, whose buffers grow by doubling, and the object of undelivered
    /// lines that is being stored.
    pub const fn memory_bytes(concurrency: usize, stretch_bytes: usize) -> usize {
        (concurrency + 1) * Self::unit_bytes(stretch_bytes)
    }

    /// What one more stretch of `stretch_bytes` takes, in bytes: whole MiB.
    pub const fn unit_bytes(stretch_bytes: usize) -> usize {
        (Self::COPIES * stretch_bytes + Self::STRETCH_OVERHEAD_BYTES).next_multiple_of(1024 * 1024)
    }
}

/// Takes lines from a follower and delivers them.
pub struct LineDriver {
    follower: Follower,
    work: Work,
}

impl LineDriver {
    /// The driver of `sink`, which gets the lines that `follower` reads. What it never takes goes `aside`; without such a
    /// place it is held, and holds what is behind it.
    pub fn new(
        settings: LineSettings,
        sink: Arc<dyn LineSink>,
        follower: Follower,
        aside: Option<Aside>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self { follower, work: work(settings, sink, aside, metrics) }
    }

    /// Delivers lines until none will come any more, and all are done. Dropping it between two polls loses nothing: what
    /// was not done is read again.
    pub async fn run(mut self) {
        run(&mut self.follower, &mut self.work).await;
    }
}

/// What the sink of `settings` begins with.
fn work(settings: LineSettings, sink: Arc<dyn LineSink>, aside: Option<Aside>, metrics: &Arc<Metrics>) -> Work {
    let undelivered = aside.map(|aside| Undelivered::new(aside, &settings.sink, settings.instance, metrics));
    let counts = Counts::new(metrics, &settings.sink);
    Work::new(settings, sink, undelivered, counts)
}

/// What the driver has waited for.
enum Event {
    Read(io::Result<Followed>),
    Skipped,
    /// The follower is to be asked something else, or told something.
    Turn,
}

async fn run(source: &mut impl Source, work: &mut Work) {
    let mut trouble = Trouble::new(work);
    // Whether there will be no more lines; and whether the spool has gone on, of which reading is still to tell.
    let (mut ended, mut skipped) = (false, false);
    let mut save_at: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let may_ask = trouble.is_over(now);
        if may_ask && let Some(mark) = work.done() {
            if trouble.meet(source.done(mark).await).is_some() {
                work.told(mark);
                save_at = Some(now + SAVE_AFTER);
            }
            continue;
        }
        if ended && work.is_empty() && work.done().is_none() {
            return save(source, trouble).await;
        }
        if may_ask && save_at.is_some_and(|at| at <= now) {
            if trouble.meet(source.save().await).is_some() {
                save_at = None;
            }
            continue;
        }
        let reads = may_ask && !ended && work.has_room();
        let until = trouble.until;
        // When the follower is to be asked something else, or told something.
        let turn = |work: &Work, now: Instant| {
            let has_room = !reads && !ended && work.has_room();
            let is_turn = has_room || work.done().is_some() || (ended && work.is_empty());
            let at = is_turn.then_some(now).into_iter().chain(save_at).min();
            at.map(|at| until.map_or(at, |until| at.max(until)))
        };
        // A read that is dropped goes on where it was.
        let event = if reads {
            tokio::select! {
                read = source.read(work.settings.stretch_bytes, work.settings.linger) => Event::Read(read),
                () = work.go_on(turn) => Event::Turn,
            }
        } else {
            tokio::select! {
                () = source.skipped(), if !skipped => Event::Skipped,
                () = work.go_on(turn) => Event::Turn,
            }
        };
        match event {
            Event::Turn => {}
            Event::Read(read) => match trouble.meet(read) {
                None => {}
                Some(Followed::Lines(stretch)) => work.take_up(stretch),
                Some(Followed::Ended) => ended = true,
                Some(Followed::Skipped) => {
                    work.abandon();
                    skipped = false;
                }
            },
            Event::Skipped => {
                work.abandon();
                // Reading tells of it too, and goes on behind it.
                (skipped, ended) = (true, false);
            }
        }
    }
}

/// Makes durable how far the sink has come, for as long as it takes.
async fn save(source: &mut impl Source, mut trouble: Trouble) {
    while trouble.meet(source.save().await).is_none() {
        sleep_until(trouble.until.unwrap_or_else(Instant::now)).await;
    }
}

/// The spool's disk fails.
struct Trouble {
    sink: String,
    backoff: Backoff,
    until: Option<Instant>,
}

impl Trouble {
    fn new(work: &Work) -> Self {
        Self { sink: work.settings.sink.clone(), backoff: work.settings.backoff, until: None }
    }

    /// What the disk has answered; `None` if it failed.
    fn meet<T>(&mut self, answer: io::Result<T>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.backoff.reset();
                self.until = None;
                Some(answer)
            }
            Err(error) => {
                let wait = self.backoff.next_wait(fastrand::f64());
                tracing::error!(sink = self.sink, %error, ?wait, "the spool's disk failed; trying again");
                self.until = Some(Instant::now() + wait);
                None
            }
        }
    }

    /// Whether the disk may be asked again.
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }
}

#[cfg(test)]
mod tests;
