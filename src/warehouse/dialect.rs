//! Where dialects of SQL differ, for what is written once for PostgreSQL and Redshift: tables, loads, rollups.

use super::table::{literal, quoted};
use crate::{
    batch::Millis,
    schema::{FieldType, TABLE_SUFFIXES},
};

/// A dialect of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL, 12 and later.
    Postgres,
    /// Amazon Redshift.
    Redshift,
}

impl Dialect {
    /// The type of a column. Times are UTC: PostgreSQL has a type that knows it, and for Redshift they are written that
    /// way, since its COPY drops the zone of a TIMESTAMP and reads `…Z` as what stands there.
    pub fn column_type(self, kind: FieldType) -> String {
        match (self, kind) {
            (Self::Postgres, FieldType::String { .. }) => "text".to_owned(),
            (Self::Redshift, FieldType::String { max_bytes }) => format!("VARCHAR({max_bytes})"),
            (Self::Postgres, FieldType::Int) => "bigint".to_owned(),
            (Self::Redshift, FieldType::Int) => "BIGINT".to_owned(),
            (Self::Postgres, FieldType::Double) => "double precision".to_owned(),
            (Self::Redshift, FieldType::Double) => "DOUBLE PRECISION".to_owned(),
            (Self::Postgres, FieldType::Bool) => "boolean".to_owned(),
            (Self::Redshift, FieldType::Bool) => "BOOLEAN".to_owned(),
            (_, FieldType::Timestamp) => self.timestamp().to_owned(),
            (Self::Postgres, FieldType::Date) => "date".to_owned(),
            (Self::Redshift, FieldType::Date) => "DATE".to_owned(),
            (Self::Postgres, FieldType::Uuid) => "uuid".to_owned(),
            (Self::Redshift, FieldType::Uuid) => "CHAR(36)".to_owned(),
            (Self::Postgres, FieldType::Decimal { precision, scale }) => format!("numeric({precision}, {scale})"),
            (Self::Redshift, FieldType::Decimal { precision, scale }) => format!("DECIMAL({precision}, {scale})"),
            (Self::Postgres, FieldType::Json { .. }) => "jsonb".to_owned(),
            (Self::Redshift, FieldType::Json { .. }) => "SUPER".to_owned(),
        }
    }

    /// The type of an instant.
    pub fn timestamp(self) -> &'static str {
        match self {
            Self::Postgres => "timestamptz",
            Self::Redshift => "TIMESTAMP",
        }
    }

    /// An instant as an expression of the type [`Self::timestamp`].
    pub fn instant(self, at: Millis) -> String {
        // `2026-11-22T09:00:00.123Z`; Redshift's type has no zone, and what stands there is UTC.
        let text = at.to_string();
        match self {
            Self::Postgres => format!("timestamptz {}", literal(&text)),
            Self::Redshift => format!("TIMESTAMP {}", literal(&text.trim_end_matches('Z').replace('T', " "))),
        }
    }

    /// Now, of the type [`Self::timestamp`].
    pub fn now(self) -> &'static str {
        match self {
            Self::Postgres => "now()",
            // GETDATE() is UTC in every session; SYSDATE is the start of the transaction, in UTC too.
            Self::Redshift => "GETDATE()",
        }
    }

    /// The wall clock of `timezone` at the instant `expression`: a timestamp without a zone.
    pub fn local(self, expression: &str, timezone: &str) -> String {
        match self {
            Self::Postgres => format!("({expression} AT TIME ZONE {})", literal(timezone)),
            Self::Redshift => format!("CONVERT_TIMEZONE('UTC', {}, {expression})", literal(timezone)),
        }
    }

    /// The instant at which the wall clock of `timezone` shows `expression`, a timestamp without a zone.
    pub fn instant_of_local(self, expression: &str, timezone: &str) -> String {
        match self {
            Self::Postgres => format!("({expression} AT TIME ZONE {})", literal(timezone)),
            Self::Redshift => format!("CONVERT_TIMEZONE({}, 'UTC', {expression})", literal(timezone)),
        }
    }

    /// Whether the columns `left` and `right`, of type `kind`, are the same, where two nulls are.
    pub fn same(self, kind: FieldType, left: &str, right: &str) -> String {
        match (self, kind) {
            (Self::Postgres, _) => format!("{left} IS NOT DISTINCT FROM {right}"),
            // A SUPER is compared by what it is written as.
            (Self::Redshift, FieldType::Json { .. }) => {
                Self::same_or_null(&format!("JSON_SERIALIZE({left}) = JSON_SERIALIZE({right})"), left, right)
            }
            // Redshift compares strings without their trailing spaces, but counts them in a VARCHAR's length:
            // <https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html>. (Two ids that differ in nothing
            // else are one id there.)
            (Self::Redshift, FieldType::String { .. }) => {
                let equal = format!("{left} = {right} AND OCTET_LENGTH({left}) = OCTET_LENGTH({right})");
                Self::same_or_null(&equal, left, right)
            }
            (Self::Redshift, _) => Self::same_or_null(&format!("{left} = {right}"), left, right),
        }
    }

    /// `equal`, or both are null. It is never null itself: where one of them is, NOT of it would be null too, and a conflict
    /// pass for a copy.
    fn same_or_null(equal: &str, left: &str, right: &str) -> String {
        format!("CASE WHEN {equal} THEN TRUE ELSE {left} IS NULL AND {right} IS NULL END")
    }
}

/// The tables in a schema of the warehouse. Every name that the loader, the rollups and the audit use is made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    schema: String,
}

impl Names {
    /// The objects that the loader has taken or set aside: a row each.
    pub const LEDGER: &str = "logweir_ledger";
    /// What became of the lines of a load, by stream and hour.
    pub const LOADS: &str = "logweir_loads";
    /// How far each stream has been loaded.
    pub const STATUS: &str = "load_status";
    /// Figures by day and by hour.
    pub const ROLLUPS: [&str; 4] = ["daily_active", "hourly_active", "daily_counts", "hourly_counts"];
    /// From where each stream's figures are not final.
    pub const ROLLUP_STATUS: &str = "rollup_status";
    /// What stands behind a stream's name in those of its other tables and views.
    pub const SUFFIXES: [&str; 4] = TABLE_SUFFIXES;

    /// The tables in `schema`.
    pub fn new(schema: &str) -> Self {
        Self { schema: schema.to_owned() }
    }

    /// The schema's name.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// `"logweir"."heard"`: the table or view called `name`.
    pub fn of(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }

    /// The table into which `stream`'s objects are copied first.
    pub fn staging(&self, stream: &str) -> String {
        self.of(&format!("{stream}_staging"))
    }

    /// The lines of `stream` that bear the id of another event.
    pub fn conflicts(&self, stream: &str) -> String {
        self.of(&format!("{stream}_conflicts"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_utc_in_each_dialect() {
        let at = Millis::parse_rfc3339("2026-11-22T09:00:00.123Z").unwrap();
        assert_eq!(Dialect::Postgres.instant(at), "timestamptz '2026-11-22T09:00:00.123Z'");
        assert_eq!(Dialect::Redshift.instant(at), "TIMESTAMP '2026-11-22 09:00:00.123'");
    }

    #[test]
    fn no_stream_can_have_the_name_of_another_table() {
        for name in [Names::LEDGER, Names::LOADS, Names::STATUS].into_iter().chain(Names::ROLLUPS) {
            assert!(crate::schema::table_taken(name, &[]).is_some(), "{name}");
        }
    }

    #[test]
    fn names_are_quoted_so_that_none_is_reserved() {
        let names = Names::new("logweir");
        assert_eq!(names.of("order"), "\"logweir\".\"order\"");
        assert_eq!(names.staging("user"), "\"logweir\".\"user_staging\"");
    }
}
