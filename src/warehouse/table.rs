//! What a stream's table looks like, in every warehouse: the columns, in order, with their types.
//!
//! It is made from the schema that validates, so what validation lets through loads. The order of the columns is: the
//! fields that the server writes, the declared ones as they are declared, and [`EXTRA`] where undeclared ones are
//! collected. Private fields that are dropped have no column; hashed ones have their hash.
//!
//! Every name that this crate writes into SQL is quoted (see [`quoted`]), so that a field called `user` or `order` is a
//! column like any other, and no list of reserved words can be out of date.

use std::fmt;

use crate::{
    batch::{BatchId, StreamName},
    schema::{EXTRA, FieldType, Load, MAX_STRING_BYTES, Private, Stream, UnknownFields},
};

/// The longest `event_id`, in bytes: a device's own has at most as many as a batch's id.
const MAX_EVENT_ID_BYTES: u32 = BatchId::MAX_BYTES as u32;
/// The hexadecimal digits of HMAC-SHA-256.
const HASH_BYTES: u32 = 64;

/// A stream's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The stream, after which the table is named.
    pub stream: StreamName,
    /// What loads it.
    pub load: Load,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The column that `event_time` was taken from, if the stream has a time of its own. Copies of an event may differ in
    /// `event_time`, which the server corrects by when each copy came.
    pub time_field: Option<Box<str>>,
    /// What became of undeclared fields.
    pub unknown: UnknownFields,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name: `[a-z_][a-z0-9_]*`, at most 127 bytes.
    pub name: Box<str>,
    /// What its values are.
    pub kind: FieldType,
    /// Whether every line has it, and it is not null.
    pub required: bool,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The server writes it on every line, or on those that need it.
    Server,
    /// It is declared.
    Declared,
    /// It collects what is not.
    Extra,
}

impl Column {
    fn new(name: &str, kind: FieldType, required: bool, origin: Origin) -> Self {
        Self { name: name.into(), kind, required, origin }
    }

    /// Whether two copies of one event have the same value in it: not so the columns in which the server tells when and in
    /// which batch a copy came.
    pub fn is_of_event(&self) -> bool {
        self.origin != Origin::Server
    }
}

impl Table {
    /// The table of `stream`.
    pub fn new(stream: &Stream) -> Self {
        let server = |name, kind, required| Column::new(name, kind, required, Origin::Server);
        let id = FieldType::String { max_bytes: MAX_EVENT_ID_BYTES };
        let mut columns = vec![
            server("event_id", id, true),
            server("event_time", FieldType::Timestamp, true),
            server("received_at", FieldType::Timestamp, true),
            server("batch_id", FieldType::String { max_bytes: BatchId::MAX_BYTES as u32 }, false),
            server("client_time", FieldType::Timestamp, false),
        ];
        let schema = &stream.schema;
        let time_field = schema.time_field().map(|slot| schema.field(slot).name.clone());
        for field in schema.fields() {
            let kind = match field.private {
                Some(Private::Drop) => continue,
                Some(Private::Hash) => FieldType::String { max_bytes: HASH_BYTES },
                None => field.kind,
            };
            columns.push(Column::new(&field.name, kind, field.required, Origin::Declared));
        }
        if schema.unknown() == UnknownFields::Collect {
            columns.push(Column::new(EXTRA, FieldType::Json { max_bytes: MAX_STRING_BYTES }, false, Origin::Extra));
        }
        Self { stream: stream.name.clone(), load: stream.load, columns, time_field, unknown: schema.unknown() }
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| &*column.name == name)
    }
}

/// A name in SQL, within the quotes of most dialects: `"order"`. Names of columns, streams and schemas have no quotes of
/// their own.
pub fn quoted(name: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| write!(f, "\"{name}\""))
}

/// A name in the SQL of Hive, Spark and BigQuery.
pub fn back_quoted(name: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| write!(f, "`{name}`"))
}

/// A string in SQL: `'it''s'`.
pub fn literal(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| write!(f, "'{}'", text.replace('\'', "''")))
}
