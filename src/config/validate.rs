//! The rules that relate settings of different sections.

use std::path::{Component, Path, PathBuf};

use super::{
    Config,
    ingest::UndeclaredStreams,
    keys::{self, Key, Listed},
    mute,
    nearest::nearest,
    report::Report,
    server::is_loopback,
    setting::Setting,
    sinks::{self, SinkTarget},
    size::Size,
    spool, streams,
    streams::DeclaredStream,
    warehouse::WarehouseKind,
};
use crate::schema::{
    Ack, Load, Private, Stream, column_is_cut, column_taken, schema_is_cut, stream_is_cut, table_taken,
};

/// Notes what is wrong with `config` in `report`, and with the keys of its keys file in `file`; and makes the streams that it
/// declares.
pub(super) fn check(config: &Config, report: &mut Report, mut file: Option<&mut Report>) -> Vec<Stream> {
    config.server.check(report);
    config.admin.check(report);
    config.limits.check(report);
    config.ingest.check(report);
    config.queue.check(report);
    config.pacing.check(report);
    config.admission.check(report);
    config.hints.check(report);
    config.spool.check(report);
    spool::kind::check(config, report);
    sinks::check(config, report);
    config.ledger.check(report);
    config.fleet.check(report);
    let inline = Listed { keys: &config.keys, report: &mut *report, environment: true };
    let of_file = file.as_deref_mut().map(|report| Listed { keys: &config.keys_of_file, report, environment: false });
    keys::check(std::iter::once(inline).chain(of_file).collect());
    mute::check(&config.mute, report);
    config.privacy.check(report);
    config.warehouse.check(report);
    config.rollups.check(&config.streams, report);
    config.drain.check(report);
    config.watch.check(report);
    keyless(config, report);
    ports(config, report);
    sizes(config, report);
    directories(config, report);
    access(config, report);
    opened(config, &config.keys, report);
    quotas(config, &config.keys, report);
    if let Some(file) = file {
        opened(config, &config.keys_of_file, file);
        quotas(config, &config.keys_of_file, file);
    }
    muted(config, report);
    acks(config, report);
    loads(config, report);
    cut_names(config, report);
    counted(config, report);
    streams::resolve(&config.streams, config.privacy.key().as_ref(), report)
}

/// Who names a file of keys wants keys: one that is empty opens nothing to everybody.
fn keyless(config: &Config, report: &mut Report) {
    if config.keys_file.is_some() && config.all_keys().next().is_none() {
        report.between(
            "keys_file",
            &["keys".into()],
            "names a file without a key, and there is none elsewhere: everybody could post",
            "put a [[keys]] section there, as `logweir key new` prints it, or leave keys_file out",
        );
    }
}

fn ports(config: &Config, report: &mut Report) {
    let (public, admin) = (config.server.listen, config.admin.listen);
    let same_host = public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
    // Port 0 is whichever is free, so two of them differ.
    if public.port() == admin.port() && public.port() != 0 && same_host {
        report.between(
            "admin.listen",
            &["server.listen".into()],
            format!("is {admin}, which server.listen ({public}) already takes"),
            "choose another port",
        );
    }
    if !is_loopback(public) && config.all_keys().next().is_none() {
        report.between(
            "server.listen",
            &["keys".into(), "keys_file".into()],
            format!("is {public}, which others can reach, and there is no key"),
            "add a [[keys]] section, or listen on 127.0.0.1",
        );
    }
}

fn sizes(config: &Config, report: &mut Report) {
    let (limits, budget, segment) = (&config.limits, config.queue.bytes, config.spool.segment_size);
    let batch = limits.encoded_body.plus(limits.decoded_body).plus(limits.output);
    if batch > budget {
        report.between(
            "queue.bytes",
            &["limits.encoded_body".into(), "limits.decoded_body".into(), "limits.output".into()],
            format!(
                "is {budget}, less than the largest batch ({batch}: limits.encoded_body, limits.decoded_body and \
                 limits.output)"
            ),
            "raise it, or lower the limits: such a batch would be refused for ever",
        );
    }
    if config.spool.keeps() && segment < limits.output.plus(limits.output) {
        report.between(
            "spool.segment_size",
            &["limits.output".into()],
            format!("is {segment}, less than twice limits.output ({})", limits.output),
            "raise it, or lower limits.output: a segment holds whole batches",
        );
    }
    let (rate, floor) = (config.spool.max_rate, config.pacing.capacity_floor);
    if rate != Size::default() && rate < floor {
        report.between(
            "spool.max_rate",
            &["pacing.capacity_floor".into()],
            format!("is {rate}, less than pacing.capacity_floor ({floor})"),
            "raise it, or lower pacing.capacity_floor to it: what is never written must not be believed, or more is let in",
        );
    }
    let (declared, most) = (config.streams.len(), limits.streams);
    if declared > most {
        report.between(
            "limits.streams",
            &["streams".into()],
            format!("is {most}, fewer than the {declared} streams that are declared"),
            "raise it, or declare fewer",
        );
    }
}

/// The spool and the objects must not lie in each other: what one makes, the other would take for its own.
fn directories(config: &Config, report: &mut Report) {
    if !config.spool.keeps() {
        return;
    }
    let spool = resolved(&config.spool.dir);
    for (index, sink) in config.sinks.iter().enumerate() {
        let SinkTarget::File { dir } = sink.target() else { continue };
        let objects = resolved(dir);
        if !dir.as_os_str().is_empty() && (spool.starts_with(&objects) || objects.starts_with(&spool)) {
            report.between(
                "spool.dir",
                &[Setting::from("sinks").index(index).key("dir")],
                format!("is {}, and sinks[{index}].dir is {}", config.spool.dir.display(), dir.display()),
                "choose directories of which neither lies in the other",
            );
        }
    }
}

/// `path` from the root, without `.` and `..`, as far as its text tells. Links are not followed: neither directory
/// needs to exist yet.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                resolved.pop();
            }
            other => resolved.push(other),
        }
    }
    resolved
}

/// Something can be posted.
fn access(config: &Config, report: &mut Report) {
    if config.ingest.undeclared_streams == UndeclaredStreams::Refuse && config.streams.is_empty() {
        report.between(
            "ingest.undeclared_streams",
            &["streams".into()],
            "is \"refuse\", and no stream is declared: every batch would be answered 404, which tells devices to drop it",
            "add a [streams.NAME] section, or set ingest.undeclared_streams = \"accept\"",
        );
    }
}

/// One of `keys` that opens a stream which is refused was meant for another one.
fn opened(config: &Config, keys: &[Key], report: &mut Report) {
    if config.ingest.undeclared_streams == UndeclaredStreams::Accept || config.streams.is_empty() {
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        for (place, stream) in key.streams.iter().enumerate() {
            if config.streams.get(stream).is_none() {
                report.between(
                    Setting::from("keys").index(index).key("streams").index(place),
                    &["streams".into()],
                    format!("is {stream:?}, which is not declared, and undeclared streams are refused"),
                    format!("add [streams.{stream}], or set ingest.undeclared_streams = \"accept\""),
                );
            }
        }
    }
}

/// A quota is a fleet's, and its part is an instance's.
fn quotas(config: &Config, keys: &[Key], report: &mut Report) {
    for (index, key) in keys.iter().enumerate() {
        let setting = Setting::from("keys").index(index).key("quota");
        key.quota.check_parts(&setting, config.fleet.instances, report);
    }
}

/// A rule that names what there is not would mute nobody, and whoever wrote it believes that it does.
fn muted(config: &Config, report: &mut Report) {
    let keys: Vec<&str> = config.all_keys().map(|key| key.name.as_str()).collect();
    let streams: Vec<&str> = config.streams.iter().map(|(name, _)| name).collect();
    let refused = config.ingest.undeclared_streams == UndeclaredStreams::Refuse;
    for (index, rule) in config.mute.iter().enumerate() {
        let setting = |key: &str| Setting::from("mute").index(index).key(key);
        if let Some(key) = rule.key.as_deref().filter(|key| !keys.contains(key)) {
            report.between(
                setting("key"),
                &["keys".into(), "keys_file".into()],
                format!("is {key:?}, which no key is named"),
                instead(key, &keys, "name a key as in [[keys]], or leave the rule out"),
            );
        }
        if let Some(stream) = rule.stream.as_deref().filter(|stream| refused && !streams.contains(stream)) {
            report.between(
                setting("stream"),
                &["streams".into()],
                format!("is {stream:?}, which is not declared, and undeclared streams are refused anyway"),
                instead(stream, &streams, "name a stream as in [streams.NAME], or leave the rule out"),
            );
        }
    }
}

/// What was meant, if it looks like one of the `known`, or else `remedy`.
pub(super) fn instead(name: &str, known: &[&str], remedy: &str) -> String {
    nearest(name, known).map_or_else(|| remedy.to_owned(), |near| format!("did you mean `{near}`?"))
}

fn acks(config: &Config, report: &mut Report) {
    // Told of the spool, if that keeps nothing.
    if !config.spool.keeps() || config.sinks.iter().any(|sink| sink.required) {
        return;
    }
    for (name, _) in config.streams.iter().filter(|(_, stream)| stream.ack == Ack::Stored) {
        report.between(
            Setting::from("streams").key(name).key("ack"),
            &["sinks".into()],
            "is \"stored\", and no sink is required",
            "set required = true on a sink, or ack = \"spooled\"",
        );
    }
}

/// What loads a stream can load it: there is a warehouse, a table, and a name for each table.
fn loads(config: &Config, report: &mut Report) {
    let names: Vec<&str> = config.streams.iter().map(|(name, _)| name).collect();
    let is_loaded = |name: &str| config.streams.get(name).is_some_and(|stream| stream.load != Load::None);
    for (name, stream) in config.streams.iter() {
        let setting = |key: &str| Setting::from("streams").key(name).key(key);
        can_load(config, &setting("load"), stream.load, report);
        columns(name, stream, report);
        let others: Vec<&str> = names.iter().copied().filter(|other| is_loaded(name) || is_loaded(other)).collect();
        // A name that logweir keeps for itself is taken by those alone that are loaded.
        if let Some(whose) = table_taken(name, &others).filter(|_| is_loaded(name) || table_taken(name, &[]).is_none())
        {
            report.wrong(
                Setting::from("streams").key(name),
                format!("has {whose}, and would be loaded into it"),
                "rename it, or the stream that is loaded",
            );
        }
    }
}

/// What is loaded into PostgreSQL has names that it does not cut.
fn cut_names(config: &Config, report: &mut Report) {
    let loaded = || config.streams.iter().filter(|(_, stream)| stream.load == Load::Loader);
    if config.warehouse.kind != WarehouseKind::Postgres || loaded().next().is_none() {
        return;
    }
    let kind: &[Setting] = &["warehouse.kind".into()];
    if let Some(why) = schema_is_cut(&config.warehouse.schema) {
        report.between("warehouse.schema", kind, why, "choose a shorter one");
    }
    for (name, stream) in loaded() {
        let setting = Setting::from("streams").key(name);
        if let Some(why) = stream_is_cut(name) {
            report.between(setting.clone(), kind, format!("has no name for a table: {why}"), "choose a shorter one");
        }
        // What is dropped has no column.
        for (field, _) in stream.fields.iter().filter(|(_, field)| field.private != Some(Private::Drop)) {
            if let Some(why) = column_is_cut(field) {
                let field = setting.clone().key("fields").key(field);
                report.between(field, kind, format!("cannot be a column: {why}"), "choose a shorter one");
            }
        }
    }
}

/// What is counted is loaded by the loader, or by nothing: then it is counted where the objects are read.
fn counted(config: &Config, report: &mut Report) {
    for (name, _) in config.rollups.streams.iter() {
        let Some(stream) = config.streams.get(name) else { continue };
        if stream.load == Load::CopyJob {
            report.between(
                Setting::from("rollups.streams").key(name),
                &[Setting::from("streams").key(name).key("load")],
                "is loaded by a COPY JOB, and nothing says how far one has come, so that no figure would ever be complete",
                "set load = \"loader\", or leave it out and ask the stream's view",
            );
        }
    }
}

/// `load` asks for a warehouse.
fn can_load(config: &Config, setting: &Setting, load: Load, report: &mut Report) {
    let kind = config.warehouse.kind;
    let (what, remedy) = match (load, kind) {
        (Load::None, _)
        | (Load::Loader, WarehouseKind::Postgres | WarehouseKind::Redshift)
        | (Load::CopyJob, WarehouseKind::Redshift) => return,
        (Load::Loader, WarehouseKind::None) => (
            "is \"loader\", and there is no warehouse to load into",
            "set warehouse.kind to \"postgres\" or \"redshift\", or load = \"none\"",
        ),
        (Load::CopyJob, WarehouseKind::None | WarehouseKind::Postgres) => (
            "is \"copy_job\", which only Redshift has",
            "set warehouse.kind = \"redshift\", or load = \"loader\" or \"none\"",
        ),
    };
    report.between(setting.clone(), &["warehouse.kind".into()], what, remedy);
}

/// A table has columns, and none that it has already.
fn columns(name: &str, stream: &DeclaredStream, report: &mut Report) {
    if stream.load == Load::None {
        return;
    }
    let setting = |key: &str| Setting::from("streams").key(name).key(key);
    if stream.fields.is_empty() {
        report.between(
            setting("load"),
            &[setting("fields")],
            "asks for a table, and the stream declares no fields, which are its columns",
            "declare the fields that are asked for, or set load = \"none\": the objects can be read without a table",
        );
    }
    for (field, _) in stream.fields.iter() {
        if let Some(why) = column_taken(field) {
            report.wrong(setting("fields").key(field), format!("is {why}"), "rename it, or set load = \"none\"");
        }
    }
}
