//! How a process gives an instance away, and to whom.
//!
//! # Two ways
//!
//! **Give way** (SIGUSR1): somebody else has the listening sockets, and starts the next process with them, as systemd does
//! with a socket unit. **Hand over** (SIGUSR2): this process starts a successor itself, the executable that stands now where
//! its own stood, with the same arguments and environment, gives it the sockets, and gives way once it is ready.
//!
//! ```text
//!   old                                   successor
//!   serves                                configuration, sockets, what the sinks need
//!   serves                            ◄── ready                                             (at most START_LIMIT)
//!   serves, every answer closes                                                             (drain.handover)
//!   go ──────────────────────────────────►waits for the spool's lock
//!   requests under way are answered                                                         (drain.handover at most)
//!   settles, seals; the process ends ────►has the lock, takes up the spool, serves
//! ```
//!
//! Until "go" nothing is given up: if the successor is not sound, or ends, or takes too long, this process serves on, and
//! says so in the log and in a metric. A signal to stop ends the successor first, and so does one to give way at once, if a
//! supervisor has the sockets. Behind "go" a signal to stop is passed on to it, and so is one to read the configuration again
//! that came since it was started: it may have read it before that was changed.
//!
//! The successor catches every signal from its first moments on, since it is the service from "go" on: what it cannot do yet
//! waits until it serves. A signal to stop ends it at once.
//!
//! From "ready" on the successor goes on if this process ends, by whatever: see [`succession`](crate::succession).
//!
//! From "go" on new connections wait in the sockets' queues, at most `BACKLOG` of them: they are not refused, and are
//! served by the successor. The successor is the same instance, since it has the same spool: received times go on, and so
//! do the numbers of segments.
//!
//! # Without a disk
//!
//! What is not stored would be lost with the process (`spool.kind = "none"`), so it gives way and then waits for its sinks
//! as at a stop, for up to `drain.timeout`. Its successor does not wait for it: there is no lock, and it is another instance.
//!
//! # Who does not hand over
//!
//! The first process of a container, which has the process id 1 there: the container ends with it, and the successor with the
//! container. The same is so if a program that only passes signals on is the first one (`docker run --init`, tini) and ends
//! with its child; but that cannot be told from a service manager that is the first process, so it is not refused. In a
//! container, another one is to be started in the place of this one.

use std::time::Duration;

use tokio::{
    select,
    time::{sleep, timeout},
};

use crate::{
    app::Server,
    config::{self, Config},
    metrics, notify,
    signals::{Signals, Told},
    succession::{SuccessionError, Successor},
};

/// How long a successor may take to be ready, while this process serves as ever.
const START_LIMIT: Duration = Duration::from_mins(1);
/// The first process of a container, which everything in it ends with.
const FIRST_PROCESS: u32 = 1;

/// What becomes of a process that is to hand over.
#[derive(Debug)]
pub enum Handover {
    /// It serves on.
    ServesOn,
    /// It is to give way: to its successor, or to whoever has the sockets, too.
    GivesWay(Option<Successor>),
    /// It is to stop for good: it was told so meanwhile, by which signal.
    Stops(&'static str),
}

/// Gives way to whoever has the sockets of `server`, too: waits until the clients have been told. Blocks.
pub fn give_way(server: &Server, signals: &mut Signals, config: &Config) -> Handover {
    if !server.estate().supervised {
        tracing::warn!(
            "nobody else has the listening sockets: who connects from the end of this process on is refused"
        );
    }
    tracing::info!(handover = %config.drain.handover, "giving way to the next process");
    notify::stopping();
    server.prepare_to_give_way(true);
    server.runtime().block_on(async {
        select! {
            () = sleep(config.drain.handover.get()) => Handover::GivesWay(None),
            signal = signals.next() => Handover::Stops(signal),
        }
    })
}

/// A hand-over came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("this is the first process of its container, which ends with it")]
    FirstProcess,
    #[error(transparent)]
    Succession(#[from] SuccessionError),
    #[error("how this process was started cannot be told: {0}")]
    CommandLine(#[from] std::io::Error),
    #[error("the successor was not ready within {START_LIMIT:?}")]
    Late,
}

/// How it came out.
enum Outcome {
    /// The successor was let.
    Let(Successor),
    /// This was told meanwhile, and the successor is no more.
    Told(Told),
}

/// Starts a successor of `server`, and waits until it is ready and the clients have been told. Blocks.
pub fn hand_over(server: &Server, signals: &mut Signals, config: &Config) -> Handover {
    match server.runtime().block_on(attempt(server, signals, config)) {
        Ok(Outcome::Let(successor)) => Handover::GivesWay(Some(successor)),
        Ok(Outcome::Told(Told::Stop(signal))) => Handover::Stops(signal),
        Ok(Outcome::Told(Told::GiveWay | Told::HandOver | Told::Reload)) => give_way(server, signals, config),
        Err(failure) => {
            server.prepare_to_give_way(false);
            server.metrics().counter(&metrics::HANDOVERS, &["failed"]).increment(1);
            tracing::error!(error = %failure, "the hand-over has failed: this process serves on");
            notify::status("serving on: a hand-over has failed");
            Handover::ServesOn
        }
    }
}

async fn attempt(server: &Server, signals: &mut Signals, config: &Config) -> Result<Outcome, Failure> {
    if std::process::id() == FIRST_PROCESS {
        return Err(Failure::FirstProcess);
    }
    let command = config::command_line()?;
    let mut successor = Successor::start(&command, server.sockets(), &server.estate())?;
    let (id, program) = (successor.id(), command.program.display());
    tracing::info!(successor = id, %program, "a successor was started");
    notify::status(&format!("handing over to process {id}"));
    let told = select! {
        told = told(server, signals) => told,
        ready = offer(server, &mut successor, config) => return match ready {
            Ok(()) => Ok(Outcome::Let(successor)),
            Err(failure @ Failure::Succession(SuccessionError::Ended)) => {
                successor.dismiss_after_its_words().await;
                Err(failure)
            }
            Err(failure) => {
                successor.dismiss();
                Err(failure)
            }
        },
    };
    tracing::info!(successor = id, "the successor is not needed any more");
    successor.dismiss();
    server.prepare_to_give_way(false);
    Ok(Outcome::Told(told))
}

/// Waits until `successor` is ready, and then until the clients have been told; and lets it.
async fn offer(server: &Server, successor: &mut Successor, config: &Config) -> Result<(), Failure> {
    let id = successor.id();
    timeout(START_LIMIT, successor.ready()).await.map_err(|_| Failure::Late)??;
    server.prepare_to_give_way(true);
    tracing::info!(successor = id, handover = %config.drain.handover, "the successor is ready: giving way to it");
    select! {
        () = sleep(config.drain.handover.get()) => {}
        () = successor.ended() => return Err(SuccessionError::Ended.into()),
    }
    // In this order: what the successor tells the service manager counts only once it is the service.
    notify::main_process(id);
    successor.let_go().await.inspect_err(|_| notify::main_process(std::process::id())).map_err(Failure::from)
}

/// Waits for a signal that stands before a hand-over which has begun. To give way at once does so only where somebody else
/// starts the next process: else there would be none.
async fn told(server: &Server, signals: &mut Signals) -> Told {
    loop {
        match signals.next_before_all().await {
            Told::GiveWay if !server.estate().supervised => {
                tracing::warn!("told to give way: that is under way, to the successor");
            }
            told => return told,
        }
    }
}
