//! The Debian package: built from this build's binary, looked into, unpacked, and run. It is not installed: dpkg and systemd
//! of the machine are nobody's to change here.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    serving::Serving,
    tools::{logweir, read, root, succeeds, tool},
    unit_file::Unit,
};

/// A package, unpacked.
struct Package {
    dir: tempfile::TempDir,
    /// The names of its files, without the leading dot.
    files: BTreeSet<String>,
}

impl Package {
    fn build() -> Option<Self> {
        let (dpkg, _) = (tool("dpkg-deb")?, cargo_deb()?);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("logweir.deb");
        let build = root().join("deploy/debian/build");
        let (binary, output) = (logweir().to_str().unwrap(), file.to_str().unwrap());
        // Without symbols, and packed quickly: they are a debug build's.
        succeeds(&build, &[binary, "--offline", "--fast", "--strip", "--no-dbgsym", "--output", output]);
        let contents = succeeds(&dpkg, &["--contents", output]);
        for line in contents.lines() {
            assert_eq!(line.split_whitespace().nth(1), Some("0/0"), "it is root's: {line}");
        }
        let names = contents.lines().filter_map(|line| line.split(" ./").nth(1)).filter(|name| !name.ends_with('/'));
        let files = names.map(|name| format!("/{name}")).collect();
        for (option, part) in [("--extract", "root"), ("--control", "control")] {
            succeeds(&dpkg, &[option, output, dir.path().join(part).to_str().unwrap()]);
        }
        Some(Self { dir, files })
    }

    /// Where the file `path` of the installed system is.
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path.strip_prefix('/').unwrap())
    }

    fn control(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("control").join(name)).unwrap()
    }

    /// The packaged server, as its unit starts it, below the directory that the package was unpacked in.
    fn command(&self, unit: &Unit) -> Command {
        let mut words = unit.one("ExecStart").split(' ');
        let mut command = Command::new(self.path(words.next().unwrap()));
        command.args(words.map(|word| if word.starts_with('/') { self.path(word) } else { PathBuf::from(word) }));
        let state = self.path("/var/lib/logweir");
        fs::create_dir_all(&state).unwrap();
        command.current_dir(&state).env_clear().stdin(Stdio::null());
        for (name, value) in [("SPOOL__DIR", state.join("spool")), ("SINKS__0__DIR", state.join("objects"))] {
            command.env(format!("LOGWEIR__{name}"), value);
        }
        command.env("LOGWEIR__DRAIN__LINGER", "0s");
        command
    }
}

/// cargo-deb, if it is installed: tests/run does that, which takes a minute once.
fn cargo_deb() -> Option<PathBuf> {
    tool("cargo-deb")
}

/// The files below `dir`.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found
}

#[test]
fn the_package_has_what_it_promises_and_what_it_has_runs() {
    let Some(package) = Package::build() else { return };
    holds_everything(&package);
    touches_little(&package);
    serves_as_its_unit_says(&package);
    if let Some(analyze) = tool("systemd-analyze") {
        let service = package.path("/usr/lib/systemd/system/logweir.service");
        succeeds(&analyze, &["security", "--offline=true", "--threshold=24", "--no-pager", service.to_str().unwrap()]);
    }
}

fn holds_everything(package: &Package) {
    for file in [
        "/usr/bin/logweir",
        "/usr/lib/systemd/system/logweir.service",
        "/usr/lib/systemd/system/logweir.socket",
        "/usr/lib/systemd/system/logweir-load.service",
        "/usr/lib/systemd/system/logweir-load.timer",
        "/usr/lib/sysusers.d/logweir.conf",
        "/etc/logweir/logweir.toml",
        "/usr/share/man/man1/logweir.1.gz",
        "/usr/share/man/man1/logweir-serve.1.gz",
        "/usr/share/man/man1/logweir-replay.1.gz",
        "/usr/share/bash-completion/completions/logweir",
        "/usr/share/zsh/vendor-completions/_logweir",
        "/usr/share/fish/vendor_completions.d/logweir.fish",
        "/usr/share/doc/logweir/README.md",
        "/usr/share/doc/logweir/copyright",
        "/usr/share/doc/logweir/METRICS.md",
        "/usr/share/doc/logweir/RUNBOOK.md",
        "/usr/share/doc/logweir/examples/alerts.yaml",
        "/usr/share/doc/logweir/examples/logweir.toml",
    ] {
        assert!(package.files.contains(file), "there is no {file}: {:#?}", package.files);
    }
    // No file of the local administrator's, and nothing that somebody may write to.
    for file in &package.files {
        assert!(!file.starts_with("/usr/local") && !file.starts_with("/lib"), "{file}");
        let mode = fs::metadata(package.path(file)).unwrap().permissions().mode() & 0o7777;
        // What may hold keys is for root, and after postinst for the service.
        let secret = file == "/etc/logweir/logweir.toml";
        let fits = if secret { mode == 0o640 } else { [0o644, 0o755].contains(&mode) };
        assert!(fits, "{file} has {mode:o}");
    }
    assert_eq!(package.control("conffiles"), "/etc/logweir/logweir.toml\n");
    let control = package.control("control");
    let field = |name: &str| {
        let found = control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name}: {control}"))
    };
    assert_eq!(field("Package"), "logweir");
    assert_eq!(field("Version"), concat!(env!("CARGO_PKG_VERSION"), "-1"));
    for needed in ["libc6 (>= ", "ca-certificates", "systemd-sysusers"] {
        assert!(field("Depends").contains(needed), "{control}");
    }
}

/// The scripts: the user before the service, no restart of the socket, nothing of the data.
fn touches_little(package: &Package) {
    let postinst = package.control("postinst");
    let at = |text: &str| postinst.find(text).unwrap_or_else(|| panic!("no {text}: {postinst}"));
    assert!(at("systemd-sysusers") < at("deb-systemd-invoke start logweir.service logweir.socket"));
    // The service can read its configuration when it starts, and others cannot.
    for owned in ["chown root:logweir /etc/logweir/logweir.toml", "chmod 0640 /etc/logweir/logweir.toml"] {
        assert!(at("systemd-sysusers logweir.conf") < at(owned));
        assert!(at(owned) < at("deb-systemd-invoke start logweir.service logweir.socket"));
    }
    assert!(at("deb-systemd-invoke start") < at("deb-systemd-invoke try-restart logweir.service >"));
    for line in postinst.lines().filter(|line| line.contains("restart")) {
        assert!(!line.contains("logweir.socket"), "an upgrade would close the port: {line}");
    }
    for (script, units) in [("prerm", "logweir.service logweir.socket"), ("prerm", "logweir-load.timer")] {
        assert!(package.control(script).contains(units), "a removal stops them");
    }
    for script in ["postinst", "prerm", "postrm"] {
        let text = package.control(script);
        assert!(!text.contains("/var/lib") && !text.contains("rm -"), "the spool is somebody's data: {text}");
        let path = package.dir.path().join("control").join(script);
        succeeds(Path::new("/bin/sh"), &["-n", path.to_str().unwrap()]);
    }
}

#[test]
fn the_packaged_configuration_advises_no_key_in_the_clear() {
    let text = read("deploy/debian/logweir.toml");
    assert!(text.contains("logweir key new --name"));
    let keys = text.lines().filter(|line| line.trim_start_matches('#').trim_start().starts_with("key = "));
    assert_eq!(keys.collect::<Vec<_>>(), [""; 0]);
}

fn serves_as_its_unit_says(package: &Package) {
    let unit = Unit::of("deploy/systemd/logweir.service");
    let mut check = package.command(&unit);
    let arguments: Vec<_> = check.get_args().map(ToOwned::to_owned).collect();
    assert_eq!(arguments[0], "serve");
    let mut checked = Command::new(check.get_program());
    checked.arg("check").args(&arguments[1..]).env_clear().stdin(Stdio::null());
    let output = checked.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    check.env("LOGWEIR__SPOOL__SEAL_AFTER", "1h");
    let server = Serving::start(check);
    let answer = server.post("heard", r#"[{"ad_id":"a-1"},{"ad_id":"a-2"}]"#);
    assert!(answer.starts_with("200 ") && answer.contains(r#""accepted":2"#), "{answer}");
    assert!(server.get("/readyz").starts_with("200 "));
    let commit = server.starting["commit"].as_str().unwrap();
    let told = format!("logweir_build_info{{version=\"{}\",commit=\"{commit}\"}} 1", env!("CARGO_PKG_VERSION"));
    let metrics = server.get("/metrics");
    assert!(metrics.contains(&told), "no {told}: {metrics}");
    assert_eq!(server.stop().code(), Some(0));

    // The drain has stored it where the package says.
    let objects = tree(&package.path("/var/lib/logweir/objects"));
    let stored = |path: &PathBuf| path.extension().is_some_and(|it| it == "gz") && path.iter().any(|it| it == "heard");
    assert_eq!(objects.iter().filter(|path| stored(path)).count(), 1, "{objects:#?}");
}
