//! What becomes of an event: why one is rejected, and what was mended on one that was accepted.

/// Why an event was rejected.
///
/// The text of a reason is stable: it stands in the answer to the device, in the stored line under `_rejected` and
/// in the metrics' labels. It never contains anything that the device sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// An NDJSON line is not valid UTF-8.
    InvalidUtf8,
    /// An NDJSON line is not valid JSON.
    MalformedJson,
    /// The event is JSON but not an object.
    NotAnObject,
    /// The event's bytes exceed `limits.event`.
    EventTooLarge,
    /// Objects and arrays nest deeper than `limits.nesting`.
    NestedTooDeep,
    /// More top-level keys than `limits.fields`.
    TooManyFields,
    /// A top-level key longer than a warehouse's column name may be.
    KeyTooLong,
    /// Two top-level keys are equal, or become equal in lower case.
    DuplicateKey,
    /// A number that no double can hold: too large, or so small that it would become zero.
    NumberOutOfRange,
    /// A required field is absent or null.
    Missing,
    /// A field is of another JSON type, or another form, than its schema says.
    WrongType,
    /// A string or a JSON value is longer than its field's `max_bytes`, or what is collected in `extra` than a column.
    TooLong,
    /// An int, a decimal, a date or a timestamp beyond what its type holds.
    OutOfRange,
    /// A field that the schema does not know, in a stream that refuses such.
    UnknownField,
}

impl Reason {
    /// Every reason, in the order of the declaration.
    pub const ALL: [Self; 14] = [
        Self::InvalidUtf8,
        Self::MalformedJson,
        Self::NotAnObject,
        Self::EventTooLarge,
        Self::NestedTooDeep,
        Self::TooManyFields,
        Self::KeyTooLong,
        Self::DuplicateKey,
        Self::NumberOutOfRange,
        Self::Missing,
        Self::WrongType,
        Self::TooLong,
        Self::OutOfRange,
        Self::UnknownField,
    ];

    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::MalformedJson => "malformed_json",
            Self::NotAnObject => "not_an_object",
            Self::EventTooLarge => "event_too_large",
            Self::NestedTooDeep => "nested_too_deep",
            Self::TooManyFields => "too_many_fields",
            Self::KeyTooLong => "key_too_long",
            Self::DuplicateKey => "duplicate_key",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::TooLong => "too_long",
            Self::OutOfRange => "out_of_range",
            Self::UnknownField => "unknown_field",
        }
    }
}

/// An event that was rejected: which, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The event's place in the batch, from 0.
    pub index: u32,
    /// The top-level field that broke the schema, where one did; at most [`Self::MAX_FIELD_BYTES`] long.
    pub field: Option<Box<str>>,
    /// Why.
    pub reason: Reason,
}

impl Rejection {
    /// The longest field name that is told, in bytes; longer ones are cut.
    pub const MAX_FIELD_BYTES: usize = 127;
}

/// The events of one batch that were rejected: all by number, the first of them by name.
///
/// A list of all of them would grow with what a device sends, and the answer with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    listed: Vec<Rejection>,
    counts: [u32; Reason::ALL.len()],
}

impl Rejections {
    /// How many are listed at the most. Whoever debugs a device needs a few; all of them stand under `_rejected`.
    pub const MOST_LISTED: usize = 1_000;

    /// Counts `rejection`, and lists it if there is room.
    pub fn add(&mut self, rejection: Rejection) {
        self.counts[rejection.reason as usize] += 1;
        if self.listed.len() < Self::MOST_LISTED {
            self.listed.push(rejection);
        }
    }

    /// How many there are.
    pub fn total(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// How many there are for `reason`.
    pub fn count(&self, reason: Reason) -> u32 {
        self.counts[reason as usize]
    }

    /// The first of them, in the order of the batch.
    pub fn listed(&self) -> &[Rejection] {
        &self.listed
    }

    /// Whether some are not listed.
    pub fn is_truncated(&self) -> bool {
        self.listed.len() < self.total() as usize
    }

    /// Forgets the list and its memory, and keeps the counts.
    pub fn unlist(&mut self) {
        self.listed = Vec::new();
    }

    /// What the list occupies in memory, in bytes.
    pub fn listed_bytes(&self) -> usize {
        let fields = self.listed.iter().filter_map(|rejection| rejection.field.as_ref());
        self.listed.capacity() * size_of::<Rejection>() + fields.map(|field| field.len()).sum::<usize>()
    }
}

/// What was changed on an event so that it could be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mending {
    /// A value that broke its field's schema was stored as null (`on_error = "null"`).
    Nulled,
    /// A string was cut to its field's `max_bytes` (`on_error = "truncate"`).
    Truncated,
    /// NUL characters or lone surrogates in a string were replaced by U+FFFD.
    ReplacedCharacters,
    /// The event's time was moved to the nearest end of the window around the received time.
    ClampedTime,
    /// A `sent_at` that is no instant was not used to correct the event's time.
    IgnoredSentAt,
}

impl Mending {
    /// Every mending, in the order of the declaration.
    pub const ALL: [Self; 5] =
        [Self::Nulled, Self::Truncated, Self::ReplacedCharacters, Self::ClampedTime, Self::IgnoredSentAt];

    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nulled => "nulled",
            Self::Truncated => "truncated",
            Self::ReplacedCharacters => "replaced_characters",
            Self::ClampedTime => "clamped_time",
            Self::IgnoredSentAt => "ignored_sent_at",
        }
    }
}

/// How often each [`Mending`] was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mendings([u32; Mending::ALL.len()]);

impl Mendings {
    /// Counts one.
    pub fn add(&mut self, mending: Mending) {
        self.0[mending as usize] += 1;
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// How often `mending` was done.
    pub fn count(&self, mending: Mending) -> u32 {
        self.0[mending as usize]
    }

    /// Whether nothing was mended.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_counted_without_end_and_listed_up_to_a_limit() {
        let mut rejections = Rejections::default();
        let most = Rejections::MOST_LISTED as u32;
        for index in 0..most + 2 {
            assert!(!rejections.is_truncated() || index > most);
            let reason = if index == 7 { Reason::TooLong } else { Reason::WrongType };
            rejections.add(Rejection { index, field: Some("field".into()), reason });
        }
        assert_eq!((rejections.total(), rejections.count(Reason::WrongType)), (most + 2, most + 1));
        assert_eq!((rejections.listed().len() as u32, rejections.listed()[7].index), (most, 7));
        assert!(rejections.listed_bytes() >= Rejections::MOST_LISTED * (size_of::<Rejection>() + 5));
        rejections.unlist();
        assert_eq!((rejections.listed().len(), rejections.listed_bytes(), rejections.total()), (0, 0, most + 2));
        assert!(rejections.is_truncated());
    }

    #[test]
    fn the_lists_are_in_the_order_of_the_declarations() {
        for (place, mending) in Mending::ALL.into_iter().enumerate() {
            assert_eq!(mending as usize, place);
        }
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }
}
