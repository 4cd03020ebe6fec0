//! `[streams.NAME]`: the streams that are declared.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ordered::Ordered, report::Report, setting::Setting};
use crate::{
    batch::StreamName,
    schema::{
        Ack, Field, FieldType, Load, OnError, Priority, PrivacyKey, Private, Schema, SchemaError, Stream, UnknownFields,
    },
};

/// A stream as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeclaredStream {
    /// What an answer of success promises. Default `spooled`: the batch is synced to this instance's disk; `stored` if
    /// that keeps nothing.
    pub ack: Ack,
    /// Which batches are let in first when not all can be: `low`, `normal` or `high`. Default `normal`.
    pub priority: Priority,
    /// What loads its objects into the warehouse: `loader` (`logweir load`), `copy_job` (a COPY JOB of Redshift) or `none`.
    /// Default `none`.
    pub load: Load,
    /// The field that becomes `event_time`. Default none: it is the received time.
    pub time_field: Option<String>,
    /// What happens to fields that are not declared. Default `collect` if some are declared, else `keep`.
    pub unknown_fields: Option<UnknownFields>,
    /// The fields, in the order of the warehouse's columns. Default none: every field is stored as it came.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub fields: Ordered<DeclaredField>,
}

/// A field as it is declared. A bare `"int"` is short for `{ type = "int" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct DeclaredField {
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: FieldKind,
    /// The longest value in bytes, of a string (default 256) or of JSON (default 65535).
    #[serde(default)]
    pub max_bytes: Option<u32>,
    /// A decimal's digits in all, up to 38.
    #[serde(default)]
    pub precision: Option<u8>,
    /// A decimal's digits behind the point.
    #[serde(default)]
    pub scale: Option<u8>,
    /// Whether an event without it is rejected. Default false.
    #[serde(default)]
    pub required: bool,
    /// What happens to a value that is not of the type. Default `reject`: the event is.
    #[serde(default)]
    pub on_error: OnError,
    /// What is stored instead of its value. Default none: the value is.
    #[serde(default)]
    pub private: Option<Private>,
}

/// The name of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "crate::schema::FieldType says what each is")]
pub enum FieldKind {
    String,
    Int,
    Double,
    Bool,
    Timestamp,
    Date,
    Uuid,
    Decimal,
    Json,
}

/// The longest string if nothing else is declared, in bytes: Redshift's own default for VARCHAR.
const DEFAULT_STRING_BYTES: u32 = 256;
/// The longest JSON value if nothing else is declared, in bytes: the most that a VARCHAR takes.
const DEFAULT_JSON_BYTES: u32 = 65_535;

impl Serialize for DeclaredField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for DeclaredField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> de::Visitor<'de> for FieldVisitor {
    type Value = DeclaredField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type such as \"int\", or a table such as { type = \"int\" }")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<DeclaredField, E> {
        let name: de::value::StrDeserializer<'_, E> = de::IntoDeserializer::into_deserializer(name);
        FieldKind::deserialize(name).map(DeclaredField::new)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<DeclaredField, A::Error> {
        // The derived reader, which `remote` makes an inherent function: the trait's is this one.
        DeclaredField::deserialize(de::value::MapAccessDeserializer::new(map))
    }
}

impl DeclaredField {
    /// An optional, public field.
    pub fn new(kind: FieldKind) -> Self {
        Self {
            kind,
            max_bytes: None,
            precision: None,
            scale: None,
            required: false,
            on_error: OnError::Reject,
            private: None,
        }
    }

    /// Its type, if the settings of the type are there and no others.
    fn kind(&self, setting: &Setting, report: &mut Report) -> Option<FieldType> {
        let decimal = self.kind == FieldKind::Decimal;
        let sized = matches!(self.kind, FieldKind::String | FieldKind::Json);
        let mut sound = true;
        for (key, given, fits, whose) in [
            ("max_bytes", self.max_bytes.is_some(), sized, "strings and JSON values"),
            ("precision", self.precision.is_some(), decimal, "decimals"),
            ("scale", self.scale.is_some(), decimal, "decimals"),
        ] {
            if given && !fits {
                report.wrong(setting.clone().key(key), format!("is a setting of {whose} alone"), "leave it out");
                sound = false;
            }
        }
        let kind = match self.kind {
            FieldKind::String => FieldType::String { max_bytes: self.max_bytes.unwrap_or(DEFAULT_STRING_BYTES) },
            FieldKind::Json => FieldType::Json { max_bytes: self.max_bytes.unwrap_or(DEFAULT_JSON_BYTES) },
            FieldKind::Int => FieldType::Int,
            FieldKind::Double => FieldType::Double,
            FieldKind::Bool => FieldType::Bool,
            FieldKind::Timestamp => FieldType::Timestamp,
            FieldKind::Date => FieldType::Date,
            FieldKind::Uuid => FieldType::Uuid,
            FieldKind::Decimal => match (self.precision, self.scale) {
                (Some(precision), Some(scale)) => FieldType::Decimal { precision, scale },
                (precision, _) => {
                    let missing = if precision.is_none() { "precision" } else { "scale" };
                    report.wrong(
                        setting.clone().key(missing),
                        "is missing, and a decimal needs it",
                        "write such as { type = \"decimal\", precision = 18, scale = 4 }",
                    );
                    return None;
                }
            },
        };
        sound.then_some(kind)
    }
}

impl DeclaredStream {
    /// The stream that this declares, or `None` if it contradicts itself.
    fn resolve(&self, name: StreamName, key: Option<Arc<PrivacyKey>>, report: &mut Report) -> Option<Stream> {
        let setting = Setting::from("streams").key(name.as_str());
        let mut fields = Vec::with_capacity(self.fields.len());
        for (name, field) in self.fields.iter() {
            let kind = field.kind(&setting.clone().key("fields").key(name), report);
            fields.extend(kind.map(|kind| Field {
                required: field.required,
                on_error: field.on_error,
                private: field.private,
                ..Field::new(name, kind)
            }));
        }
        if fields.len() < self.fields.len() {
            return None;
        }
        match Schema::new(fields, self.unknown_fields, self.time_field.as_deref(), key) {
            Ok(schema) => Some(Stream { name, ack: self.ack, priority: self.priority, load: self.load, schema }),
            Err(error) => {
                contradicts(&setting, &error, report);
                None
            }
        }
    }
}

/// Makes the streams that are declared.
pub(super) fn resolve(
    declared: &Ordered<DeclaredStream>,
    key: Option<&Arc<PrivacyKey>>,
    report: &mut Report,
) -> Vec<Stream> {
    let mut streams = Vec::with_capacity(declared.len());
    for (name, stream) in declared.iter() {
        match StreamName::new(name) {
            Ok(name) => streams.extend(stream.resolve(name, key.cloned(), report)),
            Err(rule) => {
                report.wrong(
                    Setting::from("streams").key(name),
                    "is no name of a stream",
                    format!("rename it: {rule}"),
                );
            }
        }
    }
    streams
}

/// Notes what a schema says of itself, at the setting that says it.
fn contradicts(stream: &Setting, error: &SchemaError, report: &mut Report) {
    let fields = stream.clone().key("fields");
    let field = |name: &str| fields.clone().key(name);
    let (setting, remedy) = match error {
        SchemaError::TooManyFields(_) => (fields.clone(), "declare fewer, and let the others be collected"),
        SchemaError::FieldName(name) => (field(name), "rename it: keys of events are compared in lower case"),
        SchemaError::ReservedName(name) => (field(name), "leave it out, or rename it on the devices"),
        SchemaError::ExtraDeclared => (field("extra"), "rename it, or set unknown_fields to \"keep\" or \"reject\""),
        SchemaError::DuplicateField(name) => (field(name), "leave one of them out"),
        SchemaError::MaxBytes(name) => (field(name).key("max_bytes"), "choose a size that a column can have"),
        SchemaError::Precision(name) => (field(name).key("precision"), "choose digits that a column can have"),
        SchemaError::TruncateType(name) | SchemaError::RequiredNull(name) => {
            (field(name).key("on_error"), "set on_error = \"reject\"")
        }
        SchemaError::RequiredDropped(name) => (field(name).key("private"), "set required = false"),
        SchemaError::HashedJson(name) => (field(name).key("private"), "set private = \"drop\""),
        SchemaError::NoPrivacyKey(name) => {
            (field(name).key("private"), "set LOGWEIR__PRIVACY__HASH_KEY to at least 16 random bytes")
        }
        SchemaError::TimeField(_) => (stream.clone().key("time_field"), "declare it with type = \"timestamp\""),
        SchemaError::NothingDeclared(_) => {
            (stream.clone().key("unknown_fields"), "declare fields, or leave it out: every field is kept")
        }
    };
    report.between(setting, &[fields], format!("is refused: {error}"), remedy);
}
