//! Stream schemas: what validation checks, and what a warehouse's table is made from.
//!
//! Limits: at most [`Schema::MAX_FIELDS`] declared fields a stream, names of at most [`MAX_COLUMN_BYTES`] bytes in the
//! form `[a-z_][a-z0-9_]*` (a column in every warehouse), strings of at most [`MAX_STRING_BYTES`] bytes, decimals of
//! at most [`MAX_PRECISION`] digits.
//!
//! A [`Schema`] that exists is sound: [`Schema::new`] refuses every combination that could store a line which does
//! not load, so nothing downstream checks again.

mod catalog;
mod field;
mod table_names;
mod widening;

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use xxhash_rust::xxh3::xxh3_64;

pub use catalog::{Catalog, CatalogFull};
pub use field::{Field, FieldType, OnError, PrivacyKey, Private};
pub use table_names::{
    CONFLICT_COLUMNS, KEPT_PREFIX, KEPT_TABLES, SYSTEM_COLUMNS, TABLE_SUFFIXES, column_is_cut, column_taken,
    schema_is_cut, stream_is_cut, table_taken,
};

use crate::batch::StreamName;

/// The longest column name, in bytes: Redshift's and Athena's limits are 127 and 255.
pub const MAX_COLUMN_BYTES: usize = 127;
/// The longest declared string, in bytes: Redshift's `VARCHAR(65535)`.
pub const MAX_STRING_BYTES: u32 = 65_535;
/// The most digits of a decimal: Redshift's and Athena's `DECIMAL(38, s)`.
pub const MAX_PRECISION: u8 = 38;

/// The fields that the server writes on every stored line, ahead of the event's own.
pub const SERVER_FIELDS: [&str; 5] = ["event_id", "event_time", "received_at", "batch_id", "client_time"];
/// The column that collects what a schema does not declare.
pub const EXTRA: &str = "extra";

/// When a stream's batches are answered with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// Once they are synced to this instance's disk.
    #[default]
    Spooled,
    /// Once every required sink has stored them.
    Stored,
    /// Once they are queued; a crash may lose them.
    Memory,
}

impl Ack {
    /// The name in answers and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spooled => "spooled",
            Self::Stored => "stored",
            Self::Memory => "memory",
        }
    }
}

/// Which streams' batches are let in first when not all can be. The higher is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// What is refused first.
    Low,
    /// What most streams have.
    #[default]
    Normal,
    /// What is refused last.
    High,
}

impl Priority {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// What loads a stream's objects into the warehouse: one thing, so that none is loaded twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// `logweir load`.
    Loader,
    /// A COPY JOB of Redshift.
    CopyJob,
    /// Nothing, or nothing that this one knows of.
    #[default]
    None,
}

/// What happens to fields that the schema does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// They are stored at the top level as they came.
    Keep,
    /// They reject the event.
    Reject,
    /// They are stored in one JSON object named [`EXTRA`].
    Collect,
}

/// A stream as this instance serves it.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its name.
    pub name: StreamName,
    /// What its batches' answers promise.
    pub ack: Ack,
    /// How soon its batches are refused.
    pub priority: Priority,
    /// What loads its objects.
    pub load: Load,
    /// What its events look like.
    pub schema: Schema,
}

impl Stream {
    /// Whether `other`, of the same name, is this stream: a clone of it, or what it was cloned from.
    fn is(&self, other: &Self) -> bool {
        self.schema.id == other.schema.id
            && (self.ack, self.priority, self.load) == (other.ack, other.priority, other.load)
    }
}

/// Tells schemas apart: no two of a process have the same, not even one that replaces another; but a clone is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SchemaId(u64);

impl SchemaId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the events of a stream look like.
#[derive(Debug, Clone)]
pub struct Schema {
    id: SchemaId,
    fields: Vec<Field>,
    by_hash: HashMap<u64, u16, AlreadyHashed>,
    required: Vec<u16>,
    unknown: UnknownFields,
    time_field: Option<u16>,
    privacy_key: Option<Arc<PrivacyKey>>,
}

/// The hash by which keys are compared: made once for each key of an event, and used for every look-up of it.
#[inline]
pub fn key_hash(name: &[u8]) -> u64 {
    xxh3_64(name)
}

/// The hasher of a map whose keys are hashes.
#[derive(Debug, Default, Clone)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = key_hash(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl BuildHasher for AlreadyHashed {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self::default()
    }
}

/// A schema that could store a line which does not load, or that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum SchemaError {
    #[error("{0} fields are declared, more than {max}", max = Schema::MAX_FIELDS)]
    TooManyFields(usize),
    #[error("field `{0}` is no column name: use [a-z_][a-z0-9_]*, at most {MAX_COLUMN_BYTES} bytes")]
    FieldName(Box<str>),
    #[error("field `{0}` is a server field: logweir writes it itself, and a client's own becomes `client_{0}`")]
    ReservedName(Box<str>),
    #[error("field `extra` is where undeclared fields are collected")]
    ExtraDeclared,
    #[error("field `{0}` is declared twice")]
    DuplicateField(Box<str>),
    #[error("field `{0}`: max_bytes must lie between 1 and {MAX_STRING_BYTES}")]
    MaxBytes(Box<str>),
    #[error("field `{0}`: a decimal has 1 to {MAX_PRECISION} digits, and no more of them behind the point than in all")]
    Precision(Box<str>),
    #[error("field `{0}`: only a string can be truncated")]
    TruncateType(Box<str>),
    #[error("field `{0}` is required, so it cannot become null on error")]
    RequiredNull(Box<str>),
    #[error("field `{0}` is required, so it cannot be dropped")]
    RequiredDropped(Box<str>),
    #[error("field `{0}`: a JSON value cannot be replaced by a keyed hash; drop it")]
    HashedJson(Box<str>),
    #[error("field `{0}` is replaced by a keyed hash, and there is no key")]
    NoPrivacyKey(Box<str>),
    #[error("time_field `{0}` must be a declared field of type timestamp that is not private")]
    TimeField(Box<str>),
    #[error("unknown_fields = \"{0}\" without a declared field")]
    NothingDeclared(&'static str),
}

impl Schema {
    /// The most declared fields a stream may have.
    pub const MAX_FIELDS: usize = 512;

    /// Makes a schema of `fields`, in the order of the warehouse's columns.
    ///
    /// `unknown` defaults to `collect` if fields are declared and to `keep` if none are. A `time_field` that is not
    /// declared while no field is becomes one of type timestamp, so that a stream of free form can still have a time.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn new(
        mut fields: Vec<Field>,
        unknown: Option<UnknownFields>,
        time_field: Option<&str>,
        privacy_key: Option<Arc<PrivacyKey>>,
    ) -> Result<Self, SchemaError> {
        let declared = !fields.is_empty();
        let unknown = unknown.unwrap_or(if declared { UnknownFields::Collect } else { UnknownFields::Keep });
        match unknown {
            UnknownFields::Collect if !declared => return Err(SchemaError::NothingDeclared("collect")),
            UnknownFields::Reject if !declared => return Err(SchemaError::NothingDeclared("reject")),
            _ => {}
        }
        if fields.len() > Self::MAX_FIELDS {
            return Err(SchemaError::TooManyFields(fields.len()));
        }
        if let (false, Some(name)) = (declared, time_field) {
            fields.push(Field::new(name, FieldType::Timestamp));
        }
        let mut by_hash = HashMap::with_capacity_and_hasher(fields.len(), AlreadyHashed::default());
        for (slot, field) in fields.iter().enumerate() {
            field.check(unknown, privacy_key.is_some())?;
            if by_hash.insert(key_hash(field.name.as_bytes()), slot as u16).is_some() {
                return Err(SchemaError::DuplicateField(field.name.clone()));
            }
        }
        let time_field = match time_field {
            None => None,
            Some(name) => {
                let slot = fields.iter().position(|field| &*field.name == name).map(|slot| slot as u16);
                let sound = slot.filter(|slot| {
                    let field = &fields[usize::from(*slot)];
                    field.kind == FieldType::Timestamp && field.private.is_none()
                });
                Some(sound.ok_or_else(|| SchemaError::TimeField(name.into()))?)
            }
        };
        let required = (0..fields.len() as u16).filter(|slot| fields[usize::from(*slot)].required).collect();
        Ok(Self { id: SchemaId::next(), fields, by_hash, required, unknown, time_field, privacy_key })
    }

    /// The schema of a stream about which nothing is declared: every field is kept.
    pub fn free_form() -> Self {
        Self {
            id: SchemaId::next(),
            fields: Vec::new(),
            by_hash: HashMap::default(),
            required: Vec::new(),
            unknown: UnknownFields::Keep,
            time_field: None,
            privacy_key: None,
        }
    }

    /// Which schema this is.
    pub fn id(&self) -> SchemaId {
        self.id
    }

    /// The declared fields, in the order of the warehouse's columns.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The place of the field that is declared under the lower-case `name`, whose [`key_hash`] is `hash`.
    #[inline]
    pub fn slot(&self, name: &[u8], hash: u64) -> Option<u16> {
        if self.fields.is_empty() {
            return None;
        }
        self.by_hash.get(&hash).copied().filter(|slot| self.field(*slot).name.as_bytes() == name)
    }

    /// The field at a place that [`Self::slot`] gave.
    pub fn field(&self, slot: u16) -> &Field {
        &self.fields[usize::from(slot)]
    }

    /// The places of the fields that no event may lack.
    pub fn required(&self) -> &[u16] {
        &self.required
    }

    /// What happens to fields that are not declared.
    pub fn unknown(&self) -> UnknownFields {
        self.unknown
    }

    /// The place of the field that the event time is taken from.
    pub fn time_field(&self) -> Option<u16> {
        self.time_field
    }

    /// The key of private fields' hashes; present if any field has one.
    pub fn privacy_key(&self) -> Option<&PrivacyKey> {
        self.privacy_key.as_deref()
    }

    /// Whether any field must not be stored as it came.
    pub fn has_private(&self) -> bool {
        self.fields.iter().any(|field| field.private.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(name: &str) -> Field {
        Field::new(name, FieldType::String { max_bytes: 10 })
    }

    fn build(fields: Vec<Field>) -> Result<Schema, SchemaError> {
        Schema::new(fields, None, None, None)
    }

    #[test]
    fn declared_fields_collect_the_others_by_default_and_a_free_form_keeps_them() {
        let schema = build(vec![string("model"), Field { required: true, ..string("id") }]).unwrap();
        assert_eq!(schema.unknown(), UnknownFields::Collect);
        let slot = |name: &[u8]| schema.slot(name, key_hash(name));
        assert_eq!((slot(b"model"), slot(b"id"), slot(b"Model")), (Some(0), Some(1), None));
        assert_eq!(schema.required(), [1]);
        assert_eq!(build(vec![]).unwrap().unknown(), UnknownFields::Keep);
    }

    #[test]
    fn a_time_field_is_a_declared_timestamp_or_becomes_one() {
        let free = Schema::new(vec![], None, Some("ts"), None).unwrap();
        assert_eq!((free.time_field(), free.unknown()), (Some(0), UnknownFields::Keep));
        assert_eq!(free.fields()[0].kind, FieldType::Timestamp);
        let stamp = Field::new("ts", FieldType::Timestamp);
        assert_eq!(Schema::new(vec![stamp.clone()], None, Some("ts"), None).unwrap().time_field(), Some(0));
        for fields in [vec![string("ts")], vec![string("other")], vec![Field { private: Some(Private::Drop), ..stamp }]]
        {
            assert_eq!(Schema::new(fields, None, Some("ts"), None).unwrap_err(), SchemaError::TimeField("ts".into()));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let bad = |field: Field| build(vec![field]).unwrap_err();
        assert_eq!(build(vec![string("a"), string("a")]).unwrap_err(), SchemaError::DuplicateField("a".into()));
        for name in ["", "A", "1a", "a-b", "é", &"x".repeat(128)] {
            assert_eq!(bad(string(name)), SchemaError::FieldName(name.into()));
        }
        for name in SERVER_FIELDS {
            assert_eq!(bad(string(name)), SchemaError::ReservedName(name.into()));
        }
        assert_eq!(bad(string("extra")), SchemaError::ExtraDeclared);
        for max_bytes in [0, 65_536] {
            assert_eq!(bad(Field::new("a", FieldType::String { max_bytes })), SchemaError::MaxBytes("a".into()));
        }
        for (precision, scale) in [(0, 0), (39, 0), (5, 6)] {
            assert_eq!(
                bad(Field::new("a", FieldType::Decimal { precision, scale })),
                SchemaError::Precision("a".into())
            );
        }
        let int = Field { on_error: OnError::Truncate, ..Field::new("a", FieldType::Int) };
        assert_eq!(bad(int), SchemaError::TruncateType("a".into()));
        let null = Field { on_error: OnError::Null, required: true, ..string("a") };
        assert_eq!(bad(null), SchemaError::RequiredNull("a".into()));
        let dropped = Field { private: Some(Private::Drop), required: true, ..string("a") };
        assert_eq!(bad(dropped), SchemaError::RequiredDropped("a".into()));
        let hashed = Field { private: Some(Private::Hash), ..string("a") };
        assert_eq!(bad(hashed.clone()), SchemaError::NoPrivacyKey("a".into()));
        let key = Some(Arc::new(PrivacyKey::new(b"0123456789abcdef")));
        assert!(Schema::new(vec![hashed.clone()], None, None, key.clone()).unwrap().has_private());
        let json = Field { kind: FieldType::Json { max_bytes: 9 }, ..hashed };
        assert_eq!(Schema::new(vec![json], None, None, key).unwrap_err(), SchemaError::HashedJson("a".into()));
        let many = (0..=Schema::MAX_FIELDS).map(|n| string(&format!("f{n}"))).collect();
        assert_eq!(build(many).unwrap_err(), SchemaError::TooManyFields(513));
        let nothing = Schema::new(vec![], Some(UnknownFields::Reject), None, None).unwrap_err();
        assert_eq!(nothing, SchemaError::NothingDeclared("reject"));
    }
}
