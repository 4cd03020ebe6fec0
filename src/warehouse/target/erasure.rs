//! What erases one device from the warehouse: statements for an operator, as comments.

use std::fmt::Write as _;

use super::{Definitions, Target};
use crate::warehouse::table::quoted;

/// What stands for the device in the statements: psql's variable, as a string.
pub const DEVICE: &str = ":'device'";
/// What stands for the column, where the configuration does not tell devices apart.
pub const COLUMN: &str = "<column>";

/// The statements that delete one device's rows from `tables`, which are a stream and the quoted names of those of its
/// tables that have events.
pub(super) fn write(out: &mut String, target: Target, definitions: &Definitions, tables: &[(&str, Vec<String>)]) {
    let _ = writeln!(
        out,
        "\n-- To erase one device, as a writer: put its id for {DEVICE} (psql: -v device=…) and run these as one \
         transaction.\n-- Where a field has private = \"hash\", the id is its hash: HMAC-SHA-256 under privacy.hash_key, \
         in hexadecimal.\n-- Copies that come later are loaded like any other event: run it again once \
         warehouse.dedupe_window has passed.\n-- Figures by day and hour hold counts only, and objects leave the bucket \
         by its lifecycle."
    );
    let delete = |name: &str, column: &str| format!("--   DELETE FROM {name} WHERE {column} = {DEVICE};\n");
    out.push_str("--   BEGIN;\n");
    for (stream, names) in tables {
        let device =
            definitions.rollups.iter().find(|counted| counted.stream == *stream).map(|counted| &counted.device);
        let column = device.map_or_else(|| COLUMN.to_owned(), |device| quoted(device).to_string());
        if device.is_none() {
            let _ = writeln!(out, "--   {COLUMN} of {stream}: rollups.streams.{stream}.device would tell which it is.");
        }
        out.extend(names.iter().map(|name| delete(name, &column)));
    }
    out.push_str("--   COMMIT;\n");
    // A deleted row stays on the disk until it is cleared away: https://docs.aws.amazon.com/redshift/latest/dg/r_VACUUM_command.html
    // and https://www.postgresql.org/docs/current/sql-vacuum.html. Neither is done within a transaction.
    let vacuum = if target == Target::Postgres { "VACUUM" } else { "VACUUM DELETE ONLY" };
    for name in tables.iter().flat_map(|(_, names)| names) {
        let _ = writeln!(out, "--   {vacuum} {name};");
    }
}
