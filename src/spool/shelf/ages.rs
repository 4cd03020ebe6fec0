//! Since when what lies behind a place has been waiting.

use crate::batch::Millis;

/// Groups that were received within this of each other are not told apart, in milliseconds.
const STEP_MILLIS: i64 = 100;
/// How many places are known of the open segment at the most; then every second one is forgotten.
const MAX_PLACES: usize = 4_096;
/// How many are kept of a sealed one.
const MAX_PLACES_SEALED: usize = 64;

/// For some places of a segment, the received time before which nothing behind them was received.
#[derive(Debug, Default)]
pub(super) struct Ages(Vec<(u64, Millis)>);

impl Ages {
    /// A group that begins at `offset` was received at `since` or later. To be told in the order of the groups; again
    /// changes nothing.
    pub(super) fn add(&mut self, offset: u64, since: Millis) {
        if self.0.last().is_some_and(|(last, _)| *last >= offset) {
            return;
        }
        // Batches overtake each other: what lies before this place is then followed by something older.
        self.0.iter_mut().rev().take_while(|(_, before)| *before > since).for_each(|(_, before)| *before = since);
        if self.0.last().is_none_or(|(_, before)| since.get() - before.get() >= STEP_MILLIS) {
            self.thin(MAX_PLACES);
            self.0.push((offset, since));
        }
    }

    /// Nothing behind `offset` was received before this, as far as is known.
    pub(super) fn since(&self, offset: u64) -> Option<Millis> {
        let behind = self.0.partition_point(|(from, _)| *from <= offset);
        self.0.get(behind.saturating_sub(1)).map(|(_, since)| *since)
    }

    /// The segment is sealed: many are kept of these.
    pub(super) fn seal(mut self) -> Self {
        while self.0.len() > MAX_PLACES_SEALED {
            self.thin(self.0.len());
        }
        self.0.shrink_to_fit();
        self
    }

    fn thin(&mut self, most: usize) {
        if self.0.len() >= most {
            let mut odd = false;
            self.0.retain(|_| {
                odd = !odd;
                odd
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Millis {
        Millis::new(millis).unwrap()
    }

    #[test]
    fn the_age_of_what_lies_behind_a_place_is_never_told_too_young() {
        let mut ages = Ages::default();
        assert_eq!(ages.since(5), None);
        for (offset, since) in [(0, 1_000), (10, 1_050), (20, 5_000), (30, 9_000), (30, 0), (40, 8_000)] {
            ages.add(offset, at(since));
        }
        let since = |offset| ages.since(offset).unwrap().get();
        assert_eq!([0, 10, 19].map(since), [1_000; 3], "one step");
        assert_eq!([20, 30, 40, 99].map(since), [5_000, 8_000, 8_000, 8_000], "what came late is older");
    }

    #[test]
    fn the_number_of_places_is_limited() {
        let mut ages = Ages::default();
        for n in 0..20_000 {
            ages.add(n, at(n as i64 * 1_000));
            assert!(ages.0.len() <= MAX_PLACES);
        }
        let ages = ages.seal();
        assert!(ages.0.len() <= MAX_PLACES_SEALED && ages.0.len() > MAX_PLACES_SEALED / 4);
        for n in (0..20_000).step_by(777) {
            assert!(ages.since(n).unwrap() <= at(n as i64 * 1_000));
        }
        assert!(ages.since(10_000).unwrap() >= at(8_000_000));
    }
}
