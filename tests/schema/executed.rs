//! What is written for PostgreSQL, on a server.

use crate::{
    changed, fixture,
    postgres::{self, Postgres},
    printed, refused,
};

/// A row of the fixture's stream `heard`, and where it goes.
fn event(table: &str, id: &str, user: &str) -> String {
    let more = if table.ends_with("_conflicts") { ", 'load', now()" } else { "" };
    let columns = if more.is_empty() { "" } else { ", \"load_id\", \"found_at\"" };
    format!(
        "INSERT INTO \"logweir\".\"{table}\" (\"event_id\", \"event_time\", \"received_at\", \"ad_id\", \"user\"{columns})
         VALUES ('{id}', now(), now(), 'a', '{user}'{more});"
    )
}

/// The statements for an operator, as they stand in the comments, with `device` in its place.
fn erasure(text: &str, device: &str) -> String {
    let (_, behind) = text.split_once("-- To erase one device").unwrap();
    let statements: Vec<_> = behind
        .lines()
        .filter_map(|line| line.strip_prefix("--   "))
        .filter(|line| line.ends_with(';') && !line.contains("<column> ="))
        .map(|line| line.replace(":'device'", &format!("'{device}'")))
        .collect();
    assert!(statements.len() > 3, "{text}");
    statements.join("\n")
}

#[test]
fn the_tables_are_made_and_made_again_and_keep_what_they_have() {
    if !postgres::is_installed() {
        return;
    }
    let server = Postgres::start();
    let text = printed(&["schema", "postgres"], &fixture());
    server.query(&text);
    server.query(&event("heard", "1", "u"));
    server.query(&text);
    assert_eq!(server.query("SELECT count(*) FROM logweir.heard"), "1");
    let columns = server.query(
        "SELECT string_agg(column_name || ' ' || data_type || ' ' || is_nullable, ', ' ORDER BY ordinal_position)
         FROM information_schema.columns WHERE table_schema = 'logweir' AND table_name = 'heard'",
    );
    assert_eq!(
        columns,
        "event_id text NO, event_time timestamp with time zone NO, received_at timestamp with time zone NO, batch_id text \
         YES, client_time timestamp with time zone YES, heard_at timestamp with time zone YES, ad_id text NO, user text YES, \
         order bigint YES, volume double precision YES, foreground boolean YES, install_date date YES, session uuid YES, \
         price numeric YES, device jsonb YES, extra jsonb YES"
    );
    let indexes = "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'heard'";
    assert_eq!(server.query(indexes), "heard.event_id heard.received heard.time");
    let tables = "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM information_schema.tables
                  WHERE table_schema = 'logweir'";
    assert_eq!(
        server.query(tables),
        "daily_active daily_counts heard heard_conflicts heard_staging hourly_active hourly_counts load_status \
         logweir_ledger logweir_loads order order_conflicts order_staging rollup_status"
    );
    // Nothing is unique: the loader is what keeps events single.
    server.query(&event("heard", "1", "u"));
}

#[test]
fn each_role_can_do_its_own_and_nothing_else() {
    if !postgres::is_installed() {
        return;
    }
    let server = Postgres::start();
    server.query(&printed(&["schema", "postgres"], &fixture()));
    server.query(
        "CREATE ROLE ana LOGIN IN ROLE logweir_analyst; CREATE ROLE loa LOGIN IN ROLE logweir_loader;
         CREATE ROLE wri LOGIN IN ROLE logweir_writer;",
    );
    let allowed = |role: &str, sql: &str| server.try_query(&format!("SET ROLE {role}; BEGIN; {sql}; ROLLBACK")).is_ok();
    let insert = event("heard", "1", "u");
    for (sql, analyst, loader, writer) in [
        ("SELECT * FROM logweir.heard", true, true, true),
        ("SELECT * FROM logweir.heard_conflicts", true, true, true),
        ("SELECT * FROM logweir.load_status", true, true, true),
        ("SELECT * FROM logweir.logweir_loads", true, true, true),
        ("SELECT * FROM logweir.heard_staging", false, true, true),
        (&insert, false, true, true),
        ("DELETE FROM logweir.heard", false, false, true),
        ("UPDATE logweir.heard SET \"user\" = 'x'", false, false, true),
        ("DELETE FROM logweir.heard_staging", false, true, true),
        ("DELETE FROM logweir.heard_conflicts", false, false, true),
        ("DELETE FROM logweir.logweir_ledger", false, true, true),
        ("UPDATE logweir.logweir_ledger SET state = 'given_up'", false, true, true),
        ("LOCK TABLE logweir.logweir_ledger IN EXCLUSIVE MODE", false, true, true),
        ("DELETE FROM logweir.load_status", false, true, true),
        ("CREATE TABLE logweir.other (a int)", false, false, false),
        ("DROP TABLE logweir.heard", false, false, false),
        ("TRUNCATE logweir.heard_staging", false, false, false),
    ] {
        let can = ["ana", "loa", "wri"].map(|role| allowed(role, sql));
        assert_eq!(can, [analyst, loader, writer], "{sql}");
    }
}

#[test]
fn one_device_is_erased_from_every_table_and_others_stay() {
    if !postgres::is_installed() {
        return;
    }
    let server = Postgres::start();
    // Both streams tell devices apart, so that every statement can be executed.
    let text = changed(
        &fixture(),
        &[("[rollups.streams.heard]", "[rollups.streams.order]\ndevice = \"select\"\n\n[rollups.streams.heard]")],
    );
    let text = printed(&["schema", "postgres"], &text);
    server.query(&text);
    for table in ["heard", "heard_staging", "heard_conflicts"] {
        server.query(&(event(table, "1", "gone") + &event(table, "2", "stays")));
    }
    server.query("INSERT INTO logweir.\"order\" VALUES ('3', now(), now(), NULL, NULL, 'gone')");
    server.query(&erasure(&text, "gone"));
    for table in ["heard", "heard_staging", "heard_conflicts"] {
        assert_eq!(server.query(&format!("SELECT string_agg(\"user\", ' ') FROM logweir.{table}")), "stays");
    }
    assert_eq!(server.query("SELECT count(*) FROM logweir.\"order\""), "0");
}

/// The server itself is asked which columns it cannot have.
#[test]
fn the_columns_that_every_table_has_already_are_refused_before_the_server_does() {
    if !postgres::is_installed() {
        return;
    }
    let server = Postgres::start();
    for column in ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"] {
        let refusal = server.try_query(&format!("CREATE TABLE t (\"{column}\" int)")).unwrap_err();
        assert!(refusal.contains("conflicts with a system column name"), "{refusal}");
        // Nothing loads the stream, so that the configuration as a whole is sound.
        let select = "select = { type = \"string\", required = true }";
        let text = changed(&fixture(), &[(select, &format!("{column} = \"int\""))]);
        let told = refused(&["schema", "postgres"], &text);
        assert!(told.contains(&format!("stream order, column {column}: it is a system column")), "{told}");
    }
}

/// The views over what a COPY JOB loads, in the SQL that PostgreSQL shares with Redshift but for two functions, which
/// stand in for Redshift's.
#[test]
fn the_views_of_a_copy_job_show_each_event_once_and_tell_conflicts() {
    if !postgres::is_installed() {
        return;
    }
    let server = Postgres::start();
    let text = printed(&["schema", "copy-job"], &fixture());
    let views: String = text.split_inclusive(";\n").filter(|sql| sql.contains("CREATE OR REPLACE VIEW")).collect();
    assert_eq!(views.matches("CREATE OR REPLACE VIEW").count(), 2);
    let views = views.replace("DATEADD(second,", "dateadd('second',").replace("JSON_SERIALIZE", "json_serialize_");
    server.query(
        "CREATE FUNCTION dateadd(part text, n bigint, at timestamp) RETURNS timestamp LANGUAGE sql IMMUTABLE
             AS $$ SELECT at + n * interval '1 second' $$;
         CREATE FUNCTION json_serialize_(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT value::text $$;
         CREATE SCHEMA logweir;
         CREATE TABLE logweir.seen_raw (event_id text, event_time timestamp, received_at timestamp, batch_id text,
             client_time timestamp, seen_at timestamp, page text, details jsonb, extra jsonb);",
    );
    server.query(&views);
    server.query(
        "INSERT INTO logweir.seen_raw (event_id, received_at, batch_id, page, details) VALUES
             ('copied', '2026-11-01 00:00:00', 'b1', 'p', '{\"a\": 1}'),
             ('copied', '2026-11-08 00:00:00', 'b2', 'p', '{\"a\": 1}'),
             ('copied at once', '2026-11-01', 'b', 'p', NULL), ('copied at once', '2026-11-01', 'b', 'p', NULL),
             ('far apart', '2026-11-01 00:00:00', 'b', 'p', NULL), ('far apart', '2026-11-08 00:00:01', 'b', 'q', NULL),
             ('two at once', '2026-11-01', 'b', 'p', NULL), ('two at once', '2026-11-01', 'b', 'q', NULL),
             ('of two', '2026-11-01', 'b', 'p', NULL), ('of two', '2026-11-02', 'b', 'q', NULL),
             ('of two', '2026-11-03', 'b', 'p', '{}'),
             ('in a row', '2026-11-01', 'b', 'p', NULL), ('in a row', '2026-11-07', 'b', 'p', NULL),
             ('in a row', '2026-11-13', 'b', 'q', NULL), ('alone', '2026-11-01', NULL, NULL, NULL);",
    );
    let seen = "SELECT string_agg(event_id || ' ' || to_char(received_at, 'DD'), ', ' ORDER BY event_id, received_at)";
    assert_eq!(
        server.query(&format!("{seen} FROM logweir.seen")),
        "alone 01, copied 01, copied at once 01, far apart 01, far apart 08, in a row 01, of two 01, two at once 01"
    );
    assert_eq!(
        server.query(&format!("{seen} FROM logweir.seen_conflicts")),
        "in a row 13, of two 02, of two 03, two at once 01"
    );
}
