//! A report as text, for a terminal.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter, Write as _},
};

use super::{Kind, Percentiles, Report, last_trouble};

/// Above this a generator is late enough to say so, in seconds: most of its tries leave within a tick of its timer, which
/// is a millisecond.
pub const LATE: f64 = 0.05;

/// Shows a report, and beside it another one to compare with.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The report.
    pub report: &'a Report,
    /// The other one.
    pub other: Option<&'a Report>,
}

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", harmless(&title(self.report)))?;
        if let Some(other) = self.other {
            writeln!(f, "compared with: {}", harmless(&title(other)))?;
        }
        writeln!(f)?;
        let rows = rows(self.report);
        let others: BTreeMap<_, _> = self.other.map(self::rows).into_iter().flatten().collect();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let value_width = rows.iter().map(|(_, value)| value.chars().count()).max().unwrap_or_default();
        for (name, value) in &rows {
            match others.get(name) {
                Some(other) => {
                    writeln!(f, "  {name:<width$}  {:<value_width$}  | {}", harmless(value), harmless(other))?;
                }
                None => writeln!(f, "  {name:<width$}  {}", harmless(value))?,
            }
        }
        let warnings = warnings(self.report);
        if !warnings.is_empty() {
            writeln!(f)?;
        }
        warnings.iter().try_for_each(|warning| writeln!(f, "! {}", harmless(warning)))
    }
}

/// `text` without control characters: servers and files do not move the cursor of a terminal.
fn harmless(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// What was rehearsed, in a line.
pub fn title(report: &Report) -> String {
    let setup = &report.setup;
    let mut title = format!(
        "{} against {}: peak {} new batches/s, {:.0} s, {} events in {} a batch{}",
        setup.profile,
        setup.target,
        number(setup.peak),
        setup.duration,
        setup.events,
        bytes(setup.body_bytes),
        if setup.gzip { ", gzip" } else { "" },
    );
    if setup.instances > 1 {
        let _ = write!(title, ", {} instances", setup.instances);
    }
    if let Some(told) = setup.constant_retry_after {
        let _ = write!(title, ", every Retry-After taken for {}", duration(told));
    }
    title
}

/// The figures, by name, in the order of a reader's questions.
pub fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let (totals, latency, generator) = (&report.totals, &report.latency, &report.generator);
    let lasted = report.setup.lasted.max(1e-9);
    let best = report.seconds.iter().map(|second| second.accepted).max().unwrap_or_default();
    let mut rows = vec![
        (
            "offered",
            format!(
                "{} tries: {} new batches + {} returns",
                count(totals.new + totals.returns),
                count(totals.new),
                count(totals.returns)
            ),
        ),
        ("accepted", format!("{} ({} of the batches)", count(totals.accepted), share(totals.accepted, totals.new))),
        (
            "goodput",
            format!(
                "{} batches/s on average, {} in the best second; {}/s",
                number(totals.accepted as f64 / lasted),
                count(best),
                bytes(totals.accepted_bytes as f64 / lasted)
            ),
        ),
        ("refused", counted(totals.all_refused(), &totals.refused)),
        ("failed", counted(totals.all_failed(), &totals.failed)),
        ("dropped, given up", format!("{}, {}", count(totals.dropped), count(totals.given_up))),
        ("waiting at the end", format!("{} (at most {})", count(totals.waiting), count(generator.most_waiting))),
        ("latency if accepted", percentiles(&latency.accepted)),
        ("latency if refused", percentiles(&latency.refused)),
        ("told to come back in", percentiles(&report.told.spread)),
        ("let in at first return", first_returns(report)),
        ("recovered", recovered(report)),
    ];
    let most = |of: fn(&super::Sample) -> Option<f64>| report.samples.iter().filter_map(of).reduce(f64::max);
    if let Some(backlog) = most(|sample| sample.backlog) {
        rows.push(("backlog", format!("at most {}", bytes(backlog))));
    }
    if let (Some(resident), Some(ceiling)) = (most(|sample| sample.resident), most(|sample| sample.ceiling)) {
        rows.push(("memory", format!("at most {} of a ceiling of {}", bytes(resident), bytes(ceiling))));
    }
    if report.setup.kind == Kind::Virtual {
        // Nothing was sent.
        return rows;
    }
    rows.push((
        "generator",
        format!(
            "late by {}; {} of {} connections",
            percentiles(&generator.lag),
            generator.most_connections,
            generator.connections
        ),
    ));
    rows.push(("not sent", format!("{} tries, the generator's shortfall", count(totals.unsent))));
    rows
}

/// What a reader must know to judge the figures.
pub fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = report.notes.clone();
    if report.totals.dropped > 0 {
        warnings.push(format!(
            "{} batches were answered so that devices drop them: is the stream declared, and does it take such events?",
            count(report.totals.dropped)
        ));
    }
    if let Some(times) = ["status 401", "status 403"].iter().find_map(|status| report.totals.failed.get(*status)) {
        warnings.push(format!("{} tries had no key that lets them in: give --key-file.", count(*times)));
    }
    let unsent = report.totals.unsent;
    if unsent > 0 {
        warnings.push(format!(
            "The generator did not send {} tries that were due, for want of connections or room: the target met less than \
             the profile says.",
            count(unsent)
        ));
    }
    let lag = report.generator.lag;
    let generator = &report.generator;
    if lag.p99 > LATE && generator.most_connections >= generator.connections {
        warnings.push(format!(
            "All {} connections were in use: one try of a hundred waited {} or more for a free one. Latencies count from \
             when a try was due, so this wait is in them. More connections press harder: --connections.",
            generator.connections,
            duration(lag.p99)
        ));
    } else if lag.p99 > LATE {
        warnings.push(format!(
            "The generator itself was late: one try of a hundred left {} or more after it was due. Latencies count from \
             when a try was due, so this lateness is in them.",
            duration(lag.p99)
        ));
    }
    warnings
}

fn first_returns(report: &Report) -> String {
    if report.first_returns.is_empty() {
        return "nobody was refused and came back".to_owned();
    }
    let one = |(name, returns): (&String, &super::FirstReturns)| {
        format!("{name} {} of {}", share(returns.let_in, returns.returned), count(returns.returned))
    };
    report.first_returns.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn recovered(report: &Report) -> String {
    match (report.setup.flood_end, report.recovery) {
        (None, _) => "the profile has no flood".to_owned(),
        (Some(_), None) => "not before the end".to_owned(),
        (Some(end), Some(after)) => {
            let quiet = format!("{} after the flood, which ended at {}", duration(after), duration(end));
            // Whoever was told to come back much later may be refused then, behind five quiet seconds.
            match last_trouble(&report.seconds).filter(|last| *last as f64 > end + after) {
                Some(last) => format!("{quiet}; the last refusal or failure came in second {last}"),
                None => quiet,
            }
        }
    }
}

fn counted(all: u64, by_name: &BTreeMap<String, u64>) -> String {
    if all == 0 {
        return "0".to_owned();
    }
    let names: Vec<String> = by_name.iter().map(|(name, times)| format!("{name} {}", count(*times))).collect();
    format!("{}: {}", count(all), names.join(", "))
}

fn percentiles(found: &Percentiles) -> String {
    if found.count == 0 {
        return "-".to_owned();
    }
    format!(
        "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        duration(found.p50),
        duration(found.p90),
        duration(found.p99),
        duration(found.p999),
        duration(found.max)
    )
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

/// A count, its thousands set apart.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: a whole number from ten on.
pub fn number(value: f64) -> String {
    if value.abs() >= 10.0 { count(value.round().max(0.0) as u64) } else { format!("{value:.1}") }
}

/// A length in bytes.
pub fn bytes(bytes: f64) -> String {
    match bytes {
        _ if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        _ if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        _ if bytes >= 1e3 => format!("{:.1} kB", bytes / 1e3),
        _ => format!("{bytes:.0} B"),
    }
}

/// A duration of so many seconds.
pub fn duration(seconds: f64) -> String {
    match seconds {
        _ if seconds <= 0.0 => "0 s".to_owned(),
        _ if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        _ if seconds < 100.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::report::{FirstReturns, Sample, Second};

    fn report() -> Report {
        let mut report = Report::default();
        report.setup.profile = "advert".into();
        report.setup.lasted = 10.0;
        (report.totals.new, report.totals.accepted, report.totals.returns) = (12_345, 12_000, 7);
        report.totals.refused = BTreeMap::from([("backlog".to_owned(), 1_300), ("memory".to_owned(), 2)]);
        report.first_returns = BTreeMap::from([("behave".to_owned(), FirstReturns { returned: 1_000, let_in: 961 })]);
        report.samples = vec![
            Sample { backlog: Some(5e6), resident: Some(3e7), ceiling: Some(3e8), ..Sample::default() },
            Sample { backlog: Some(2e6), resident: Some(4e7), ceiling: Some(3e8), ..Sample::default() },
        ];
        report
    }

    #[test]
    fn the_text_has_the_figures_and_hides_no_shortfall() {
        let mut report = report();
        let text = Text { report: &report, other: None }.to_string();
        for part in [
            "12,352 tries: 12,345 new batches + 7 returns",
            "12,000 (97.2 % of the batches)",
            "1,302: backlog 1,300, memory 2",
            "behave 96.1 % of 1,000",
            "at most 5.0 MB",
            "at most 40.0 MB of a ceiling of 300.0 MB",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("! "), "{text}");
        report.totals.unsent = 9;
        report.generator.connections = 64;
        report.generator.lag = Percentiles { count: 10, p99: 0.2, ..Percentiles::default() };
        let text = Text { report: &report, other: None }.to_string();
        assert!(
            text.contains("! The generator did not send 9 tries") && text.contains("! The generator itself was late")
        );
        report.generator.most_connections = 64;
        let text = Text { report: &report, other: None }.to_string();
        assert!(text.contains("! All 64 connections were in use") && !text.contains("itself was late"), "{text}");
    }

    #[test]
    fn a_recovery_does_not_hide_who_is_refused_later() {
        let mut report = report();
        (report.setup.flood_end, report.recovery) = (Some(1.0), Some(2.0));
        report.seconds = vec![Second::default(); 12];
        let recovered = |report: &Report| rows(report).into_iter().find(|(name, _)| *name == "recovered").unwrap().1;
        assert_eq!(recovered(&report), "2.0 s after the flood, which ended at 1.0 s");
        report.seconds[10].failed = 1;
        assert!(
            recovered(&report).ends_with("; the last refusal or failure came in second 10"),
            "{}",
            recovered(&report)
        );
    }

    #[test]
    fn a_row_does_not_hide_because_another_gauge_is_missing() {
        let mut report = report();
        report.samples = vec![Sample { backlog: Some(5e6), ..Sample::default() }];
        let names: Vec<_> = rows(&report).into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"backlog") && !names.contains(&"memory"), "{names:?}");
    }

    #[test]
    fn what_servers_and_files_say_does_not_command_the_terminal() {
        let mut report = report();
        let evil = "\u{1b}]0;x\u{7}\u{9b}2J";
        report.totals.refused.insert(evil.into(), 1);
        report.setup.target = evil.into();
        report.notes.push(evil.into());
        let text = Text { report: &report, other: Some(&report) }.to_string();
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    }

    #[test]
    fn another_report_stands_beside_it() {
        let (report, mut other) = (report(), report());
        other.totals.accepted = 1;
        let text = Text { report: &report, other: Some(&other) }.to_string();
        let line = text.lines().find(|line| line.contains("accepted ")).unwrap();
        assert!(line.contains("12,000") && line.contains("| 1 (0.0 %"), "{line}");
    }

    #[test]
    fn figures_are_written_as_people_read_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 2.345, 12_345.6].map(number), ["0.0", "2.3", "12,346"]);
        assert_eq!([7.0, 4_711.0, 2.5e6, 3e9].map(bytes), ["7 B", "4.7 kB", "2.5 MB", "3.00 GB"]);
        assert_eq!([0.0, 0.000_12, 0.0123, 2.5, 240.0].map(duration), ["0 s", "120 µs", "12.3 ms", "2.5 s", "240 s"]);
    }
}
