//! Instances that die, drain and are added while devices send: nothing is lost, and nobody notices but those whose
//! request the dead one had.

use std::{collections::BTreeSet, time::Instant};

use rustix::process::Signal;

use crate::{
    account::{Account, Stored, Trouble},
    balancer::{Balancer, is_installed, until},
    devices::{Devices, Habits},
    figures::tell,
    haproxy::{Anomaly, CHECK_INTERVAL, Haproxy},
    instances::{Instance, Shared},
    nginx::Nginx,
};

/// Who sends: some 600 batches a second.
const HABITS: Habits = Habits { devices: 100, thinking: 80..240, leaving: [32, 32], key: "" };
/// How many batches each instance is to have acknowledged for what is said of it to mean something.
const SOME: usize = 200;

/// What came of it.
struct Outcome<B> {
    balancer: B,
    account: Account,
    stored: Stored,
    /// When the one was killed, when it was dead, and when the load balancer knew.
    dying: Instant,
    dead: Instant,
    noticed: Instant,
}

impl<B: Balancer> Outcome<B> {
    /// Whether the request was under way when the instance died, or came before it was noticed. The other was not yet
    /// told to drain then.
    fn is_of_the_dead(&self, trouble: &Trouble) -> bool {
        trouble.ended >= self.dying
            && trouble.began <= self.noticed
            && trouble.server.as_ref().is_none_or(|server| server == "i1")
    }

    fn tell(&self, more: &str) {
        let Self { account, stored, .. } = self;
        let late = account.troubles.iter().filter(|trouble| trouble.began > self.dead).count();
        tell(format_args!(
            "{}: {} devices: {:?} batches acknowledged, {} attempts refused; {stored}; the dead one was noticed after \
             {:?}: {} attempts got {:?}, {late} of them were sent when it was dead; {more}",
            B::NAME,
            HABITS.devices,
            account.by_server,
            account.refused,
            self.noticed - self.dying,
            account.troubles.len(),
            account.troubles.iter().map(|trouble| trouble.status).collect::<BTreeSet<_>>(),
        ));
    }
}

/// One of three dies, when it is `busy`; one drains, and another takes its place. When nobody sends any more, somebody
/// may `look` at the load balancer.
fn change<B: Balancer>(busy: impl FnOnce(&B), look: impl FnOnce(&B)) -> Outcome<B> {
    let shared = Shared::new();
    // Syncs that are rare keep requests waiting, so that the one that dies has some.
    let settings = [("DRAIN__LINGER", B::LINGER), ("SPOOL__SEAL_AFTER", "2s"), ("SPOOL__SYNC_INTERVAL", "20ms")];
    let start = || Instance::start(&shared, &settings);
    let [mut dies, mut drains, mut stays] = [start(), start(), start()];
    let mut balancer = B::start([dies.address(), drains.address(), stays.address()]);
    let devices = Devices::start(balancer.address(), HABITS);
    for name in ["i1", "i2", "i3"] {
        devices.until_served(&balancer, name, SOME);
    }

    busy(&balancer);
    let dying = Instant::now();
    dies.kill();
    let dead = Instant::now();
    balancer.until_noticed("i1");
    let noticed = Instant::now();
    balancer.remove("i1");

    balancer.drain("i2", || drains.server().signal(Signal::TERM));
    let mut added = start();
    balancer.add("spare1", added.address());
    drains.ended();
    balancer.remove("i2");
    for name in ["i3", "spare1"] {
        devices.until_served(&balancer, name, SOME);
    }
    let account = devices.end(&balancer);

    look(&balancer);
    assert!(account.given_up.is_empty(), "{:?}", account.given_up);
    for name in ["i3", "spare1"] {
        assert_eq!(balancer.taken_out(name), 0, "{name} was well and was taken out:\n{}", balancer.log());
    }
    for instance in [&mut stays, &mut added] {
        instance.server().signal(Signal::TERM);
    }
    stays.ended();
    added.ended();
    dies.replay();
    let stored = account.compare(&shared.objects());
    assert_eq!(stored.instances.len(), 4);
    Outcome { balancer, account, stored, dying, dead, noticed }
}

#[test]
fn one_is_killed_one_drains_and_one_is_added_behind_haproxy() {
    if !is_installed::<Haproxy>() {
        return;
    }
    // It dies with requests under way.
    let busy = |haproxy: &Haproxy| {
        haproxy.until_server("i1", "has requests", |server| server.count("scur") > 0);
    };
    let outcome = change(busy, |haproxy| {
        let servers = haproxy.servers();
        let downs = ["i1", "i2", "i3", "spare1"].map(|name| servers[name].count("chkdown"));
        assert_eq!(downs, [1, 1, 0, 0], "an instance that was well was taken out:\n{}", haproxy.log());
        for name in ["i2", "i3", "spare1"] {
            let server = &servers[name];
            let failed = ["econ", "wretr", "wredis", "eresp", "hrsp_5xx"].map(|what| server.count(what));
            assert_eq!(failed, [0; 5], "connections, retries, answers and 5xx of {name}:\n{}", haproxy.log());
        }
    });
    let Outcome { balancer: haproxy, account, .. } = &outcome;
    let anomalies = told(haproxy, &account.troubles);
    for trouble in &account.troubles {
        assert!(outcome.is_of_the_dead(trouble), "{trouble:?}:\n{}", haproxy.log());
    }
    assert!(anomalies.iter().all(|anomaly| anomaly.server == "i1"), "{anomalies:#?}");
    let elsewhere: usize = haproxy.anomalies().iter().map(|anomaly| anomaly.retries).sum();
    outcome.tell(&format!("checked every {CHECK_INTERVAL:?}, {elsewhere} were sent elsewhere"));
}

#[test]
fn one_is_killed_one_drains_and_one_is_added_behind_nginx() {
    if !is_installed::<Nginx>() {
        return;
    }
    let outcome = change(|_: &Nginx| {}, |_| {});
    // Each reload closes connections of devices that think.
    let (closed, others): (Vec<_>, Vec<_>) =
        outcome.account.troubles.iter().partition(|trouble| trouble.met_a_closed_connection());
    for trouble in others {
        assert!(outcome.is_of_the_dead(trouble), "{trouble:?}:\n{}", outcome.balancer.log());
    }
    outcome.tell(&format!("{} of them met a connection that was being closed", closed.len()));
}

/// What `HAProxy` logged of each of `troubles` in which it answered, once all of it is there.
///
/// Where it lost the instance behind a request that was not its connection's first, it closes the connection without an
/// answer, so that the client sends the request again, and logs nothing.
fn told(haproxy: &Haproxy, troubles: &[Trouble]) -> Vec<Anomaly> {
    let answered = troubles.iter().filter(|trouble| trouble.status.is_some());
    let batches: BTreeSet<_> = answered.map(|trouble| trouble.batch.as_str()).collect();
    until("HAProxy to have logged every trouble", || {
        let mut anomalies = haproxy.anomalies();
        // One that was sent elsewhere and answered well is none.
        anomalies.retain(|anomaly| anomaly.status.is_none_or(|status| status >= 500));
        let told: BTreeSet<_> = anomalies.iter().map(|anomaly| anomaly.batch.as_str()).collect();
        let all = batches.is_subset(&told);
        all.then_some(anomalies)
    })
}
