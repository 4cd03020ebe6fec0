//! A disk that fails for real: system calls that end in an error, and a file system that is full (P1, P7, P11).
//!
//! The one needs strace and the right to trace a child, the other root and the right to mount. Where they are missing the
//! tests say so and are left out; on a build service (`CI=true`) there must be strace.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    bucket::Bucket,
    client::{Answer, get},
    fault_proxy::Weather,
    figures::{on_a_build_service, tell},
    process::{Place, Server},
    scrape::Scrape,
    tracer::{Book, Load},
};

/// How long an instance may take to be full, or to be well again.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// A segment that nothing but a fault or the end seals.
const LONG_SEGMENT: (&str, &str) = ("SPOOL__SEAL_AFTER", "1h");

/// Whether strace can trace a child and spoil its system calls. Says so if not.
fn can_inject() -> bool {
    let probe = ["-D", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"];
    match Command::new("strace").args(probe).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() && output.stderr.is_empty() => true,
        Ok(output) => {
            tell(format_args!("LEFT OUT: strace may not trace here: {}", String::from_utf8_lossy(&output.stderr)));
            false
        }
        Err(error) => {
            assert!(!on_a_build_service(), "a build service must have strace: {error}");
            tell(format_args!("LEFT OUT: strace cannot be run ({error}); tests/run installs it"));
            false
        }
    }
}

/// Starts the server of `bucket`, whose system calls fail as `fault` has it, an expression of `strace --inject`.
///
/// strace counts the calls of each thread by itself. It runs beside the server and not above it (`-D`), so that the
/// process that is started and signalled is the server.
fn failing(bucket: &Bucket, place: &Place, variables: &[(&str, &str)], fault: &str) -> Server {
    let command = bucket.command(place, variables);
    let mut traced = Command::new("strace");
    place.prepare(&mut traced);
    let calls = fault.split_once(':').unwrap().0;
    traced.args([
        "-D",
        "-f",
        "-qq",
        "-o",
        "strace.log",
        "-e",
        &format!("trace={calls}"),
        "-e",
        &format!("inject={fault}"),
    ]);
    traced.arg(command.get_program()).args(command.get_args());
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Server::start(traced)
}

/// Sends batches, one after the other, until one is answered with another status than 200: its answer.
fn until_refused(book: &mut Book, server: &Server, name: &str) -> Answer {
    let deadline = Instant::now() + LIMIT;
    for number in 0.. {
        let answer = book.try_one(server.address, &format!("{name}-{number}"), 3);
        if answer.status != 200 {
            return answer;
        }
        assert!(Instant::now() < deadline, "no batch was ever refused");
    }
    unreachable!()
}

/// Waits until some batches in a row are taken by an instance that is ready: faults that are still to come may be in
/// between.
fn becomes_well(book: &mut Book, server: &Server, spool: &Path, name: &str) {
    const IN_A_ROW: usize = 5;
    let deadline = Instant::now() + LIMIT;
    let mut well = 0;
    for number in 0.. {
        let status = book.try_one(server.address, &format!("{name}-{number}"), 3).status;
        let ready = get(server.address, "/readyz");
        well = if (status, ready.status) == (200, 200) { well + 1 } else { 0 };
        if well == IN_A_ROW {
            break;
        }
        let (ready, files) = (ready.text(), files(spool));
        assert!(Instant::now() < deadline, "after {LIMIT:?} a batch is answered {status}, /readyz {ready}: {files}");
        sleep(POLL);
    }
    assert_eq!(get(server.address, "/livez").status, 200);
}

/// The end of `server` and another start and end without faults; then everything is where it should be.
fn finish(server: Server, bucket: &Bucket, place: &Place, variables: &[(&str, &str)], book: &Book, what: &str) {
    server.stop();
    let ended = bucket.serve(place, variables).stop();
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
    tell(format_args!("{what}: {}", book.compare(&bucket.objects())));
}

fn sync_errors(server: &Server) -> f64 {
    Scrape::of(server.admin).value("logweir_sync_errors_total")
}

#[test]
fn after_a_sync_that_failed_its_waiters_get_503_and_the_next_batches_are_taken_in_a_new_segment() {
    if !can_inject() {
        return;
    }
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    // The writer's first sync is the directory's; those behind it are its groups'. No other thread comes that far.
    let server = failing(&bucket, &place, &[LONG_SEGMENT], "fdatasync:error=EIO:when=12");
    let refused = until_refused(&mut book, &server, "first");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(sync_errors(&server) as u64, 1);
    becomes_well(&mut book, &server, &place.path("spool"), "after");
    let files = files(&place.path("spool"));
    assert!(files.contains("0000000002.open") && !files.contains("0000000001.open"), "{files}");
    finish(server, &bucket, &place, &[], &book, "after a sync that failed");
}

#[test]
fn a_seal_that_fails_at_any_of_its_steps_is_made_again_by_the_same_process() {
    if !can_inject() {
        return;
    }
    // Five groups behind the directory's first sync, then the footer: its write, its cut, its sync, its name, the
    // directory's sync. On a machine so slow that the segment is sealed between them, something else fails: no harm.
    for fault in [
        "pwritev:error=EIO:when=6",
        "ftruncate:error=EIO:when=1",
        "fdatasync:error=EIO:when=7",
        "/^rename:error=EIO:when=2",
        "fdatasync:error=EIO:when=8",
    ] {
        let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
        let server = failing(&bucket, &place, &[("SPOOL__SEAL_AFTER", "1s")], fault);
        for number in 0..5 {
            book.try_one(server.address, &format!("first-{number}"), 3);
        }
        let deadline = Instant::now() + LIMIT;
        while bucket.server.keys().is_empty() {
            let files = files(&place.path("spool"));
            assert!(Instant::now() < deadline, "after {LIMIT:?} and {fault} nothing is stored: {files}");
            sleep(POLL);
        }
        becomes_well(&mut book, &server, &place.path("spool"), "after");
        finish(server, &bucket, &place, &[], &book, fault);
    }
}

#[test]
fn whatever_sync_fails_under_load_the_instance_recovers_by_itself_and_loses_nothing() {
    if !can_inject() {
        return;
    }
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    // Of each thread a sync now and then, until it has made five hundred: of groups, of footers, of the directory, of
    // spares, of cursors.
    let server = failing(&bucket, &place, &[], "fdatasync:error=EIO:when=20..500+17");
    let load = Load::start(server.address, 4, "load");
    let deadline = Instant::now() + LIMIT;
    while sync_errors(&server) < 10.0 && Instant::now() < deadline {
        sleep(POLL);
    }
    let errors = sync_errors(&server);
    sleep(Duration::from_millis(500));
    load.end();
    book.merge(load.join());
    assert!(errors >= 10.0, "{errors} groups could not be made durable; all others would not be tried any more");
    becomes_well(&mut book, &server, &place.path("spool"), "after");
    finish(server, &bucket, &place, &[], &book, &format!("{errors} syncs failed under load"));
}

#[test]
fn slow_syncs_gather_what_comes_meanwhile_and_lose_nothing() {
    const CONNECTIONS: usize = 8;
    if !can_inject() {
        return;
    }
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    // Half a tenth of a second each, in microseconds.
    let server = failing(&bucket, &place, &[], "fdatasync:delay_enter=50000");
    let load = Load::start(server.address, CONNECTIONS, "slow");
    sleep(Duration::from_secs(2));
    load.end();
    book.merge(load.join());
    let scrape = Scrape::of(server.admin);
    let (batches, groups) = (scrape.value("logweir_group_batches_sum"), scrape.value("logweir_group_batches_count"));
    assert!(batches >= 2.0 * groups, "{batches} batches took {groups} syncs: nothing was gathered");
    assert!(!book.acknowledged.is_empty());
    finish(server, &bucket, &place, &[], &book, "syncs of 50 ms");
}

#[test]
fn a_write_that_finds_the_disk_full_is_told_as_429_by_an_instance_that_stays_ready_and_serves_again() {
    if !can_inject() {
        return;
    }
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    // A group, then the footer behind those before it, then the footer once more.
    let server = failing(&bucket, &place, &[LONG_SEGMENT], "pwritev:error=ENOSPC:when=10..12");
    let refused = until_refused(&mut book, &server, "first");
    assert_eq!((refused.status, refused.json()["cause"].as_str()), (429, Some("disk")), "{}", refused.text());
    assert_eq!(get(server.address, "/readyz").status, 200);
    becomes_well(&mut book, &server, &place.path("spool"), "after");
    finish(server, &bucket, &place, &[], &book, "after a disk that was full for three writes");
}

#[test]
fn a_start_whose_first_write_fails_serves_all_the_same_and_loses_nothing() {
    // The footer of the segment that the last process left open.
    start_with(&["pwritev:error=ENOSPC:when=1", "pwritev:error=EIO:when=1"]);
}

#[test]
fn a_start_whose_first_syncs_fail_serves_all_the_same_and_loses_nothing() {
    // Those of the footer, and of the directory behind it; then the same of every other thread, which are the writer's.
    start_with(&["fdatasync:error=EIO:when=2", "fdatasync:error=EIO:when=3"]);
}

/// Starts behind a process that was killed, with each of `faults`.
fn start_with(faults: &[&str]) {
    if !can_inject() {
        return;
    }
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    for (number, fault) in faults.iter().enumerate() {
        let server = bucket.serve(&place, &[LONG_SEGMENT]);
        book.send_one(server.address, &format!("before-{number}"), 10);
        server.kill();
        let server = failing(&bucket, &place, &[LONG_SEGMENT], fault);
        becomes_well(&mut book, &server, &place.path("spool"), &format!("after-{number}"));
        server.stop();
    }
    finish(bucket.serve(&place, &[]), &bucket, &place, &[], &book, "starts on a disk that fails");
}

/// The names of what is in a spool, with their lengths.
fn files(spool: &Path) -> String {
    let entries = fs::read_dir(spool).unwrap().map(Result::unwrap);
    let name = |entry: fs::DirEntry| {
        // What another process renames meanwhile has no length.
        let len = entry.metadata().map_or(0, |metadata| metadata.len());
        format!("{} ({len})", entry.file_name().into_string().unwrap())
    };
    entries.map(name).collect::<Vec<_>>().join(", ")
}

/// A small file system, which is gone when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    const BYTES: u64 = 24 * 1024 * 1024;

    /// Mounts one at `path`; `None`, and says so, where that is not allowed.
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let size = format!("size={}", Self::BYTES);
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "logweir-tests"]).arg(&path).output();
        let refused = match mounted {
            Ok(output) if output.status.success() => return Some(Self(path)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        tell(format_args!("LEFT OUT: no file system can be mounted: {refused}"));
        None
    }

    /// Gives what is left to somebody else, to the last byte.
    fn give_away_the_rest(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        while ballast.write_all(&[0; 4_096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = |options: &[&str]| Command::new("umount").args(options).arg(&self.0).status();
        // A process that was just killed may still hold it for a moment: then it goes with that.
        if !unmount(&[]).is_ok_and(|status| status.success()) {
            let _ = unmount(&["--lazy"]);
        }
    }
}

/// Fills the disk under the spool, while S3 is down.
fn fill(server: &Server, disk: &SmallDisk, book: &mut Book) {
    let load = Load::padded(server.address, 4, &format!("load-{}", server.id()), 8_000);
    let deadline = Instant::now() + LIMIT;
    let refused = || Scrape::of(server.admin).value("logweir_refusals_total{cause=\"disk\"}");
    while refused() < 100.0 {
        assert!(Instant::now() < deadline, "the disk is never full");
        assert_eq!(get(server.address, "/readyz").status, 200);
        sleep(POLL);
    }
    disk.give_away_the_rest();
    load.end();
    book.merge(load.join());
    assert_eq!((get(server.address, "/readyz").status, get(server.address, "/livez").status), (200, 200));
}

#[test]
fn a_file_system_that_fills_up_is_told_as_429_and_takes_batches_again_once_it_drains() {
    full_and_empty(&["one", "two", "three"], false, "a file system that was full");
}

#[test]
fn a_process_that_dies_on_a_file_system_that_was_full_before_anything_was_stored_is_followed_by_one_that_drains_it() {
    full_and_empty(&[], true, "a death on a file system that was full from the first start on");
}

/// Stores what is `earlier`, in a segment each, then fills the disk while S3 is down, then lets it drain; if
/// `dies_when_full`, another process does that.
fn full_and_empty(earlier: &[&str], dies_when_full: bool, what: &str) {
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    let Some(disk) = SmallDisk::mount(place.path("disk")) else { return };
    // Spares take half of so small a disk.
    let variables = [("SPOOL__DIR", "disk/spool"), ("SPOOL__SEGMENT_SIZE", "6MiB")];
    for name in earlier {
        let server = bucket.serve(&place, &variables);
        book.send_one(server.address, name, 10);
        server.stop();
    }
    bucket.turn(Weather::Down);
    let mut server = bucket.serve(&place, &variables);
    fill(&server, &disk, &mut book);
    if dies_when_full {
        server.kill();
        server = bucket.serve(&place, &variables);
        assert_eq!(get(server.address, "/readyz").status, 200);
    }
    bucket.turn(Weather::Clear);
    becomes_well(&mut book, &server, &place.path("disk/spool"), "after");
    finish(server, &bucket, &place, &variables, &book, what);
}
