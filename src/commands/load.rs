//! `logweir load`.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use jiff::civil::Date;

use super::{EXIT_CONFIG, EXIT_DIFFERENCE, EXIT_INTERRUPTED, EXIT_UNAVAILABLE, fail};
use crate::{
    app::{Load, LoadEvent, LoadFailure, LoadReport, LoadRequest, LoadRound},
    cli::LoadArgs,
    config::Loaded,
    signals::Signals,
    telemetry,
};

/// How long the transaction that runs may take after SIGTERM, before it is rolled back.
const GRACE: Duration = Duration::from_secs(30);
/// The shortest and the longest time between two rounds.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

/// Loads objects as `asked`.
pub fn load_objects(loaded: &Loaded, asked: &LoadArgs) -> ExitCode {
    let interval = match &asked.every {
        None => None,
        Some(None) => Some(loaded.config.warehouse.interval.get()),
        Some(Some(text)) => match humantime::parse_duration(text) {
            Ok(interval) if INTERVALS.contains(&interval) => Some(interval),
            _ => return fail(EXIT_CONFIG, &format!("--every {text:?} is no time from 1s to 1d")),
        },
    };
    if interval.is_some() {
        let _ = telemetry::start(&loaded.config.log);
    }
    let restate = match asked.restate.as_deref().map(days) {
        None => None,
        Some(Some(days)) => Some(days),
        Some(None) => {
            return fail(
                EXIT_CONFIG,
                &"--restate wants days such as 2026-11-20..2026-11-22, the last not before the first",
            );
        }
    };
    let request = LoadRequest { stream: asked.stream.clone(), retry: asked.retry, restate };
    let mut load = match Load::new(loaded, &request) {
        Ok(load) => load,
        Err(failure) => return failed(&failure),
    };
    let mut signals = match Signals::new(load.runtime()) {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_UNAVAILABLE, &error),
    };
    match interval {
        None => once(&mut load, &mut signals, asked.json),
        Some(interval) => again_and_again(&mut load, &mut signals, asked.json, interval),
    }
}

/// The first and the last of `2026-11-20..2026-11-22`.
fn days(text: &str) -> Option<(Date, Date)> {
    let (from, to) = text.split_once("..")?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to).then_some((from, to))
}

fn failed(failure: &LoadFailure) -> ExitCode {
    fail(if failure.is_standing() { EXIT_CONFIG } else { EXIT_UNAVAILABLE }, failure)
}

fn once(load: &mut Load, signals: &mut Signals, json: bool) -> ExitCode {
    let told = async {
        let _ = signals.next().await;
    };
    let mut watcher = |event: LoadEvent<'_>| drop(writeln!(io::stderr(), "logweir: {event}"));
    let LoadRound { report, failure, rolled_back } = load.round(told, GRACE, &mut watcher);
    if print(&report, json).is_err() {
        return ExitCode::FAILURE;
    }
    if let Some(failure) = failure {
        return failed(&failure);
    }
    if rolled_back {
        return fail(EXIT_INTERRUPTED, &"stopped; the transaction that ran was rolled back");
    }
    if report.has_problem() {
        ExitCode::from(EXIT_CONFIG)
    } else if report.interrupted {
        ExitCode::from(EXIT_INTERRUPTED)
    } else if report.needs_somebody() {
        ExitCode::from(EXIT_DIFFERENCE)
    } else {
        ExitCode::SUCCESS
    }
}

fn again_and_again(load: &mut Load, signals: &mut Signals, json: bool, interval: Duration) -> ExitCode {
    loop {
        let told = async {
            let _ = signals.next().await;
        };
        let LoadRound { report, failure, .. } = load.round(told, GRACE, &mut log);
        tell(&report);
        if json && print(&report, true).is_err() {
            return ExitCode::FAILURE;
        }
        if let Some(failure) = failure {
            tracing::error!(%failure, "the round failed; the next one tries again");
        }
        if report.interrupted {
            tracing::info!("stopped before everything was loaded");
            return ExitCode::from(EXIT_INTERRUPTED);
        }
        let stopped = load.runtime().block_on(async { tokio::time::timeout(interval, signals.next()).await.is_ok() });
        if stopped {
            tracing::info!("stopped between two rounds");
            return ExitCode::SUCCESS;
        }
    }
}

fn print(report: &LoadReport, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json { writeln!(out, "{}", serde_json::to_string(report)?) } else { write!(out, "{report}") }
}

fn log(event: LoadEvent<'_>) {
    match event {
        LoadEvent::Loaded { .. } => tracing::info!("{event}"),
        LoadEvent::SetAside { .. } => tracing::error!("{event}"),
        LoadEvent::Again { .. } => tracing::warn!("{event}"),
    }
}

fn tell(report: &LoadReport) {
    for stream in &report.streams {
        let name = stream.stream.as_str();
        tracing::info!(
            stream = name,
            objects = stream.objects,
            loaded = stream.rows.loaded,
            duplicates = stream.rows.duplicates,
            conflicts = stream.rows.conflicts,
            complete_through = stream.complete_through,
            held_back_by = stream.held_back_by,
            looked_through = stream.looked_through,
            "a round has ended"
        );
        for object in &stream.unbooked {
            tracing::error!(stream = name, key = object.key, why = object.why, "an object is not in the books");
        }
        for stranger in &stream.strangers {
            tracing::warn!(stream = name, key = stranger.key, why = stranger.why, "a stranger among the objects");
        }
        if let Some(objects) = stream.set_aside_objects.filter(|objects| *objects > 0) {
            tracing::warn!(stream = name, objects, "objects are set aside");
        }
        if let Some(problem) = &stream.problem {
            tracing::error!(stream = name, problem, "the stream is not loaded");
        }
    }
}
