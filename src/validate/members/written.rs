//! Writing the members of an object that was read: as they came wherever they can be.

use super::{Fate, KeyBook, Member, Members, Span, Traits};

impl Members {
    /// No fewer bytes than any way of writing the members takes.
    pub(in super::super) fn written_at_most(&self) -> usize {
        // Each member may need a comma, quotes and a longer name beside what came; what replaces something stands in the
        // scratch.
        self.span.len() + self.scratch.bytes.len() + 16 * self.list.len()
    }

    /// Appends the members that `wanted` picks, each behind a comma.
    pub(in super::super) fn append(
        &self,
        (source, keys): (&[u8], &KeyBook),
        out: &mut Vec<u8>,
        wanted: impl Fn(&Member) -> bool,
    ) {
        // A run of neighbours that are stored as they came is copied as one, with what stands between them.
        let mut run: Option<Span> = None;
        let breaks = self.traits.has(Traits::LINE_BREAK);
        for member in &self.list {
            if member.as_it_came && !breaks && wanted(member) {
                if member.after_gap {
                    append_run(source, run.take(), out);
                }
                run = Some(Span { start: run.unwrap_or(member.whole).start, end: member.whole.end });
                continue;
            }
            append_run(source, run.take(), out);
            if wanted(member) {
                self.append_member((source, keys), member, out);
            }
        }
        append_run(source, run, out);
    }

    /// Whether the object's inside can be copied as a whole.
    pub(in super::super) fn as_it_came(&self) -> bool {
        !self.rewritten && !self.traits.has(Traits::LINE_BREAK)
    }

    /// Appends the object's inside as it came, behind a comma.
    pub(in super::super) fn append_whole(&self, source: &[u8], out: &mut Vec<u8>) {
        let ends = self.list.first().zip(self.list.last());
        let inside = ends.map(|(first, last)| Span { start: first.whole.start, end: last.whole.end });
        append_run(source, inside, out);
    }

    fn append_member(&self, (source, keys): (&[u8], &KeyBook), member: &Member, out: &mut Vec<u8>) {
        let value: &[u8] = match &member.fate {
            Ok(Fate::Keep) => Span { start: member.value_start, end: member.whole.end }.of(source),
            Ok(Fate::Replace(place)) => place.of(&self.scratch.bytes),
            Ok(Fate::Null) => b"null",
            Ok(Fate::Drop) | Err(_) => return,
        };
        out.extend_from_slice(b",\"");
        out.extend_from_slice(self.key_of(keys, member));
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
}

fn append_run(source: &[u8], run: Option<Span>, out: &mut Vec<u8>) {
    if let Some(run) = run {
        out.push(b',');
        out.extend_from_slice(run.of(source));
    }
}
