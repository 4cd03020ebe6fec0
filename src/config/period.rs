//! Spans of time as people write them.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The units in which a span is written, in nanoseconds.
const UNITS: [(u128, &str); 7] = [
    (86_400_000_000_000, "d"),
    (3_600_000_000_000, "h"),
    (60_000_000_000, "m"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1_000, "us"),
    (1, "ns"),
];

/// A span of time.
///
/// It is read from `"300s"`, `"5m"`, `"2ms"`, `"7d"` or `"1h 30m"`: a number always has its unit. (`"1m"` is a minute,
/// and `"1M"` a month.) It is written exactly, in days and shorter units: a month of 30.44 days is nobody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// `count` milliseconds.
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// `count` seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// `count` minutes.
    pub const fn minutes(count: u64) -> Self {
        Self::seconds(count * 60)
    }

    /// `count` hours.
    pub const fn hours(count: u64) -> Self {
        Self::minutes(count * 60)
    }

    /// `count` days of 24 hours.
    pub const fn days(count: u64) -> Self {
        Self::hours(count * 24)
    }

    /// As many times the span.
    #[must_use]
    pub(super) fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// The span as the standard library counts it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Period {
    fn from(span: Duration) -> Self {
        Self(span)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        let mut space = "";
        for (unit, name) in UNITS {
            let count = rest / unit;
            if count > 0 {
                write!(f, "{space}{count}{name}")?;
                (rest, space) = (rest % unit, " ");
            }
        }
        Ok(())
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PeriodVisitor)
    }
}

struct PeriodVisitor;

impl de::Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"30s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
        let span = humantime::parse_duration(text);
        span.map(Period).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::{
        IntoDeserializer,
        value::{Error, StrDeserializer},
    };

    use super::*;

    fn read(text: &str) -> Result<Period, Error> {
        let text: StrDeserializer<'_, Error> = text.into_deserializer();
        Period::deserialize(text)
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, span) in [
            ("300s", Period::minutes(5)),
            ("5m", Period::seconds(300)),
            ("2ms", Period::millis(2)),
            ("7d", Period::hours(7 * 24)),
            ("1h 30m", Period::minutes(90)),
            ("0s", Period::default()),
        ] {
            assert_eq!(read(text).unwrap(), span, "{text}");
        }
        for text in ["", "5", "-1s", "s", "1 parsec", "99999999999999999999y"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_written_exactly_and_read_back() {
        for (span, text) in [
            (Period::seconds(300), "5m"),
            (Period::seconds(75), "1m 15s"),
            (Period::millis(1_002), "1s 2ms"),
            (Period::default(), "0s"),
            (Period::days(1), "1d"),
            (Period::hours(24 * 45), "45d"),
            (Period::days(400), "400d"),
            (Period(Duration::new(90_061, 1_002_003)), "1d 1h 1m 1s 1ms 2us 3ns"),
        ] {
            assert_eq!((span.to_string().as_str(), read(text).unwrap()), (text, span));
        }
    }
}
