//! The runbook names nothing that does not exist: metrics, messages of the log, commands, settings, links.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use logweir::metrics::ALL;

use crate::{
    known::assert_known,
    reference::declared,
    tools::{logweir, read, root, succeeds},
};

/// Programs of others that it tells to run.
const OTHERS: [&str; 11] =
    ["-H", "aws", "chown", "curl", "systemctl", "journalctl", "gdb", "openssl", "iostat", "df", "kill"];
/// How a command is run as the unit would run it: a function of the shell, which the runbook defines.
const AS_THE_UNIT: &str = "as_logweir";
/// The configuration of an installation: what it needs beside it stands in the unit's environment.
const INSTALLED: &str = "--config /etc/logweir/logweir.toml";
/// How expressions of Prometheus in it begin.
const EXPRESSIONS: [&str; 3] = ["topk(", "count by", "sum by"];

fn runbook() -> String {
    read("deploy/RUNBOOK.md")
}

/// What stands between backticks, on one line each.
fn spans(text: &str) -> Vec<String> {
    let inline = text.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    inline.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The lines of the blocks of code.
fn lines(text: &str) -> Vec<String> {
    text.split("```").skip(1).step_by(2).flat_map(str::lines).map(|line| line.trim().to_owned()).collect()
}

/// Every file of the sources, in one text, with what goes over several lines on one.
fn sources(dir: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all += &fs::read_to_string(path).unwrap();
        }
    }
    all.replace("\\\n", "").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_metric_of_the_runbook_exists() {
    let runbook = runbook();
    for (at, _) in runbook.match_indices("logweir_") {
        let rest = &runbook[at..];
        let name = &rest[..rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap()];
        let is_pattern = rest[name.len()..].starts_with('(');
        let is_there = declared(name).is_some() || ALL.iter().any(|metric| metric.name == name);
        assert!(is_pattern || is_there, "there is no metric {name}");
    }
    let expressions =
        spans(&runbook).into_iter().filter(|span| EXPRESSIONS.iter().any(|begin| span.starts_with(begin)));
    for expression in expressions {
        assert_known("RUNBOOK.md", &expression, &BTreeSet::new());
    }
}

#[test]
fn every_message_of_the_log_that_the_runbook_quotes_is_in_the_sources() {
    let sources = sources(&root().join("src"));
    let mut quoted = 0;
    for span in spans(&runbook()) {
        let first = span.split(' ').next().unwrap_or_default();
        let is_command = OTHERS.contains(&first) || ["logweir", AS_THE_UNIT].contains(&first);
        if span.split(' ').count() < 4 || is_command || EXPRESSIONS.iter().any(|begin| span.starts_with(begin)) {
            continue;
        }
        quoted += 1;
        assert!(sources.contains(&span), "nobody says: {span}");
    }
    assert!(quoted > 15, "{quoted}");
}

#[test]
fn every_command_of_the_runbook_is_one_with_its_options() {
    let runbook = runbook();
    let mut seen = 0;
    for command in spans(&runbook).into_iter().chain(lines(&runbook)) {
        let as_the_unit = command.strip_prefix(AS_THE_UNIT).and_then(|command| command.strip_prefix(' '));
        let Some(arguments) = as_the_unit.or_else(|| command.strip_prefix("logweir ")) else { continue };
        assert_eq!(
            command.contains(INSTALLED),
            as_the_unit.is_some(),
            "as whom, and with which environment: {command}"
        );
        let arguments = arguments.split('#').next().unwrap();
        let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        let subcommands = arguments.split(' ').take_while(is_name);
        let help = succeeds(logweir(), &subcommands.chain(["--help"]).collect::<Vec<_>>());
        for option in arguments.split(' ').filter(|argument| argument.starts_with("--")) {
            seen += 1;
            assert!(
                help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")),
                "{command}: {option}"
            );
        }
    }
    assert!(seen > 10, "{seen}");
}

/// The socket's unit would start the service again with the next connection.
#[test]
fn nobody_is_told_to_stop_the_service_and_leave_its_socket() {
    let places = ["RUNBOOK.md", "haproxy/haproxy.cfg", "nginx/nginx.conf", "systemd/logweir.service", "README.md"];
    let mut seen = 0;
    for place in places {
        let text = read(&format!("deploy/{place}"));
        for (at, stop) in text.match_indices("systemctl stop") {
            let units = text[at + stop.len()..].strip_prefix(" logweir");
            assert!(
                units.is_some_and(|units| units.starts_with(".socket logweir.service")),
                "{place}: {}",
                &text[at..]
            );
            seen += 1;
        }
    }
    assert!(seen > 4, "{seen}");
}

/// A policy of scaling takes a desired capacity back, long before there is load.
#[test]
fn an_advert_is_prepared_by_the_least_number_of_instances() {
    let runbook = runbook();
    let (_, advert) = runbook.split_once("### An advert is coming\n").unwrap();
    let advert = advert.split("\n### ").next().unwrap();
    assert!(advert.contains("--min-size") && advert.contains("`minReplicas`"), "{advert}");
    assert!(!runbook.contains("set-desired-capacity"));
}

/// With a `runuser` that says as whom, since the tests need not be root's.
#[test]
fn commands_of_the_runbook_have_the_environment_and_the_user_of_the_unit() {
    let runbook = runbook();
    let begin = runbook.find("\nas_logweir() (\n").unwrap();
    let function = &runbook[begin..begin + runbook[begin..].find("\n)\n").unwrap() + 3];
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let program = "#!/bin/sh\necho \"$(pwd) $* $LOGWEIR__SINKS__0__BUCKET $LOGWEIR__ADMIN__TOKEN\"\n";
    fs::write(path("runuser"), program).unwrap();
    fs::set_permissions(path("runuser"), fs::Permissions::from_mode(0o755)).unwrap();
    let here = dir.path().to_str().unwrap();
    let function = function.replace("/var/lib/logweir", here).replace("/etc/logweir", here);
    fs::write(path("aws.env"), "LOGWEIR__SINKS__0__BUCKET=example-logs\n").unwrap();
    fs::write(path("environment"), "LOGWEIR__ADMIN__TOKEN='a $secret'\n").unwrap();
    let script = format!("PATH={here}:$PATH\n{function}as_logweir check --config FILE\n");
    let said = succeeds(Path::new("/bin/sh"), &["-ec", &script]);
    assert_eq!(said, format!("{here} -u logweir -- logweir check --config FILE example-logs a $secret\n"));
}

#[test]
fn every_setting_of_the_runbook_is_one() {
    let settings = read("config/logweir.toml");
    let sections: BTreeSet<&str> =
        settings.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix('[')?.split(']').next()).collect();
    let mut seen = 0;
    for span in spans(&runbook()) {
        let setting = span.split(' ').next().unwrap_or_default();
        let Some((section, key)) = setting.split_once('.') else { continue };
        let is_word =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_word(section) && is_word(key) && sections.contains(section) {
            seen += 1;
            let there = settings.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{key} = ")));
            assert!(there, "there is no setting {setting}");
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn every_link_of_the_runbook_leads_somewhere() {
    let runbook = runbook();
    let anchor = |heading: &str| -> String {
        let kept = heading.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let anchors: BTreeSet<String> = runbook
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect();
    for rest in runbook.split("](").skip(1) {
        let target = rest.split(')').next().unwrap();
        match target.strip_prefix('#') {
            Some(target) => assert!(anchors.contains(target), "there is no heading {target}"),
            None => assert!(root().join("deploy").join(target).exists(), "there is no {target}"),
        }
    }
}
