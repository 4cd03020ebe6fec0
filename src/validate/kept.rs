//! What is kept of an event that was rejected: its text, as much of it as a warehouse's string takes.

use std::{borrow::Cow, ops::Range, string::FromUtf8Error};

use crate::schema::MAX_STRING_BYTES;

/// What is kept of an event that was rejected, each text [`cut`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'t> {
    /// The length of the event as it came, in bytes.
    pub(super) original_bytes: usize,
    /// Its text without private members; `None` where they cannot be told apart.
    pub(super) original: Option<&'t str>,
    /// The text of the batch's context without private members, if there is one.
    pub(super) context: Option<&'t str>,
}

/// How much of a text tells where [`cut`] cuts it, in bytes: a character that this cuts in two lies behind that place.
pub(super) const ENOUGH_TO_CUT: usize = MAX_STRING_BYTES as usize + 3;

/// `text`, cut to what a warehouse's string takes. NUL, which is stored as three bytes, is counted as such.
pub(super) fn cut(text: &str) -> &str {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, character)| {
        bytes += if *character == '\0' { 3 } else { character.len_utf8() };
        bytes > MAX_STRING_BYTES as usize
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// The text at `span` of `source` without the members at `private`, and without the commas that they leave; of a long
/// text as much as [`cut`] looks at.
pub(super) fn without<'s>(source: &'s [u8], span: Range<usize>, private: &[Range<usize>]) -> Cow<'s, str> {
    if private.is_empty() {
        return String::from_utf8_lossy(&source[span.start..span.end.min(span.start + ENOUGH_TO_CUT)]);
    }
    let mut kept = Vec::with_capacity(span.len().min(ENOUGH_TO_CUT));
    let keep = |kept: &mut Vec<u8>, place: Range<usize>| {
        let end = place.end.min(place.start + ENOUGH_TO_CUT - kept.len());
        kept.extend_from_slice(&source[place.start..end]);
    };
    let mut from = span.start;
    for member in private {
        keep(&mut kept, from..member.start);
        from = member.end;
        // One comma goes with the member: the one behind it, or the one before it if it was the last.
        let behind = source[from..span.end].iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
        if source.get(from + behind) == Some(&b',') {
            from += behind + 1;
        } else {
            let before = kept.iter().rposition(|byte| !byte.is_ascii_whitespace());
            if let Some(place) = before.filter(|place| kept[*place] == b',') {
                kept.truncate(place);
            }
        }
    }
    keep(&mut kept, from..span.end);
    let lossy = |error: FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
    Cow::Owned(String::from_utf8(kept).unwrap_or_else(lossy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_of_a_text_is_read_than_is_kept_of_it() {
        for (piece, kept) in [("a", 65_535), ("é", 65_534), ("😀", 65_532), ("aé", 65_535)] {
            let text = piece.repeat(100_000);
            let read = without(text.as_bytes(), 0..text.len(), &[]);
            assert!(read.len() <= 3 * ENOUGH_TO_CUT);
            assert_eq!(cut(&read), &text[..kept], "{piece}");
            // A member from the middle of what is kept changes nothing about that.
            let text = format!("{{{piece},\"secret\":1,{}", piece.repeat(80_000));
            let from = piece.len() + 2;
            let secret = from..from + 10;
            let read = without(text.as_bytes(), 0..text.len(), std::slice::from_ref(&secret));
            assert!(read.len() <= 3 * ENOUGH_TO_CUT && cut(&read).len() > 65_530 && !read.contains("secret"));
            assert!(text.replace("\"secret\":1,", "").starts_with(cut(&read)), "{piece}");
        }
        let bad = vec![0xFF; 1_000_000];
        let read = without(&bad, 0..bad.len(), &[]);
        assert_eq!((read.len(), cut(&read).len()), (3 * ENOUGH_TO_CUT, 65_535));
    }

    #[test]
    fn a_member_goes_with_one_comma() {
        let text = r#"{"a":1 , "s":2,"b":3, "s":4}"#;
        let at = |what: &str| text.find(what).unwrap()..text.find(what).unwrap() + what.len();
        let read = |private: &[Range<usize>]| without(text.as_bytes(), 0..text.len(), private);
        assert_eq!(read(&[at(r#""s":2"#)]), r#"{"a":1 , "b":3, "s":4}"#);
        assert_eq!(read(&[at(r#""s":4"#)]), r#"{"a":1 , "s":2,"b":3}"#);
        assert_eq!(read(&[at(r#""s":2"#), at(r#""b":3"#), at(r#""s":4"#)]), r#"{"a":1 }"#);
    }
}
