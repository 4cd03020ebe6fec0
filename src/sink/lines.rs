//! Line sinks: services that take lines as they come, some thousand at a time.
//!
//! A line sink says what one call takes and makes one attempt to deliver; everything else is its driver's: reading the
//! spool, dealing the lines out, how much is on its way at a time, sending again, counting, setting aside what is never
//! taken, and moving the cursor.
//!
//! What a line sink promises:
//!
//! - **Honest outcomes.** A line that an [`Outcome`] does not name has been taken, durably as far as the service
//!   promises; one that may have been taken is [`Fate::Unknown`], never [`Fate::Later`].
//! - **One attempt.** It never sends a line twice in one call of [`LineSink::deliver`], and its time is bounded by the
//!   driver, who drops the future: what was on its way then counts as unknown. So it must stop at an `await` to be
//!   stopped, and must not go on elsewhere when it is dropped.
//! - **[`Fate::Never`] is for the line, not for the day.** Only what would be refused for ever is: wrong credentials, a
//!   stream that is missing or a service that is down are mended by people, and the lines wait.
//! - **[`Failure::Throttled`](super::Failure) only where less would help**: it is what the driver slows down for.
//!
//! What comes of it is the driver's promise: every line at least once, or set aside; more than once only after an outcome
//! that nobody knows, which is counted, or a crash. Lines of a stream are sent in the order of the spool, and arrive in
//! any: what failed is sent again behind what did not.
//!
//! ```text
//!  spool ──► Follower ──► stretch ──► Filter ──► parcels: one for each stream and book, split to a call's limits
//!              ▲            │                      │
//!              │ done       │ concurrency of them  ├─► ready ──► Pace ──► call ──► Outcome ─┬─ taken
//!              │            ▼                      │                                        ├─ later, unknown ─► waiting
//!            cursor ◄── all taken or set aside     └──────◄──── waiting (back-off) ◄────────┘  never ─► _undelivered/
//! ```
//!
//! How a sink is added is told in [`sink`](super).

mod counts;
mod delivery;
mod driver;
mod outcome;
mod pace;
mod parcel;
mod source;
mod stretches;
mod undelivered;
mod work;

pub use driver::{LineDriver, LineSettings};
pub use outcome::{Fate, Left, Outcome};
pub use parcel::{CallLimits, Parcel};
pub use undelivered::Aside;

use super::BoxFuture;

/// A service that takes lines.
pub trait LineSink: Send + Sync {
    /// What one call takes. The driver never hands over more, but for a single line that is longer than a call: the sink
    /// says of it that it is never taken.
    fn limits(&self) -> CallLimits;

    /// Delivers the lines of `parcel` in one attempt.
    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome>;
}
