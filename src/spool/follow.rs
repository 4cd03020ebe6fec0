//! Following: lines as they become durable, without waiting for their segment to be sealed.

use std::{io, time::Duration};

use super::shelf::Consumer;
use crate::batch::{Book, Millis, SegmentId, StreamName};

/// A sink's view of the spool line by line: sealed segments first, then the synced part of the open one.
#[derive(Debug)]
pub struct Follower {
    consumer: Consumer,
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
        Self { consumer }
    }

    /// Waits for lines behind those that were read, and then up to `linger` for `most` bytes of them; reads as many, at
    /// least one line. File calls are made on a thread that may block.
    ///
    /// # Errors
    /// The operating system's. Nothing was read then, and it can be tried again.
    pub async fn read(&mut self, most: usize, linger: Duration) -> io::Result<Followed> {
        let _ = (most, linger, &self.consumer);
        std::future::ready(()).await;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Resolves when the spool has gone on without the sink; at once if [`Self::read`] has not told of it yet.
    pub async fn skipped(&self) {
        std::future::pending::<()>().await;
    }

    /// Everything before `mark` is done. What nobody needs any more is let go; the cursor is made durable at the end of
    /// a segment, and otherwise once in a while, or when [`Self::save`] is called. File calls are made on a thread that may
    /// block.
    ///
    /// # Errors
    /// The operating system's. It can be tried again.
    pub async fn done(&mut self, mark: Mark) -> io::Result<()> {
        let _ = mark;
        std::future::ready(()).await;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes durable how far the sink has come.
    ///
    /// # Errors
    /// The operating system's. It can be tried again.
    pub async fn save(&mut self) -> io::Result<()> {
        std::future::ready(()).await;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How far the sink lags.
    pub fn lag(&self) -> Lag {
        Lag::default()
    }
}
