//! The commands beside `serve`: what each does with a loaded configuration, and what it exits with.

mod health;
mod key;
mod load;
mod manuals;
mod rehearse;
mod reload;
mod schema;

pub use health::health;
pub use key::new_key;
pub use load::load_objects;
pub use manuals::{completions, man};
pub use rehearse::rehearse;
pub use reload::{InForce, Reloading};
pub use schema::{check, schema};

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use crate::{
    app::{self, AuditRequest, Replay, Replayed},
    config::{self, Loaded, Problems, Source},
    signals::Signals,
    telemetry,
};

/// Something does not add up.
pub const EXIT_DIFFERENCE: u8 = 1;
/// The server could not start, or a store cannot be read (`EX_UNAVAILABLE` of sysexits.h).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// There is more to do (`EX_TEMPFAIL`).
pub const EXIT_INTERRUPTED: u8 = 75;
/// The configuration or an argument is wrong (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// The configuration of `file`, or the embedded one.
///
/// # Errors
/// [`EXIT_CONFIG`], when everything that is wrong was told.
pub fn load(file: Option<PathBuf>) -> Result<Loaded, ExitCode> {
    let source = file.map_or(Source::Embedded, Source::File);
    config::load(source, config::environment()).map_err(|problems: Problems| fail(EXIT_CONFIG, &problems))
}

/// What goes wrong before there is a log, or without one, is told on standard error: the exit code `code`.
pub fn fail(code: u8, error: &dyn fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "logweir: {error}");
    ExitCode::from(code)
}

/// `logweir replay --spool DIR`.
pub fn replay(loaded: Loaded, spool: PathBuf) -> ExitCode {
    let _ = telemetry::start(&loaded.config.log);
    let replay = match Replay::start(loaded, spool) {
        Ok(replay) => replay,
        Err(error) => return fail(EXIT_UNAVAILABLE, &error),
    };
    let mut signals = match Signals::new(replay.runtime()) {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_UNAVAILABLE, &error),
    };
    let (segments, bytes) = replay.left();
    tracing::info!(instance = %replay.instance(), segments, bytes, "replaying a spool");
    let Replayed { segments_left, bytes_left, told } = replay.run(async move { signals.next().await });
    if segments_left == 0 && told {
        tracing::info!("everything is stored; the spool is not needed any more");
        return ExitCode::SUCCESS;
    }
    if segments_left == 0 {
        tracing::warn!("everything is stored, but the last heartbeat, which says so, is not: replay the spool again");
    } else {
        tracing::warn!(segments_left, bytes_left, "not everything is stored; what is not stays in the spool");
    }
    ExitCode::from(EXIT_INTERRUPTED)
}

/// `logweir audit`.
pub fn audit(loaded: &Loaded, asked: &AuditRequest) -> ExitCode {
    match app::audit(&loaded.config, asked, &mut io::stdout().lock()) {
        Ok(summary) if summary.differences == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(EXIT_DIFFERENCE),
        Err(failure) => fail(if failure.is_of_arguments() { EXIT_CONFIG } else { EXIT_UNAVAILABLE }, &failure),
    }
}
