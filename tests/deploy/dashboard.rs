//! The dashboard: every expression names metrics that exist, and every panel says what it shows.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{known::assert_known, tools::read};

/// The units that it shows, by their names in Grafana.
const UNITS: [&str; 7] = ["s", "bytes", "Bps", "percentunit", "reqps", "cps", "short"];

/// A panel's title and its expressions.
pub(crate) fn panels() -> Vec<(String, Vec<String>)> {
    let panels = dashboard()["panels"].as_array().unwrap().clone();
    let panels = panels.into_iter().filter(|panel| panel["type"] != "row").map(|panel| {
        let targets = panel["targets"].as_array().unwrap();
        let expressions = targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
        (panel["title"].as_str().unwrap().to_owned(), expressions)
    });
    panels.collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/logweir.json")).unwrap()
}

#[test]
fn every_expression_of_the_dashboard_names_metrics_labels_and_values_that_exist() {
    let panels = panels();
    assert!(panels.len() > 40, "{}", panels.len());
    for (title, expressions) in panels {
        assert!(!expressions.is_empty(), "{title} shows nothing");
        for expression in expressions {
            // It must show something without the recording rules, too.
            assert_known(&title, &expression, &BTreeSet::new());
        }
    }
}

#[test]
fn every_panel_has_a_title_of_its_own_a_description_a_unit_and_a_place() {
    let dashboard = dashboard();
    let (mut titles, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && titles.insert(title), "{title} is there twice");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for column in place("x")..place("x") + place("w") {
            for line in place("y")..place("y") + place("h") {
                assert!(column < 24 && taken.insert((column, line)), "{title} covers another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().unwrap().ends_with('.'), "{title} says nothing of itself");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        assert!(UNITS.contains(&unit), "{title} has the unit {unit}");
    }
}

#[test]
fn every_variable_of_the_dashboard_is_used_and_every_one_that_is_used_is_there() {
    let dashboard = dashboard();
    let there: BTreeSet<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    let text = dashboard.to_string();
    let mut used = BTreeSet::new();
    for piece in text.split('$').skip(1) {
        let name = piece.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
        // What Grafana has itself.
        if !name.starts_with("__") {
            used.insert(name);
        }
    }
    assert_eq!(used, there);
}
