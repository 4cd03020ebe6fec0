//! The systemd units. systemd does not run here: its own tools read and rate them, and what they start is started without it
//! in `debian` and in tests/binary.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use logweir::commands::{EXIT_CONFIG, EXIT_UNAVAILABLE};

use crate::{
    checked::Checked,
    tools::{root, succeeds, tool},
    unit_file::Unit,
};

const SERVICE: &str = "deploy/systemd/logweir.service";
const SOCKET: &str = "deploy/systemd/logweir.socket";
const LOADER: &str = "deploy/systemd/loader/logweir-load.service";
const TIMER: &str = "deploy/systemd/loader/logweir-load.timer";
/// The worst exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE: &str = "--threshold=24";
/// What must be left of `TimeoutStopSec` when the drain is over, in seconds.
const MARGIN: u64 = 10;

fn packaged() -> Checked {
    Checked::of(&root().join("deploy/debian/logweir.toml"), &[])
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let Some(analyze) = tool("systemd-analyze") else { return };
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    // What is to be executed has to be there.
    for program in ["usr/bin/logweir", "bin/kill"] {
        let path = dir.path().join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "#!/bin/true\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // Of the system, those that ours name.
    for name in ["sysinit", "basic", "sockets", "timers", "multi-user", "network-online", "shutdown"] {
        fs::write(units.join(format!("{name}.target")), "[Unit]\nDefaultDependencies=no\n").unwrap();
    }
    let mut names = Vec::new();
    for path in [SERVICE, SOCKET, LOADER, TIMER] {
        let name = Path::new(path).file_name().unwrap();
        fs::copy(root().join(path), units.join(name)).unwrap();
        names.push(name.to_str().unwrap());
    }
    let rooted = format!("--root={}", dir.path().display());
    let mut arguments = vec!["verify", "--man=no", &rooted];
    arguments.extend(names);
    let output = crate::tools::run(&analyze, &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("logweir")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn the_units_are_hardened_to_less_than_two_and_a_half() {
    let Some(analyze) = tool("systemd-analyze") else { return };
    for path in [SERVICE, LOADER] {
        succeeds(&analyze, &["security", "--offline=true", EXPOSURE, "--no-pager", path]);
    }
    // The loader is locked up like the server, whatever is changed there.
    let hardened = |path: &str| Unit::of(path).from("CapabilityBoundingSet").to_vec();
    let mut server = hardened(SERVICE);
    server.retain(|(name, _)| !["WantedBy", "Also"].contains(&name.as_str()));
    assert_eq!(hardened(LOADER), server);
}

#[test]
fn the_time_to_stop_is_longer_than_the_drain() {
    let (unit, checked) = (Unit::of(SERVICE), packaged());
    assert!(unit.seconds("TimeoutStopSec").as_secs() >= checked.drain().as_secs() + MARGIN);
    // A restart needs less: it serves on, and finishes what is under way.
    assert!(unit.seconds("TimeoutStopSec") > 2 * std::time::Duration::from_secs(30), "the longest drain.handover");
}

#[test]
fn exit_codes_and_signals_mean_the_same_to_systemd_as_to_logweir() {
    let unit = Unit::of(SERVICE);
    assert_eq!(unit.one("RestartPreventExitStatus"), EXIT_CONFIG.to_string());
    assert_ne!(EXIT_UNAVAILABLE, EXIT_CONFIG, "a port or a spool that is taken is tried again");
    assert_eq!(unit.one("Restart"), "on-failure");
    assert_eq!(unit.one("SuccessExitStatus"), "143");
    for (name, value) in [
        ("Type", "notify"),
        ("NotifyAccess", "all"),
        ("KillSignal", "SIGTERM"),
        ("RestartKillSignal", "SIGUSR1"),
        ("KillMode", "mixed"),
        ("Requires", "logweir.socket"),
    ] {
        assert_eq!(unit.one(name), value);
    }
    let reload = unit.all("ExecReload");
    assert_eq!(reload.last(), Some(&"/bin/kill -HUP $MAINPID"));
    // What is checked before a reload is what is served.
    assert_eq!(reload[0].replace(" check ", " serve "), unit.one("ExecStart"));
}

#[test]
fn the_packaged_configuration_fits_the_units() {
    let (service, socket, checked) = (Unit::of(SERVICE), Unit::of(SOCKET), packaged());
    assert_eq!(socket.one("ListenStream"), checked.value("server", "listen"));
    // Under ProtectSystem=strict it may write nowhere else.
    let state = Path::new("/var/lib").join(service.one("StateDirectory"));
    for dir in [checked.value("spool", "dir"), checked.value("[sinks]", "dir")] {
        assert!(Path::new(dir).starts_with(&state), "{dir}");
    }
    assert!(service.one("LimitNOFILE").parse::<u64>().unwrap() > 2 * 8_192, "server.max_connections, and more");
    let user = crate::tools::read("deploy/systemd/logweir.sysusers");
    assert!(user.contains(&format!("\nu {} - ", service.one("User"))), "{user}");
}

#[test]
fn the_memory_that_is_advised_is_above_the_ceiling() {
    let text = crate::tools::read(SERVICE);
    let advised: u64 = text.split("\n#MemoryMax=").nth(1).unwrap().split('M').next().unwrap().parse().unwrap();
    // The ceiling depends on the cores: for two of them.
    let checked = Checked::of(&root().join("deploy/debian/logweir.toml"), &[("SERVER__WORKERS", "2")]);
    assert!(advised << 20 >= checked.ceiling() * 5 / 4 + (64 << 20), "{advised} MiB, {}", checked.ceiling());
}
