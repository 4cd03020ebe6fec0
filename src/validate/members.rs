//! The top-level members of one object, an event or a context: their keys resolved, their values checked.

mod written;

use std::ops::Range;

use super::{
    Limits,
    json::{Kind, Malformed, Scanner, Traits, Value},
    keys::{KeyBook, KeyId, stored_form},
    text,
    value::{Fate, Scratch, Span},
};
use crate::{
    batch::{Mendings, Millis, Reason, Rejection},
    schema::{MAX_COLUMN_BYTES, Schema, UnknownFields, key_hash},
};

/// The longest `event_id` of a client that is used as the event's id, in bytes; a longer one is kept beside it.
const MAX_CLIENT_ID_BYTES: usize = 128;

/// Whose members are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An event's own. Its `event_id` is its identity, if it is a string.
    Event,
    /// Those that a batch's events have in common.
    Context,
}

/// What members are read by.
pub(super) struct Rules<'r> {
    pub(super) schema: &'r Schema,
    pub(super) limits: &'r Limits,
    pub(super) keys: &'r mut KeyBook,
}

/// A key as it is stored.
#[derive(Debug, Clone, Copy)]
enum Key {
    /// It is in the book.
    Known(KeyId),
    /// It is not: its place in the list of those keys.
    Other(u32),
}

/// What is known of a member before its value is looked at.
#[derive(Clone, Copy)]
struct Met {
    key: Key,
    /// The declared field, if it is one.
    slot: Option<u16>,
    /// Whether its key has come before.
    duplicate: bool,
    /// Whether its key is stored as it came.
    as_it_came: bool,
}

/// A member: a key and its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// From the key's opening quote to the value's end.
    whole: Span,
    /// Where the value begins.
    value_start: u32,
    key: Key,
    /// The declared field, if it is one.
    pub(super) slot: Option<u16>,
    /// What is stored of the value, or why it breaks the schema.
    pub(super) fate: Result<Fate, Reason>,
    /// Whether key and value are stored as they came.
    as_it_came: bool,
    /// Whether something that is not in the list stands between the member before it and this one.
    after_gap: bool,
}

/// The members of one object. One of these is used again for every event, so that its buffers are allocated once.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is of the object as a whole, and none follows from the others")]
pub(super) struct Members {
    list: Vec<Member>,
    /// Which keys of the book were seen: for each identity, in which reading last.
    seen: Vec<u32>,
    reading: u32,
    /// Keys that are not in the book: where they stand in the scratch buffer, without their quotes.
    other_keys: Vec<Span>,
    /// Their hashes, and their places in the list.
    others: Vec<(u64, usize)>,
    /// The declared fields among the members, a bit each.
    declared: Vec<u64>,
    scratch: Scratch,
    /// What is odd anywhere in the object.
    traits: Traits,
    /// Whether undeclared members are kept where they stand.
    keeps_undeclared: bool,
    /// Whether a member is of no declared field.
    has_undeclared: bool,
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
    /// Where the first of them stands behind as many members as an object may have.
    private_from: Option<usize>,
    /// The first thing that is wrong with the object.
    broken: Option<(Option<Box<str>>, Reason)>,
    /// Whether a key comes twice or is too long, or there are too many, whatever else is wrong.
    keys_broken: bool,
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
        rules: &mut Rules<'_>,
    ) -> Result<(), Malformed> {
        self.clear(rules.schema);
        let start = scanner.pos();
        scanner.expect(b'{', "an object was expected")?;
        self.traits |= scanner.space();
        let mut closed = scanner.accept(b'}');
        let mut before = None;
        while !closed {
            let at = scanner.pos();
            let key = if let Some((key, behind)) = rules.keys.guess(before, source, at) {
                scanner.seek(behind);
                Some(key)
            } else {
                let spelled = scanner.string()?;
                self.traits |= scanner.space();
                scanner.expect(b':', "a colon was expected")?;
                let raw = &source[spelled.start + 1..spelled.end - 1];
                // What is wrong already, or has too many members, must not fill the book.
                let key = if self.broken.is_none() && self.list.len() < rules.limits.fields {
                    rules.keys.find_or_learn(raw, rules.schema)
                } else {
                    rules.keys.find(raw)
                };
                if let Some(key) = key {
                    rules.keys.follows(before, key);
                }
                key
            };
            self.traits |= scanner.space();
            let value = scanner.value()?;
            self.traits |= value.traits;
            match key {
                Some(key) => self.known(role, source, (at, key, true), &value, rules),
                None => self.other(role, source, at, &value, rules),
            }
            before = key;
            self.traits |= scanner.space();
            closed = scanner.accept(b'}');
            if !closed {
                scanner.expect(b',', "a comma or the closing brace was expected")?;
                self.traits |= scanner.space();
            }
        }
        self.span = start..scanner.pos();
        if let Some(from) = self.private_from {
            self.private.push(from..self.span.end - 1);
        }
        if role == Role::Event && self.span.len() > rules.limits.event_bytes {
            self.broken = Some((None, Reason::EventTooLarge));
        }
        Ok(())
    }

    /// Forgets all, as if an empty object had been read.
    pub(super) fn clear(&mut self, schema: &Schema) {
        self.list.clear();
        self.other_keys.clear();
        self.others.clear();
        self.declared.clear();
        self.declared.resize(schema.fields().len().div_ceil(64), 0);
        self.scratch.bytes.clear();
        self.scratch.mendings = Mendings::default();
        self.traits = Traits::default();
        self.keeps_undeclared = schema.unknown() == UnknownFields::Keep;
        self.has_undeclared = false;
        self.rewritten = false;
        self.gap = false;
        self.client_ids = 0;
        self.client_id = None;
        self.instant = None;
        self.private.clear();
        self.private_from = None;
        self.broken = None;
        self.keys_broken = false;
        self.span = 0..0;
        self.reading = self.reading.wrapping_add(1);
        if self.reading == 0 {
            // The numbers begin anew: what was seen in an earlier reading of the same number must not count.
            self.seen.clear();
            self.reading = 1;
        }
    }

    /// Takes the member at `at`, whose key is in the book; `spelled_so` tells whether as it is spelled there.
    #[expect(clippy::inline_always, reason = "every member comes by here: what is known of it stays in registers")]
    #[inline(always)]
    fn known(
        &mut self,
        role: Role,
        source: &[u8],
        (at, key, spelled_so): (usize, KeyId, bool),
        value: &Value,
        rules: &Rules<'_>,
    ) {
        let known = rules.keys.get(key);
        let met = match known.event_id {
            None => {
                let duplicate = self.mark(known.identity, rules.keys);
                Met { key: Key::Known(key), slot: known.slot, duplicate, as_it_came: known.as_it_came && spelled_so }
            }
            Some(client) => {
                if role == Role::Event && self.is_identity(source, key, value, rules) {
                    return;
                }
                let duplicate = self.mark(client, rules.keys);
                Met { key: Key::Known(client), slot: rules.keys.get(client).slot, duplicate, as_it_came: false }
            }
        };
        self.take(source, at, value, met, rules);
    }

    /// Whether the value of the key `event_id` is the event's identity, and no member.
    fn is_identity(&mut self, source: &[u8], key: KeyId, value: &Value, rules: &Rules<'_>) -> bool {
        self.client_ids += 1;
        if self.client_ids > 1 {
            self.break_with(rules.keys.stored(key), Reason::DuplicateKey);
        }
        let is = is_client_id(source, value);
        if is {
            self.client_id = Some(value.start + 1..value.end - 1);
            self.rewritten = true;
            self.gap = true;
        }
        is
    }

    /// Takes the member at `at`, whose key is not in the book as it is spelled: it is too long, the book is full, or
    /// nothing is learned from the object any more.
    fn other(&mut self, role: Role, source: &[u8], at: usize, value: &Value, rules: &Rules<'_>) {
        let stored = stored_form(spelled_at(source, at));
        if let Some(key) = rules.keys.find(&stored) {
            return self.known(role, source, (at, key, false), value, rules);
        }
        let hash = key_hash(&stored);
        let slot = rules.schema.slot(&stored, hash);
        if self.list.len() >= rules.limits.fields {
            self.note(slot, at..value.end, rules);
            return self.break_with(&stored, Reason::TooManyFields);
        }
        let duplicate = self.other_place(hash, &stored).is_some();
        if stored.len() > MAX_COLUMN_BYTES {
            self.break_with(&stored, Reason::KeyTooLong);
        }
        let from = self.scratch.bytes.len();
        self.scratch.bytes.extend_from_slice(&stored);
        let key = Key::Other(self.other_keys.len() as u32);
        self.other_keys.push(Span::new(from, self.scratch.bytes.len()));
        self.others.push((hash, self.list.len()));
        self.take(source, at, value, Met { key, slot, duplicate, as_it_came: false }, rules);
    }

    /// Judges a member's value, and adds it to the list.
    #[expect(clippy::inline_always, reason = "every member comes by here: what is known of it stays in registers")]
    #[inline(always)]
    fn take(&mut self, source: &[u8], start: usize, value: &Value, met: Met, rules: &Rules<'_>) {
        let plain = met.slot.is_none() && !met.duplicate && value.depth == 0 && !value.traits.has(Traits::UNKEPT);
        if plain && self.keeps_undeclared && self.list.len() < rules.limits.fields {
            return self.add(start, value, &met, Ok(Fate::Keep));
        }
        self.judge(source, start, value, &met, rules);
    }

    /// Notes that the declared field at `slot` stands at `place`. Whatever else becomes of the event: nobody may find a
    /// private one in what is kept of it.
    #[inline]
    fn note(&mut self, slot: Option<u16>, place: Range<usize>, rules: &Rules<'_>) {
        let Some(slot) = slot else { return };
        self.declared[usize::from(slot) / 64] |= 1 << (slot % 64);
        if rules.schema.field(slot).private.is_some() {
            if self.list.len() < rules.limits.fields {
                self.private.push(place);
            } else {
                // There may be a million more: from here on nothing is kept.
                self.private_from.get_or_insert(place.start);
            }
        }
    }

    /// [`Self::take`], for any member.
    #[expect(clippy::inline_always, reason = "every member comes by here: what is known of it stays in registers")]
    #[inline(always)]
    fn judge(&mut self, source: &[u8], start: usize, value: &Value, met: &Met, rules: &Rules<'_>) {
        let Met { key, slot, duplicate, .. } = *met;
        self.note(slot, start..value.end, rules);
        if self.list.len() >= rules.limits.fields {
            return self.break_at(key, rules, Reason::TooManyFields);
        }
        if duplicate {
            self.break_at(key, rules, Reason::DuplicateKey);
        }
        let fate = self.fate(source, value, slot, rules);
        if let Err(reason) = fate {
            self.break_at(key, rules, reason);
        }
        let collected = slot.is_none() && rules.schema.unknown() == UnknownFields::Collect;
        self.rewritten |= collected;
        self.add(start, value, met, fate);
    }

    #[expect(clippy::inline_always, reason = "every member comes by here: what is known of it stays in registers")]
    #[inline(always)]
    fn add(&mut self, start: usize, value: &Value, met: &Met, fate: Result<Fate, Reason>) {
        let as_it_came = met.as_it_came && fate == Ok(Fate::Keep);
        self.rewritten |= !as_it_came;
        self.has_undeclared |= met.slot.is_none();
        self.list.push(Member {
            whole: Span::new(start, value.end),
            value_start: value.start as u32,
            key: met.key,
            slot: met.slot,
            fate,
            as_it_came,
            after_gap: std::mem::take(&mut self.gap),
        });
    }

    /// Notes that the key was seen; whether it was before.
    #[inline]
    fn mark(&mut self, identity: KeyId, keys: &KeyBook) -> bool {
        let place = identity.place();
        if place >= self.seen.len() {
            self.seen.resize(keys.len(), 0);
        }
        std::mem::replace(&mut self.seen[place], self.reading) == self.reading
    }

    #[inline]
    fn fate(&mut self, source: &[u8], value: &Value, slot: Option<u16>, rules: &Rules<'_>) -> Result<Fate, Reason> {
        if value.depth >= rules.limits.nesting {
            return Err(Reason::NestedTooDeep);
        }
        let schema = rules.schema;
        let Some(slot) = slot else {
            return match schema.unknown() {
                UnknownFields::Keep | UnknownFields::Collect => self.scratch.undeclared(source, value),
                UnknownFields::Reject => Err(Reason::UnknownField),
            };
        };
        let field = schema.field(slot);
        if schema.time_field() != Some(slot) {
            return self.scratch.declared(field, schema.privacy_key(), source, value);
        }
        self.scratch.instant = None;
        let fate = self.scratch.declared(field, schema.privacy_key(), source, value)?;
        self.instant = self.scratch.instant;
        Ok(fate)
    }

    fn break_with(&mut self, key: &[u8], reason: Reason) {
        self.keys_broken |= matches!(reason, Reason::DuplicateKey | Reason::KeyTooLong | Reason::TooManyFields);
        if self.broken.is_none() {
            self.broken = Some((Some(field_name(key)), reason));
        }
    }

    #[cold]
    fn break_at(&mut self, key: Key, rules: &Rules<'_>, reason: Reason) {
        let name = self.stored_key(rules.keys, key).to_vec();
        self.break_with(&name, reason);
    }

    /// Where the member under the key `name`, which is not in the book, stands in the list.
    fn other_place(&self, hash: u64, name: &[u8]) -> Option<usize> {
        let same = |place: usize| matches!(self.list[place].key, Key::Other(other) if self.other_key(other) == name);
        self.others.iter().find(|(other, place)| *other == hash && same(*place)).map(|(_, place)| *place)
    }

    // What was read.

    pub(super) fn members(&self) -> &[Member] {
        &self.list
    }

    /// The key of `member` as it is stored, without its quotes.
    pub(super) fn key_of<'b>(&'b self, keys: &'b KeyBook, member: &Member) -> &'b [u8] {
        self.stored_key(keys, member.key)
    }

    fn stored_key<'b>(&'b self, keys: &'b KeyBook, key: Key) -> &'b [u8] {
        match key {
            Key::Known(key) => keys.stored(key),
            Key::Other(other) => self.other_key(other),
        }
    }

    fn other_key(&self, other: u32) -> &[u8] {
        self.other_keys[other as usize].of(&self.scratch.bytes)
    }

    /// Whether there is a member under the same key as `member` of `other`, read with the same book.
    pub(super) fn has_key_of(&self, keys: &KeyBook, other: &Self, member: &Member) -> bool {
        match member.key {
            Key::Known(key) => {
                let place = keys.get(key).identity.place();
                self.seen.get(place) == Some(&self.reading)
            }
            Key::Other(key) => {
                let name = other.other_key(key);
                // It may have been learned after `other` was read.
                let seen = |key| self.seen.get(keys.get(key).identity.place()) == Some(&self.reading);
                self.other_place(key_hash(name), name).is_some() || keys.find(name).is_some_and(seen)
            }
        }
    }

    /// Whether the declared field at `slot` is among the members.
    pub(super) fn has_slot(&self, slot: u16) -> bool {
        self.declared[usize::from(slot) / 64] & (1 << (slot % 64)) != 0
    }

    /// Of how many members anything is remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.list.len().max(self.others.len()).max(self.other_keys.len()).max(self.private.len())
    }

    /// Whether a member is of no declared field.
    pub(super) fn has_undeclared(&self) -> bool {
        self.has_undeclared
    }

    /// The first thing that is wrong with the object, and with which field.
    pub(super) fn broken(&self) -> Option<&(Option<Box<str>>, Reason)> {
        self.broken.as_ref()
    }

    /// Whether a key comes twice or is too long, or there are too many.
    pub(super) fn keys_broken(&self) -> bool {
        self.keys_broken
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

    pub(super) fn mendings(&self) -> &Mendings {
        &self.scratch.mendings
    }
}

/// The text of the string whose opening quote stands at `at`, which the scanner has passed.
fn spelled_at(source: &[u8], at: usize) -> &[u8] {
    let mut scanner = Scanner::new(source);
    scanner.seek(at);
    scanner.string().map_or(&[], |string| &source[string.start + 1..string.end - 1])
}

/// A field's name as it is told: never longer than a column's name may be.
pub(super) fn field_name(key: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(key);
    let end = (0..=Rejection::MAX_FIELD_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].into()
}

fn is_client_id(source: &[u8], value: &Value) -> bool {
    let raw = value.start + 1..value.end.saturating_sub(1);
    value.kind == Kind::String
        && !value.traits.has(Traits::UNSTORABLE)
        && !raw.is_empty()
        && (raw.len() <= MAX_CLIENT_ID_BYTES || text::decoded_len(&source[raw]) <= MAX_CLIENT_ID_BYTES)
}
