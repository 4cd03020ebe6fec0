//! The start, as a story: arguments, configuration, telemetry, run, exit code.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use logweir::{
    app::{self, AuditRequest, Server, Stopped},
    check,
    cli::{AuditArgs, Cli, Command},
    config::{self, Loaded, Problems, Source},
    signals::Signals,
    telemetry,
};

/// The configuration or an argument is wrong (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;
/// The server could not start, or a store cannot be read (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(arguments) => load(arguments.config).map_or_else(|code| code, serve),
        Command::Check(arguments) => {
            load(arguments.config).map_or_else(|code| code, |loaded| print(&check::report(&loaded)))
        }
        Command::Audit(AuditArgs { config, from, to, sink, quick }) => {
            let asked = AuditRequest { from, to, sink, quick };
            load(config.config).map_or_else(|code| code, |loaded| audit(&loaded, &asked))
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
            return ExitCode::from(EXIT_UNAVAILABLE);
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

fn audit(loaded: &Loaded, asked: &AuditRequest) -> ExitCode {
    match app::audit(&loaded.config, asked, &mut io::stdout().lock()) {
        Ok(summary) => ExitCode::from(u8::from(summary.differences > 0)),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(if failure.is_of_arguments() { EXIT_CONFIG } else { EXIT_UNAVAILABLE })
        }
    }
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
