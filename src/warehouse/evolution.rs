//! What becomes of a stream's table when its declaration changes: columns that are added, and changes that break loads.
//!
//! What a new declaration meets is old: rows in the table, objects that are not loaded yet, and copies of events that a
//! device sends again within the dedupe window. A change is refused if one of them would not load, would load twice, or
//! would be taken for something else. What is merely gone from now on is told.
//!
//! | change | verdict |
//! |---|---|
//! | a field is added | added; null is allowed even if it is required: rows from before have none |
//! | a field is removed | told: the column stays, null in new rows, and a field of its name must be of its type; refused in Redshift if it was required, since the column cannot lose its NOT NULL there |
//! | a field is renamed | it is removed and added: nobody can tell |
//! | a type, or the digits of a decimal, changed | refused: a column keeps its type |
//! | a string becomes longer | widened in Redshift, nothing in PostgreSQL |
//! | a string becomes shorter | refused in Redshift: stored values may be longer; nothing in PostgreSQL |
//! | `max_bytes` of JSON changed | nothing: no table knows it |
//! | a field becomes required | refused: objects and rows from before lack it |
//! | a field becomes optional | NOT NULL is taken off in PostgreSQL, refused in Redshift |
//! | `private` is added, taken off or changed | refused: a copy from before differs from one from after |
//! | `private = "drop"` | as if it was removed, or added when it is taken off |
//! | `time_field` changed | told: `event_time` of new rows means something else |
//! | `unknown_fields` is not `collect` any more | refused: what stored objects have collected would reach no column |
//! | `load` changes between `loader` and `copy_job` | refused: neither knows what the other has loaded |

use std::fmt;

use crate::{
    batch::StreamName,
    schema::{EXTRA, Field, FieldType, Load, Private, Stream, UnknownFields},
    warehouse::{
        Dialect, Table,
        table::{Column, Origin},
    },
};

/// What has become of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evolution {
    /// The stream.
    pub stream: StreamName,
    /// Its table as it was; `None` for a stream that was not declared.
    pub old: Option<Table>,
    /// The columns that are new.
    pub added: Vec<Column>,
    /// The strings that became longer, where the warehouse must be told.
    pub widened: Vec<Widened>,
    /// The columns that may be null from now on, and could not.
    pub relaxed: Vec<Box<str>>,
    /// Whether a view shows other columns than before, though the table has them.
    pub view_changes: bool,
    /// What is worth knowing.
    pub notes: Vec<Told>,
    /// What breaks loads.
    pub breaking: Vec<Told>,
}

/// A string that became longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widened {
    /// The column.
    pub column: Box<str>,
    /// Its new type.
    pub to: FieldType,
}

/// What is told of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The stream.
    pub stream: StreamName,
    /// The field, if it is about one.
    pub field: Option<Box<str>>,
    /// What, and why.
    pub what: String,
}

/// `streams.heard.fields.channel: its type was int …`
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "streams.{}.fields.{field}: {}", self.stream, self.what),
            None => write!(f, "streams.{}: {}", self.stream, self.what),
        }
    }
}

/// What has become of every stream between `old` and `new`, in the order of `new`; what is gone comes last.
pub fn compare(old: &[Stream], new: &[Stream], dialect: Dialect) -> Vec<Evolution> {
    let find = |streams: &'_ [Stream], name: &StreamName| streams.iter().position(|stream| stream.name == *name);
    let mut evolutions: Vec<_> =
        new.iter().map(|new| of_stream(find(old, &new.name).map(|at| &old[at]), new, dialect)).collect();
    evolutions.extend(old.iter().filter(|old| find(new, &old.name).is_none()).map(|old| {
        let mut gone = Evolution::new(&old.name, Some(Table::new(old)));
        gone.note(None, "is not declared any more: its tables stay as they are, and are not loaded");
        gone
    }));
    evolutions
}

/// What has become of a stream.
fn of_stream(old: Option<&Stream>, new: &Stream, dialect: Dialect) -> Evolution {
    let mut evolution = Evolution::new(&new.name, old.map(Table::new));
    let Some(old) = old else { return evolution };
    let (before, after) = (Table::new(old), Table::new(new));
    for column in after.columns.iter().filter(|column| before.column(&column.name).is_none()) {
        evolution.add(column.clone());
    }
    for column in &before.columns {
        match after.column(&column.name) {
            None => evolution.remove(column, dialect, &after),
            Some(new) => evolution.change(column, new, dialect),
        }
    }
    for field in new.schema.fields() {
        if let Some(old) = old.schema.fields().iter().find(|old| old.name == field.name) {
            evolution.private(old, field);
        }
    }
    if before.time_field != after.time_field {
        let name = |table: &Table| table.time_field.as_deref().unwrap_or("received_at").to_owned();
        let what = format!("event_time of new events is {}, and that of older ones {}", name(&after), name(&before));
        evolution.note(None, &what);
        evolution.view_changes = true;
    }
    if before.unknown == UnknownFields::Collect && after.unknown != UnknownFields::Collect {
        evolution.refuse(
            None,
            "unknown_fields was \"collect\": what stored objects have collected in extra would reach no column; leave it as it \
             is",
        );
    }
    evolution.load(before.load, after.load);
    evolution
}

impl Evolution {
    fn new(stream: &StreamName, old: Option<Table>) -> Self {
        Self {
            stream: stream.clone(),
            old,
            added: Vec::new(),
            widened: Vec::new(),
            relaxed: Vec::new(),
            view_changes: false,
            notes: Vec::new(),
            breaking: Vec::new(),
        }
    }

    /// Whether a target that takes tables which `takes` takes had none of this stream before.
    pub fn is_new(&self, takes: impl Fn(&Table) -> Result<(), String>) -> bool {
        self.old.as_ref().is_none_or(|old| takes(old).is_err())
    }

    fn told(&self, field: Option<&str>, what: &str) -> Told {
        Told { stream: self.stream.clone(), field: field.map(Into::into), what: what.to_owned() }
    }

    fn note(&mut self, field: Option<&str>, what: &str) {
        self.notes.push(self.told(field, what));
    }

    fn refuse(&mut self, field: Option<&str>, what: &str) {
        self.breaking.push(self.told(field, what));
    }

    fn add(&mut self, column: Column) {
        if column.required {
            self.note(
                Some(&column.name),
                "is new and required; its column allows null, since rows and objects from before have none",
            );
        }
        self.added.push(column);
    }

    fn remove(&mut self, column: &Column, dialect: Dialect, after: &Table) {
        self.view_changes = true;
        if column.origin == Origin::Extra {
            // What becomes of unknown fields is judged as a whole.
            return;
        }
        if column.required && !self.relax(column, dialect) {
            self.refuse(
                Some(&column.name),
                "was required, and is removed: its column is NOT NULL, which Redshift cannot take off, and new events lack it; \
                 keep it, or load into a new table",
            );
            return;
        }
        let values = match after.unknown {
            UnknownFields::Collect => "its values are collected in extra",
            UnknownFields::Keep => "its values stay in the objects and reach no table",
            UnknownFields::Reject => "events that have it are rejected",
        };
        let what = format!(
            "is removed: the column stays, null in what is loaded from now on; {values}. A field of that name may only come \
             back with the same type, {}. If it was renamed, the new column begins empty",
            dialect.column_type(column.kind)
        );
        self.note(Some(&column.name), &what);
    }

    fn change(&mut self, old: &Column, new: &Column, dialect: Dialect) {
        let name = Some(&*new.name);
        match (old.kind, new.kind) {
            (FieldType::Json { .. }, FieldType::Json { .. }) => {}
            (FieldType::String { .. }, FieldType::String { .. }) if dialect == Dialect::Postgres => {}
            (FieldType::String { max_bytes: old }, FieldType::String { max_bytes: longer }) if longer > old => {
                self.widened.push(Widened { column: new.name.clone(), to: new.kind });
            }
            (FieldType::String { max_bytes: old }, FieldType::String { max_bytes: shorter }) if shorter < old => {
                let what = format!(
                    "max_bytes was {old}, and is {shorter}: values that are stored may be longer, and a VARCHAR can only be \
                     widened; leave it as it is"
                );
                self.refuse(name, &what);
            }
            (was, is) if was != is => {
                let what = format!(
                    "its type was {}, and is {}: a column keeps its type, and objects that are not loaded yet have values of \
                     the old one; declare a field of another name",
                    dialect.column_type(was),
                    dialect.column_type(is),
                );
                self.refuse(name, &what);
            }
            _ => {}
        }
        if new.required && !old.required {
            self.refuse(
                name,
                "is required now: rows and objects from before may lack it, and a table with NOT NULL would not load them; \
                 leave it optional",
            );
        }
        if old.required && !new.required && !self.relax(new, dialect) {
            self.refuse(
                name,
                "is not required any more: its column is NOT NULL, which Redshift cannot take off, and events without it would \
                 not load; leave it required, or load into a new table",
            );
        }
    }

    /// Lets `column` be null from now on, if it can. What a COPY JOB loads into has no NOT NULL.
    fn relax(&mut self, column: &Column, dialect: Dialect) -> bool {
        if self.old.as_ref().is_some_and(|old| old.load == Load::CopyJob) {
            return true;
        }
        if dialect == Dialect::Postgres {
            self.relaxed.push(column.name.clone());
        }
        dialect == Dialect::Postgres
    }

    fn private(&mut self, old: &Field, new: &Field) {
        let hashed = |field: &Field| field.private == Some(Private::Hash);
        let dropped = |field: &Field| field.private == Some(Private::Drop);
        // What is dropped has no column: it was removed, or is added.
        if hashed(old) != hashed(new) && !dropped(old) && !dropped(new) {
            let (was, is) = if hashed(new) { ("as it came", "hashed") } else { ("hashed", "as it came") };
            let what = format!(
                "was stored {was}, and is {is}: copies of an event from before and after would be taken for two that differ, and \
                 devices counted twice; declare a field of another name"
            );
            self.refuse(Some(&new.name), &what);
        }
    }

    fn load(&mut self, old: Load, new: Load) {
        match (old, new) {
            (Load::Loader, Load::CopyJob) => self.refuse(
                None,
                "load was \"loader\", and is \"copy_job\": the job does not know what the loader has loaded, and would load it \
                 again or leave out what it has not; begin with a new stream, or a new warehouse.schema",
            ),
            (Load::CopyJob, Load::Loader) => self.refuse(
                None,
                "load was \"copy_job\", and is \"loader\": the loader's ledger does not know what the job has loaded, and it \
                 would load it again; begin with a new stream, or a new warehouse.schema",
            ),
            (Load::Loader | Load::CopyJob, Load::None) => {
                self.note(None, "is not loaded any more: set load again to go on where it ended");
            }
            (Load::None, Load::Loader | Load::CopyJob) => {
                self.note(None, "is loaded from now on: make its tables before, and see that nothing else loads it");
            }
            _ => {}
        }
    }

    /// What is added, in words: a line for each column.
    pub fn additions(&self, dialect: Dialect) -> Vec<Told> {
        if self.old.is_none() {
            return vec![self.told(None, "is new")];
        }
        let added = self.added.iter().map(|column| {
            let what = if &*column.name == EXTRA { "collects undeclared fields" } else { "is new" };
            self.told(Some(&column.name), &format!("{what}, of type {}", dialect.column_type(column.kind)))
        });
        let widened = self.widened.iter().map(|Widened { column, to }| {
            self.told(Some(column), &format!("is widened to {}", dialect.column_type(*to)))
        });
        let relaxed = self.relaxed.iter().map(|column| self.told(Some(column), "may be null"));
        added.chain(widened).chain(relaxed).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::schema::{Ack, Priority, PrivacyKey, Schema};

    fn stream(load: Load, fields: &[Field], unknown: Option<UnknownFields>, time: Option<&str>) -> Stream {
        let key = Some(Arc::new(PrivacyKey::new(b"0123456789abcdef")));
        let schema = Schema::new(fields.to_vec(), unknown, time, key).unwrap();
        let name = StreamName::new("heard").unwrap();
        Stream { name, ack: Ack::default(), priority: Priority::default(), load, schema }
    }

    fn loaded(fields: &[Field]) -> Stream {
        stream(Load::Loader, fields, None, None)
    }

    fn only(old: Stream, new: Stream, dialect: Dialect) -> Evolution {
        let mut evolutions = compare(&[old], &[new], dialect);
        assert_eq!(evolutions.len(), 1);
        evolutions.remove(0)
    }

    fn int(name: &str) -> Field {
        Field::new(name, FieldType::Int)
    }

    #[test]
    fn a_field_that_is_not_dropped_any_more_is_added_and_one_that_is_dropped_is_gone() {
        let dropped = Field { private: Some(Private::Drop), ..int("b") };
        let hashed = Field { private: Some(Private::Hash), ..int("b") };
        for after in [int("b"), hashed.clone()] {
            let evolution = only(loaded(&[int("a"), dropped.clone()]), loaded(&[int("a"), after]), Dialect::Redshift);
            assert_eq!((evolution.added.len(), evolution.breaking), (1, vec![]));
        }
        for before in [int("b"), hashed] {
            let evolution = only(loaded(&[int("a"), before]), loaded(&[int("a"), dropped.clone()]), Dialect::Redshift);
            assert_eq!((evolution.added, evolution.notes.len(), evolution.breaking), (vec![], 1, vec![]));
            assert!(evolution.view_changes);
        }
    }

    #[test]
    fn a_string_is_widened_where_columns_have_a_width_and_narrowed_where_they_have_none() {
        let string = |max_bytes| Field::new("a", FieldType::String { max_bytes });
        let evolution = |old, new, dialect| only(loaded(&[string(old)]), loaded(&[string(new)]), dialect);
        let widened = Widened { column: "a".into(), to: FieldType::String { max_bytes: 9 } };
        assert_eq!(evolution(8, 9, Dialect::Redshift).widened, [widened]);
        assert_eq!(evolution(9, 8, Dialect::Redshift).breaking.len(), 1);
        for (old, new) in [(8, 9), (9, 8)] {
            let evolution = evolution(old, new, Dialect::Postgres);
            assert_eq!((evolution.widened, evolution.breaking), (vec![], vec![]));
        }
        let json = |max_bytes| Field::new("a", FieldType::Json { max_bytes });
        let json = only(loaded(&[json(9)]), loaded(&[json(8)]), Dialect::Redshift);
        assert_eq!((json.widened, json.breaking), (vec![], vec![]));
    }

    #[test]
    fn what_may_be_missing_from_now_on_depends_on_the_table() {
        let (must, may) = (Field { required: true, ..int("a") }, int("a"));
        let evolution = |load, new: &[Field], dialect| {
            let of = |fields: &[Field]| stream(load, &[fields, &[int("b")]].concat(), None, None);
            only(of(std::slice::from_ref(&must)), of(new), dialect)
        };
        for new in [&[may][..], &[]] {
            assert_eq!(evolution(Load::Loader, new, Dialect::Redshift).breaking.len(), 1);
            let postgres = evolution(Load::Loader, new, Dialect::Postgres);
            assert_eq!((postgres.relaxed, postgres.breaking), (vec!["a".into()], vec![]));
            // What a job loads into has no NOT NULL.
            let job = evolution(Load::CopyJob, new, Dialect::Redshift);
            assert_eq!((job.relaxed, job.breaking), (vec![], vec![]));
        }
    }

    #[test]
    fn another_time_and_other_unknown_fields_are_judged() {
        let of = |unknown, time| {
            let at = [Field::new("at", FieldType::Timestamp), Field::new("then", FieldType::Timestamp)];
            stream(Load::Loader, &at, Some(unknown), time)
        };
        let (collect, keep) = (UnknownFields::Collect, UnknownFields::Keep);
        let time = only(of(collect, Some("at")), of(collect, Some("then")), Dialect::Redshift);
        assert_eq!((time.notes.len(), time.breaking.len(), time.view_changes), (1, 0, true));
        let kept = only(of(collect, None), of(keep, None), Dialect::Redshift);
        assert_eq!((kept.notes.len(), kept.breaking.len()), (0, 1));
        let collected = only(of(keep, None), of(collect, None), Dialect::Redshift);
        assert_eq!((&*collected.added[0].name, collected.breaking.len()), (EXTRA, 0));
        let rejected = only(of(keep, None), of(UnknownFields::Reject, None), Dialect::Redshift);
        assert_eq!((rejected.added, rejected.notes, rejected.breaking), (vec![], vec![], vec![]));
    }

    #[test]
    fn streams_come_and_go_and_change_what_loads_them() {
        assert_eq!(compare(&[], &[loaded(&[int("a")])], Dialect::Redshift)[0].old, None);
        let gone = compare(&[loaded(&[int("a")])], &[], Dialect::Redshift);
        assert_eq!((gone.len(), gone[0].notes.len(), gone[0].breaking.len()), (1, 1, 0));
        let change = |old, new| {
            let of = |load| stream(load, &[int("a")], None, None);
            let evolution = only(of(old), of(new), Dialect::Redshift);
            (evolution.notes.len(), evolution.breaking.len())
        };
        assert_eq!(change(Load::Loader, Load::CopyJob), (0, 1));
        assert_eq!(change(Load::CopyJob, Load::Loader), (0, 1));
        for load in [Load::Loader, Load::CopyJob] {
            let changes = (change(load, Load::None), change(Load::None, load), change(load, load));
            assert_eq!(changes, ((1, 0), (1, 0), (0, 0)));
        }
    }
}
