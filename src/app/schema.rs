//! `logweir schema`: what a warehouse is told of the streams, and what has changed since.

use super::stores::{self, NoObjects, UnknownSink};
use crate::{
    config::{Loaded, SinkTarget, WarehouseKind, nearest},
    sink::Codec,
    warehouse::{
        Dialect, Names, Table,
        evolution::{self, Evolution, Told},
        target::{Counted, Definitions, Objects, Target, TargetError},
    },
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRequest {
    /// The target's name.
    pub target: String,
    /// The stream; all of them without.
    pub stream: Option<String>,
}

/// A schema cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SchemaFailure {
    /// There is no such target.
    #[error("there is no target {name:?}: {remedy}")]
    UnknownTarget {
        /// What was asked for.
        name: String,
        /// What was meant, or what there is.
        remedy: String,
    },
    /// There is no such stream.
    #[error("there is no stream {name:?}: {remedy}")]
    UnknownStream {
        /// What was asked for.
        name: String,
        /// What was meant, or what there is.
        remedy: String,
    },
    /// The sink whose objects are loaded is none.
    #[error(transparent)]
    Sink(#[from] UnknownSink),
    /// The target cannot hold what is declared.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What has changed would break loads.
    #[error(transparent)]
    Breaking(#[from] Breaking),
}

/// What has changed would break loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaking {
    /// What the older configuration was read from.
    pub since: String,
    /// Each change, with the reason; there is at least one.
    pub changes: Vec<Told>,
}

impl std::error::Error for Breaking {}

impl std::fmt::Display for Breaking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "since {} something has changed that would break loads:", self.since)?;
        self.changes.iter().try_for_each(|change| write!(f, "\n  {change}"))
    }
}

/// What has changed between two configurations, none of which breaks loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Stream by stream.
    pub evolutions: Vec<Evolution>,
    /// The SQL in which types are told.
    pub dialect: Dialect,
    /// What has changed beside the streams, and what that means.
    pub notes: Vec<String>,
}

/// What targets are written from.
///
/// # Errors
/// [`UnknownSink`] if the sink that the objects are read from is none.
pub fn definitions(loaded: &Loaded) -> Result<Definitions, UnknownSink> {
    let (config, warehouse) = (&loaded.config, &loaded.config.warehouse);
    let sink = stores::named(config, warehouse.sink.as_deref())?;
    let root = match sink.target() {
        SinkTarget::S3(bucket) => format!("s3://{}/", bucket.bucket),
        SinkTarget::Firehose(_) => return Err(NoObjects::of(sink).into()),
        SinkTarget::File { dir } => {
            let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
            format!("{}/", dir.display().to_string().trim_end_matches('/'))
        }
    };
    let codec = Codec::named(sink.codec().as_str()).unwrap_or_default();
    let counted = config.rollups.streams.iter().map(|(stream, rollup)| Counted {
        stream: stream.to_owned(),
        device: rollup.device.clone(),
        dimensions: rollup.dimensions.clone(),
    });
    Ok(Definitions {
        tables: loaded.streams.iter().map(Table::new).collect(),
        names: Names::new(&warehouse.schema),
        objects: Objects { root, prefix: sink.prefix.clone(), codec },
        timezone: config.rollups.timezone.clone(),
        dedupe_window: warehouse.dedupe_window.get(),
        rollup_days: config.rollups.days,
        rollups: counted.collect(),
        iam_role: warehouse.iam_role.clone(),
        region: warehouse.region.clone(),
    })
}

/// What `asked` for target is told: everything, or what has changed since an older configuration.
///
/// # Errors
/// [`SchemaFailure`].
pub fn schema(loaded: &Loaded, asked: &SchemaRequest, since: Option<&Loaded>) -> Result<String, SchemaFailure> {
    let target = Target::named(&asked.target).ok_or_else(|| SchemaFailure::UnknownTarget {
        name: asked.target.clone(),
        remedy: nearest(&asked.target, &Target::ALL.map(Target::as_str)).map_or_else(
            || format!("there is{}", Target::ALL.map(|target| format!("\n  {target}: {}", target.about())).concat()),
            |near| format!("did you mean {near}?"),
        ),
    })?;
    let old = since.map(definitions).transpose()?;
    let mut definitions = definitions(loaded)?;
    if let Some(name) = &asked.stream {
        if !definitions.tables.iter().any(|table| table.stream.as_str() == name) {
            let known: Vec<_> = definitions.tables.iter().map(|table| table.stream.as_str()).collect();
            return Err(SchemaFailure::UnknownStream { name: name.clone(), remedy: instead(name, &known) });
        }
        definitions.tables.retain(|table| table.stream.as_str() == name);
        definitions.rollups.retain(|counted| counted.stream == *name);
    }
    let (Some(since), Some(old)) = (since, old) else { return Ok(target.write(&definitions)?) };
    let (schema, was) = (&loaded.config.warehouse.schema, &since.config.warehouse.schema);
    if schema != was {
        let text = target.write(&definitions)?;
        return Ok(format!(
            "-- warehouse.schema was {was} in {}, and is {schema}: all tables are new.\n{text}",
            since.source
        ));
    }
    let mut evolutions = compare(loaded, since, target.dialect());
    if let Some(name) = &asked.stream {
        evolutions.retain(|evolution| evolution.stream.as_str() == name);
    }
    let Changes { evolutions, .. } = sound(evolutions, since, target.dialect())?;
    let told = evolutions.iter().flat_map(|evolution| &evolution.notes).map(ToString::to_string);
    let told = told.chain(recompressed(loaded, since)).chain(recounted(loaded, since));
    let comment = target.comment().unwrap_or_default();
    let told: Vec<_> = told.map(|told| format!("{comment}{told}\n")).collect();
    let Some(altered) = target.alter(&old, &definitions, &evolutions) else {
        return Ok(with_comments(target, &told, target.write(&definitions)?));
    };
    let mut out = format!("-- What has changed since {}, for {target}.\n{}", since.source, told.concat());
    let altered = altered?;
    out.push_str(if altered.is_empty() { "-- The tables stay as they are.\n" } else { &altered });
    Ok(out)
}

/// `text` with lines of comment before it, where it can have some; the line that names its interpreter stays the first.
fn with_comments(target: Target, comments: &[String], text: String) -> String {
    if target.comment().is_none() || comments.is_empty() {
        return text;
    }
    let first = if text.starts_with("#!") { text.find('\n').map_or(text.len(), |end| end + 1) } else { 0 };
    let (interpreter, rest) = text.split_at(first);
    format!("{interpreter}{}{rest}", comments.concat())
}

/// What has changed for the configured warehouse; without one as for Redshift, which takes the fewest changes.
///
/// # Errors
/// [`Breaking`] if it would break loads.
pub fn changes(loaded: &Loaded, since: &Loaded) -> Result<Changes, Breaking> {
    let dialect = match loaded.config.warehouse.kind {
        WarehouseKind::Postgres => Dialect::Postgres,
        WarehouseKind::Redshift | WarehouseKind::None => Dialect::Redshift,
    };
    let mut changes = sound(compare(loaded, since, dialect), since, dialect)?;
    changes.notes = moved(loaded, since);
    Ok(changes)
}

/// What is told where objects are read from another place, or loaded into another one.
fn moved(loaded: &Loaded, since: &Loaded) -> Vec<String> {
    let (is, was) = (&loaded.config.warehouse, &since.config.warehouse);
    let mut notes = Vec::new();
    if is.kind != was.kind || is.schema != was.schema {
        notes.push(
            "the warehouse is another one, or its schema: make its tables; everything is loaded into them".to_owned(),
        );
    }
    if let (Ok(is), Ok(was)) = (definitions(loaded), definitions(since))
        && (&is.objects.root, &is.objects.prefix) != (&was.objects.root, &was.objects.prefix)
    {
        let told = format!(
            "objects are read from {}{} instead of {}{}: the ledger knows them by their keys, so what is the same under \
             another prefix is loaded again",
            is.objects.root, is.objects.prefix, was.objects.root, was.objects.prefix
        );
        notes.push(told);
    }
    notes.extend(recompressed(loaded, since));
    notes.extend(recounted(loaded, since));
    notes
}

/// What is told where objects are compressed in another way than before.
fn recompressed(loaded: &Loaded, since: &Loaded) -> Option<String> {
    let (is, was) = (definitions(loaded).ok()?.objects, definitions(since).ok()?.objects);
    let same = (&is.root, &is.prefix) == (&was.root, &was.prefix);
    (same && is.codec != was.codec).then(|| {
        format!(
            "objects are {} and no longer {}, under the same prefix: `logweir load`, the audit, Athena and DuckDB read both; a \
             COPY JOB reads one, so a stream with load = \"copy_job\" wants a sink with a prefix of its own",
            is.codec.as_str(),
            was.codec.as_str()
        )
    })
}

/// What is told where something else is counted of a stream than before.
fn recounted(loaded: &Loaded, since: &Loaded) -> Vec<String> {
    let (is, was) = (&loaded.config.rollups, &since.config.rollups);
    let of_both = is.streams.iter().filter_map(|(stream, is)| Some((stream, is, was.streams.get(stream)?)));
    of_both
        .filter(|(_, now, before)| now != before || is.timezone != was.timezone)
        .map(|(stream, ..)| {
            format!(
                "rollups.streams.{stream}: its device, its dimensions or the zone are others: the next load counts all of its \
                 days anew, final ones too, as far as their events are still in the table"
            )
        })
        .collect()
}

fn compare(loaded: &Loaded, since: &Loaded, dialect: Dialect) -> Vec<Evolution> {
    evolution::compare(&since.streams, &loaded.streams, dialect)
}

fn sound(evolutions: Vec<Evolution>, since: &Loaded, dialect: Dialect) -> Result<Changes, Breaking> {
    let changes: Vec<_> = evolutions.iter().flat_map(|evolution| evolution.breaking.iter().cloned()).collect();
    if changes.is_empty() {
        Ok(Changes { evolutions, dialect, notes: Vec::new() })
    } else {
        Err(Breaking { since: since.source.clone(), changes })
    }
}

/// What was meant by `name`, or what there is.
fn instead(name: &str, known: &[&str]) -> String {
    nearest(name, known)
        .map_or_else(|| format!("there is {}", known.join(", ")), |near| format!("did you mean {near}?"))
}
