//! What readers of the objects are told: golden files of every generator, and the generated views and readers at work, in
//! `DuckDB` and in Spark, on what a real server stored, against a count of what was sent.
//!
//! Athena, Redshift Spectrum, `BigQuery` and Tableau are not at hand: what is written for them is compared with files that
//! were written from their documentation, and executed nowhere.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/client.rs"]
#[expect(dead_code, reason = "the tests over HTTP use the rest of it")]
mod client;
#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "lake/engines.rs"]
mod engines;
#[path = "lake/golden.rs"]
mod golden;
#[path = "binary/process.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod process;
#[path = "common/python.rs"]
mod python;
#[path = "common/request.rs"]
#[expect(dead_code, reason = "the tests over HTTP use the rest of it")]
mod request;
#[path = "lake/site.rs"]
mod site;

use std::time::Duration;

use logweir::{
    config::{self, Loaded, Source},
    sink::Codec,
    warehouse::{
        Names, Table,
        target::{Counted, Definitions, Objects},
    },
};

/// The configuration of these tests, storing at `root`.
fn configured(root: &str) -> String {
    include_str!("data/lake/logweir.toml").replace("ROOT", root)
}

/// What targets are told of `configuration`, whose objects are at `root`.
fn definitions(configuration: &str, root: &str) -> Definitions {
    let source = Source::Text { name: "the test".into(), text: configuration.to_owned() };
    let Loaded { config, streams, .. } =
        config::load(source, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
    let counted = |(name, rollup): (&str, &config::Rollup)| Counted {
        stream: name.to_owned(),
        device: rollup.device.clone(),
        dimensions: rollup.dimensions.clone(),
    };
    Definitions {
        tables: streams.iter().map(Table::new).collect(),
        names: Names::new(&config.warehouse.schema),
        objects: Objects {
            root: root.to_owned(),
            prefix: config.sinks[0].prefix.clone(),
            codec: Codec::named(config.sinks[0].codec().as_str()).unwrap(),
        },
        timezone: config.rollups.timezone.clone(),
        dedupe_window: Duration::from_hours(7 * 24),
        rollup_days: config.rollups.days,
        rollups: config.rollups.streams.iter().map(counted).collect(),
        iam_role: None,
        region: None,
    }
}
