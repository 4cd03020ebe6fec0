//! The start: arguments, configuration, and the command that was asked for.

use std::process::ExitCode;

use clap::Parser;
use logweir::{
    app::{AuditRequest, SchemaRequest},
    cli::{AuditArgs, CheckArgs, Cli, Command, KeyCommand, SchemaArgs},
    commands,
    serve::serve,
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
        Command::Key(KeyCommand::New(arguments)) => Ok(commands::new_key(&arguments)),
    };
    done.unwrap_or_else(|code| code)
}
