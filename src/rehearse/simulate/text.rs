//! What a rehearsal in virtual time found, as text for a terminal: what is not in the report of any rehearsal.

use std::fmt::{self, Display, Formatter};

use super::{
    Rehearsed,
    bill::{Bill, Prices},
    search::Candidate,
};
use crate::rehearse::report::text::{bytes, count, duration, number};

/// Shows what instances saw, and the bill.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a> {
    /// What was found.
    pub rehearsed: &'a Rehearsed,
    /// What it costs.
    pub bill: &'a Bill,
    /// By which prices.
    pub prices: &'a Prices,
}

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { rehearsed: Rehearsed { report, figures }, bill, prices } = self;
        let all_in = match figures.all_in {
            Some(all_in) => format!("{} after the start", duration(all_in)),
            None => "not before the end".to_owned(),
        };
        let money = |sum: f64| format!("{sum:.2} {}", prices.currency);
        let rows = [
            ("all is in", all_in),
            ("refused at first try", format!("{:.1} % of the batches", 100.0 * figures.first_refused_share(report))),
            (
                "peak backlog",
                format!(
                    "{}, {} on one instance",
                    bytes(figures.peak_backlog as f64),
                    duration(figures.peak_backlog_seconds)
                ),
            ),
            ("peak tries", format!("{} a second", count(figures.peak_tries))),
            ("stored", format!("{} of lines, {} segments", bytes(figures.stored as f64), count(figures.segments))),
            (
                "instances",
                format!(
                    "{} × {} h of {}: {}",
                    count(bill.instances.into()),
                    hours(bill.hours),
                    prices.instance,
                    money(bill.instances_cost)
                ),
            ),
            ("volumes", money(bill.volumes_cost)),
            (
                "load balancer",
                format!(
                    "{} LCU-hours by use, {} LCUs to reserve for the peak: {}",
                    number(bill.lcu_hours),
                    number(bill.peak_lcus),
                    money(bill.balancer_cost)
                ),
            ),
            ("S3", format!("{} PUTs: {}", count(bill.puts), money(bill.puts_cost))),
            ("in all", format!("{} (list prices of {}, {})", money(bill.cost), prices.region, prices.as_of)),
        ];
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        rows.iter().try_for_each(|(name, value)| writeln!(f, "  {name:<width$}  {value}"))
    }
}

fn hours(hours: f64) -> String {
    format!("{hours:.2}")
}

/// Shows what was tried to find the fewest instances.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a>(pub &'a [Candidate]);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:>9}  {:>24}  {:>16}  {:>8}  {:>8}",
            "instances", "all in after the advert", "refused at first", "given up", "backlog"
        )?;
        for tried in self.0 {
            writeln!(
                f,
                "  {:>9}  {:>24}  {:>14.1} %  {:>6.2} %  {:>8}{}",
                count(tried.instances.into()),
                tried.all_in.map_or_else(|| "not before the end".to_owned(), duration),
                100.0 * tried.refused,
                100.0 * tried.lost,
                duration(tried.backlog_seconds),
                if tried.holds { "  enough" } else { "" }
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::{report::Report, simulate::Figures};

    #[test]
    fn the_summary_answers_how_many_how_long_and_how_much() {
        let mut report = Report::default();
        report.totals.new = 1_000;
        let figures = Figures { all_in: Some(87.4), first_refused: 123, peak_tries: 4_567, ..Figures::default() };
        let bill = Bill { instances: 12, hours: 1.0, cost: 3.456, ..Bill::default() };
        let (rehearsed, prices) = (Rehearsed { report, figures }, Prices::embedded().unwrap());
        let text = Summary { rehearsed: &rehearsed, bill: &bill, prices: &prices }.to_string();
        for part in ["87.4 s after the start", "12.3 % of the batches", "4,567 a second", "12 × 1.00 h", "3.46 USD"] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        let candidate =
            Candidate { instances: 12, all_in: None, refused: 0.1, lost: 0.0, backlog_seconds: 0.9, holds: false };
        let enough = Candidate { instances: 24, all_in: Some(30.0), holds: true, ..candidate };
        let text = Table(&[candidate, enough]).to_string();
        assert_eq!(text.lines().filter(|line| line.ends_with("enough")).count(), 1);
        assert!(text.contains("not before the end") && text.contains("30.0 s"), "{text}");
    }
}
