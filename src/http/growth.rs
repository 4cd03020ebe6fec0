//! How much longer a stream's lines are than the bodies that they come in: so that the buffer for them is neither moved
//! while they are written nor much larger than they are.

use std::cell::Cell;

/// What is believed of a stream before its first large batch: a line has some 170 bytes more than its event.
const FIRST: f32 = 4.0 / 3.0;
/// Lines are believed to be no more than so many times as long as their body: the room is asked of the budget.
const MOST: f32 = 2.0;
/// Shorter bodies tell nothing, in bytes: what the server adds to a small event is much of its line, and the room that every
/// batch gets beside suffices for them.
const LEAST_BYTES: usize = 4 * 1_024;
/// By how much of the difference a shorter batch makes the next ones believed to be shorter.
const FORGETTING: f32 = 1.0 / 16.0;

/// How much longer the lines of one stream are than their bodies, as one worker has seen it.
#[derive(Debug, Clone)]
pub(super) struct Growth(Cell<f32>);

impl Default for Growth {
    fn default() -> Self {
        Self(Cell::new(FIRST))
    }
}

impl Growth {
    /// How long the lines of a body of so many bytes will be, in bytes.
    pub(super) fn lines_of(&self, body: usize) -> usize {
        (body as f32 * self.0.get()) as usize
    }

    /// A body of `body` bytes became `lines` bytes of lines. What is longer is believed at once, since a buffer that is too
    /// short is moved with all that is in it.
    pub(super) fn learn(&self, body: usize, lines: usize) {
        if body < LEAST_BYTES || lines == 0 {
            return;
        }
        let seen = (lines as f32 / body as f32).min(MOST);
        let believed = self.0.get();
        self.0.set(if seen > believed { seen } else { believed + (seen - believed) * FORGETTING });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_lines_are_believed_at_once_and_shorter_ones_in_time() {
        let growth = Growth::default();
        assert_eq!(growth.lines_of(30_000), 40_000);
        growth.learn(10_000, 15_000);
        assert_eq!(growth.lines_of(10_000), 15_000);
        growth.learn(10_000, 11_000);
        assert!((14_500..15_000).contains(&growth.lines_of(10_000)));
        (0..100).for_each(|_| growth.learn(10_000, 11_000));
        assert!((11_000..11_100).contains(&growth.lines_of(10_000)));
    }

    #[test]
    fn neither_tiny_nor_rejected_nor_huge_batches_make_the_others_ask_for_much() {
        let growth = Growth::default();
        growth.learn(300, 3_000);
        growth.learn(10_000, 0);
        assert_eq!(growth.lines_of(30_000), 40_000);
        growth.learn(10_000, 1_000_000);
        assert_eq!(growth.lines_of(10_000), 20_000);
    }
}
