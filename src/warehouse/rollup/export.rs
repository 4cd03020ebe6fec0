//! Copies the figures to a PostgreSQL, so that dashboards can be read while the warehouse is paused.

use jiff::civil::{Date, DateTime};

use super::{
    super::{
        Dialect, Names,
        load::{Failure, Row, Script, Session, Step},
        target::Definitions,
    },
    ddl::{bucket, is_by_value, statements},
    loaded,
};

/// Rows that one INSERT brings.
const ROWS_A_STATEMENT: usize = 500;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Exported {
    /// Streams whose figures had changed.
    pub streams: usize,
    /// Their rows.
    pub rows: usize,
}

/// How far a stream's figures stand, on one side.
#[derive(Debug, PartialEq, Eq)]
struct Stand {
    definition: String,
    /// Null, or as text, like those below.
    complete_through: Option<String>,
    last_load_id: Option<String>,
    counted_from: Option<String>,
    final_before: Option<String>,
    counted_at: Option<String>,
    restated_at: Option<String>,
}

/// Copies the figures that `from` holds to `to`, a PostgreSQL: those that were not final there yet, or all if they were
/// never copied, or something else is counted, or days were restated. Where tables are missing, they are made.
///
/// What a usual refresh counts anew is one transaction for each stream, and so its figures are never seen to be missing;
/// a longer history comes in several, oldest first, each with all figures of its days, that many rows in memory at a time.
/// Doing it again changes nothing. Where nothing ever is final, all is copied each time. Figures that change in `from` meanwhile are copied the next time.
///
/// # Errors
/// [`Failure`] of either side. What was copied until then stands, and the next export begins where it ended before.
pub async fn export(
    from: &mut dyn Session,
    to: &mut dyn Session,
    definitions: &Definitions,
) -> Result<Exported, Failure> {
    let mut exported = Exported::default();
    if to.dialect() != Dialect::Postgres {
        return Err(refused("figures are copied to a PostgreSQL alone"));
    }
    prepare(to, &definitions.names).await?;
    for counted in loaded(definitions) {
        let export = Export { names: &definitions.names, stream: &counted.stream };
        // Read before the figures: what is counted anew after it makes it another.
        let Some(stands) = export.stand(from).await? else { continue };
        let stood = export.stand(to).await?;
        if stood.as_ref() == Some(&stands) {
            continue;
        }
        exported.streams += 1;
        let not_final = stood
            .filter(|stood| stood.definition == stands.definition && stood.restated_at == stands.restated_at)
            .and_then(|stood| Some(day_of(stood.final_before.as_ref())?.min(day_of(stands.final_before.as_ref())?)));
        let (first, last) = export.days(from, not_final).await?;
        // The days that are not final, today, and two for where the loader is a little behind.
        let step = jiff::Span::new().days(i64::from(definitions.rollup_days) + 2);
        let mut since = not_final;
        let mut chunk = first;
        loop {
            let next = chunk.zip(last).map(|(chunk, last)| (chunk.saturating_add(step), last));
            let until = next.filter(|(next, last)| next <= last).map(|(next, _)| next);
            let (script, rows) = export.script(from, since, until, &stands).await?;
            to.run(&script).await?;
            exported.rows += rows;
            if until.is_none() {
                break;
            }
            (since, chunk) = (until, until);
        }
    }
    Ok(exported)
}

/// Makes the tables, if one is missing: who may not make any can still use those that are there.
async fn prepare(to: &mut dyn Session, names: &Names) -> Result<(), Failure> {
    let schema = text(Some(names.schema()));
    let tables: Vec<_> = Names::ROLLUPS.iter().chain([&Names::ROLLUP_STATUS]).map(|name| text(Some(name))).collect();
    let there = format!(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {schema} AND table_name IN ({})",
        tables.join(", ")
    );
    let there = to.rows(&there).await?.into_iter().flatten().next().flatten();
    if there == Some(tables.len().to_string()) {
        return Ok(());
    }
    let schema = format!("CREATE SCHEMA IF NOT EXISTS {}", super::super::table::quoted(names.schema()));
    let making = std::iter::once(schema).chain(statements(Dialect::Postgres, names));
    to.run(&Script { steps: making.map(|sql| Step::Sql { what: "make the tables of the figures", sql }).collect() })
        .await
}

/// The figures of a stream, on their way.
struct Export<'a> {
    names: &'a Names,
    stream: &'a str,
}

impl Export<'_> {
    async fn stand(&self, session: &mut dyn Session) -> Result<Option<Stand>, Failure> {
        let dialect = session.dialect();
        let (through, counted_at, restated_at) =
            (instant(dialect, "complete_through"), instant(dialect, "counted_at"), instant(dialect, "restated_at"));
        let sql = format!(
            "SELECT \"definition\", {through}, \"last_load_id\", {}, {}, {counted_at}, {restated_at} FROM {} WHERE {}",
            clock("counted_from"),
            clock("final_before"),
            self.names.of(Names::ROLLUP_STATUS),
            self.mine(),
        );
        let Some(row) = session.rows(&sql).await?.into_iter().next() else { return Ok(None) };
        let mut row = row.into_iter();
        let mut next = || row.next().flatten();
        let Some(definition) = next() else { return Ok(None) };
        Ok(Some(Stand {
            definition,
            complete_through: next(),
            last_load_id: next(),
            counted_from: next(),
            final_before: next(),
            counted_at: next(),
            restated_at: next(),
        }))
    }

    fn mine(&self) -> String {
        format!("\"stream\" = {}", text(Some(self.stream)))
    }

    /// The first and the last day that has figures, from `since` on.
    async fn days(
        &self,
        session: &mut dyn Session,
        since: Option<Date>,
    ) -> Result<(Option<Date>, Option<Date>), Failure> {
        let sql = format!(
            "SELECT TO_CHAR(MIN(\"day\"), 'YYYY-MM-DD'), TO_CHAR(MAX(\"day\"), 'YYYY-MM-DD') FROM {} WHERE {}{}",
            self.names.of(Names::ROLLUPS[0]),
            self.mine(),
            between("day", since, None),
        );
        let row = session.rows(&sql).await?.into_iter().next().unwrap_or_default();
        let mut days = row.into_iter().map(|day| day.and_then(|day| day.parse().ok()));
        Ok((days.next().flatten(), days.next().flatten()))
    }

    /// The transaction that brings the figures of the days from `since` until before `until`; the last one tells how far
    /// they stand.
    async fn script(
        &self,
        from: &mut dyn Session,
        since: Option<Date>,
        until: Option<Date>,
        stands: &Stand,
    ) -> Result<(Script, usize), Failure> {
        let status = self.names.of(Names::ROLLUP_STATUS);
        let mut steps = vec![sql("lock the figures", format!("LOCK TABLE {status} IN EXCLUSIVE MODE"))];
        let mut count = 0;
        for rollup in Names::ROLLUPS {
            let (table, when) = (self.names.of(rollup), bucket(rollup));
            let days = between(when, since, until);
            let mine = self.mine();
            steps.push(sql("delete the figures", format!("DELETE FROM {table} WHERE {mine}{days}")));
            let rows = from.rows(&self.select(from.dialect(), rollup, &days)).await?;
            count += rows.len();
            for rows in rows.chunks(ROWS_A_STATEMENT) {
                let rows = rows.iter().map(|row| self.values(rollup, row)).collect::<Result<Vec<_>, _>>()?;
                steps.push(sql("bring the figures", format!("INSERT INTO {table} VALUES {}", rows.join(", "))));
            }
        }
        if until.is_none() {
            let mine = self.mine();
            steps.push(sql("forget how far they stood", format!("DELETE FROM {status} WHERE {mine}")));
            steps.push(sql(
                "tell how far they stand",
                format!("INSERT INTO {status} VALUES ({})", self.stand_values(stands)),
            ));
        }
        Ok((Script { steps }, count))
    }

    /// The rows of a rollup, as text that no setting of a session shapes.
    fn select(&self, dialect: Dialect, rollup: &str, days: &str) -> String {
        let when = match bucket(rollup) {
            "day" => "TO_CHAR(\"day\", 'YYYY-MM-DD')".to_owned(),
            hour => clock(hour),
        };
        let value = if is_by_value(rollup) { "\"dimension\", \"value\", " } else { "" };
        let flag = |name: &str| format!("CASE WHEN \"{name}\" THEN 'true' ELSE 'false' END");
        format!(
            "SELECT {when}, {value}\"events\", \"devices\", {}, {}, {} FROM {} WHERE {}{days}",
            flag("is_complete"),
            flag("is_final"),
            instant(dialect, "counted_at"),
            self.names.of(rollup),
            self.mine(),
        )
    }

    /// A row, as the list of values of an INSERT.
    fn values(&self, rollup: &str, row: &Row) -> Result<String, Failure> {
        let mut row = row.iter().map(Option::as_deref);
        let mut next = || row.next().flatten();
        let typed = if bucket(rollup) == "day" { "DATE" } else { "TIMESTAMP" };
        let when = format!("{typed} {}", text(next()));
        let value = if is_by_value(rollup) { format!("{}, {}, ", text(next()), text(next())) } else { String::new() };
        let mut number = || {
            let number = next().and_then(|number| number.parse::<i64>().ok());
            number.ok_or_else(|| refused("a figure of the warehouse is no number"))
        };
        let (events, devices) = (number()?, number()?);
        let flag = |flag: Option<&str>| if flag == Some("true") { "TRUE" } else { "FALSE" };
        let (is_complete, is_final) = (flag(next()), flag(next()));
        let counted_at = utc(next());
        Ok(format!(
            "({}, {when}, {value}{events}, {devices}, {is_complete}, {is_final}, {counted_at})",
            text(Some(self.stream))
        ))
    }

    fn stand_values(&self, stands: &Stand) -> String {
        let clock = |clock: &Option<String>| {
            clock.as_deref().map_or_else(|| "NULL".to_owned(), |clock| format!("TIMESTAMP {}", text(Some(clock))))
        };
        [
            text(Some(self.stream)),
            text(Some(&stands.definition)),
            utc(stands.complete_through.as_deref()),
            text(stands.last_load_id.as_deref()),
            clock(&stands.counted_from),
            clock(&stands.final_before),
            utc(stands.counted_at.as_deref()),
            utc(stands.restated_at.as_deref()),
        ]
        .join(", ")
    }
}

fn sql(what: &'static str, sql: String) -> Step {
    Step::Sql { what, sql }
}

/// The day of what a wall clock showed.
fn day_of(clock: Option<&String>) -> Option<Date> {
    clock?.parse().ok().map(DateTime::date)
}

fn refused(why: &str) -> Failure {
    Failure::Refused { step: "copy the figures".to_owned(), why: why.to_owned() }
}

/// The days of a rollup.
fn between(when: &str, since: Option<Date>, until: Option<Date>) -> String {
    let typed = if when == "day" { "DATE" } else { "TIMESTAMP" };
    let bound = |sign: &str, day: Date| format!(" AND \"{when}\" {sign} {typed} '{}'", day.strftime("%Y-%m-%d"));
    let since = since.map(|day| bound(">=", day)).unwrap_or_default();
    let until = until.map(|day| bound("<", day)).unwrap_or_default();
    format!("{since}{until}")
}

/// An instant as text in UTC.
fn instant(dialect: Dialect, name: &str) -> String {
    let utc = match dialect {
        Dialect::Postgres => format!("\"{name}\" AT TIME ZONE 'UTC'"),
        Dialect::Redshift => format!("\"{name}\""),
    };
    format!("TO_CHAR({utc}, 'YYYY-MM-DD HH24:MI:SS.US')")
}

/// What a wall clock shows, as text.
fn clock(name: &str) -> String {
    format!("TO_CHAR(\"{name}\", 'YYYY-MM-DD HH24:MI:SS.US')")
}

fn utc(instant: Option<&str>) -> String {
    match instant {
        Some(instant) => format!("TIMESTAMPTZ {}", text(Some(&format!("{instant}+00")))),
        None => "NULL".to_owned(),
    }
}

/// A string of PostgreSQL, whatever a backslash means to the session.
fn text(text: Option<&str>) -> String {
    match text {
        None => "NULL".to_owned(),
        Some(text) if text.contains('\\') => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        Some(text) => super::super::table::literal(text).to_string(),
    }
}
