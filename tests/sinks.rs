//! Every sink keeps the promises of a sink: one suite, run over each of them.
//!
//! A [`Rig`](rig::Rig) makes a sink over a back end of the tests' own, which meets it with the faults of a
//! [`Script`](script::Script), and tells what has arrived. The suite makes a real spool of lines that are all different,
//! lets the sink's driver run over it, also ended and begun again at any point, and holds it to what
//! `logweir::sink` promises:
//!
//! - every line that the sink wants arrives, or stands among the undelivered if the sink will never take it;
//! - it arrives once in an object sink, and more than once in a line sink only if an attempt that had it was of unknown
//!   outcome, and not more often than is counted as repeated;
//! - no more calls are on their way, and no more lines read, than the sink's concurrency allows;
//! - a driver that has ended leaves nothing to do for another;
//! - a line sink has lines before their segment is sealed, and none any more that the spool has skipped.
//!
//! A new sink gets a file in `tests/sinks/rigs` and a line in [`suite!`] below. What it cannot meet with, its rig says.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/firehose_server.rs"]
mod firehose_server;
#[path = "common/live_spool.rs"]
#[expect(dead_code, reason = "the tests of Firehose ask more")]
mod live_spool;
#[path = "common/s3_server.rs"]
#[expect(dead_code, reason = "the tests of the bucket ask more")]
mod s3_server;
#[path = "common/segments.rs"]
#[expect(dead_code, reason = "the tests of the bucket ask more")]
mod segments;

#[path = "sinks/rigs/file.rs"]
mod file;
#[path = "sinks/rigs/firehose.rs"]
mod firehose;
#[path = "sinks/ground.rs"]
mod ground;
#[path = "sinks/holds.rs"]
mod holds;
#[path = "sinks/live.rs"]
mod live;
#[path = "sinks/rigs/memory.rs"]
mod memory;
#[path = "sinks/rig.rs"]
mod rig;
#[path = "sinks/rigs/s3.rs"]
mod s3;
#[path = "sinks/script.rs"]
mod script;
#[path = "sinks/watched.rs"]
mod watched;

/// The whole suite, over one rig. A line sink also follows a spool that is written to; an object sink waits for the seal.
macro_rules! suite {
    ($name:ident, $rig:ty, lines) => {
        suite!($name, $rig, [
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn lines_arrive_while_their_segment_is_open() {
                crate::live::before_the_seal::<$rig>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn what_the_spool_has_skipped_is_given_up_and_what_follows_arrives() {
                crate::live::what_is_skipped::<$rig>().await;
            }
        ]);
    };
    ($name:ident, $rig:ty, objects) => {
        suite!($name, $rig, []);
    };
    ($name:ident, $rig:ty, [$($more:item)*]) => {
        mod $name {
            use crate::holds;

            $($more)*

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn each_fault_is_met_and_overcome() {
                holds::each_fault::<$rig>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn every_line_arrives_whatever_the_back_end_does() {
                holds::any_script::<$rig>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_driver_that_ends_at_any_point_and_begins_again_loses_nothing() {
                holds::killed_anywhere::<$rig>().await;
            }
        }
    };
}

suite!(a_line_sink_in_memory, crate::memory::Memory, lines);
suite!(the_firehose_sink, crate::firehose::Firehose, lines);
suite!(the_file_sink, crate::file::Files, objects);
suite!(the_s3_sink, crate::s3::Bucket, objects);
