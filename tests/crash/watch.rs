//! A schedule that does not come to its end is told, instead of a test run that does not.

use std::{
    collections::HashMap,
    fmt::Debug,
    process::abort,
    sync::{LazyLock, Mutex},
    thread,
    time::{Duration, Instant},
};

/// How long a schedule may take. They take milliseconds: only one that waits for itself takes so long on any machine.
const PATIENCE: Duration = Duration::from_mins(2);

static WATCH: LazyLock<Mutex<Watch>> = LazyLock::new(|| {
    thread::Builder::new().name("watch".into()).spawn(look).expect("a thread");
    Mutex::default()
});

/// The schedules that are walked now, by number.
#[derive(Default)]
struct Watch {
    walks: HashMap<u64, (Instant, String)>,
    next: u64,
}

/// A walk, until it is dropped.
pub(crate) struct Watched(u64);

/// A schedule begins.
pub(crate) fn walking(ops: &[impl Debug], seed: u64, follows: impl Debug) -> Watched {
    let mut watch = WATCH.lock().unwrap();
    watch.next += 1;
    let number = watch.next;
    watch.walks.insert(number, (Instant::now(), format!("(vec!{ops:?}, {seed}), {follows:?}")));
    Watched(number)
}

impl Drop for Watched {
    fn drop(&mut self) {
        WATCH.lock().unwrap().walks.remove(&self.0);
    }
}

/// No thread can be made to end that waits for a lock: the process is.
#[expect(clippy::print_stderr, clippy::disallowed_macros, reason = "the process ends with it")]
fn look() {
    loop {
        thread::sleep(Duration::from_secs(1));
        let watch = WATCH.lock().unwrap();
        let late = watch.walks.values().find(|(began, _)| began.elapsed() > PATIENCE);
        if let Some((_, schedule)) = late {
            eprintln!("a schedule does not come to its end: {schedule}");
            abort();
        }
    }
}
