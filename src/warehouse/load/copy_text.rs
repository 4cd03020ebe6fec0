//! Stored lines as PostgreSQL's COPY reads them: columns between tabs, in one pass over each line.
//!
//! COPY's text format is that of <https://www.postgresql.org/docs/current/sql-copy.html>: `\N` is null, and backslash,
//! tab and line breaks within a value are escaped with a backslash.
//!
//! A value is checked against its column before it is sent. One that PostgreSQL would refuse fails the whole COPY with a
//! message that repeats the value; here it is told by its line, its column and a reason.
//!
//! # Limits
//!
//! A line has at most [`MAX_LINE_BYTES`]. Beside what is already written and not yet taken, a line and its columns are in
//! memory.

use std::{
    collections::HashMap,
    fmt,
    io::{self, Write},
    mem,
    ops::Range,
};

use crc32fast::Hasher;
use jiff::civil::Date;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::CopyColumn;
use crate::{batch::Millis, schema::FieldType, warehouse::member::Counted};

/// The longest line, in bytes, with its line feed: what Redshift's COPY takes, so that no warehouse has lines that another
/// could not load.
pub(super) const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;
/// The length of a UUID, in bytes.
const UUID_BYTES: usize = 36;

/// What is wrong with a line. No value of it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Which line, from 1.
    line: u64,
    /// The column, if it is one of them.
    column: Option<Box<str>>,
    reason: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// The columns that lines are written to.
#[derive(Debug)]
pub(super) struct Columns<'c> {
    columns: &'c [CopyColumn],
    by_name: HashMap<&'c str, usize>,
}

impl<'c> Columns<'c> {
    pub(super) fn new(columns: &'c [CopyColumn]) -> Self {
        let by_name = columns.iter().enumerate().map(|(place, column)| (&*column.name, place)).collect();
        Self { columns, by_name }
    }

    /// The place of the column called `key`, which is likely to be `next`.
    fn place(&self, key: &str, next: usize) -> Option<usize> {
        if self.columns.get(next).is_some_and(|column| &*column.name == key) {
            return Some(next);
        }
        if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.by_name.get(key.to_ascii_lowercase().as_str()).copied();
        }
        self.by_name.get(key).copied()
    }
}

/// Takes lines, and has them as COPY reads them.
#[derive(Debug)]
pub(super) struct Encoder<'c> {
    columns: &'c Columns<'c>,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// Where in `values` the column's value is.
    places: Vec<Option<Range<usize>>>,
    values: Vec<u8>,
    out: Vec<u8>,
    events: u64,
    bytes: u64,
    sum: Hasher,
    bad: Option<BadLine>,
}

impl<'c> Encoder<'c> {
    pub(super) fn new(columns: &'c Columns<'c>) -> Self {
        Self {
            columns,
            partial: Vec::new(),
            places: vec![None; columns.columns.len()],
            values: Vec::new(),
            out: Vec::new(),
            events: 0,
            bytes: 0,
            sum: Hasher::new(),
            bad: None,
        }
    }

    /// What is written so far and was not taken.
    pub(super) fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.out)
    }

    /// How many bytes are written and not taken.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// What is wrong with the first bad line.
    pub(super) fn bad(&self) -> Option<&BadLine> {
        self.bad.as_ref()
    }

    /// What was taken in all.
    pub(super) fn content(self) -> Result<Counted, &'static str> {
        if !self.partial.is_empty() {
            return Err("it ends within a line");
        }
        Ok(Counted { events: self.events, bytes: self.bytes, crc32: self.sum.finalize() })
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BadLine> {
        self.places.fill(None);
        self.values.clear();
        let mut row = Row {
            columns: self.columns,
            places: &mut self.places,
            values: &mut self.values,
            column: None,
            reason: None,
        };
        let mut json = serde_json::Deserializer::from_slice(line);
        let read = row.read(&mut json).and_then(|()| json.end());
        let bad = |column, reason| BadLine { line: self.events, column, reason };
        let named = |place: usize| Some(self.columns.columns[place].name.clone());
        if let Err(error) = read {
            // The text of the error repeats what it found.
            let reason = row.reason.unwrap_or(match error.classify() {
                serde_json::error::Category::Data if row.column.is_some() => "it is of another type",
                _ => "it is no JSON object",
            });
            return Err(bad(row.column.and_then(named), reason));
        }
        for (place, range) in self.places.iter().enumerate() {
            if place > 0 {
                self.out.push(b'\t');
            }
            match range {
                Some(range) if !range.is_empty() => self.out.extend_from_slice(&self.values[range.clone()]),
                // An empty text is no null: a null has no place at all.
                Some(_) => {}
                None if self.columns.columns[place].required => {
                    return Err(bad(named(place), "it is required, and missing or null"));
                }
                None => self.out.extend_from_slice(b"\\N"),
            }
        }
        self.out.push(b'\n');
        Ok(())
    }
}

impl Write for Encoder<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.bad.is_some() {
            return Err(io::Error::other("a bad line"));
        }
        self.sum.update(text);
        self.bytes += text.len() as u64;
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let whole = if self.partial.is_empty() && piece.ends_with(b"\n") {
                None
            } else if self.partial.len() + piece.len() > MAX_LINE_BYTES {
                let line = self.events + 1;
                self.bad = Some(BadLine { line, column: None, reason: "it has more than 4 MiB" });
                return Err(io::Error::other("a bad line"));
            } else {
                self.partial.extend_from_slice(piece);
                if !piece.ends_with(b"\n") {
                    break;
                }
                Some(mem::take(&mut self.partial))
            };
            let line = whole.as_deref().unwrap_or(piece);
            self.events += 1;
            let read = if line.len() > MAX_LINE_BYTES {
                Err(BadLine { line: self.events, column: None, reason: "it has more than 4 MiB" })
            } else {
                self.line(&line[..line.len() - 1])
            };
            if let Err(bad) = read {
                self.bad = Some(bad);
                return Err(io::Error::other("a bad line"));
            }
            if let Some(mut whole) = whole {
                whole.clear();
                self.partial = whole;
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line that is being read.
struct Row<'r, 'c> {
    columns: &'c Columns<'c>,
    places: &'r mut Vec<Option<Range<usize>>>,
    values: &'r mut Vec<u8>,
    /// The column that is being read.
    column: Option<usize>,
    /// What is wrong with it, if it is told here and not by the reader.
    reason: Option<&'static str>,
}

impl Row<'_, '_> {
    fn read<'de, R: serde_json::de::Read<'de>>(
        &mut self,
        json: &mut serde_json::Deserializer<R>,
    ) -> serde_json::Result<()> {
        json.deserialize_map(Members(self))
    }
}

/// Reads the members of a line.
struct Members<'m, 'r, 'c>(&'m mut Row<'r, 'c>);

impl<'de> Visitor<'de> for Members<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let row = self.0;
        let mut next = 0;
        while let Some(place) = map.next_key_seed(Key { columns: row.columns, next })? {
            let Some(place) = place else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            next = place + 1;
            row.column = Some(place);
            if row.places[place].is_some() {
                row.reason = Some("it comes twice");
                return Err(A::Error::custom("twice"));
            }
            let start = row.values.len();
            let kind = row.columns.columns[place].kind;
            let some = map.next_value_seed(Value { kind, out: row.values, reason: &mut row.reason })?;
            row.places[place] = some.then_some(start..row.values.len());
            row.column = None;
        }
        Ok(())
    }
}

/// Reads a key: the place of its column.
struct Key<'c> {
    columns: &'c Columns<'c>,
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.columns.place(key, self.next))
    }
}

/// Reads a value of a column, and writes it as COPY reads it; false if it is null.
struct Value<'v> {
    kind: FieldType,
    out: &'v mut Vec<u8>,
    reason: &'v mut Option<&'static str>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        if let FieldType::Json { max_bytes } = self.kind {
            let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
            return self.json(raw, max_bytes as usize);
        }
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn bad<T, E: serde::de::Error>(self, reason: &'static str) -> Result<T, E> {
        *self.reason = Some(reason);
        Err(E::custom("a bad value"))
    }

    fn of_another_type<T, E: serde::de::Error>(self) -> Result<T, E> {
        self.bad("it is of another type")
    }

    fn json<E: serde::de::Error>(self, raw: &str, max_bytes: usize) -> Result<bool, E> {
        if raw == "null" {
            return Ok(false);
        }
        if raw.len() > max_bytes {
            return self.bad("it is too long");
        }
        if let Err(reason) = escapes(raw.as_bytes()) {
            return self.bad(reason);
        }
        escape(raw.as_bytes(), self.out);
        Ok(true)
    }

    fn whole<E: serde::de::Error>(self, number: impl fmt::Display + Copy) -> Result<bool, E> {
        match self.kind {
            FieldType::Int | FieldType::Double => {
                // Writing to memory does not fail.
                let _ = write!(self.out, "{number}");
                Ok(true)
            }
            FieldType::Decimal { precision, scale } => {
                let text = number.to_string();
                self.decimal(&text, precision, scale)
            }
            _ => self.of_another_type(),
        }
    }

    fn decimal<E: serde::de::Error>(self, text: &str, precision: u8, scale: u8) -> Result<bool, E> {
        let number = text.strip_prefix('-').unwrap_or(text);
        let (units, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if units.is_empty() || !digits(units) || !digits(fraction) || number.ends_with('.') {
            return self.of_another_type();
        }
        let before = units.trim_start_matches('0').len();
        if before > usize::from(precision - scale) || fraction.len() > usize::from(scale) {
            return self.bad("it has too many digits");
        }
        self.out.extend_from_slice(text.as_bytes());
        Ok(true)
    }
}

impl Visitor<'_> for Value<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the column's type")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<bool, E> {
        if self.kind != FieldType::Bool {
            return self.of_another_type();
        }
        self.out.push(if value { b't' } else { b'f' });
        Ok(true)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<bool, E> {
        self.whole(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<bool, E> {
        if self.kind == FieldType::Int && i64::try_from(value).is_err() {
            return self.bad("it is out of range");
        }
        self.whole(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<bool, E> {
        if self.kind != FieldType::Double {
            return self.of_another_type();
        }
        // The shortest form that is read as the same double again. Writing to memory does not fail.
        let _ = write!(self.out, "{value:?}");
        Ok(true)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<bool, E> {
        match self.kind {
            FieldType::String { max_bytes } if value.len() > max_bytes as usize => return self.bad("it is too long"),
            FieldType::String { .. } if value.as_bytes().contains(&0) => return self.bad("it has a NUL"),
            FieldType::String { .. } => {
                escape(value.as_bytes(), self.out);
                return Ok(true);
            }
            FieldType::Timestamp if Millis::parse_rfc3339(value).is_some() => {}
            FieldType::Date if is_date(value) => {}
            FieldType::Uuid if is_uuid(value) => {}
            FieldType::Decimal { precision, scale } => return self.decimal(value, precision, scale),
            _ => return self.of_another_type(),
        }
        self.out.extend_from_slice(value.as_bytes());
        Ok(true)
    }
}

/// Writes `text` without what COPY takes for its own.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Whether what JSON escapes in `raw` can be stored: no NUL, and no half of a character.
fn escapes(raw: &[u8]) -> Result<(), &'static str> {
    const LONE: &str = "it has half of a character";
    let unit = |at: usize| {
        let digits = raw.get(at..at + 6)?;
        (digits.starts_with(b"\\u")).then_some(())?;
        u16::from_str_radix(std::str::from_utf8(&digits[2..]).ok()?, 16).ok()
    };
    let mut at = 0;
    while let Some(found) = raw[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        match unit(at) {
            None => at += 2,
            Some(0) => return Err("it has a NUL"),
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => at += 12,
            Some(0xD800..=0xDFFF) => return Err(LONE),
            Some(_) => at += 6,
        }
    }
    Ok(())
}

/// Whether `text` is a day of the years 1 to 9999, as `2026-11-22`.
fn is_date(text: &str) -> bool {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    shape && !text.starts_with("0000") && text.parse::<Date>().is_ok()
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID_BYTES
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<CopyColumn> {
        let column = |name: &str, kind, required| CopyColumn { name: name.into(), kind, required };
        vec![
            column("id", FieldType::String { max_bytes: 8 }, true),
            column("at", FieldType::Timestamp, false),
            column("n", FieldType::Int, false),
            column("x", FieldType::Double, false),
            column("b", FieldType::Bool, false),
            column("d", FieldType::Date, false),
            column("u", FieldType::Uuid, false),
            column("p", FieldType::Decimal { precision: 5, scale: 2 }, false),
            column("j", FieldType::Json { max_bytes: 64 }, false),
        ]
    }

    fn encode(text: &str, piece: usize) -> Result<String, String> {
        let columns = columns();
        let columns = Columns::new(&columns);
        let mut encoder = Encoder::new(&columns);
        for piece in text.as_bytes().chunks(piece) {
            if encoder.write_all(piece).is_err() {
                return Err(encoder.bad().unwrap().to_string());
            }
        }
        let out = String::from_utf8(encoder.take()).unwrap();
        let content = encoder.content().map_err(str::to_owned)?;
        assert_eq!(content.events, text.lines().count() as u64);
        assert_eq!((content.bytes, content.crc32), (text.len() as u64, crc32fast::hash(text.as_bytes())));
        Ok(out)
    }

    #[test]
    fn a_line_becomes_a_row_whatever_the_order_of_its_members_and_however_it_comes() {
        let lines = concat!(
            "{\"id\":\"a\",\"at\":\"2026-11-22T09:00:00.123Z\",\"n\":-7,\"x\":1.5,\"b\":true,\"d\":\"2026-11-22\",",
            "\"u\":\"00000000-0000-0000-0000-00000000000a\",\"p\":\"-123.40\",\"j\":{\"k\":\"a\\\\b\\n\"}}\n",
            "{\"j\":[1,\t2],\"other\":{\"id\":1},\"b\":false,\"x\":3,\"ID\":\"\\t\\\\\\n\\r|\",\"n\":null}\n",
            "{\"id\":\"\",\"j\":null,\"x\":1e300}\n",
        );
        let expected = concat!(
            "a\t2026-11-22T09:00:00.123Z\t-7\t1.5\tt\t2026-11-22\t00000000-0000-0000-0000-00000000000a\t-123.40\t",
            "{\"k\":\"a\\\\\\\\b\\\\n\"}\n",
            "\\t\\\\\\n\\r|\t\\N\t\\N\t3\tf\t\\N\t\\N\t\\N\t[1,\\t2]\n",
            "\t\\N\t\\N\t1e300\t\\N\t\\N\t\\N\t\\N\t\\N\n",
        );
        for piece in [1, 7, 100_000] {
            assert_eq!(encode(lines, piece).unwrap(), expected, "{piece}");
        }
    }

    #[test]
    fn what_a_column_does_not_take_is_told_by_line_column_and_reason_and_never_by_its_value() {
        let bad = |member: &str| {
            let told = encode(&format!("{{\"id\":\"a\"}}\n{{\"id\":\"b\",{member}}}\n"), 5).unwrap_err();
            assert!(!told.contains("secret") && told.starts_with("line 2"), "{told}");
            told.strip_prefix("line 2").unwrap().to_owned()
        };
        for (member, told) in [
            ("\"n\":\"secret\"", ", column n: it is of another type"),
            ("\"n\":1.5", ", column n: it is of another type"),
            ("\"n\":9223372036854775808", ", column n: it is out of range"),
            ("\"x\":\"1\"", ", column x: it is of another type"),
            ("\"b\":1", ", column b: it is of another type"),
            ("\"d\":\"2026-02-30\"", ", column d: it is of another type"),
            ("\"at\":1795338000", ", column at: it is of another type"),
            ("\"at\":\"secret\"", ", column at: it is of another type"),
            ("\"u\":\"secret\"", ", column u: it is of another type"),
            ("\"p\":\"1234.5\"", ", column p: it has too many digits"),
            ("\"p\":\"1.234\"", ", column p: it has too many digits"),
            ("\"p\":\"1e3\"", ", column p: it is of another type"),
            ("\"j\":\"a\\u0000\"", ", column j: it has a NUL"),
            ("\"j\":\"\\ud800x\"", ", column j: it has half of a character"),
            (
                "\"j\":\"secret-that-is-longer-than-sixty-four-bytes-and-so-is-not-taken-at-all\"",
                ", column j: it is too long",
            ),
            ("\"n\":1,\"n\":2", ", column n: it comes twice"),
            ("\"id\":\"c\"", ", column id: it comes twice"),
            ("\"n\":{}", ", column n: it is of another type"),
            ("\"n\":[secret", ", column n: it is of another type"),
            ("secret", ": it is no JSON object"),
        ] {
            assert_eq!(bad(member), told, "{member}");
        }
        assert_eq!(encode("{\"id\":\"123456789\"}\n", 9).unwrap_err(), "line 1, column id: it is too long");
        assert_eq!(encode("{\"id\":\"a\\u0000\"}\n", 9).unwrap_err(), "line 1, column id: it has a NUL");
        assert_eq!(encode("{\"n\":1}\n", 9).unwrap_err(), "line 1, column id: it is required, and missing or null");
        assert_eq!(encode("[]\n", 9).unwrap_err(), "line 1: it is no JSON object");
        assert_eq!(encode("\n", 9).unwrap_err(), "line 1: it is no JSON object");
        assert_eq!(encode("{\"id\":\"a\"} x\n", 9).unwrap_err(), "line 1: it is no JSON object");
        assert_eq!(encode("{\"id\":\"a\"}", 9).unwrap_err(), "it ends within a line");
    }

    #[test]
    fn an_escaped_backslash_before_u0000_is_no_nul() {
        assert_eq!(
            encode("{\"id\":\"a\",\"j\":\"\\\\u0000\"}\n", 50).unwrap().trim_end(),
            "a\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\"\\\\\\\\u0000\""
        );
    }

    #[test]
    fn a_line_has_at_most_four_mebibytes() {
        let line = |bytes: usize| format!("{{\"id\":\"a\",\"z\":\"{}\"}}\n", "z".repeat(bytes - 18));
        assert_eq!(line(100).len(), 100);
        for piece in [65_536, 16 * MAX_LINE_BYTES] {
            assert!(encode(&line(MAX_LINE_BYTES), piece).is_ok());
            assert_eq!(encode(&line(MAX_LINE_BYTES + 1), piece).unwrap_err(), "line 1: it has more than 4 MiB");
        }
    }
}
