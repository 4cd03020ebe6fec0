//! `logweir man` and `logweir completions`: what a shell and `man` are told of the command line, made from it.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{EXIT_UNAVAILABLE, fail};
use crate::{cli::Cli, version::VERSION};

/// `logweir completions SHELL`: a script for `shell`, on standard output.
pub fn completions(shell: Shell) -> ExitCode {
    // A pipe that closes is no news to a generator that expects to write: it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "logweir", &mut script);
    print(&script)
}

/// `logweir man`: the page of logweir on standard output, or the pages of all commands as files in `dir`, which exists.
pub fn man(dir: Option<&Path>) -> ExitCode {
    // Without the commit: the pages of a version are the same wherever they are made.
    let command = Cli::command().version(VERSION);
    let Some(dir) = dir else {
        let mut page = Vec::new();
        return match Man::new(command.disable_help_subcommand(true)).render(&mut page) {
            Ok(()) => print(&page),
            Err(error) => fail(EXIT_UNAVAILABLE, &error),
        };
    };
    match clap_mangen::generate_to(command, dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_UNAVAILABLE, &format!("{}: {error}", dir.display())),
    }
}

fn print(bytes: &[u8]) -> ExitCode {
    match io::stdout().write_all(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_UNAVAILABLE, &error),
    }
}
