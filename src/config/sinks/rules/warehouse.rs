//! Which sink the warehouse reads.

use super::{element, names_object_sink};
use crate::{
    config::{Config, SinkTarget, report::Report, setting::Setting, warehouse::WarehouseKind},
    schema::Load,
};

/// The sink whose objects are loaded is one, and one that the warehouse can read.
pub(super) fn check(config: &Config, report: &mut Report) {
    let warehouse = &config.warehouse;
    if let Some(name) = &warehouse.sink
        && !names_object_sink("warehouse.sink".into(), name, config, report)
    {
        return;
    }
    let loaded = || config.streams.iter().any(|(_, stream)| stream.load != Load::None);
    let by_the_loader = || config.streams.iter().any(|(_, stream)| stream.load == Load::Loader);
    let sink = match &warehouse.sink {
        Some(name) => config.sinks.iter().position(|sink| sink.name == *name),
        None => config.main_object_sink().and_then(|main| config.sinks.iter().position(|sink| sink == main)),
    };
    if let Some(index) = sink.filter(|index| !config.sinks[*index].required)
        && warehouse.kind != WarehouseKind::None
        && by_the_loader()
    {
        let required = element(index).key("required");
        report.between(
            "warehouse.sink",
            &[required],
            format!(
                "is {}, which is not required: how far an instance has stored is told of required sinks alone, so what \
                 this one lacks would be called loaded",
                config.sinks[index].name
            ),
            "name a required sink, or set required = true on it",
        );
    }
    if let Some(index) = sink
        && warehouse.kind == WarehouseKind::Redshift
        && loaded()
        && matches!(config.sinks[index].target(), SinkTarget::File { .. })
    {
        let kind = element(index).key("kind");
        report.between(
            "warehouse.sink",
            &[kind, "warehouse.kind".into()],
            format!("is {}, a directory, and Redshift reads buckets", config.sinks[index].name),
            "name a sink of kind \"s3\"",
        );
    }
    if let Some(index) = sink {
        takes_what_is_read(config, index, report);
    }
}

/// What is loaded or counted has objects in the sink that they are read from.
fn takes_what_is_read(config: &Config, index: usize, report: &mut Report) {
    let sink = &config.sinks[index];
    let is_read = |name: &str, load: Load| load != Load::None || config.rollups.streams.get(name).is_some();
    let lacks = config.streams.iter().find(|(name, stream)| is_read(name, stream.load) && !sink.takes(name));
    if let Some((name, _)) = lacks {
        report.between(
            "warehouse.sink",
            &[element(index).key("streams"), Setting::from("streams").key(name)],
            format!("is {}, which does not take {name}, a stream that is loaded or counted", sink.name),
            format!("add {name:?} to `streams` of the sink, or name another sink"),
        );
    }
}
