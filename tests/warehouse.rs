//! What is loaded into a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, clippy::panic, reason = "a test tells what it left out, and fails by panicking")]

#[path = "common/postgres.rs"]
mod postgres;

#[test]
fn a_server_is_there_and_survives_a_crash() {
    if !postgres::is_installed() {
        return;
    }
    let mut server = postgres::Postgres::start();
    server.query("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    server.kill();
    assert!(server.try_query("SELECT 1").is_err());
    server.resume();
    assert_eq!(server.query("SELECT count(*) FROM t"), "1");
}
