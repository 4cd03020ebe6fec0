//! What is loaded into a real PostgreSQL: exactly once, whatever dies in the middle.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test tells its figures, and what it left out")]
#![expect(dead_code, reason = "what is common to tests is used by others of them")]

#[path = "common/postgres.rs"]
mod postgres;
#[path = "common/s3_server.rs"]
mod s3_server;
#[path = "common/segments.rs"]
mod segments;

#[path = "warehouse/binary.rs"]
mod binary;
#[path = "warehouse/bucket.rs"]
mod bucket;
#[path = "warehouse/deaths.rs"]
mod deaths;
#[path = "warehouse/once.rs"]
mod once;
#[path = "warehouse/poison.rs"]
mod poison;
#[path = "warehouse/world.rs"]
mod world;

/// Tells a figure, or what happens.
#[expect(clippy::disallowed_macros, reason = "a test tells its figures")]
fn tell(text: &str) {
    eprintln!("{text}");
}
