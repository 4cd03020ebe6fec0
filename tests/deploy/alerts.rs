//! The alert rules, as Prometheus reads and tests them; where they are routed; and that each has its paragraph.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    known::assert_known,
    owned::{Owned, ask, free_port, until},
    tools::{read, root, run, succeeds, tool},
};

const RULES: &str = "deploy/prometheus/alerts.yaml";
const UNIT_TESTS: &str = "deploy/prometheus/alerts_test.yaml";
const ROUTES: &str = "deploy/prometheus/alertmanager.yaml";

/// A file of YAML, as Python reads it.
pub(crate) fn yaml(path: &str) -> Option<Value> {
    let python = root().join("target/python/bin/python3");
    let python = if python.is_file() { python } else { tool("cfn-lint")?.with_file_name("python3") };
    let read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    Some(serde_json::from_str(&succeeds(&python, &["-c", read, path])).unwrap())
}

/// Every rule.
pub(crate) fn rules() -> Option<Vec<Value>> {
    let groups = yaml(RULES)?["groups"].as_array().unwrap().clone();
    Some(groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect())
}

/// The names of recording rules.
pub(crate) fn recorded(rules: &[Value]) -> BTreeSet<String> {
    rules.iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn prometheus_takes_the_rules_and_their_unit_tests_hold() {
    let Some(promtool) = tool("promtool") else { return };
    succeeds(&promtool, &["check", "rules", RULES]);
    succeeds(&promtool, &["test", "rules", UNIT_TESTS]);
}

#[test]
fn every_alert_fires_in_a_unit_test_and_nearly_does_in_another() {
    let (Some(rules), Some(tests)) = (rules(), yaml(UNIT_TESTS)) else { return };
    // Of each case the metrics that it has: those that nearly fire, and those that fire.
    let mut cases: BTreeMap<String, [Vec<BTreeSet<&str>>; 2]> = BTreeMap::new();
    for test in tests["tests"].as_array().unwrap() {
        for case in test["alert_rule_test"].as_array().unwrap() {
            let fires = !case["exp_alerts"].as_array().unwrap().is_empty();
            let alert = text(&case["alertname"]);
            let kind = if fires { "fires: " } else { "near miss: " };
            assert!(text(&test["name"]).starts_with(&format!("{alert} {kind}")), "{}", test["name"]);
            let series = test["input_series"].as_array().unwrap().iter().map(|series| text(&series["series"]));
            let metrics = series.filter_map(|series| series.split('{').next()).collect();
            cases.entry(alert.to_owned()).or_default()[usize::from(fires)].push(metrics);
        }
    }
    let alerts: BTreeSet<_> = rules.iter().filter_map(|rule| rule["alert"].as_str().map(str::to_owned)).collect();
    assert_eq!(cases.keys().cloned().collect::<BTreeSet<_>>(), alerts, "alerts with unit tests, and alerts");
    for (alert, [near, fires]) in cases {
        assert!(!near.is_empty() && !fires.is_empty(), "{alert}: it fires in {fires:?}, and nearly does in {near:?}");
        // Where a metric is missing that it needs, it is silent for that reason alone.
        for near in near {
            assert!(fires.iter().any(|fires| fires.is_subset(&near)), "{alert} is far from firing with {near:?} alone");
        }
    }
}

#[test]
fn every_expression_of_the_rules_names_metrics_labels_and_values_that_exist() {
    let Some(rules) = rules() else { return };
    let recorded = recorded(&rules);
    assert!(rules.len() > 40, "{}", rules.len());
    for rule in &rules {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap();
        assert_known(name, text(&rule["expr"]), &recorded);
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_has_its_paragraph_in_the_runbook_and_no_paragraph_is_without_one() {
    let Some(rules) = rules() else { return };
    let mut alerts = Vec::new();
    for rule in rules.iter().filter(|rule| rule["alert"].is_string()) {
        let alert = text(&rule["alert"]);
        assert!(["page", "ticket"].contains(&text(&rule["labels"]["severity"])), "{alert}");
        for annotation in ["summary", "description"] {
            assert!(!text(&rule["annotations"][annotation]).is_empty(), "{alert} has no {annotation}");
        }
        let (_, anchor) = text(&rule["annotations"]["runbook_url"]).split_once("/deploy/RUNBOOK.md#").expect(alert);
        assert_eq!(anchor, alert.to_lowercase());
        alerts.push(alert.to_owned());
    }
    let runbook = read("deploy/RUNBOOK.md");
    let paragraphs: Vec<_> = runbook.lines().filter_map(|line| line.strip_prefix("### Logweir")).collect();
    // In the order of the rules, too.
    assert_eq!(paragraphs.iter().map(|name| format!("Logweir{name}")).collect::<Vec<_>>(), alerts);
}

#[test]
fn prometheus_takes_its_example_configuration() {
    let Some(promtool) = tool("promtool") else { return };
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("logweir.token");
    fs::write(&token, "a token").unwrap();
    let configuration = read("deploy/prometheus/prometheus.yaml");
    let there = configuration.replace("/etc/prometheus/logweir.token", token.to_str().unwrap());
    assert_ne!(there, configuration);
    fs::write(dir.path().join("prometheus.yaml"), there).unwrap();
    fs::copy(root().join(RULES), dir.path().join("alerts.yaml")).unwrap();
    let said = succeeds(&promtool, &["check", "config", dir.path().join("prometheus.yaml").to_str().unwrap()]);
    assert!(said.contains("1 rule files found"), "{said}");
}

#[test]
fn pages_go_to_pagerduty_at_once_and_tickets_where_they_wake_nobody() {
    let Some(amtool) = tool("amtool") else { return };
    succeeds(&amtool, &["check-config", ROUTES]);
    for (labels, receiver) in [
        (["severity=page", "cluster=production"], "pages"),
        (["severity=ticket", "cluster=production"], "tickets"),
        (["severity=none", "cluster=production"], "tickets"),
    ] {
        let file = format!("--config.file={ROUTES}");
        let verified = format!("--verify.receivers={receiver}");
        let mut arguments = vec!["config", "routes", "test", &file, &verified];
        arguments.extend(labels);
        succeeds(&amtool, &arguments);
    }
    let wrong = [&format!("--config.file={ROUTES}"), "--verify.receivers=tickets", "severity=page"];
    let wrong = run(&amtool, &[&["config", "routes", "test"], wrong.as_slice()].concat());
    assert!(!wrong.status.success(), "amtool verifies what it is told to");
    assert!(!read(ROUTES).contains("routing_key:"), "the key is read from a file");
}

#[test]
fn an_instance_that_is_down_silences_its_symptoms_and_nobody_else_s() {
    let Some(alertmanager) = tool("prometheus-alertmanager").or_else(|| tool("alertmanager")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(alertmanager);
    command.arg(format!("--config.file={}", root().join(ROUTES).display()));
    command.arg(format!("--storage.path={}", dir.path().display()));
    command.args([format!("--web.listen-address=127.0.0.1:{port}"), "--cluster.listen-address=".into()]);
    let command = command.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _process = Owned(command.spawn().unwrap());
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    until("Alertmanager serves", || std::net::TcpStream::connect(address).ok());
    let ready = "GET /-/ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    until("Alertmanager is ready", || (ask(address, ready).0 == 200).then_some(()));
    let alert =
        |name: &str, instance: &str| json!({"labels": {"alertname": name, "instance": instance, "cluster": "c"}});
    let alerts = json!([alert("LogweirDown", "a"), alert("LogweirNotReady", "a"), alert("LogweirNotReady", "b")]);
    let (head, body) = ("Host: test\r\nConnection: close\r\n", alerts.to_string());
    let length = body.len();
    let told = ask(
        address,
        &format!(
            "POST /api/v2/alerts HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    );
    assert_eq!(told.0, 200, "{told:?}");
    // It looks at what inhibits what when an alert is about to be told, which is not before group_wait; its list of what is
    // active looks as well.
    let silenced = || {
        let (_, list) = ask(address, &format!("GET /api/v2/alerts?inhibited=true HTTP/1.1\r\n{head}\r\n"));
        let list: Vec<Value> = serde_json::from_str(&list).unwrap();
        let silenced = list.iter().filter(|alert| alert["status"]["state"] == "suppressed");
        silenced.map(|it| (it["labels"]["alertname"].clone(), it["labels"]["instance"].clone())).collect::<Vec<_>>()
    };
    until("something is silenced", || (!silenced().is_empty()).then_some(()));
    assert_eq!(silenced(), [(json!("LogweirNotReady"), json!("a"))]);
}
