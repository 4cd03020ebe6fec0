//! The session over a connection. A PostgreSQL stands for the warehouse: it speaks the same protocol, and knows no COPY
//! from S3.

use std::{fs, os::unix::fs::chown, time::Duration};

use logweir::warehouse::load::{Address, Failure, Guard, RedshiftWire, Roots, Script, Session, Step};

use crate::{
    cutter::{Cut, Cutter},
    postgres::{self, Postgres},
    warehouse::{Warehouse, copying},
};

const CA: &[u8] = include_bytes!("../client/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../client/tls/server.pem");
const KEY: &[u8] = include_bytes!("../client/tls/server.key");
/// Debian's user for daemons that own nothing, as whom the tests of root run PostgreSQL.
const NOBODY: u32 = 65_534;

fn address(host: &str, port: u16, roots: Option<Roots>) -> Address {
    Address {
        host: host.to_owned(),
        port,
        database: "postgres".to_owned(),
        user: "postgres".to_owned(),
        password: String::new(),
        roots,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(2),
    }
}

fn session(port: u16) -> RedshiftWire {
    RedshiftWire::new(address("127.0.0.1", port, None), copying())
}

fn sql(text: &str) -> Step {
    Step::Sql { what: "a test", sql: text.to_owned() }
}

fn script(steps: &[&str]) -> Script {
    Script { steps: steps.iter().map(|step| sql(step)).collect() }
}

const INSERT: &str = "INSERT INTO logweir.ledger VALUES ('x', 1)";

fn rows_of(warehouse: &Warehouse) -> u64 {
    warehouse.counts().2
}

#[tokio::test]
async fn the_host_is_verified_and_nothing_is_sent_in_the_clear() {
    if !postgres::is_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("server.pem"), dir.path().join("server.key"));
    fs::write(&certificate, CERTIFICATE).unwrap();
    fs::write(&key, KEY).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    if rustix::process::getuid().is_root() {
        for path in [dir.path(), &certificate, &key] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let server = Postgres::start_with(&[
        "ssl=on",
        // The certificate knows the first only.
        "listen_addresses=127.0.0.1,127.0.0.2",
        &format!("ssl_cert_file={}", certificate.display()),
        &format!("ssl_key_file={}", key.display()),
    ]);
    let ask = async |host: &str, port, roots: &[u8]| {
        let roots = Some(Roots::of_pem(roots).unwrap());
        let mut session = RedshiftWire::new(address(host, port, roots), copying());
        session.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await
    };
    assert_eq!(ask("localhost", server.port, CA).await.unwrap(), [[Some("t".to_owned())]]);
    let failure = ask("127.0.0.2", server.port, CA).await.unwrap_err();
    assert!(matches!(&failure, Failure::Unreachable(why) if why.contains("certificate")), "{failure:?}");
    let failure = ask("localhost", server.port, CERTIFICATE).await.unwrap_err();
    assert!(matches!(&failure, Failure::Unreachable(why) if why.contains("certificate")), "{failure:?}");
    let plain = Postgres::start();
    let failure = ask("localhost", plain.port, CA).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
}

#[tokio::test]
async fn a_script_happens_whole_or_not_at_all_and_tells_why() {
    if !postgres::is_installed() {
        return;
    }
    let warehouse = Warehouse::start();
    let mut session = session(warehouse.postgres.port);
    session.run(&script(&["LOCK TABLE logweir.ledger", INSERT])).await.unwrap();
    assert_eq!(rows_of(&warehouse), 1);
    let raise = |code: &str, text: &str| {
        format!("DO $$ BEGIN RAISE EXCEPTION '{text}' USING ERRCODE = '{code}', DETAIL = 'value s3cret'; END $$")
    };
    for (text, expected) in [
        (raise("40001", "could not serialize access"), "again"),
        (raise("XX000", "1023 DETAIL: Serializable isolation violation on table - 7"), "again"),
        (raise("57P01", "terminating connection"), "again"),
        (raise("53300", "too many connections"), "again"),
        (raise("42501", "permission denied for relation t"), "logweir schema redshift"),
        ("SELECT * FROM logweir.nowhere".to_owned(), "logweir schema redshift"),
        ("SELECT FROM FROM".to_owned(), "42601"),
        (raise("22P02", "invalid input syntax for integer: \"s3cret\""), "22P02"),
    ] {
        let failure = session.run(&script(&[INSERT, &text, INSERT])).await.unwrap_err();
        match &failure {
            Failure::Unreachable(_) => assert_eq!(expected, "again", "{failure:?}"),
            Failure::Refused { step, why } => assert!(step == "a test" && why.contains(expected), "{failure:?}"),
            other => panic!("{other:?}"),
        }
        assert!(!text.contains("\"s3cret\"") || !failure.to_string().contains("s3cret"), "{failure:?}");
        assert_eq!(rows_of(&warehouse), 1, "{text}");
    }
    for what in [Guard::NotLoaded, Guard::Counted] {
        let guard = Step::Guard { what, sql: "SELECT 1 / (SELECT count(*) - 1 FROM logweir.ledger)".to_owned() };
        let failure = session.run(&Script { steps: vec![sql("SELECT 1"), guard] }).await.unwrap_err();
        assert_eq!(failure, Failure::Guard(what));
    }
    // COPY from S3 is no statement of PostgreSQL: it is sent as one, and refused as one.
    let failure = session.run(&warehouse.load(&["heard/a.gz"], 2)).await.unwrap_err();
    let Failure::Refused { step, why } = &failure else { panic!("{failure:?}") };
    assert!(step == "COPY" && why.contains("42601"), "{failure:?}");
    assert_eq!(rows_of(&warehouse), 1);
    // By the directory of its socket, and with a null.
    let mut address = address(warehouse.postgres.dir().to_str().unwrap(), warehouse.postgres.port, None);
    address.connect_timeout = Duration::from_secs(5);
    let mut local = RedshiftWire::new(address, copying());
    let rows = local.rows("SELECT object, load, NULL, current_setting('timezone') FROM logweir.ledger").await.unwrap();
    assert_eq!(rows, [[Some("x".to_owned()), Some("1".to_owned()), None, Some("UTC".to_owned())]]);
}

#[tokio::test]
async fn no_statement_runs_for_ever_and_a_lost_connection_is_made_anew() {
    if !postgres::is_installed() {
        return;
    }
    let mut warehouse = Warehouse::start();
    let mut session = session(warehouse.postgres.port);
    let failure = session.run(&script(&[INSERT, "SELECT pg_sleep(60)"])).await.unwrap_err();
    assert!(matches!(&failure, Failure::Unreachable(why) if why.contains("57014")), "{failure:?}");
    assert_eq!(rows_of(&warehouse), 0);
    session.run(&script(&[INSERT])).await.unwrap();
    // While nobody asks anything.
    for _ in 0..2 {
        warehouse
            .postgres
            .query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'logweir'");
        session.run(&script(&[INSERT])).await.unwrap();
        warehouse
            .postgres
            .query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'logweir'");
        session.rows("SELECT 1").await.unwrap();
    }
    assert_eq!(rows_of(&warehouse), 3);
    // In the middle of a script.
    let ending = script(&[INSERT, "SELECT pg_terminate_backend(pg_backend_pid())", INSERT]);
    let failure = session.run(&ending).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    warehouse.postgres.kill();
    let failure = session.run(&script(&[INSERT])).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    warehouse.postgres.resume();
    session.run(&script(&[INSERT])).await.unwrap();
    assert_eq!(rows_of(&warehouse), 4);
}

#[tokio::test]
async fn only_what_is_lost_around_a_commit_is_ambiguous() {
    if !postgres::is_installed() {
        return;
    }
    let warehouse = Warehouse::start();
    let cutter = Cutter::start(warehouse.postgres.port).await;
    let mut session = session(cutter.port());
    for (cut, is_ambiguous, rows) in [
        (Cut::Before("INSERT"), false, 0),
        (Cut::After("INSERT"), false, 0),
        (Cut::Before("COMMIT"), true, 0),
        (Cut::After("COMMIT"), true, 1),
    ] {
        // On an old connection, if there is one.
        session.rows("SELECT 1").await.unwrap();
        cutter.cut(cut);
        let failure = session.run(&script(&[INSERT])).await.unwrap_err();
        assert!(cutter.has_cut());
        assert_eq!(matches!(failure, Failure::Ambiguous(_)), is_ambiguous, "{cut:?}: {failure:?}");
        assert!(is_ambiguous || matches!(failure, Failure::Unreachable(_)), "{cut:?}: {failure:?}");
        assert_eq!(rows_of(&warehouse), rows, "{cut:?}");
    }
    // Before anything has happened it is begun anew, and a question is asked anew.
    session.rows("SELECT 1").await.unwrap();
    cutter.cut(Cut::After("BEGIN"));
    session.run(&script(&[INSERT])).await.unwrap();
    assert_eq!((cutter.has_cut(), rows_of(&warehouse)), (true, 2));
    cutter.cut(Cut::Before("SELECT"));
    assert_eq!(session.rows("SELECT 7").await.unwrap(), [[Some("7".to_owned())]]);
}
