//! A report as one page of HTML: figures and plots, with nothing from elsewhere and no script, for light and dark.

use std::fmt::{self, Display, Formatter};

use super::{
    Report, Sample, Second,
    svg::{Plot, Series, escaped},
    text::{bytes, duration, number, rows, title, warnings},
};

/// Shows a report, and within its plots another one to compare with.
#[derive(Debug, Clone, Copy)]
pub struct Html<'a> {
    /// The report.
    pub report: &'a Report,
    /// The other one: its lines are dashed.
    pub other: Option<&'a Report>,
}

/// The colours of series are told apart in both modes, also by most who do not see red and green.
const STYLE: &str = "
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2024; --faint: #69727d; --rule: #dfe3e8; --warn: #a33b00;
  --c0: #2563c9; --c1: #188a5b; --c2: #c2410c; --c3: #7c3aed; --c4: #9f1239; --c5: #8a6d00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e9ec; --faint: #98a2ad; --rule: #2e353c;
  --warn: #ffb37a; --c0: #7db0ff; --c1: #57cf9b; --c2: #ff9a62; --c3: #c0a2ff; --c4: #ff8fa6; --c5: #e3c54f; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 52rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin: 2rem 0 0.25rem; }
p.lead { color: var(--faint); margin-top: 0; } li.warning { color: var(--warn); }
table { border-collapse: collapse; width: 100%; } th, td { border-bottom: 1px solid var(--rule); padding: 0.25rem 0.75rem
  0.25rem 0; text-align: left; vertical-align: top; } th { font-weight: 500; white-space: nowrap; }
svg { display: block; height: auto; width: 100%; } .grid { stroke: var(--rule); } .mark { stroke: var(--faint);
  stroke-dasharray: 2 3; } .label { fill: var(--faint); font: 11px system-ui, sans-serif; }
.line { fill: none; stroke-linejoin: round; stroke-width: 1.6; } .line.other { opacity: 0.75; stroke-dasharray: 5 4; }
.bars.other { opacity: 0.4; }
.line.s0 { stroke: var(--c0); } .line.s1 { stroke: var(--c1); } .line.s2 { stroke: var(--c2); }
.line.s3 { stroke: var(--c3); } .line.s4 { stroke: var(--c4); } .line.s5 { stroke: var(--c5); }
.bars.s0 { fill: var(--c0); } .bars.s1 { fill: var(--c1); }
.key { color: var(--faint); font-size: 13px; margin-right: 1rem; white-space: nowrap; } .key i { display: inline-block;
  height: 3px; margin-right: 0.35rem; vertical-align: middle; width: 1.1rem; }
.key.s0 i { background: var(--c0); } .key.s1 i { background: var(--c1); } .key.s2 i { background: var(--c2); }
.key.s3 i { background: var(--c3); } .key.s4 i { background: var(--c4); } .key.s5 i { background: var(--c5); }
";

impl Display for Html<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let title_text = escaped(&title(self.report));
        f.write_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n")?;
        f.write_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n")?;
        write!(f, "<title>Rehearsal: {title_text}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n")?;
        write!(f, "<h1>Rehearsal: {}</h1>\n<p class=\"lead\">{title_text}</p>\n", escaped(&self.report.setup.profile))?;
        if let Some(other) = self.other {
            writeln!(f, "<p class=\"lead\">Compared with (dashed): {}</p>", escaped(&title(other)))?;
        }
        self.warnings(f)?;
        self.table(f)?;
        for (heading, plot) in plots(self.report, self.other) {
            section(f, heading, &plot)?;
        }
        f.write_str("</body>\n</html>\n")
    }
}

impl Html<'_> {
    fn warnings(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let warnings = warnings(self.report);
        if warnings.is_empty() {
            return Ok(());
        }
        f.write_str("<ul>\n")?;
        warnings.iter().try_for_each(|warning| writeln!(f, "<li class=\"warning\">{}</li>", escaped(warning)))?;
        f.write_str("</ul>\n")
    }

    fn table(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let others = self.other.map(rows).unwrap_or_default();
        f.write_str("<table>\n")?;
        if self.other.is_some() {
            f.write_str("<tr><th></th><th>this one</th><th>the other</th></tr>\n")?;
        }
        for (name, value) in rows(self.report) {
            write!(f, "<tr><th>{}</th><td>{}</td>", escaped(name), escaped(&value))?;
            if self.other.is_some() {
                let other = others.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value);
                write!(f, "<td>{}</td>", escaped(other))?;
            }
            f.write_str("</tr>\n")?;
        }
        f.write_str("</table>\n")
    }
}

/// A plot below its heading and its key.
fn section(f: &mut Formatter<'_>, heading: &str, plot: &Plot) -> fmt::Result {
    write!(f, "<section>\n<h2>{}</h2>\n<div>", escaped(heading))?;
    for series in plot.series.iter().filter(|series| !series.other) {
        write!(f, "<span class=\"key s{}\"><i></i>{}</span>", series.class, escaped(&series.name))?;
    }
    write!(f, "</div>\n{plot}\n</section>\n")
}

/// What a line of a plot shows: its name and its value in each second, or in each sample.
type OfSeconds = (&'static str, fn(&Second) -> Option<f64>);
type OfSamples = (&'static str, fn(&Sample) -> Option<f64>);

/// Every plot with its heading.
fn plots(report: &Report, other: Option<&Report>) -> Vec<(&'static str, Plot)> {
    let both = || [(report, false)].into_iter().chain(other.map(|other| (other, true)));
    let until = both().map(|(report, _)| (report.seconds.len() as f64).max(report.setup.lasted)).fold(1.0, f64::max);
    let mark = report.setup.flood_end.map(|end| (end, "the flood ends"));
    let plot = |title: &'static str, write: fn(f64) -> String, logarithmic, series| {
        (title, Plot { title: title.to_owned(), write, logarithmic, until, mark, series })
    };
    let of_seconds = |lines: &[OfSeconds]| -> Vec<Series> {
        let points = |report: &Report, value: fn(&Second) -> Option<f64>| {
            report.seconds.iter().enumerate().map(|(n, second)| (n as f64 + 0.5, value(second))).collect()
        };
        lines_of(both(), lines, points)
    };
    let of_samples = |lines: &[OfSamples]| -> Vec<Series> {
        let points = |report: &Report, value: fn(&Sample) -> Option<f64>| {
            report.samples.iter().map(|sample| (sample.at, value(sample))).collect()
        };
        lines_of(both(), lines, points)
    };
    let rates = of_seconds(&[
        ("offered", |second| Some((second.new + second.returns) as f64)),
        ("accepted", |second| Some(second.accepted as f64)),
        ("refused", |second| Some(second.all_refused() as f64)),
        ("new batches", |second| Some(second.new as f64)),
        ("failed", |second| Some(second.failed as f64)),
        ("not sent", |second| Some(second.unsent as f64)),
    ]);
    let latency = of_seconds(&[("p50", |second| second.p50), ("p99", |second| second.p99)]);
    let backlog = of_samples(&[("backlog", |sample| sample.backlog)]);
    let memory = of_samples(&[("resident", |sample| sample.resident), ("ceiling", |sample| sample.ceiling)]);
    let returns = of_seconds(&[("returns", |second| Some(second.returns as f64))]);
    vec![
        plot("Offered, accepted and refused a second", number, false, rates),
        plot("Latency of accepted batches, from when they were due", duration, true, latency),
        plot("Backlog", bytes, false, backlog),
        plot("Memory against the ceiling", bytes, false, memory),
        plot("Returns a second", number, false, returns),
        ("When refused devices were told to come back, in seconds", told(both())),
    ]
}

fn lines_of<'r, T: Copy>(
    reports: impl Iterator<Item = (&'r Report, bool)>,
    lines: &[(&'static str, T)],
    points: impl Fn(&Report, T) -> Vec<(f64, Option<f64>)>,
) -> Vec<Series> {
    let mut all = Vec::new();
    for (report, other) in reports {
        for (class, (name, value)) in lines.iter().enumerate() {
            let points = points(report, *value);
            all.push(Series { name: (*name).to_owned(), class, other, bars: false, points });
        }
    }
    all
}

/// How often each number of seconds was told.
fn told<'r>(reports: impl Iterator<Item = (&'r Report, bool)>) -> Plot {
    let series: Vec<Series> = reports
        .map(|(report, other)| {
            let points = report.told.seconds.iter().map(|(seconds, times)| (*seconds as f64, Some(*times as f64)));
            Series { name: "refusals".to_owned(), class: 0, other, bars: true, points: points.collect() }
        })
        .collect();
    let last = series.iter().flat_map(|series| &series.points).map(|(seconds, _)| *seconds).fold(4.0, f64::max);
    let title = "How often each time to come back was told".to_owned();
    Plot { title, write: number, logarithmic: false, until: last + 1.0, mark: None, series }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::svg::tests::elements, *};

    fn report() -> Report {
        let mut report = Report::default();
        report.setup.profile = "advert".into();
        report.setup.target = "http://<b>&\"'".into();
        report.setup.flood_end = Some(1.5);
        report.seconds = vec![
            Second { new: 10, accepted: 7, p50: Some(0.001), p99: Some(0.02), ..Second::default() },
            Second { returns: 3, refused: BTreeMap::from([("backlog".to_owned(), 3)]), ..Second::default() },
        ];
        report.samples = vec![
            Sample { at: 0.5, backlog: Some(1e6), resident: Some(2e7), ceiling: Some(3e8), ..Sample::default() },
            Sample { at: 1.0, ..Sample::default() },
        ];
        report.told.seconds = BTreeMap::from([(3, 2), (7, 1)]);
        report.notes = vec!["a <note>".into()];
        report
    }

    /// The page without what is no element: the style sheet and the document's type.
    fn page(html: &Html<'_>) -> String {
        html.to_string().replacen("<!DOCTYPE html>", "", 1)
    }

    fn count(names: &[String], name: &str) -> usize {
        names.iter().filter(|found| *found == name).count()
    }

    #[test]
    fn a_page_is_well_formed_has_every_plot_and_takes_nothing_from_elsewhere() {
        let report = report();
        let page = page(&Html { report: &report, other: None });
        let names = elements(&page);
        assert_eq!((count(&names, "svg"), count(&names, "section"), count(&names, "script")), (6, 6, 0));
        // Six rates, two percentiles, backlog, resident and ceiling, returns, and the bars.
        assert_eq!(count(&names, "path"), 6 + 2 + 1 + 2 + 1 + 1);
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("a &lt;note&gt;"));
        for stranger in ["src=", "href=", "url(", "@import"] {
            assert!(!page.contains(stranger), "{stranger}");
        }
    }

    #[test]
    fn another_report_is_drawn_dashed_over_this_one() {
        let (report, mut other) = (report(), report());
        other.seconds.push(Second { accepted: 99, ..Second::default() });
        let page = page(&Html { report: &report, other: Some(&other) });
        let names = elements(&page);
        assert_eq!(count(&names, "path"), 2 * 13);
        assert_eq!(page.matches(" other\" d=").count(), 13);
        assert!(page.contains("the other"));
    }

    #[test]
    fn a_report_of_nothing_is_a_page_too() {
        let report = Report::default();
        assert_eq!(count(&elements(&page(&Html { report: &report, other: None })), "svg"), 6);
    }
}
