//! Strings of JSON text: reading them out, cutting, mending and writing them.
//!
//! All of these work on text that the scanner has passed: the grammar is known to be right. They are the slow path:
//! most strings are stored as they came and never come here.

use std::borrow::Cow;

use super::json::hex4;

/// One character of a string's text, and how many bytes of JSON spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit {
    character: char,
    spelled: usize,
}

/// The characters of the text between a string's quotes. NUL and lone surrogates come as U+FFFD.
struct Units<'a>(&'a [u8]);

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let unit = if *self.0.first()? == b'\\' { escaped(self.0) } else { plain(self.0) };
        self.0 = self.0.get(unit.spelled..).unwrap_or_default();
        Some(unit)
    }
}

fn plain(text: &[u8]) -> Unit {
    let spelled = match text[0] {
        0x00..=0x7F => return Unit { character: char::from(text[0]), spelled: 1 },
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    };
    let character = text.get(..spelled).and_then(|bytes| std::str::from_utf8(bytes).ok()?.chars().next());
    Unit { character: character.unwrap_or(char::REPLACEMENT_CHARACTER), spelled }
}

fn escaped(text: &[u8]) -> Unit {
    let simple = |character| Unit { character, spelled: 2 };
    match text.get(1) {
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'n') => simple('\n'),
        Some(b'r') => simple('\r'),
        Some(b't') => simple('\t'),
        Some(b'u') => {
            let unit = hex4(text.get(2..6).unwrap_or_default()).unwrap_or(0);
            let next = text.get(6..12).filter(|next| next.starts_with(b"\\u")).and_then(|next| hex4(&next[2..]));
            let pair = next.and_then(|low| char::decode_utf16([unit, low]).next()?.ok());
            match (char::from_u32(u32::from(unit)), pair) {
                (Some('\0'), _) | (None, None) => Unit { character: char::REPLACEMENT_CHARACTER, spelled: 6 },
                (Some(character), _) => Unit { character, spelled: 6 },
                (None, Some(character)) => Unit { character, spelled: 12 },
            }
        }
        Some(byte) => simple(char::from(*byte)),
        None => Unit { character: char::REPLACEMENT_CHARACTER, spelled: 1 },
    }
}

/// The length of the string whose text between the quotes is `raw`, in bytes of UTF-8.
pub(super) fn decoded_len(raw: &[u8]) -> usize {
    Units(raw).map(|unit| unit.character.len_utf8()).sum()
}

/// How much of `raw`, the text between a string's quotes, spells at most `max_bytes` bytes of UTF-8. The cut lies
/// between two characters.
pub(super) fn prefix_within(raw: &[u8], max_bytes: usize) -> usize {
    let (mut spelled, mut decoded) = (0, 0);
    for unit in Units(raw) {
        decoded += unit.character.len_utf8();
        if decoded > max_bytes {
            break;
        }
        spelled += unit.spelled;
    }
    spelled
}

/// The string whose text between the quotes is `raw`.
pub(super) fn decode(raw: &[u8]) -> Cow<'_, str> {
    if raw.contains(&b'\\') { Units(raw).map(|unit| unit.character).collect() } else { String::from_utf8_lossy(raw) }
}

/// Appends `value`, any JSON text, to `out`, without white space between tokens and with U+FFFD for what no warehouse
/// stores: NUL and lone surrogates.
pub(super) fn append_mended(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            b'"' => rest = append_mended_string(rest, out),
            b' ' | b'\t' | b'\n' | b'\r' => rest = tail,
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
}

/// Appends the string at the start of `text`, and returns what stands behind it.
fn append_mended_string<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    out.push(b'"');
    let mut rest = &text[1..];
    loop {
        let special = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len());
        let (plain, tail) = rest.split_at(special);
        out.extend_from_slice(plain);
        match tail.first() {
            None => return tail,
            Some(b'"') => {
                out.push(b'"');
                return &tail[1..];
            }
            Some(_) => {
                let unit = escaped(tail);
                let (spelling, behind) = tail.split_at(unit.spelled.min(tail.len()));
                if unit.character == char::REPLACEMENT_CHARACTER {
                    out.extend_from_slice(b"\\ufffd");
                } else {
                    out.extend_from_slice(spelling);
                }
                rest = behind;
            }
        }
    }
}

/// Appends `text` to `out` as the text between a JSON string's quotes; NUL becomes U+FFFD.
pub(super) fn append_escaped(text: &str, out: &mut Vec<u8>) {
    let mut plain_from = 0;
    for (place, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0 => "\u{fffd}".as_bytes(),
            1..=0x1F => {
                out.extend_from_slice(&text.as_bytes()[plain_from..place]);
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                plain_from = place + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[plain_from..place]);
        out.extend_from_slice(escape);
        plain_from = place + 1;
    }
    out.extend_from_slice(&text.as_bytes()[plain_from..]);
}

/// How many bytes [`append_escaped`] makes of `text`.
pub(super) fn escaped_len(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0 => 3,
        1..=0x1F => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mended(text: &str) -> String {
        let mut out = Vec::new();
        append_mended(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn mending_replaces_what_cannot_be_stored_and_drops_white_space_between_tokens() {
        for (text, expected) in [
            (r#""a\u0000b""#, r#""a\ufffdb""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83dx\ude00""#, r#""\ufffdx\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\u0000""#, r#""\\u0000""#),
            (r#""a b\" \/c""#, r#""a b\" \/c""#),
            ("{ \"a b\" : [ 1,\r\n\ttrue ] }", r#"{"a b":[1,true]}"#),
        ] {
            assert_eq!(mended(text), expected, "{text}");
        }
    }

    #[test]
    fn a_cut_string_keeps_whole_characters() {
        assert_eq!(prefix_within("aé😀".as_bytes(), 2), 1);
        assert_eq!(prefix_within("aé😀".as_bytes(), 3), 3);
        assert_eq!(prefix_within("aé😀".as_bytes(), 6), 3);
        assert_eq!(prefix_within(br"\ud83d\ude00x", 3), 0);
        assert_eq!(prefix_within(br"\ud83d\ude00x", 4), 12);
        assert_eq!(prefix_within(br"\n\n\n", 2), 4);
        assert_eq!(prefix_within(b"abc", 9), 3);
    }

    proptest! {
        #[test]
        fn strings_are_read_as_serde_json_reads_them(text in "(\\PC|[\"\\\\\n\u{1}\u{7f}]){0,20}") {
            let spelled = serde_json::to_string(&text).unwrap();
            let raw = &spelled.as_bytes()[1..spelled.len() - 1];
            prop_assert_eq!(&decode(raw), &text);
            prop_assert_eq!(decoded_len(raw), text.len());
            for max in 0..=text.len() {
                let cut = decode(&raw[..prefix_within(raw, max)]);
                prop_assert!(cut.len() <= max && text.starts_with(&*cut) && cut.len() + 4 > max.min(text.len()));
            }
        }

        #[test]
        fn what_is_escaped_is_read_back(text in "(\\PC|[\"\\\\\n\r\t\u{1}\u{1f}]){0,20}") {
            let mut out = vec![b'"'];
            append_escaped(&text, &mut out);
            prop_assert_eq!(out.len() - 1, escaped_len(&text));
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn mending_sound_json_changes_white_space_only(items in prop::collection::vec("\\PC{0,8}", 0..5)) {
            let pretty = serde_json::to_string_pretty(&items).unwrap();
            prop_assert_eq!(mended(&pretty), serde_json::to_string(&items).unwrap());
        }
    }
}
