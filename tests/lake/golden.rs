//! What is written for each reader, compared with a file that a person has read.

use std::{fs, path::Path, process::Command};

use logweir::{
    sink::Codec,
    warehouse::target::{Definitions, TargetError, athena, bigquery, duckdb, spark, spectrum, tableau},
};

use crate::{configured, definitions, python};

/// The definitions, in a bucket.
fn in_a_bucket() -> Definitions {
    let mut definitions = definitions(&configured("/objects"), "s3://logs/");
    definitions.iam_role = Some("arn:aws:iam::123456789012:role/lake".into());
    definitions.region = Some("ap-northeast-2".into());
    definitions
}

fn only(mut definitions: Definitions, stream: &str) -> Definitions {
    definitions.tables.retain(|table| table.stream.as_str() == stream);
    definitions
}

fn changed(old: &str, new: &str) -> Definitions {
    definitions(&configured("/objects").replace(old, new), "s3://logs/")
}

/// Holds `written` to the file called `name`; with `LOGWEIR_UPDATE_GOLDEN=1` it becomes the file.
#[expect(clippy::disallowed_methods, reason = "what a developer asks of the test is no setting of the server")]
fn golden(name: &str, written: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lake").join(name);
    if std::env::var("LOGWEIR_UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        fs::write(&path, written).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if let Some((line, (old, new))) = expected.lines().zip(written.lines()).enumerate().find(|(_, (a, b))| a != b) {
        panic!("{name}, line {}:\n  {old}\nhas become\n  {new}\nLOGWEIR_UPDATE_GOLDEN=1 rewrites it", line + 1);
    }
    assert!(expected == written, "{name} has another length; LOGWEIR_UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn what_is_written_for_each_reader_is_what_its_file_says() {
    let all = in_a_bucket();
    golden("athena.sql", &athena::write(&all).unwrap());
    golden("spectrum.sql", &spectrum::write(&all).unwrap());
    golden("duckdb.sql", &duckdb::write(&all).unwrap());
    golden("logweir_spark.py", &spark::write(&all).unwrap());
    golden("bigquery.sh", &bigquery::write(&all).unwrap());
    golden("heard.tds", &tableau::write(&only(all.clone(), "heard")).unwrap());
    golden("class.tds", &tableau::write(&only(all, "class")).unwrap());
}

#[test]
fn a_field_that_is_dropped_is_nowhere_and_a_hashed_one_is_text() {
    let all = in_a_bucket();
    for written in [athena::write(&all), duckdb::write(&all), spark::write(&all), bigquery::write(&all)] {
        let written = written.unwrap();
        assert!(!written.contains("location\"") && !written.contains("`location`"), "{written}");
        assert!(written.contains("advertising_id"), "{written}");
    }
}

#[test]
fn a_field_that_is_called_as_a_partition_is_refused_by_readers_of_the_lake() {
    for name in ["dt", "hour"] {
        let changed = changed("copy_number = ", &format!("{name} = "));
        for refused in
            [athena::write(&changed), spectrum::write(&changed), duckdb::write(&changed), spark::write(&changed)]
        {
            let Err(TargetError::Unsupported { stream, column, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!((&*stream, &*column), ("heard", name));
        }
        // What is loaded has no partition by that name.
        assert!(bigquery::write(&changed).is_ok());
    }
}

#[test]
fn what_a_reader_cannot_do_is_refused_with_the_reason() {
    let directory = definitions(&configured("/objects"), "/objects/");
    for refused in [athena::write(&directory), spectrum::write(&directory)] {
        assert!(matches!(refused, Err(TargetError::Elsewhere { .. })), "{refused:?}");
    }
    let mut zstd = in_a_bucket();
    zstd.objects.codec = Codec::Zstd;
    for (refused, told) in [
        (spectrum::write(&zstd), "Redshift Spectrum reads gzip, bzip2 and Snappy: set codec = \"gzip\" for the sink"),
        (bigquery::write(&zstd), "BigQuery loads JSON that is compressed with gzip, or not at all: set codec = "),
    ] {
        assert!(matches!(refused, Err(TargetError::Compressed { .. })), "{refused:?}");
        assert!(refused.unwrap_err().to_string().starts_with(told));
    }
    assert_eq!(duckdb::write(&zstd).unwrap(), duckdb::write(&in_a_bucket()).unwrap(), "it goes by the names");
    assert_eq!(athena::write(&zstd).unwrap(), athena::write(&in_a_bucket()).unwrap(), "it goes by the names");
    assert!(spark::write(&zstd).unwrap().contains("hadoop checknative"));

    let streams = tableau::write(&directory);
    assert!(matches!(streams, Err(TargetError::OneStream { streams: 2, .. })), "{streams:?}");

    let reserved = bigquery::write(&changed("_share = ", "_partition_share = ")).unwrap_err();
    assert_eq!(
        reserved.to_string(),
        "stream heard, column _partition_share: begins as the names do that BigQuery keeps for itself"
    );
    // JSON is no column of Athena's table, so nothing can be counted by it.
    let mut json = in_a_bucket();
    json.rollups[0].dimensions.push("device".to_owned());
    assert!(duckdb::write(&json).is_ok());
    let refused = athena::write(&json).unwrap_err();
    assert_eq!(refused.to_string(), "stream heard, column device: is counted by [rollups], and is no column here");
}

#[test]
fn a_data_source_is_well_formed_and_has_a_column_for_each_of_the_table() {
    let Some(python) = python::with("xml.etree") else { return };
    let all = in_a_bucket();
    let columns: Vec<_> = all.tables[0].columns.iter().map(|column| format!("[{}]", column.name)).collect();
    let written = tableau::write(&only(all, "heard")).unwrap();
    let program = "import sys, xml.etree.ElementTree as t\n\
                   root = t.fromstring(sys.argv[1].encode())\n\
                   print(root.tag, *[c.get('name') for c in root.findall('column')])";
    let answer = python.run(&["-c", program, &written]);
    let error = String::from_utf8_lossy(&answer.stderr);
    let told = String::from_utf8_lossy(&answer.stdout);
    assert_eq!(told.trim_end(), format!("datasource {}", columns.join(" ")), "{error}");
}

#[test]
fn the_script_for_bigquery_is_a_script_and_its_schemas_are_json() {
    let script = bigquery::write(&in_a_bucket()).unwrap();
    assert!(Command::new("sh").args(["-n", "-c", &script]).status().unwrap().success());
    let schemas: Vec<Vec<serde_json::Value>> = script
        .split("<<'JSON'\n")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("JSON\n").next().unwrap()).unwrap())
        .collect();
    let columns = |tables: &Definitions| tables.tables.iter().map(|table| table.columns.len()).collect::<Vec<_>>();
    assert_eq!(schemas.iter().map(Vec::len).collect::<Vec<_>>(), columns(&in_a_bucket()));
}
