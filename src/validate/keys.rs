//! The keys that a stream's objects have had: found out about once, recognised from then on.
//!
//! Objects of the same SDK look alike, so behind each key stands a guess at the next one: where it is right, a key
//! costs one comparison. What is known of a key is its stored form, its declared field, and its *identity*: keys that
//! are or become equal have the same one.
//!
//! Limits: [`KeyBook::MOST`] keys a stream; what does not fit is found out about each time anew. A book that has become
//! full of keys that do not come again is emptied.
//!
//! # What a book knows changes nothing but the speed
//!
//! A retry may meet another worker, whose book is another one, and must be stored alike. So every book begins with the
//! server's fields, which are the only keys that mean something by themselves; and a key that is met as unknown in an
//! object does not become known while that object is read: a full book stays full, and what is not learned from one
//! member of an object is not learned from a later one either.

use super::text;
use crate::schema::{MAX_COLUMN_BYTES, SERVER_FIELDS, Schema, key_hash};

/// What is put before a client's key that is named like a server field.
const CLIENT_PREFIX: &[u8] = b"client_";
/// The key whose value becomes the event's identity.
const EVENT_ID: &[u8] = b"event_id";
/// Where a search of the table ends: it has twice as many places as there may be keys.
const PLACES: usize = 2 * KeyBook::MOST;
/// A full book is emptied after so many keys that were not in it.
const MOST_MISSES: u32 = 100_000;

/// A key's number in its book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyId(u16);

impl KeyId {
    /// Its place in a list of all keys of the book.
    #[inline]
    pub(super) fn place(self) -> usize {
        usize::from(self.0)
    }
}

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Where `"key":` stands in the book's text.
    spelled: (u32, u32),
    /// Where the stored key stands there, without quotes.
    stored: (u32, u32),
    /// The key that is spelled as this one is stored.
    pub(super) identity: KeyId,
    /// The declared field.
    pub(super) slot: Option<u16>,
    /// Whether it is stored as it is spelled.
    pub(super) as_it_came: bool,
    /// If it is `event_id`: the key under which a client's own is stored where it is not the event's identity.
    pub(super) event_id: Option<KeyId>,
    /// The key that last followed this one.
    next: Option<KeyId>,
}

/// The keys of one stream.
#[derive(Debug)]
pub(super) struct KeyBook {
    text: Vec<u8>,
    known: Vec<Known>,
    /// Keys by the hash of their spelling: open addressing.
    table: Vec<Option<KeyId>>,
    /// The key that objects last began with.
    first: Option<KeyId>,
    misses: u32,
}

impl KeyBook {
    /// How many keys are known at the most.
    pub(super) const MOST: usize = 1_024;
    /// The longest spelling that is kept, in bytes.
    const MOST_SPELLED_BYTES: usize = 2 * MAX_COLUMN_BYTES;

    /// What a full book may occupy, in bytes: each key as it is spelled and as it is stored, and what is known of it.
    pub(super) const MOST_BYTES: usize = Self::MOST
        * (Self::MOST_SPELLED_BYTES + MAX_COLUMN_BYTES + size_of::<Known>())
        + PLACES * size_of::<KeyId>() * 2;

    /// A book that knows the server's fields.
    pub(super) fn new(schema: &Schema) -> Self {
        let mut book = Self { text: Vec::new(), known: Vec::new(), table: vec![None; PLACES], first: None, misses: 0 };
        for name in SERVER_FIELDS {
            book.find_or_learn(name.as_bytes(), schema);
        }
        book
    }

    /// How many keys are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// What is known of a key.
    #[inline]
    pub(super) fn get(&self, key: KeyId) -> &Known {
        &self.known[key.place()]
    }

    /// The stored form of a key, without quotes.
    pub(super) fn stored(&self, key: KeyId) -> &[u8] {
        self.text(self.get(key).stored)
    }

    fn text(&self, (from, to): (u32, u32)) -> &[u8] {
        &self.text[from as usize..to as usize]
    }

    /// The key that is guessed to follow `before`, or to be an object's first, if `"key":` stands at `at` in `source`:
    /// then also where its value may begin.
    #[inline]
    pub(super) fn guess(&self, before: Option<KeyId>, source: &[u8], at: usize) -> Option<(KeyId, usize)> {
        let guess = match before {
            Some(before) => self.get(before).next,
            None => self.first,
        }?;
        let spelled = self.text(self.get(guess).spelled);
        let there = source.get(at..at + spelled.len())?;
        same(there, spelled).then_some((guess, at + spelled.len()))
    }

    /// Remembers that `key` followed `before`, or began an object.
    pub(super) fn follows(&mut self, before: Option<KeyId>, key: KeyId) {
        match before {
            Some(before) => self.known[before.place()].next = Some(key),
            None => self.first = Some(key),
        }
    }

    /// The key that is spelled `raw` between its quotes, learned if it is new; `None` if there is no place for it.
    ///
    /// Of a spelling that is too long to be kept, the stored form is learned: it may be spelled otherwise next time.
    pub(super) fn find_or_learn(&mut self, raw: &[u8], schema: &Schema) -> Option<KeyId> {
        if let Some(key) = self.find(raw) {
            return Some(key);
        }
        let stored = stored_form(raw);
        let fits = self.known.len() + 3 <= Self::MOST && stored.len() <= MAX_COLUMN_BYTES - CLIENT_PREFIX.len();
        if !fits {
            self.misses += 1;
            return None;
        }
        if raw.len() > Self::MOST_SPELLED_BYTES {
            self.find_or_learn(&stored, schema);
            return None;
        }
        if stored == EVENT_ID {
            let client = [CLIENT_PREFIX, EVENT_ID].concat();
            let client = self.intern(&client, &client, schema);
            return Some(self.learn(raw, EVENT_ID, schema, Some(client)));
        }
        if is_server_field(&stored) {
            let client = [CLIENT_PREFIX, &stored].concat();
            return Some(self.learn(raw, &client, schema, None));
        }
        Some(self.learn(raw, &stored, schema, None))
    }

    /// The key that is spelled `raw`, if it is known.
    pub(super) fn find(&self, raw: &[u8]) -> Option<KeyId> {
        self.table[self.place(raw)]
    }

    /// Forgets all if the book is full of keys that do not come.
    pub(super) fn tidy(&mut self, schema: &Schema) {
        if self.misses > MOST_MISSES {
            *self = Self::new(schema);
        }
    }

    /// Where `raw` stands in the table, or would.
    fn place(&self, raw: &[u8]) -> usize {
        let mut place = key_hash(raw) as usize % PLACES;
        while let Some(key) = self.table[place] {
            let (from, to) = self.get(key).spelled;
            // `"key":` less the quotes and the colon.
            if self.text((from + 1, to - 2)) == raw {
                break;
            }
            place = (place + 1) % PLACES;
        }
        place
    }

    fn learn(&mut self, raw: &[u8], stored: &[u8], schema: &Schema, event_id: Option<KeyId>) -> KeyId {
        if raw == stored {
            return self.intern_with(raw, stored, schema, None, event_id);
        }
        let identity = self.intern(stored, stored, schema);
        self.intern_with(raw, stored, schema, Some(identity), event_id)
    }

    fn intern(&mut self, raw: &[u8], stored: &[u8], schema: &Schema) -> KeyId {
        self.find(raw).unwrap_or_else(|| self.intern_with(raw, stored, schema, None, None))
    }

    /// Adds a key; one whose identity is itself has none yet.
    fn intern_with(
        &mut self,
        raw: &[u8],
        stored: &[u8],
        schema: &Schema,
        identity: Option<KeyId>,
        event_id: Option<KeyId>,
    ) -> KeyId {
        let key = KeyId(self.known.len() as u16);
        let mut keep = |parts: &[&[u8]]| {
            let from = self.text.len() as u32;
            for part in parts {
                self.text.extend_from_slice(part);
            }
            (from, self.text.len() as u32)
        };
        let spelled = keep(&[b"\"", raw, b"\":"]);
        let stored_at = keep(&[stored]);
        self.known.push(Known {
            spelled,
            stored: stored_at,
            identity: identity.unwrap_or(key),
            slot: schema.slot(stored, key_hash(stored)),
            as_it_came: raw == stored,
            event_id,
            next: None,
        });
        let place = self.place(raw);
        self.table[place] = Some(key);
        key
    }
}

/// Whether two texts of one length are the same. Most keys are so short that calling a function for it would take longer.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    // Two words that lie beside or over each other.
    let ends = |text: &[u8]| Some([*text.first_chunk::<8>()?, *text.last_chunk::<8>()?].map(u64::from_ne_bytes));
    let short = |text: &[u8]| Some([*text.first_chunk::<4>()?, *text.last_chunk::<4>()?].map(u32::from_ne_bytes));
    match one.len() {
        8..=16 => ends(one) == ends(other),
        4..=7 => short(one) == short(other),
        _ => one == other,
    }
}

/// The stored form of the key that is spelled `raw`: lower case, with the shortest escapes.
pub(super) fn stored_form(raw: &[u8]) -> Vec<u8> {
    if raw.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase() && *byte != b'\\') {
        return raw.to_vec();
    }
    let mut stored = Vec::with_capacity(raw.len());
    text::append_escaped(&text::decode(raw).to_lowercase(), &mut stored);
    stored
}

fn is_server_field(name: &[u8]) -> bool {
    SERVER_FIELDS.iter().any(|field| field.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Field, FieldType};

    fn schema() -> Schema {
        let fields = vec![Field::new("model", FieldType::Json { max_bytes: 9 })];
        Schema::new(fields, None, None, None).unwrap()
    }

    fn learned(book: &mut KeyBook, raw: &str) -> KeyId {
        book.find_or_learn(raw.as_bytes(), &schema()).unwrap()
    }

    #[test]
    fn keys_that_become_equal_have_one_identity() {
        let mut book = KeyBook::new(&schema());
        let model = learned(&mut book, "model");
        for raw in ["Model", "MODEL", "\\u006dodel"] {
            let key = learned(&mut book, raw);
            let known = *book.get(key);
            assert_eq!((known.identity, known.slot, known.as_it_came), (model, Some(0), false), "{raw}");
            assert_eq!(book.stored(key), b"model");
            assert_eq!(learned(&mut book, raw), key, "learned once");
        }
        assert_eq!((book.get(model).identity, book.get(model).as_it_came), (model, true));
        let upper_first = learned(&mut book, "Tone");
        let lower = learned(&mut book, "tone");
        assert_eq!(book.get(upper_first).identity, lower);
    }

    #[test]
    fn server_fields_are_the_clients_under_another_name() {
        let mut book = KeyBook::new(&schema());
        let time = learned(&mut book, "Event_Time");
        assert_eq!(book.stored(time), b"client_event_time");
        let renamed = learned(&mut book, "client_event_time");
        assert_eq!(book.get(time).identity, renamed);
        let id = learned(&mut book, "event_id");
        let client = book.get(id).event_id.unwrap();
        assert_eq!(book.stored(client), b"client_event_id");
        assert_eq!(learned(&mut book, "client_event_id"), client);
        assert_eq!(learned(&mut book, "event_id"), id);
    }

    #[test]
    fn a_book_knows_the_server_fields_before_it_has_seen_any() {
        let book = KeyBook::new(&schema());
        for field in SERVER_FIELDS {
            let key = book.find(field.as_bytes()).unwrap();
            let client = book.find(format!("client_{field}").as_bytes()).unwrap();
            let known = book.get(key);
            assert_eq!(known.event_id.unwrap_or(known.identity), client, "{field}");
        }
    }

    #[test]
    fn of_a_spelling_that_is_too_long_the_stored_form_is_learned() {
        let mut book = KeyBook::new(&schema());
        let raw = "\\u0061".repeat(43);
        assert_eq!(book.find_or_learn(raw.as_bytes(), &schema()), None);
        assert!(book.find("a".repeat(43).as_bytes()).is_some());
        assert_eq!(book.len(), 2 * SERVER_FIELDS.len() + 1);
    }

    #[test]
    fn a_guess_is_taken_only_if_the_key_stands_there() {
        let mut book = KeyBook::new(&schema());
        let (a, b) = (learned(&mut book, "a"), learned(&mut book, "b"));
        assert_eq!(book.guess(None, br#"{"a":1}"#, 1), None);
        book.follows(None, a);
        book.follows(Some(a), b);
        assert_eq!(book.guess(None, br#"{"a":1,"b":2}"#, 1), Some((a, 5)));
        assert_eq!(book.guess(Some(a), br#"{"a":1,"b":2}"#, 7), Some((b, 11)));
        for other in [r#"{"a":1,"bb":2}"#, r#"{"a":1,"b" :2}"#, r#"{"a":1,"c":2}"#, r#"{"a":1,"b"#] {
            assert_eq!(book.guess(Some(a), other.as_bytes(), 7), None, "{other}");
        }
    }

    #[test]
    fn texts_that_differ_in_one_byte_are_not_the_same() {
        for len in 0..20_usize {
            let text: Vec<u8> = (0..len as u8).collect();
            assert!(same(&text, &text.clone()), "{len}");
            for place in 0..len {
                let mut other = text.clone();
                other[place] ^= 0x40;
                assert!(!same(&text, &other), "{len}, {place}");
            }
        }
    }

    #[test]
    fn a_book_has_a_limit_and_is_emptied_when_it_is_of_no_use() {
        let schema = schema();
        let mut book = KeyBook::new(&schema);
        for number in 0..MOST_MISSES as usize + KeyBook::MOST {
            book.find_or_learn(format!("key_{number}").as_bytes(), &schema);
            assert!(book.len() <= KeyBook::MOST);
        }
        assert!(book.find(b"key_7").is_some());
        book.tidy(&schema);
        book.find_or_learn(b"new", &schema);
        book.tidy(&schema);
        assert_eq!(book.len(), 2 * SERVER_FIELDS.len() + 1);
        assert!(book.find_or_learn("é".repeat(64).as_bytes(), &schema).is_none(), "too long to be kept");
    }
}
