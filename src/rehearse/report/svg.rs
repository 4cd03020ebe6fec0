//! Plots as SVG: lines over time and bars, without a script and without a colour of their own: the page's style sheet has
//! the classes `s0`, `s1`, … for series, `grid`, `mark` and `label`, so that a plot is readable on light and on dark.

use std::fmt::{self, Display, Formatter, Write as _};

/// The plot's size and the margins around its area, in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// How many parts an axis has, about.
const PARTS: f64 = 5.0;
/// The most points of a line. Longer ones keep the highest of those that fall together, so that no spike is lost.
const MAX_POINTS: usize = 1_200;

/// A plot.
#[derive(Debug, Clone)]
pub struct Plot {
    /// What it shows, for who cannot see it.
    pub title: String,
    /// How values are written.
    pub write: fn(f64) -> String,
    /// Whether values stand by their order of magnitude. What is not above 0 is left out then.
    pub logarithmic: bool,
    /// How far the axis of time goes, in seconds.
    pub until: f64,
    /// A moment to mark, and what it is.
    pub mark: Option<(f64, &'static str)>,
    /// What is shown.
    pub series: Vec<Series>,
}

/// Values over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// The number of its class: its colour.
    pub class: usize,
    /// Whether it is of the report that is compared with: its line is dashed.
    pub other: bool,
    /// Whether each value is a bar.
    pub bars: bool,
    /// Seconds and values; without a value the line has a gap.
    pub points: Vec<(f64, Option<f64>)>,
}

/// Where a value stands between the lower and the upper end of its axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    fn of(plot: &Plot) -> Self {
        let values = || plot.series.iter().flat_map(|series| &series.points).filter_map(|(_, value)| *value);
        let highest = values().filter(|value| value.is_finite()).fold(0.0, f64::max);
        if plot.logarithmic {
            let lowest = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
            let low = if lowest.is_finite() { 10_f64.powf(lowest.log10().floor()) } else { 1.0 };
            return Self { low, high: 10_f64.powf(highest.max(low * 10.0).log10().ceil()), logarithmic: true };
        }
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let step = step(highest);
        Self { low: 0.0, high: (highest / step).ceil() * step, logarithmic: false }
    }

    /// The place of `value`, from 0 at the lower end to 1; `None` if it has none.
    fn place(self, value: f64) -> Option<f64> {
        let place = if self.logarithmic {
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        place.is_finite().then(|| place.clamp(0.0, 1.0))
    }

    fn ticks(self) -> Vec<f64> {
        if self.logarithmic {
            let powers = (self.high / self.low).log10().round() as i32;
            return (0..=powers).map(|power| self.low * 10_f64.powi(power)).collect();
        }
        let step = step(self.high);
        (0..=(self.high / step).round() as u32).map(|n| f64::from(n) * step).collect()
    }
}

/// A step of 1, 2 or 5 times a power of ten that divides `range` into about [`PARTS`].
fn step(range: f64) -> f64 {
    let raw = range / PARTS;
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| raw <= factor * power * 1.000_001).unwrap_or(10.0);
    factor * power
}

impl Plot {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (seconds / self.until.max(1e-9)).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn grid(&self, axis: Axis, f: &mut Formatter<'_>) -> fmt::Result {
        for tick in axis.ticks() {
            let Some(place) = axis.place(tick) else { continue };
            let y = y(place);
            write!(f, r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#, WIDTH - RIGHT)?;
            let text = escaped(&(self.write)(tick));
            write!(
                f,
                r#"<text class="label" x="{:.1}" y="{:.1}" text-anchor="end">{text}</text>"#,
                LEFT - 6.0,
                y + 4.0
            )?;
        }
        let times = Axis { low: 0.0, high: self.until.max(1e-9), logarithmic: false };
        for tick in times.ticks().into_iter().filter(|tick| *tick <= times.high * 1.001) {
            let (x, bottom) = (self.x(tick), HEIGHT - 8.0);
            write!(f, r#"<text class="label" x="{x:.1}" y="{bottom:.1}" text-anchor="middle">{tick} s</text>"#)?;
        }
        if let Some((at, what)) = self.mark.filter(|(at, _)| *at <= self.until) {
            let (x, bottom) = (self.x(at), HEIGHT - BOTTOM);
            write!(f, r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom:.1}"/>"#)?;
            let (x, anchor) = if x > WIDTH / 2.0 { (x - 4.0, "end") } else { (x + 4.0, "start") };
            let what = escaped(what);
            write!(f, r#"<text class="label" x="{x:.1}" y="{:.1}" text-anchor="{anchor}">{what}</text>"#, TOP + 10.0)?;
        }
        Ok(())
    }

    fn line(&self, axis: Axis, series: &Series) -> String {
        let mut path = String::new();
        let mut pen = 'M';
        for (seconds, value) in thinned(&series.points) {
            let Some(place) = value.and_then(|value| axis.place(value)) else {
                pen = 'M';
                continue;
            };
            let _ = write!(path, "{pen}{:.1} {:.1}", self.x(seconds), y(place));
            pen = 'L';
        }
        path
    }

    /// Bars of one second's width, each as a part of one path.
    fn bars(&self, axis: Axis, series: &Series) -> String {
        let mut path = String::new();
        let width = ((self.x(1.0) - self.x(0.0)) * 0.8).max(0.5);
        for (seconds, value) in &series.points {
            let Some(place) = value.and_then(|value| axis.place(value)) else { continue };
            let (x, top) = (self.x(*seconds) - width / 2.0, y(place));
            let _ = write!(path, "M{x:.1} {:.1}V{top:.1}h{width:.1}V{:.1}z", y(0.0), y(0.0));
        }
        path
    }
}

fn y(place: f64) -> f64 {
    TOP + (1.0 - place) * (HEIGHT - TOP - BOTTOM)
}

/// `points`, no more than [`MAX_POINTS`].
fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let together = points.len().div_ceil(MAX_POINTS).max(1);
    let highest = |points: &[(f64, Option<f64>)]| {
        let value = points.iter().filter_map(|(_, value)| *value).reduce(f64::max);
        (points[0].0, value)
    };
    points.chunks(together).map(highest).collect()
}

impl Display for Plot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let axis = Axis::of(self);
        let title = escaped(&self.title);
        write!(f, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>"#)?;
        self.grid(axis, f)?;
        for series in &self.series {
            let path = if series.bars { self.bars(axis, series) } else { self.line(axis, series) };
            if path.is_empty() {
                continue;
            }
            let (kind, other) = (if series.bars { "bars" } else { "line" }, if series.other { " other" } else { "" });
            let name = escaped(&series.name);
            write!(f, r#"<path class="{kind} s{}{other}" d="{path}"><title>{name}</title></path>"#, series.class)?;
        }
        f.write_str("</svg>")
    }
}

/// `text` as it stands in HTML and SVG, in an element or in an attribute.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ if character.is_control() => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Walks through `text` and holds its elements to being closed in their order, its attributes to being quoted, and
    /// its text to being escaped; returns the names of the elements. Elements of HTML that are never closed are not known.
    pub(in super::super) fn elements(text: &str) -> Vec<String> {
        let (mut names, mut open, mut rest) = (Vec::new(), Vec::new(), text);
        while let Some(start) = rest.find('<') {
            assert!(!rest[..start].contains('>'), "a > in text: {}", &rest[..start]);
            let end = start + rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..end];
            assert!(!tag.contains('<'), "a < in a tag: {tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "closed out of order");
            } else {
                let name = tag.split([' ', '/']).next().unwrap().to_owned();
                let attributes = tag[name.len()..].trim_end_matches('/');
                let parts: Vec<&str> = attributes.split('"').collect();
                assert!(parts.len() % 2 == 1, "an open quote: {tag}");
                assert!(parts.iter().step_by(2).all(|part| part.trim().is_empty() || part.ends_with('=')), "{tag}");
                names.push(name.clone());
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "never closed: {open:?}");
        assert!(!text.contains("NaN") && !text.contains("inf "), "a number that is none");
        names
    }

    fn plot(points: Vec<(f64, Option<f64>)>) -> Plot {
        Plot {
            title: "load <of> \"it\"".into(),
            write: |value| format!("{value}"),
            logarithmic: false,
            until: 10.0,
            mark: Some((5.0, "flood ends")),
            series: vec![Series { name: "a & b".into(), class: 0, other: false, bars: false, points }],
        }
    }

    #[test]
    fn a_plot_is_well_formed_whatever_is_in_it() {
        let points = vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(f64::NAN)), (3.0, Some(7.0)), (99.0, Some(3.0))];
        for (logarithmic, bars) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut plot = plot(points.clone());
            (plot.logarithmic, plot.series[0].bars) = (logarithmic, bars);
            let names = elements(&plot.to_string());
            assert_eq!(names.iter().filter(|name| *name == "path").count(), 1, "{plot}");
        }
        for points in [vec![], vec![(0.0, None)], vec![(0.0, Some(0.0))]] {
            for until in [0.0, 10.0] {
                elements(&Plot { until, ..plot(points.clone()) }.to_string());
                elements(&Plot { until, logarithmic: true, ..plot(points.clone()) }.to_string());
            }
        }
    }

    #[test]
    fn a_line_goes_through_its_points_and_has_its_gaps() {
        let plot = plot(vec![(0.0, Some(0.0)), (5.0, Some(10.0)), (6.0, None), (10.0, Some(5.0))]);
        let axis = Axis::of(&plot);
        assert_eq!(plot.line(axis, &plot.series[0]), "M64.0 214.0L386.0 10.0M708.0 112.0");
    }

    #[test]
    fn axes_have_round_steps_and_hold_every_value() {
        let linear = |highest| Axis::of(&plot(vec![(0.0, Some(highest))]));
        assert_eq!(linear(7.3).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(linear(1_000.0).ticks(), [0.0, 200.0, 400.0, 600.0, 800.0, 1_000.0]);
        let logarithmic = Axis::of(&Plot { logarithmic: true, ..plot(vec![(0.0, Some(0.003)), (1.0, Some(0.2))]) });
        let ticks = logarithmic.ticks();
        assert_eq!(ticks.len(), 4, "{ticks:?}");
        assert!((ticks[0] - 0.001).abs() < 1e-12 && (ticks[3] - 1.0).abs() < 1e-9, "{ticks:?}");
    }

    #[test]
    fn a_long_line_keeps_its_spikes() {
        let mut points: Vec<_> = (0..7_200).map(|n| (f64::from(n), Some(1.0))).collect();
        points[3_333].1 = Some(50.0);
        let thin = thinned(&points);
        assert_eq!(thin.len(), MAX_POINTS);
        assert!(thin.iter().any(|(_, value)| *value == Some(50.0)));
    }
}
