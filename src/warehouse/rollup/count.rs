//! The scripts that count: SQL that PostgreSQL and Redshift both take.
//!
//! So there is no FILTER, no CTE that writes, no series of days and no `IS` in a list of results. Redshift's pages:
//! LOCK <https://docs.aws.amazon.com/redshift/latest/dg/r_LOCK.html> (no mode, always exclusive), UPDATE with FROM and an
//! alias <https://docs.aws.amazon.com/redshift/latest/dg/r_UPDATE.html>, DELETE with a scalar subquery
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_DELETE.html>, `INTERVAL '168 hours'`
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_interval_literals.html>, `CONVERT_TIMEZONE`, which minds daylight saving
//! <https://docs.aws.amazon.com/redshift/latest/dg/CONVERT_TIMEZONE.html>, VARCHAR in bytes
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html>, and a BOOLEAN that has no cast to VARCHAR
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_Boolean_type.html>.

use jiff::{
    civil::{Date, DateTime},
    tz::TimeZone,
};

use super::{
    super::{
        Dialect, Names, Table,
        load::{Script, Step},
        table::{literal, quoted},
        target::{Counted, Definitions},
    },
    MAX_VALUE, RollupError,
    ddl::{bucket, is_by_value},
    loaded,
};
use crate::{
    batch::{Millis, StreamName},
    schema::{FieldType, MAX_COLUMN_BYTES},
};

/// Days of finality are days of 24 hours, also where clocks change.
pub(super) const HOURS_A_DAY: i64 = 24;
/// The most bytes of a character.
const BYTES_A_CHARACTER: usize = 4;
/// How much more of the table is read at each end than what is asked for: the warehouse may know another version of the
/// time zones, and decides by its own.
const ZONES_DIFFER_BY: i64 = 2 * 3_600_000;
/// Before everything: `event_time` is at most 30 days before an event was received.
const BEGINNING: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// What a refresh of a stream counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Everything: it was never counted, or nothing is final yet.
    New,
    /// Everything, since something else is to be counted, by the clock of another zone or of the same.
    Other {
        /// Whether it is another.
        zone: bool,
    },
    /// What is not final: what did not end before.
    NotFinal(DateTime),
    /// What did not end before; nobody knows whether it is complete, so none of it becomes final.
    Lately(DateTime),
}

/// What is counted, by the analysts' clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// From it on.
    pub(super) from: DateTime,
    /// Before it.
    pub(super) until: Option<Date>,
}

/// A dimension: its name, and the text of its value.
struct Dimension<'a> {
    name: &'a str,
    text: String,
}

/// The figures of a stream.
pub(super) struct Figures<'a> {
    dialect: Dialect,
    names: &'a Names,
    timezone: &'a str,
    pub(super) days: u32,
    pub(super) stream: &'a str,
    device: &'a str,
    dimensions: Vec<Dimension<'a>>,
    /// What is counted, in words: figures of another definition are not these.
    pub(super) definition: String,
}

impl<'a> Figures<'a> {
    /// Those of all streams.
    pub(super) fn all(dialect: Dialect, definitions: &'a Definitions) -> Result<Vec<Self>, RollupError> {
        loaded(definitions).map(|counted| Self::new(dialect, definitions, counted)).collect()
    }

    fn new(dialect: Dialect, definitions: &'a Definitions, counted: &'a Counted) -> Result<Self, RollupError> {
        let Counted { stream, device, dimensions } = counted;
        let table = definitions.tables.iter().find(|table| table.stream.as_str() == stream);
        let table = table.ok_or_else(|| RollupError::NoTable(stream.clone()))?;
        kind(table, device)?;
        let definition = format!("{}{device}, by {}", of_zone(&definitions.timezone), dimensions.join(", "));
        let dimensions = dimensions
            .iter()
            .map(|name| Ok(Dimension { name, text: text(dialect, kind(table, name)?, name) }))
            .collect::<Result<_, RollupError>>()?;
        Ok(Self {
            dialect,
            names: &definitions.names,
            timezone: &definitions.timezone,
            days: definitions.rollup_days.max(1),
            stream,
            device,
            dimensions,
            definition,
        })
    }

    /// How each definition begins that counts by the clock of the same zone.
    pub(super) fn of_zone(&self) -> String {
        of_zone(self.timezone)
    }

    /// Counts anew what `plan` says.
    pub(super) fn refresh(&self, plan: Plan, zone: &TimeZone, now: Millis) -> Script {
        let from = match plan {
            Plan::New | Plan::Other { .. } => BEGINNING,
            Plan::NotFinal(from) | Plan::Lately(from) => from,
        };
        let counted_at = self.dialect.instant(now);
        let (status, mine) = (self.names.of(Names::ROLLUP_STATUS), self.mine(""));
        let mut steps = self.begin();
        if matches!(plan, Plan::Other { .. }) {
            let definition = literal(&self.definition);
            steps.push(sql(
                "forget what else was counted",
                format!(
                    "UPDATE {status} SET \"definition\" = {definition}, \"final_before\" = NULL \
                     WHERE \"stream\" = {} AND \"definition\" <> {definition}",
                    literal(self.stream)
                ),
            ));
        }
        // Somebody may have begun from the beginning meanwhile. Then nothing bears this refresh's time, and nothing is
        // counted.
        let still = if let Plan::NotFinal(from) = plan {
            format!(" AND \"final_before\" >= {}", clock(from))
        } else {
            String::new()
        };
        steps.push(sql(
            "begin a refresh",
            format!(
                "UPDATE {status} SET \"counted_from\" = GREATEST(COALESCE(\"final_before\", {from}), {from}), \
                 \"complete_through\" = NULL, \"last_load_id\" = NULL, \"counted_at\" = {counted_at} WHERE {mine}{still}",
                from = clock(from)
            ),
        ));
        if let Plan::New | Plan::Other { .. } = plan {
            steps.push(self.leave_what_cannot_be_counted(matches!(plan, Plan::Other { zone: true }), &counted_at));
        }
        let refreshed = format!("{mine} AND \"counted_at\" = {counted_at}");
        // Read once, before anything is counted: what is promised to be loaded then is counted below.
        let through =
            if matches!(plan, Plan::Lately(_)) { "" } else { "\"complete_through\" = l.\"complete_through\", " };
        steps.push(sql(
            "read how far the stream is loaded",
            format!(
                "UPDATE {status} AS s SET {through}\"last_load_id\" = l.\"last_load_id\" FROM {} l \
                 WHERE l.\"stream\" = s.\"stream\" AND {} AND s.\"counted_at\" = {counted_at}",
                self.names.of(Names::STATUS),
                self.mine("s.")
            ),
        ));
        let ended = format!("\"complete_through\" - INTERVAL '{} hours'", i64::from(self.days - 1) * HOURS_A_DAY);
        let ended = self.dialect.local(&format!("({ended})"), self.timezone);
        steps.push(sql(
            "tell what is final",
            format!(
                "UPDATE {status} SET \"final_before\" = GREATEST(COALESCE(\"final_before\", {ended}), {ended}) \
                 WHERE {refreshed} AND \"complete_through\" IS NOT NULL"
            ),
        ));
        self.count(Span { from, until: None }, &refreshed, zone, &counted_at, &mut steps);
        Script { steps }
    }

    /// Begins the refresh behind what cannot be counted any more. Figures of a day before the oldest event show that
    /// events were deleted, of that event's own day perhaps some: it stays too. In `another_zone` the day of the same event
    /// may be another, so there it takes two days to show it.
    fn leave_what_cannot_be_counted(&self, another_zone: bool, counted_at: &str) -> Step {
        let (status, daily, stream) =
            (self.names.of(Names::ROLLUP_STATUS), self.names.of(Names::ROLLUPS[0]), literal(self.stream));
        let oldest = self.dialect.local("MIN(\"event_time\")", self.timezone);
        let apart = if another_zone { HOURS_A_DAY } else { 0 };
        sql(
            "leave what cannot be counted",
            format!(
                "UPDATE {status} AS s SET \"counted_from\" = CASE \
                 WHEN f.\"first\" + INTERVAL '{apart} hours' < o.\"oldest\" \
                 THEN GREATEST(s.\"counted_from\", o.\"oldest\" + INTERVAL '{HOURS_A_DAY} hours') \
                 WHEN o.\"oldest\" IS NOT NULL THEN s.\"counted_from\" END \
                 FROM (SELECT DATE_TRUNC('day', {oldest}) AS \"oldest\" FROM {events}) o CROSS JOIN \
                 (SELECT CAST(MIN(\"day\") AS TIMESTAMP) AS \"first\" FROM {daily} WHERE \"stream\" = {stream}) f \
                 WHERE {} AND s.\"counted_at\" = {counted_at}",
                self.mine("s."),
                events = self.names.of(self.stream),
            ),
        )
    }

    /// Counts `span` anew, whatever is final.
    pub(super) fn restate(&self, span: Span, zone: &TimeZone, now: Millis) -> Script {
        let counted_at = self.dialect.instant(now);
        let (status, mine) = (self.names.of(Names::ROLLUP_STATUS), self.mine(""));
        let mut steps = self.begin();
        steps.push(sql(
            "begin to restate",
            format!(
                "UPDATE {status} SET \"counted_from\" = {}, \"restated_at\" = {counted_at} WHERE {mine}",
                clock(span.from)
            ),
        ));
        let restated = format!("{mine} AND \"restated_at\" = {counted_at}");
        self.count(span, &restated, zone, &counted_at, &mut steps);
        Script { steps }
    }

    /// The condition for the row of [`Names::ROLLUP_STATUS`], if its figures are these.
    fn mine(&self, table: &str) -> String {
        let (stream, definition) = (literal(self.stream), literal(&self.definition));
        format!("{table}\"stream\" = {stream} AND {table}\"definition\" = {definition}")
    }

    /// One refresh at a time.
    fn begin(&self) -> Vec<Step> {
        let status = self.names.of(Names::ROLLUP_STATUS);
        let lock = match self.dialect {
            // Who only reads does not wait.
            Dialect::Postgres => format!("LOCK TABLE {status} IN EXCLUSIVE MODE"),
            Dialect::Redshift => format!("LOCK {status}"),
        };
        let (stream, definition) = (literal(self.stream), literal(&self.definition));
        vec![
            sql("lock the figures", lock),
            sql(
                "know the stream",
                format!(
                    "INSERT INTO {status} (\"stream\", \"definition\") SELECT {stream}, {definition} \
                     WHERE NOT EXISTS (SELECT 1 FROM {status} WHERE \"stream\" = {stream})"
                ),
            ),
        ]
    }

    /// Deletes the figures of `span` and counts them anew, from where the row that fulfils `status` says: nothing if
    /// there is none. A statement counts all dimensions, so that a transaction of Redshift's Data API, which takes 40
    /// statements, has room for all.
    fn count(&self, span: Span, status: &str, zone: &TimeZone, counted_at: &str, steps: &mut Vec<Step>) {
        for rollup in Names::ROLLUPS {
            steps.push(sql("delete the figures", self.delete(rollup, span, status)));
            let select =
                |dimension: Option<&Dimension<'_>>| self.select(rollup, dimension, span, status, zone, counted_at);
            let (columns, selects) = if is_by_value(rollup) {
                let selects = self.dimensions.iter().map(|dimension| select(Some(dimension))).collect();
                (", \"dimension\", \"value\"", selects)
            } else {
                ("", vec![select(None)])
            };
            if !selects.is_empty() {
                let insert = format!(
                    "INSERT INTO {} (\"stream\", {}{columns}, \"events\", \"devices\", \"is_complete\", \"is_final\", \
                     \"counted_at\") {}",
                    self.names.of(rollup),
                    quoted(bucket(rollup)),
                    selects.join(" UNION ALL ")
                );
                steps.push(sql("count", insert));
            }
        }
    }

    fn delete(&self, rollup: &str, span: Span, status: &str) -> String {
        let when = bucket(rollup);
        let counted_from = match when {
            "day" => "CAST(\"counted_from\" AS DATE)",
            _ => "DATE_TRUNC('hour', \"counted_from\")",
        };
        format!(
            "DELETE FROM {} WHERE \"stream\" = {} AND {} AND {} >= (SELECT {counted_from} FROM {} WHERE {status})",
            self.names.of(rollup),
            literal(self.stream),
            within(&quoted(when).to_string(), when, span, if when == "day" { day } else { clock }),
            quoted(when),
            self.names.of(Names::ROLLUP_STATUS),
        )
    }

    /// The figures of a rollup, for a dimension or in all.
    fn select(
        &self,
        rollup: &str,
        dimension: Option<&Dimension<'_>>,
        span: Span,
        status: &str,
        zone: &TimeZone,
        counted_at: &str,
    ) -> String {
        let when = bucket(rollup);
        let figures = self.names.of(Names::ROLLUP_STATUS);
        let (at, hours) = if when == "day" { ("CAST(c.\"at\" AS DATE)", HOURS_A_DAY) } else { ("c.\"at\"", 1) };
        let end = format!("c.\"at\" + INTERVAL '{hours} hours'");
        let local = self.dialect.local("\"event_time\"", self.timezone);
        let whole = self.dialect.local("\"complete_through\"", self.timezone);
        let (chosen, group, text) = match dimension {
            Some(Dimension { name, text }) => (
                format!("{}, c.\"value\", ", varchar(name, MAX_COLUMN_BYTES)),
                ", e.\"value\"",
                format!(", {text} AS \"value\""),
            ),
            None => (String::new(), "", String::new()),
        };
        format!(
            "SELECT {stream}, {at}, {chosen}c.\"events\", c.\"devices\", \
             CASE WHEN {end} <= r.\"whole\" THEN TRUE ELSE FALSE END, \
             CASE WHEN {end} <= r.\"final_before\" THEN TRUE ELSE FALSE END, {counted_at} \
             FROM (SELECT e.\"at\"{group}, COUNT(*) AS \"events\", COUNT(DISTINCT e.\"device\") AS \"devices\" \
             FROM (SELECT DATE_TRUNC('{when}', {local}) AS \"at\", {device} AS \"device\"{text} FROM {events}{read}) e \
             GROUP BY e.\"at\"{group}) c CROSS JOIN (SELECT DATE_TRUNC('{when}', \"counted_from\") AS \"from\", \
             \"final_before\", {whole} AS \"whole\" FROM {figures} WHERE {status}) r \
             WHERE c.\"at\" >= r.\"from\" AND {within}",
            stream = varchar(self.stream, StreamName::MAX_BYTES),
            device = quoted(self.device),
            events = self.names.of(self.stream),
            read = self.read(span, zone),
            within = within("c.\"at\"", when, span, clock),
        )
    }

    /// What of the stream's table is read: literals of its sort key, so that blocks are left out.
    fn read(&self, span: Span, zone: &TimeZone) -> String {
        let instant = |clock: DateTime, further: i64| {
            let at = clock.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond();
            Some(self.dialect.instant(Millis::new(at)?.saturating_add(further)))
        };
        let from = Some(span.from)
            .filter(|from| *from > BEGINNING)
            .and_then(|from| Some(format!("\"event_time\" >= {}", instant(from.date().into(), -ZONES_DIFFER_BY)?)));
        let until =
            span.until.and_then(|until| Some(format!("\"event_time\" < {}", instant(until.into(), ZONES_DIFFER_BY)?)));
        let conditions: Vec<_> = from.into_iter().chain(until).collect();
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
    }
}

/// How a definition begins.
fn of_zone(timezone: &str) -> String {
    format!("{timezone} of ")
}

/// Whether `when`, a day or what the clock shows at an hour's beginning, lies in `span`.
fn within(when: &str, bucket: &str, span: Span, spell: fn(DateTime) -> String) -> String {
    let hour = if bucket == "day" { 0 } else { span.from.hour() };
    let from = span.from.date().at(hour, 0, 0, 0);
    let until = span.until.map(|until| format!(" AND {when} < {}", spell(until.into()))).unwrap_or_default();
    format!("{when} >= {}{until}", spell(from))
}

/// What a wall clock shows, as a timestamp without a zone, to the second.
fn clock(at: DateTime) -> String {
    format!("TIMESTAMP {}", literal(&at.strftime("%Y-%m-%d %H:%M:%S").to_string()))
}

/// Its day.
fn day(at: DateTime) -> String {
    format!("DATE {}", literal(&at.strftime("%Y-%m-%d").to_string()))
}

/// A string with its type: in a UNION Redshift does not find out one for a literal.
fn varchar(text: &str, most: usize) -> String {
    format!("CAST({} AS VARCHAR({most}))", literal(text))
}

fn sql(what: &'static str, sql: String) -> Step {
    Step::Sql { what, sql }
}

/// What the column that counts is; a value of JSON does not count.
fn kind(table: &Table, name: &str) -> Result<FieldType, RollupError> {
    let (stream, column) = (table.stream.as_str().to_owned(), name.to_owned());
    match table.column(name).map(|column| column.kind) {
        None => Err(RollupError::NoColumn { stream, column }),
        Some(FieldType::Json { .. }) => Err(RollupError::Json { stream, column }),
        Some(kind) => Ok(kind),
    }
}

/// The text of a column, at most [`MAX_VALUE`] long; null stays null.
fn text(dialect: Dialect, kind: FieldType, name: &str) -> String {
    let column = quoted(name);
    match (kind, dialect) {
        (FieldType::Bool, _) => format!("CASE WHEN {column} THEN 'true' WHEN NOT {column} THEN 'false' END"),
        (FieldType::Timestamp, _) => {
            let utc = match dialect {
                Dialect::Postgres => dialect.local(&column.to_string(), "UTC"),
                Dialect::Redshift => column.to_string(),
            };
            format!("TO_CHAR({utc}, 'YYYY-MM-DD HH24:MI:SS.MS')")
        }
        (FieldType::String { .. }, Dialect::Postgres) => format!("LEFT({column}, {MAX_VALUE})"),
        (FieldType::String { max_bytes }, Dialect::Redshift) if max_bytes as usize > MAX_VALUE => {
            // A cut by bytes may fall within a character; so many characters always fit.
            let characters = MAX_VALUE / BYTES_A_CHARACTER;
            format!(
                "CAST(CASE WHEN OCTET_LENGTH({column}) <= {MAX_VALUE} THEN {column} ELSE LEFT({column}, {characters}) END \
                 AS VARCHAR({MAX_VALUE}))"
            )
        }
        (FieldType::String { .. }, Dialect::Redshift) => column.to_string(),
        (_, Dialect::Postgres) => format!("CAST({column} AS text)"),
        (_, Dialect::Redshift) => format!("CAST({column} AS VARCHAR({MAX_VALUE}))"),
    }
}
