//! `logweir rehearse`.

mod in_virtual_time;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{runtime::Builder, task::LocalSet};

use super::{EXIT_CONFIG, EXIT_INTERRUPTED, EXIT_UNAVAILABLE, fail};
use crate::{
    batch::{InvalidStreamName, StreamName},
    cli::RehearseArgs,
    config,
    rehearse::{
        device::Mix,
        files::{self, FileError},
        fleet::{self, FleetError},
        plan::{Key, Plan, PlanError},
        profile::{Profile, UnknownProfile},
        progress::Progress,
        report::{Report, html::Html, text::Text},
        simulate::{self, bill::PricesError, calibrate::CalibrateError},
        target::{Target, TargetError},
    },
    signals::Signals,
};

/// The variable that the key may stand in.
const KEY_VARIABLE: &str = "LOGWEIR_REHEARSE_KEY";
/// How often progress is told where it is not a terminal that reads it.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Descriptors beside the connections: the standard streams, the runtime's, the metrics' connection, the report's files.
const OTHER_DESCRIPTORS: u64 = 64;

/// What is asked for cannot be done.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Profile(#[from] UnknownProfile),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("--stream: {0}")]
    Stream(#[from] InvalidStreamName),
    #[error("{argument} is {text:?}, which is no duration such as 90s or 5m: {error}")]
    Duration { argument: &'static str, text: String, error: humantime::DurationError },
    #[error(transparent)]
    Virtual(#[from] simulate::FleetError),
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    #[error("--prices: {0}")]
    Prices(#[from] PricesError),
    #[error("--streams is {0}: it is 1 to 64")]
    Streams(u32),
    #[error("--kill is {0:?}: it is so many instances and a time, such as 3@30s")]
    Kill(String),
    #[error("--connections is {wanted}, and the limit of open files (ulimit -Hn) is {limit}")]
    Descriptors { wanted: usize, limit: u64 },
}

/// `logweir rehearse`.
pub fn rehearse(arguments: &RehearseArgs) -> ExitCode {
    if arguments.in_virtual_time.virtual_time {
        return in_virtual_time::rehearse(arguments);
    }
    let (plan, other) = match prepare(arguments) {
        Ok(prepared) => prepared,
        Err(wrong) => return fail(EXIT_CONFIG, &wrong),
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_UNAVAILABLE, &error),
    };
    let mut signals = match Signals::of_a_terminal(&runtime) {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_UNAVAILABLE, &error),
    };
    let stop = async move {
        signals.next().await;
        // Who does not want to wait for the last answers says so again.
        signals.exit_on_another();
    };
    let mut screen = Screen::new();
    let played = LocalSet::new().block_on(&runtime, fleet::play(&plan, stop, &mut |progress| screen.tell(progress)));
    screen.clear();
    match played {
        Ok(report) => {
            let text = Text { report: &report, other: other.as_ref() }.to_string();
            deliver(arguments, &report, other.as_ref(), &text, files::json(&report))
        }
        Err(error @ FleetError::Stopped) => fail(EXIT_INTERRUPTED, &error),
        Err(error @ FleetError::UnknownCapacity { .. }) => fail(EXIT_CONFIG, &error),
        Err(error @ (FleetError::Unreachable { .. } | FleetError::Io(_))) => fail(EXIT_UNAVAILABLE, &error),
    }
}

/// The plan, and the report to compare with. Nothing is sent yet.
fn prepare(arguments: &RehearseArgs) -> Result<(Plan, Option<Report>), Wrong> {
    let profile: Profile = arguments.profile.parse()?;
    let key = match (&arguments.key, &arguments.key_file) {
        (Some(key), _) => Some(key.0.clone()),
        (None, Some(file)) => Some(files::key(file)?),
        (None, None) => config::environment()
            .find(|(name, _)| name == KEY_VARIABLE)
            .map(|(_, key)| key)
            .filter(|key| !key.is_empty()),
    };
    let duration = |argument, text: &Option<String>| text.as_deref().map(|text| parse(argument, text)).transpose();
    let plan = Plan {
        target: Target::resolve(&arguments.target, arguments.i_own_this_target)?,
        metrics: Target::resolve(&arguments.metrics, arguments.i_own_this_target)?,
        profile,
        peak: arguments.peak,
        duration: duration("--duration", &arguments.duration)?.unwrap_or(profile.duration()),
        mix: mix(arguments, profile),
        devices: arguments.devices,
        connections: arguments.connections,
        events: arguments.events,
        gzip: arguments.gzip,
        stream: StreamName::new(&arguments.stream)?,
        key: key.map(Key),
        seed: arguments.seed,
        constant_retry_after: duration("--constant-retry-after", &arguments.constant_retry_after)?,
    };
    plan.check()?;
    make_room(plan.connections)?;
    Ok((plan, reports(arguments)?))
}

/// How devices behave.
fn mix(arguments: &RehearseArgs, profile: Profile) -> Mix {
    let parts = [arguments.behave, arguments.careless, arguments.stubborn];
    match parts.map(Option::unwrap_or_default) {
        _ if parts.iter().all(Option::is_none) => profile.mix(),
        [behave, careless, stubborn] => Mix { behave, careless, stubborn },
    }
}

/// The report to compare with; sees to it that others can be written.
fn reports(arguments: &RehearseArgs) -> Result<Option<Report>, FileError> {
    let other = arguments.compare.as_deref().map(files::report).transpose()?;
    for file in [&arguments.json, &arguments.html].into_iter().flatten() {
        files::writable(file)?;
    }
    Ok(other)
}

/// A duration as people write it.
fn parse(argument: &'static str, text: &str) -> Result<Duration, Wrong> {
    humantime::parse_duration(text).map_err(|error| Wrong::Duration { argument, text: text.to_owned(), error })
}

/// Raises the soft limit of open files, if so many connections need it.
fn make_room(connections: usize) -> Result<(), Wrong> {
    let needed = connections as u64 + OTHER_DESCRIPTORS;
    let has_room = |limit: &Rlimit| limit.current.is_none_or(|current| current >= needed);
    let found = getrlimit(Resource::Nofile);
    if has_room(&found) {
        return Ok(());
    }
    let raised = Rlimit { current: found.maximum, maximum: found.maximum };
    if has_room(&raised) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    Err(Wrong::Descriptors { wanted: connections, limit: found.maximum.unwrap_or(u64::MAX) })
}

/// Writes the report where it was asked for. A file that cannot be written does not keep the others from being.
fn deliver(
    arguments: &RehearseArgs,
    report: &Report,
    other: Option<&Report>,
    text: &str,
    json: io::Result<String>,
) -> ExitCode {
    let mut code = match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    };
    if let Some(file) = &arguments.json {
        let written = json.map_err(|error| FileError::Io { path: file.clone(), error });
        if let Err(error) = written.and_then(|text| files::write(file, &text)) {
            code = fail(EXIT_UNAVAILABLE, &error);
        }
    }
    if let Some(file) = &arguments.html
        && let Err(error) = files::write(file, &Html { report, other }.to_string())
    {
        code = fail(EXIT_UNAVAILABLE, &error);
    }
    code
}

/// Where progress is told: a line that is written over on a terminal, and lines now and then elsewhere.
struct Screen {
    terminal: bool,
    told: Option<Duration>,
}

impl Screen {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), told: None }
    }

    fn tell(&mut self, progress: &Progress) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r{progress}\x1b[K");
        } else if self.told.is_none_or(|told| progress.now >= told + TELL_EVERY) {
            let _ = writeln!(io::stderr(), "{progress}");
            self.told = Some(progress.now);
        }
    }

    /// Leaves the terminal's line to what is written next.
    fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
