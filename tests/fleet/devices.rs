//! Devices that send batch after batch, each until it is acknowledged, as the contract has it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, task::JoinHandle, time::sleep};

use crate::{
    account::{Account, Trouble},
    balancer::{Balancer, PATIENCE, until},
    device::{Batch, Device},
};

/// How long a device waits that got no answer, at most: the first time, and as often as it is doubled.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_DOUBLINGS: u32 = 4;

/// How devices behave.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    /// How many send at the same time.
    pub(crate) devices: usize,
    /// How long a device thinks between two batches, in milliseconds.
    pub(crate) thinking: Range<u64>,
    /// Behind how many of 256 batches devices with an even and with an odd number disconnect.
    pub(crate) leaving: [u32; 2],
    /// The key that they use at first; empty for none.
    pub(crate) key: &'static str,
}

/// What devices and the test tell each other.
struct Common {
    address: SocketAddr,
    habits: Habits,
    over: AtomicBool,
    key: Mutex<&'static str>,
    /// With which key each device sends the batch that it has.
    in_use: Mutex<Vec<&'static str>>,
    /// How many batches each instance has acknowledged so far, by what an answer calls it.
    served: Mutex<BTreeMap<String, usize>>,
}

impl Common {
    /// What the device with this `number` does.
    async fn send(self: Arc<Self>, number: usize) -> Account {
        let (mut device, mut account) = (Device::new(self.address), Account::default());
        let leaving = self.habits.leaving[number % 2];
        for count in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let key = *self.key.lock().unwrap();
            self.in_use.lock().unwrap()[number] = key;
            let batch = Batch::with_key(format!("d{number}-{count}"), 1 + (number + count) % 5, 100, key);
            self.deliver(&mut device, &batch, &mut account).await;
            if fastrand::u32(..256) < leaving {
                device.disconnect();
            }
            sleep(Duration::from_millis(fastrand::u64(self.habits.thinking.clone()))).await;
        }
        account
    }

    /// Sends `batch` under its id until it is acknowledged.
    async fn deliver(&self, device: &mut Device, batch: &Batch, account: &mut Account) {
        let deadline = Instant::now() + PATIENCE;
        let mut failures = 0;
        while Instant::now() < deadline {
            let began = Instant::now();
            let answer = device.send(batch).await;
            account.attempts += 1;
            let wait = match &answer {
                Ok(answer) if answer.status == 200 => {
                    let server = answer.served_by().expect("the load balancer says who served");
                    *self.served.lock().unwrap().entry(server.to_owned()).or_default() += 1;
                    return account.acknowledge(batch, server);
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
                        reused: device.reused,
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
}

/// Devices that send.
pub(crate) struct Devices {
    runtime: Runtime,
    common: Arc<Common>,
    tasks: Vec<JoinHandle<Account>>,
    began: Instant,
}

impl Devices {
    pub(crate) fn start(address: SocketAddr, habits: Habits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (over, key, served) = (AtomicBool::default(), Mutex::new(habits.key), Mutex::default());
        let in_use = Mutex::new(vec![habits.key; habits.devices]);
        let common = Arc::new(Common { address, habits, over, key, in_use, served });
        let device = |number| runtime.spawn(Arc::clone(&common).send(number));
        Self { tasks: (0..common.habits.devices).map(device).collect(), began: Instant::now(), common, runtime }
    }

    /// Has each device use `key` from its next batch on, and waits until no other is in use.
    pub(crate) fn use_key(&self, key: &'static str) {
        *self.common.key.lock().unwrap() = key;
        let all = || self.common.in_use.lock().unwrap().iter().all(|used| *used == key);
        until("devices to use another key", || all().then_some(()));
    }

    /// How many batches the instance called `name` has acknowledged.
    fn served(&self, balancer: &impl Balancer, name: &str) -> usize {
        let served = self.common.served.lock().unwrap();
        served.iter().filter(|(server, _)| balancer.name(server) == name).map(|(_, count)| count).sum()
    }

    /// Waits until the instance called `name` has acknowledged `some` more batches.
    pub(crate) fn until_served(&self, balancer: &impl Balancer, name: &str, some: usize) {
        let before = self.served(balancer, name);
        until(&format!("{name} to serve"), || (self.served(balancer, name) >= before + some).then_some(()));
    }

    /// How long they have been sending.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends each device behind the batch that it has, and adds up, with the names that `balancer` has for instances.
    pub(crate) fn end(self, balancer: &impl Balancer) -> Account {
        self.common.over.store(true, Ordering::Relaxed);
        let mut account = Account::default();
        for task in self.tasks {
            account.merge(self.runtime.block_on(task).unwrap());
        }
        account.call(|server| balancer.name(server));
        account
    }
}
