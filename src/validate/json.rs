//! A scanner over JSON text: it checks the grammar of RFC 8259 and tells where values lie and what is odd in them.
//!
//! It builds nothing: an event's bytes are looked at once, and kept as they came wherever they can be. Nesting is
//! kept as one bit a level, so the scanner neither recurses nor allocates, however deep the text nests.

use std::ops::{BitOr, BitOrAssign};

/// The deepest nesting that is read at all; a text that nests deeper is malformed. Redshift's SUPER takes 1,000.
pub(super) const MAX_DEPTH: usize = 1_024;

/// What is odd in a value, so that it cannot be stored as it came, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traits(u8);

impl Traits {
    /// A string contains an escape.
    pub(super) const ESCAPE: Self = Self(1);
    /// A string contains `\u0000` or a surrogate without its other half.
    pub(super) const UNSTORABLE: Self = Self(2);
    /// A line feed or carriage return stands between tokens.
    pub(super) const LINE_BREAK: Self = Self(4);
    /// A number is too large for a double, or so small that a double makes a zero of it.
    pub(super) const BEYOND_DOUBLE: Self = Self(8);
    /// A number has a fraction or an exponent.
    pub(super) const FRACTION: Self = Self(16);
    /// Whatever keeps a value of no declared type from being stored as it came.
    pub(super) const UNKEPT: Self = Self(Self::UNSTORABLE.0 | Self::LINE_BREAK.0 | Self::BEYOND_DOUBLE.0);

    #[inline]
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Traits {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Traits {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A value: its first byte, the byte behind it, and what is odd in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
    pub(super) traits: Traits,
    /// How deep arrays and objects nest in it: 0 for a scalar.
    pub(super) depth: usize,
}

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Where, in bytes from the start of the text.
    pub(super) offset: usize,
    /// What was wrong there.
    pub(super) what: &'static str,
}

/// A place in JSON text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
    /// Whether no string of the text can contain anything but characters that stand for themselves.
    plain: bool,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `bytes`, which must be valid UTF-8: that is checked once for the whole body.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0, plain: false }
    }

    /// Like [`Self::new`], for a text of which is known whether it is [plain](Look::plain).
    pub(super) fn with_plain(bytes: &'a [u8], plain: bool) -> Self {
        Self { bytes, pos: 0, plain }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    pub(super) fn seek(&mut self, pos: usize) {
        self.pos = pos;
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    pub(super) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { offset: self.pos, what }
    }

    /// Passes white space, and tells whether a line break was among it.
    #[inline]
    pub(super) fn space(&mut self) -> Traits {
        // Machines write none.
        if self.peek().is_none_or(|byte| byte > b' ') { Traits::default() } else { self.some_space() }
    }

    fn some_space(&mut self) -> Traits {
        let mut traits = Traits::default();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => traits |= Traits::LINE_BREAK,
                _ => break,
            }
            self.pos += 1;
        }
        traits
    }

    /// Passes `byte`.
    #[inline]
    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Malformed> {
        if self.peek() == Some(byte) {
            self.pos += 1;
            Ok(())
        } else {
            Err(self.malformed(what))
        }
    }

    /// Passes `byte` if it stands here.
    #[inline]
    pub(super) fn accept(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.pos += usize::from(here);
        here
    }

    /// Passes the string whose opening quote stands here; the text between the quotes is `start + 1 .. end - 1`.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Value, Malformed> {
        let start = self.pos;
        self.expect(b'"', "a string was expected")?;
        let traits = self.string_rest()?;
        Ok(Value { start, end: self.pos, kind: Kind::String, traits, depth: 0 })
    }

    /// Passes the value that stands here.
    #[inline]
    pub(super) fn value(&mut self) -> Result<Value, Malformed> {
        let start = self.pos;
        let mut depth = 0;
        let (kind, traits) = match self.peek() {
            Some(b'"') => {
                self.pos += 1;
                (Kind::String, self.string_rest()?)
            }
            Some(b'-' | b'0'..=b'9') => (Kind::Number, self.number()?),
            Some(b'{') => (Kind::Object, self.container(&mut depth)?),
            Some(b'[') => (Kind::Array, self.container(&mut depth)?),
            Some(b't') => (Kind::Bool, self.literal(b"true")?),
            Some(b'f') => (Kind::Bool, self.literal(b"false")?),
            Some(b'n') => (Kind::Null, self.literal(b"null")?),
            Some(_) => return Err(self.malformed("a value was expected")),
            None => return Err(self.malformed("the text ends where a value was expected")),
        };
        Ok(Value { start, end: self.pos, kind, traits, depth })
    }

    fn literal(&mut self, literal: &[u8]) -> Result<Traits, Malformed> {
        if self.bytes[self.pos..].starts_with(literal) {
            self.pos += literal.len();
            Ok(Traits::default())
        } else {
            Err(self.malformed("a value was expected"))
        }
    }

    /// Passes a string's text and closing quote.
    #[inline]
    fn string_rest(&mut self) -> Result<Traits, Malformed> {
        let mut traits = Traits::default();
        if self.plain {
            self.pos += before_quote(&self.bytes[self.pos..]);
            return self.expect(b'"', "the text ends within a string").map(|()| traits);
        }
        loop {
            self.pos += plain_prefix(&self.bytes[self.pos..]);
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(traits);
                }
                Some(b'\\') => traits |= Traits::ESCAPE | self.escape()?,
                Some(_) => return Err(self.malformed("a control character stands in a string unescaped")),
                None => return Err(self.malformed("the text ends within a string")),
            }
        }
    }

    /// Passes an escape; a pair of surrogates is one.
    fn escape(&mut self) -> Result<Traits, Malformed> {
        match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 2;
                Ok(Traits::default())
            }
            Some(b'u') => {
                let unit = self.unit()?;
                match unit {
                    0 | 0xDC00..=0xDFFF => Ok(Traits::UNSTORABLE),
                    0xD800..=0xDBFF => {
                        if !self.bytes[self.pos..].starts_with(b"\\u") {
                            return Ok(Traits::UNSTORABLE);
                        }
                        let low = self.unit()?;
                        if (0xDC00..=0xDFFF).contains(&low) {
                            return Ok(Traits::default());
                        }
                        // Two lone ones, or a lone one before something else, which may begin a pair: look again.
                        self.pos -= 6;
                        Ok(Traits::UNSTORABLE)
                    }
                    _ => Ok(Traits::default()),
                }
            }
            _ => Err(self.malformed("an unknown escape stands in a string")),
        }
    }

    /// Passes `\uXXXX`.
    fn unit(&mut self) -> Result<u16, Malformed> {
        let unit = hex4(self.bytes.get(self.pos + 2..self.pos + 6).unwrap_or_default())
            .ok_or_else(|| self.malformed("four hexadecimal digits were expected"))?;
        self.pos += 6;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Traits, Malformed> {
        let start = self.pos;
        let mut traits = Traits::default();
        self.accept(b'-');
        match self.peek() {
            Some(b'0') => self.pos += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.malformed("a digit was expected")),
        }
        if self.accept(b'.') {
            traits |= Traits::FRACTION;
            self.digits_required()?;
        }
        let mut exponent = false;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.pos += 1;
            exponent = true;
            traits |= Traits::FRACTION;
            if !self.accept(b'+') {
                self.accept(b'-');
            }
            self.digits_required()?;
        }
        // 308 digits fit a double, before and behind the point; a shorter number without an exponent needs no further
        // look.
        if (exponent || self.pos - start > 308) && !is_double(&self.bytes[start..self.pos]) {
            traits |= Traits::BEYOND_DOUBLE;
        }
        Ok(traits)
    }

    #[inline]
    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.pos += 1;
        }
    }

    fn digits_required(&mut self) -> Result<(), Malformed> {
        let start = self.pos;
        self.digits();
        if self.pos == start { Err(self.malformed("a digit was expected")) } else { Ok(()) }
    }

    /// Passes an array or object; `deepest` becomes how deep it nests, itself included.
    fn container(&mut self, deepest: &mut usize) -> Result<Traits, Malformed> {
        let mut levels = Levels::default();
        let mut traits = Traits::default();
        loop {
            // At a value's first byte, which opens a level here.
            let object = self.peek() == Some(b'{');
            if !levels.push(object) {
                return Err(self.malformed("arrays and objects nest too deep"));
            }
            *deepest = (*deepest).max(levels.depth);
            self.pos += 1;
            traits |= self.space();
            let empty = self.accept(if object { b'}' } else { b']' });
            let mut closed = empty;
            // Until a value opens the next level.
            loop {
                if closed {
                    if levels.pop() {
                        return Ok(traits);
                    }
                    traits |= self.space();
                    closed = self.accept(levels.closing());
                    if closed {
                        continue;
                    }
                    self.expect(b',', "a comma or the closing bracket was expected")?;
                    traits |= self.space();
                }
                if levels.in_object() {
                    traits |= self.string()?.traits;
                    traits |= self.space();
                    self.expect(b':', "a colon was expected")?;
                    traits |= self.space();
                }
                if matches!(self.peek(), Some(b'{' | b'[')) {
                    break;
                }
                traits |= self.value()?.traits;
                traits |= self.space();
                closed = self.accept(levels.closing());
                if !closed {
                    self.expect(b',', "a comma or the closing bracket was expected")?;
                    traits |= self.space();
                }
            }
        }
    }
}

/// The open levels, a bit each: an object or an array.
struct Levels {
    objects: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Default for Levels {
    fn default() -> Self {
        Self { objects: [0; MAX_DEPTH / 64], depth: 0 }
    }
}

impl Levels {
    /// Opens a level; `false` if there are too many.
    fn push(&mut self, object: bool) -> bool {
        let Some(word) = self.objects.get_mut(self.depth / 64) else { return false };
        let bit = 1 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        true
    }

    /// Closes a level; whether it was the last.
    fn pop(&mut self) -> bool {
        self.depth -= 1;
        self.depth == 0
    }

    fn in_object(&self) -> bool {
        let top = self.depth - 1;
        self.objects[top / 64] & (1 << (top % 64)) != 0
    }

    fn closing(&self) -> u8 {
        if self.in_object() { b'}' } else { b']' }
    }
}

/// Whether a double holds `number`, with what precision ever. A warehouse refuses one that would become infinite, and
/// one that would become zero without being it.
fn is_double(number: &[u8]) -> bool {
    let text = std::str::from_utf8(number).unwrap_or_default();
    let mantissa = number.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
    let zero = || !mantissa.iter().any(|byte| matches!(byte, b'1'..=b'9'));
    text.parse::<f64>().is_ok_and(|double| double.is_finite() && (double != 0.0 || zero()))
}

/// The number that four hexadecimal digits spell.
pub(super) fn hex4(digits: &[u8]) -> Option<u16> {
    if digits.len() != 4 {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | digit as u16)
    })
}

/// What is known of a whole text before it is scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// It has no backslash and no control character, so that every quote in it begins or ends a string.
    pub(super) plain: bool,
    /// It has none but ASCII characters, so that it is UTF-8.
    pub(super) ascii: bool,
}

impl Look {
    /// Looks at `text`; the control character `but` does not count. The compiler takes many bytes at a time.
    #[expect(clippy::needless_bitwise_bool, reason = "a branch for each byte would keep the compiler from taking many")]
    pub(super) fn at(text: &[u8], but: Option<u8>) -> Self {
        const PIECE_BYTES: usize = 64;
        let but = but.unwrap_or(b' ');
        let mut look = Self { plain: true, ascii: true };
        for piece in text.chunks(PIECE_BYTES) {
            look.plain &=
                !piece.iter().fold(false, |odd, byte| odd | ((*byte < b' ') & (*byte != but)) | (*byte == b'\\'));
            look.ascii &= piece.iter().fold(0, |all, byte| all | *byte).is_ascii();
            if !look.plain && !look.ascii {
                break;
            }
        }
        look
    }
}

/// A word of ones in each byte, and of the highest bits of each.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES * 0x80;

/// How many bytes from the start are not `"`: as [`plain_prefix`] does it, for a plain text.
#[inline]
fn before_quote(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let quote = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'"'));
        let found = quote.wrapping_sub(ONES) & !quote & HIGH;
        if found != 0 {
            return place * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    words.len() * 8 + rest.iter().take_while(|byte| **byte != b'"').count()
}

/// How many bytes from the start need no look within a string: everything but `"`, `\` and control characters.
///
/// Eight bytes at a time: a byte's high bit is set in `found` if it is one of the three. Borrows of the subtractions
/// can set it falsely, but only above a byte where it is set rightly, and only the lowest counts.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & HIGH;
        if found != 0 {
            return place * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let plain = rest.iter().take_while(|byte| **byte >= 0x20 && **byte != b'"' && **byte != b'\\').count();
    words.len() * 8 + plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole text as one value.
    fn scan(text: &str) -> Result<Value, Malformed> {
        let found = scan_with(text, false);
        if Look::at(text.as_bytes(), None).plain {
            let Ok(value) = &found else {
                assert!(scan_with(text, true).is_err(), "{text}");
                return found;
            };
            assert_eq!(scan_with(text, true).as_ref(), Ok(value), "{text}");
        }
        found
    }

    fn scan_with(text: &str, plain: bool) -> Result<Value, Malformed> {
        let mut scanner = Scanner::with_plain(text.as_bytes(), plain);
        let before = scanner.space();
        let mut value = scanner.value()?;
        value.traits |= before | scanner.space();
        if scanner.peek().is_some() { Err(scanner.malformed("more")) } else { Ok(value) }
    }

    #[test]
    fn values_are_told_apart() {
        for (text, kind, depth) in [
            ("null", Kind::Null, 0),
            ("true", Kind::Bool, 0),
            ("-0.5e-3", Kind::Number, 0),
            (r#""a""#, Kind::String, 0),
            ("[]", Kind::Array, 1),
            (r#"{"a":[{}]}"#, Kind::Object, 3),
            ("[[],[[]],1]", Kind::Array, 3),
        ] {
            let value = scan(text).unwrap();
            assert_eq!((value.kind, value.depth, value.start, value.end), (kind, depth, 0, text.len()), "{text}");
        }
    }

    #[test]
    fn what_is_odd_is_told() {
        for (text, traits) in [
            (r#""abcdefghijklmnop é""#, Traits::default()),
            (r#""a\n""#, Traits::ESCAPE),
            (r#""\ud83d\ude00""#, Traits::ESCAPE),
            (r#""\u0000""#, Traits::ESCAPE | Traits::UNSTORABLE),
            (r#"["\ud83d"]"#, Traits::ESCAPE | Traits::UNSTORABLE),
            (r#"["\ude00"]"#, Traits::ESCAPE | Traits::UNSTORABLE),
            (r#""\ud83d\ud83d\ude00""#, Traits::ESCAPE | Traits::UNSTORABLE),
            (r#"{"\u0000":1}"#, Traits::ESCAPE | Traits::UNSTORABLE),
            ("[1,\n2]", Traits::LINE_BREAK),
            ("1e308", Traits::FRACTION),
            ("1e309", Traits::FRACTION | Traits::BEYOND_DOUBLE),
            ("1.5", Traits::FRACTION),
            ("[-1E+400]", Traits::FRACTION | Traits::BEYOND_DOUBLE),
        ] {
            assert_eq!(scan(text).unwrap().traits, traits, "{text}");
        }
        for (text, traits) in [
            ("1e-400", Traits::FRACTION | Traits::BEYOND_DOUBLE),
            ("-0.001E-330", Traits::FRACTION | Traits::BEYOND_DOUBLE),
            ("[2e-324]", Traits::FRACTION | Traits::BEYOND_DOUBLE),
            ("5e-324", Traits::FRACTION),
            ("0e-400", Traits::FRACTION),
            ("-0.000e999", Traits::FRACTION),
            (&format!("0.{}1", "0".repeat(400)), Traits::FRACTION | Traits::BEYOND_DOUBLE),
            (&format!("0.{}", "0".repeat(400)), Traits::FRACTION),
        ] {
            assert_eq!(scan(text).unwrap().traits, traits, "{text}");
        }
        assert_eq!(scan(&"9".repeat(308)).unwrap().traits, Traits::default());
        assert_eq!(scan(&"9".repeat(310)).unwrap().traits, Traits::BEYOND_DOUBLE);
    }

    #[test]
    fn nesting_has_a_limit_and_no_recursion() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(scan(&nested(MAX_DEPTH)).unwrap().depth, MAX_DEPTH);
        assert_eq!(scan(&nested(MAX_DEPTH + 1)).unwrap_err().offset, MAX_DEPTH);
        assert!(scan(&"[".repeat(1_000_000)).is_err());
        assert!(scan(&"{\"a\":".repeat(1_000_000)).is_err());
    }

    /// Texts that look like JSON: whole ones, and ones with a piece replaced.
    fn almost_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("-12.5e3".to_owned()),
            Just("0".to_owned()),
            r#""[a-z\\\\"/\u{1}é]{0,20}""#,
            Just(r#""\u00e9\n""#.to_owned()),
        ];
        let value = leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
                prop::collection::vec(inner, 0..4).prop_map(|items| {
                    let members: Vec<_> = items.iter().enumerate().map(|(n, v)| format!("\"k{n}\":{v}")).collect();
                    format!("{{{}}}", members.join("\n,"))
                }),
            ]
        });
        (value, prop::option::of((any::<prop::sample::Index>(), r#"[\]\[{}:,"0-9.eE+\\nu-]"#))).prop_map(
            |(text, change)| match change {
                None => text,
                Some((index, piece)) => {
                    let mut chars: Vec<char> = text.chars().collect();
                    let place = index.index(chars.len());
                    chars.splice(place..=place, piece.chars());
                    chars.into_iter().collect()
                }
            },
        )
    }

    proptest! {
        /// serde_json is the judge of what JSON is. It refuses lone surrogates and huge numbers, which are JSON by
        /// the grammar and are met here by their traits.
        #[test]
        fn the_scanner_takes_what_serde_json_takes(text in almost_json()) {
            let judged = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            match scan(&text) {
                Ok(value) if !judged => prop_assert!(value.traits.has(Traits::UNSTORABLE | Traits::BEYOND_DOUBLE), "{}", text),
                Ok(_) => {}
                Err(error) => prop_assert!(!judged, "{}: {:?}", text, error),
            }
        }

        #[test]
        fn a_text_is_plain_without_escapes_and_control_characters(text in "[a-z\"é]{0,140}", odd in "[\\\\\u{0}-\u{1f}]?") {
            let text = format!("{text}{odd}{text}");
            prop_assert_eq!(Look::at(text.as_bytes(), None).plain, odd.is_empty());
            let look = Look::at(text.as_bytes(), Some(b'\n'));
            prop_assert_eq!(look.plain, odd.is_empty() || odd == "\n");
            prop_assert_eq!(look.ascii, text.is_ascii());
            let quote = text.bytes().take_while(|byte| *byte != b'"').count();
            prop_assert_eq!(before_quote(text.as_bytes()), quote);
        }

        #[test]
        fn plain_prefix_ends_at_the_first_byte_that_matters(text in "[a-z\"\\\\\u{1}\u{1f} é😀]{0,40}") {
            let simple = text.bytes().take_while(|b| *b >= 0x20 && *b != b'"' && *b != b'\\').count();
            prop_assert_eq!(plain_prefix(text.as_bytes()), simple);
        }

        #[test]
        fn no_text_makes_the_scanner_panic(text in "\\PC*") {
            let _ = scan(&text);
        }
    }
}
