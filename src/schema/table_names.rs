//! How the tables of streams are called in a warehouse, and which names are taken.

/// What stands behind a stream's name in those of its other tables and views.
pub const TABLE_SUFFIXES: [&str; 4] = ["_staging", "_conflicts", "_raw", "_objects"];
/// What the names of tables that are no stream's begin with, but for [`KEPT_TABLES`].
pub const KEPT_PREFIX: &str = "logweir_";
/// The other tables that are no stream's.
pub const KEPT_TABLES: [&str; 5] = ["load_status", "daily_active", "hourly_active", "daily_counts", "hourly_counts"];

/// Whose table has the name of the stream `name`, where there are these `streams`: the rest of the sentence "it has …".
pub fn table_taken(name: &str, streams: &[&str]) -> Option<String> {
    if name.starts_with(KEPT_PREFIX) || KEPT_TABLES.contains(&name) {
        return Some("the name of a table that logweir keeps for itself".to_owned());
    }
    let mut owners = TABLE_SUFFIXES.iter().filter_map(|suffix| name.strip_suffix(suffix));
    owners.find(|owner| streams.contains(owner)).map(|owner| format!("the name of a table of the stream {owner}"))
}

/// The columns of a table of conflicts beside those of its stream.
pub const CONFLICT_COLUMNS: [&str; 2] = ["load_id", "found_at"];
/// The columns that every table has in PostgreSQL or Redshift, and that none can be given, quoted or not:
/// <https://www.postgresql.org/docs/current/ddl-system-columns.html>; Redshift has kept those of PostgreSQL 8 and has its
/// own.
pub const SYSTEM_COLUMNS: [&str; 9] =
    ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid", "insertxid", "deletexid"];

/// Why no table of a stream can have a column called `name`, if so: the rest of the sentence "it is …".
pub fn column_taken(name: &str) -> Option<&'static str> {
    if CONFLICT_COLUMNS.contains(&name) {
        return Some("a column that logweir adds to the table of conflicts");
    }
    SYSTEM_COLUMNS.contains(&name).then_some("a system column of PostgreSQL or Redshift, which every table has already")
}

/// The longest name in PostgreSQL, in bytes. It cuts a longer one and says so in a notice, so two names could become one:
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>.
const POSTGRES_NAME_BYTES: usize = 63;
/// What stands behind a stream's name in the longest name of a table that is loaded in PostgreSQL.
const LONGEST_LOADED: &str = "_conflicts";
/// What stands behind `warehouse.schema` in the longest name of a role.
const LONGEST_ROLE: &str = "_analyst";

/// What is wrong with the tables' names of `stream` in PostgreSQL, if something is: a sentence.
pub fn stream_is_cut(stream: &str) -> Option<String> {
    let bytes = stream.len() + LONGEST_LOADED.len();
    (bytes > POSTGRES_NAME_BYTES).then(|| {
        format!(
            "the name {stream}{LONGEST_LOADED} has {bytes} bytes, and PostgreSQL cuts names at {POSTGRES_NAME_BYTES}"
        )
    })
}

/// What is wrong with the name of `column` in PostgreSQL, if something is: a sentence.
pub fn column_is_cut(column: &str) -> Option<String> {
    let bytes = column.len();
    (bytes > POSTGRES_NAME_BYTES)
        .then(|| format!("the name has {bytes} bytes, and PostgreSQL cuts names at {POSTGRES_NAME_BYTES}"))
}

/// What is wrong with the names of roles that begin with `schema` in PostgreSQL, if something is: the rest of the sentence
/// "it …".
pub fn schema_is_cut(schema: &str) -> Option<String> {
    let bytes = schema.len() + LONGEST_ROLE.len();
    (bytes > POSTGRES_NAME_BYTES).then(|| {
        format!(
            "is {schema}, and names of roles that begin with it would have up to {bytes} bytes; PostgreSQL takes \
             {POSTGRES_NAME_BYTES}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_tables_have_already_are_taken() {
        for (name, taken) in [("load_id", true), ("found_at", true), ("xmin", true), ("oid", true), ("user", false)] {
            assert_eq!(column_taken(name).is_some(), taken, "{name}");
        }
    }

    #[test]
    fn names_of_other_tables_are_taken() {
        let streams = ["heard", "heard_staging", "daily"];
        for (name, taken) in [
            ("heard", None),
            ("heard_staging", Some("the name of a table of the stream heard")),
            ("heard_staging_raw", Some("the name of a table of the stream heard_staging")),
            ("seen_staging", None),
            ("_raw", None),
            ("logweir_anything", Some("the name of a table that logweir keeps for itself")),
            ("load_status", Some("the name of a table that logweir keeps for itself")),
            ("daily_counts", Some("the name of a table that logweir keeps for itself")),
        ] {
            assert_eq!(table_taken(name, &streams).as_deref(), taken, "{name}");
        }
    }
}
