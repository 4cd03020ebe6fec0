//! `logweir rehearse --virtual`: the command, and whether what it foretells is what a real instance does.

use std::{
    fs,
    io::{self, Write},
    time::Duration,
};

use logweir::rehearse::{
    device::Mix,
    profile::{Flood, Profile},
    report::{Kind, Report},
    simulate::{Fleet, calibrate::calibrate, simulate},
};

use crate::{checks::EXIT_CONFIG, process::Place};

fn report(place: &Place, name: &str) -> Report {
    serde_json::from_str(&fs::read_to_string(place.path(name)).unwrap()).unwrap()
}

/// Bytes a second that the real instance and the virtual one append.
const RATE: u32 = 1_000_000;

/// The same small flood, three times what can be taken, against a real instance with a slow disk and a virtual one.
///
/// What is compared are sums over the whole time. The bounds are wide enough for a machine that is shared, where a group
/// or an answer is late now and then, and narrow enough to see an instance that takes a third less, or that sends its
/// devices to seconds that are full. On a machine that has no time for the real one at all, there is nothing to compare.
#[test]
fn a_virtual_instance_foretells_what_a_real_one_does() {
    let place = Place::new();
    let rate = RATE.to_string();
    let server =
        place.serve(&[("SPOOL__MAX_RATE", &rate), ("PACING__CAPACITY_FLOOR", &rate), ("SERVER__WORKERS", "1")]);
    let (target, metrics) = (format!("http://{}", server.address), format!("http://{}/metrics", server.admin));
    let flood = ["--profile", "advert", "--peak", "470", "--duration", "20s", "--behave", "1", "--json", "real.json"];
    let ended = place.run(&[&["rehearse", &target, "--metrics", &metrics], &flood[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let real = report(&place, "real.json");
    server.stop();

    let flood = Flood { duration: Duration::from_secs(20), ..Flood::new(Profile::Advert, 470.0) };
    let mut fleet = Fleet::new(flood, 1, 10);
    (fleet.mix, fleet.end, fleet.devices) = (Mix { behave: 1.0, ..Mix::default() }, flood.duration, 1_000_000);
    fleet.machine.limits.capacity_floor = RATE.into();
    // A disk that is slowed down takes groups of 50 ms.
    fleet.machine.group_bytes = u64::from(RATE) / 20;
    let notes = calibrate(&mut fleet, &real).unwrap();
    assert!((0.85..1.15).contains(&(fleet.machine.disk / f64::from(RATE))), "{notes:?}");
    let foretold = simulate(&fleet).unwrap().report;

    if real.generator.lag.p99 > 0.5 || real.totals.unsent > 0 {
        // What came of it says nothing. A machine on which this is so every time shows it here.
        let _ = writeln!(io::stdout(), "the generator could not play the flood: {:?}", real.generator);
        return;
    }
    let told =
        format!("{:?}\n{:?}\n{:?}\n{:?}", real.totals, real.first_returns, foretold.totals, foretold.first_returns);
    let _ = writeln!(io::stdout(), "{told}");
    assert_eq!(real.totals.new, foretold.totals.new, "the same seed gives the same arrivals");
    let near = |one: u64, other: u64, part: f64| (one as f64 / other as f64 - 1.0).abs() < part;
    assert!(near(real.totals.accepted, foretold.totals.accepted, 0.15), "{told}");
    assert!(near(real.totals.sent, foretold.totals.sent, 0.15), "{told}");
    let let_in = |report: &Report| report.first_returns["behave"].share().unwrap();
    assert!((let_in(&real) - let_in(&foretold)).abs() < 0.1, "{told}");
}

#[test]
fn a_plan_answers_how_many_how_long_and_how_much() {
    let place = Place::new();
    let advert =
        ["rehearse", "--virtual", "--profile", "advert", "--devices", "60000", "--duration", "10s", "--disk", "5"];
    let plan = ["--plan", "--refused", "0.2", "--within", "2m", "--behave", "1", "--json", "plan.json"];
    let ended = place.run(&[&advert[..], &plan].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let enough: Vec<&str> = ended.stdout.lines().filter(|line| line.ends_with("enough")).collect();
    assert!(!enough.is_empty(), "{}", ended.stdout);
    let planned = report(&place, "plan.json");
    assert_eq!((planned.setup.kind, planned.totals.waiting), (Kind::Virtual, 0));
    assert!(enough[0].trim_start().starts_with(&planned.setup.instances.to_string()), "{}", ended.stdout);
    for part in ["all is in", "LCU-hours", "PUTs", "USD", "c7g.large"] {
        assert!(ended.stdout.contains(part), "{part:?} is not in\n{}", ended.stdout);
    }
    let written: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(place.path("plan.json")).unwrap()).unwrap();
    assert!(written["bill"]["cost"].as_f64().unwrap() > 0.0 && written["figures"]["all_in"].is_number());

    // With that many instances it is the same; half of them are not enough, and one that dies shows.
    let number = planned.setup.instances.to_string();
    let same = ["--instances", &number, "--behave", "1", "--json", "same.json", "--html", "same.html"];
    let ended = place.run(&[&advert[..], &same, &["--compare", "plan.json"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(report(&place, "same.json"), planned);
    assert!(place.path("same.html").exists());
    let kill = ["--instances", &number, "--behave", "1", "--kill", "1@5s", "--json", "kill.json"];
    assert_eq!(place.run(&[&advert[..], &kill].concat()).code, Some(0));
    assert!(report(&place, "kill.json").totals.failed.contains_key("status 502"));
}

#[test]
fn what_cannot_be_played_in_virtual_time_is_told() {
    let place = Place::new();
    fs::write(place.path("prices.toml"), "as_of = \"today\"\n").unwrap();
    let advert = ["rehearse", "--virtual", "--profile", "advert"];
    for (more, told) in [
        (["--kill", "one@5s"], "--kill"),
        (["--instances", "0"], "instances"),
        (["--prices", "prices.toml"], "--prices"),
        (["--keep", "long"], "--keep"),
        (["--streams", "0"], "--streams"),
        (["--calibrate", "none.json"], "none.json"),
        (["--disk", "0"], "disk"),
    ] {
        let ended = place.run(&[&advert[..], &more].concat());
        assert_eq!(ended.code, Some(EXIT_CONFIG), "{more:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{more:?}: {}", ended.stderr);
    }
}
