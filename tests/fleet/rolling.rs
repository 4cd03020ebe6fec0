//! Instances that are replaced one after the other, while devices send, the program is another one, and keys rotate:
//! every event that was acknowledged is stored once, and devices see nothing but 200 and 429.

use rustix::process::Signal;

use crate::{
    account::Account,
    balancer::{Balancer, is_installed, until},
    devices::{Devices, Habits},
    figures::tell,
    haproxy::Haproxy,
    instances::Shared,
    lasting::Lasting,
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
/// What an instance answers to a key that it does not know.
const UNKNOWN: u16 = 401;

/// How the process of an instance is replaced by another one.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// It is taken out, stops, is started and is taken back (SIGTERM).
    Restart,
    /// It stops and is started, and the load balancer is told nothing and did not look.
    Stop,
    /// It hands its listening sockets over to a successor, and the load balancer is told nothing (SIGUSR2).
    HandOver,
}

/// A fleet that serves while it is changed.
struct Fleet<'a, B> {
    release: &'a Release<'a>,
    instances: [Lasting; 3],
    balancer: B,
    devices: Devices,
}

impl<'a, B: Balancer> Fleet<'a, B> {
    fn start(release: &'a Release<'a>) -> Self {
        let instances: [Lasting; 3] = std::array::from_fn(|_| Lasting::start(release));
        let balancer = B::start([0, 1, 2].map(|number: usize| instances[number].address));
        let devices = Devices::start(balancer.address(), HABITS);
        let fleet = Self { release, instances, balancer, devices };
        for name in NAMES {
            fleet.devices.until_served(&fleet.balancer, name, SOME);
        }
        fleet
    }

    /// Replaces the process of instance `number` by the program as it is now.
    fn replace(&mut self, number: usize, way: Way) {
        let (instance, name) = (&mut self.instances[number], NAMES[number]);
        match way {
            Way::Restart => {
                self.balancer.drain(name, || instance.stop());
                instance.ended();
                instance.start_again();
                self.balancer.take_back(name);
            }
            Way::Stop => {
                instance.stop();
                instance.ended();
                instance.start_again();
            }
            Way::HandOver => instance.hand_over(),
        }
        assert!(instance.runs_the_program(), "{name} is the old program");
        self.devices.until_served(&self.balancer, name, SOME);
    }

    /// Has each instance read its configuration again, with `keys`, and waits until it knows them and not `other`.
    fn rotate(&self, keys: &[Key], other: Option<Key>) {
        self.release.configure(keys);
        for (instance, name) in self.instances.iter().zip(NAMES) {
            instance.signal(Signal::HUP);
            let knows = |key: &Key| instance.answer(key.1) != UNKNOWN;
            until(&format!("{name} to know its keys"), || {
                (keys.iter().all(knows) && !other.as_ref().is_some_and(knows)).then_some(())
            });
        }
    }

    /// Ends the devices and then the instances, and holds what is stored to what was acknowledged: the account.
    fn end(mut self, way: Way, shared: &Shared) -> (B, Account) {
        let elapsed = self.devices.elapsed();
        let account = self.devices.end(&self.balancer);
        // One that looks takes out whoever drains; one that does not, whoever is not there; and nobody else.
        let taken_out = NAMES.map(|name| self.balancer.taken_out(name));
        let noticed = matches!((way, B::CHECKS), (Way::Restart, true) | (Way::Stop, false));
        assert!(taken_out.iter().all(|times| (*times > 0) == noticed), "{taken_out:?}: {}", self.balancer.log());
        self.instances.iter_mut().for_each(Lasting::stop);
        self.instances.iter_mut().for_each(Lasting::ended);
        let stored = account.compare(&shared.objects());
        assert_eq!((stored.doubled, stored.instances.len()), (0, 3), "{stored}");
        self.release.audit(stored.events);
        assert!(account.given_up.is_empty(), "{:?}", account.given_up);
        tell(format_args!(
            "{}, {way:?}: in {elapsed:.0?} {} requests, {} of them 429, {} failed; {stored}; by instance {:?}",
            B::NAME,
            account.attempts,
            account.refused,
            account.troubles.len(),
            account.by_server,
        ));
        (self.balancer, account)
    }
}

/// Replaces three instances one after the other. Meanwhile all learn another key, the devices change to it, and all
/// forget the old one.
fn replace_all<B: Balancer>(way: Way) -> Option<(B, Account)> {
    if !is_installed::<B>() {
        return None;
    }
    let shared = Shared::new();
    let release = Release::install(&shared, B::LINGER, &[OLD]);
    let mut fleet = Fleet::<B>::start(&release);
    assert_eq!(fleet.instances.each_ref().map(|instance| instance.answer(NEW.1)), [UNKNOWN; 3]);
    release.replace_program();
    fleet.replace(0, way);
    fleet.rotate(&[OLD, NEW], None);
    fleet.replace(1, way);
    fleet.devices.use_key(NEW.1);
    fleet.rotate(&[NEW], Some(OLD));
    fleet.replace(2, way);
    Some(fleet.end(way, &shared))
}

#[test]
fn a_rolling_restart_behind_haproxy_is_seen_by_nobody() {
    let Some((haproxy, account)) = replace_all::<Haproxy>(Way::Restart) else { return };
    assert!(account.troubles.is_empty(), "{:#?}\n{}", account.troubles, haproxy.log());
    assert!(haproxy.anomalies().is_empty(), "{}", haproxy.log());
}

/// What no nginx before 1.27.4 can: each reload closes connections of devices, one of which may just send over it.
/// Nothing of that is stored, and it is sent again.
#[test]
fn a_rolling_restart_behind_nginx_is_seen_by_those_at_most_whose_idle_connection_a_reload_closes() {
    let Some((nginx, account)) = replace_all::<Nginx>(Way::Restart) else { return };
    for trouble in &account.troubles {
        assert!(trouble.met_a_closed_connection(), "{trouble:?}:\n{}", nginx.log());
    }
}

/// Requests of which nothing was sent go elsewhere. One that meets a connection as its instance closes it is answered
/// 502: nothing of it is stored, and it is sent again.
#[test]
fn instances_that_stop_behind_nginx_without_a_word_are_seen_by_those_at_most_whose_request_meets_a_closed_connection() {
    let Some((nginx, account)) = replace_all::<Nginx>(Way::Stop) else { return };
    for trouble in &account.troubles {
        assert_eq!(trouble.status, Some(502), "{trouble:?}:\n{}", nginx.log());
    }
}

#[test]
fn three_instances_are_handed_over_behind_haproxy_and_nobody_sees_it() {
    let Some((haproxy, account)) = replace_all::<Haproxy>(Way::HandOver) else { return };
    assert!(account.troubles.is_empty(), "{:#?}\n{}", account.troubles, haproxy.log());
    assert!(haproxy.anomalies().is_empty(), "{}", haproxy.log());
}

#[test]
fn three_instances_are_handed_over_behind_nginx_and_nobody_sees_it() {
    let Some((nginx, account)) = replace_all::<Nginx>(Way::HandOver) else { return };
    assert!(account.troubles.is_empty(), "{:#?}\n{}", account.troubles, nginx.log());
}
