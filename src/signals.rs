//! The signals that end the process, that have it give way to another one, and on which it reads its configuration again.

use std::{io, sync::Arc};

use rustix::process::{Pid, Signal as Passed, kill_process};
use tokio::{
    runtime::{Handle, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    task::JoinHandle,
};

/// What a process that was told twice to stop exits with: 128 and the number of SIGTERM.
const EXIT_AT_ONCE: i32 = 143;
/// What a process exits with that was told to stop before it served: it did what it was told.
const EXIT_UNUSED: i32 = 0;

/// What a signal tells the process to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To end: by which signal.
    Stop(&'static str),
    /// To read its configuration again.
    Reload,
    /// To give way: somebody else has the listening sockets (SIGUSR1).
    GiveWay,
    /// To start a successor, and to give way to it (SIGUSR2).
    HandOver,
}

/// SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2, caught from now on.
#[derive(Debug)]
pub struct Signals {
    runtime: Handle,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    give_way: Signal,
    hand_over: Signal,
    /// A file of the configuration has changed.
    changed: Arc<Notify>,
    /// Whether a hang-up ends the process, too.
    hangup_ends: bool,
}

impl Signals {
    /// Catches the signals, on `runtime`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(runtime: &Runtime) -> io::Result<Self> {
        let _inside = runtime.enter();
        Ok(Self {
            runtime: runtime.handle().clone(),
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            give_way: signal(SignalKind::user_defined1())?,
            hand_over: signal(SignalKind::user_defined2())?,
            changed: Arc::default(),
            hangup_ends: false,
        })
    }

    /// As [`Self::new`], for a command that belongs to a terminal: it has nothing to read again, and ends with it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of_a_terminal(runtime: &Runtime) -> io::Result<Self> {
        Ok(Self { hangup_ends: true, ..Self::new(runtime)? })
    }

    /// As long as what this returns lives, a signal to stop ends the process at once: it does not serve yet, so there is
    /// nothing that it would have to finish. The others wait.
    ///
    /// # Errors
    /// The operating system's.
    pub fn exit_meanwhile(&self) -> io::Result<Meanwhile> {
        let _inside = self.runtime.enter();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Meanwhile(self.runtime.spawn(async move {
            let signal = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal, "told to stop before it served");
            std::process::exit(EXIT_UNUSED);
        })))
    }

    /// What to tell when a file of the configuration has changed: as good as a hang-up.
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Waits for one of them, and says what it tells. Blocks.
    pub fn wait(&mut self) -> Told {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => Told::Stop("SIGTERM"),
                _ = self.interrupt.recv() => Told::Stop("SIGINT"),
                _ = self.hangup.recv() => Told::Reload,
                _ = self.give_way.recv() => Told::GiveWay,
                _ = self.hand_over.recv() => Told::HandOver,
                () = self.changed.notified() => Told::Reload,
            }
        })
    }

    /// Waits for one that stands before a hand-over which has begun: to stop, or to give way at once. The others wait.
    pub async fn next_before_all(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.give_way.recv() => Told::GiveWay,
        }
    }

    /// Passes on to `successor`, to which it gives way already, what came too late for this process, and what comes: to read
    /// the configuration again, and the first one that ends the process; and exits when another one of these comes.
    pub fn pass_on_to(mut self, successor: u32) {
        let runtime = self.runtime.clone();
        // At once, since this process may be about to end.
        let is_told = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = self.hangup.recv() => true,
                () = std::future::ready(()) => false,
            }
        });
        if is_told {
            pass_on("SIGHUP", successor, Passed::HUP);
        }
        runtime.spawn(async move {
            let signal = loop {
                tokio::select! {
                    _ = self.terminate.recv() => break "SIGTERM",
                    _ = self.interrupt.recv() => break "SIGINT",
                    _ = self.hangup.recv() => pass_on("SIGHUP", successor, Passed::HUP),
                }
            };
            pass_on(signal, successor, Passed::TERM);
            self.exit_on_another();
        });
    }

    /// Exits the process when another one comes. What a server acknowledged is on its disk, so nothing is lost.
    pub fn exit_on_another(mut self) {
        self.runtime.clone().spawn(async move {
            let signal = self.next().await;
            if !self.hangup_ends {
                tracing::warn!(signal, "told twice to stop: exiting at once; what is not stored stays in the spool");
            }
            std::process::exit(EXIT_AT_ONCE);
        });
    }

    /// Waits for one that ends the process, and says which.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv(), if self.hangup_ends => "SIGHUP",
        }
    }
}

/// Sends `passed` to the process `successor`, because `signal` came.
fn pass_on(signal: &str, successor: u32, passed: Passed) {
    tracing::info!(signal, successor, "passed on: the successor is what it is for now");
    let successor = i32::try_from(successor).ok().and_then(Pid::from_raw);
    // It is not waited for as long as this process lives, so the id is nobody else's.
    if let Some(Err(error)) = successor.map(|id| kill_process(id, passed)) {
        tracing::warn!(%error, "the successor has ended");
    }
}

/// While it lives, a signal to stop ends the process at once.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Meanwhile(JoinHandle<()>);

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.0.abort();
    }
}
