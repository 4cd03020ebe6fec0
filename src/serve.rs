//! The life of a server, as a story: telemetry, start, signals, end, exit code.

use std::{io, net::TcpListener, path::PathBuf, process::ExitCode};

use tokio::runtime::Runtime;

use crate::{
    app::{self, Server, Stopped},
    commands::{self, EXIT_CONFIG, EXIT_UNAVAILABLE, InForce, Reloading},
    config::{self, Config, Loaded},
    handover::{self, Handover},
    notify,
    signals::{Signals, Told},
    succession::{Predecessor, SuccessionError, Successor},
    telemetry, version,
};

/// Serves as `loaded` says, which was read from `file`.
pub fn serve(loaded: Loaded, file: Option<PathBuf>) -> ExitCode {
    let telemetry = telemetry::start(&loaded.config.log);
    tracing::info!(version = version::VERSION, commit = version::COMMIT, configuration = loaded.source, "starting");
    // Before all else: a signal that nobody catches ends a process, and this one may be the service already.
    let (runtime, mut signals) = match caught() {
        Ok(caught) => caught,
        Err(error) => return commands::fail(EXIT_UNAVAILABLE, &error),
    };
    let meanwhile = match signals.exit_meanwhile() {
        Ok(meanwhile) => meanwhile,
        Err(error) => return commands::fail(EXIT_UNAVAILABLE, &error),
    };
    let predecessor = match predecessor() {
        Ok(predecessor) => predecessor,
        Err(error) => return commands::fail(EXIT_CONFIG, &error),
    };
    let server = match Server::start_after(loaded.clone(), runtime, predecessor) {
        Ok(server) => server,
        Err(error) => {
            let code = if error.is_configuration() { EXIT_CONFIG } else { EXIT_UNAVAILABLE };
            return commands::fail(code, &error);
        }
    };
    drop(meanwhile);
    // Only now: who reads this may send a signal at once.
    app::announce(&server, &loaded.config);
    let mut in_force = InForce::new(loaded, file, telemetry, signals.changed());
    notify::ready(&format!("serving on {}", server.address()));
    loop {
        let next = match signals.wait() {
            Told::Reload => {
                match in_force.reload(&server) {
                    Reloading::Begun => notify::reloading(),
                    Reloading::Done => notify::ready(&format!("serving on {}", server.address())),
                }
                continue;
            }
            Told::Stop(signal) => Handover::Stops(signal),
            Told::GiveWay => handover::give_way(&server, &mut signals, in_force.config()),
            Told::HandOver => handover::hand_over(&server, &mut signals, in_force.config()),
        };
        match next {
            Handover::ServesOn => {}
            Handover::Stops(signal) => return stop(server, signals, in_force.config(), signal),
            Handover::GivesWay(successor) => return give_way(server, signals, in_force.config(), successor),
        }
    }
}

/// The runtime of what is not hot, and the signals, caught on it.
fn caught() -> io::Result<(Runtime, Signals)> {
    let runtime = app::background()?;
    let signals = Signals::new(&runtime)?;
    Ok((runtime, signals))
}

/// The process that this one is started to succeed, if there is one, and the sockets that it hands over.
fn predecessor() -> Result<Option<(Predecessor, [TcpListener; 2])>, SuccessionError> {
    if config::is_successor() { Predecessor::meet().map(Some) } else { Ok(None) }
}

/// Ends for good.
fn stop(server: Server, signals: Signals, config: &Config, signal: &str) -> ExitCode {
    tracing::info!(signal, linger = %config.drain.linger, timeout = %config.drain.timeout, "draining");
    notify::stopping();
    signals.exit_on_another();
    let drain = &config.drain;
    let stopped = server.stop(drain.linger.get(), drain.handover.get(), drain.timeout.get());
    let Stopped { segments_left, bytes_left } = stopped;
    if segments_left == 0 {
        tracing::info!("stopped; everything is stored");
    } else if config.spool.keeps() {
        tracing::warn!(segments_left, bytes_left, "stopped; what is not stored stays in the spool");
    } else {
        tracing::warn!(segments_left, bytes_left, "stopped; what is not stored is gone, and was not called stored");
    }
    ExitCode::SUCCESS
}

/// Ends so that the next process goes on, be it `successor` or one that somebody else starts.
fn give_way(server: Server, signals: Signals, config: &Config, successor: Option<Successor>) -> ExitCode {
    let stays = successor.is_some() || server.estate().supervised;
    match successor {
        Some(successor) => {
            signals.pass_on_to(successor.id());
            successor.leave_to();
        }
        None => signals.exit_on_another(),
    }
    let (handover, timeout) = (config.drain.handover.get(), config.drain.timeout.get());
    let Stopped { segments_left, bytes_left } = server.give_way(handover, timeout, stays);
    if config.spool.keeps() {
        tracing::info!(segments_left, bytes_left, "gave way; the next process stores what is left");
    } else if segments_left == 0 {
        tracing::info!("gave way; everything is stored");
    } else {
        tracing::warn!(segments_left, bytes_left, "gave way; what is not stored is gone, and was not called stored");
    }
    ExitCode::SUCCESS
}
