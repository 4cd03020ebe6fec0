//! The image and the compose file. No engine runs here, so nothing is built or started from them: the Dockerfile is linted,
//! compose.yaml is held to the Compose specification, both to each other and to the server.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    checked::Checked,
    serving::Serving,
    tools::{logweir, read, root, succeeds, tool},
    yaml::{document, texts},
};

const DOCKERFILE: &str = "deploy/docker/Dockerfile";
const COMPOSE: &str = "deploy/docker/compose.yaml";
/// The key that compose.yaml gives the instances.
const KEY: [(&str, &str); 2] = [("KEYS__0__NAME", "example"), ("KEYS__0__KEY", "an-example-key-of-compose")];

/// The instructions of the Dockerfile, each with its continued lines.
fn instructions() -> Vec<(String, String)> {
    let text = read(DOCKERFILE).replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    lines.map(|(name, rest)| (name.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

/// What the last instruction `name` says.
fn last(name: &str) -> String {
    instructions().into_iter().rfind(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn configuration() -> Checked {
    Checked::of(&root().join("deploy/docker/logweir.toml"), &KEY)
}

#[test]
fn the_dockerfile_is_as_hadolint_wants_it() {
    let Some(hadolint) = tool("hadolint") else { return };
    assert_eq!(succeeds(&hadolint, &["--no-color", "--failure-threshold", "style", DOCKERFILE]), "");
}

#[test]
fn the_image_is_made_of_files_that_are_there_and_gets_into_the_context() {
    let ignore = read(".dockerignore");
    let admitted: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copied: Vec<_> =
        instructions().into_iter().filter(|(name, rest)| name == "COPY" && !rest.contains("--from")).collect();
    let mut sources: Vec<&str> = Vec::new();
    for (_, rest) in &copied {
        let words: Vec<_> = rest.split(' ').collect();
        sources.extend(&words[..words.len() - 1]);
    }
    for source in &sources {
        assert!(root().join(source).exists(), "{source}");
    }
    sources.sort_unstable();
    let mut sorted = admitted.clone();
    sorted.sort_unstable();
    assert_eq!(sources, sorted, "the context has what is copied, and nothing else");
    // What cargo reads: every path of the manifest, and every file that the sources embed, lies in what is copied.
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("\nbuild = \"src/build.rs\"\n") && manifest.contains("[[bench]]"));
    for file in embedded(&root().join("src")) {
        assert!(admitted.iter().any(|it| file.starts_with(root().join(it))), "{} is embedded", file.display());
    }
}

/// The files that sources below `dir` embed, tests left out.
fn embedded(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(embedded(&path));
        } else if path.extension().is_some_and(|it| it == "rs") && !path.iter().any(|it| it == "tests") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for rest in code.split("include_str!(\"").skip(1) {
                let name = rest.split('"').next().unwrap();
                found.push(path.parent().unwrap().join(name).canonicalize().unwrap());
            }
        }
    }
    found
}

#[test]
fn the_image_starts_with_a_key_and_refuses_to_without_one() {
    assert_eq!(last("ENTRYPOINT"), r#"["/usr/bin/logweir"]"#);
    assert_eq!(last("CMD"), r#"["serve"]"#);
    let (name, value) = last("ENV").split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
    let check = |variables: &[(&str, &str)]| {
        let mut command = Command::new(logweir());
        command.arg("check").env_clear().stdin(Stdio::null()).env(&name, &value).envs(variables.iter().copied());
        command.output().unwrap()
    };
    let refused = check(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(78) && said.contains("[[keys]]"), "{said}");
    let accepted = check(&[("LOGWEIR__KEYS__0__NAME", "sdk"), ("LOGWEIR__KEYS__0__KEY", "a-key-of-16-bytes-or-more")]);
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
    let effective = String::from_utf8(accepted.stdout).unwrap();
    for port in last("EXPOSE").split(' ') {
        assert!(effective.contains(&format!(":{port}\"")), "nothing listens on {port}");
    }
    // Relative directories lie in the volume.
    assert_eq!(last("WORKDIR"), last("VOLUME"));
    assert!(effective.contains("dir = \"./data/spool\""));
}

#[test]
fn the_health_check_needs_no_curl() {
    let check = last("HEALTHCHECK");
    let words: Vec<String> = serde_json::from_str(check.split_once(" CMD ").unwrap().1).unwrap();
    assert_eq!(words[0], "/usr/bin/logweir");
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(logweir());
    command.current_dir(dir.path()).env_clear();
    let server = Serving::start(command);
    // As the image asks, but for the port, which is a free one here.
    let healthy = |more: &[&str]| {
        let mut command = Command::new(logweir());
        let address = server.admin.to_string();
        command.args(&words[1..]).args(["--admin", &address]).args(more).env_clear().stdin(Stdio::null());
        command.output().unwrap().status.code()
    };
    assert_eq!((healthy(&[]), healthy(&["--ready"])), (Some(0), Some(0)));
    let admin = server.admin.to_string();
    assert_eq!(server.stop().code(), Some(0));
    let output = Command::new(logweir()).args(["health", "--admin", &admin]).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/livez"), "it says what it asked");
}

#[test]
fn compose_keeps_to_the_specification() {
    let Some(check) = tool("check-jsonschema") else { return };
    succeeds(&check, &["--builtin-schema", "vendor.compose-spec", COMPOSE]);
}

#[test]
fn the_services_of_compose_fit_each_other_and_the_server() {
    let Some(compose) = document(COMPOSE) else { return };
    let services = compose["services"].as_object().unwrap();
    let checked = configuration();
    let instances: Vec<&Value> =
        services.iter().filter(|(name, _)| name.starts_with("logweir")).map(|(_, service)| service).collect();
    assert_eq!(instances.len().to_string(), checked.value("fleet", "instances"));
    let mut volumes = Vec::new();
    for instance in &instances {
        let grace = instance["stop_grace_period"].as_str().unwrap();
        assert!(humantime::parse_duration(grace).unwrap() >= checked.drain() + std::time::Duration::from_secs(10));
        assert_eq!(instance["mem_limit"], "1g");
        assert!((1_u64 << 30) >= checked.ceiling() / 4 * 5, "{}", checked.ceiling());
        let mounted = instance["configs"][0]["target"].as_str().unwrap();
        assert_eq!(texts(&instance["command"]), ["serve", "--config", mounted]);
        for (name, value) in KEY {
            assert!(instance["environment"][format!("LOGWEIR__{name}")].as_str().unwrap().contains(value), "{name}");
        }
        volumes.extend(texts(&instance["volumes"]));
    }
    volumes.sort_unstable();
    volumes.dedup();
    assert_eq!(volumes.len(), instances.len(), "a spool has one process");
    // HAProxy's file is that of a machine of its own, where root starts it, and here nobody does.
    assert_eq!(services["haproxy"]["environment"]["LOGWEIR_UNPRIVILEGED"], "yes");
    // HAProxy's file asks for nothing that it is not told, and is told nothing that it does not ask for.
    let told = services["haproxy"]["environment"].as_object().unwrap();
    let (file, _) = texts(&services["haproxy"]["volumes"])[0].split_once(':').unwrap();
    let haproxy = fs::read_to_string(root().join("deploy/docker").join(file)).unwrap();
    for (name, value) in told {
        let asks = [format!("\"${{{name}-"), format!("defined({name})")];
        assert!(asks.iter().any(|asks| haproxy.contains(asks)), "{name}");
        if let Some((service, port)) = value.as_str().unwrap().split_once(':').filter(|(host, _)| !host.is_empty()) {
            assert!(services.contains_key(service), "{service}");
            assert_eq!(checked.value("server", "listen"), format!("0.0.0.0:{port}"));
        }
    }
    // Everything is for this machine, and every image but ours is pinned.
    for (name, service) in services {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}");
        }
        let image = service["image"].as_str().unwrap();
        assert!(image == "logweir" || image.split_once(':').is_some_and(|(_, tag)| tag != "latest"), "{image}");
    }
    let (host, bucket) = ("http://s3:9000", checked.value("[sinks]", "bucket"));
    assert_eq!(checked.value("[sinks]", "endpoint"), host);
    assert_eq!(texts(&services["bucket"]["entrypoint"]).last().copied(), Some(format!("local/{bucket}").as_str()));
}
