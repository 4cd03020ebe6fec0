//! What stands under `deploy/` is executed here, or read by the tool that knows it: nothing in it is decoration.
//!
//! A tool that is not there leaves its tests out, which say so; on a build service (`CI=true`) it must be there.
//! `tests/run` installs them all.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "deploy/alerts.rs"]
mod alerts;
#[path = "deploy/aws.rs"]
mod aws;
#[path = "deploy/checked.rs"]
mod checked;
#[path = "deploy/containers.rs"]
mod containers;
#[path = "deploy/dashboard.rs"]
mod dashboard;
#[path = "deploy/debian.rs"]
mod debian;
#[path = "deploy/instance.rs"]
mod instance;
#[path = "deploy/known.rs"]
mod known;
#[path = "deploy/kubernetes.rs"]
mod kubernetes;
#[path = "deploy/lifecycle.rs"]
mod lifecycle;
#[path = "deploy/manuals.rs"]
mod manuals;
#[path = "common/moto.rs"]
mod moto_server;
#[path = "deploy/owned.rs"]
mod owned;
#[path = "deploy/prometheus.rs"]
mod prometheus;
#[path = "deploy/promql.rs"]
mod promql;
#[path = "deploy/reference.rs"]
mod reference;
#[path = "deploy/runbook.rs"]
mod runbook;
#[path = "deploy/running.rs"]
mod running;
#[path = "deploy/serving.rs"]
mod serving;
#[path = "deploy/tools.rs"]
mod tools;
#[path = "deploy/unit_file.rs"]
mod unit_file;
#[path = "deploy/units.rs"]
mod units;
#[path = "deploy/yaml.rs"]
mod yaml;
