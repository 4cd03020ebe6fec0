//! Writing stored lines.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{
    Batch, MAX_FUTURE_MILLIS, MAX_PAST_MILLIS,
    kept::Kept,
    keys::KeyBook,
    members::{Member, Members},
    text,
};
use crate::{
    batch::{BatchHash, BatchId, EventId, Millis, RFC3339_BYTES, Reason, Rejection},
    schema::{EXTRA, MAX_STRING_BYTES, UnknownFields},
};

/// More bytes than the server fields, the braces and the line feed of any line take, without the batch id.
const FIXED_BYTES: usize = 512;

/// What the lines of one batch have in common, and how they are written.
#[derive(Debug)]
pub(super) struct Pen {
    /// `","received_at":"…"[,"batch_id":"…"]`: what follows the event time.
    common: Vec<u8>,
    hash: BatchHash,
    received_at: Millis,
    /// The received time as it is stored.
    received_text: [u8; RFC3339_BYTES],
    /// How far this instance's clock is ahead of the device's, in milliseconds.
    skew: i64,
}

impl Default for Pen {
    fn default() -> Self {
        Self {
            common: Vec::new(),
            hash: BatchHash::random(0),
            received_at: Millis::MIN,
            received_text: [0; RFC3339_BYTES],
            skew: 0,
        }
    }
}

/// When an event happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventTime {
    /// What is stored as `event_time`: corrected and clamped.
    pub(super) stored: Millis,
    /// What the device said, if that is another instant.
    client: Option<Millis>,
    /// Whether it lay outside the window around the received time.
    pub(super) clamped: bool,
}

impl Pen {
    /// Prepares for the lines of `batch`, whose id is `batch_id`.
    pub(super) fn prepare(&mut self, batch: &Batch<'_>, batch_id: Option<&BatchId>, skew: i64) {
        self.received_at = batch.received_at;
        self.received_text = batch.received_at.rfc3339();
        self.skew = skew;
        self.common.clear();
        self.common.extend_from_slice(b"\",\"received_at\":\"");
        self.common.extend_from_slice(&self.received_text);
        self.common.push(b'"');
        self.hash = match batch_id {
            None => BatchHash::random(batch.nonce),
            Some(id) => {
                self.common.extend_from_slice(b",\"batch_id\":\"");
                text::append_escaped(id.as_str(), &mut self.common);
                self.common.push(b'"');
                BatchHash::new(batch.key_name, &batch.stream.name, id.as_str())
            }
        };
    }

    /// The identity of the event at `index`. Private members are left out of the hash, so that nobody can find them
    /// again by trying values against the identity.
    pub(super) fn event_id(&self, source: &[u8], index: u32, event: &Members) -> EventId {
        let span = event.span();
        if event.private().is_empty() {
            return self.hash.event(index, xxh3_128(&source[span]));
        }
        let mut hash = Xxh3::new();
        let mut from = span.start;
        for private in event.private() {
            hash.update(&source[from..private.start]);
            from = private.end;
        }
        hash.update(&source[from..span.end]);
        self.hash.event(index, hash.digest128())
    }

    /// The identity of something at `index` that is no event.
    pub(super) fn text_id(&self, index: u32, text: &[u8]) -> EventId {
        self.hash.event(index, xxh3_128(text))
    }

    /// When an event happened that the device says happened at `claimed`.
    pub(super) fn event_time(&self, claimed: Option<Millis>) -> EventTime {
        let Some(claimed) = claimed else {
            return EventTime { stored: self.received_at, client: None, clamped: false };
        };
        let corrected = claimed.saturating_add(self.skew);
        let earliest = self.received_at.saturating_add(-MAX_PAST_MILLIS);
        let latest = self.received_at.saturating_add(MAX_FUTURE_MILLIS);
        let stored = corrected.clamp(earliest, latest);
        EventTime { stored, client: (claimed != stored).then_some(claimed), clamped: stored != corrected }
    }

    /// No fewer bytes than the line of `event` takes.
    pub(super) fn accepted_at_most(&self, event: &Members, context: &Members) -> usize {
        FIXED_BYTES + self.common.len() + event.written_at_most() + context.written_at_most()
    }

    /// Appends the line of an event that follows its schema.
    ///
    /// # Errors
    /// [`Reason::TooLong`] if what is collected in `extra` is longer than a column; a part of the line is then written.
    pub(super) fn accepted(
        &self,
        (source, keys): (&[u8], &KeyBook),
        (event, context): (&Members, &Members),
        unknown: UnknownFields,
        (id, time): (EventId, EventTime),
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        out.extend_from_slice(b"{\"event_id\":\"");
        match event.client_id() {
            Some(own) => out.extend_from_slice(&source[own]),
            None => out.extend_from_slice(&id.hex()),
        }
        out.extend_from_slice(b"\",\"event_time\":\"");
        if time.stored == self.received_at {
            out.extend_from_slice(&self.received_text);
        } else {
            out.extend_from_slice(&time.stored.rfc3339());
        }
        out.extend_from_slice(&self.common);
        if let Some(client) = time.client {
            out.extend_from_slice(b",\"client_time\":\"");
            out.extend_from_slice(&client.rfc3339());
            out.push(b'"');
        }
        let collects = unknown == UnknownFields::Collect;
        let lacks = |member: &Member| !event.has_key_of(keys, context, member);
        if event.as_it_came() {
            event.append_whole(source, out);
        } else {
            event.append((source, keys), out, |member| !collects || member.slot.is_some());
        }
        context.append((source, keys), out, |member| (!collects || member.slot.is_some()) && lacks(member));
        if collects && (event.has_undeclared() || context.has_undeclared()) {
            extra((source, keys), event, context, out)?;
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    /// No fewer bytes than the line of an event that is rejected with these texts takes.
    pub(super) fn rejected_at_most(&self, rejection: &Rejection, kept: &Kept<'_>) -> usize {
        let texts = [rejection.field.as_deref(), kept.original, kept.context];
        FIXED_BYTES + self.common.len() + texts.into_iter().flatten().map(text::escaped_len).sum::<usize>()
    }

    /// Appends the line of an event that was rejected.
    pub(super) fn rejected(
        &self,
        stream: &str,
        id: EventId,
        rejection: &Rejection,
        kept: &Kept<'_>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"{\"event_id\":\"");
        out.extend_from_slice(&id.hex());
        out.extend_from_slice(b"\",\"event_time\":\"");
        out.extend_from_slice(&self.received_text);
        out.extend_from_slice(&self.common);
        append_string(out, "stream", Some(stream));
        append_number(out, "index", u64::from(rejection.index));
        append_string(out, "field", rejection.field.as_deref());
        append_string(out, "reason", Some(rejection.reason.as_str()));
        append_number(out, "original_bytes", kept.original_bytes as u64);
        append_string(out, "original", kept.original);
        if let Some(context) = kept.context {
            append_string(out, "context", Some(context));
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Appends `,"extra":{…}` with the members that no schema declares, if there are any.
///
/// Its column is as wide as that of any JSON value may be.
fn extra(
    (source, keys): (&[u8], &KeyBook),
    event: &Members,
    context: &Members,
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    let start = out.len();
    let undeclared = |member: &Member| member.slot.is_none();
    event.append((source, keys), out, undeclared);
    context.append((source, keys), out, |member| undeclared(member) && !event.has_key_of(keys, context, member));
    // A comma stands where the opening brace will; the closing one comes on top.
    if out.len() + 1 - start > MAX_STRING_BYTES as usize {
        return Err(Reason::TooLong);
    }
    if out.len() > start {
        // The members begin with a comma each: the first one's becomes the opening brace.
        let opening = format!(",\"{EXTRA}\":{{");
        out.splice(start..=start, opening.into_bytes());
        out.push(b'}');
    }
    Ok(())
}

fn append_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn append_number(out: &mut Vec<u8>, key: &str, number: u64) {
    append_key(out, key);
    out.extend_from_slice(number.to_string().as_bytes());
}

fn append_string(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    append_key(out, key);
    match value {
        None => out.extend_from_slice(b"null"),
        Some(value) => {
            out.push(b'"');
            text::append_escaped(value, out);
            out.push(b'"');
        }
    }
}
