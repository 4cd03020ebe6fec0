//! Sizes as people write them.

use std::fmt;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const UNITS: [(u64, &str); 5] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

/// A number of bytes.
///
/// It is read from `"64MiB"`, `"64 MiB"`, `"1.5GiB"` or a bare number of bytes; `"64MB"` and `"64M"` are 64,000,000.
/// It is written exactly, in the largest binary unit that divides it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// `count` bytes.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// `count` KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// `count` MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// `count` GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; what no memory can hold becomes the most that one can.
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The sum, at most what 64 bits hold.
    #[must_use]
    pub(super) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The size in a sentence that need not be exact: `3.4 MiB`.
    pub fn about(self) -> String {
        ByteSize(self.0).to_string().replace(".0 ", " ")
    }

    fn in_largest_unit(self) -> (u64, &'static str) {
        let whole = |(unit, _): &&(u64, &str)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        UNITS.iter().find(whole).map_or((self.0, "B"), |(unit, name)| (self.0 / unit, *name))
    }
}

/// As in a sentence, exactly: `64 MiB`, and `2.5 GiB`, where a quarter of the larger unit divides it.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(unit, _): &&(u64, &str)| self.0 >= *unit && self.0.is_multiple_of((*unit / 4).max(1));
        let (unit, name) = UNITS.iter().find(whole).copied().unwrap_or((1, "B"));
        let part = match (self.0 % unit) / (unit / 4).max(1) {
            1 => ".25",
            2 => ".5",
            3 => ".75",
            _ => "",
        };
        write!(f, "{}{part} {name}", self.0 / unit)
    }
}

/// As in a configuration: `64MiB`.
impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (count, unit) = self.in_largest_unit();
        serializer.collect_str(&format_args!("{count}{unit}"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl de::Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"64MiB\"")
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Size, E> {
        u64::try_from(count).map(Size).map_err(|_| E::invalid_value(de::Unexpected::Signed(count), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        let size = text.parse::<ByteSize>().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
        Ok(Size(size.as_u64()))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::{
        IntoDeserializer,
        value::{Error, I64Deserializer, StrDeserializer},
    };

    use super::*;

    fn read(text: &str) -> Result<Size, Error> {
        let text: StrDeserializer<'_, Error> = text.into_deserializer();
        Size::deserialize(text)
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("64MB", 64_000_000),
            ("5", 5),
            ("0B", 0),
            ("9007199254740993B", (1 << 53) + 1),
        ] {
            assert_eq!(read(text).unwrap().get(), bytes, "{text}");
        }
        for text in ["", "MiB", "-5MiB", "12 parsecs", "nan", "1.0.0KiB"] {
            assert!(read(text).is_err(), "{text}");
        }
        let number = |count: i64| -> Result<Size, Error> {
            let count: I64Deserializer<Error> = count.into_deserializer();
            Size::deserialize(count)
        };
        assert_eq!((number(7).unwrap(), number(-7).is_err()), (Size::bytes(7), true));
    }

    #[test]
    fn sizes_are_written_exactly_and_read_back() {
        for (size, text, setting) in [
            (Size::mib(64), "64 MiB", "64MiB"),
            (Size::mib(1536), "1.5 GiB", "1536MiB"),
            (Size::mib(2304), "2.25 GiB", "2304MiB"),
            (Size::kib(1_792), "1.75 MiB", "1792KiB"),
            (Size::kib(1_000), "1000 KiB", "1000KiB"),
            (Size::kib(1), "1 KiB", "1KiB"),
            (Size::gib(10), "10 GiB", "10GiB"),
            (Size::gib(2048), "2 TiB", "2TiB"),
            (Size::bytes(1025), "1025 B", "1025B"),
            (Size::bytes(3), "3 B", "3B"),
            (Size::bytes(0), "0 B", "0B"),
            (Size::bytes(u64::MAX), "18446744073709551615 B", "18446744073709551615B"),
        ] {
            assert_eq!(size.to_string(), text);
            let written = toml::Value::try_from(size).unwrap();
            assert_eq!(written.as_str().unwrap(), setting);
            assert_eq!((read(text).unwrap(), read(written.as_str().unwrap()).unwrap()), (size, size));
        }
    }

    #[test]
    fn what_need_not_be_exact_has_the_same_form() {
        for (bytes, text) in [(3_600_000, "3.4 MiB"), (64 << 20, "64 MiB"), (12_000, "11.7 KiB"), (10, "10 B")] {
            assert_eq!(Size::bytes(bytes).about(), text);
        }
    }
}
