//! A real Prometheus with the rules, over a server under a small load: every expression can be evaluated, and the dashboard
//! shows something.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    dashboard::panels,
    owned::{Owned, ask, free_port, until},
    running::{Running, TOKEN},
    tools::{root, tool},
};

/// What shows nothing where nothing is wrong, or in a minute.
const SILENT: [&str; 7] =
    ["Full in", "Rejected, by reason", "Since the last success", "Complete through", "Lines", "Not loaded", "Rounds"];
/// Seconds between two scrapes.
const EVERY: u64 = 1;

/// Prometheus, which reads `admin`.
struct Prometheus {
    address: SocketAddr,
    _process: Owned,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn start(admin: SocketAddr) -> Option<Self> {
        let program = tool("prometheus")?;
        let dir = tempfile::tempdir().unwrap();
        let rules = root().join("deploy/prometheus/alerts.yaml");
        fs::write(dir.path().join("token"), TOKEN).unwrap();
        let configuration = format!(
            "global: {{scrape_interval: {EVERY}s, evaluation_interval: {EVERY}s, external_labels: {{cluster: test}}}}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{job_name: logweir, authorization: {{credentials_file: token}}, \
             static_configs: [{{targets: ['{admin}']}}]}}]\n",
            rules.display()
        );
        fs::write(dir.path().join("prometheus.yaml"), configuration).unwrap();
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(dir.path());
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Owned(command.spawn().unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until("Prometheus serves", || std::net::TcpStream::connect(address).ok());
        let ready = "GET /-/ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        until("Prometheus is ready", || (ask(address, ready).0 == 200).then_some(()));
        Some(Self { address, _process: process, _dir: dir })
    }

    /// What its API answers.
    fn get(&self, path: &str) -> Value {
        let (_, text) =
            ask(self.address, &format!("GET /api/v1/{path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// How many series an expression gives.
    fn evaluate(&self, expression: &str) -> Result<usize, String> {
        let encoded = expression.bytes().fold(String::new(), |mut encoded, byte| {
            write!(encoded, "%{byte:02X}").unwrap();
            encoded
        });
        let answer = self.get(&format!("query?query={encoded}"));
        if answer["status"] == "success" {
            Ok(answer["data"]["result"].as_array().map_or(1, Vec::len))
        } else {
            Err(answer["error"].to_string())
        }
    }
}

#[test]
fn every_expression_is_evaluated_by_a_real_prometheus_and_the_dashboard_shows_a_running_server() {
    let running = Running::start();
    let Some(prometheus) = Prometheus::start(running.server.admin) else { return };
    until("there are some scrapes under load", || {
        let body = r#"{"events":[{"ad_id":"x"},{"ad_id":"y"}]}"#;
        let sent_at = logweir::batch::Clock::default().now().get().to_string();
        assert_eq!(running.post("heard", body, &[("X-Sent-At", &sent_at)]), 200);
        let stored = prometheus.evaluate("rate(logweir_stored_events_total[1m]) > 0").unwrap();
        (prometheus.evaluate("count_over_time(logweir_spool_room_bytes[5m]) >= 6").unwrap() > 0 && stored > 0)
            .then_some(())
    });
    for (title, expressions) in panels() {
        let shown = || {
            let series = |expression: &String| {
                let variables = ["$job", "$instance", "$stream", "$sink"];
                let asked = variables.iter().fold(expression.clone(), |asked, variable| asked.replace(variable, ".*"));
                let asked = asked.replace("$__rate_interval", "1m");
                prometheus.evaluate(&asked).unwrap_or_else(|error| panic!("{title}: {error}, in\n{asked}"))
            };
            expressions.iter().map(series).sum::<usize>() > 0
        };
        // Some happens seldom: a rate needs two scrapes with it in between.
        if !shown() && !SILENT.contains(&title.as_str()) {
            until(&format!("{title:?} shows something"), || shown().then_some(()));
        }
    }
    // Every rule has been evaluated by now, and nothing is wrong with any; of a server that is well no page is told.
    let told = prometheus.get("rules");
    let groups = told["data"]["groups"].as_array().unwrap();
    let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 40);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let pages = rule["labels"]["severity"] == "page" && rule["state"] == "firing";
        assert!(!pages, "{rule}");
    }
}
