//! A crowd that arrives at once, as devices do behind an advert, at instances that take less: told when to come back, most
//! are let in when they do (P6).
//!
//! Each device has a connection only while it sends, and arrives when its time has come, however many were not answered
//! yet.
//!
//! How many are let in at their first return depends on how busy the machine is, too: the share is told, and a much lower
//! one is a failure. That the goal is reached is asserted where time is virtual, by the tests of `rehearse::simulate`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use tokio::time::{sleep, sleep_until};

use crate::{
    account::{Account, Trouble},
    balancer::{Balancer, is_installed},
    device::{Batch, Device},
    figures::tell,
    haproxy::Haproxy,
    instances::{Instance, Shared},
    nginx::Nginx,
};

/// How many devices come.
const CROWD: usize = 3_000;
/// Within which time.
const ARRIVAL: Duration = Duration::from_secs(1);
/// Bytes of padding in the one event of each.
const PADDING: usize = 1_000;
/// How often a device comes back before it is given up.
const MOST_RETURNS: usize = 10;
/// The share of those that were refused that must be let in at their first return, however busy the machine is. The goal is
/// 95 in 100 (P6).
const LET_IN: f64 = 0.75;
/// How long a device waits that no instance answered.
const UNANSWERED_WAIT: Duration = Duration::from_secs(1);
/// Files that the crowd has open at most, when nobody is answered before the last has come, and some more.
const OPEN_FILES: u64 = CROWD as u64 + 500;

/// Lets this process have as many connections as the crowd needs. Says so if it may not.
fn may_open_enough() -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < OPEN_FILES) {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
    }
    let enough = limit.current.is_none_or(|current| current >= OPEN_FILES);
    if !enough {
        tell(format_args!("left out: a crowd needs {OPEN_FILES} open files, and may have {:?}", limit.current));
    }
    enough
}

/// What a device went through.
#[derive(Debug, Default)]
struct Visit {
    /// How often it was refused.
    refused: usize,
    /// How often no instance answered it.
    unanswered: usize,
    /// The longest that it was told to wait.
    longest: Duration,
    /// Who let it in; `None` if nobody did.
    server: Option<String>,
}

/// One device: comes `after` the `start`, and again whenever it was told to.
async fn come(address: SocketAddr, batch: Batch, start: Instant, after: Duration) -> Visit {
    let mut visit = Visit::default();
    sleep_until((start + after).into()).await;
    while visit.refused + visit.unanswered <= MOST_RETURNS {
        match Device::new(address).send(&batch).await {
            Ok(answer) if answer.status == 200 => {
                visit.server = answer.served_by().map(ToOwned::to_owned);
                break;
            }
            Ok(answer) if answer.status == 429 => {
                let wait = answer.retry_after();
                visit.refused += 1;
                visit.longest = visit.longest.max(wait);
                sleep(wait).await;
            }
            Ok(answer) if answer.served_by().is_some() => panic!("{answer:?}"),
            Ok(_) | Err(_) => {
                visit.unanswered += 1;
                sleep(UNANSWERED_WAIT).await;
            }
        }
    }
    visit
}

/// What the batch of a device is called.
fn name(number: usize) -> String {
    format!("c{number}")
}

#[test]
fn most_are_let_in_at_their_first_return_behind_haproxy() {
    crowd::<Haproxy>();
}

#[test]
fn most_are_let_in_at_their_first_return_behind_nginx() {
    crowd::<Nginx>();
}

fn crowd<B: Balancer>() {
    if !is_installed::<B>() || !may_open_enough() {
        return;
    }
    // Some 100 batches a second and instance: a quarter of the crowd is let in at once, and the rest takes ten seconds.
    let settings = [
        ("SPOOL__MAX_RATE", "128KiB"),
        ("PACING__CAPACITY_FLOOR", "128KiB"),
        // Far more than all of them need; a test has no more time.
        ("PACING__RETRY_AFTER_CAP", "20s"),
    ];
    let shared = Shared::new();
    let mut instances: [Instance; 3] = std::array::from_fn(|_| Instance::start(&shared, &settings));
    let balancer = B::start([0, 1, 2].map(|number: usize| instances[number].address()));
    let batches: Vec<_> = (0..CROWD).map(|number| Batch::new(name(number), 1, PADDING)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let start = Instant::now();
    let devices = batches.into_iter().zip(0_u32..).map(|(batch, number)| {
        let after = ARRIVAL * number / CROWD as u32;
        runtime.spawn(come(balancer.address(), batch, start, after))
    });
    let devices: Vec<_> = devices.collect();

    let (mut by_refusals, mut by_server, mut longest) = (BTreeMap::new(), BTreeMap::new(), Duration::ZERO);
    let (mut account, mut unanswered) = (Account::default(), 0);
    for (number, device) in devices.into_iter().enumerate() {
        let visit = runtime.block_on(device).unwrap();
        unanswered += visit.unanswered;
        match &visit.server {
            Some(_) => drop(account.acknowledged.insert(name(number), 1)),
            None => account.given_up.push(name(number)),
        }
        let began = start;
        account.troubles.extend((0..visit.unanswered).map(|_| Trouble {
            batch: name(number),
            began,
            ended: Instant::now(),
            status: None,
            server: None,
            reused: false,
        }));
        *by_refusals.entry(visit.refused).or_insert(0_usize) += 1;
        *by_server.entry(visit.server.map(|server| balancer.name(&server))).or_insert(0_usize) += 1;
        longest = longest.max(visit.longest);
    }
    let with = |refusals| by_refusals.get(&refusals).copied().unwrap_or_default();
    let returned = CROWD - with(0);
    let share = with(1) as f64 / returned as f64;
    tell(format_args!(
        "{}: of {CROWD} devices {} were let in at once, and of {returned} that returned {:.1} % at the first time, all \
         within {:?}, told to wait {longest:?} at most; {unanswered} times no instance answered; by refusals {by_refusals:?}, by instance {by_server:?}",
        B::NAME,
        with(0),
        share * 100.0,
        start.elapsed(),
    ));
    // On a machine that is too slow to be a crowd, fewer must return; some must.
    assert!(returned > CROWD / 4, "the crowd was none");
    assert!(share >= LET_IN, "only {share} were let in at their first return: {by_refusals:?}");
    for name in ["i1", "i2", "i3"] {
        assert_eq!(balancer.taken_out(name), 0, "{}", balancer.log());
    }
    // Whoever was let in is stored, and once.
    for instance in &instances {
        instance.server().signal(Signal::TERM);
    }
    for instance in &mut instances {
        instance.ended();
    }
    let stored = account.compare(&shared.objects());
    assert_eq!(stored.events, account.acknowledged.len());
    assert_eq!(stored.events + account.given_up.len(), CROWD);
}
