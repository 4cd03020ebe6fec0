//! What has changed since an older configuration.

use crate::{
    Configuration, changed, fixture, golden,
    postgres::{self, Postgres},
    printed, refused,
};

/// Additions of every kind, and what is only told.
const CHANGES: &[(&str, &str)] = &[
    (
        "device = { type = \"json\", max_bytes = 4096 }",
        "device = \"json\"\nvolume_2 = { type = \"int\", required = true }",
    ),
    (
        "ad_id = { type = \"string\", max_bytes = 64, required = true }",
        "ad_id = { type = \"string\", required = true }",
    ),
    ("order = \"int\"\n", ""),
    ("page = { type = \"string\", max_bytes = 128, required = true }", "page = \"string\"\nreferrer = \"string\""),
    ("[streams.any]", "[streams.fresh.fields]\nwhat = \"bool\"\n\n[streams.any]"),
];

/// What `schema TARGET --since` prints for the fixture with `changes`.
fn since(target: &str, changes: &[(&str, &str)]) -> String {
    let old = Configuration::new(&fixture());
    let text = printed(&["schema", target, "--since", &old.path()], &changed(&fixture(), changes));
    text.replace(&old.path(), "OLD")
}

#[test]
fn what_has_changed_is_written_for_each_target() {
    golden("redshift-since.sql", &since("redshift", CHANGES));
    golden("copy-job-since.sql", &since("copy-job", CHANGES));
    golden("postgres-since.sql", &since("postgres", CHANGES));
    golden("spectrum-since.sql", &since("spectrum", CHANGES));
}

/// The fixture's sink with another codec.
const ZSTD: (&str, &str) = ("prefix = \"logs/\"\n", "prefix = \"logs/\"\ncodec = \"zstd\"\n");

#[test]
fn a_codec_that_has_changed_is_told_and_a_copy_job_reads_the_new_one() {
    let note = "-- objects are zstd and no longer gzip, under the same prefix: `logweir load`, the audit, Athena and DuckDB \
                read both; a COPY JOB reads one, so a stream with load = \"copy_job\" wants a sink with a prefix of its \
                own\n";
    for target in ["redshift", "postgres", "copy-job"] {
        let text = since(target, &[ZSTD]);
        assert!(text.contains(note), "{text}");
        let is_job = target == "copy-job";
        assert_eq!(text.contains("COPY JOB DROP logweir_seen;\n"), is_job, "{text}");
        assert_eq!(text.contains("FORMAT JSON 'auto' ZSTD TIMEFORMAT"), is_job, "{text}");
        assert!(!text.contains("GZIP"), "{text}");
    }
    // A prefix of its own: other objects, and no word of two codecs.
    let elsewhere = ("prefix = \"logs/\"\n", "prefix = \"zstd/\"\ncodec = \"zstd\"\n");
    assert!(!since("copy-job", &[elsewhere]).contains("no longer gzip"));
    let old = Configuration::new(&fixture());
    let told = printed(&["check", "--since", &old.path()], &changed(&fixture(), &[ZSTD]));
    assert!(told.contains("objects are zstd and no longer gzip"), "{told}");
}

#[test]
fn what_does_not_read_zstd_is_refused_with_what_to_do() {
    for (target, reads) in [
        ("spectrum", "Redshift Spectrum reads gzip, bzip2 and Snappy"),
        ("bigquery", "BigQuery loads JSON that is compressed with gzip, or not at all"),
    ] {
        let told = refused(&["schema", target], &changed(&fixture(), &[ZSTD]));
        let expected = format!(
            "{reads}: set codec = \"gzip\" for the sink, or for a second one that this is for (warehouse.sink)"
        );
        assert!(told.contains(&expected), "{told}");
    }
    for target in ["redshift", "postgres", "athena", "duckdb", "spark"] {
        printed(&["schema", target], &changed(&fixture(), &[ZSTD]));
    }
}

#[test]
fn nothing_is_written_where_nothing_has_changed() {
    for target in ["redshift", "copy-job", "postgres", "spectrum"] {
        assert_eq!(
            since(target, &[]),
            format!("-- What has changed since OLD, for {target}.\n-- The tables stay as they are.\n")
        );
    }
}

#[test]
fn the_changed_tables_are_those_of_the_new_configuration_and_changing_them_again_does_nothing() {
    if !postgres::is_installed() {
        return;
    }
    let server = Postgres::start();
    // A required field that is gone can only be left behind where NOT NULL can be taken off.
    let relaxed = (
        "[streams.order.fields]\nselect = { type = \"string\", required = true }",
        "[streams.order.fields]\nselect = \"string\"",
    );
    let changes = [CHANGES, &[relaxed]].concat();
    server.query(&printed(&["schema", "postgres"], &fixture()));
    server
        .query("INSERT INTO logweir.heard (event_id, event_time, received_at, ad_id) VALUES ('1', now(), now(), 'a')");
    let alter = since("postgres", &changes);
    let columns = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
                   WHERE table_schema = 'logweir' ORDER BY table_name, column_name";
    server.query(&alter);
    let altered = server.query(columns);
    server.query(&alter);
    assert_eq!(server.query(columns), altered);
    assert_eq!(server.query("SELECT count(*) FROM logweir.heard WHERE volume_2 IS NULL"), "1");
    server.query("INSERT INTO logweir.\"order\" (event_id, event_time, received_at) VALUES ('1', now(), now())");
    // The whole text of the new configuration, on a server of its own, comes to the same but for what was removed, and for
    // NOT NULL where rows were there before.
    let whole = Postgres::start();
    whole.query(&printed(&["schema", "postgres"], &changed(&fixture(), &changes)));
    let lines = |text: &str| -> Vec<String> {
        let kept = |line: &&str| !line.contains("|order|bigint");
        text.lines()
            .filter(kept)
            .map(|line| line.replace("heard|volume_2|bigint|NO", "heard|volume_2|bigint|YES"))
            .collect()
    };
    assert_eq!(lines(&altered), lines(&whole.query(columns)));
    let grant = "SELECT has_table_privilege('logweir_analyst', 'logweir.fresh', 'SELECT')";
    assert_eq!((server.query(grant), whole.query(grant)), ("t".to_owned(), "t".to_owned()));
}

/// Changes of the fixture, words of the reason why they are refused, and where they are: in `both` warehouses, or in
/// `redshift` alone.
type Refused = (&'static [(&'static str, &'static str)], &'static str, &'static str);

#[test]
fn what_would_break_loads_is_refused_with_the_reason() {
    let cases: &[Refused] = &[
        (&[("order = \"int\"", "order = \"string\"")], "streams.heard.fields.order: its type was", "both"),
        (&[("scale = 4", "scale = 2")], "streams.heard.fields.price: its type was", "both"),
        (&[("max_bytes = 64, ", "max_bytes = 63, ")], "max_bytes was 64, and is 63", "redshift"),
        (
            &[("session = \"uuid\"", "session = { type = \"uuid\", required = true }")],
            "streams.heard.fields.session: is required now",
            "both",
        ),
        (
            &[("max_bytes = 64, required = true", "max_bytes = 64")],
            "streams.heard.fields.ad_id: is not required any more",
            "redshift",
        ),
        (
            &[("dimensions = [\"ad_id\"]", ""), ("ad_id = { type = \"string\", max_bytes = 64, required = true }", "")],
            "streams.heard.fields.ad_id: was required, and is removed",
            "redshift",
        ),
        (
            &[("user = { type = \"uuid\", private = \"hash\" }", "user = \"uuid\"")],
            "streams.heard.fields.user: was stored hashed, and is as it came",
            "both",
        ),
        (
            &[("max_bytes = 64, required", "max_bytes = 64, private = \"hash\", required")],
            "streams.heard.fields.ad_id: was stored as it came, and is hashed",
            "both",
        ),
        (
            &[("time_field = \"heard_at\"", "time_field = \"heard_at\"\nunknown_fields = \"keep\"")],
            "streams.heard: unknown_fields was \"collect\"",
            "both",
        ),
        (
            &[
                ("load = \"loader\"", "load = \"copy_job\""),
                ("[rollups.streams.heard]\ndevice = \"user\"\ndimensions = [\"ad_id\"]\n", ""),
            ],
            "streams.heard: load was \"loader\", and is \"copy_job\"",
            "both",
        ),
        (
            &[("load = \"copy_job\"", "load = \"loader\"")],
            "streams.seen: load was \"copy_job\", and is \"loader\"",
            "both",
        ),
    ];
    let old = Configuration::new(&fixture());
    for (changes, words, where_) in cases {
        let new = changed(&fixture(), changes);
        for arguments in [&["check", "--since"][..], &["schema", "redshift", "--since"]] {
            let told = refused(&[arguments, &[&old.path()]].concat(), &new);
            let head = format!("logweir: since {} something has changed that would break loads:\n  ", old.path());
            assert!(told.starts_with(&head), "{told}");
            assert!(told.contains(words) && told.matches("\n  ").count() <= 2, "{changes:?}: {told}");
        }
        let postgres = ["schema", "postgres", "--since", &old.path()];
        if *where_ == "both" {
            assert!(refused(&postgres, &new).contains(words), "{changes:?}");
        } else {
            printed(&postgres, &new);
        }
    }
}

#[test]
fn check_tells_what_is_added_and_what_is_gone() {
    let old = Configuration::new(&fixture());
    let told = printed(&["check", "--since", &old.path()], &changed(&fixture(), CHANGES)).replace(&old.path(), "OLD");
    let told: Vec<_> = told.lines().filter(|line| line.starts_with("# since ")).collect();
    assert_eq!(
        told,
        [
            "# since OLD: streams.heard.fields.volume_2: is new, of type BIGINT",
            "# since OLD: streams.heard.fields.ad_id: is widened to VARCHAR(256)",
            "# since OLD: streams.seen.fields.referrer: is new, of type VARCHAR(256)",
            "# since OLD: streams.seen.fields.page: is widened to VARCHAR(256)",
            "# since OLD: streams.fresh: is new",
            "# since OLD: streams.heard.fields.volume_2: is new and required; its column allows null, since rows and objects \
             from before have none",
            "# since OLD: streams.heard.fields.order: is removed: the column stays, null in what is loaded from now on; its \
             values are collected in extra. A field of that name may only come back with the same type, BIGINT. If it was \
             renamed, the new column begins empty",
        ]
    );
    let same = printed(&["check", "--since", &old.path()], &fixture());
    assert!(same.ends_with(&format!("# since {}: no table changes\n", old.path())), "{same}");
}

#[test]
fn another_schema_has_all_tables_anew_and_another_place_is_told() {
    let moved =
        &[("kind = \"redshift\"", "kind = \"redshift\"\nschema = \"other\""), ("prefix = \"logs/\"", "prefix = \"\"")];
    let text = since("postgres", moved);
    assert!(text.starts_with("-- warehouse.schema was logweir in OLD, and is other: all tables are new.\n"), "{text}");
    assert!(text.contains("CREATE TABLE IF NOT EXISTS \"other\".\"heard\""), "{text}");
    let old = Configuration::new(&fixture());
    let told = printed(&["check", "--since", &old.path()], &changed(&fixture(), moved)).replace(&old.path(), "OLD");
    let told: Vec<_> = told.lines().filter(|line| line.starts_with("# since ")).collect();
    assert_eq!(
        told,
        [
            "# since OLD: the warehouse is another one, or its schema: make its tables; everything is loaded into them",
            "# since OLD: objects are read from s3://example-logs/ instead of s3://example-logs/logs/: the ledger knows them \
             by their keys, so what is the same under another prefix is loaded again",
        ]
    );
}

#[test]
fn what_is_counted_in_another_way_is_told() {
    let old = Configuration::new(&fixture());
    let told = "rollups.streams.heard: its device, its dimensions or the zone are others: the next load counts all of its days \
                anew, final ones too, as far as their events are still in the table\n";
    let dimensions = ("dimensions = [\"ad_id\"]", "dimensions = [\"ad_id\", \"order\"]");
    let zone = ("[rollups.streams.heard]", "[rollups]\ntimezone = \"UTC\"\n\n[rollups.streams.heard]");
    for change in [dimensions, zone] {
        assert!(since("postgres", &[change]).contains(&format!("-- {told}")), "{change:?}");
        let checked = printed(&["check", "--since", &old.path()], &changed(&fixture(), &[change]));
        assert!(checked.contains(&format!("# since {}: {told}", old.path())), "{checked}");
    }
    assert!(!since("postgres", CHANGES).contains("its dimensions"));
}

/// What was removed is still a column, which ADD COLUMN IF NOT EXISTS would take for the new one.
#[test]
fn a_field_that_comes_back_with_another_type_is_refused_by_postgresql_and_with_the_same_one_taken() {
    if !postgres::is_installed() {
        return;
    }
    let server = Postgres::start();
    server.query(&printed(&["schema", "postgres"], &fixture()));
    let price = "price = { type = \"decimal\", precision = 18, scale = 4 }\n";
    let without = changed(&fixture(), &[("order = \"int\"\n", ""), (price, "")]);
    let old = Configuration::new(&without);
    let back = |order: &str, price: &str| {
        let with = format!("[streams.heard.fields]\norder = \"{order}\"\n{price}");
        let new = changed(&without, &[("[streams.heard.fields]\n", &with)]);
        server.try_query(&printed(&["schema", "postgres", "--since", &old.path()], &new))
    };
    back("int", price).unwrap();
    let told = back("string", price).unwrap_err();
    assert!(told.contains("the column order of heard is there already, of another type than text"), "{told}");
    let told = back("int", &price.replace("scale = 4", "scale = 2")).unwrap_err();
    assert!(told.contains("the column price of heard is there already, of another type than numeric(18, 2)"), "{told}");
}

/// Their whole text is written anew, which takes over a field that is added, and says what was removed.
#[test]
fn readers_of_the_objects_take_over_an_added_field_and_are_told_of_a_removed_one() {
    let note = "streams.heard.fields.order: is removed";
    let athena = since("athena", CHANGES);
    let (_, made) =
        athena.split_once("DROP TABLE IF EXISTS `logweir`.`heard_objects`;\nCREATE EXTERNAL TABLE ").unwrap();
    assert!(made.split("CREATE OR REPLACE VIEW").next().unwrap().contains("    `volume_2` bigint"), "{athena}");
    let bigquery = since("bigquery", CHANGES);
    assert!(bigquery.starts_with("#!/bin/sh\n# streams.heard"), "{bigquery}");
    assert!(bigquery.contains("--schema_update_option=ALLOW_FIELD_ADDITION"), "{bigquery}");
    assert!(bigquery.contains("{\"mode\":\"NULLABLE\",\"name\":\"volume_2\",\"type\":\"INTEGER\"}"), "{bigquery}");
    for (comment, text) in
        [("-- ", athena), ("-- ", since("duckdb", CHANGES)), ("# ", since("spark", CHANGES)), ("# ", bigquery)]
    {
        assert!(text.contains(&format!("\n{comment}{note}")), "{text}");
    }
    // A string that is as long as it was leaves the table, and its partitions, as they are.
    let added = since("spectrum", &[("order = \"int\"\n", "order = \"int\"\nvolume_2 = \"int\"\n")]);
    assert!(
        added.contains("ALTER TABLE \"logweir_lake\".\"heard_objects\" ADD COLUMN \"volume_2\" BIGINT;\n"),
        "{added}"
    );
    assert!(!added.contains("DROP TABLE"), "{added}");
}

#[test]
fn a_job_that_is_to_read_elsewhere_is_made_anew_and_another_window_replaces_the_views() {
    let (drop, view, create) = (
        "COPY JOB DROP logweir_seen;\n",
        "CREATE OR REPLACE VIEW \"logweir\".\"seen\"",
        "JOB CREATE logweir_seen AUTO ON;",
    );
    for change in [
        ("bucket = \"example-logs\"", "bucket = \"other-logs\""),
        ("prefix = \"logs/\"", "prefix = \"other/\""),
        ("role/logweir-copy", "role/other"),
    ] {
        let text = since("copy-job", &[change]);
        let (_, after) = text.split_once(drop).unwrap_or_else(|| panic!("{text}"));
        assert!(after.contains(create) && !text.contains(view), "{text}");
        assert!(after.contains("other"), "{text}");
    }
    let window = since("copy-job", &[("[warehouse]", "[warehouse]\ndedupe_window = \"8d\"")]);
    assert!(window.contains(view) && window.contains("within 691200 s"), "{window}");
    assert!(!window.contains("DROP") && !window.contains(create), "{window}");
    let spectrum = since("spectrum", &[("prefix = \"logs/\"", "prefix = \"other/\"")]);
    let place = "ALTER TABLE \"logweir_lake\".\"heard_objects\" SET LOCATION 's3://example-logs/other/heard/';\n";
    assert!(spectrum.contains(place) && !spectrum.contains("DROP TABLE"), "{spectrum}");
}
