//! Instances that die, drain and are added while devices send: nothing is lost, and nobody notices but those whose
//! request the dead one had.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{runtime::Runtime, task::JoinHandle, time::sleep};

use crate::{
    account::{Account, Trouble},
    device::{Batch, Device},
    figures::tell,
    haproxy::{Anomaly, CHECK_INTERVAL, Haproxy, PATIENCE, Server, is_installed, until},
    instances::{Instance, Shared},
};

/// How many devices send at the same time.
const DEVICES: usize = 100;
/// How long a device thinks between two batches, at least, in milliseconds; at most it is three times as long.
const THINKING: u64 = 80;
/// How long a device waits that got no answer, at most: the first time, and as often as it is doubled.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_DOUBLINGS: u32 = 4;
/// How many requests each instance is to have served for what is said of it to mean something.
const SOME: u64 = 200;
/// Long enough for `HAProxy` to notice, thrice over.
const LINGER: &str = "6s";

/// Sends batch after batch, each until it is acknowledged, as the contract has it.
async fn send(number: usize, address: SocketAddr, over: Arc<AtomicBool>) -> Account {
    let (mut device, mut account) = (Device::new(address), Account::default());
    for count in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let batch = Batch::new(format!("d{number}-{count}"), 1 + (number + count) % 5, 100);
        deliver(&mut device, &batch, &mut account).await;
        if fastrand::u8(..) < 32 {
            device.disconnect();
        }
        sleep(Duration::from_millis(fastrand::u64(THINKING..3 * THINKING))).await;
    }
    account
}

/// Sends `batch` under its id until it is acknowledged.
async fn deliver(device: &mut Device, batch: &Batch, account: &mut Account) {
    let deadline = Instant::now() + PATIENCE;
    let mut failures = 0;
    while Instant::now() < deadline {
        let began = Instant::now();
        let answer = device.send(batch).await;
        let wait = match &answer {
            Ok(answer) if answer.status == 200 => {
                return account.acknowledge(batch, answer.served_by().expect("HAProxy says who served"));
            }
            Ok(answer) if answer.status == 429 => {
                account.refused += 1;
                answer.retry_after()
            }
            other => {
                let status = other.as_ref().ok().map(|answer| answer.status);
                assert!(status.is_none_or(|status| status >= 500), "{other:?}");
                let server = other.as_ref().ok().and_then(|answer| Some(answer.served_by()?.to_owned()));
                account.troubles.push(Trouble {
                    batch: batch.id.clone(),
                    began,
                    ended: Instant::now(),
                    status,
                    server,
                });
                let most = FIRST_BACKOFF * 2_u32.pow(failures.min(BACKOFF_DOUBLINGS));
                failures += 1;
                most.mul_f64(fastrand::f64())
            }
        };
        sleep(wait).await;
    }
    account.given_up.push(batch.id.clone());
}

/// Devices that send.
struct Devices {
    runtime: Runtime,
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Account>>,
}

impl Devices {
    fn start(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let over = Arc::<AtomicBool>::default();
        let device = |number| runtime.spawn(send(number, address, Arc::clone(&over)));
        Self { tasks: (0..DEVICES).map(device).collect(), over, runtime }
    }

    /// Ends each device behind the batch that it has, and adds up.
    fn end(self) -> Account {
        self.over.store(true, Ordering::Relaxed);
        let mut account = Account::default();
        for task in self.tasks {
            account.merge(self.runtime.block_on(task).unwrap());
        }
        account
    }
}

#[test]
fn one_is_killed_one_drains_and_one_is_added() {
    if !is_installed() {
        return;
    }
    let shared = Shared::new();
    // Syncs that are rare keep requests waiting, so that the one that dies has some.
    let settings = [("DRAIN__LINGER", LINGER), ("SPOOL__SEAL_AFTER", "2s"), ("SPOOL__SYNC_INTERVAL", "20ms")];
    let start = || Instance::start(&shared, &settings);
    let [mut dies, mut drains, mut stays] = [start(), start(), start()];
    let haproxy = Haproxy::start([dies.address(), drains.address(), stays.address()]);
    let devices = Devices::start(haproxy.address);
    for name in ["i1", "i2", "i3"] {
        haproxy.until_server(name, "serves", |server| server.count("hrsp_2xx") >= SOME);
    }

    // One dies, with requests under way.
    let open = haproxy.until_server("i1", "has requests", |server| server.count("scur") > 0).count("scur");
    let dying = Instant::now();
    dies.kill();
    let dead = Instant::now();
    haproxy.until_server("i1", "is taken out", Server::is_down);
    let noticed = Instant::now();
    haproxy.remove("i1");

    // One drains, and another takes its place meanwhile.
    drains.server().signal(Signal::TERM);
    haproxy.until_server("i2", "is taken out", Server::is_down);
    let mut added = start();
    haproxy.add("spare1", added.address());
    drains.ended();
    haproxy.remove("i2");
    haproxy.until_server("spare1", "serves", |server| server.count("hrsp_2xx") >= SOME);
    let account = devices.end();

    let servers = haproxy.servers();
    let downs = ["i1", "i2", "i3", "spare1"].map(|name| servers[name].count("chkdown"));
    assert_eq!(downs, [1, 1, 0, 0], "an instance that was well was taken out:\n{}", haproxy.log());
    for name in ["i2", "i3", "spare1"] {
        let server = &servers[name];
        let failed = ["econ", "wretr", "wredis", "eresp", "hrsp_5xx"].map(|what| server.count(what));
        assert_eq!(failed, [0; 5], "connections, retries, answers and 5xx of {name}:\n{}", haproxy.log());
    }
    let anomalies = told(&haproxy, &account.troubles);
    for trouble in &account.troubles {
        // Its request was under way when the instance died, or came before it was noticed. The other was not yet told to
        // drain then.
        assert!(trouble.ended >= dying && trouble.began <= noticed, "{trouble:?}:\n{}", haproxy.log());
        assert!(trouble.server.as_ref().is_none_or(|server| server == "i1"), "{trouble:?}:\n{}", haproxy.log());
    }
    assert!(anomalies.iter().all(|anomaly| anomaly.server == "i1"), "{anomalies:#?}");
    assert!(account.given_up.is_empty(), "{:?}", account.given_up);

    for instance in [&stays, &added] {
        instance.server().signal(Signal::TERM);
    }
    stays.ended();
    added.ended();
    dies.replay();
    let stored = account.compare(&shared.objects());
    assert_eq!(stored.instances.len(), 4);
    let late = account.troubles.iter().filter(|trouble| trouble.began > dead).count();
    tell(format_args!(
        "{DEVICES} devices: {:?} batches acknowledged, {} attempts refused; {stored}; the dead one had {open} requests \
         and was noticed after {:?}, checked every {CHECK_INTERVAL:?}: {} attempts got {:?}, {late} of them were sent \
         when it was dead; {} were sent elsewhere by HAProxy",
        account.by_server,
        account.refused,
        noticed - dying,
        account.troubles.len(),
        account.troubles.iter().map(|trouble| trouble.status).collect::<BTreeSet<_>>(),
        haproxy.anomalies().iter().map(|anomaly| anomaly.retries).sum::<usize>(),
    ));
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
