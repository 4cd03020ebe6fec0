//! The loader: new objects go into the warehouse exactly once.
//!
//! # A round
//!
//! ```text
//!  status ──► completeness ──► find, a day at a time ──► plan ──► script ──► session, one transaction
//!  (watermark)  (heartbeats)     list, ledger, books      batches   │            lock ledger, guard, COPY, guard,
//!      ▲                                                            │            count, insert, conflicts, ledger
//!      └──────────── status: complete_through ◄── report ◄──────────┘
//! ```
//!
//! # Why each object is loaded exactly once
//!
//! - **The ledger's row and the object's lines are of one transaction.** Whatever dies, both are there or neither.
//! - **The ledger is locked first and asked behind the lock**, in the same transaction: of two loaders the second finds
//!   what the first has done. No constraint is relied on, since Redshift's are informational.
//! - **A commit of which nobody knows is looked up.** Each attempt has an id of its own. Whoever has the lock next comes
//!   after its end, and the ledger tells whether it was.
//!
//! So loaders may be killed, restarted and run side by side; what they do twice is reading.
//!
//! # What is not loaded
//!
//! | object | what becomes of it |
//! |---|---|
//! | no page of the books names it yet | it *waits*, for an hour after the end of its own |
//! | no page names it after that, or its page cannot be read | it is *unbooked*: named in each round, and it holds back `complete_through` until it is given up |
//! | its name is none that logweir gives | it is a *stranger*: named in each round that sees it; it holds nothing back |
//! | the warehouse, or the reader, does not take it | it is *set aside* in the ledger, with the error; `--retry` takes it again |
//! | an operator wrote `given_up` into its row | never; it does not hold anything back |
//!
//! What a line holds and the staging table does not take, and a null where the stream's table takes none, are the
//! object's fault. Anything else that a table does not take (a partition is missing, a constraint was added by hand) is
//! the table's: nothing is set aside, the stream has a *problem*, and the others are loaded. If the warehouse does not
//! tell which object it was, batches are halved until it is found. When [`MAX_SET_ASIDE`] of a stream are set aside, those
//! of former rounds included, it is taken to be the table, too, until `--retry` takes them again. A batch that comes to
//! nothing three times because the warehouse gave up (a statement took too long, memory ran out, the connection broke) is
//! tried in halves, too; for that nothing is set aside.
//!
//! An operator gives up an object that the ledger does not have by
//!
//! ```sql
//! INSERT INTO logweir.logweir_ledger (stream, object, received_hour, state, load_id, events, bytes, changed_at)
//! VALUES ('heard', 'raw/heard/dt=2026-11-22/hour=09/….ndjson.gz', TIMESTAMP '2026-11-22 09:00:00', 'given_up', '', 0, 0,
//!   CURRENT_TIMESTAMP);
//! ```
//!
//! with the whole key, without the bucket, and the hour of its directory in UTC (PostgreSQL: `SET TimeZone = 'UTC'`
//! before); and one that is set aside by `UPDATE … SET state = 'given_up'` of its row.
//!
//! # How far back it looks
//!
//! From the hour up to which everything was complete; and in the first round of a process and once an hour of a loop, as
//! far back from there as copies of an event may be apart (`warehouse.dedupe_window`). What appears even later, such as a
//! spool that is replayed after a month, is loaded once `complete_through` in `load_status` is set to null. Where there
//! are no heartbeats, `complete_through` is null, and every round lists everything.
//!
//! # What `complete_through` promises
//!
//! All that was received before is loaded: the heartbeats that were read before the listing say that it was stored, and
//! no object of that time waits, is unbooked or is set aside. It goes back only if `held_back_by` says because of whom: a silent
//! instance that nobody had heard of, or an object that came late and is bad. A round that does not look through a stream,
//! because it is stopped or has a problem, never sets it forward. What is loaded behind it counts as late.

mod bisect;
mod connect;
mod copy_text;
mod data_api;
mod find;
mod manifest;
mod patience;
mod plan;
mod postgres;
mod redshift;
mod report;
mod round;
mod script;
mod session;
mod sqlstate;
mod tables;
mod watch;

pub use connect::{Address, Roots, RootsError};
pub use data_api::{DataApi, DataApiPacing, DataApiSettings, DataApiSetupError};
pub use find::{Found, Stranger, Unbooked, WAITING_MILLIS};
pub use patience::ATTEMPTS;
pub use plan::Limits;
pub use postgres::PostgresSession;
pub(super) use redshift::compression;
pub use redshift::{COPY_JOBS, CopySettings, RedshiftWire, copy_jobs_into, copy_statement};
pub use report::{FORMAT, MAX_NAMED, Named, Report, Rows, SetAside, StreamReport};
pub use round::{LoadError, Loader, MAX_SET_ASIDE, Settings};
pub use session::{Copy, CopyColumn, CopyObject, Failure, Guard, Row, Script, Session, Step};
pub use watch::{Event, Stop, Watcher};
