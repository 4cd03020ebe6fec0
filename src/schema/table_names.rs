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

#[cfg(test)]
mod tests {
    use super::*;

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
