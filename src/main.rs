//! The start, as a story: arguments, configuration, telemetry, run, exit code.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use logweir::{
    app::{self, Replay, Server, Stopped},
    check,
    cli::{Cli, Command},
    config::{self, Loaded, Problems, Source},
    signals::Signals,
    telemetry,
};

/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;
/// The server could not start (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;

/// There is more to do (`EX_TEMPFAIL`).
const EXIT_INTERRUPTED: u8 = 75;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(arguments) => load(arguments.config).map_or_else(|code| code, serve),
        Command::Check(arguments) => {
            load(arguments.config).map_or_else(|code| code, |loaded| print(&check::report(&loaded)))
        }
        Command::Replay(arguments) => {
            load(arguments.config.config).map_or_else(|code| code, |loaded| replay(loaded, arguments.spool))
        }
    }
}

fn load(file: Option<PathBuf>) -> Result<Loaded, ExitCode> {
    let source = file.map_or(Source::Embedded, Source::File);
    config::load(source, config::environment()).map_err(|problems: Problems| {
        complain(&problems);
        ExitCode::from(EXIT_CONFIG)
    })
}

fn serve(loaded: Loaded) -> ExitCode {
    telemetry::start(&loaded.config.log);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), configuration = loaded.source, "starting");
    let config = loaded.config.clone();
    let server = match Server::start(loaded) {
        Ok(server) => server,
        Err(error) => {
            complain(&error);
            return ExitCode::from(if error.is_configuration() { EXIT_CONFIG } else { EXIT_UNAVAILABLE });
        }
    };
    let mut signals = match Signals::new(server.runtime()) {
        Ok(signals) => signals,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    };
    // Only now: who reads this may send a signal at once.
    app::announce(&server, &config);
    let signal = signals.first();
    tracing::info!(signal, linger = %config.drain.linger, timeout = %config.drain.timeout, "draining");
    signals.exit_on_another();
    let Stopped { segments_left, bytes_left } = server.stop(config.drain.linger.get(), config.drain.timeout.get());
    if segments_left == 0 {
        tracing::info!("stopped; everything is stored");
    } else {
        tracing::warn!(segments_left, bytes_left, "stopped; what is not stored stays in the spool");
    }
    ExitCode::SUCCESS
}

fn replay(loaded: Loaded, spool: PathBuf) -> ExitCode {
    telemetry::start(&loaded.config.log);
    let replay = match Replay::start(loaded, spool) {
        Ok(replay) => replay,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    };
    let mut signals = match Signals::new(replay.runtime()) {
        Ok(signals) => signals,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    };
    let (segments, bytes) = replay.left();
    tracing::info!(instance = %replay.instance(), segments, bytes, "replaying a spool");
    let (segments_left, bytes_left) = replay.run(async move { signals.next().await });
    if segments_left == 0 {
        tracing::info!("everything is stored; the spool is not needed any more");
        return ExitCode::SUCCESS;
    }
    tracing::warn!(segments_left, bytes_left, "interrupted; what is not stored stays in the spool");
    ExitCode::from(EXIT_INTERRUPTED)
}

/// What goes wrong before there is a log is told on standard error.
fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "logweir: {error}");
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
