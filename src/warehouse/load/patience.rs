//! How often the warehouse is asked again.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Failure,
    watch::{Event, Watcher},
};
use crate::sink::Backoff;

/// How often a transaction is tried while the warehouse cannot be reached, before the round ends.
pub const ATTEMPTS: u32 = 7;
/// After how many of them a batch is tried in halves.
const HALVED_AFTER: u32 = 3;
/// The bound of the first wait between attempts.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The bound of the longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Waits between attempts, until there were [`ATTEMPTS`].
pub(super) struct Patience {
    backoff: Backoff,
    attempts: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT), attempts: 0 }
    }

    /// Waits; or gives up, with `why` it was.
    pub(super) async fn wait(&mut self, why: String, watcher: Watcher<'_>) -> Result<(), Failure> {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS {
            return Err(Failure::Unreachable(why));
        }
        let wait = self.backoff.next_wait(fastrand::f64());
        watcher(Event::Again { why: &why, wait });
        sleep(wait).await;
        Ok(())
    }

    /// Whether so much has come to nothing that something smaller should be tried.
    pub(super) fn is_short(&self) -> bool {
        self.attempts >= HALVED_AFTER
    }
}
