//! What the codes of errors mean to a load: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

/// What is to be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A value cannot be stored.
    Data,
    /// The same again may succeed.
    Passing,
    /// It will not succeed until somebody changes something: a table is missing, a permission, the password.
    Standing,
}

/// What the five characters of `code` mean.
pub(super) fn class(code: &str) -> Class {
    match code {
        // Cannot lock within lock_timeout; the server is starting.
        "55P03" | "57P03" => return Class::Passing,
        // A unique violation is no passing thing here, but a value that a table altered by hand does not take.
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        "22" | "23" => Class::Data,
        // Connection, rolled back, resources, operator, system, internal.
        "08" | "40" | "53" | "57" | "58" | "XX" => Class::Passing,
        _ => Class::Standing,
    }
}

/// What helps against `code`, if that is known. `what` is the table or what was done.
pub(super) fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "42P01" | "3F000" => "run `logweir schema` for this warehouse and execute what it prints",
        "42703" => "run `logweir schema` for this warehouse and execute the ALTER TABLE that it prints",
        "42501" => {
            "grant the loader's user what `logweir schema` prints for it: SELECT, INSERT, UPDATE and DELETE on the tables \
             of the schema, and USAGE on the schema"
        }
        "28P01" | "28000" => "check warehouse.connection.user and its password",
        "3D000" => "check warehouse.connection.database",
        "57014" => {
            "if it needs the time, raise warehouse.statement_timeout; if it waited for a lock, end whoever holds it \
             (pg_locks; in Redshift svv_transactions)"
        }
        _ => return None,
    })
}

/// What was told, with what helps.
pub(super) fn with_remedy(code: &str, told: String) -> String {
    match remedy(code) {
        Some(remedy) => format!("{told}; {remedy}"),
        None => told,
    }
}
