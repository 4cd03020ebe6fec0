//! The generated views and readers, at work on what a server stored.

use std::collections::{BTreeMap, BTreeSet};

use logweir::warehouse::target::{duckdb, spark};
use serde_json::{Value, json};

use crate::{
    configured, definitions, python,
    site::{EARLIER, EVENTS, OTHERS, Site},
};

/// Holds the events that an engine found to what was sent, field by field.
fn holds(site: &Site, found: &Value) {
    assert_eq!(found["stored"], site.stored, "lines");
    assert_eq!(found["class"], OTHERS, "events of a stream without declared fields");
    assert_eq!(found["pruned"], 0, "lines of a day on which nobody sent");
    let events = found["events"].as_array().unwrap();
    assert_eq!(events.len(), EVENTS, "events");
    let mut hashes = BTreeMap::<&str, &str>::new();
    for event in events {
        let mut event = event.as_object().unwrap().clone();
        let hash = event.remove("advertising_id").unwrap();
        assert!(hash.as_str().unwrap().bytes().all(|b| b.is_ascii_hexdigit()) && hash.as_str().unwrap().len() == 64);
        for name in ["device", "extra"] {
            if let Some(text) = event[name].as_str() {
                // Spark has a JSON string without its quotes.
                event[name] = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
                assert!(!event[name].is_null(), "a null that is none: {event:?}");
            }
        }
        let expected = &site.events[event["event_id"].as_str().unwrap()];
        assert_eq!(&Value::Object(event), expected);
    }
    for event in events {
        hashes.insert(event["advertising_id"].as_str().unwrap(), event["from"].as_str().unwrap());
    }
    assert_eq!(hashes.len(), EVENTS, "each has an id of its own");
    assert_eq!(found["sum"], *site.sum, "the sum of a decimal of 38 digits");
    let kept = events.iter().filter(|event| event["batch_id"] == EARLIER).count();
    assert!(kept > 0 && kept < EVENTS, "{kept} of the copies that were received first");
    assert_eq!(
        rows(&found["daily_active"], &["day"]),
        figures(&site.days, |day| vec![Some(day.clone())]),
        "figures by day"
    );
    assert!(site.days.len() >= 10, "{:?}", site.days.keys());
}

type Rows = BTreeMap<Vec<Option<String>>, (u64, u64)>;

/// The figures of `rows`, by the columns called `keys`.
fn rows(rows: &Value, keys: &[&str]) -> Rows {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let rows = rows.as_array().unwrap().iter();
    let rows = rows.map(|row| {
        let key = keys.iter().map(|key| text(&row[*key])).collect();
        (key, (row["events"].as_u64().unwrap(), row["devices"].as_u64().unwrap()))
    });
    rows.collect()
}

fn figures<K>(figures: &BTreeMap<K, (u64, BTreeSet<String>)>, key: impl Fn(&K) -> Vec<Option<String>>) -> Rows {
    figures.iter().map(|(of, (events, devices))| (key(of), (*events, devices.len() as u64))).collect()
}

#[test]
fn duckdb_finds_each_event_once_and_counts_what_was_sent() {
    let Some(python) = python::with("duckdb") else { return };
    let site = Site::new();
    let written = duckdb::write(&definitions(&configured(&site.root()), &site.root())).unwrap();
    site.place.write("lake.sql", &written);
    let found = python.script("lake/duck.py", &[site.place.path("lake.sql").to_str().unwrap()]);
    let found: Value = serde_json::from_str(&found).unwrap();
    holds(&site, &found);
    assert_eq!(found["unparsed"], 0, "an event without a time has that of its receipt");
    assert_eq!(
        rows(&found["hourly_active"], &["hour"]),
        figures(&site.hours, |hour| vec![Some(hour.clone())]),
        "figures by hour"
    );
    assert_eq!(
        rows(&found["daily_counts"], &["day", "dimension", "value"]),
        figures(&site.counts, |(day, dimension, value)| vec![
            Some(day.clone()),
            Some(dimension.clone()),
            value.clone()
        ]),
        "figures by day and value"
    );
    assert_eq!(found["hourly_counts"], 3 * EVENTS, "each event once for each dimension");

    // The same views, once the codec was changed.
    assert!(site.recompress_half() > 0);
    let found = python.script("lake/duck.py", &[site.place.path("lake.sql").to_str().unwrap()]);
    holds(&site, &serde_json::from_str(&found).unwrap());
}

#[test]
#[ignore = "Spark takes a minute, and 450 MB to install: the long part of tests/run runs it"]
fn spark_finds_each_event_once_and_counts_what_was_sent() {
    let Some(python) = python::with("pyspark") else { return };
    let site = Site::new();
    let written = spark::write(&definitions(&configured(&site.root()), &site.root())).unwrap();
    site.place.write("logweir_spark.py", &written);
    let found = python.script("lake/spark.py", &[site.place.path("logweir_spark.py").to_str().unwrap()]);
    let found: Value = serde_json::from_str(found.trim_end().lines().last().unwrap()).unwrap();
    holds(&site, &found);
}
