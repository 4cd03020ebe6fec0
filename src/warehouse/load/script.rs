//! The transactions of a load, for PostgreSQL and Redshift.
//!
//! # The order within a load
//!
//! | step | what it does |
//! |---|---|
//! | lock | nobody else loads until this transaction has ended; what follows sees what those before have done |
//! | guard | none of the objects is in the ledger |
//! | copy | the lines, into the staging table, which is empty |
//! | guard | there are as many as the books count, and they were received in the objects' hours |
//! | count | what is new, by hour: the ids that the table lacks within the window |
//! | insert | of each new id the line that was received first |
//! | conflicts | now the table has every id; a line that it does not have with the same content is one |
//! | ledger, status | what was done, and the staging table is emptied |
//!
//! Lines = loaded + duplicates + conflicts, in every hour: duplicates are what is neither of the others. Content is all
//! that the device sent; the time from which `event_time` was taken may differ between copies. A copy that comes in a
//! later load never replaces the one that is there, even if it was received before it.
//!
//! # The window
//!
//! The objects' hours are known before the script runs, and each line was received in them, which a guard holds. So the
//! part of the table that is searched is written as two instants, and the warehouse need not look at anything else.
//!
//! # The SQL
//!
//! It is what both take: no ON CONFLICT, no data-modifying WITH, no FILTER, no correlated subquery (anti-joins are LEFT
//! JOINs), DELETE where TRUNCATE would commit. For Redshift it is written from
//! <https://docs.aws.amazon.com/redshift/latest/dg/c_SQL_commands.html> and was not executed there.

use std::{fmt::Write as _, time::Duration};

use super::{Copy, CopyColumn, CopyObject, Guard, Script, Step, find::Found};
use crate::{
    batch::{Hour, Millis},
    schema::FieldType,
    warehouse::{
        Dialect, Names, Table,
        table::{Column, literal, quoted},
    },
};

/// The longest list of objects in one statement, in bytes: Redshift's Data API takes statements of 100 KB.
const MAX_LIST_BYTES: usize = 64 * 1024;
/// The longest error in the ledger, in bytes.
const MAX_ERROR_BYTES: usize = 1_024;
/// The name of a column that no table has, since those of tables have no such character.
const RANK: &str = "copy-rank";

/// What every script of a stream is written from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'s> {
    pub(super) dialect: Dialect,
    pub(super) names: &'s Names,
    pub(super) table: &'s Table,
}

/// A load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'s> {
    pub(super) id: &'s str,
    pub(super) objects: &'s [Found],
    /// The URL of the manifest, or nothing.
    pub(super) manifest: &'s str,
    /// How far apart two copies of an event may be received.
    pub(super) window: Duration,
    pub(super) now: Millis,
    /// Whether objects that are set aside are taken.
    pub(super) retry: bool,
}

/// How far a stream is loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Status<'s> {
    /// Whether the stream was looked through. If not, what is known may only go back.
    pub(super) whole: bool,
    pub(super) complete_through: Option<Millis>,
    pub(super) held_back_by: Option<&'s str>,
    pub(super) now: Millis,
}

fn sql(what: &'static str, sql: String) -> Step {
    Step::Sql { what, sql }
}

impl Of<'_> {
    fn stream(self) -> String {
        literal(self.table.stream.as_str()).to_string()
    }

    fn ledger(self) -> String {
        self.names.of(Names::LEDGER)
    }

    fn loads(self) -> String {
        self.names.of(Names::LOADS)
    }

    fn status_table(self) -> String {
        self.names.of(Names::STATUS)
    }

    fn target(self) -> String {
        self.names.of(self.table.stream.as_str())
    }

    fn staging(self) -> String {
        self.names.staging(self.table.stream.as_str())
    }

    /// The columns, behind `alias` and a point.
    fn columns(self, alias: &str) -> String {
        let names = self.table.columns.iter().map(|column| {
            if alias.is_empty() {
                quoted(&column.name).to_string()
            } else {
                format!("{alias}.{}", quoted(&column.name))
            }
        });
        names.collect::<Vec<_>>().join(", ")
    }

    /// The lock of the ledger, which is the first thing in each transaction.
    fn lock(self) -> Step {
        let ledger = self.ledger();
        sql(
            "lock",
            match self.dialect {
                // Those who read the ledger meanwhile do not wait.
                Dialect::Postgres => format!("LOCK TABLE {ledger} IN EXCLUSIVE MODE"),
                Dialect::Redshift => format!("LOCK TABLE {ledger}"),
            },
        )
    }

    /// A transaction that ends when all that have the lock, or wait for it, have ended.
    pub(super) fn wait(self) -> Script {
        Script { steps: vec![self.lock()] }
    }

    fn not_in_ledger(self, keys: &str, states: &str) -> Step {
        Step::Guard {
            what: Guard::NotLoaded,
            sql: format!(
                "SELECT 1 / CASE WHEN COUNT(*) = 0 THEN 1 ELSE 0 END FROM {} WHERE object IN ({keys}) AND state IN \
                 ({states})",
                self.ledger()
            ),
        }
    }

    /// Makes sure that there is a row in the status.
    fn status_row(self) -> Step {
        let (status, stream) = (self.status_table(), self.stream());
        sql(
            "status row",
            format!(
                "INSERT INTO {status} (stream, late_rows, set_aside_objects, set_aside_events) SELECT {stream}, 0, 0, 0 \
                 FROM (SELECT COUNT(*) AS known FROM {status} WHERE stream = {stream}) s WHERE s.known = 0"
            ),
        )
    }

    /// The transaction of a load.
    pub(super) fn load(self, load: Load<'_>) -> Script {
        let mut steps = vec![self.lock()];
        let states = taken_states(load.retry);
        for keys in lists(load.objects.iter().map(|object| literal(&object.key).to_string())) {
            steps.push(self.not_in_ledger(&keys, states));
            if load.retry {
                let ledger = self.ledger();
                steps.push(sql("take again", format!("DELETE FROM {ledger} WHERE object IN ({keys})")));
            }
        }
        let staging = self.staging();
        steps.push(sql("clear staging", format!("DELETE FROM {staging}")));
        steps.push(Step::Copy(self.copy(load)));
        let events: u64 = load.objects.iter().map(|object| object.events).sum();
        steps.push(Step::Guard {
            what: Guard::Counted,
            sql: format!("SELECT 1 / CASE WHEN COUNT(*) = {events} THEN 1 ELSE 0 END FROM {staging}"),
        });
        let (from, to) = hours(load.objects);
        let instant = |at| self.dialect.instant(at);
        steps.push(Step::Guard {
            what: Guard::Received,
            sql: format!(
                "SELECT 1 / CASE WHEN COUNT(*) = 0 THEN 1 ELSE 0 END FROM {staging} WHERE received_at IS NULL OR \
                 received_at < {} OR received_at >= {}",
                instant(from),
                instant(to)
            ),
        });
        let window = load.window.as_millis() as i64;
        let within = format!(
            "t.received_at >= {} AND t.received_at < {}",
            instant(from.saturating_add(-window)),
            instant(to.saturating_add(window))
        );
        let id = literal(load.id).to_string();
        steps.push(self.count(load, &within));
        steps.push(self.insert(&within));
        steps.extend(self.conflicts(load, &within));
        steps.extend(self.record(load));
        steps.push(self.status_row());
        let now = instant(load.now);
        steps.push(sql(
            "status",
            format!(
                "UPDATE {} AS s SET late_rows = s.late_rows + a.late, last_load = {now}, last_load_id = {id}, checked_at = \
                 {now} FROM (SELECT COALESCE(SUM(late), 0) AS late FROM {} WHERE load_id = {id}) a WHERE s.stream = {}",
                self.status_table(),
                self.loads(),
                self.stream()
            ),
        ));
        steps.push(sql("clear staging again", format!("DELETE FROM {staging}")));
        Script { steps }
    }

    fn copy(self, load: Load<'_>) -> Copy {
        let column = |Column { name, kind, required, .. }: &Column| CopyColumn {
            name: name.clone(),
            kind: *kind,
            required: *required,
        };
        let object = |Found { key, bytes, events, crc32, .. }: &Found| CopyObject {
            key: key.clone(),
            bytes: *bytes,
            events: *events,
            crc32: *crc32,
        };
        Copy {
            table: self.staging(),
            columns: self.table.columns.iter().map(column).collect(),
            objects: load.objects.iter().map(object).collect(),
            codec: load.objects.first().map(Found::codec).unwrap_or_default(),
            manifest: load.manifest.to_owned(),
        }
    }

    /// The staged lines whose id the table lacks within the window: `s`.
    fn new_lines(self, within: &str) -> String {
        format!(
            "{} s LEFT JOIN {} t ON t.event_id = s.event_id AND {within} WHERE t.event_id IS NULL",
            self.staging(),
            self.target()
        )
    }

    /// What becomes of the lines, by hour, but for conflicts: of each new id the first line is loaded.
    fn count(self, load: Load<'_>, within: &str) -> Step {
        sql(
            "count",
            format!(
                "INSERT INTO {loads} (load_id, stream, received_hour, lines, loaded, duplicates, conflicts, late, loaded_at) \
                 SELECT {id}, {stream}, g.received_hour, SUM(g.lines), SUM(g.loaded), SUM(g.lines) - SUM(g.loaded), 0, \
                 SUM(g.late), {now} FROM (\
                 SELECT DATE_TRUNC('hour', received_at) AS received_hour, COUNT(*) AS lines, 0 AS loaded, 0 AS late \
                 FROM {staging} GROUP BY 1 \
                 UNION ALL \
                 SELECT DATE_TRUNC('hour', n.received) AS received_hour, 0 AS lines, COUNT(*) AS loaded, \
                 SUM(CASE WHEN n.received < c.until THEN 1 ELSE 0 END) AS late \
                 FROM (SELECT s.event_id, MIN(s.received_at) AS received FROM {new} GROUP BY s.event_id) n \
                 CROSS JOIN (SELECT MAX(complete_through) AS until FROM {status} WHERE stream = {stream}) c GROUP BY 1\
                 ) g GROUP BY g.received_hour",
                loads = self.loads(),
                id = literal(load.id),
                stream = self.stream(),
                now = self.dialect.instant(load.now),
                staging = self.staging(),
                new = self.new_lines(within),
                status = self.status_table(),
            ),
        )
    }

    fn insert(self, within: &str) -> Step {
        sql(
            "insert",
            format!(
                "INSERT INTO {target} ({columns}) SELECT {of_first} FROM (SELECT {of_staged}, ROW_NUMBER() OVER (PARTITION BY \
                 s.event_id ORDER BY s.received_at) AS {rank} FROM {new}) n WHERE n.{rank} = 1",
                target = self.target(),
                columns = self.columns(""),
                of_first = self.columns("n"),
                of_staged = self.columns("s"),
                rank = quoted(RANK),
                new = self.new_lines(within),
            ),
        )
    }

    /// The lines that bear the id of an event with another content.
    fn conflicts(self, load: Load<'_>, within: &str) -> [Step; 2] {
        let conflicts = self.names.conflicts(self.table.stream.as_str());
        let (id, columns) = (literal(load.id).to_string(), self.columns(""));
        let mut same = String::new();
        let time_field = self.table.time_field.as_deref();
        for column in self.table.columns.iter().filter(|column| column.is_of_event()) {
            if time_field != Some(&*column.name) {
                let (left, right) = (format!("t.{}", quoted(&column.name)), format!("s.{}", quoted(&column.name)));
                // Writing to memory does not fail.
                let _ = write!(same, " AND {}", self.dialect.same(column.kind, &left, &right));
            }
        }
        [
            sql(
                "conflicts",
                format!(
                    "INSERT INTO {conflicts} ({columns}, load_id, found_at) SELECT {staged}, {id}, {now} FROM {staging} s \
                     LEFT JOIN {target} t ON t.event_id = s.event_id AND {within}{same} WHERE t.event_id IS NULL",
                    staged = self.columns("s"),
                    now = self.dialect.instant(load.now),
                    staging = self.staging(),
                    target = self.target(),
                ),
            ),
            sql(
                "count conflicts",
                format!(
                    "UPDATE {loads} AS l SET conflicts = c.conflicts, duplicates = l.duplicates - c.conflicts FROM (SELECT \
                     DATE_TRUNC('hour', received_at) AS received_hour, COUNT(*) AS conflicts FROM {conflicts} WHERE load_id \
                     = {id} GROUP BY 1) c WHERE l.load_id = {id} AND l.received_hour = c.received_hour",
                    loads = self.loads(),
                ),
            ),
        ]
    }

    /// The ledger's rows.
    fn record(self, load: Load<'_>) -> Vec<Step> {
        let rows = load.objects.iter().map(|object| self.row(object, "loaded", load.id, None, load.now));
        lists(rows).into_iter().map(|rows| self.add_to_ledger(&rows)).collect()
    }

    fn add_to_ledger(self, rows: &str) -> Step {
        let columns = "stream, object, received_hour, state, load_id, events, bytes, error, changed_at";
        sql("ledger", format!("INSERT INTO {} ({columns}) VALUES {rows}", self.ledger()))
    }

    fn row(self, object: &Found, state: &str, id: &str, error: Option<&str>, now: Millis) -> String {
        format!(
            "({}, {}, {}, '{state}', {}, {}, {}, {}, {})",
            self.stream(),
            literal(&object.key),
            self.dialect.instant(object.hour.start()),
            literal(id),
            object.events,
            object.bytes,
            error.map_or_else(|| "NULL".to_owned(), |error| literal(&plain(error)).to_string()),
            self.dialect.instant(now),
        )
    }

    /// The transaction that sets `object` aside because of `why`.
    pub(super) fn set_aside(self, object: &Found, id: &str, why: &str, now: Millis) -> Script {
        let key = literal(&object.key).to_string();
        let ledger = self.ledger();
        Script {
            steps: vec![
                self.lock(),
                self.not_in_ledger(&key, "'loaded', 'given_up'"),
                sql("take again", format!("DELETE FROM {ledger} WHERE object IN ({key})")),
                self.add_to_ledger(&self.row(object, "set_aside", id, Some(why), now)),
            ],
        }
    }

    /// The transaction that tells how far the stream is loaded.
    ///
    /// What it says may go back only if it can say because of whom; else another loader was simply further. What is set
    /// aside is asked for behind the lock: another loader may have set it aside since.
    pub(super) fn status(self, status: Status<'_>) -> Script {
        let Status { whole, complete_through, held_back_by, now } = status;
        let typed = |at: Option<Millis>| {
            at.map_or_else(|| format!("CAST(NULL AS {})", self.dialect.timestamp()), |at| self.dialect.instant(at))
        };
        let until = typed(complete_through);
        let held = held_back_by.map_or_else(|| "NULL".to_owned(), |by| literal(&plain(by)).to_string());
        let (until, held) = match (whole, held_back_by) {
            (true, Some(_)) => (until, held),
            (true, None) => (format!("GREATEST(s.complete_through, {until})"), held),
            (false, _) => {
                let back = format!("CASE WHEN {until} < s.complete_through THEN");
                (
                    format!("{back} {until} ELSE s.complete_through END"),
                    format!("{back} {held} ELSE s.held_back_by END"),
                )
            }
        };
        let now = self.dialect.instant(now);
        let stream = self.stream();
        Script {
            steps: vec![
                self.lock(),
                self.status_row(),
                sql(
                    "status",
                    format!(
                        "UPDATE {} AS s SET complete_through = CASE WHEN a.oldest <= {until} THEN a.oldest ELSE {until} END, \
                         held_back_by = CASE WHEN a.oldest <= {until} THEN 'set aside' ELSE {held} END, set_aside_objects = \
                         a.objects, set_aside_events = a.events, checked_at = {now} FROM (SELECT COUNT(*) AS objects, \
                         COALESCE(SUM(events), 0) AS events, MIN(received_hour) AS oldest FROM {} WHERE stream = {stream} \
                         AND state = 'set_aside') a WHERE s.stream = {stream}",
                        self.status_table(),
                        self.ledger(),
                    ),
                ),
            ],
        }
    }
}

/// The states of objects that a load does not take.
fn taken_states(retry: bool) -> &'static str {
    if retry { "'loaded', 'given_up'" } else { "'loaded', 'given_up', 'set_aside'" }
}

/// The questions that tell which of `objects` a load does not take.
pub(super) fn taken(names: &Names, objects: &[Found], retry: bool) -> Vec<String> {
    let (ledger, states) = (names.of(Names::LEDGER), taken_states(retry));
    let keys = lists(objects.iter().map(|object| literal(&object.key).to_string())).into_iter();
    keys.map(|keys| format!("SELECT object FROM {ledger} WHERE object IN ({keys}) AND state IN ({states})")).collect()
}

/// The hours of `objects`: the first instant, and the one behind the last.
fn hours(objects: &[Found]) -> (Millis, Millis) {
    let first = objects.iter().map(|object| object.hour).min().unwrap_or(Hour(0));
    let last = objects.iter().map(|object| object.hour).max().unwrap_or(first);
    (first.start(), last.next().start())
}

/// `items`, with commas between them, in as many texts as the limit of a statement asks for.
fn lists(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut lists: Vec<String> = Vec::new();
    for item in items {
        match lists.last_mut().filter(|list| list.len() + item.len() + 2 <= MAX_LIST_BYTES) {
            Some(list) => {
                list.push_str(", ");
                list.push_str(&item);
            }
            None => lists.push(item),
        }
    }
    lists
}

/// `text` for a literal in every dialect and within the ledger's column: no control characters, and no backslash, which
/// some read as the beginning of something.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len().min(MAX_ERROR_BYTES));
    for char in text.chars() {
        let char = if char.is_control() || char == '\\' { ' ' } else { char };
        if plain.len() + char.len_utf8() > MAX_ERROR_BYTES {
            break;
        }
        plain.push(char);
    }
    plain
}

/// The type that a column has, as a catalogue spells it.
pub(super) fn catalogued(dialect: Dialect, kind: FieldType) -> String {
    let spelled = dialect.column_type(kind);
    if spelled == "timestamptz" { "timestamp with time zone".to_owned() } else { spelled.replace(", ", ",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::StreamName,
        schema::{self, Ack, Field, Priority, Schema, Stream},
    };

    fn table() -> Table {
        let fields = vec![
            Field::new("at", FieldType::Timestamp),
            Field::new("order", FieldType::Json { max_bytes: 100 }),
            Field::new("n", FieldType::Int),
        ];
        Table::new(&Stream {
            name: StreamName::new("heard").unwrap(),
            ack: Ack::Spooled,
            priority: Priority::Normal,
            load: schema::Load::Loader,
            schema: Schema::new(fields, None, Some("at"), None).unwrap(),
        })
    }

    /// The statements of a load of `count` objects.
    fn statements(dialect: Dialect, count: usize) -> Vec<String> {
        let (table, names) = (table(), Names::new("logweir"));
        let objects: Vec<_> = (0..count)
            .map(|number| Found {
                key: format!("raw/heard/dt=2026-11-22/hour=09/01ARZ3NDEKTSV4RRFFQ69G5FAV-{number:010}.ndjson.gz"),
                hour: Millis::parse_rfc3339("2026-11-22T09:00:00Z").unwrap().hour(),
                bytes: 1,
                events: 2,
                crc32: 3,
            })
            .collect();
        let load = Load {
            id: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            objects: &objects,
            manifest: "s3://b/m",
            window: Duration::from_hours(24),
            now: Millis::parse_rfc3339("2026-11-22T11:00:00Z").unwrap(),
            retry: true,
        };
        let of = Of { dialect, names: &names, table: &table };
        let status = |whole| of.status(Status { whole, complete_through: None, held_back_by: None, now: load.now });
        let aside = of.set_aside(&objects[0], load.id, "it's \\ bad", load.now);
        let scripts = [of.load(load), aside, status(true), status(false)];
        let steps = scripts.into_iter().flat_map(|script| {
            assert!(matches!(&script.steps[0], Step::Sql { what: "lock", .. }), "the lock comes first");
            script.steps
        });
        steps
            .filter_map(|step| match step {
                Step::Sql { sql, .. } | Step::Guard { sql, .. } => Some(sql),
                Step::Copy(_) => None,
            })
            .collect()
    }

    #[test]
    fn redshift_is_told_nothing_that_it_does_not_take_and_no_statement_is_too_long() {
        for count in [1, 10_000] {
            let statements = statements(Dialect::Redshift, count);
            for sql in &statements {
                assert!(sql.len() < 100_000, "{}", sql.len());
                for word in
                    ["ON CONFLICT", "TRUNCATE", "FILTER", "DISTINCT", "EXISTS", "::", "WITH", "timestamptz", "\\"]
                {
                    assert!(!sql.contains(word), "{word} in {sql}");
                }
            }
        }
        assert!(statements(Dialect::Redshift, 500).len() < 40, "the Data API takes 40 statements in a transaction");
    }

    #[test]
    fn the_searched_part_of_the_table_is_written_as_two_instants() {
        let statements = statements(Dialect::Redshift, 1).join(";");
        let within = "t.received_at >= TIMESTAMP '2026-11-21 09:00:00.000' AND t.received_at < TIMESTAMP \
                      '2026-11-23 10:00:00.000'";
        assert_eq!(statements.matches(within).count(), 3, "{statements}");
    }

    #[test]
    fn content_is_what_the_device_sent_but_for_the_time_that_event_time_was_taken_from() {
        let statements = statements(Dialect::Postgres, 1);
        let conflicts = statements.iter().find(|sql| sql.contains("heard_conflicts")).unwrap();
        for (column, compared) in [("order", true), ("n", true), ("extra", true), ("at", false), ("received_at", false)]
        {
            let same = format!("t.\"{column}\" IS NOT DISTINCT FROM s.\"{column}\"");
            assert_eq!(conflicts.contains(&same), compared, "{conflicts}");
        }
    }

    #[test]
    fn an_error_is_plain_text_within_its_column() {
        assert_eq!(plain("a\\b\nc"), "a b c");
        assert_eq!(plain(&"é".repeat(1_000)).len(), MAX_ERROR_BYTES);
    }
}
