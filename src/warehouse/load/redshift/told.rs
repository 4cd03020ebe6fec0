//! What Redshift says of a statement that failed, and what it comes to.
//!
//! Over the wire an error has a code and a text; by the Data API it has a text only. The leader's errors have the codes of
//! PostgreSQL; those of the compute nodes, COPY's too, have XX000, and the text alone tells them apart.
//!
//! | what it says | what it comes to |
//! |---|---|
//! | a division by zero, in a guard | the guard did not hold |
//! | 08, 40, 53, 57, 55P03; a serializable isolation violation (1023), a conflict, a deadlock, a restart | try again |
//! | of COPY: S3 is busy (`SlowDown`, 500, 503) | try again |
//! | of COPY: access denied, the role cannot be assumed | refused: a matter of permissions, not of an object |
//! | of COPY: a load error, an object or the manifest that is not there | the object |
//! | of a statement: a null in a column that takes none | an object, which halving finds |
//! | anything else, 42 and 28 above all | refused |
//!
//! What nobody has foreseen is refused: were it taken for an object's fault, a sick warehouse would have every object set
//! aside. Texts: <https://docs.aws.amazon.com/redshift/latest/dg/r_Load_Error_Reference.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/s3serviceexception-error.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/multi-byte-character-load-errors.html>,
//! <https://repost.aws/knowledge-center/redshift-serializable-isolation>.

use crate::warehouse::load::{Copy, Failure, Row, Step, connect::squeezed};

/// The classes and codes of errors that pass by themselves.
const PASSING_CODES: [&str; 5] = ["08", "40", "53", "57", "55P03"];
/// What the texts of errors say that pass by themselves.
const PASSING: [&str; 15] = [
    "serializable isolation violation",
    "concurrent transaction",
    "could not serialize",
    "deadlock",
    "lock timeout",
    "canceling statement",
    "cancelled on user",
    "statement timeout",
    "system requested abort",
    "terminating connection",
    "connection limit",
    "too many connections",
    "cluster is paused",
    "is being resumed",
    "restart",
];
/// How many of them, the first ones, tell of a transaction that was rolled back for the sake of another.
const CONFLICTS: usize = 4;
/// What S3 says, by COPY, when it is asked too much.
const BUSY: [&str; 6] = ["slowdown", "status 503", "status 500", "internalerror", "requesttimeout", "status 429"];
/// What it says if Redshift may not read.
const DENIED: [&str; 8] = [
    "access denied",
    "accessdenied",
    "status 403",
    "not authorized",
    "unauthorized",
    "assumerole",
    "assume role",
    "permission denied",
];
/// What COPY says of lines, or of objects, that it cannot load.
const UNLOADABLE: [&str; 11] = [
    "load_error",
    "load into table",
    "stl_loaderror",
    "error(s) found while loading",
    "invalid json",
    "gzip",
    "zstd",
    "decompress",
    "uncompress",
    "inflate",
    "input row size",
];
/// What it says of an object that is not there.
const GONE: [&str; 5] = ["nosuchkey", "status 404", "s3 prefix", "mandatory", "manifest"];

/// What Redshift and PostgreSQL say of a null in a column that takes none.
const NULLS: [&str; 2] = ["insert a null value into column", "null value in column"];

/// What an error comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::warehouse::load) enum Sort {
    /// It is known.
    Known(Failure),
    /// COPY found lines that it cannot load; the system's view tells which.
    Lines,
}

/// What the error with `code`, empty if it has none, and `text` comes to, which `step` met; `None` is the transaction
/// itself, or a question.
pub(in crate::warehouse::load) fn sort(step: Option<&Step>, code: &str, text: &str) -> Sort {
    let lower = text.to_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    let told = || if code.is_empty() { squeezed(text) } else { squeezed(&format!("{code}: {text}")) };
    let refused = |remedy: &str, told: String| {
        Sort::Known(Failure::Refused { step: what(step).to_owned(), why: format!("{told}{remedy}") })
    };
    if let Some(Step::Guard { what, .. }) = step
        && (code == "22012" || (lower.contains("divi") && lower.contains("by zero")))
    {
        return Sort::Known(Failure::Guard(*what));
    }
    let declared_wrong = code.starts_with("42") || lower.contains("relation \"") || lower.contains("column \"");
    if PASSING_CODES.iter().any(|class| code.starts_with(class)) || (!declared_wrong && says(&PASSING)) {
        return Sort::Known(Failure::Unreachable(format!("{}: {}", what(step), without_values(&told()))));
    }
    if let Some(Step::Copy(copy)) = step
        && !declared_wrong
    {
        if says(&DENIED) {
            return refused(
                "; let the role of warehouse.iam_role read the bucket, and the warehouse take the role",
                told(),
            );
        }
        if says(&BUSY) {
            return Sort::Known(Failure::Unreachable(format!("{}: {}", what(step), told())));
        }
        if says(&UNLOADABLE) {
            return Sort::Lines;
        }
        if says(&GONE) {
            return Sort::Known(Failure::Object { object: named_in(copy, text), why: told() });
        }
    }
    // What was staged does not fit the table: a null where there must be none. Which object it came in, halving finds.
    if matches!(step, Some(Step::Sql { .. })) && (code == "23502" || says(&NULLS)) {
        return Sort::Known(Failure::Object { object: None, why: without_values(&told()) });
    }
    if code == "42501" || lower.contains("permission denied") || lower.contains("must be owner") {
        return refused("; grant it to the loader's user, as `logweir schema redshift` does", told());
    }
    if declared_wrong && lower.contains("does not exist") {
        return refused("; create what `logweir schema redshift` writes", told());
    }
    if code.starts_with("42") {
        return refused("", told());
    }
    refused("", without_values(&told()))
}

/// Whether `text` tells that a transaction was rolled back for the sake of another.
pub(in crate::warehouse::load) fn is_conflict(text: &str) -> bool {
    let lower = text.to_lowercase();
    PASSING[..CONFLICTS].iter().any(|text| lower.contains(text))
}

/// What a step does, in a few words.
pub(in crate::warehouse::load) fn what(step: Option<&Step>) -> &str {
    match step {
        Some(Step::Sql { what, .. }) => what,
        Some(Step::Guard { .. }) => "a guard",
        Some(Step::Copy(_)) => "COPY",
        None => "the transaction",
    }
}

/// Asks for the last line that a COPY could not load: of a session, or of a query. Not for what stood there.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/SYS_LOAD_ERROR_DETAIL.html>
pub(in crate::warehouse::load) fn ask_for_line(column: &str, number: i64) -> String {
    format!(
        "SELECT TRIM(file_name), line_number, TRIM(column_name), TRIM(column_type), error_code, TRIM(error_message) \
         FROM sys_load_error_detail WHERE {column} = {number} ORDER BY start_time DESC LIMIT 1"
    )
}

/// How many characters of a file's name the view has.
const FILE_NAME: usize = 256;

/// What the answer to [`ask_for_line`] comes to: the object, and where in it.
pub(in crate::warehouse::load) fn line(copy: &Copy, rows: &[Row]) -> Failure {
    let field = |place: usize| rows.first().and_then(|row| row.get(place)?.as_deref()).unwrap_or_default();
    let (file, column, kind) = (field(0), field(2), field(3));
    if file.is_empty() {
        let why = "COPY cannot load a line, and the warehouse does not tell which".to_owned();
        return Failure::Object { object: None, why };
    }
    let bucket = copy.manifest.strip_prefix("s3://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let is_it = |key: &str| {
        let url = format!("s3://{bucket}/{key}");
        url == file || (file.len() >= FILE_NAME && url.starts_with(file))
    };
    let mut found = copy.objects.iter().filter(|object| is_it(&object.key));
    let object = found.next().filter(|_| found.next().is_none()).map(|object| object.key.clone());
    let place = if column.is_empty() { String::new() } else { format!(", column {column} ({kind})") };
    let file = if object.is_none() { format!("{file}: ") } else { String::new() };
    let why = format!("{file}line {}{place}: {} (code {})", field(1), without_values(&squeezed(field(5))), field(4));
    Failure::Object { object, why }
}

/// The one object that `text` names.
fn named_in(copy: &Copy, text: &str) -> Option<String> {
    let mut named = copy.objects.iter().filter(|object| text.contains(&object.key));
    named.next().filter(|_| named.next().is_none()).map(|object| object.key.clone())
}

/// `text` without what stands in quotes: the values of events do.
fn without_values(text: &str) -> String {
    let mut kept = String::new();
    let mut quote = None;
    for letter in text.chars() {
        match quote {
            None => {
                kept.push(letter);
                if matches!(letter, '\'' | '"') {
                    quote = Some(letter);
                    kept.push('…');
                }
            }
            Some(open) if open == letter => {
                kept.push(letter);
                quote = None;
            }
            Some(_) => {}
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sink::Codec,
        warehouse::load::{CopyObject, Guard},
    };

    fn copy() -> Step {
        let object = |key: &str| CopyObject { key: key.to_owned(), bytes: 1, events: 1, crc32: 0 };
        Step::Copy(Copy {
            table: "t".to_owned(),
            columns: Vec::new(),
            objects: vec![object("heard/a.gz"), object("heard/b.gz")],
            codec: Codec::Gzip,
            manifest: "s3://logs/_manifests/1.json".to_owned(),
        })
    }

    fn told(step: &Step, code: &str, text: &str) -> String {
        match sort(Some(step), code, text) {
            Sort::Lines => "lines".to_owned(),
            Sort::Known(Failure::Object { object, .. }) => format!("object {}", object.unwrap_or_default()),
            Sort::Known(Failure::Guard(_)) => "guard".to_owned(),
            Sort::Known(Failure::Refused { .. }) => "refused".to_owned(),
            Sort::Known(Failure::Unreachable(_)) => "again".to_owned(),
            Sort::Known(Failure::Ambiguous(_)) => "ambiguous".to_owned(),
        }
    }

    #[test]
    fn each_error_comes_to_what_can_be_done_about_it() {
        let sql = Step::Sql { what: "insert", sql: String::new() };
        let guard = Step::Guard { what: Guard::Counted, sql: String::new() };
        let copy = copy();
        for (step, code, text, expected) in [
            (&guard, "22012", "division by zero", "guard"),
            (&guard, "", "ERROR: Divide by zero", "guard"),
            (&guard, "XX000", "Division by zero detected", "guard"),
            (&guard, "42P01", "relation \"x\" does not exist", "refused"),
            (&sql, "22012", "division by zero", "refused"),
            (&sql, "XX000", "1023 DETAIL: Serializable isolation violation on table - 1, transactions …", "again"),
            (&sql, "", "ERROR: could not complete because of conflict with concurrent transaction", "again"),
            (&sql, "40P01", "deadlock detected", "again"),
            (
                &sql,
                "23502",
                "null value in column \"ad_id\" of relation \"heard\" violates not-null constraint",
                "object ",
            ),
            (&sql, "", "ERROR: Cannot insert a NULL value into column ad_id", "object "),
            (&sql, "57014", "canceling statement due to statement timeout", "again"),
            (&sql, "57P01", "terminating connection due to administrator command", "again"),
            (&sql, "42501", "permission denied for relation \"deadlock\"", "refused"),
            (&sql, "", "ERROR: relation \"restart\" does not exist", "refused"),
            (&sql, "XX000", "nobody foresaw this", "refused"),
            (&copy, "XX000", "nobody foresaw this", "refused"),
            (&copy, "XX000", "Load into table 't' failed. Check 'sys_load_error_detail' system table.", "lines"),
            (
                &copy,
                "",
                "ERROR: Load into table 't' failed.  Check 'stl_load_errors' system table for details.",
                "lines",
            ),
            (&copy, "XX000", "S3ServiceException:Access Denied,Status 403,Error AccessDenied", "refused"),
            (&copy, "XX000", "User arn:… is not authorized to assume IAM Role arn:…", "refused"),
            (&copy, "XX000", "S3ServiceException:Please reduce your request rate,Status 503,Error SlowDown", "again"),
            (&copy, "XX000", "The specified S3 prefix 'heard/b.gz' does not exist", "object heard/b.gz"),
            (
                &copy,
                "XX000",
                "Problem reading manifest file - S3ServiceException:…,Status 404,Error NoSuchKey",
                "object ",
            ),
            (&copy, "42601", "syntax error at or near \"manifest\"", "refused"),
            (&copy, "42P01", "relation \"s3 prefix\" does not exist", "refused"),
        ] {
            assert_eq!(told(step, code, text), expected, "{code} {text}");
        }
    }

    #[test]
    fn the_line_is_named_and_its_value_is_not() {
        let Step::Copy(copy) = copy() else { unreachable!() };
        let row = |file: &str| {
            ["0", "7", "age", "int8", "1207", "Invalid digit, Value 'secret', Pos 0, Type: Long"]
                .iter()
                .enumerate()
                .map(|(place, text)| Some(if place == 0 { file.to_owned() } else { (*text).to_owned() }))
                .collect::<Row>()
        };
        let found = line(&copy, &[row("s3://logs/heard/b.gz")]);
        let why = "line 7, column age (int8): Invalid digit, Value '…', Pos 0, Type: Long (code 1207)".to_owned();
        assert_eq!(found, Failure::Object { object: Some("heard/b.gz".to_owned()), why });
        let Failure::Object { object: None, why } = line(&copy, &[row("s3://else/heard/b.gz")]) else { panic!() };
        assert!(why.starts_with("s3://else/heard/b.gz: line 7"), "{why}");
        assert!(matches!(line(&copy, &[]), Failure::Object { object: None, .. }));
        assert_eq!(
            without_values("invalid input syntax for integer: \"se'cret\""),
            "invalid input syntax for integer: \"…\""
        );
    }
}
