//! Who may do what with the tables.

use std::fmt::Write as _;

use crate::warehouse::{Dialect, Names, table::quoted};

/// Somebody who uses the warehouse. The role is called by the schema and this: `logweir_analyst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Loader,
    Analyst,
}

/// What a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One that logweir keeps for itself, and the figures by day and hour.
    Kept,
    /// A stream's events.
    Events,
    /// What is loaded first.
    Staging,
    /// What bears the id of another event.
    Conflicts,
    /// What a COPY JOB loads into.
    Raw,
    /// What is seen of it.
    View,
}

const ROLES: [Role; 3] = [Role::Writer, Role::Loader, Role::Analyst];

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Loader => "loader",
            Self::Analyst => "analyst",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Writer => "an operator: corrects rows, erases a device's, gives an object up in the ledger",
            Self::Loader => "what `logweir load` logs in as: adds events, and never changes or deletes one",
            Self::Analyst => "whoever asks: people, Tableau; reads events, figures and how far they are whole",
        }
    }

    /// What it may do with a table.
    fn privileges(self, purpose: Purpose) -> Option<&'static str> {
        const ALL: &str = "SELECT, INSERT, UPDATE, DELETE";
        match (self, purpose) {
            (_, Purpose::View) | (Self::Analyst, Purpose::Kept | Purpose::Events | Purpose::Conflicts) => {
                Some("SELECT")
            }
            (Self::Analyst, Purpose::Staging | Purpose::Raw) | (Self::Loader, Purpose::Raw) => None,
            // Who may delete from the ledger may also lock it.
            (Self::Writer, _) | (Self::Loader, Purpose::Kept) => Some(ALL),
            (Self::Loader, Purpose::Events | Purpose::Conflicts) => Some("SELECT, INSERT"),
            (Self::Loader, Purpose::Staging) => Some("SELECT, INSERT, DELETE"),
        }
    }
}

/// The roles themselves, and that they see the schema.
///
/// <https://www.postgresql.org/docs/current/sql-createrole.html>,
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_ROLE.html>: neither has IF NOT EXISTS.
pub(super) fn roles(out: &mut String, dialect: Dialect, names: &Names) {
    out.push_str("\n-- Who is who. Give each role to users: GRANT ");
    let _ = match dialect {
        Dialect::Postgres => writeln!(out, "{} TO somebody.", role(names, Role::Analyst)),
        Dialect::Redshift => writeln!(out, "ROLE {} TO somebody.", role(names, Role::Analyst)),
    };
    for each in ROLES {
        let _ = writeln!(out, "--   {:<8} {}", each.as_str(), each.about());
    }
    if dialect == Dialect::Redshift {
        out.push_str("-- Redshift creates no role that there is: uncomment these the first time.\n");
    }
    for each in ROLES {
        let name = role(names, each);
        let _ = match dialect {
            Dialect::Postgres => writeln!(
                out,
                "DO $$ BEGIN CREATE ROLE {name} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; \
                 END $$;"
            ),
            Dialect::Redshift => writeln!(out, "-- CREATE ROLE {name};"),
        };
    }
    for each in ROLES {
        let _ = writeln!(out, "GRANT USAGE ON SCHEMA {} TO {};", quoted(names.schema()), grantee(dialect, names, each));
    }
}

/// What each role may do with `tables`, a statement for each purpose.
pub(super) fn tables(out: &mut String, dialect: Dialect, names: &Names, tables: &[(Purpose, Vec<String>)]) {
    for each in ROLES {
        for (purpose, tables) in tables {
            if let (Some(privileges), false) = (each.privileges(*purpose), tables.is_empty()) {
                let (tables, grantee) = (tables.join(", "), grantee(dialect, names, each));
                let _ = writeln!(out, "GRANT {privileges} ON TABLE {tables} TO {grantee};");
            }
        }
    }
}

fn role(names: &Names, role: Role) -> String {
    quoted(&format!("{}_{}", names.schema(), role.as_str())).to_string()
}

/// <https://docs.aws.amazon.com/redshift/latest/dg/r_GRANT.html> tells roles from users by a word.
fn grantee(dialect: Dialect, names: &Names, each: Role) -> String {
    match dialect {
        Dialect::Postgres => role(names, each),
        Dialect::Redshift => format!("ROLE {}", role(names, each)),
    }
}
