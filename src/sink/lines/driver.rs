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
//! - **What the spool has skipped is not sent any more**, but for what was on its way: its calls are broken off.
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

use tokio::time::{Instant, sleep};

use super::{Aside, LineSink, counts::Counts, source::Source, undelivered::Undelivered, work::Work};
use crate::{
    batch::InstanceId,
    metrics::Metrics,
    sink::{Backoff, Filter},
    spool::{Followed, Follower},
};

/// How long the follower is not told that lines are done while it reads, beyond twice the linger: to tell it, reading is
/// begun anew, and lines that linger linger anew.
const DONE_AFTER: Duration = Duration::from_millis(500);

/// How a line sink works.
#[derive(Debug, Clone)]
pub struct LineSettings {
    /// The sink's name.
    pub sink: String,
    /// The instance, for the names of undelivered objects.
    pub instance: InstanceId,
    /// Stretches in memory, and calls on their way, at the most; at least one.
    pub concurrency: usize,
    /// How much is read at a time, in bytes; a longer line is read alone.
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
    /// How much is read at a time unless there is a reason, in bytes: what Firehose takes in one call.
    pub const STRETCH_BYTES: usize = 4 * 1024 * 1024;
    /// How often a stretch may be in memory: as it was read, a part of it that is sent again, and what a call makes of it
    /// (base64 takes four thirds).
    const COPIES: usize = 4;
    /// What a stretch takes beside its text, in bytes: its parcels, a call's buffers, the reader's window.
    const STRETCH_OVERHEAD_BYTES: usize = 1024 * 1024;

    /// What a sink with `concurrency` stretches of `stretch_bytes` takes at the most, in bytes: [`Self::unit_bytes`] for
    /// each, and one more, since lines that are set aside are longer than they were.
    pub const fn memory_bytes(concurrency: usize, stretch_bytes: usize) -> usize {
        (concurrency + 1) * Self::unit_bytes(stretch_bytes)
    }

    /// What one more stretch of `stretch_bytes` takes, in bytes.
    pub const fn unit_bytes(stretch_bytes: usize) -> usize {
        Self::COPIES * stretch_bytes + Self::STRETCH_OVERHEAD_BYTES
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
    loop {
        let may_ask = trouble.is_over(Instant::now());
        if may_ask && let Some((mark, _)) = work.done() {
            match source.done(mark).await {
                Ok(()) => {
                    work.told(mark);
                    trouble.end();
                }
                Err(error) => drop(trouble.begin(&error)),
            }
            continue;
        }
        if ended && work.is_empty() && work.done().is_none() {
            return save(source, work).await;
        }
        let event = if may_ask && !ended && work.has_room() {
            read(source, work).await
        } else {
            let until = trouble.until;
            let turn = |work: &Work, now| {
                let is_turn = work.done().is_some() || if ended { work.is_empty() } else { work.has_room() };
                is_turn.then(|| until.unwrap_or(now))
            };
            tokio::select! {
                () = source.skipped(), if !skipped => Event::Skipped,
                () = work.go_on(turn) => Event::Turn,
            }
        };
        match event {
            Event::Turn => {}
            Event::Read(Ok(Followed::Lines(stretch))) => {
                trouble.end();
                work.take_up(stretch);
            }
            Event::Read(Ok(Followed::Ended)) => ended = true,
            Event::Read(Ok(Followed::Skipped)) => {
                work.abandon();
                skipped = false;
            }
            Event::Skipped => {
                work.abandon();
                // Reading tells of it too, and goes on behind it.
                (skipped, ended) = (true, false);
            }
            Event::Read(Err(error)) => drop(trouble.begin(&error)),
        }
    }
}

/// Reads on, while calls go on.
async fn read(source: &mut impl Source, work: &mut Work) -> Event {
    let (most, linger) = (work.settings.stretch_bytes, work.settings.linger);
    // Reading is not begun anew each time that a call ends: lines that linger would linger for ever.
    let patience = 2 * linger + DONE_AFTER;
    let turn = |work: &Work, _| work.done().map(|(_, since)| since + patience);
    tokio::select! {
        read = source.read(most, linger) => Event::Read(read),
        () = work.go_on(turn) => Event::Turn,
    }
}

/// Makes durable how far the sink has come, for as long as it takes.
async fn save(source: &mut impl Source, work: &Work) {
    let mut trouble = Trouble::new(work);
    while let Err(error) = source.save().await {
        sleep(trouble.begin(&error)).await;
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

    /// How long to wait.
    fn begin(&mut self, error: &io::Error) -> Duration {
        let wait = self.backoff.next_wait(fastrand::f64());
        tracing::error!(sink = self.sink, %error, ?wait, "the spool's disk failed; trying again");
        self.until = Some(Instant::now() + wait);
        wait
    }

    fn end(&mut self) {
        self.backoff.reset();
        self.until = None;
    }

    /// Whether the disk may be asked again.
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }
}

#[cfg(test)]
mod tests;
