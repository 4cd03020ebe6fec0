//! Where a driver's lines come from: the spool, or a test.

use std::{io, time::Duration};

use crate::{
    sink::BoxFuture,
    spool::{Followed, Follower, Mark},
};

/// What a driver asks of [`Follower`].
///
/// Reading may be dropped at any time, without losing a line or the time that lines have lingered: the next goes on. The
/// driver drops it whenever something else is to be done.
pub(super) trait Source: Send {
    /// See [`Follower::read`].
    fn read(&mut self, most: usize, linger: Duration) -> BoxFuture<'_, io::Result<Followed>>;
    /// See [`Follower::skipped`].
    fn skipped(&self) -> BoxFuture<'_, ()>;
    /// See [`Follower::done`].
    fn done(&mut self, mark: Mark) -> BoxFuture<'_, io::Result<()>>;
    /// See [`Follower::save`].
    fn save(&mut self) -> BoxFuture<'_, io::Result<()>>;
}

impl Source for Follower {
    fn read(&mut self, most: usize, linger: Duration) -> BoxFuture<'_, io::Result<Followed>> {
        Box::pin(Self::read(self, most, linger))
    }

    fn skipped(&self) -> BoxFuture<'_, ()> {
        Box::pin(Self::skipped(self))
    }

    fn done(&mut self, mark: Mark) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(Self::done(self, mark))
    }

    fn save(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(Self::save(self))
    }
}
