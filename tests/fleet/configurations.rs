//! The configurations as they are shipped, read by the program that they are for.

use std::process::Command;

use crate::{
    balancer::is_installed,
    haproxy::{CONFIGURATION, Haproxy},
    nginx::{self, Nginx},
    process::Place,
};

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
        command.args(["-c", "-f", CONFIGURATION]);
        is_sound(command);
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
