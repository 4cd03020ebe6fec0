//! The pass over one batch: envelope or lines, event by event.

use std::ops::Range;

use super::{
    Batch, BatchError, Limits, Output, SentAt, Validated,
    json::{Kind, Look, Malformed, Scanner, Value},
    kept::{Kept, cut, without},
    keys::KeyBook,
    line::Pen,
    members::{Members, Role, Rules, field_name},
    text,
};
use crate::{
    batch::{BatchId, EventId, Mending, Mendings, Millis, Reason, Rejection, Rejections},
    schema::EXTRA,
};

/// The smallest and largest step by which an output buffer grows ahead of need, in bytes.
const GROWTH_STEP: usize = 64 * 1024;

/// The members of an envelope.
const ENVELOPE: [&[u8]; 4] = [b"events", b"batch_id", b"sent_at", b"context"];

/// The pass over one batch.
pub(super) struct Pass<'p, 'o> {
    limits: &'p Limits,
    batch: &'p Batch<'p>,
    event: &'p mut Members,
    context: &'p mut Members,
    keys: &'p mut KeyBook,
    pen: &'p mut Pen,
    output: &'p mut Output<'o>,
    /// How long the buffers were before.
    before: (usize, usize),
    tally: Tally,
}

/// What is counted on the way.
#[derive(Default)]
struct Tally {
    events: usize,
    accepted: u32,
    rejected: Rejections,
    mendings: Mendings,
    times: Option<(Millis, Millis)>,
    skew: Option<i64>,
}

/// The envelope's members as far as they were read.
#[derive(Default)]
struct Envelope {
    batch_id: Option<BatchId>,
    sent_at: SentAt,
    context: Option<Range<usize>>,
}

impl From<Malformed> for BatchError {
    fn from(Malformed { offset, what }: Malformed) -> Self {
        Self::Malformed { offset, what }
    }
}

impl<'p, 'o> Pass<'p, 'o> {
    pub(super) fn new(
        limits: &'p Limits,
        batch: &'p Batch<'p>,
        (event, context, keys): (&'p mut Members, &'p mut Members, &'p mut KeyBook),
        pen: &'p mut Pen,
        output: &'p mut Output<'o>,
    ) -> Self {
        context.clear(&batch.stream.schema);
        let before = (output.accepted.len(), output.rejected.len());
        Self { limits, batch, event, context, keys, pen, output, before, tally: Tally::default() }
    }

    /// Reads an envelope, or an array of events.
    pub(super) fn json(&mut self) -> Result<Validated, BatchError> {
        let body = self.batch.body;
        let look = Look::at(body, None);
        if !look.ascii
            && let Err(error) = std::str::from_utf8(body)
        {
            return Err(BatchError::InvalidUtf8 { offset: error.valid_up_to() });
        }
        let mut scanner = Scanner::with_plain(body, look.plain);
        scanner.space();
        let mut envelope = Envelope::default();
        match scanner.peek() {
            Some(b'[') => {
                self.prepare(&envelope)?;
                self.events(&mut scanner)?;
            }
            Some(b'{') => self.envelope(&mut scanner, &mut envelope)?,
            _ => {
                scanner.value()?;
                return Err(BatchError::NotABatch);
            }
        }
        scanner.space();
        if scanner.peek().is_some() {
            return Err(scanner.malformed("something follows the batch").into());
        }
        self.finish(envelope.batch_id)
    }

    /// Reads an event a line. A line that cannot be read is a rejected event; empty lines are none.
    pub(super) fn lines(&mut self) -> Result<Validated, BatchError> {
        self.prepare(&Envelope::default())?;
        let body = self.batch.body;
        let Look { plain, ascii } = Look::at(body, Some(b'\n'));
        let utf8 = ascii || std::str::from_utf8(body).is_ok();
        let mut start = 0;
        while start < body.len() {
            let end = body[start..].iter().position(|byte| *byte == b'\n').map_or(body.len(), |len| start + len);
            let blank = body[start..end].iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
            if !blank {
                self.count_event()?;
                if utf8 || std::str::from_utf8(&body[start..end]).is_ok() {
                    self.line(start, end, plain)?;
                } else {
                    self.reject_text(start..end, Reason::InvalidUtf8)?;
                }
            }
            start = end + 1;
        }
        self.finish(None)
    }

    fn line(&mut self, start: usize, end: usize, plain: bool) -> Result<(), BatchError> {
        let source = &self.batch.body[..end];
        let mut scanner = Scanner::with_plain(source, plain);
        scanner.seek(start);
        scanner.space();
        let start = scanner.pos();
        let object = scanner.peek() == Some(b'{');
        let read = if object {
            let mut rules = Rules { schema: &self.batch.stream.schema, limits: self.limits, keys: self.keys };
            self.event.read(Role::Event, &mut scanner, source, &mut rules)
        } else {
            scanner.value().map(|_| ())
        };
        scanner.space();
        if read.is_err() || scanner.pos() != end {
            self.reject_text(start..end, Reason::MalformedJson)
        } else if object {
            self.judge()
        } else {
            self.reject_text(start..end, Reason::NotAnObject)
        }
    }

    /// Reads an object with `events`. What the other members say holds for every event, wherever they stand: if one of
    /// them comes behind the events, these are read once more.
    fn envelope(&mut self, scanner: &mut Scanner<'_>, envelope: &mut Envelope) -> Result<(), BatchError> {
        let mut seen = [false; ENVELOPE.len()];
        let mut events_at = None;
        let mut read_early = false;
        scanner.expect(b'{', "an object was expected")?;
        scanner.space();
        let mut closed = scanner.accept(b'}');
        while !closed {
            let key = scanner.string()?;
            scanner.space();
            scanner.expect(b':', "a colon was expected")?;
            scanner.space();
            let spelled = &self.batch.body[key.start + 1..key.end - 1];
            let Some(place) = ENVELOPE.iter().position(|name| *name == spelled) else {
                return Err(wrong(key.start, "an unknown member; what events share belongs into `context`"));
            };
            let name = ENVELOPE[place];
            if std::mem::replace(&mut seen[place], true) {
                return Err(wrong(key.start, "a member comes twice"));
            }
            if name == b"events" {
                events_at = Some(scanner.pos());
                if scanner.peek() != Some(b'[') {
                    return Err(wrong(scanner.pos(), "`events` must be an array"));
                }
                self.prepare(envelope)?;
                self.events(scanner)?;
            } else {
                let value = scanner.value()?;
                self.envelope_member(name, &value, envelope)?;
                read_early |= events_at.is_some() && value.kind != Kind::Null;
            }
            scanner.space();
            closed = scanner.accept(b'}');
            if !closed {
                scanner.expect(b',', "a comma or the closing brace was expected")?;
                scanner.space();
            }
        }
        let end = scanner.pos();
        let Some(events_at) = events_at else { return Err(BatchError::NotABatch) };
        if read_early {
            self.output.accepted.truncate(self.before.0);
            self.output.rejected.truncate(self.before.1);
            self.tally = Tally::default();
            self.prepare(envelope)?;
            scanner.seek(events_at);
            self.events(scanner)?;
            scanner.seek(end);
        }
        Ok(())
    }

    fn envelope_member(&self, name: &[u8], value: &Value, envelope: &mut Envelope) -> Result<(), BatchError> {
        let body = self.batch.body;
        let raw = || text::decode(&body[value.start + 1..value.end - 1]);
        match (name, value.kind) {
            (_, Kind::Null) => {}
            (b"batch_id", Kind::String) => {
                let id = BatchId::new(&raw());
                envelope.batch_id = Some(
                    id.map_err(|_| wrong(value.start, "`batch_id` has 1 to 128 bytes and no control characters"))?,
                );
            }
            (b"batch_id", _) => return Err(wrong(value.start, "`batch_id` must be a string")),
            (b"sent_at", Kind::String) => envelope.sent_at = SentAt::from(Millis::parse_rfc3339(&*raw())),
            (b"sent_at", Kind::Number) => {
                let number = std::str::from_utf8(&body[value.start..value.end]).unwrap_or_default();
                envelope.sent_at = SentAt::from(Millis::parse_epoch(number));
            }
            (b"sent_at", _) => envelope.sent_at = SentAt::Invalid,
            (_, Kind::Object) => {
                let (size, limit) = (value.end - value.start, self.limits.context_bytes);
                if size > limit {
                    return Err(BatchError::ContextTooLarge { size, limit });
                }
                envelope.context = Some(value.start..value.end);
            }
            _ => return Err(wrong(value.start, "`context` must be an object")),
        }
        Ok(())
    }

    /// Makes ready what the lines have in common.
    fn prepare(&mut self, envelope: &Envelope) -> Result<(), BatchError> {
        if let Some(context) = &envelope.context {
            let mut scanner = Scanner::new(self.batch.body);
            scanner.seek(context.start);
            let mut rules = Rules { schema: &self.batch.stream.schema, limits: self.limits, keys: self.keys };
            self.context.read(Role::Context, &mut scanner, self.batch.body, &mut rules)?;
            // What its values break is judged event by event: an event may overrule them.
            if self.context.keys_broken() {
                return Err(wrong(context.start, "`context` has too many, too long or repeated keys"));
            }
        }
        let received = self.batch.received_at;
        // X-Sent-At is set anew for each attempt. A body's `sent_at` is as old as the first attempt, so it tells about
        // the clock only if it lies ahead of ours.
        let skew = match (self.batch.sent_at, envelope.sent_at) {
            (SentAt::At(sent), _) => Some(received.get() - sent.get()),
            (_, SentAt::At(sent)) if sent > received => Some(received.get() - sent.get()),
            _ => None,
        };
        self.tally.skew = skew;
        if self.batch.sent_at == SentAt::Invalid || envelope.sent_at == SentAt::Invalid {
            self.tally.mendings.add(Mending::IgnoredSentAt);
        }
        let batch_id = envelope.batch_id.as_ref().or(self.batch.idempotency_key);
        self.pen.prepare(self.batch, batch_id, skew.unwrap_or_default());
        Ok(())
    }

    /// Reads the array of events that stands at `scanner`.
    fn events(&mut self, scanner: &mut Scanner<'_>) -> Result<(), BatchError> {
        scanner.expect(b'[', "an array was expected")?;
        scanner.space();
        let mut closed = scanner.accept(b']');
        while !closed {
            self.count_event()?;
            if scanner.peek() == Some(b'{') {
                let mut rules = Rules { schema: &self.batch.stream.schema, limits: self.limits, keys: self.keys };
                self.event.read(Role::Event, scanner, self.batch.body, &mut rules)?;
                self.judge()?;
            } else {
                let value = scanner.value()?;
                self.reject_text(value.start..value.end, Reason::NotAnObject)?;
            }
            scanner.space();
            closed = scanner.accept(b']');
            if !closed {
                scanner.expect(b',', "a comma or the closing bracket was expected")?;
                scanner.space();
            }
        }
        Ok(())
    }

    fn count_event(&mut self) -> Result<(), BatchError> {
        let limit = self.limits.events;
        if self.tally.events == limit {
            return Err(BatchError::TooManyEvents { limit });
        }
        self.tally.events += 1;
        Ok(())
    }

    fn index(&self) -> u32 {
        self.tally.events as u32 - 1
    }

    /// Gives the event that was read its verdict, and writes its line.
    fn judge(&mut self) -> Result<(), BatchError> {
        let source = self.batch.body;
        let id = self.pen.event_id(source, self.index(), self.event);
        if let Some((field, reason)) = self.fault() {
            return self.reject_event(id, field, reason);
        }
        let schema = &self.batch.stream.schema;
        let claimed = match schema.time_field() {
            Some(slot) if self.event.has_slot(slot) => self.event.instant(),
            Some(_) => self.context.instant(),
            None => None,
        };
        let time = self.pen.event_time(claimed);
        let need = self.pen.accepted_at_most(self.event, self.context);
        let left = self.output_left();
        let Output { accepted: lines, rejected, room } = &mut *self.output;
        reserve(lines, rejected, (need, left), &mut **room)?;
        let (own, context) = (&*self.event, &*self.context);
        let line = lines.len();
        let written = self.pen.accepted((source, self.keys), (own, context), schema.unknown(), (id, time), lines);
        if let Err(reason) = written {
            lines.truncate(line);
            return self.reject_event(id, Some(EXTRA.into()), reason);
        }
        self.tally.accepted += 1;
        self.tally.mendings.merge(self.event.mendings());
        if time.clamped {
            self.tally.mendings.add(Mending::ClampedTime);
        }
        let (first, last) = self.tally.times.unwrap_or((time.stored, time.stored));
        self.tally.times = Some((first.min(time.stored), last.max(time.stored)));
        self.check_output()
    }

    /// What is wrong with the event that was read, if anything is.
    fn fault(&self) -> Option<(Option<Box<str>>, Reason)> {
        if let Some(broken) = self.event.broken() {
            return Some(broken.clone());
        }
        let schema = &self.batch.stream.schema;
        if self.context.broken().is_some() {
            let used = self.context.members().iter().find_map(|member| {
                let reason = member.fate.err()?;
                let overruled = self.event.has_key_of(self.keys, self.context, member);
                (!overruled).then(|| (Some(field_name(self.context.key_of(self.keys, member))), reason))
            });
            if used.is_some() {
                return used;
            }
        }
        let missing =
            schema.required().iter().find(|slot| !self.event.has_slot(**slot) && !self.context.has_slot(**slot));
        missing.map(|slot| (Some(schema.field(*slot).name.clone()), Reason::Missing))
    }

    fn reject_event(&mut self, id: EventId, field: Option<Box<str>>, reason: Reason) -> Result<(), BatchError> {
        let span = self.event.span();
        let original = without(self.batch.body, span.clone(), self.event.private());
        self.reject(id, field, reason, span.len(), Some(&original))
    }

    /// Rejects what was not read as an object. Where a stream has private fields, nobody can tell where they lie in it.
    fn reject_text(&mut self, place: Range<usize>, reason: Reason) -> Result<(), BatchError> {
        let source = self.batch.body;
        self.event.clear(&self.batch.stream.schema);
        let withheld = self.batch.stream.schema.has_private();
        let text = if withheld { None } else { Some(without(source, place.clone(), &[])) };
        // The identity of a text that is withheld must not betray it either: it is that of an empty event.
        let id = self.pen.text_id(self.index(), if withheld { &[] } else { &source[place.clone()] });
        self.reject(id, None, reason, place.len(), text.as_deref())
    }

    fn reject(
        &mut self,
        id: EventId,
        field: Option<Box<str>>,
        reason: Reason,
        original_bytes: usize,
        original: Option<&str>,
    ) -> Result<(), BatchError> {
        let rejection = Rejection { index: self.index(), field, reason };
        let context = self.context.span();
        let context = (!context.is_empty()).then(|| without(self.batch.body, context, self.context.private()));
        let kept = Kept { original_bytes, original: original.map(cut), context: context.as_deref().map(cut) };
        let need = self.pen.rejected_at_most(&rejection, &kept);
        let left = self.output_left();
        let Output { accepted, rejected, room } = &mut *self.output;
        reserve(rejected, accepted, (need, left), &mut **room)?;
        self.pen.rejected(self.batch.stream.name.as_str(), id, &rejection, &kept, rejected);
        self.tally.rejected.add(rejection);
        self.check_output()
    }

    fn written(&self) -> usize {
        self.output.accepted.len() - self.before.0 + self.output.rejected.len() - self.before.1
    }

    /// How much may still be written.
    fn output_left(&self) -> usize {
        self.limits.output_bytes.saturating_sub(self.written())
    }

    fn check_output(&self) -> Result<(), BatchError> {
        let limit = self.limits.output_bytes;
        if self.written() > limit { Err(BatchError::OutputTooLarge { limit }) } else { Ok(()) }
    }

    fn finish(&mut self, batch_id: Option<BatchId>) -> Result<Validated, BatchError> {
        let tally = std::mem::take(&mut self.tally);
        if tally.events == 0 {
            return Err(BatchError::Empty);
        }
        let mut mendings = tally.mendings;
        mendings.merge(self.context.mendings());
        Ok(Validated {
            batch_id: batch_id.or_else(|| self.batch.idempotency_key.cloned()),
            accepted: tally.accepted,
            rejected: tally.rejected,
            mendings,
            event_times: tally.times,
            skew: tally.skew,
        })
    }
}

fn wrong(offset: usize, what: &'static str) -> BatchError {
    BatchError::Envelope { offset, what }
}

/// Makes `need` bytes of capacity in `buffer`, by steps that grow with it up to the `left` bytes that it may still get.
///
/// Where there is no room for that, `other` gives back what it has and does not need now, and the step is made shorter:
/// a batch that fits the budget by itself is not refused because its lines went into the other buffer than expected.
fn reserve(
    buffer: &mut Vec<u8>,
    other: &mut Vec<u8>,
    (need, left): (usize, usize),
    room: &mut dyn super::Room,
) -> Result<(), BatchError> {
    if buffer.capacity() - buffer.len() >= need {
        return Ok(());
    }
    let step = need.max(buffer.capacity().min(GROWTH_STEP).max(buffer.capacity() / 4).min(left));
    let mut grow = |step: usize, room: &mut dyn super::Room| {
        let granted = room.grant(buffer.len() + step - buffer.capacity());
        if granted {
            buffer.reserve_exact(step);
        }
        granted
    };
    if grow(step, room) {
        return Ok(());
    }
    let before = other.capacity();
    other.shrink_to_fit();
    room.give_back(before - other.capacity());
    // Not at once by what is needed: where little is left, every event would move the whole buffer.
    let short = need.max(GROWTH_STEP.min(left));
    if [step, short, need].into_iter().any(|step| grow(step, room)) { Ok(()) } else { Err(BatchError::NoRoom) }
}
