//! The top-level members of one object, an event or a context: their keys resolved, their values checked.

use std::ops::Range;

use super::{
    Limits,
    json::{Kind, Malformed, Scanner, Traits, Value},
    text,
    value::{Checked, Fate, Scratch},
};
use crate::{
    batch::{Millis, Reason, Rejection},
    schema::{MAX_COLUMN_BYTES, Schema, UnknownFields, key_hash},
};

/// The longest `event_id` of a client that is used as the event's id, in bytes; a longer one is kept beside it.
const MAX_CLIENT_ID_BYTES: usize = 128;
/// What is put before a client's key that is named like a server field.
const CLIENT_PREFIX: &[u8] = b"client_";

/// Whose members are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An event's own. Its `event_id` is its identity, if it is a string.
    Event,
    /// Those that a batch's events have in common.
    Context,
}

/// A key as it is stored, without its quotes.
#[derive(Debug, Clone)]
enum Key {
    /// As it came, at this place of the source.
    Source(Range<usize>),
    /// In lower case or under another name, at this place of the scratch buffer.
    Scratch(Range<usize>),
}

/// A member: a key and its value.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Where the key's opening quote stands.
    start: usize,
    /// Whether something that is not in the list stands between the member before it and this one.
    after_gap: bool,
    key: Key,
    hash: u64,
    value: Value,
    /// The declared field, if it is one.
    pub(super) slot: Option<u16>,
    /// What is stored of the value, or why it breaks the schema.
    pub(super) fate: Result<Fate, Reason>,
}

/// The members of one object. One of these is used again for every event, so that its buffers are allocated once.
#[derive(Debug, Default)]
pub(super) struct Members {
    list: Vec<Member>,
    seen: KeyTable,
    declared: Vec<u64>,
    scratch: Scratch,
    /// What is odd anywhere in the object.
    traits: Traits,
    /// Whether anything but a copy of the object's inside must be written.
    rewritten: bool,
    /// Whether the last member read was left out of the list.
    gap: bool,
    /// How often the key `event_id` came.
    client_ids: usize,
    /// The text of the client's own `event_id`, where it is used as the event's.
    client_id: Option<Range<usize>>,
    /// The instant that the stream's time field tells.
    instant: Option<Millis>,
    /// Where private members stand.
    private: Vec<Range<usize>>,
    /// The first thing that is wrong with the object.
    broken: Option<(Option<Box<str>>, Reason)>,
    /// Where the object stands.
    span: Range<usize>,
}

impl Members {
    /// Reads the object that stands at `scanner` in `source`.
    ///
    /// The object is read to its end whatever is wrong with it, since what follows it must be found.
    ///
    /// # Errors
    /// [`Malformed`] if it is not JSON.
    pub(super) fn read(
        &mut self,
        role: Role,
        scanner: &mut Scanner<'_>,
        source: &[u8],
        schema: &Schema,
        limits: &Limits,
    ) -> Result<(), Malformed> {
        self.clear(schema, limits);
        let start = scanner.pos();
        scanner.expect(b'{', "an object was expected")?;
        self.traits |= scanner.space();
        let mut closed = scanner.accept(b'}');
        while !closed {
            let key = scanner.string()?;
            self.traits |= scanner.space();
            scanner.expect(b':', "a colon was expected")?;
            self.traits |= scanner.space();
            let value = scanner.value()?;
            self.traits |= value.traits;
            self.member(role, source, &key, value, schema, limits);
            self.traits |= scanner.space();
            closed = scanner.accept(b'}');
            if !closed {
                scanner.expect(b',', "a comma or the closing brace was expected")?;
                self.traits |= scanner.space();
            }
        }
        self.span = start..scanner.pos();
        if self.span.len() > limits.event_bytes {
            self.broken = Some((None, Reason::EventTooLarge));
        }
        Ok(())
    }

    /// Forgets all, as if an empty object had been read.
    pub(super) fn clear(&mut self, schema: &Schema, limits: &Limits) {
        self.list.clear();
        self.seen.clear(limits.fields);
        self.declared.clear();
        self.declared.resize(schema.fields().len().div_ceil(64), 0);
        self.scratch.bytes.clear();
        self.scratch.mendings = <_>::default();
        self.traits = Traits::default();
        self.rewritten = false;
        self.gap = false;
        self.client_ids = 0;
        self.client_id = None;
        self.instant = None;
        self.private.clear();
        self.broken = None;
        self.span = 0..0;
    }

    fn member(&mut self, role: Role, source: &[u8], key: &Value, value: Value, schema: &Schema, limits: &Limits) {
        let (start, mut key) = (key.start, self.key(source, key));
        if role == Role::Event && self.bytes(source, &key) == b"event_id" {
            self.client_ids += 1;
            if self.client_ids > 1 {
                self.break_with(source, &key, Reason::DuplicateKey);
            }
            if is_client_id(source, &value) {
                self.client_id = Some(value.start + 1..value.end - 1);
                self.rewritten = true;
                self.gap = true;
                return;
            }
        }
        if is_server_field(self.bytes(source, &key)) {
            key = self.renamed(source, &key);
        }
        let hash = key_hash(self.bytes(source, &key));
        let slot = schema.slot(self.bytes(source, &key), hash);
        if slot.is_some_and(|slot| schema.field(slot).private.is_some()) {
            self.private.push(start..value.end);
        }
        if self.list.len() >= limits.fields {
            return self.break_with(source, &key, Reason::TooManyFields);
        }
        let name = self.bytes(source, &key);
        if name.len() > MAX_COLUMN_BYTES {
            self.break_with(source, &key, Reason::KeyTooLong);
        } else if self.place(source, hash, name).is_some() {
            self.break_with(source, &key, Reason::DuplicateKey);
        }
        let fate = if value.depth >= limits.nesting {
            Err(Reason::NestedTooDeep)
        } else {
            self.fate(source, &value, slot, schema)
        };
        if let Err(reason) = fate {
            self.break_with(source, &key, reason);
        }
        let collected = slot.is_none() && schema.unknown() == UnknownFields::Collect;
        self.rewritten |= collected || fate != Ok(Fate::Keep) || matches!(key, Key::Scratch(_));
        if let Some(slot) = slot {
            self.declared[usize::from(slot) / 64] |= 1 << (slot % 64);
        }
        self.seen.insert(hash, self.list.len());
        let after_gap = std::mem::take(&mut self.gap);
        self.list.push(Member { start, after_gap, key, hash, value, slot, fate });
    }

    fn fate(&mut self, source: &[u8], value: &Value, slot: Option<u16>, schema: &Schema) -> Result<Fate, Reason> {
        let Some(slot) = slot else {
            return match schema.unknown() {
                UnknownFields::Keep | UnknownFields::Collect => self.scratch.undeclared(source, value),
                UnknownFields::Reject => Err(Reason::UnknownField),
            };
        };
        let Checked { fate, instant } =
            self.scratch.declared(schema.field(slot), schema.privacy_key(), source, value)?;
        if schema.time_field() == Some(slot) {
            self.instant = instant;
        }
        Ok(fate)
    }

    fn break_with(&mut self, source: &[u8], key: &Key, reason: Reason) {
        if self.broken.is_none() {
            self.broken = Some((Some(field_name(self.bytes(source, key))), reason));
        }
    }

    /// The key in its stored form: lower case, with the shortest escapes.
    fn key(&mut self, source: &[u8], key: &Value) -> Key {
        let place = key.start + 1..key.end - 1;
        let raw = &source[place.clone()];
        let plain =
            !key.traits.has(Traits::ESCAPE) && raw.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        if plain {
            return Key::Source(place);
        }
        let lower = text::decode(raw).to_lowercase();
        let start = self.scratch.bytes.len();
        text::append_escaped(&lower, &mut self.scratch.bytes);
        Key::Scratch(start..self.scratch.bytes.len())
    }

    /// The key of a client's own field that is named like a server field.
    fn renamed(&mut self, source: &[u8], key: &Key) -> Key {
        let start = self.scratch.bytes.len();
        self.scratch.bytes.extend_from_slice(CLIENT_PREFIX);
        match key {
            Key::Source(place) => self.scratch.bytes.extend_from_slice(&source[place.clone()]),
            Key::Scratch(place) => self.scratch.bytes.extend_from_within(place.clone()),
        }
        Key::Scratch(start..self.scratch.bytes.len())
    }

    fn bytes<'b>(&'b self, source: &'b [u8], key: &Key) -> &'b [u8] {
        match key {
            Key::Source(place) => &source[place.clone()],
            Key::Scratch(place) => &self.scratch.bytes[place.clone()],
        }
    }

    /// Where the member under the key `name` stands in the list.
    fn place(&self, source: &[u8], hash: u64, name: &[u8]) -> Option<usize> {
        self.seen.find(hash, |place| {
            let member = &self.list[place];
            member.hash == hash && self.bytes(source, &member.key) == name
        })
    }

    // What was read.

    pub(super) fn list(&self) -> &[Member] {
        &self.list
    }

    /// The key of `member` as it is stored, without its quotes.
    pub(super) fn key_of<'b>(&'b self, source: &'b [u8], member: &Member) -> &'b [u8] {
        self.bytes(source, &member.key)
    }

    /// Whether there is a member under the same key as `member` of `other`, read from the same source.
    pub(super) fn has_key_of(&self, source: &[u8], other: &Self, member: &Member) -> bool {
        self.place(source, member.hash, other.bytes(source, &member.key)).is_some()
    }

    /// Whether the declared field at `slot` is among the members.
    pub(super) fn has_slot(&self, slot: u16) -> bool {
        self.declared[usize::from(slot) / 64] & (1 << (slot % 64)) != 0
    }

    /// The first thing that is wrong with the object, and with which field.
    pub(super) fn broken(&self) -> Option<&(Option<Box<str>>, Reason)> {
        self.broken.as_ref()
    }

    pub(super) fn instant(&self) -> Option<Millis> {
        self.instant
    }

    pub(super) fn client_id(&self) -> Option<Range<usize>> {
        self.client_id.clone()
    }

    pub(super) fn private(&self) -> &[Range<usize>] {
        &self.private
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(super) fn mendings(&self) -> &crate::batch::Mendings {
        &self.scratch.mendings
    }

    /// No fewer bytes than any way of writing the members takes.
    pub(super) fn written_at_most(&self) -> usize {
        // Each member may need a comma and quotes beside what came; what replaces something stands in the scratch.
        self.span.len() + self.scratch.bytes.len() + 8 * self.list.len()
    }

    /// Appends the members that `wanted` picks, each behind a comma.
    pub(super) fn append(&self, source: &[u8], out: &mut Vec<u8>, wanted: impl Fn(&Member) -> bool) {
        // A run of neighbours that are stored as they came is copied as one, with what stands between them.
        let mut run: Option<Range<usize>> = None;
        let breaks = self.traits.has(Traits::LINE_BREAK);
        for member in &self.list {
            let as_it_came = !breaks && member.fate == Ok(Fate::Keep) && matches!(member.key, Key::Source(_));
            if as_it_came && wanted(member) {
                if member.after_gap {
                    append_run(source, run.take(), out);
                }
                run = Some(run.map_or(member.start, |run| run.start)..member.value.end);
                continue;
            }
            append_run(source, run.take(), out);
            if wanted(member) {
                self.append_member(source, member, out);
            }
        }
        append_run(source, run, out);
    }

    /// Whether the object's inside can be copied as a whole.
    pub(super) fn as_it_came(&self) -> bool {
        !self.rewritten && !self.traits.has(Traits::LINE_BREAK)
    }

    /// Appends the object's inside as it came, behind a comma.
    pub(super) fn append_whole(&self, source: &[u8], out: &mut Vec<u8>) {
        let inside = self.list.first().zip(self.list.last()).map(|(first, last)| first.start..last.value.end);
        append_run(source, inside, out);
    }

    fn append_member(&self, source: &[u8], member: &Member, out: &mut Vec<u8>) {
        let value: &[u8] = match &member.fate {
            Ok(Fate::Keep) => &source[member.value.start..member.value.end],
            Ok(Fate::Replace(place)) => &self.scratch.bytes[place.clone()],
            Ok(Fate::Null) => b"null",
            Ok(Fate::Drop) | Err(_) => return,
        };
        out.extend_from_slice(b",\"");
        out.extend_from_slice(self.bytes(source, &member.key));
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
}

fn append_run(source: &[u8], run: Option<Range<usize>>, out: &mut Vec<u8>) {
    if let Some(run) = run {
        out.push(b',');
        out.extend_from_slice(&source[run]);
    }
}

/// A field's name as it is told: never longer than a column's name may be.
pub(super) fn field_name(key: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(key);
    let end = (0..=Rejection::MAX_FIELD_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].into()
}

fn is_server_field(name: &[u8]) -> bool {
    matches!(name, b"event_id" | b"event_time" | b"received_at" | b"batch_id" | b"client_time")
}

fn is_client_id(source: &[u8], value: &Value) -> bool {
    let raw = value.start + 1..value.end.saturating_sub(1);
    value.kind == Kind::String
        && !value.traits.has(Traits::UNSTORABLE)
        && !raw.is_empty()
        && (raw.len() <= MAX_CLIENT_ID_BYTES || text::decoded_len(&source[raw]) <= MAX_CLIENT_ID_BYTES)
}

/// Which keys were seen: an open-addressed table of places in the list, emptied by counting generations.
#[derive(Debug, Default)]
struct KeyTable {
    slots: Vec<(u32, u32)>,
    generation: u32,
}

impl KeyTable {
    fn clear(&mut self, most: usize) {
        let size = (2 * most.max(8)).next_power_of_two();
        if self.slots.len() != size || self.generation == u32::MAX {
            self.slots = vec![(0, 0); size];
            self.generation = 0;
        }
        self.generation += 1;
    }

    fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        // The table is at most half full, so an empty slot ends every search.
        while self.slots[slot].0 == self.generation {
            let place = self.slots[slot].1 as usize;
            if is_it(place) {
                return Some(place);
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    fn insert(&mut self, hash: u64, place: usize) {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot].0 == self.generation {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = (self.generation, place as u32);
    }
}
