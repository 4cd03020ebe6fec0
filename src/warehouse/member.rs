//! What an object holds, as it is read from its place.

use std::io::Write;

use super::place::Taker;
pub(super) use crate::sink::{Counted, Member};

impl<W: Write> Taker for Member<W> {
    fn take(&mut self, piece: &[u8]) -> bool {
        Self::take(self, piece)
    }
}
