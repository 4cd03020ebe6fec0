//! Instants as the stored lines and the object keys spell them.

use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::{
    Timestamp,
    fmt::temporal::{DateTimeParser, DateTimePrinter},
    tz::Offset,
};

/// The length of [`Millis::rfc3339`], in bytes: `2026-11-22T09:00:00.123Z`.
pub const RFC3339_BYTES: usize = 24;

const PARSER: DateTimeParser = DateTimeParser::new();
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// An instant: milliseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(i64);

impl Millis {
    /// 0001-01-01T00:00:00.000Z, the first instant whose year has four digits and that a warehouse takes.
    pub const MIN: Self = Self(-62_135_596_800_000);
    /// 9999-12-30T22:00:00.000Z, the last instant that has four digits of a year at every offset from UTC.
    pub const MAX: Self = Self(253_402_207_200_000);
    /// Epoch numbers below this are seconds, from it on milliseconds: 10¹¹ seconds is the year 5138, 10¹¹
    /// milliseconds is March 1973.
    const FIRST_EPOCH_MILLIS: f64 = 1e11;

    /// The instant `millis` after the epoch, if it lies between [`Self::MIN`] and [`Self::MAX`].
    pub fn new(millis: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&millis).then_some(Self(millis))
    }

    /// Milliseconds since the epoch.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// This instant moved by `millis`, held between [`Self::MIN`] and [`Self::MAX`].
    #[must_use]
    pub fn saturating_add(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// What an SDK's clock says: RFC 3339 with an offset, or a decimal number of seconds or milliseconds since the
    /// epoch. `None` if it is neither or lies outside the years 1 to 9999.
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes().first()? {
            b'0'..=b'9' if text.as_bytes().get(4) == Some(&b'-') => Self::parse_rfc3339(text),
            _ => Self::parse_epoch(text),
        }
    }

    /// RFC 3339 with an offset; digits beyond the millisecond are cut.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        // The parser also takes what ISO 8601 allows and RFC 3339 does not; the shape is checked first.
        let bytes = text.as_bytes();
        let shape = bytes.len() >= 20
            && bytes[4] == b'-'
            && bytes[7] == b'-'
            && matches!(bytes[10], b'T' | b't' | b' ')
            && bytes[13] == b':'
            && bytes[16] == b':'
            && matches!(bytes[19], b'.' | b'Z' | b'z' | b'+' | b'-')
            && !bytes.contains(&b'[');
        if !shape {
            return None;
        }
        let instant = PARSER.parse_timestamp(bytes).ok()?;
        // Rounds towards the past, also before 1970, so that cutting digits never moves an event forwards.
        Self::new(i64::try_from(instant.as_nanosecond().div_euclid(1_000_000)).ok()?)
    }

    /// A JSON or decimal number of seconds, or from 10¹¹ on of milliseconds, since the epoch.
    pub fn parse_epoch(text: &str) -> Option<Self> {
        let number: f64 = text.parse().ok()?;
        let millis = if number.abs() < Self::FIRST_EPOCH_MILLIS { number * 1000.0 } else { number };
        // The bounds of the type also keep NaN and the infinities out.
        (millis >= Self::MIN.0 as f64 && millis <= Self::MAX.0 as f64).then_some(Self(millis.floor() as i64))
    }

    /// `2026-11-22T09:00:00.123Z`: the one form in which instants are stored.
    pub fn rfc3339(self) -> [u8; RFC3339_BYTES] {
        let mut text = FixedText { bytes: [b'0'; RFC3339_BYTES], len: 0 };
        if let Ok(instant) = Timestamp::from_millisecond(self.0) {
            // Printing into memory cannot fail, and years 1 to 9999 at a fixed precision fill the 24 bytes exactly.
            let _ = PRINTER.print_timestamp(&instant, &mut text);
        }
        text.bytes
    }

    /// The UTC hour that this instant lies in; instants before 1970 lie in its first hour.
    pub fn hour(self) -> Hour {
        Hour(u32::try_from(self.0 / 3_600_000).unwrap_or(0))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.rfc3339()).unwrap_or_default())
    }
}

/// Where jiff prints an instant to, without an allocation.
struct FixedText {
    bytes: [u8; RFC3339_BYTES],
    len: usize,
}

impl jiff::fmt::Write for FixedText {
    fn write_str(&mut self, text: &str) -> Result<(), jiff::Error> {
        let room = &mut self.bytes[self.len..];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}

/// A UTC hour, counted from 1970-01-01T00:00Z: the partition in which an event is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub u32);

impl Hour {
    /// `dt=2026-11-22/hour=09`: the partition as object keys spell it.
    pub fn partition(self) -> String {
        let days = i64::from(self.0 / 24);
        let hour = self.0 % 24;
        let date =
            Offset::UTC.to_datetime(Timestamp::from_second(days * 86_400).unwrap_or(Timestamp::UNIX_EPOCH)).date();
        format!("dt={date}/hour={hour:02}")
    }
}

/// The received time: the wall clock, made monotonic within the instance.
///
/// Partitions are by received time, and a partition counts as closed once its hour is over. A wall clock that is set
/// back (NTP, a restored snapshot) would put new events into a closed hour, so the received time then stands still
/// until the wall clock has caught up.
#[derive(Debug, Default)]
pub struct Clock {
    last: AtomicI64,
}

impl Clock {
    /// A clock that never answers an instant before `floor`: the last received time that the spool knows.
    pub fn starting_at(floor: Option<Millis>) -> Self {
        Self { last: AtomicI64::new(floor.map_or(i64::MIN, Millis::get)) }
    }

    /// Now, never before an earlier answer.
    pub fn now(&self) -> Millis {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let wall = i64::try_from(wall).unwrap_or(Millis::MAX.0).min(Millis::MAX.0);
        // A plain load first: within one millisecond all workers only read this cache line.
        let last = self.last.load(Ordering::Relaxed);
        if wall <= last {
            return Millis(last);
        }
        Millis(self.last.fetch_max(wall, Ordering::Relaxed).max(wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(millis: i64) -> String {
        Millis(millis).to_string()
    }

    #[test]
    fn instants_are_printed_with_milliseconds_in_24_bytes() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_795_338_000_123), "2026-11-22T09:00:00.123Z");
        assert_eq!(text(Millis::MIN.0), "0001-01-01T00:00:00.000Z");
        assert_eq!(text(Millis::MAX.0), "9999-12-30T22:00:00.000Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn rfc3339_with_an_offset_becomes_utc() {
        let nine = Some(Millis(1_795_338_000_000));
        assert_eq!(Millis::parse("2026-11-22T18:00:00+09:00"), nine);
        assert_eq!(Millis::parse("2026-11-22t09:00:00z"), nine);
        assert_eq!(Millis::parse("2026-11-22 09:00:00.0Z"), nine);
        assert_eq!(Millis::parse("2026-11-22T09:00:00.1239Z"), Some(Millis(1_795_338_000_123)));
        assert_eq!(Millis::parse("2026-12-31T23:59:60Z"), Millis::parse("2026-12-31T23:59:59Z"));
    }

    #[test]
    fn what_has_no_offset_or_no_sense_is_no_instant() {
        for bad in [
            "",
            "x",
            "2026-11-22",
            "2026-11-22T09:00:00",
            "2026-11-22T09:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-11-22T25:00:00Z",
            "2026-11-22T09:00:00+09:00[Asia/Seoul]",
            "20261122T090000Z",
            "2026-11-22T09:00:00Zx",
            "NaN",
            "inf",
            "1e400",
            "-1e30",
            "0000-01-01T00:00:00Z",
            "+002026-11-22T09:00:00Z",
            "é026-11-22T09:00:00Z",
        ] {
            assert_eq!(Millis::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn epoch_numbers_are_seconds_or_milliseconds() {
        let nine = Some(Millis(1_795_338_000_000));
        assert_eq!(Millis::parse("1795338000"), nine);
        assert_eq!(Millis::parse("1795338000000"), nine);
        assert_eq!(Millis::parse("1795338000.5"), Some(Millis(1_795_338_000_500)));
        assert_eq!(Millis::parse("0"), Some(Millis(0)));
        assert_eq!(Millis::parse("-1"), Some(Millis(-1000)));
        assert_eq!(Millis::parse("1795338000000000"), None, "microseconds lie beyond the year 9999");
    }

    #[test]
    fn hours_are_partitions_in_utc() {
        assert_eq!(Millis(1_795_338_000_123).hour().partition(), "dt=2026-11-22/hour=09");
        assert_eq!(Millis(0).hour().partition(), "dt=1970-01-01/hour=00");
        assert_eq!(Millis(-5).hour(), Hour(0));
        assert_eq!(Millis::MAX.hour().partition(), "dt=9999-12-30/hour=22");
    }

    #[test]
    fn the_received_time_never_goes_back() {
        let ahead = Millis(4_000_000_000_000);
        let clock = Clock::starting_at(Some(ahead));
        assert_eq!(clock.now(), ahead);
        let clock = Clock::starting_at(None);
        let first = clock.now();
        assert!(first > Millis(1_700_000_000_000) && clock.now() >= first);
    }
}
