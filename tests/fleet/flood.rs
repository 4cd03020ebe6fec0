//! A flood: every instance refuses much of what comes, and stays in rotation.
//!
//! How much that is, and how many are not answered in time at all, is the machine's doing, and told; what instances answer,
//! and what health checks see, is asserted.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    balancer::{Balancer, is_installed},
    device::{Batch, Device},
    figures::tell,
    haproxy::{CHECK_INTERVAL, Haproxy},
    instances::{Instance, Shared},
    nginx::Nginx,
};

/// How many devices flood, each with a connection and no pause.
const DEVICES: usize = 192;
/// Whom.
const NAMES: [&str; 3] = ["i1", "i2", "i3"];
/// How long.
const FLOOD: Duration = Duration::from_secs(5);
/// Of how many requests one may not be answered by an instance, on a machine that is too slow for all of them.
const MAX_LOST_PART: usize = 100;
/// Bodies that little of the budget is left beside.
const SMALL: usize = 12 * 1024;
/// A body that is not read when it is refused, so that its connection is closed.
const LARGE: usize = 100 * 1024;
/// Of how many batches one is large.
const LARGE_OF: usize = 8;
/// The smallest budget that these limits allow: one body as it comes and decoded, and its lines.
const SETTINGS: [(&str, &str); 6] = [
    ("LIMITS__ENCODED_BODY", "128KiB"),
    ("LIMITS__DECODED_BODY", "128KiB"),
    ("LIMITS__OUTPUT", "256KiB"),
    ("LIMITS__EVENT", "120KiB"),
    ("QUEUE__BYTES", "512KiB"),
    // Each receipt holds its bytes for that long.
    ("SPOOL__SYNC_INTERVAL", "250ms"),
];

/// How many answers of each status each instance gave; what was not answered has none.
type Answers = BTreeMap<(String, Option<u16>), usize>;

/// Sends batch after batch without a pause, whatever it is answered.
async fn flood(number: usize, address: SocketAddr, over: Arc<AtomicBool>) -> Answers {
    let (mut device, mut answers) = (Device::new(address), Answers::new());
    // The same batches again and again: making them costs more than refusing them.
    let [small, large] = [SMALL, LARGE].map(|padding| Batch::new(format!("f{number}-{padding}"), 1, padding));
    for count in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let batch = if (number + count).is_multiple_of(LARGE_OF) { &large } else { &small };
        let (server, status) = match device.send(batch).await {
            Ok(answer) => {
                if answer.status == 429 {
                    answer.retry_after();
                }
                (answer.served_by().unwrap_or("none").to_owned(), Some(answer.status))
            }
            Err(error) => (error.to_string(), None),
        };
        *answers.entry((server, status)).or_default() += 1;
    }
    answers
}

#[test]
fn every_instance_is_flooded_and_health_checks_of_haproxy_stay_up() {
    let (mut slowest, mut failed) = (0, 0);
    flooded(|haproxy: &Haproxy| {
        for name in NAMES {
            let server = haproxy.server(name);
            assert!(!server.is_down(), "{name} is taken out:\n{}", haproxy.log());
            slowest = slowest.max(server.count("check_duration"));
            failed = failed.max(server.count("chkfail"));
        }
    });
    tell(format_args!("checks every {CHECK_INTERVAL:?} took {slowest} ms at most, {failed} of an instance failed"));
}

#[test]
fn every_instance_is_flooded_and_nginx_gives_none_up() {
    flooded(|_: &Nginx| {});
}

/// Floods instances, and meanwhile has somebody `look` at the load balancer.
fn flooded<B: Balancer>(mut look: impl FnMut(&B)) {
    if !is_installed::<B>() {
        return;
    }
    let shared = Shared::new();
    // One does not know that a proxy stands in front: it closes connections behind large bodies that it refused.
    let proxied = |number| ("SERVER__BEHIND_PROXY", if number == 0 { "false" } else { "true" });
    let start = |number| Instance::start(&shared, &[&SETTINGS[..], &[proxied(number)]].concat());
    let instances: [Instance; 3] = std::array::from_fn(start);
    let balancer = B::start([0, 1, 2].map(|number: usize| instances[number].address()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let over = Arc::<AtomicBool>::default();
    let device = |number| runtime.spawn(flood(number, balancer.address(), Arc::clone(&over)));
    let tasks: Vec<_> = (0..DEVICES).map(device).collect();

    let began = Instant::now();
    while began.elapsed() < FLOOD {
        look(&balancer);
        sleep(Duration::from_millis(50));
    }
    over.store(true, Ordering::Relaxed);
    let mut answers = Answers::new();
    for task in tasks {
        for ((server, status), count) in runtime.block_on(task).unwrap() {
            *answers.entry((balancer.name(&server), status)).or_default() += count;
        }
    }

    for name in NAMES {
        assert_eq!(balancer.taken_out(name), 0, "{name} was taken out:\n{}", balancer.log());
        let of = |status| answers.get(&(name.to_owned(), Some(status))).copied().unwrap_or_default();
        assert!(of(200) > 0 && of(429) > 0, "{name} was not flooded: {answers:?}");
    }
    let other: BTreeMap<_, _> = answers
        .iter()
        .filter(|((server, status), _)| NAMES.contains(&server.as_str()) && ![Some(200), Some(429)].contains(status))
        .collect();
    assert!(other.is_empty(), "{other:?} in {answers:?}:\n{}", balancer.log());
    // What nobody answered, or the load balancer alone, which had an instance to send it to all the time.
    let all: usize = answers.values().sum();
    let lost: usize =
        answers.iter().filter(|((server, _), _)| !NAMES.contains(&server.as_str())).map(|(_, count)| count).sum();
    assert!(lost <= all / MAX_LOST_PART, "{lost} of {all} were not answered by an instance: {answers:?}");
    // The flood is over: whoever comes is let in at once, by each.
    for (number, instance) in instances.iter().enumerate() {
        let batch = Batch::new(format!("after-{number}"), 1, SMALL);
        let answer = runtime.block_on(Device::new(instance.address()).send(&batch)).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    tell(format_args!("{}: {answers:?}; {lost} of {all} answered by no instance", B::NAME));
}
