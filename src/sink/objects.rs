//! Object sinks: places that take objects, each of which is stored once and for ever.
//!
//! An object is exactly one gzip member or one zstd frame, as its sink is configured ([`Codec`]). The codec stands in its
//! name, and nobody reads two in one breath: after a change a place holds both, side by side. Objects are compared by
//! their lines, never by their compressed bytes. A sink may take some streams only; then its objects and its books are of
//! those.
//!
//! What an object sink promises (P2, P7):
//!
//! - an object is put under its frozen key on the condition that there is none; if there is one, it is compared: the
//!   same is success, another is left alone, and ours is stored under a suffixed key and alarmed;
//! - nothing that a store answers loses data: whatever fails is tried again, with exponential back-off and full
//!   jitter, for as long as it takes;
//! - the cursor moves, durably, only after every object of the segment is stored, and then the books' pages that name
//!   them (see [`ledger`](crate::ledger)).
//!
//! ```text
//!  spool ──► Consumer ──► sealed segment ──► a plan and a body for each stream, book and hour ──► Upload ──► ObjectStore
//!              ▲                               concurrency of them on their way                     │
//!            cursor ◄── the books' pages ◄── all of them stored ◄───────────────────────────────────┘
//! ```
//!
//! How a sink is added is told in [`sink`](super).

mod body;
mod codec;
mod driver;
mod key;
mod member;
mod plan;
mod store;
pub(super) mod upload;

pub use body::{BodyError, FIRST_PART_BYTES, ObjectBody, PART_BYTES, Part};
pub use codec::{Codec, Compression};
pub use driver::{ObjectDriver, ObjectSettings};
pub use key::{ObjectKey, ObjectName, REJECTED, UNDELIVERED};
pub use member::{Counted, Counter, MAX_WINDOW_BYTES, Member};
pub use plan::{FORMAT_VERSION, ObjectFacts, ObjectPlan, Placed};
pub use store::{Listed, ObjectReader, ObjectStore, Page, Told};
