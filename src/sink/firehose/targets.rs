//! Which delivery stream takes which lines.

use std::{borrow::Cow, collections::BTreeMap};

use crate::batch::{Book, StreamName};

/// Which delivery stream takes which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// The delivery stream of accepted events; `{stream}` in it stands for the name of their stream.
    pub delivery_stream: Option<String>,
    /// Delivery streams of single streams, which go before it.
    pub delivery_streams: BTreeMap<StreamName, String>,
    /// The delivery stream of rejected events; `{stream}` in it stands for the name of their stream.
    pub rejected_stream: Option<String>,
}

impl Targets {
    /// What stands for the name of the stream in a pattern.
    pub const STREAM: &'static str = "{stream}";
    /// The longest name of a delivery stream, in bytes.
    pub const NAME_BYTES: usize = 64;

    /// The delivery stream for lines of `stream` and `book`, if there can be one.
    pub(super) fn find(&self, stream: &StreamName, book: Book) -> Option<Cow<'_, str>> {
        let of_pattern = |pattern: &Option<String>| Some(Self::fill(pattern.as_ref()?, stream.as_str()));
        let name = match book {
            Book::Accepted => match self.delivery_streams.get(stream) {
                Some(name) => Some(Cow::Borrowed(name.as_str())),
                None => of_pattern(&self.delivery_stream).map(Cow::Owned),
            },
            Book::Rejected => of_pattern(&self.rejected_stream).map(Cow::Owned),
        };
        name.filter(|name| Self::is_name(name))
    }

    /// The name of a delivery stream by a pattern, in which `{stream}` stands for the name of the stream; whether there can
    /// be one of that name, [`Self::is_name`] says.
    pub fn fill(pattern: &str, stream: &str) -> String {
        pattern.replace(Self::STREAM, stream)
    }

    /// Whether a delivery stream can have this name: `[a-zA-Z0-9_.-]{1,64}`.
    pub fn is_name(name: &str) -> bool {
        let bytes = name.as_bytes();
        (1..=Self::NAME_BYTES).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    #[test]
    fn a_stream_goes_to_its_own_delivery_stream_or_to_the_patterns() {
        let targets = Targets {
            delivery_stream: Some("logweir-{stream}".into()),
            delivery_streams: [(stream("heard"), "Tones.v2".into())].into(),
            rejected_stream: None,
        };
        assert_eq!(targets.find(&stream("heard"), Book::Accepted).unwrap(), "Tones.v2");
        assert_eq!(targets.find(&stream("shown"), Book::Accepted).unwrap(), "logweir-shown");
        assert_eq!(targets.find(&stream("heard"), Book::Rejected), None);
        let targets = Targets { rejected_stream: Some("bad".into()), ..targets };
        assert_eq!(targets.find(&stream("heard"), Book::Rejected).unwrap(), "bad");
        let targets = Targets { rejected_stream: Some("bad-{stream}".into()), delivery_stream: None, ..targets };
        assert_eq!(targets.find(&stream("heard"), Book::Rejected).unwrap(), "bad-heard");
        assert_eq!(targets.find(&stream("shown"), Book::Accepted), None);
    }

    #[test]
    fn a_name_that_no_delivery_stream_can_have_is_none() {
        let targets = Targets { delivery_stream: Some("logweir-{stream}".into()), ..Targets::default() };
        assert!(targets.find(&stream(&"a".repeat(56)), Book::Accepted).is_some());
        assert_eq!(targets.find(&stream(&"a".repeat(57)), Book::Accepted), None);
        for bad in ["", "a b", "a/b", "ü", "{strem}"] {
            let targets = Targets { delivery_stream: Some(bad.into()), ..Targets::default() };
            assert_eq!(targets.find(&stream("heard"), Book::Accepted), None, "{bad}");
        }
    }
}
