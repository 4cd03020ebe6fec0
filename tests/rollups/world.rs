//! A warehouse with one stream, and what its figures should be.

use std::{fmt::Write as _, time::Duration};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use logweir::{
    batch::{Millis, StreamName},
    schema::{Ack, Field, FieldType, Load, Priority, Schema, Stream},
    sink::Codec,
    warehouse::{
        Dialect, Names, Table,
        rollup::{self, Summary},
        table::{literal, quoted},
        target::{Counted, Definitions, Objects},
    },
};

use crate::{
    model::{Event, Model, Rows},
    postgres::Postgres,
    session::Db,
};

pub(crate) fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

pub(crate) fn millis(at: Timestamp) -> Millis {
    Millis::new(at.as_millisecond()).unwrap()
}

pub(crate) struct World {
    pub(crate) db: Db,
    pub(crate) definitions: Definitions,
    model: Model,
    kinds: Vec<FieldType>,
    loaded: Vec<Event>,
    loads: u64,
    through: Option<Timestamp>,
    /// What was promised at the last refresh, and what stood after it.
    refreshed_through: Option<Timestamp>,
    stands: Rows,
}

/// The stream `heard`, whose devices are in `ad_id`.
pub(crate) fn definitions(schema: &str, zone: &str, days: u32, dimensions: &[(&str, FieldType)]) -> Definitions {
    let device = Field::new("ad_id", FieldType::String { max_bytes: 36 });
    let fields = dimensions.iter().map(|&(name, kind)| Field::new(name, kind));
    let fields = std::iter::once(device).chain(fields).collect();
    let stream = Stream {
        name: StreamName::new("heard").unwrap(),
        ack: Ack::Spooled,
        priority: Priority::Normal,
        load: Load::Loader,
        schema: Schema::new(fields, None, None, None).unwrap(),
    };
    Definitions {
        tables: vec![Table::new(&stream)],
        names: Names::new(schema),
        objects: Objects { root: "s3://logs/".into(), prefix: String::new(), codec: Codec::Gzip },
        timezone: zone.into(),
        dedupe_window: Duration::from_hours(168),
        rollup_days: days,
        rollups: vec![Counted {
            stream: "heard".into(),
            device: "ad_id".into(),
            dimensions: dimensions.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }],
        iam_role: None,
        region: None,
    }
}

/// The stream's table, and that of the loader's promises, as the loader makes them.
pub(crate) fn tables(definitions: &Definitions) -> String {
    let names = &definitions.names;
    let mut sql = format!("CREATE SCHEMA {};\n", quoted(names.schema()));
    for table in &definitions.tables {
        let column = |column: &logweir::warehouse::table::Column| {
            let null = if column.required { " NOT NULL" } else { "" };
            format!("{} {}{null}", quoted(&column.name), Dialect::Postgres.column_type(column.kind))
        };
        let columns: Vec<_> = table.columns.iter().map(column).collect();
        writeln!(sql, "CREATE TABLE {} ({});", names.of(table.stream.as_str()), columns.join(", ")).unwrap();
    }
    let status = names.of(Names::STATUS);
    writeln!(
        sql,
        "CREATE TABLE {status} (stream text, complete_through timestamptz, late_rows bigint, set_aside_objects bigint, \
         set_aside_events bigint, held_back_by text, last_load timestamptz, last_load_id text, checked_at timestamptz);"
    )
    .unwrap();
    sql
}

impl World {
    pub(crate) async fn new(
        server: &Postgres,
        schema: &str,
        zone: &str,
        days: u32,
        dimensions: &[(&str, FieldType)],
    ) -> Self {
        let db = Db::connect(server.port).await;
        let definitions = definitions(schema, zone, days, dimensions);
        db.execute(&tables(&definitions)).await;
        let ddl = rollup::ddl(Dialect::Postgres, &definitions);
        // Made again, nothing happens.
        db.execute(&format!("{ddl}{ddl}")).await;
        db.execute(&format!("INSERT INTO {schema}.load_status (stream, last_load_id) VALUES ('heard', '0')")).await;
        let model = Model {
            zone: TimeZone::get(zone).unwrap(),
            days: days.into(),
            dimensions: definitions.rollups[0].dimensions.clone(),
        };
        Self {
            db,
            definitions,
            model,
            kinds: dimensions.iter().map(|(_, kind)| *kind).collect(),
            loaded: Vec::new(),
            loads: 0,
            through: None,
            refreshed_through: None,
            stands: Rows::new(),
        }
    }

    fn schema(&self) -> &str {
        self.definitions.names.schema()
    }

    /// Loads events, as one load.
    pub(crate) async fn load(&mut self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        self.loads += 1;
        let text = |value: Option<&String>| value.map_or_else(|| "NULL".into(), |value| literal(value).to_string());
        let dimensions = &self.definitions.rollups[0].dimensions;
        let columns: String = dimensions.iter().flat_map(|name| [", ".to_owned(), quoted(name).to_string()]).collect();
        for events in events.chunks(1_000) {
            let row = |event: &Event| {
                let mut row =
                    format!("('{}', '{}', '{}', {}", event.id, event.at, event.received, text(event.device.as_ref()));
                for (value, kind) in event.values.iter().zip(&self.kinds) {
                    let zone = if *kind == FieldType::Timestamp { " AT TIME ZONE 'UTC'" } else { "" };
                    let cast = if zone.is_empty() { Dialect::Postgres.column_type(*kind) } else { "timestamp".into() };
                    write!(row, ", CAST({} AS {cast}){zone}", text(value.as_ref())).unwrap();
                }
                row + ")"
            };
            let rows: Vec<_> = events.iter().map(row).collect();
            let sql = format!(
                "INSERT INTO {}.heard (event_id, event_time, received_at, ad_id{columns}) VALUES {}",
                self.schema(),
                rows.join(", ")
            );
            self.db.execute(&sql).await;
        }
        let sql = format!("UPDATE {}.load_status SET last_load_id = '{}'", self.schema(), self.loads);
        self.db.execute(&sql).await;
        self.loaded.extend(events.iter().cloned());
    }

    /// The loader promises that everything received before `through` is there.
    pub(crate) async fn through(&mut self, through: Option<Timestamp>) {
        self.through = through.map(|through| Timestamp::from_millisecond(through.as_millisecond()).unwrap());
        let through = through.map_or_else(|| "NULL".into(), |_| format!("'{}'", self.through.unwrap()));
        let sql = format!("UPDATE {}.load_status SET complete_through = {through}", self.schema());
        self.db.execute(&sql).await;
    }

    pub(crate) async fn refresh(&mut self, now: &str) -> Summary {
        let summary = rollup::run(&mut self.db, None, &self.definitions, None, millis(at(now))).await.unwrap();
        self.refreshed();
        summary
    }

    /// The figures were refreshed.
    pub(crate) fn refreshed(&mut self) {
        let counted = self.model.rows(&self.loaded, self.through);
        self.stands = self.model.refreshed(&self.stands, counted, self.refreshed_through);
        self.refreshed_through = self.refreshed_through.max(self.through);
    }

    /// How many of `events` come after the figures of their day were final.
    pub(crate) fn late_for_final(&self, events: &[Event]) -> usize {
        let rows = self.model.rows(events, self.refreshed_through);
        rows.iter()
            .filter(|((rollup, ..), row)| *rollup == "daily_active" && row.3)
            .map(|(_, row)| row.0 as usize)
            .sum()
    }

    /// Compares all figures with what they should be.
    pub(crate) async fn compare(&mut self) {
        assert_eq!(read(&mut self.db, &self.definitions.names).await, self.stands);
    }
}

/// All figures of a warehouse. Panics if there are two rows of the same.
pub(crate) async fn read(db: &mut Db, names: &Names) -> Rows {
    use logweir::warehouse::load::Session as _;
    let mut rows = Rows::new();
    for rollup in Names::ROLLUPS {
        let (when, by_value) = (if rollup.starts_with("daily") { "day" } else { "hour" }, rollup.ends_with("counts"));
        let value = if by_value { "dimension, value" } else { "NULL, NULL" };
        let sql = format!(
            "SELECT CAST({when} AS timestamp), {value}, events, devices, is_complete, is_final FROM {}",
            names.of(rollup)
        );
        for row in db.rows(&sql).await.unwrap() {
            let [when, dimension, value, events, devices, complete, last] = row.try_into().unwrap();
            let dimension = dimension.map(|dimension| (dimension, value));
            let when: DateTime = when.unwrap().parse().unwrap();
            let number = |number: Option<String>| number.unwrap().parse().unwrap();
            let flag = |flag: Option<String>| flag.unwrap() == "t";
            let row = (number(events), number(devices), flag(complete), flag(last));
            let before = rows.insert((rollup, when, dimension), row);
            assert_eq!(before, None, "{rollup} has two rows of {when}");
        }
    }
    rows
}
