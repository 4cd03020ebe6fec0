//! The stretches that are on their way, in the order of the spool.
//!
//! A stretch is done when every parcel of it was delivered and what will never be taken was set aside. The cursor may move
//! over those at the front that are done; one that is not holds back those behind it, which hold no text then but their
//! place: there are never more than `concurrency` of them, done or not, and so a crash repeats no more than that.

use std::{collections::VecDeque, sync::Arc};

use super::delivery::Never;
use crate::spool::Mark;

/// The stretches that are on their way.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    /// The number of the first.
    first: u64,
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    end: Mark,
    /// How many parcels are not delivered.
    left: usize,
    never: Vec<Arc<Never>>,
    /// Whether what will never be taken was set aside, or there is nothing.
    aside: bool,
}

impl Stretches {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A stretch of so many parcels begins, which ends at `end`: its number.
    pub(super) fn begin(&mut self, end: Mark, parcels: usize) -> u64 {
        self.open.push_back(Open { end, left: parcels, never: Vec::new(), aside: true });
        self.first + self.open.len() as u64 - 1
    }

    fn get(&mut self, number: u64) -> Option<&mut Open> {
        self.open.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Lines of stretch `number` will never be taken.
    pub(super) fn set_aside(&mut self, number: u64, never: Never) {
        if let Some(open) = self.get(number) {
            open.never.push(Arc::new(never));
            open.aside = false;
        }
    }

    /// A parcel of stretch `number` is delivered, but for what will never be taken.
    pub(super) fn delivered(&mut self, number: u64) {
        if let Some(open) = self.get(number) {
            open.left = open.left.saturating_sub(1);
        }
    }

    /// The first stretch of which nothing is left but to set lines aside: its number, its end and the lines.
    pub(super) fn to_set_aside(&self) -> Option<(u64, Mark, Vec<Arc<Never>>)> {
        let place = self.open.iter().position(|open| open.left == 0 && !open.aside)?;
        let open = &self.open[place];
        Some((self.first + place as u64, open.end, open.never.clone()))
    }

    /// The lines of stretch `number` that will never be taken are set aside.
    pub(super) fn is_set_aside(&mut self, number: u64) {
        if let Some(open) = self.get(number) {
            open.aside = true;
            open.never = Vec::new();
        }
    }

    /// Takes the stretches at the front that are done: where the last of them ends.
    pub(super) fn take_done(&mut self) -> Option<Mark> {
        let mut end = None;
        while let Some(open) = self.open.pop_front_if(|open| open.left == 0 && open.aside) {
            self.first += 1;
            end = Some(open.end);
        }
        end
    }

    /// Forgets all of them.
    pub(super) fn abandon(&mut self) {
        self.first += self.open.len() as u64;
        self.open.clear();
    }
}
