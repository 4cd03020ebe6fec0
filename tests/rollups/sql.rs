//! What Redshift is told, which no test here can run: it is compared with what was read beside the documentation.

use std::{fs, path::Path};

use jiff::civil::date;
use logweir::{
    schema::FieldType,
    warehouse::{
        Dialect,
        load::{Script, Step},
        rollup::{self, Standing},
    },
};

use crate::world::{at, definitions, millis};

fn statements(scripts: &[Script]) -> String {
    let statement = |step: &Step| match step {
        Step::Sql { what, sql } => format!("-- {what}\n{sql};\n\n"),
        step => panic!("{step:?}"),
    };
    scripts.iter().flat_map(|script| script.steps.iter().map(statement)).collect()
}

#[test]
fn what_redshift_is_told_is_what_was_read_beside_its_documentation() {
    let dimensions = [("channel", FieldType::String { max_bytes: 1_024 }), ("paid", FieldType::Bool)];
    let definitions = definitions("logweir", "Asia/Seoul", 8, &dimensions);
    let now = millis(at("2026-11-20T00:00:00Z"));
    let refresh = rollup::refresh(Dialect::Redshift, &definitions, &Standing::default(), now).unwrap();
    let restate = rollup::restate(Dialect::Redshift, &definitions, date(2026, 11, 3), date(2026, 11, 4), now).unwrap();
    let text = format!(
        "{}-- a first refresh\n\n{}-- two days restated\n\n{}",
        rollup::ddl(Dialect::Redshift, &definitions),
        statements(&refresh),
        statements(&restate)
    );
    for postgres in ["::", " AT TIME ZONE ", "now()", "FILTER", "timestamptz", " IN EXCLUSIVE", "jsonb", "text "] {
        assert!(!text.contains(postgres), "{postgres} is PostgreSQL's");
    }
    // A transaction of the Data API takes 40 statements.
    assert!(refresh[0].steps.len() < 40);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rollups.redshift.sql");
    let read = fs::read_to_string(&path).unwrap_or_default();
    if read != text {
        let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rollups.redshift.sql");
        fs::write(&found, &text).unwrap();
        panic!("{} is not {}: read the difference, and take it over", found.display(), path.display());
    }
}

#[test]
fn the_bounds_by_which_the_events_are_pruned_are_literals() {
    let definitions = definitions("logweir", "Asia/Seoul", 8, &[]);
    let now = millis(at("2026-11-20T00:00:00Z"));
    let restate = rollup::restate(Dialect::Redshift, &definitions, date(2026, 11, 3), date(2026, 11, 4), now).unwrap();
    // The 3rd of Seoul begins at 15:00 of the 2nd; two hours more are read at each end.
    let bounds = "FROM \"logweir\".\"heard\" WHERE \"event_time\" >= TIMESTAMP '2026-11-02 13:00:00.000' AND \
                  \"event_time\" < TIMESTAMP '2026-11-04 17:00:00.000'";
    assert_eq!(statements(&restate).matches(bounds).count(), 2);
}
