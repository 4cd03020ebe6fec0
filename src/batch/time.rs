//! Instants as the stored lines and the object keys spell them.

use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// The length of [`Millis::rfc3339`], in bytes: `2026-11-22T09:00:00.123Z`.
pub const RFC3339_BYTES: usize = 24;

const MILLIS_A_DAY: i64 = 24 * 3_600_000;

/// An instant: milliseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(i64);

impl Millis {
    /// 0001-01-01T00:00:00.000Z, the first instant whose year has four digits and that a warehouse takes.
    pub const MIN: Self = Self(-62_135_596_800_000);
    /// 9999-12-31T23:59:59.999Z, the last instant whose year has four digits.
    pub const MAX: Self = Self(253_402_300_799_999);
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

    /// RFC 3339 with an offset; digits beyond the millisecond are cut, and a leap second is the one before it.
    ///
    /// Every event of a stream with a time field is parsed and printed here. jiff, against which the tests hold it, takes
    /// some 90 ns for each; this takes some 15.
    pub fn parse_rfc3339(text: &(impl AsRef<[u8]> + ?Sized)) -> Option<Self> {
        let (fixed, rest) = text.as_ref().split_first_chunk::<19>()?;
        let separators =
            [fixed[4], fixed[7], fixed[13], fixed[16]] == *b"--::" && matches!(fixed[10], b'T' | b't' | b' ');
        let two = |at: usize| two_digits(fixed[at], fixed[at + 1]);
        let year = two(0)? * 100 + two(2)?;
        let (month, day, hour, minute, second) = (two(5)?, two(8)?, two(11)?, two(14)?, two(17)?);
        let sound = separators && year >= 1 && hour <= 23 && minute <= 59 && second <= 60;
        if !sound || !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day) {
            return None;
        }
        let (fraction, offset) = fraction(rest)?;
        let offset = offset_minutes(offset)?;
        let minutes = (hour * 60 + minute) - offset;
        Self::new(
            days_from_civil(year, month, day) * MILLIS_A_DAY + minutes * 60_000 + second.min(59) * 1_000 + fraction,
        )
    }

    /// Whether `text`, which [`Self::parse_rfc3339`] takes, is spelled as [`Self::rfc3339`] spells the instant.
    pub fn is_canonical(text: &[u8]) -> bool {
        let Some(text) = text.as_array::<RFC3339_BYTES>() else { return false };
        [text[10], text[19], text[23]] == *b"T.Z" && text[17..19] != *b"60"
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
        let (days, millis) = (self.0.div_euclid(MILLIS_A_DAY), self.0.rem_euclid(MILLIS_A_DAY));
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, number: i64| {
            text[at] = b'0' + (number / 10) as u8;
            text[at + 1] = b'0' + (number % 10) as u8;
        };
        put(0, year / 100);
        put(2, year % 100);
        put(5, month);
        put(8, day);
        put(11, millis / 3_600_000);
        put(14, millis / 60_000 % 60);
        put(17, millis / 1_000 % 60);
        put(20, millis / 10 % 100);
        text[22] = b'0' + (millis % 10) as u8;
        text
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

/// The number that two digits spell.
#[inline]
fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// The milliseconds of the fraction that `text` begins with, if it does, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else { return Some((0, text)) };
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let millis =
        (0..3).fold(0, |millis, place| millis * 10 + if place < len { i64::from(digits[place] - b'0') } else { 0 });
    (len > 0).then(|| (millis, &digits[len..]))
}

/// How far ahead of UTC `text` says it is, in minutes.
fn offset_minutes(text: &[u8]) -> Option<i64> {
    let (sign, offset) = match text {
        b"Z" | b"z" => return Some(0),
        [b'+', offset @ ..] => (1, offset),
        [b'-', offset @ ..] => (-1, offset),
        _ => return None,
    };
    let [hour_tens, hour_ones, b':', minute_tens, minute_ones] = offset else { return None };
    let (hours, minutes) = (two_digits(*hour_tens, *hour_ones)?, two_digits(*minute_tens, *minute_ones)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar.
///
/// This and its inverse count years from March, so that the leap day is the last, in eras of 400 years: Howard
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day counted from 1970-01-01: year, month and day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * march_month + 2) / 5 + 1)
}

/// A UTC hour, counted from 1970-01-01T00:00Z: the partition in which an event is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub u32);

impl Hour {
    /// The hour that a partition's two parts spell: `2026-11-22` and `09`.
    pub fn parse(day: &str, hour: &str) -> Option<Self> {
        let start = Millis::parse_rfc3339(&format!("{day}T{hour}:00:00Z"))?;
        Some(start.hour()).filter(|hour| hour.start() == start)
    }

    /// The day and the hour of the day, as [`Self::parse`] reads them.
    pub fn day_and_hour(self) -> (String, String) {
        let text = self.start().to_string();
        (text[..10].to_owned(), text[11..13].to_owned())
    }

    /// Its first instant.
    pub fn start(self) -> Millis {
        Millis(i64::from(self.0) * 3_600_000).min(Millis::MAX)
    }

    /// The hour after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// `dt=2026-11-22/hour=09`: the partition as object keys spell it.
    pub fn partition(self) -> String {
        let (year, month, day) = civil_from_days(i64::from(self.0 / 24));
        format!("dt={year:04}-{month:02}-{day:02}/hour={:02}", self.0 % 24)
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
    use proptest::prelude::*;

    use super::*;

    fn text(millis: i64) -> String {
        Millis(millis).to_string()
    }

    #[test]
    fn instants_are_printed_with_milliseconds_in_24_bytes() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_795_338_000_123), "2026-11-22T09:00:00.123Z");
        assert_eq!(text(Millis::MIN.0), "0001-01-01T00:00:00.000Z");
        assert_eq!(text(Millis::MAX.0), "9999-12-31T23:59:59.999Z");
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
        assert_eq!(Millis::MAX.hour().partition(), "dt=9999-12-31/hour=23");
        let nine = Millis(1_795_338_000_123).hour();
        assert_eq!(nine.day_and_hour(), ("2026-11-22".to_owned(), "09".to_owned()));
        assert_eq!((Hour::parse("2026-11-22", "09"), nine.start()), (Some(nine), Millis(1_795_338_000_000)));
        assert_eq!(nine.next().partition(), "dt=2026-11-22/hour=10");
        for (day, hour) in [("2026-11-22", "24"), ("2026-11-22", "9"), ("1969-12-31", "23"), ("x", "y")] {
            assert_eq!(Hour::parse(day, hour), None, "{day} {hour}");
        }
    }

    /// What jiff, which knows more about time than this module, reads and prints.
    fn judged(text: &str) -> Option<String> {
        let printer = jiff::fmt::temporal::DateTimePrinter::new().precision(Some(3));
        let instant: jiff::Timestamp = text.parse().ok()?;
        let millis = jiff::Timestamp::from_millisecond(instant.as_nanosecond().div_euclid(1_000_000) as i64).ok()?;
        Some(printer.timestamp_to_string(&millis))
    }

    proptest! {
        #[test]
        fn instants_are_read_and_printed_as_by_jiff(
            (year, month, day) in (1_i32..=9998, 0_u8..=13, 0_u8..=32),
            (hour, minute, second) in (0_u8..=24, 0_u8..=60, 0_u8..=61),
            fraction in prop_oneof![Just(String::new()), "\\.[0-9]{1,9}"],
            offset in prop_oneof![Just("Z".to_owned()), "[+-](0[0-9]|1[0-9]|2[0-5]):[0-6][0-9]"],
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}");
            if let Some(instant) = Millis::parse_rfc3339(&text) {
                prop_assert_eq!(Millis::is_canonical(text.as_bytes()), instant.rfc3339() == text.as_bytes(), "{}", text);
            }
            // jiff takes the hour 24 of ISO 8601, and offsets of up to 25 hours, which RFC 3339 does not have.
            prop_assume!(hour < 24 && !offset[1..].starts_with("24") && !offset[1..].starts_with("25"));
            // It rounds a leap second's fraction away; here the fraction of the second before stands.
            prop_assume!(second != 60 || fraction.is_empty());
            prop_assert_eq!(Millis::parse_rfc3339(&text).map(|instant| instant.to_string()), judged(&text), "{}", text);
        }

        #[test]
        fn every_instant_is_printed_so_that_it_is_read_back(millis in Millis::MIN.0..=Millis::MAX.0) {
            prop_assert_eq!(Millis::parse(&text(millis)), Some(Millis(millis)));
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "[0-9T:.Z+-]{0,30}|\\PC{0,30}") {
            let _ = Millis::parse(&text);
        }
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
