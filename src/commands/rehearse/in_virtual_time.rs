//! `logweir rehearse --virtual`.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use serde::Serialize;

use super::{EXIT_CONFIG, Wrong, deliver, fail, mix, parse, reports};
use crate::{
    cli::RehearseArgs,
    commands::EXIT_DIFFERENCE,
    rehearse::{
        files,
        profile::{Flood, Profile},
        report::{Report, text::Text},
        simulate::{
            Balancer, Figures, Fleet, Kill, Rehearsed,
            bill::{Bill, MAX_STREAMS, Prices},
            calibrate::calibrate,
            search::{Goals, search},
            simulate,
            text::{Summary, Table},
        },
    },
};

/// A report, and beside it what is seen of virtual instances only.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    report: &'a Report,
    figures: &'a Figures,
    bill: &'a Bill,
}

/// Plays what the arguments say, and tells what came of it.
pub(super) fn rehearse(arguments: &RehearseArgs) -> ExitCode {
    match play(arguments) {
        Ok(code) => code,
        Err(wrong) => fail(EXIT_CONFIG, &wrong),
    }
}

fn play(arguments: &RehearseArgs) -> Result<ExitCode, Wrong> {
    let options = &arguments.in_virtual_time;
    let (fleet, notes) = fleet(arguments)?;
    fleet.check()?;
    let prices = match &options.prices {
        Some(file) => Prices::parse(&files::prices(file)?)?,
        None => Prices::embedded()?,
    };
    let (keep, within) = (parse("--keep", &options.keep)?, parse("--within", &options.within)?);
    if !(1..=MAX_STREAMS).contains(&options.streams) {
        return Err(Wrong::Streams(options.streams));
    }
    let other = reports(arguments)?;
    let (fleet, mut rehearsed) = if options.plan {
        let found = search(&fleet, &Goals { within, refused: options.refused, ..Goals::default() })?;
        let _ = writeln!(io::stdout(), "{}", Table(&found.candidates));
        match found.best {
            Some(best) => best,
            None => return Ok(fail(EXIT_DIFFERENCE, &"no number of instances reaches the goals")),
        }
    } else {
        let rehearsed = simulate(&fleet)?;
        (fleet, rehearsed)
    };
    rehearsed.report.notes.extend(notes);
    let bill = Bill::of(&fleet, &rehearsed, &prices, keep, options.streams);
    let Rehearsed { report, figures } = &rehearsed;
    let summary = Summary { rehearsed: &rehearsed, bill: &bill, prices: &prices };
    let text = format!("{}\n{summary}", Text { report, other: other.as_ref() });
    let json = files::json(&Written { report, figures, bill: &bill });
    Ok(deliver(arguments, report, other.as_ref(), &text, json))
}

/// What is to be played, and what was found about the instances.
fn fleet(arguments: &RehearseArgs) -> Result<(Fleet, Vec<String>), Wrong> {
    let options = &arguments.in_virtual_time;
    let profile: Profile = arguments.profile.parse()?;
    let duration = match &arguments.duration {
        Some(text) => parse("--duration", text)?,
        None => profile.duration(),
    };
    let mut flood = Flood { profile, peak: 1.0, duration };
    // Each device reports once, if nobody says otherwise.
    flood.peak = arguments.peak.unwrap_or(arguments.devices as f64 / flood.batches());
    let events = u32::try_from(arguments.events).unwrap_or(u32::MAX);
    let mut fleet = Fleet::new(flood, options.instances, events);
    let mut notes = Vec::new();
    if let Some(file) = &options.calibrate {
        notes = calibrate(&mut fleet, &files::report(file)?)?;
    }
    if let Some(megabytes) = options.disk {
        fleet.machine.disk = megabytes * 1e6;
        // Whoever has a slow disk says so to the instance, too.
        let limits = &mut fleet.machine.limits;
        limits.capacity_floor = limits.capacity_floor.min(fleet.machine.disk as u64);
    }
    if let Some(workers) = options.workers {
        fleet.machine.limits.workers = workers.clamp(1, 1_024);
    }
    fleet.mix = mix(arguments, profile);
    fleet.devices = arguments.devices;
    fleet.header_only = options.header_only;
    fleet.balancer = if options.least_outstanding { Balancer::LeastOutstanding } else { Balancer::Random };
    fleet.network = parse("--network", &options.network)?;
    fleet.kills = options.kill.iter().map(|text| kill(text)).collect::<Result<_, _>>()?;
    fleet.seed = arguments.seed;
    let constant = arguments.constant_retry_after.as_deref();
    fleet.constant_retry_after = constant.map(|text| parse("--constant-retry-after", text)).transpose()?;
    Ok((fleet, notes))
}

/// `N@T`: so many instances die then.
fn kill(text: &str) -> Result<Kill, Wrong> {
    let parsed = text.split_once('@').and_then(|(instances, at)| {
        let at: Duration = humantime::parse_duration(at).ok()?;
        Some(Kill { instances: instances.parse().ok()?, at })
    });
    parsed.ok_or_else(|| Wrong::Kill(text.to_owned()))
}
