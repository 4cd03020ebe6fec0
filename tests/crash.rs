//! Crashes: what is acknowledged survives any of them, every object sink has it once (P1, P2, P10), and one that follows
//! has it at least once: again only what its cursor did not say durably, and not at all only what was counted as skipped.
//!
//! The real spool, queue, followers and sink drivers run on a simulated machine, whose power goes at any operation of its disk or of
//! its object stores, and whose disk fails as real ones do. A model walks along: it knows what was sent, what was
//! acknowledged and what each store holds, and judges when everything has drained. Schedules are drawn by proptest and
//! shrunk when they fail; proptest keeps their seeds in `tests/crash/regressions.txt` and runs them first, and as they were
//! shrunk they go to `tests/crash/regressions.rs`, where they outlive a change of how schedules are drawn.
//!
//! `LOGWEIR_TEST_SCHEDULES=100000 cargo test --release --test crash` runs more of them.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "crash/disk.rs"]
mod disk;
#[path = "crash/inode.rs"]
mod inode;
#[path = "crash/regressions.rs"]
mod regressions;
#[path = "crash/schedule.rs"]
mod schedule;
#[path = "crash/store.rs"]
mod store;
#[path = "crash/tail.rs"]
mod tail;
#[path = "crash/watch.rs"]
mod watch;
#[path = "crash/world.rs"]
mod world;

use disk::Sabotage;
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestRunner},
};
use schedule::{Damage, Op, ops};
use tail::{Kind, TAIL};
use world::World;

/// Schedules of each property in a usual run, and what they are drawn from: the same ones each time, so that such a run
/// judges a change and not a rare schedule that nobody has met yet. Those are what longer runs are for, which draw anew.
const SCHEDULES: u32 = 1_500;
const SEED: u64 = 20_261_122;
/// How many schedules a fault that is put in on purpose may take to be found.
const FOUND_WITHIN: u32 = 20_000;

fn config(cases: u32) -> Config {
    let persistence = FileFailurePersistence::Direct("tests/crash/regressions.txt");
    Config {
        cases,
        failure_persistence: Some(Box::new(persistence)),
        max_shrink_iters: 2_000,
        max_shrink_time: 120_000,
        ..Config::default()
    }
}

/// As many schedules as are told, or those of a usual run.
#[expect(clippy::disallowed_methods, reason = "how long a test takes is no setting of the server")]
fn drawn() -> Config {
    match std::env::var("LOGWEIR_TEST_SCHEDULES") {
        Ok(number) => config(number.parse().expect("LOGWEIR_TEST_SCHEDULES is a number")),
        Err(_) => Config { rng_seed: RngSeed::Fixed(SEED), ..config(SCHEDULES) },
    }
}

/// Runs a schedule to its end, and judges it.
fn walk(ops: &[Op], seed: u64, sabotage: Sabotage) -> Result<(), String> {
    walk_with(ops, seed, Kind::ALL[(seed / 2 % 4) as usize], sabotage)
}

/// Beside a sink that follows, on these terms.
fn walk_with(ops: &[Op], seed: u64, follows: Kind, sabotage: Sabotage) -> Result<(), String> {
    let _watched = watch::walking(ops, seed, follows);
    let mut world = World::new(seed, follows, sabotage);
    for op in ops {
        world.apply(op)?;
    }
    world.judge()
}

fn holds(damage: Damage) {
    let mut runner = TestRunner::new(drawn());
    let checked = runner
        .run(&(ops(damage), any::<u64>()), |(ops, seed)| walk(&ops, seed, Sabotage::None).map_err(TestCaseError::fail));
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}

#[test]
fn what_is_acknowledged_survives_crashes_and_is_stored_once() {
    holds(Damage::None);
}

#[test]
fn what_goes_bad_on_the_disk_costs_no_more_than_its_own_group() {
    holds(Damage::Flips);
}

#[test]
fn schedules_that_failed_once_hold() {
    for (number, (ops, seed)) in regressions::failed_once().into_iter().enumerate() {
        for sinks in [0, 1] {
            for follows in Kind::ALL {
                let walked = walk_with(&ops, seed ^ sinks, follows, Sabotage::None);
                walked.unwrap_or_else(|error| panic!("schedule {number}, {follows:?}: {error}"));
            }
        }
    }
}

/// A check that cannot fail proves nothing: with this fault put in, some schedule must break a promise.
fn is_found(sabotage: Sabotage) {
    is_found_by("", sabotage);
}

/// The same, and the promise is one to the sink of this name.
fn is_found_by(sink: &str, sabotage: Sabotage) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..config(FOUND_WITHIN) });
    let found = runner.run(&(ops(Damage::None), any::<u64>()), |(ops, seed)| match walk(&ops, seed, sabotage) {
        Err(error) if error.starts_with(sink) => Err(TestCaseError::fail(error)),
        _ => Ok(()),
    });
    assert!(found.is_err(), "{sabotage:?} broke no promise in {FOUND_WITHIN} schedules");
}

#[test]
fn a_sync_that_does_nothing_is_found() {
    is_found(Sabotage::NoSync);
}

#[test]
fn a_directory_sync_that_does_nothing_is_found() {
    is_found(Sabotage::NoDirSync);
}

#[test]
fn a_cursor_that_moves_before_the_upload_is_found() {
    is_found(Sabotage::StoreAnswersTooEarly);
}

#[test]
fn a_segment_that_goes_before_the_cursor_is_synced_is_found() {
    is_found(Sabotage::CursorNotSynced);
}

#[test]
fn a_sink_that_has_lines_after_it_said_so_is_found() {
    is_found_by(TAIL, Sabotage::DoneTooEarly);
}

#[test]
fn lines_that_a_sink_has_before_they_are_durable_are_found() {
    is_found_by(TAIL, Sabotage::NoSync);
}
