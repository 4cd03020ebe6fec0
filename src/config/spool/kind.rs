//! `spool.kind`: whether an instance keeps anything.
//!
//! # What is written, and what it stands for
//!
//! `spool = "none"` is short for `[spool] kind = "none"`, in the file as in the environment: `LOGWEIR__SPOOL=none` is
//! read as `LOGWEIR__SPOOL__KIND=none`, so that what the file says of the spool besides stays in force. Two
//! defaults follow from the kind: that of `spool.segment_size`, and that of every stream's `ack`. They are written into
//! the tree, so that whoever prints the configuration sees what is in force, and reads the same from it again.
//!
//! # Settings of the other kind
//!
//! They are passed over, and `config/logweir.toml` says which these are. An image or a file names a directory for all
//! instances, and the environment says which of them keep one: to refuse `dir` there would make two files of one. What
//! *asks* for something that there is not is refused: `ack = "spooled"`.

use serde::{Deserialize, Serialize};

use super::Spool;
use crate::{
    config::{
        Config,
        period::Period,
        report::Report,
        setting::Setting,
        size::Size,
        tree::{Node, Origin, Value},
    },
    schema::Ack,
};

/// Where what is taken waits for the sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpoolKind {
    /// In a directory on disk, which outlives the process: an outage of the sinks takes disk, and nothing is lost.
    #[default]
    Disk,
    /// Nowhere that outlives the process. An answer waits until the required sinks have the batch.
    None,
}

/// The default of `spool.segment_size` if nothing is kept.
const SEGMENT_SIZE: &str = "4MiB";

/// Which setting a variable means that names `setting` and says `text`: a bare kind is not the whole table.
pub(in crate::config) fn spelled_out(setting: Setting, text: &str) -> Setting {
    let says_kind = || matches!(Node::from_variable(&"".into(), text.to_owned()).value, Value::String(_));
    if setting == "spool".into() && says_kind() { setting.key("kind") } else { setting }
}

/// Makes a bare kind in the file a table.
pub(in crate::config) fn spell_out(tree: &mut Node) {
    let Some(node) = tree.find_mut(&"spool".into()) else { return };
    if let Value::String(_) = node.value {
        let kind = Node {
            origin: node.origin.clone(),
            value: std::mem::replace(&mut node.value, Value::Table(Vec::new())),
            text: node.text.take(),
            unread: false,
        };
        node.value = Value::Table(vec![("kind".to_owned(), kind)]);
    }
}

/// Writes what follows from the kind where nothing else is written.
pub(in crate::config) fn fill_in(tree: &mut Node) {
    let Some(kind) = tree.find(&"spool.kind".into()) else { return };
    let says_none = |text: &str| text == "none";
    let none = kind.text.as_deref().is_some_and(says_none) || matches!(&kind.value, Value::String(t) if says_none(t));
    if !none {
        return;
    }
    let origin = kind.origin.clone();
    add(tree.find_mut(&"spool".into()), "segment_size", SEGMENT_SIZE, &origin);
    if let Some(Value::Table(streams)) = tree.find_mut(&"streams".into()).map(|node| &mut node.value) {
        for (_, stream) in streams {
            add(Some(stream), "ack", Ack::Stored.as_str(), &origin);
        }
    }
}

/// Adds `key` to a table that lacks it.
fn add(table: Option<&mut Node>, key: &str, text: &str, origin: &Origin) {
    if let Some(Value::Table(entries)) = table.map(|node| &mut node.value)
        && !entries.iter().any(|(name, _)| name == key)
    {
        entries.push((key.to_owned(), Node::new(origin.clone(), Value::String(text.to_owned()))));
    }
}

/// What relates a spool that keeps nothing to the other sections.
pub(in crate::config) fn check(config: &Config, report: &mut Report) {
    let Spool { kind: SpoolKind::None, memory, window, segment_size, .. } = config.spool else { return };
    report.within("spool.memory", &memory, &(Size::mib(4)..=Size::gib(64)));
    report.within("spool.window", &window, &(Period::millis(10)..=Period::seconds(30)));
    if segment_size.get() > memory.get() / 4 {
        report.between(
            "spool.segment_size",
            &["spool.memory".into()],
            format!("is {segment_size}, more than a quarter of spool.memory ({memory})"),
            "choose less, or raise spool.memory: one segment is written while others wait for the sinks",
        );
    }
    let output = config.limits.output;
    if memory < output.plus(output) {
        report.between(
            "spool.memory",
            &["limits.output".into()],
            format!("is {memory}, less than twice limits.output ({output})"),
            "raise it, or lower limits.output: the largest batch must find a place beside another",
        );
    }
    let patience = config.ingest.stored_timeout;
    if window >= patience {
        report.between(
            "spool.window",
            &["ingest.stored_timeout".into()],
            format!("is {window}, and answers wait no longer than ingest.stored_timeout ({patience})"),
            "choose less: a batch waits for its window, and for the sinks after that",
        );
    }
    if !config.sinks.iter().any(|sink| sink.required) {
        report.between(
            "spool.kind",
            &["sinks".into()],
            "is \"none\", and no sink is required: there is nothing that an answer could wait for",
            "set required = true on a sink, or kind = \"disk\"",
        );
    }
    for (name, _) in config.streams.iter().filter(|(_, stream)| stream.ack == Ack::Spooled) {
        report.between(
            Setting::from("streams").key(name).key("ack"),
            &["spool.kind".into()],
            "is \"spooled\", and spool.kind is \"none\": nothing is synced to a disk here",
            "leave it out, which is \"stored\", or set kind = \"disk\"",
        );
    }
}
