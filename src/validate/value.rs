//! A declared value against its field: whether it may stay, and what is stored instead where it may not.

use std::ops::Range;

use jiff::civil::Date;

use super::{
    json::{Kind, Scanner, Traits, Value},
    text,
};
use crate::{
    batch::{Mending, Mendings, Millis, Reason},
    schema::{Field, FieldType, OnError, PrivacyKey, Private},
};

/// A place in a text, in half the memory of a range of `usize`. Bodies and what replaces parts of them are far below
/// 4 GiB: the limits of the configuration see to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    #[inline]
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// What stands there in `text`.
    #[inline]
    pub(super) fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end as usize]
    }
}

/// What is stored of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The value as it came.
    Keep,
    /// What stands at this place of the scratch buffer instead.
    Replace(Span),
    /// Null.
    Null,
    /// Nothing, not even the key.
    Drop,
}

/// What the checks write to: replacements of values, and the count of mendings.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) bytes: Vec<u8>,
    pub(super) mendings: Mendings,
    /// The instant that the last timestamp told.
    pub(super) instant: Option<Millis>,
}

impl Scratch {
    /// Keeps what `write` appends, as a replacement.
    pub(super) fn replace(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Fate {
        let start = self.bytes.len();
        write(&mut self.bytes);
        Fate::Replace(Span::new(start, self.bytes.len()))
    }

    /// A value of which no type is declared: kept as it came, unless something in it cannot be stored so.
    #[inline]
    pub(super) fn undeclared(&mut self, source: &[u8], value: &Value) -> Result<Fate, Reason> {
        if value.traits.has(Traits::BEYOND_DOUBLE) {
            return Err(Reason::NumberOutOfRange);
        }
        Ok(self.mended(source, value))
    }

    #[inline]
    fn mended(&mut self, source: &[u8], value: &Value) -> Fate {
        if !value.traits.has(Traits::UNSTORABLE | Traits::LINE_BREAK) {
            return Fate::Keep;
        }
        if value.traits.has(Traits::UNSTORABLE) {
            self.mendings.add(Mending::ReplacedCharacters);
        }
        self.replace(|out| text::append_mended(&source[value.start..value.end], out))
    }

    /// A value of `field`, which stands in `source`.
    ///
    /// # Errors
    /// Why the event must be rejected.
    pub(super) fn declared(
        &mut self,
        field: &Field,
        privacy_key: Option<&PrivacyKey>,
        source: &[u8],
        value: &Value,
    ) -> Result<Fate, Reason> {
        if field.private == Some(Private::Drop) {
            return Ok(Fate::Drop);
        }
        if value.kind == Kind::Null {
            return if field.required { Err(Reason::Missing) } else { Ok(Fate::Keep) };
        }
        let scratch_before = self.bytes.len();
        let fate = match self.typed(field, source, value) {
            Ok(fate) => fate,
            Err(Reason::TooLong) if field.on_error == OnError::Truncate => self.truncated(field, source, value),
            Err(_) if field.on_error == OnError::Null => {
                self.bytes.truncate(scratch_before);
                self.mendings.add(Mending::Nulled);
                return Ok(Fate::Null);
            }
            Err(reason) => return Err(reason),
        };
        match (field.private, privacy_key) {
            (Some(Private::Hash), Some(key)) => Ok(self.hashed(key, source, value, fate)),
            _ => Ok(fate),
        }
    }

    fn typed(&mut self, field: &Field, source: &[u8], value: &Value) -> Result<Fate, Reason> {
        if value.traits.has(Traits::BEYOND_DOUBLE) {
            return Err(Reason::NumberOutOfRange);
        }
        let spelled = &source[value.start..value.end];
        match (field.kind, value.kind) {
            (FieldType::String { max_bytes }, Kind::String) => self.string(max_bytes as usize, source, value),
            (FieldType::Int, Kind::Number) => self.int(spelled, value.traits),
            (FieldType::Double, Kind::Number) | (FieldType::Bool, Kind::Bool) => Ok(Fate::Keep),
            (FieldType::Timestamp, Kind::String | Kind::Number) => self.timestamp(spelled, value),
            (FieldType::Date, Kind::String) => is_date(inner(spelled)).then_some(Fate::Keep).ok_or(Reason::WrongType),
            (FieldType::Uuid, Kind::String) => self.uuid(inner(spelled)),
            (FieldType::Decimal { precision, scale }, Kind::Number) => self.decimal(precision, scale, spelled, false),
            (FieldType::Decimal { precision, scale }, Kind::String) => {
                self.decimal(precision, scale, inner(spelled), true)
            }
            (FieldType::Json { max_bytes }, _) if spelled.len() > max_bytes as usize => Err(Reason::TooLong),
            (FieldType::Json { .. }, _) => Ok(self.mended(source, value)),
            _ => Err(Reason::WrongType),
        }
    }

    fn string(&mut self, max_bytes: usize, source: &[u8], value: &Value) -> Result<Fate, Reason> {
        let raw = inner(&source[value.start..value.end]);
        // An escape is never shorter than what it spells, so a short enough text needs no decoding.
        let fits = raw.len() <= max_bytes && !value.traits.has(Traits::UNSTORABLE)
            || value.traits.has(Traits::ESCAPE) && text::decoded_len(raw) <= max_bytes;
        if fits { Ok(self.mended(source, value)) } else { Err(Reason::TooLong) }
    }

    fn truncated(&mut self, field: &Field, source: &[u8], value: &Value) -> Fate {
        let FieldType::String { max_bytes } = field.kind else { return Fate::Null };
        let raw = inner(&source[value.start..value.end]);
        let kept = text::prefix_within(raw, max_bytes as usize);
        self.mendings.add(Mending::Truncated);
        if value.traits.has(Traits::UNSTORABLE) {
            self.mendings.add(Mending::ReplacedCharacters);
        }
        // The closing quote makes the cut text a whole string again.
        let cut = [b"\"", &raw[..kept], b"\""].concat();
        self.replace(|out| text::append_mended(&cut, out))
    }

    fn int(&mut self, spelled: &[u8], traits: Traits) -> Result<Fate, Reason> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        // So many digits always fit.
        const FIT: usize = i64::MAX.ilog10() as usize;
        let number = ascii(spelled);
        if !traits.has(Traits::FRACTION) {
            let fits = spelled.len() <= FIT || number.parse::<i64>().is_ok();
            return if fits { Ok(Fate::Keep) } else { Err(Reason::OutOfRange) };
        }
        // Some languages write whole numbers as 1.0 or 1e3; they are taken as far as a double is exact.
        let number: f64 = number.parse().map_err(|_| Reason::WrongType)?;
        if number.fract() != 0.0 {
            Err(Reason::WrongType)
        } else if number.abs() > EXACT {
            Err(Reason::OutOfRange)
        } else {
            Ok(self.replace(|out| out.extend_from_slice((number as i64).to_string().as_bytes())))
        }
    }

    fn timestamp(&mut self, spelled: &[u8], value: &Value) -> Result<Fate, Reason> {
        let raw = inner(spelled);
        let instant = if value.kind == Kind::Number {
            Millis::parse_epoch(ascii(spelled)).ok_or(Reason::OutOfRange)?
        } else if value.traits.has(Traits::ESCAPE) {
            Millis::parse_rfc3339(text::decode(raw).as_bytes()).ok_or(Reason::WrongType)?
        } else {
            Millis::parse_rfc3339(raw).ok_or(Reason::WrongType)?
        };
        self.instant = Some(instant);
        if value.kind == Kind::String && Millis::is_canonical(raw) {
            return Ok(Fate::Keep);
        }
        Ok(self.quoted(&instant.rfc3339()))
    }

    fn uuid(&mut self, raw: &[u8]) -> Result<Fate, Reason> {
        let Ok(uuid) = <&[u8; 36]>::try_from(raw) else { return Err(Reason::WrongType) };
        let mut sound = true;
        for (place, byte) in uuid.iter().enumerate() {
            sound &= if matches!(place, 8 | 13 | 18 | 23) { *byte == b'-' } else { byte.is_ascii_hexdigit() };
        }
        if !sound {
            Err(Reason::WrongType)
        } else if raw.iter().any(u8::is_ascii_uppercase) {
            Ok(self.quoted(&raw.to_ascii_lowercase()))
        } else {
            Ok(Fate::Keep)
        }
    }

    fn decimal(&mut self, precision: u8, scale: u8, number: &[u8], quoted: bool) -> Result<Fate, Reason> {
        let canonical = canonical_decimal(number, precision.into(), scale.into())?;
        if quoted && canonical.as_bytes() == number { Ok(Fate::Keep) } else { Ok(self.quoted(canonical.as_bytes())) }
    }

    fn quoted(&mut self, text: &[u8]) -> Fate {
        self.replace(|out| {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        })
    }

    /// The keyed hash of a value in its canonical form, so that one spelling more does not make one device more.
    fn hashed(&mut self, key: &PrivacyKey, source: &[u8], value: &Value, fate: Fate) -> Fate {
        let canonical = match &fate {
            Fate::Keep => &source[value.start..value.end],
            Fate::Replace(place) => place.of(&self.bytes),
            Fate::Null | Fate::Drop => return fate,
        };
        let hash = if canonical.first() == Some(&b'"') {
            key.hash(text::decode(inner(canonical)).as_bytes())
        } else {
            key.hash(canonical)
        };
        self.quoted(&hash)
    }
}

/// What stands between the quotes of a string.
fn inner(spelled: &[u8]) -> &[u8] {
    spelled.get(1..spelled.len().saturating_sub(1)).unwrap_or_default()
}

/// Text that is ASCII where it is of use; anything else is no number and no date.
fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn is_date(raw: &[u8]) -> bool {
    let shape = raw.len() == 10
        && raw.iter().enumerate().all(|(place, byte)| match place {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let number = |range: Range<usize>| ascii(&raw[range]).parse().unwrap_or(0);
    shape && number(0..4) >= 1 && Date::new(number(0..4), number(5..7) as i8, number(8..10) as i8).is_ok()
}

/// `number` without an exponent, if it has at most `precision` digits in all and `scale` behind the point.
fn canonical_decimal(number: &[u8], precision: usize, scale: usize) -> Result<String, Reason> {
    let mut scanner = Scanner::new(number);
    let whole = scanner.value().is_ok_and(|value| value.kind == Kind::Number && value.end == number.len());
    if !whole {
        return Err(Reason::WrongType);
    }
    let text = ascii(number);
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (units, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{units}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(if fraction.is_empty() || exponent != "0" { "0".into() } else { short_zero(fraction, scale) });
    }
    // An exponent beyond three digits cannot be made good by the mantissa of an event of sane size.
    let exponent: i64 = exponent.parse().map_err(|_| Reason::OutOfRange)?;
    if exponent.abs() > 1_000 {
        return Err(Reason::OutOfRange);
    }
    let mut behind = fraction.len() as i64 - exponent;
    let mut digits = digits.to_owned();
    while behind > scale as i64 && digits.ends_with('0') {
        digits.pop();
        behind -= 1;
    }
    while behind < 0 && digits.len() <= precision {
        digits.push('0');
        behind += 1;
    }
    let before = digits.len() as i64 - behind;
    if behind < 0 || behind > scale as i64 || before > (precision - scale) as i64 {
        return Err(Reason::OutOfRange);
    }
    let behind = behind as usize;
    let digits = format!("{digits:0>width$}", width = behind + 1);
    let (units, fraction) = digits.split_at(digits.len() - behind);
    Ok(if fraction.is_empty() { format!("{sign}{units}") } else { format!("{sign}{units}.{fraction}") })
}

/// Zero with as many digits behind the point as came, and as the column takes.
fn short_zero(fraction: &str, scale: usize) -> String {
    let fraction = &fraction[..fraction.len().min(scale)];
    if fraction.is_empty() { "0".into() } else { format!("0.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is stored for `json` in a field, or why it is not.
    fn stored_in(field: &Field, json: &str) -> Result<String, Reason> {
        let value = Scanner::new(json.as_bytes()).value().unwrap();
        let mut scratch = Scratch::default();
        let key = PrivacyKey::new(b"k");
        Ok(match scratch.declared(field, Some(&key), json.as_bytes(), &value)? {
            Fate::Keep => json.to_owned(),
            Fate::Replace(place) => String::from_utf8(place.of(&scratch.bytes).to_vec()).unwrap(),
            Fate::Null => "NULL".into(),
            Fate::Drop => "DROPPED".into(),
        })
    }

    fn stored(kind: FieldType, json: &str) -> Result<String, Reason> {
        stored_in(&Field::new("f", kind), json)
    }

    fn same(kind: FieldType, json: &str) {
        assert_eq!(stored(kind, json).as_deref(), Ok(json));
    }

    #[test]
    fn null_is_a_value_of_every_type_unless_required() {
        same(FieldType::Int, "null");
        let required = Field { required: true, ..Field::new("f", FieldType::Int) };
        assert_eq!(stored_in(&required, "null"), Err(Reason::Missing));
    }

    #[test]
    fn strings_are_counted_in_bytes_of_utf8() {
        let kind = FieldType::String { max_bytes: 4 };
        same(kind, r#""abcd""#);
        same(kind, r#""éé""#);
        same(kind, r#""\n\n\n\n""#);
        same(kind, r#""\u00e9\u00e9""#);
        same(kind, r#""\ud83d\ude00""#);
        assert_eq!(stored(kind, r#""abcde""#), Err(Reason::TooLong));
        assert_eq!(stored(kind, r#""ééé""#), Err(Reason::TooLong));
        assert_eq!(stored(kind, r#""\u00e9\u00e9a""#), Err(Reason::TooLong));
        assert_eq!(stored(kind, r#""a\u0000""#).as_deref(), Ok(r#""a\ufffd""#));
        assert_eq!(stored(kind, r#""ab\u0000""#), Err(Reason::TooLong), "U+FFFD takes three bytes");
        assert_eq!(stored(kind, "5"), Err(Reason::WrongType));
    }

    #[test]
    fn overlong_strings_can_be_cut() {
        let field =
            |max_bytes| Field { on_error: OnError::Truncate, ..Field::new("f", FieldType::String { max_bytes }) };
        assert_eq!(stored_in(&field(4), r#""abcdef""#).as_deref(), Ok(r#""abcd""#));
        assert_eq!(stored_in(&field(4), r#""abcé""#).as_deref(), Ok(r#""abc""#));
        assert_eq!(stored_in(&field(4), r#""a\"\"\"\"""#).as_deref(), Ok(r#""a\"\"\"""#));
        assert_eq!(stored_in(&field(4), r#""\u0000\u0000""#).as_deref(), Ok(r#""\ufffd""#));
        assert_eq!(stored_in(&field(4), "5"), Err(Reason::WrongType));
    }

    #[test]
    fn ints_fit_64_bits() {
        let nines = ["999999999999999999", "-999999999999999999", "1000000000000000000", "-0"];
        for json in ["0", "-1", "9223372036854775807", "-9223372036854775808"].into_iter().chain(nines) {
            same(FieldType::Int, json);
        }
        assert_eq!(stored(FieldType::Int, "1.0").as_deref(), Ok("1"));
        assert_eq!(stored(FieldType::Int, "-1e3").as_deref(), Ok("-1000"));
        assert_eq!(stored(FieldType::Int, "1.5"), Err(Reason::WrongType));
        assert_eq!(stored(FieldType::Int, "9223372036854775808"), Err(Reason::OutOfRange));
        assert_eq!(stored(FieldType::Int, "1e17"), Err(Reason::OutOfRange));
        assert_eq!(stored(FieldType::Int, "1e999"), Err(Reason::NumberOutOfRange));
        assert_eq!(stored(FieldType::Int, r#""1""#), Err(Reason::WrongType));
    }

    #[test]
    fn doubles_and_bools_stay_as_they_came() {
        same(FieldType::Double, "1E5");
        same(FieldType::Double, "-0.0");
        assert_eq!(stored(FieldType::Double, "1e400"), Err(Reason::NumberOutOfRange));
        same(FieldType::Bool, "true");
        assert_eq!(stored(FieldType::Bool, "1"), Err(Reason::WrongType));
    }

    #[test]
    fn timestamps_are_stored_in_one_form() {
        let nine = Ok(r#""2026-11-22T09:00:00.000Z""#);
        let kind = FieldType::Timestamp;
        same(kind, r#""2026-11-22T09:00:00.000Z""#);
        for json in [r#""2026-11-22T18:00:00+09:00""#, "1795338000", "1795338000000", r#""2026-11-22T09:00:00\u005a""#]
        {
            assert_eq!(stored(kind, json).as_deref(), nine, "{json}");
        }
        for json in [r#""2026-11-22T09:00:00.000z""#, r#""2026-11-22 09:00:00.000Z""#, r#""2026-11-22t09:00:00.000Z""#]
        {
            assert_eq!(stored(kind, json).as_deref(), nine, "{json}");
        }
        assert_eq!(stored(kind, r#""2026-11-22T09:00:60.000Z""#).as_deref(), Ok(r#""2026-11-22T09:00:59.000Z""#));
        assert_eq!(stored(kind, r#""2026-11-22T09:00:00""#), Err(Reason::WrongType));
        assert_eq!(stored(kind, r#""é""#), Err(Reason::WrongType));
        assert_eq!(stored(kind, "1e30"), Err(Reason::OutOfRange));
    }

    #[test]
    fn dates_are_days_of_the_calendar() {
        same(FieldType::Date, r#""2024-02-29""#);
        for json in [r#""2026-02-29""#, r#""2026-13-01""#, r#""26-01-01""#, r#""0000-01-01""#, r#""2026/01/01""#, "5"] {
            assert_eq!(stored(FieldType::Date, json), Err(Reason::WrongType), "{json}");
        }
    }

    #[test]
    fn uuids_are_stored_in_lower_case() {
        same(FieldType::Uuid, r#""0b5f4e6c-12ab-4cde-8f01-23456789abcd""#);
        let upper = r#""0B5F4E6C-12AB-4CDE-8F01-23456789ABCD""#;
        assert_eq!(stored(FieldType::Uuid, upper).unwrap(), upper.to_lowercase());
        for json in [r#""0b5f4e6c12ab4cde8f0123456789abcd""#, r#""0b5f4e6c-12ab-4cde-8f01-23456789abcg""#, r#""""#] {
            assert_eq!(stored(FieldType::Uuid, json), Err(Reason::WrongType), "{json}");
        }
    }

    #[test]
    fn decimals_travel_as_strings_and_keep_every_digit() {
        let kind = FieldType::Decimal { precision: 6, scale: 2 };
        same(kind, r#""1234.56""#);
        for (json, expected) in [
            ("1234.56", "1234.56"),
            ("-0.5", "-0.5"),
            ("0", "0"),
            ("-0", "0"),
            ("0.00", "0.00"),
            ("0.0000", "0.00"),
            ("1.5000", "1.50"),
            ("1e3", "1000"),
            ("12.34e1", "123.4"),
            ("5e-1", "0.5"),
            ("1234500e-4", "123.45"),
            ("0e9999", "0"),
        ] {
            assert_eq!(stored(kind, json).as_deref(), Ok(&*format!("\"{expected}\"")), "{json}");
        }
        for json in ["12345", "1.234", "1e4", "1e-3", "1e300"] {
            assert_eq!(stored(kind, json), Err(Reason::OutOfRange), "{json}");
        }
        assert_eq!(stored(kind, "1e99999999999999999999"), Err(Reason::NumberOutOfRange));
        for json in [r#""x""#, r#""1,5""#, r#"" 1""#, r#""+1""#, r#""007""#, r#""""#, "true"] {
            assert_eq!(stored(kind, json), Err(Reason::WrongType), "{json}");
        }
    }

    #[test]
    fn json_is_stored_as_it_came_without_line_breaks() {
        let kind = FieldType::Json { max_bytes: 20 };
        same(kind, r#"{"a": [1, 2]}"#);
        same(kind, r#""text""#);
        assert_eq!(stored(kind, "{\n \"a\": 1\n}").as_deref(), Ok(r#"{"a":1}"#));
        assert_eq!(stored(kind, r#"{"a":"123456789012345"}"#), Err(Reason::TooLong));
    }

    #[test]
    fn a_broken_value_can_become_null() {
        let field = Field { on_error: OnError::Null, ..Field::new("f", FieldType::Uuid) };
        assert_eq!(stored_in(&field, r#""x""#).as_deref(), Ok("NULL"));
        assert_eq!(stored_in(&field, "[1e999]").as_deref(), Ok("NULL"));
    }

    #[test]
    fn private_values_are_dropped_or_hashed_in_their_canonical_form() {
        let drop = Field { private: Some(Private::Drop), ..Field::new("f", FieldType::Int) };
        assert_eq!(stored_in(&drop, r#""secret""#).as_deref(), Ok("DROPPED"));
        let hash = |kind, json: &str| {
            stored_in(&Field { private: Some(Private::Hash), ..Field::new("f", kind) }, json).unwrap()
        };
        let lower = r#""0b5f4e6c-12ab-4cde-8f01-23456789abcd""#;
        assert_eq!(hash(FieldType::Uuid, lower), hash(FieldType::Uuid, &lower.to_uppercase()));
        let text = FieldType::String { max_bytes: 20 };
        assert_eq!(hash(text, r#""a""#), hash(text, r#""\u0061""#));
        assert_ne!(hash(text, r#""a""#), hash(text, r#""b""#));
        assert_eq!(hash(text, r#""a""#).len(), 66);
        assert_eq!(hash(text, "null"), "null");
    }
}
