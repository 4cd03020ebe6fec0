//! `HAProxy`: started with the operators' configuration, asked and told over its runtime API, and read by its log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    balancer::{Balancer, PATIENCE, PORTS_TRIED, children, end, until, until_replaced},
    process::Place,
};

/// The configuration, which operators use.
pub(crate) const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/haproxy/haproxy.cfg");
/// Its backend.
const BACKEND: &str = "instances";
/// How often an instance's health is checked here.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An `HAProxy` that runs. It is ended when it is dropped.
pub(crate) struct Haproxy {
    child: Child,
    address: SocketAddr,
    place: Place,
}

impl Haproxy {
    /// `None` if it ends at once, as it does if the port is not free any more.
    fn try_start(place: &Place, instances: [SocketAddr; 3], by_root: bool) -> Option<(Child, SocketAddr)> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let output = File::create(place.path("haproxy.log")).unwrap();
        let mut command = Command::new("haproxy");
        // A master with one worker, as Debian's unit has it, that stays in the foreground.
        command.args(["-W", "-db", "-f", CONFIGURATION]).stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        command.env("LOGWEIR_FRONT", address.to_string()).env("LOGWEIR_STATS", socket(place));
        command.env("LOGWEIR_CHECK_INTERVAL", format!("{}ms", CHECK_INTERVAL.as_millis()));
        command.env("LOGWEIR_SLOWSTART", "3s");
        if !by_root {
            command.env("LOGWEIR_UNPRIVILEGED", "yes");
        }
        for (number, instance) in (1..).zip(instances) {
            command.env(format!("LOGWEIR_{number}"), instance.to_string());
        }
        let mut child = command.spawn().unwrap();
        let serves = until("HAProxy to start", || {
            let ended = child.try_wait().unwrap().is_some();
            let serves = UnixStream::connect(socket(place)).is_ok();
            (ended || serves).then_some(serves && !ended)
        });
        serves.then_some((child, address))
    }

    /// As Debian's unit starts it. Nothing is looked at of the instances.
    pub(crate) fn start_by_root(instances: [SocketAddr; 3]) -> Self {
        let place = Place::new();
        let haproxy = (0..PORTS_TRIED).find_map(|_| Self::try_start(&place, instances, true));
        let (child, address) = haproxy.unwrap_or_else(|| panic!("HAProxy does not start:\n{}", log(&place)));
        Self { child, address, place }
    }

    /// The processes that do the work.
    pub(crate) fn workers(&self) -> BTreeSet<u32> {
        until("HAProxy's worker", || Some(children(&self.child)).filter(|workers| !workers.is_empty()))
    }

    /// Has it read its configuration again, as `systemctl reload haproxy` does, and waits until the worker has ended
    /// that does not know.
    pub(crate) fn reload(&self) {
        let before = children(&self.child);
        kill_process(Pid::from_child(&self.child), Signal::USR2).unwrap();
        until_replaced(&self.child, &before);
    }

    /// What the runtime API answers to `command`.
    fn ask(&self, command: &str) -> Vec<String> {
        let mut stream = UnixStream::connect(socket(&self.place)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "{command}").unwrap();
        BufReader::new(stream).lines().map(Result::unwrap).collect()
    }

    /// What it knows of each instance, by its name.
    pub(crate) fn servers(&self) -> BTreeMap<String, Server> {
        let lines = self.ask("show stat");
        let names: Vec<_> = lines[0].trim_start_matches("# ").split(',').collect();
        let rows = lines[1..].iter().map(|line| names.iter().copied().zip(line.split(',')));
        let servers = rows.map(|row| Server(row.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()));
        let one = |server: &Server| server.get("pxname") == BACKEND && server.get("svname") != "BACKEND";
        servers.filter(|server| !server.0.is_empty() && one(server)).map(|s| (s.get("svname").to_owned(), s)).collect()
    }

    pub(crate) fn server(&self, name: &str) -> Server {
        self.servers().remove(name).unwrap_or_else(|| panic!("there is no server {name}"))
    }

    /// Waits until the instance called `name` is as `wanted` says.
    pub(crate) fn until_server(&self, name: &str, what: &str, wanted: impl Fn(&Server) -> bool) -> Server {
        until(&format!("{name} {what}"), || Some(self.server(name)).filter(&wanted))
    }

    /// What it has logged of requests so far: those that did not go well.
    pub(crate) fn anomalies(&self) -> Vec<Anomaly> {
        log(&self.place).lines().filter_map(Anomaly::parse).collect()
    }
}

impl Balancer for Haproxy {
    const NAME: &str = "HAProxy";
    const PROGRAM: [&str; 2] = ["haproxy", "-v"];
    const CHECKS: bool = true;
    /// Long enough for it to notice, thrice over.
    const LINGER: &str = "6s";

    fn start(instances: [SocketAddr; 3]) -> Self {
        let place = Place::new();
        let haproxy = (0..PORTS_TRIED).find_map(|_| Self::try_start(&place, instances, false));
        let (child, address) = haproxy.unwrap_or_else(|| panic!("HAProxy does not start:\n{}", log(&place)));
        let haproxy = Self { child, address, place };
        for name in ["i1", "i2", "i3"] {
            haproxy.until_server(name, "is checked", |server| server.get("check_status") == "L7OK");
        }
        haproxy
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn name(&self, served_by: &str) -> String {
        served_by.to_owned()
    }

    /// Fills the place `name`, which has been in maintenance.
    fn add(&mut self, name: &str, address: SocketAddr) {
        let (ip, port) = (address.ip(), address.port());
        let said = self.ask(&format!("set server {BACKEND}/{name} addr {ip} port {port}"));
        assert!(said.concat().contains("changed from"), "{said:?}");
        let said = self.ask(&format!("set server {BACKEND}/{name} state ready"));
        assert!(said.concat().is_empty(), "{said:?}");
    }

    fn remove(&mut self, name: &str) {
        let said = self.ask(&format!("set server {BACKEND}/{name} state maint"));
        assert!(said.concat().is_empty(), "{said:?}");
    }

    fn drain(&mut self, name: &str, stop: impl FnOnce()) {
        stop();
        self.until_noticed(name);
    }

    fn take_back(&mut self, name: &str) {
        self.until_server(name, "is found well", |server| server.get("status").starts_with("UP"));
    }

    fn until_noticed(&self, name: &str) {
        self.until_server(name, "is taken out", Server::is_down);
    }

    fn taken_out(&self, name: &str) -> u64 {
        self.server(name).count("chkdown")
    }

    fn log(&self) -> String {
        log(&self.place)
    }
}

impl Drop for Haproxy {
    /// Its worker ends with it only if it is told to end.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            end(&mut self.child);
        }
    }
}

fn socket(place: &Place) -> PathBuf {
    place.path("haproxy.sock")
}

fn log(place: &Place) -> String {
    read(&place.path("haproxy.log"))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// A row of `show stat`: an instance.
#[derive(Debug)]
pub(crate) struct Server(BTreeMap<String, String>);

impl Server {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// A number; 0 where nothing was counted yet.
    pub(crate) fn count(&self, name: &str) -> u64 {
        Some(self.get(name)).filter(|value| !value.is_empty()).map_or(0, |value| value.parse().unwrap())
    }

    /// Whether it is taken out.
    pub(crate) fn is_down(&self) -> bool {
        self.get("status").starts_with("DOWN")
    }
}

/// A request that did not go well, as `HAProxy` logs it.
#[derive(Debug, Clone)]
pub(crate) struct Anomaly {
    /// Where it was sent last; `<NOSRV>` for nowhere.
    pub(crate) server: String,
    /// What the device was answered, if it was.
    pub(crate) status: Option<u16>,
    /// How often it was sent again.
    pub(crate) retries: usize,
    /// Whose batch it was.
    pub(crate) batch: String,
}

impl Anomaly {
    /// Reads a line in `HAProxy`'s own format of HTTP:
    /// `client [date] frontend backend/server timers status bytes - - termination connections/…/retries queues {batch} …`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').skip(3);
        let server = fields.next()?.strip_prefix(&format!("{BACKEND}/"))?;
        let status: i32 = fields.nth(1)?.parse().ok()?;
        let retries = fields.nth(4)?.rsplit('/').next()?.trim_start_matches('+').parse().ok()?;
        let batch = fields.nth(1)?.strip_prefix('{')?.strip_suffix('}')?;
        Some(Self { server: server.to_owned(), status: u16::try_from(status).ok(), retries, batch: batch.to_owned() })
    }
}
