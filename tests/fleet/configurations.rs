//! The configurations as they are shipped, read by the program that they are for.

use std::{fs, net::SocketAddr, process::Command};

use crate::{
    balancer::{Balancer, is_installed},
    devices::{Devices, Habits},
    figures::tell,
    haproxy::{CONFIGURATION, Haproxy},
    instances::{Instance, Shared},
    nginx::{self, Nginx},
    process::Place,
};

/// Who sends while a configuration is read again: some 800 batches a second, most over connections that are kept.
const HABITS: Habits = Habits { devices: 200, thinking: 150..350, leaving: [32, 1], key: "" };
const RELOADS: usize = 5;
const SOME: usize = 100;

/// What `command` says, which must end well and complain of nothing.
fn is_sound(mut command: Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    for complaint in ["WARNING", "ALERT", "NOTICE", "[warn]", "[error]", "[emerg]"] {
        assert!(!said.contains(complaint), "{said}");
    }
}

#[test]
fn haproxy_finds_its_configuration_sound() {
    if is_installed::<Haproxy>() {
        let mut command = Command::new("haproxy");
        command.args(["-c", "-f", CONFIGURATION]).env("LOGWEIR_UNPRIVILEGED", "yes");
        is_sound(command);
    }
}

/// Beside a choice stands the attribute of an ALB, `NAME = VALUE`: as the template sets it, which AWS takes.
#[test]
fn what_the_configurations_say_of_an_alb_is_what_the_template_sets() {
    let read = |path: &str| fs::read_to_string(format!("{}/deploy/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let template = read("cloudformation/fleet.yaml");
    let mut seen = 0;
    for name in [
        "HealthCheckIntervalSeconds",
        "HealthCheckTimeoutSeconds",
        "HealthyThresholdCount",
        "HealthCheckPath",
        "idle_timeout.timeout_seconds",
        "load_balancing.algorithm.type",
        "routing.http.xff_header_processing.mode",
        "slow_start.duration_seconds",
    ] {
        let value = |text: &str| text.split([',', '.', ' ', '}', '\n']).next().unwrap().trim_matches('"').to_owned();
        let set = [format!("\n      {name}: "), format!("{{Key: {name}, Value: ")];
        let set = set.iter().find_map(|set| template.split(set.as_str()).nth(1)).map(value);
        for path in ["haproxy/haproxy.cfg", "nginx/nginx.conf"] {
            for told in read(path).split(&format!("{name} = ")).skip(1) {
                assert_eq!(Some(value(told)), set, "{path}: {name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 8, "{seen}");
}

/// Where the tests are root's and the package has made its user, as on a Debian.
#[test]
fn haproxy_that_root_starts_does_not_stay_root_s() {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = users.lines().find_map(|line| line.strip_prefix("haproxy:x:")?.split(':').next());
    let Some(user) = user.filter(|_| is_installed::<Haproxy>() && rustix::process::geteuid().is_root()) else {
        tell(format_args!("left out: only root can start HAProxy as root, if there is its user"));
        return;
    };
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let haproxy = Haproxy::start_by_root([nobody; 3]);
    for worker in haproxy.workers() {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
        assert!(uid.split_whitespace().all(|id| id == user), "{uid}");
        assert_eq!(fs::read_link(format!("/proc/{worker}/root")).unwrap().to_str(), Some("/var/lib/haproxy"));
    }
}

#[test]
fn nginx_finds_its_configuration_sound() {
    if is_installed::<Nginx>() {
        let place = Place::new();
        nginx::configure(&place, &nginx::shipped("listen.conf"), &nginx::shipped("instances.conf"));
        is_sound(nginx::command(&place, &["-t"]));
    }
}

#[test]
fn haproxy_reads_its_configuration_again_and_nobody_sees_it() {
    if !is_installed::<Haproxy>() {
        return;
    }
    let shared = Shared::new();
    let instances: [Instance; 3] = std::array::from_fn(|_| Instance::start(&shared, &[("DRAIN__LINGER", "0s")]));
    let haproxy = Haproxy::start(instances.each_ref().map(Instance::address));
    let devices = Devices::start(haproxy.address(), HABITS);
    for _ in 0..RELOADS {
        devices.until_served(&haproxy, "i1", SOME);
        haproxy.reload();
    }
    devices.until_served(&haproxy, "i1", SOME);
    let account = devices.end(&haproxy);
    tell(format_args!("{RELOADS} reloads: {} requests, {} failed", account.attempts, account.troubles.len()));
    assert!(account.troubles.is_empty(), "{:#?}\n{}", account.troubles, haproxy.log());
}
