//! Instances that are replaced one after the other, while devices send, keys change and the program is another one: every
//! event that was acknowledged is stored once, and devices see nothing but 200 and 429.

use crate::{
    account::Account,
    balancer::{Balancer, is_installed},
    device::{Batch, Device},
    devices::{Devices, Habits},
    figures::tell,
    haproxy::Haproxy,
    instances::{Instance, Shared},
    nginx::Nginx,
    release::{Key, Release},
};

const OLD: Key = ("sdk-2026", "the-key-that-devices-had");
const NEW: Key = ("sdk-2027", "the-key-that-devices-get");
/// Who sends: some 500 batches a second, half of them over a connection of their own.
const HABITS: Habits = Habits { devices: 120, thinking: 120..360, leaving: [256, 1], key: OLD.1 };
/// How many batches each instance is to have acknowledged between two changes.
const SOME: usize = 200;
const NAMES: [&str; 3] = ["i1", "i2", "i3"];

/// A fleet that serves while it is changed.
struct Fleet<'a, B> {
    release: &'a Release<'a>,
    instances: [Instance; 3],
    balancer: B,
    devices: Devices,
}

impl<'a, B: Balancer> Fleet<'a, B> {
    fn start(shared: &Shared, release: &'a Release<'a>) -> Self {
        let (program, configuration) = (release.program(), release.configuration());
        let arguments = ["--config", configuration.to_str().unwrap()];
        let instances: [Instance; 3] = std::array::from_fn(|_| Instance::start_lasting(shared, &program, &arguments));
        let balancer = B::start([0, 1, 2].map(|number: usize| instances[number].address()));
        let devices = Devices::start(balancer.address(), HABITS);
        let fleet = Self { release, instances, balancer, devices };
        fleet.all_serve();
        fleet
    }

    fn all_serve(&self) {
        for name in NAMES {
            self.devices.until_served(&self.balancer, name, SOME);
        }
    }

    /// Restarts one after the other, with the program and the configuration as they are now.
    fn restart(&mut self) {
        for (instance, name) in self.instances.iter_mut().zip(NAMES) {
            self.balancer.drain(name, || instance.terminate());
            instance.ended();
            instance.start_again();
            assert!(instance.runs(&self.release.program()), "{name} is the old program");
            self.balancer.take_back(name);
            self.devices.until_served(&self.balancer, name, SOME);
        }
    }

    /// What each instance answers to `key`.
    fn answers(&self, key: Key) -> [u16; 3] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Nothing of it is stored: it has no events.
        let batch = Batch::with_key("probe".into(), 0, 0, key.1);
        let answer = |number: usize| {
            let mut device = Device::new(self.instances[number].address());
            runtime.block_on(device.send(&batch)).unwrap().status
        };
        [0, 1, 2].map(answer)
    }

    /// Ends the devices and then the instances, and holds what is stored to what was acknowledged: the account.
    fn end(mut self, shared: &Shared) -> (B, Account) {
        let elapsed = self.devices.elapsed();
        let account = self.devices.end(&self.balancer);
        for instance in &self.instances {
            instance.terminate();
        }
        for instance in &mut self.instances {
            instance.ended();
        }
        let stored = account.compare(&shared.objects());
        assert_eq!((stored.doubled, stored.instances.len()), (0, 3), "{stored}");
        self.release.audit(stored.events);
        assert!(account.given_up.is_empty(), "{:?}", account.given_up);
        tell(format_args!(
            "{}: in {elapsed:.0?} {} requests, {} of them refused (429), {} failed; {stored}; by instance {:?}",
            B::NAME,
            account.attempts,
            account.refused,
            account.troubles.len(),
            account.by_server,
        ));
        (self.balancer, account)
    }
}

/// Restarts three instances one after the other, twice: for another program and another key, and to forget the old one.
fn restart_all<B: Balancer>() -> Option<(B, Account)> {
    if !is_installed::<B>() {
        return None;
    }
    let shared = Shared::new();
    let release = Release::install(&shared, B::LINGER, &[OLD]);
    let mut fleet = Fleet::<B>::start(&shared, &release);
    let [known, unknown] = [fleet.answers(OLD), fleet.answers(NEW)];
    assert_eq!(unknown, [401; 3]);
    release.replace_program();
    release.configure(&[OLD, NEW]);
    fleet.restart();
    assert_eq!([fleet.answers(OLD), fleet.answers(NEW)], [known; 2]);
    fleet.devices.use_key(NEW.1);
    fleet.all_serve();
    release.configure(&[NEW]);
    fleet.restart();
    assert_eq!([fleet.answers(OLD), fleet.answers(NEW)], [unknown, known]);
    Some(fleet.end(&shared))
}

#[test]
fn a_rolling_restart_behind_haproxy_is_seen_by_nobody() {
    let Some((haproxy, account)) = restart_all::<Haproxy>() else { return };
    assert!(account.troubles.is_empty(), "{:#?}\n{}", account.troubles, haproxy.log());
    assert!(haproxy.anomalies().is_empty(), "{}", haproxy.log());
}

/// What no nginx before 1.27.4 can: each reload closes connections of devices, one of which may just send over it. Nothing
/// of that is stored, and it is sent again.
#[test]
fn a_rolling_restart_behind_nginx_is_seen_by_those_at_most_whose_idle_connection_a_reload_closes() {
    let Some((nginx, account)) = restart_all::<Nginx>() else { return };
    for trouble in &account.troubles {
        assert!(trouble.met_a_closed_connection(), "{trouble:?}:\n{}", nginx.log());
    }
    for name in NAMES {
        assert_eq!(nginx.taken_out(name), 0, "{}", nginx.log());
    }
}
