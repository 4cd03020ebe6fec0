//! Following: lines as they become durable, without waiting for their segment to be sealed.
//!
//! A follower reads sealed segments as their footers tell them, and of the open one what is synced: the writer tells the
//! shelf with each group how far that is. Whoever waits is woken then; if nobody does, the commit pays for looking. A line
//! is given only if the checksum of its frame is right. What is damaged in a sealed segment is repaired as for any sink,
//! and in the open one once it is sealed.
//!
//! # Limits
//!
//! A stretch has at most as many bytes of lines as were asked for, unless its only line is longer; whether there are so
//! many, lingering tells by bytes of the file, headers and padding included. Its memory is twice that at the
//! worst, if it has many streams. Beside it a follower holds one window of 32 KiB.
//!
//! # The cursor
//!
//! [`Follower::done`] counts at once for the lag, and for what a restart of the *sink* would read. On disk the cursor moves
//! when a segment is done, on [`Follower::save`], and else at most once in [`CURSOR_INTERVAL`], since each of its syncs is
//! one more for the disk that commits. So after a crash a sink is given again, at the most, what it has done in that time.

mod reading;
mod source;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::{JoinHandle, spawn_blocking},
    time::timeout_at,
};

use self::reading::{Reading, Turn};
pub(super) use self::source::Source;
use super::{
    cursor::Place,
    shelf::{Consumer, Shelf, There},
};
use crate::batch::{Book, Millis, SegmentId, StreamName};

/// How often a cursor within a segment is made durable, unless somebody asks for it.
pub const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// A sink's view of the spool line by line: sealed segments first, then the synced part of the open one.
#[derive(Debug)]
pub struct Follower {
    shelf: Arc<Shelf>,
    /// Which of the shelf's sinks it is.
    sink: usize,
    news: Arc<Notify>,
    /// Everything before was read.
    read_to: Place,
    /// What reads, unless it is on another thread.
    reading: Option<Reading>,
    /// What reads on another thread. It is waited for again if nobody waited until its end.
    turn: Option<JoinHandle<(Reading, io::Result<Turn>)>>,
    /// The open segment, if it is damaged where reading stands.
    damaged: Option<SegmentId>,
    /// Until when more lines are waited for.
    lingers_until: Option<Instant>,
    /// How often the sink was skipped, as it was told.
    skips: u64,
    /// When the cursor was made durable.
    saved: Instant,
}

/// Lines that lie one behind the other in the spool.
#[derive(Debug)]
pub struct Stretch {
    /// The lines, in the order of the spool for each stream and book: one piece for each.
    pub pieces: Vec<Piece>,
    /// Where it ends.
    pub end: Mark,
}

/// The lines of one stream and book in a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The stream of every line.
    pub stream: StreamName,
    /// The book of every line.
    pub book: Book,
    /// The received time of the oldest line.
    pub received: Millis,
    /// Whole lines, each ending in a line feed.
    pub text: Vec<u8>,
}

/// A place in the spool between two lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The segment.
    pub segment: SegmentId,
    /// The offset within it, in bytes.
    pub offset: u64,
    /// The received time of the last line before it.
    pub received: Millis,
}

impl Mark {
    fn place(self) -> Place {
        Place { segment: self.segment, offset: self.offset }
    }
}

/// How far a sink lags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Bytes of the spool that it does not have.
    pub bytes: u64,
    /// The received time of the oldest line that it does not have; `None` if it has all.
    pub since: Option<Millis>,
}

/// What reading on came to.
#[derive(Debug)]
pub enum Followed {
    /// Lines.
    Lines(Stretch),
    /// The spool went on without the sink, which lagged too far: what was read before and is not done yet is not wanted
    /// any more. Reading goes on at the newest.
    Skipped,
    /// There are no lines any more, and there will be none.
    Ended,
}

impl Follower {
    /// Follows the spool from where the cursor of `consumer` stands.
    pub fn new(consumer: Consumer) -> Self {
        let Consumer { shelf, sink, news } = consumer;
        let (read_to, skips) = shelf.follow(sink);
        Self {
            shelf,
            sink,
            news,
            read_to,
            reading: None,
            turn: None,
            damaged: None,
            lingers_until: None,
            skips,
            saved: Instant::now(),
        }
    }

    /// Waits for lines behind those that were read, and then up to `linger` for `most` bytes of them; reads as many, at
    /// least one line. File calls are made on a thread that may block. Can be dropped at any time: the next call goes on.
    ///
    /// # Errors
    /// The operating system's. Nothing was read then, and it can be tried again.
    pub async fn read(&mut self, most: usize, linger: Duration) -> io::Result<Followed> {
        loop {
            if let Some(turn) = &mut self.turn {
                let ended = turn.await;
                self.turn = None;
                let (reading, turn) = ended.map_err(io::Error::other)?;
                if let Some(followed) = self.came_to(reading, turn)? {
                    return Ok(followed);
                }
            }
            let news = Arc::clone(&self.news);
            let mut news = std::pin::pin!(news.notified());
            // Registered before looking, so that nothing is missed in between.
            news.as_mut().enable();
            if self.take_skip() {
                return Ok(Followed::Skipped);
            }
            match self.waits_for(most, linger) {
                Wait::Read => {
                    let mut reading = self.take_reading();
                    self.turn = Some(spawn_blocking(move || {
                        let turn = reading.turn(most);
                        (reading, turn)
                    }));
                }
                Wait::News => news.await,
                Wait::Until(deadline) => {
                    let _ = timeout_at(deadline.into(), news).await;
                }
            }
        }
    }

    /// What [`Self::read`] does, by hand: reads what is there; `None` if there is nothing yet. Blocks.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_now(&mut self, most: usize) -> io::Result<Option<Followed>> {
        if self.take_skip() {
            return Ok(Some(Followed::Skipped));
        }
        let mut reading = self.take_reading();
        let turn = reading.turn(most);
        self.came_to(reading, turn)
    }

    /// What is to be waited for before reading on.
    fn waits_for(&mut self, most: usize, linger: Duration) -> Wait {
        let damaged = self.damaged;
        let most = if damaged.is_some() { u64::MAX } else { most as u64 };
        match self.shelf.there_or_wake(self.sink, self.read_to, most) {
            There::Sealed(_) | There::Ended => Wait::Read,
            There::Nothing => Wait::News,
            There::Open(segment, _) if damaged == Some(segment) => Wait::News,
            There::Open(segment, end) => {
                let begin = if segment == self.read_to.segment { self.read_to.offset } else { 0 };
                let deadline = *self.lingers_until.get_or_insert_with(|| Instant::now() + linger);
                let waits = !linger.is_zero() && end - begin < most && Instant::now() < deadline;
                if waits { Wait::Until(deadline) } else { Wait::Read }
            }
        }
    }

    fn take_reading(&mut self) -> Reading {
        // What is still on another thread is not waited for: it changes nothing but itself.
        self.turn = None;
        self.reading.take().unwrap_or_else(|| Reading::new(&self.shelf, self.sink, self.read_to))
    }

    fn came_to(&mut self, reading: Reading, turn: io::Result<Turn>) -> io::Result<Option<Followed>> {
        // What was read of what was skipped is not wanted.
        if self.take_skip() {
            return Ok(Some(Followed::Skipped));
        }
        self.read_to = reading.at();
        self.reading = Some(reading);
        self.damaged = None;
        self.lingers_until = None;
        match turn? {
            Turn::Lines(stretch) => Ok(Some(Followed::Lines(stretch))),
            Turn::Ended => Ok(Some(Followed::Ended)),
            Turn::Nothing => Ok(None),
            Turn::Damaged(segment) => {
                self.damaged = Some(segment);
                Ok(None)
            }
        }
    }

    /// Whether the sink was skipped since it was told so. Reading then goes on where the spool does.
    fn take_skip(&mut self) -> bool {
        let (at, skips) = self.shelf.stands(self.sink);
        if skips == self.skips {
            return false;
        }
        (self.skips, self.read_to) = (skips, at);
        (self.reading, self.turn, self.damaged, self.lingers_until) = (None, None, None, None);
        true
    }

    /// Resolves when the spool has gone on without the sink; at once if [`Self::read`] has not told of it yet.
    pub async fn skipped(&self) {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            if self.shelf.stands(self.sink).1 != self.skips {
                return;
            }
            news.await;
        }
    }

    /// Everything before `mark` is done. What nobody needs any more is let go; the cursor is made durable at the end of
    /// a segment, and otherwise at most once in [`CURSOR_INTERVAL`], or when [`Self::save`] is called. What was skipped
    /// meanwhile stays so. File calls are made on a thread that may block.
    ///
    /// # Errors
    /// The operating system's. It can be tried again.
    pub async fn done(&mut self, mark: Mark) -> io::Result<()> {
        if self.shelf.done(self.sink, mark.place(), mark.received) || self.saved.elapsed() >= CURSOR_INTERVAL {
            self.save().await?;
        }
        Ok(())
    }

    /// What [`Self::done`] does, by hand, without looking at the time. Blocks.
    ///
    /// # Errors
    /// As [`Self::done`].
    pub fn done_now(&mut self, mark: Mark) -> io::Result<()> {
        if self.shelf.done(self.sink, mark.place(), mark.received) {
            self.save_now()?;
        }
        Ok(())
    }

    /// Makes durable how far the sink has come.
    ///
    /// # Errors
    /// The operating system's. It can be tried again.
    pub async fn save(&mut self) -> io::Result<()> {
        let (spool, sink) = (Arc::clone(&self.shelf), self.sink);
        spawn_blocking(move || spool.save(sink)).await.map_err(io::Error::other)??;
        self.saved = Instant::now();
        Ok(())
    }

    /// What [`Self::save`] does, by hand. Blocks.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn save_now(&mut self) -> io::Result<()> {
        self.shelf.save(self.sink)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// How far the sink lags. May read a footer.
    pub fn lag(&self) -> Lag {
        self.shelf.lag(self.sink)
    }
}

/// What is waited for.
enum Wait {
    /// Nothing: there is what was asked for.
    Read,
    News,
    /// News, but not for longer.
    Until(Instant),
}
