//! What `logweir schema` writes: held to golden files, and what is for PostgreSQL executed on a real server.
//!
//! With `LOGWEIR_UPDATE_GOLDEN=1` the golden files of `tests/data/schema` are written anew instead.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::panic, reason = "a test fails by panicking")]

#[path = "schema/evolution.rs"]
mod evolution;
#[path = "schema/executed.rs"]
mod executed;
#[path = "common/postgres.rs"]
mod postgres;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use logweir::warehouse::target::Target;

/// The exit code for what is wrong with a configuration or an argument, of sysexits.h.
const EXIT_CONFIG: i32 = 78;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema").join(name)
}

/// The configuration that everything is written from.
fn fixture() -> String {
    fs::read_to_string(data("fixture.toml")).unwrap()
}

/// A configuration file of `text`, in a directory of its own.
struct Configuration(tempfile::TempDir);

impl Configuration {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("logweir.toml"), text).unwrap();
        Self(dir)
    }

    fn path(&self) -> String {
        self.0.path().join("logweir.toml").display().to_string()
    }
}

/// Runs the built binary with `arguments` and the configuration `text`.
fn run(arguments: &[&str], text: &str) -> Output {
    let configuration = Configuration::new(text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_logweir"));
    command.args(arguments).args(["--config", &configuration.path()]).current_dir(configuration.0.path());
    command.output().unwrap()
}

/// What it prints; it must succeed.
fn printed(arguments: &[&str], text: &str) -> String {
    let output = run(arguments, text);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What it says is wrong; nothing is printed then.
fn refused(arguments: &[&str], text: &str) -> String {
    let output = run(arguments, text);
    assert_eq!(output.status.code(), Some(EXIT_CONFIG), "{arguments:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// `old` with each of `changes` made, each of which must be possible.
fn changed(old: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(old.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says whether golden files are written")]
fn is_to_be_written() -> bool {
    std::env::var_os("LOGWEIR_UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// Holds `text` to the golden file called `name`.
fn golden(name: &str, text: &str) {
    if is_to_be_written() {
        fs::write(data(name), text).unwrap();
    }
    let expected = fs::read_to_string(data(name)).unwrap_or_default();
    for (line, (is, should)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, should, "{name}:{}", line + 1);
    }
    assert_eq!(text.len(), expected.len(), "{name} is longer or shorter");
}

#[test]
fn each_target_is_written_as_it_was_looked_at() {
    golden("redshift.sql", &printed(&["schema", "redshift"], &fixture()));
    golden("copy-job.sql", &printed(&["schema", "copy-job"], &fixture()));
    golden("postgres.sql", &printed(&["schema", "postgres"], &fixture()));
}

#[test]
fn one_stream_is_written_alone() {
    let text = printed(&["schema", "postgres", "--stream", "order"], &fixture());
    assert!(text.contains("\"logweir\".\"order_staging\"") && !text.contains("heard"), "{text}");
}

#[test]
fn wrong_arguments_are_told_with_what_was_meant() {
    for (arguments, told) in [
        (&["schema", "postgre"][..], "logweir: there is no target \"postgre\": did you mean postgres?\n"),
        (&["schema", "postgres", "--stream", "herd"], "logweir: there is no stream \"herd\": did you mean heard?\n"),
        (
            &["schema", "postgres", "--stream", "xyzzy"],
            "logweir: there is no stream \"xyzzy\": there is heard, order, seen, any\n",
        ),
        (
            &["schema", "copy-job", "--stream", "heard"],
            "logweir: there is nothing to write: heard: load is \"loader\", and a job would load its objects a second time\n",
        ),
        (
            &["schema", "redshift", "--stream", "seen"],
            "logweir: there is nothing to write: seen: load is \"copy_job\": `logweir schema copy-job` has its tables\n",
        ),
        (
            &["schema", "postgres", "--stream", "any"],
            "logweir: there is nothing to write: any: it declares no fields, so it has no columns: declare those that are \
             asked for\n",
        ),
    ] {
        assert_eq!(refused(arguments, &fixture()), told);
    }
    let oracle = refused(&["schema", "oracle"], &fixture());
    let help = printed(&["schema", "--help"], &fixture());
    for target in Target::ALL {
        let line = format!("{target}: {}", target.about());
        assert!(oracle.contains(&format!("\n  {line}\n")) && help.contains(&line), "{oracle}\n{help}");
    }
    let nowhere = refused(&["schema", "postgres", "--since", "/nowhere/old.toml"], &fixture());
    assert!(nowhere.contains("/nowhere/old.toml") && nowhere.contains("cannot be read"), "{nowhere}");
    let output = Command::new(env!("CARGO_BIN_EXE_logweir")).arg("schema").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "clap tells what is missing");
}

/// PostgreSQL would cut the name, and two columns might become one.
#[test]
fn names_that_postgresql_would_cut_are_refused_there_and_not_in_redshift() {
    let long = "x".repeat(64);
    let column = changed(&fixture(), &[("order = \"int\"", &format!("{long} = \"int\""))]);
    let told = refused(&["schema", "postgres"], &column);
    assert_eq!(
        told,
        format!(
            "logweir: stream heard, column {long}: the name has 64 bytes, and PostgreSQL cuts names at 63: choose a shorter \
             one\n"
        )
    );
    printed(&["schema", "redshift"], &column);
    let stream = fixture().replace("streams.order", &format!("streams.{}", &long[..54]));
    let told = refused(&["schema", "postgres"], &stream);
    assert!(told.contains("_conflicts has 64 bytes, and PostgreSQL cuts names at 63"), "{told}");
    printed(&["schema", "postgres"], &fixture().replace("streams.order", &format!("streams.{}", &long[..53])));
    let schema =
        changed(&fixture(), &[("kind = \"redshift\"", &format!("kind = \"redshift\"\nschema = \"{}\"", &long[..56]))]);
    let told = refused(&["schema", "postgres"], &schema);
    assert!(told.starts_with("logweir: warehouse.schema is ") && told.contains("up to 64 bytes"), "{told}");
}

#[test]
fn a_copy_job_needs_a_role_and_a_bucket() {
    let none =
        changed(&fixture(), &[("load = \"loader\"", ""), ("load = \"copy_job\"", ""), ("kind = \"redshift\"", "")]);
    let none = changed(&none, &[("iam_role = \"arn:aws:iam::123456789012:role/logweir-copy\"", "")]);
    assert!(
        refused(&["schema", "copy-job"], &none).contains("seen: load is \"none\": set it to \"copy_job\" for a job")
    );
    let directory = changed(&fixture(), &[("kind = \"s3\"\nbucket = \"example-logs\"", "dir = \"objects\"")]);
    let told = refused(&["schema", "copy-job"], &directory);
    assert!(told.contains("warehouse.sink is lake, a directory, and Redshift reads buckets"), "{told}");
}

/// Two streams of which one is called as another's table is.
#[test]
fn tables_of_one_name_are_refused_even_if_nothing_is_loaded() {
    let none = changed(&fixture(), &[("load = \"loader\"", "")]).replace("streams.order", "streams.heard_staging");
    let told = refused(&["schema", "postgres"], &none);
    assert_eq!(
        told,
        "logweir: stream heard_staging: its table would have the name of a table of the stream heard: rename the stream\n"
    );
}

#[test]
fn a_kept_field_of_a_loaded_stream_is_told_by_check() {
    let keep = changed(&fixture(), &[("load = \"loader\"", "load = \"loader\"\nunknown_fields = \"keep\"")]);
    let told =
        "# stream heard: unknown_fields is \"keep\", so undeclared fields stay in the objects and reach no table\n";
    assert!(printed(&["check"], &keep).contains(told));
    assert!(!printed(&["check"], &fixture()).contains("reach no table"));
}

#[test]
fn a_stream_that_is_counted_and_not_loaded_is_told_by_check() {
    let told = "# rollups.streams.heard: load is \"none\", so it is counted by the views of `logweir schema athena` and \
                `duckdb` alone\n";
    assert!(printed(&["check"], &changed(&fixture(), &[("load = \"loader\"", "load = \"none\"")])).contains(told));
    assert!(!printed(&["check"], &fixture()).contains("is counted by the views"));
}
