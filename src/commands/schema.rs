//! `logweir schema` and `logweir check --since`: what a warehouse is told, and what has changed.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use super::{EXIT_CONFIG, fail, load};
use crate::{
    app::{self, SchemaRequest},
    check,
    config::Loaded,
};

/// `logweir schema TARGET`: on standard output, everything or what has changed since the configuration of `since`.
pub fn schema(loaded: &Loaded, asked: &SchemaRequest, since: Option<PathBuf>) -> ExitCode {
    let since = match since.map(|file| load(Some(file))).transpose() {
        Ok(since) => since,
        Err(code) => return code,
    };
    match app::schema(loaded, asked, since.as_ref()) {
        Ok(text) => print(&text),
        Err(failure) => fail(EXIT_CONFIG, &failure),
    }
}

/// `logweir check`: with `since`, what has changed since that configuration is told too, or refused.
pub fn check(loaded: &Loaded, since: Option<PathBuf>) -> ExitCode {
    let mut report = check::report(loaded);
    report.push_str(&check::spool(&loaded.config));
    if let Some(file) = since {
        let since = match load(Some(file)) {
            Ok(since) => since,
            Err(code) => return code,
        };
        match app::changes(loaded, &since) {
            Ok(changes) => report.push_str(&check::changes(&changes, &since)),
            Err(breaking) => return fail(EXIT_CONFIG, &breaking),
        }
    }
    print(&report)
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
