//! A load balancer, as the tests see any: started with the operators' configuration in front of three instances, told
//! of others that come and go, and asked who was taken out.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::figures::{on_a_build_service, tell};

/// How long anything may take that must happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How often another port is tried, if somebody was quicker to take one that was free.
pub(crate) const PORTS_TRIED: usize = 10;
/// Where ports are looked for that stay a listener's own while nobody listens: below those that Linux gives to whoever
/// connects (`net.ipv4.ip_local_port_range`).
const LASTING_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A load balancer that runs. It is ended when it is dropped.
pub(crate) trait Balancer: Sized {
    /// What it is called.
    const NAME: &str;
    /// The program, and the argument with which it tells its version.
    const PROGRAM: [&str; 2];
    /// Whether it asks instances how they are.
    const CHECKS: bool;
    /// How long an instance behind it serves on that is told to end (`drain.linger`).
    const LINGER: &str;

    /// Starts it in front of three instances, which it calls i1, i2 and i3, and waits until it uses each.
    fn start(instances: [SocketAddr; 3]) -> Self;

    /// Where devices connect.
    fn address(&self) -> SocketAddr;

    /// The name of the instance that an answer's X-Served-By tells.
    fn name(&self, served_by: &str) -> String;

    /// Sends requests to the instance `name` at `address`, too, which is well.
    fn add(&mut self, name: &str, address: SocketAddr);

    /// Takes the instance called `name` out for good: behind its port there may be somebody else's soon.
    fn remove(&mut self, name: &str);

    /// Has the instance called `name` end without anybody noticing: `stop` tells it to drain. When this returns,
    /// nothing is sent to it any more.
    fn drain(&mut self, name: &str, stop: impl FnOnce());

    /// Sends requests to the instance called `name` again, which has come back and is well.
    fn take_back(&mut self, name: &str);

    /// Waits until it has noticed that the instance called `name` is dead.
    fn until_noticed(&self, name: &str);

    /// How often it found for itself that the instance called `name` is not well.
    fn taken_out(&self, name: &str) -> u64;

    /// All that it has said so far.
    fn log(&self) -> String;
}

/// Whether there is a `B`. Says so if not.
pub(crate) fn is_installed<B: Balancer>() -> bool {
    let [program, argument] = B::PROGRAM;
    match Command::new(program).arg(argument).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => true,
        other => {
            assert!(!on_a_build_service(), "a build service must have {}: {other:?}", B::NAME);
            tell(format_args!("left out: {} cannot be run here; tests/run installs it", B::NAME));
            false
        }
    }
}

/// Waits until `look` sees what it is looking for, and panics with `what` if it never does.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        sleep(LOOK);
    }
}

/// An address that is free, and stays so for whoever ends and comes back.
pub(crate) fn lasting_address() -> SocketAddr {
    until("a free port", || {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(LASTING_PORTS)));
        TcpListener::bind(address).is_ok().then_some(address)
    })
}

/// Ends `child` and those that end with it if it is told to: for a `drop`, which neither panics nor waits for ever.
pub(crate) fn end(child: &mut Child) {
    let deadline = Instant::now() + PATIENCE;
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    while let Ok(None) = child.try_wait() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        sleep(LOOK);
    }
}

/// The processes of `master`, by their ids.
pub(crate) fn children(master: &Child) -> BTreeSet<u32> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent(*id) == Some(master.id())).collect()
}

/// The parent of the process `id`, if that runs.
fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Waits until other processes of `master` serve, and those of `before` have ended.
pub(crate) fn until_replaced(master: &Child, before: &BTreeSet<u32>) {
    until("old workers to end", || {
        let now = children(master);
        (!now.is_empty() && now.is_disjoint(before)).then_some(())
    });
}
