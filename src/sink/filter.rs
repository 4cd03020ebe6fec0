//! Which lines a sink wants.

use crate::batch::{Book, StreamName};

/// Which lines a sink wants. What it does not want is done as soon as it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The streams that it wants; none for all of them.
    pub streams: Vec<StreamName>,
    /// Whether it wants the events that break their stream's schema too.
    pub rejected: bool,
}

impl Filter {
    /// Whether the sink wants the lines of `stream` in `book`.
    pub fn wants(&self, stream: &StreamName, book: Book) -> bool {
        (self.streams.is_empty() || self.streams.contains(stream))
            && match book {
                Book::Accepted => true,
                Book::Rejected => self.rejected,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_wants_its_streams_and_rejected_events_only_if_it_says_so() {
        let name = |name| StreamName::new(name).unwrap();
        let all = Filter::default();
        assert!(all.wants(&name("heard"), Book::Accepted) && !all.wants(&name("heard"), Book::Rejected));
        let some = Filter { streams: vec![name("heard"), name("shown")], rejected: true };
        assert!(some.wants(&name("shown"), Book::Accepted) && some.wants(&name("heard"), Book::Rejected));
        assert!(!some.wants(&name("other"), Book::Accepted) && !some.wants(&name("other"), Book::Rejected));
    }
}
