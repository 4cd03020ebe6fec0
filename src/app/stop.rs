//! How a server ends: what stops in which order.
//!
//! Stop: readiness turns off while requests are still served, for the linger; the acceptor hands over what is
//! connected and closes its socket; the workers finish what they have; the spool's writer settles, seals and ends; the
//! sinks store what they can until the time is over. What they could not stays in the spool. The admin port is closed
//! last: how the uploads come on is what people look at then.
//!
//! Giving way is a stop that waits for nobody: somebody else has the sockets. What waits in their queues is left there, the
//! workers finish what they have, the writer settles and seals, and the process ends in the middle of its uploads. That is
//! as good as a kill, which loses nothing: what was on its way is done again by the next process, an object under the same
//! key, where it finds it stored; a line that was not known to be delivered is sent once more. **The spool's lock goes with
//! the process, and not before**, whatever of the spool is dropped here: only then no thread is left that could still move a
//! cursor or write a file.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::time::{self, Instant as TokioInstant};

use super::Server;
use crate::{
    http::{Ending, WorkerHandle},
    notify,
};

/// Into how many parts the time for the drain falls of which requests may take the first. One slow client must not take
/// the time in which the sinks store what everybody else has sent.
const REQUESTS_SHARE: u32 = 2;
/// How long before connections are cut those that wait for the sinks are told what is promised by then.
const LAST_ANSWERS: Duration = Duration::from_millis(200);
/// What a process that gives way waits for behind its spool, while nobody serves: for the calls of line sinks that are on
/// their way, and for its last heartbeats.
const LAST_CALLS: Duration = Duration::from_millis(250);

/// What was done when a server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Segments that some sink still needs; they stay in the spool, if that is on disk.
    pub segments_left: usize,
    /// Their length in bytes.
    pub bytes_left: u64,
}

impl Server {
    /// Stops: serves on for `linger` while readiness is off, then finishes within `timeout`. Blocks.
    ///
    /// In the last `handover` of the linger, half of it at the most, every answer closes its connection: a load balancer
    /// that asks for no health then has none left to send the next request on, when the socket is closed.
    pub fn stop(self, linger: Duration, handover: Duration, timeout: Duration) -> Stopped {
        self.runtime.spawn(notify::extend_for(linger + timeout));
        self.service.health.leave();
        if !linger.is_zero() {
            tracing::info!(?linger, "not ready any more; still serving");
            let closing = handover.min(linger / 2);
            thread::sleep(linger.saturating_sub(closing));
            self.service.health.give_way(true);
            thread::sleep(closing);
        }
        self.service.health.drain();
        self.spool.hurry();
        self.drain(false, timeout)
    }

    /// Gives way: requests that are under way may take `handover`, nothing that can be taken up again is waited for, and
    /// the process is to end at once. What would not outlive it is waited for as by [`Self::stop`]. Who waits in the
    /// listening socket's queue is left there if that `stays`, since somebody else has the socket, too. Blocks.
    pub fn give_way(self, handover: Duration, timeout: Duration, stays: bool) -> Stopped {
        self.service.health.give_way(true);
        self.service.health.end();
        if self.spool_dir.is_none() {
            self.runtime.spawn(notify::extend_for(timeout));
            self.spool.hurry();
            return self.drain(stays, timeout);
        }
        drop(self.sockets);
        let now = TokioInstant::now();
        let ending = Ending { cut: now + handover, last_answers: Some(now), queue_stays: stays };
        let _ = self.stop_accepting.send(Some(ending));
        let workers = self.acceptor.join();
        let _ = self.stop_working.send(Some(ending));
        tracing::info!("nobody is accepted any more: who connects from now on is the next process's");
        workers.into_iter().for_each(WorkerHandle::join);
        let segments = self.spool.shelf();
        self.spool.stay_locked();
        self.spool.close();
        let (mut sinks, hearts) = (self.sinks, self.hearts);
        self.runtime.block_on(async {
            let lines = time::timeout(LAST_CALLS, sinks.lines_finished());
            let _ = tokio::join!(lines, hearts.end_within(LAST_CALLS));
        });
        let (segments_left, bytes_left) = segments.kept();
        sinks.end();
        self.runtime.shutdown_background();
        Stopped { segments_left, bytes_left }
    }

    /// Finishes within `timeout`; whoever waits in the listening socket's queue is served, too, unless that stays.
    fn drain(self, queue_stays: bool, timeout: Duration) -> Stopped {
        let deadline = Instant::now() + timeout;
        let cut = TokioInstant::now() + timeout / REQUESTS_SHARE;
        // With a disk it is kept, whether or not it is told.
        let last_answers = self.spool_dir.is_none().then(|| cut.checked_sub(LAST_ANSWERS).unwrap_or(cut));
        let ending = Ending { cut, last_answers, queue_stays };
        // Else nobody would be refused who connects from now on, and nobody be answered.
        drop(self.sockets);
        let _ = self.stop_accepting.send(Some(ending));
        let workers = self.acceptor.join();
        let _ = self.stop_working.send(Some(ending));
        workers.into_iter().for_each(WorkerHandle::join);
        let segments = self.spool.shelf();
        self.spool.close();
        let mut sinks = self.sinks;
        sinks.finish(&self.runtime, &segments, deadline);
        segments.tidy();
        sinks.tell_left(&segments);
        let (segments_left, bytes_left) = segments.kept();
        // Behind the last object, so that nothing it says is not so.
        self.hearts.end(&self.runtime, deadline);
        self.admin.stop();
        sinks.end();
        self.runtime.shutdown_background();
        Stopped { segments_left, bytes_left }
    }
}
