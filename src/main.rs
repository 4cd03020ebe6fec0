//! The start, as a story: arguments, configuration, telemetry, run, exit code.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use logweir::{
    app::{self, AuditRequest, SchemaRequest, Server, Stopped},
    cli::{AuditArgs, CheckArgs, Cli, Command, HealthArgs, KeyCommand, SchemaArgs},
    commands::{self, EXIT_CONFIG, EXIT_UNAVAILABLE, InForce},
    config::Loaded,
    signals::{Signals, Told},
    telemetry, version,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(arguments) => {
            commands::load(arguments.config.clone()).map(|loaded| serve(loaded, arguments.config))
        }
        Command::Check(CheckArgs { config, since }) => {
            commands::load(config.config).map(|loaded| commands::check(&loaded, since))
        }
        Command::Schema(SchemaArgs { target, stream, config, since }) => {
            let asked = SchemaRequest { target, stream };
            commands::load(config.config).map(|loaded| commands::schema(&loaded, &asked, since))
        }
        Command::Replay(arguments) => {
            commands::load(arguments.config.config).map(|loaded| commands::replay(loaded, arguments.spool))
        }
        Command::Audit(AuditArgs { config, from, to, sink, quick, warehouse }) => {
            let asked = AuditRequest { from, to, sink, quick, warehouse };
            commands::load(config.config).map(|loaded| commands::audit(&loaded, &asked))
        }
        Command::Load(arguments) => {
            commands::load(arguments.config.config.clone()).map(|loaded| commands::load_objects(&loaded, &arguments))
        }
        Command::Rehearse(arguments) => Ok(commands::rehearse(&arguments)),
        Command::Health(HealthArgs { config, ready }) => {
            commands::load(config.config).map(|loaded| commands::health(&loaded.config, ready))
        }
        Command::Completions(arguments) => Ok(commands::completions(arguments.shell)),
        Command::Man(arguments) => Ok(commands::man(arguments.dir.as_deref())),
        Command::Key(KeyCommand::New(arguments)) => Ok(commands::new_key(&arguments)),
    };
    done.unwrap_or_else(|code| code)
}

/// Serves as `loaded` says, which was read from `file`.
fn serve(loaded: Loaded, file: Option<PathBuf>) -> ExitCode {
    let telemetry = telemetry::start(&loaded.config.log);
    tracing::info!(version = version::VERSION, commit = version::COMMIT, configuration = loaded.source, "starting");
    let server = match Server::start(loaded.clone()) {
        Ok(server) => server,
        Err(error) => {
            let code = if error.is_configuration() { EXIT_CONFIG } else { EXIT_UNAVAILABLE };
            return commands::fail(code, &error);
        }
    };
    let mut signals = match Signals::new(server.runtime()) {
        Ok(signals) => signals,
        Err(error) => return commands::fail(EXIT_UNAVAILABLE, &error),
    };
    // Only now: who reads this may send a signal at once.
    app::announce(&server, &loaded.config);
    let mut in_force = InForce::new(&server, loaded, file, telemetry, signals.changed());
    let signal = loop {
        match signals.wait() {
            Told::Reload => in_force.reload(&server),
            Told::Stop(signal) => break signal,
        }
    };
    let config = in_force.config();
    tracing::info!(signal, linger = %config.drain.linger, timeout = %config.drain.timeout, "draining");
    signals.exit_on_another();
    let Stopped { segments_left, bytes_left } = server.stop(config.drain.linger.get(), config.drain.timeout.get());
    if segments_left == 0 {
        tracing::info!("stopped; everything is stored");
    } else if config.spool.keeps() {
        tracing::warn!(segments_left, bytes_left, "stopped; what is not stored stays in the spool");
    } else {
        tracing::warn!(segments_left, bytes_left, "stopped; what is not stored is gone, and was not called stored");
    }
    ExitCode::SUCCESS
}
