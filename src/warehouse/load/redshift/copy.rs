//! The COPY statement, and what tells whether a COPY JOB does the same.
//!
//! The grammar is that of <https://docs.aws.amazon.com/redshift/latest/dg/r_COPY.html> and of the pages below it. It is
//! modelled: no Redshift has run what is written here.

use std::fmt::Write;

use crate::{
    sink::Codec,
    warehouse::{
        load::{Copy, Row},
        table::{literal, quoted},
    },
};

/// What COPY is told beside the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySettings {
    /// The ARN of the role with which Redshift reads the bucket.
    pub iam_role: String,
    /// The bucket's region, if it is not the warehouse's.
    pub region: Option<String>,
}

/// The statement that loads the objects of `copy`'s manifest into its table.
///
/// - A list of columns goes with JSON: COPY matches the names of members "to column names in the target table or column
///   list", and what the list leaves out is loaded as the column's default, or null
///   (<https://docs.aws.amazon.com/redshift/latest/dg/copy-parameters-column-mapping.html>). Members that have no column
///   are left out in silence.
/// - `'auto ignorecase'`: the stored keys are lower-case, and so are the columns; a cluster with
///   `enable_case_sensitive_identifier` matches them too
///   (<https://docs.aws.amazon.com/redshift/latest/dg/copy-parameters-data-format.html>).
/// - `GZIP` or `ZSTD`, one for all objects: COPY does not go by their names
///   (<https://docs.aws.amazon.com/redshift/latest/dg/copy-parameters-file-compression.html>, which leaves out ZSTD for
///   Amazon EMR and hosts alone).
/// - `TIMEFORMAT 'auto'` reads RFC 3339; a TIMESTAMP drops the zone, and the stored zone is always UTC
///   (<https://docs.aws.amazon.com/redshift/latest/dg/copy-parameters-data-conversion.html>).
/// - `MAXERROR 0`: one line that does not load fails all, and nothing is skipped in silence. `COMPUPDATE OFF` and
///   `STATUPDATE OFF`: a staging table that is emptied at once wants neither encodings nor statistics
///   (<https://docs.aws.amazon.com/redshift/latest/dg/copy-parameters-data-load.html>).
/// - `MANIFEST` and `REGION`: <https://docs.aws.amazon.com/redshift/latest/dg/copy-parameters-data-source-s3.html>.
pub fn copy_statement(copy: &Copy, settings: &CopySettings) -> String {
    let mut sql = format!("COPY {} (", copy.table);
    for (place, column) in copy.columns.iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(sql, "{comma}{}", quoted(&column.name));
    }
    let _ = write!(
        sql,
        ") FROM {} IAM_ROLE {} MANIFEST FORMAT JSON 'auto ignorecase' {} TIMEFORMAT 'auto' MAXERROR 0 \
         COMPUPDATE OFF STATUPDATE OFF",
        literal(&copy.manifest),
        literal(&settings.iam_role),
        compression(copy.codec)
    );
    if let Some(region) = &settings.region {
        let _ = write!(sql, " REGION {}", literal(region));
    }
    sql
}

/// What COPY is told of objects that are compressed like this.
pub(in crate::warehouse) fn compression(codec: Codec) -> &'static str {
    match codec {
        Codec::Gzip => "GZIP",
        Codec::Zstd => "ZSTD",
    }
}

/// Asks for the COPY JOBs: the name, the parameters of the COPY, and a table that it has loaded into, for each of them.
///
/// The views: <https://docs.aws.amazon.com/redshift/latest/dg/SYS_COPY_JOB.html> (which has no column for the table, and
/// the first 256 characters of the parameters) and
/// <https://docs.aws.amazon.com/redshift/latest/dg/SYS_LOAD_HISTORY.html> (which forgets after days). Both show a user that
/// is no superuser its own jobs only: that of another user is not seen unless the loader's has
/// `SYSLOG ACCESS UNRESTRICTED`.
pub const COPY_JOBS: &str = "SELECT DISTINCT TRIM(j.job_name), TRIM(j.job_text), TRIM(h.table_name) FROM sys_copy_job j \
                             LEFT JOIN sys_load_history h ON h.copy_job_id = j.job_id";

/// The names of the jobs in `rows`, an answer to [`COPY_JOBS`], that load into the table `name` of `schema`: their
/// parameters name it, or they have loaded into a table of that name.
pub fn copy_jobs_into(rows: &[Row], schema: &str, name: &str) -> Vec<String> {
    let mut jobs: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let [job, text, table] = row.as_slice() else { return None };
            let plain = text.as_deref().unwrap_or_default().replace('"', "").to_lowercase();
            let whole = format!("{schema}.{name}");
            let names_it = plain
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
                .any(|word| word == whole || word.ends_with(&format!(".{whole}")));
            let loaded = table.as_deref().is_some_and(|table| table == name || table == whole);
            (names_it || loaded).then(|| job.clone().unwrap_or_default())
        })
        .collect();
    jobs.sort();
    jobs.dedup();
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{schema::FieldType, warehouse::load::CopyColumn};

    #[test]
    fn the_statement_is_the_documented_one() {
        let column = |name: &str| CopyColumn { name: name.into(), kind: FieldType::Int, required: false };
        let mut copy = Copy {
            table: "\"logweir\".\"heard_staging\"".to_owned(),
            columns: vec![column("event_id"), column("order")],
            objects: Vec::new(),
            codec: Codec::Gzip,
            manifest: "s3://logs/it's/m.json".to_owned(),
        };
        let mut settings = CopySettings { iam_role: "arn:aws:iam::1:role/r".to_owned(), region: None };
        let without = "COPY \"logweir\".\"heard_staging\" (\"event_id\", \"order\") FROM 's3://logs/it''s/m.json' \
                       IAM_ROLE 'arn:aws:iam::1:role/r' MANIFEST FORMAT JSON 'auto ignorecase' GZIP TIMEFORMAT 'auto' \
                       MAXERROR 0 COMPUPDATE OFF STATUPDATE OFF";
        assert_eq!(copy_statement(&copy, &settings), without);
        settings.region = Some("ap-northeast-2".to_owned());
        assert_eq!(copy_statement(&copy, &settings), format!("{without} REGION 'ap-northeast-2'"));
        copy.codec = Codec::Zstd;
        let zstd = copy_statement(&copy, &settings);
        assert_eq!(zstd, format!("{without} REGION 'ap-northeast-2'").replace(" GZIP ", " ZSTD "));
    }

    #[test]
    fn a_job_is_found_by_its_text_or_by_what_it_has_loaded() {
        let row = |texts: [Option<&str>; 3]| texts.map(|text| text.map(str::to_owned)).to_vec();
        let rows = [
            row([Some("named"), Some("COPY \"logweir\".\"heard\" (a) FROM 's3://b/heard/'"), None]),
            row([Some("loaded"), Some("FROM 's3://b/heard/'"), Some("heard")]),
            row([Some("loaded"), Some("FROM 's3://b/heard/'"), Some("heard")]),
            row([Some("raw"), Some("copy logweir.heard_raw from 's3://b/logweir.heard.x/'"), Some("heard_raw")]),
            row([Some("other"), None, None]),
        ];
        assert_eq!(copy_jobs_into(&rows, "logweir", "heard"), ["loaded", "named"]);
        assert_eq!(copy_jobs_into(&rows, "logweir", "heard_raw"), ["raw"]);
        assert_eq!(copy_jobs_into(&rows, "logweir", "seen"), [""; 0]);
    }
}
