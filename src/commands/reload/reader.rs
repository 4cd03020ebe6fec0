//! Who reads the configuration again: a thread of its own, since a file system may hang.
//!
//! Nothing else waits for a file: the lock is never held while one is read or looked at. So a process whose configuration
//! stands on a file system that hangs still hears every signal, and ends. What has been read is kept until it is settled, and
//! only then is the next read; a request that comes meanwhile is heard then.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::Notify;

use super::Refusal;
use crate::{
    app,
    config::{self, Loaded, Look, Reload, Source},
};

/// Reads the configuration again, beside `running`; and says which files to look at from now on, and how they were.
type Read<R> = dyn FnMut(&Loaded) -> (R, Look) + Send;

/// The thread, as others know it.
pub(super) struct Reader<R> {
    shared: Arc<Shared<R>>,
}

/// What was asked of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<R> {
    /// What it has read. The next is read once that is settled.
    Read(R),
    /// It had read nothing new, and is asked for it.
    Asked,
}

struct Shared<R> {
    state: Mutex<State<R>>,
    woken: Condvar,
    /// Told when there is something to take.
    news: Arc<Notify>,
}

struct State<R> {
    running: Arc<Loaded>,
    look: Look,
    /// Whether it is to read, whatever the files hold.
    is_asked: bool,
    read: Option<R>,
    /// Whether something was read that is not settled yet.
    is_open: bool,
    /// Until a thread has it.
    reading: Option<Box<Read<R>>>,
    has_ended: bool,
}

/// What the thread is to do next, beside what runs.
enum Turn {
    Read(Arc<Loaded>),
    Look(Look, Arc<Loaded>),
}

/// Reads `source` again. What is sound is compared with what runs.
pub(super) fn read_again(source: Source, running: &Loaded) -> (Result<Reload, Refusal>, Look) {
    // Looked at before, so that what is written meanwhile is noticed.
    let before = running.look.now();
    match config::reload(source, config::environment(), running) {
        Ok(reload) => {
            let look = reload.read.look.clone();
            (app::changes(&reload.read, running).map(|_| reload).map_err(Refusal::from), look)
        }
        Err(problems) => {
            // What was not come to may still be what is meant.
            let look = problems.look().clone().and(before);
            (Err(problems.into()), look)
        }
    }
}

impl<R: Send + 'static> Reader<R> {
    /// Who reads with `read`, for what runs with `running`, and tells `news`.
    pub(super) fn new(
        running: &Arc<Loaded>,
        news: Arc<Notify>,
        read: impl FnMut(&Loaded) -> (R, Look) + Send + 'static,
    ) -> Self {
        let state = State {
            running: Arc::clone(running),
            look: running.look.clone(),
            is_asked: false,
            read: None,
            is_open: false,
            reading: Some(Box::new(read)),
            has_ended: false,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), woken: Condvar::new(), news }) }
    }

    /// Starts the thread, unless it runs.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn start(&self) -> io::Result<()> {
        if self.shared.state().reading.is_none() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name("config-reader".to_owned()).spawn(move || shared.run()).map(|_| ())
    }

    /// What has been read; or else has it read.
    ///
    /// # Errors
    /// There is no thread, and none can be started.
    pub(super) fn take_or_ask(&self) -> io::Result<Taken<R>> {
        let mut state = self.shared.state();
        if let Some(read) = state.read.take() {
            return Ok(Taken::Read(read));
        }
        state.is_asked = true;
        drop(state);
        self.shared.woken.notify_all();
        self.start().inspect_err(|_| self.shared.state().is_asked = false)?;
        Ok(Taken::Asked)
    }

    /// What was taken is settled, and `running` is what runs from now on. Whether more has been asked for meanwhile.
    pub(super) fn settle(&self, running: &Arc<Loaded>) -> bool {
        let mut state = self.shared.state();
        state.running = Arc::clone(running);
        state.is_open = false;
        let is_asked = state.is_asked;
        drop(state);
        self.shared.woken.notify_all();
        is_asked
    }
}

impl<R> Shared<R> {
    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads when it is asked, and when a file has changed, until nobody wants it any more.
    fn run(&self) {
        let Some(mut read) = self.state().reading.take() else { return };
        while let Some(turn) = self.next() {
            let running = match turn {
                Turn::Read(running) => running,
                Turn::Look(mut look, running) => {
                    let is_changed = look.is_changed();
                    self.state().look = look;
                    if !is_changed {
                        continue;
                    }
                    running
                }
            };
            let (read, look) = read(&running);
            let mut state = self.state();
            (state.read, state.look, state.is_open) = (Some(read), look, true);
            drop(state);
            self.news.notify_one();
        }
    }

    /// Waits until there is something to do; `None` at the end.
    fn next(&self) -> Option<Turn> {
        let mut state = self.state();
        while !state.has_ended {
            let interval = state.running.config.watch.interval.get();
            if state.is_open {
                state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if std::mem::take(&mut state.is_asked) {
                return Some(Turn::Read(Arc::clone(&state.running)));
            } else if interval.is_zero() || state.look.is_at_nothing() {
                state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = self.woken.wait_timeout(state, interval).unwrap_or_else(PoisonError::into_inner);
                state = waited.0;
                if waited.1.timed_out() && !state.has_ended && !state.is_asked {
                    return Some(Turn::Look(state.look.clone(), Arc::clone(&state.running)));
                }
            }
        }
        None
    }
}

impl<R> Drop for Reader<R> {
    fn drop(&mut self) {
        // Not waited for: it may hang.
        self.shared.state().has_ended = true;
        self.shared.woken.notify_all();
    }
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn running() -> Arc<Loaded> {
        Arc::new(config::load(Source::Embedded, std::iter::empty()).unwrap())
    }

    /// Waits until it has read something.
    fn heard(news: &Arc<Notify>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, news.notified()).await }).unwrap();
    }

    #[test]
    fn who_asks_and_who_ends_does_not_wait_for_a_read_that_hangs() {
        let (begins, reading) = mpsc::sync_channel(1);
        let (frees, goes_on) = mpsc::sync_channel::<()>(0);
        let (ends, ended) = mpsc::sync_channel(1);
        // On a thread of its own, so that the test fails if it waits.
        let asking = thread::Builder::new().spawn(move || {
            let running = running();
            let look = running.look.clone();
            let reader = Reader::new(&running, Arc::default(), move |_| {
                begins.send(()).unwrap();
                let _ = goes_on.recv();
                ((), look.clone())
            });
            reader.start().unwrap();
            assert_eq!(reader.take_or_ask().unwrap(), Taken::Asked);
            reading.recv_timeout(PATIENCE).unwrap();
            assert_eq!(reader.take_or_ask().unwrap(), Taken::Asked);
            assert!(reader.settle(&running));
            drop(reader);
            ends.send(()).unwrap();
        });
        let ended = ended.recv_timeout(PATIENCE);
        drop(frees);
        asking.unwrap().join().unwrap();
        ended.expect("it waited for the read");
    }

    #[test]
    fn what_is_asked_for_while_something_is_open_is_read_afterwards_beside_what_runs_then() {
        let (first, second) = (running(), running());
        let news = Arc::new(Notify::new());
        let look = first.look.clone();
        let reader =
            Reader::new(&first, Arc::clone(&news), move |running| (std::ptr::from_ref(running) as usize, look.clone()));
        let place = |running: &Arc<Loaded>| Arc::as_ptr(running) as usize;
        // Without a thread one is started.
        assert_eq!(reader.take_or_ask().unwrap(), Taken::Asked);
        heard(&news);
        assert_eq!(reader.take_or_ask().unwrap(), Taken::Read(place(&first)));
        assert_eq!(reader.take_or_ask().unwrap(), Taken::Asked, "nothing is read while that is open");
        assert!(reader.settle(&second));
        heard(&news);
        assert_eq!(reader.take_or_ask().unwrap(), Taken::Read(place(&second)));
        assert!(!reader.settle(&second));
    }
}
