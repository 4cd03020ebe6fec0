//! A parcel on its way, and what an outcome makes of it.

use std::{borrow::Cow, ops::Range, sync::Arc};

use super::{Fate, Left, Parcel};
use crate::{
    batch::Millis,
    sink::{Backoff, Failure},
};

/// A parcel that is to be delivered, for as long as it takes.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The stretch that it belongs to, and its number within.
    pub(super) place: (u64, usize),
    pub(super) parcel: Arc<Parcel>,
    /// The received time of the oldest line of its stretch.
    pub(super) received: Millis,
    pub(super) backoff: Backoff,
    /// How often it was tried, in part or as a whole.
    pub(super) attempts: u64,
    /// How many of its lines were perhaps taken by the last attempt.
    pub(super) perhaps: usize,
}

/// Lines that will never be taken, for one reason.
#[derive(Debug)]
pub(super) struct Never {
    pub(super) parcel: Parcel,
    pub(super) why: Cow<'static, str>,
    /// The received time of the oldest line of their stretch.
    pub(super) received: Millis,
}

/// What an outcome makes of a parcel.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// How many lines were taken, and their length in bytes.
    pub(super) delivered: (usize, usize),
    /// The lines to send again, ascending.
    pub(super) again: Vec<Range<usize>>,
    /// Why they are sent again: the first cause.
    pub(super) cause: Option<Failure>,
    /// How many of them were perhaps taken.
    pub(super) perhaps: usize,
    /// The lines that will never be taken.
    pub(super) never: Vec<(Range<usize>, Cow<'static, str>)>,
    /// Whether the service asks to be asked less.
    pub(super) throttled: bool,
}

impl Sorted {
    /// What an outcome that names `left` makes of `parcel`. Whatever ranges it names, every line is in exactly one place, and a line that is
    /// named is not taken for delivered.
    pub(super) fn of(mut left: Vec<Left>, parcel: &Parcel) -> Self {
        let mut sorted = Self { delivered: (parcel.lines(), parcel.bytes()), ..Self::default() };
        left.sort_by_key(|left| left.lines.start);
        let mut from = 0;
        for left in left {
            let lines = left.lines.start.max(from)..left.lines.end.min(parcel.lines());
            if lines.is_empty() {
                continue;
            }
            from = lines.end;
            sorted.delivered.0 -= lines.len();
            sorted.delivered.1 -= parcel.range(lines.clone()).len();
            match left.fate {
                Fate::Later(cause) => {
                    sorted.throttled |= cause == Failure::Throttled;
                    sorted.send_again(lines, cause);
                }
                Fate::Unknown(cause) => {
                    sorted.perhaps += lines.len();
                    sorted.send_again(lines, cause);
                }
                Fate::Never(why) => sorted.never.push((lines, why)),
            }
        }
        sorted
    }

    fn send_again(&mut self, lines: Range<usize>, cause: Failure) {
        self.cause.get_or_insert(cause);
        self.add_again(lines);
    }

    /// Adds a range, and joins it to the last if it is next to it: one range is sent again without copying.
    fn add_again(&mut self, lines: Range<usize>) {
        match self.again.last_mut() {
            Some(last) if last.end == lines.start => last.end = lines.end,
            _ => self.again.push(lines),
        }
    }

    /// Has the lines sent again that will never be taken: there is no place for them.
    pub(super) fn hold_never(&mut self) {
        let mut again = std::mem::take(&mut self.again);
        again.extend(std::mem::take(&mut self.never).into_iter().map(|(lines, _)| lines));
        again.sort_by_key(|lines| lines.start);
        for lines in again {
            self.add_again(lines);
        }
    }

    /// How the call is counted.
    pub(super) fn outcome(&self) -> CallOutcome {
        match self {
            Self { perhaps: 1.., .. } => CallOutcome::Unknown,
            Self { again, never, .. } if again.is_empty() && never.is_empty() => CallOutcome::Delivered,
            Self { delivered: (1.., _), .. } => CallOutcome::Partial,
            Self { again, .. } if again.is_empty() => CallOutcome::Undelivered,
            _ => CallOutcome::Later,
        }
    }
}

/// How a call is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// Every line was taken.
    Delivered,
    /// Some were.
    Partial,
    /// None was, and some are to be sent again.
    Later,
    /// None was, and none ever will be.
    Undelivered,
    /// Perhaps some were.
    Unknown,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Book, StreamName};

    fn parcel(lines: usize) -> Parcel {
        let text = (0..lines).map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
        Parcel::new(StreamName::new("heard").unwrap(), Book::Accepted, text)
    }

    fn left(left: Vec<(Range<usize>, Fate)>) -> Vec<Left> {
        left.into_iter().map(|(lines, fate)| Left { lines, fate }).collect()
    }

    #[test]
    fn lines_are_sorted_by_their_fate() {
        let sorted = Sorted::of(
            left(vec![
                (0..1, Fate::Later(Failure::Server)),
                (1..3, Fate::Unknown(Failure::Timeout)),
                (4..5, Fate::Never("too long".into())),
                (6..7, Fate::Later(Failure::Throttled)),
            ]),
            &parcel(8),
        );
        assert_eq!(sorted.again, [0..3, 6..7]);
        assert_eq!((sorted.delivered, sorted.perhaps), ((3, 6), 2));
        assert_eq!((sorted.cause, sorted.throttled), (Some(Failure::Server), true));
        assert_eq!(sorted.never, [(4..5, "too long".into())]);
        let mut held = sorted;
        held.hold_never();
        assert_eq!((held.again, held.never.len()), (vec![0..3, 4..5, 6..7], 0));
    }

    #[test]
    fn a_call_is_counted_by_the_worst_that_it_may_have_come_to() {
        let of = |named| Sorted::of(left(named), &parcel(3)).outcome();
        let later = || Fate::Later(Failure::Server);
        assert_eq!(of(vec![]), CallOutcome::Delivered);
        assert_eq!(of(vec![(0..3, later())]), CallOutcome::Later);
        assert_eq!(of(vec![(0..1, later())]), CallOutcome::Partial);
        assert_eq!(of(vec![(0..1, later()), (1..3, Fate::Never("".into()))]), CallOutcome::Later);
        assert_eq!(of(vec![(0..3, Fate::Never("".into()))]), CallOutcome::Undelivered);
        assert_eq!(of(vec![(2..3, Fate::Unknown(Failure::Timeout))]), CallOutcome::Unknown);
    }

    fn fates() -> impl Strategy<Value = Fate> {
        prop_oneof![
            Just(Fate::Later(Failure::Server)),
            Just(Fate::Unknown(Failure::Network)),
            Just(Fate::Never("no".into())),
        ]
    }

    proptest! {
        #[test]
        fn whatever_ranges_are_named_every_line_is_in_one_place(
            named in prop::collection::vec((0..12_usize, 0..12_usize, fates()), 0..8),
        ) {
            let parcel = parcel(8);
            let fates = named.iter().cloned().map(|(from, to, fate)| (from..to, fate)).collect();
            let named: Vec<_> = named.iter().map(|(from, to, _)| *from..*to).collect();
            let sorted = Sorted::of(left(fates), &parcel);
            let mut places = [0; 8];
            for lines in sorted.again.iter().chain(sorted.never.iter().map(|(lines, _)| lines)) {
                lines.clone().for_each(|line| places[line] += 1);
            }
            for (line, places) in places.into_iter().enumerate() {
                let is_named = named.iter().any(|range| range.contains(&line));
                prop_assert_eq!(places, usize::from(is_named), "line {}", line);
            }
            let taken = places.iter().filter(|places| **places == 0).count();
            prop_assert_eq!(sorted.delivered, (taken, 2 * taken));
            prop_assert!(sorted.again.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
