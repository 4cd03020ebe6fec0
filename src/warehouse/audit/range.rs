//! Which hours are audited.

use super::MAX_HOURS;
use crate::batch::{Hour, Millis};

/// Hours of received time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    from: Hour,
    to: Hour,
}

/// What was given is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A time is not in either form.
    #[error("{0:?} is no time: write such as 2026-11-22 (UTC) or 2026-11-22T09:00:00Z")]
    Time(String),
    /// The end is not behind the beginning.
    #[error("--to must lie behind --from")]
    Empty,
    /// It is too long.
    #[error("a range has at most {MAX_HOURS} hours")]
    TooLong,
}

impl Range {
    /// The hours from that of `from` until `to`, each of which is RFC 3339 or a date, whose day begins in UTC.
    ///
    /// # Errors
    /// [`RangeError`] if these are no times, or too far apart, or the wrong way round.
    pub fn parse(from: &str, to: &str) -> Result<Self, RangeError> {
        let (first, end) = (instant(from)?, instant(to)?);
        let from = first.hour();
        let to = if end.hour().start() == end { end.hour() } else { end.hour().next() };
        if end <= first || to <= from {
            return Err(RangeError::Empty);
        }
        if to.0 - from.0 > MAX_HOURS {
            return Err(RangeError::TooLong);
        }
        Ok(Self { from, to })
    }

    /// The part of it that has begun at `now`.
    pub(super) fn until(self, now: Millis) -> Self {
        // An hour more: the clocks of a fleet are not the auditor's.
        let end = now.hour().next().next();
        Self { from: self.from, to: self.to.min(end).max(self.from) }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Hour> {
        (self.from.0..self.to.0).map(Hour)
    }

    /// The first hour.
    pub(super) fn first(self) -> Hour {
        self.from
    }

    /// The hour behind the last.
    pub(super) fn end(self) -> Hour {
        self.to
    }
}

fn instant(text: &str) -> Result<Millis, RangeError> {
    let date = (text.len() == 10).then(|| format!("{text}T00:00:00Z"));
    Millis::parse_rfc3339(date.as_deref().unwrap_or(text)).ok_or_else(|| RangeError::Time(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(from: &str, to: &str) -> Result<Vec<String>, RangeError> {
        Range::parse(from, to).map(|range| range.iter().map(Hour::partition).collect())
    }

    #[test]
    fn a_range_is_rounded_to_whole_hours() {
        let nine = ["dt=2026-11-22/hour=09".to_owned()];
        assert_eq!(hours("2026-11-22T09:59:00Z", "2026-11-22T09:59:01Z").unwrap(), nine);
        assert_eq!(hours("2026-11-22T18:00:00+09:00", "2026-11-22T10:00:00Z").unwrap(), nine);
        assert_eq!(hours("2026-11-22", "2026-11-23").unwrap().len(), 24);
    }

    #[test]
    fn what_is_no_range_is_told() {
        assert_eq!(hours("2026-11-22", "2026-11-22"), Err(RangeError::Empty));
        assert_eq!(hours("2026-11-22", "2026-11-21"), Err(RangeError::Empty));
        assert_eq!(hours("2026-11-22", "2028-11-22"), Err(RangeError::TooLong));
        for text in ["", "yesterday", "2026-11-22T09", "2026-13-22", "1795338000"] {
            assert_eq!(hours(text, "2026-11-23"), Err(RangeError::Time(text.into())), "{text}");
        }
    }

    #[test]
    fn hours_that_have_not_begun_are_left_out() {
        let range = Range::parse("2026-11-22", "2026-12-22").unwrap();
        let now = Millis::parse_rfc3339("2026-11-22T09:30:00Z").unwrap();
        assert_eq!(range.until(now).iter().count(), 11);
        assert_eq!(range.until(Millis::new(0).unwrap()).iter().count(), 0);
    }
}
