//! nginx: started with the operators' configuration, and told as they tell it, by a file and a reload.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    balancer::{Balancer, PORTS_TRIED, children, end, lasting_address, until, until_replaced},
    process::Place,
};

/// Where the configuration is, which operators use.
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx");
/// What nginx writes when it gives an instance up for a while.
const GIVEN_UP: &str = "upstream server temporarily disabled";
/// What it keeps on disk, under each a directory of its own, so that the tests need not be root.
const TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// An instance as nginx is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    name: String,
    address: SocketAddr,
    down: bool,
}

/// An nginx that runs.
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    instances: Vec<Known>,
    place: Place,
}

/// The operators' `nginx.conf`, with this `listen.conf` and these `instances.conf` beside it.
pub(crate) fn configure(place: &Place, listen: &str, instances: &str) {
    let link = place.path("nginx.conf");
    if !link.exists() {
        std::os::unix::fs::symlink(Path::new(CONFIGURATION).join("nginx.conf"), link).unwrap();
    }
    let paths = TEMPORARY.map(|what| format!("{what}_temp_path {};\n", place.path(what).display())).concat();
    place.write("listen.conf", &format!("{listen}\n{paths}"));
    place.write("instances.conf", instances);
}

/// nginx with that configuration, and `arguments`.
pub(crate) fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-c").arg(place.path("nginx.conf")).arg("-g");
    command.arg(format!("daemon off; pid {};", place.path("nginx.pid").display()));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// One of the operators' files.
pub(crate) fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(CONFIGURATION).join(name)).unwrap()
}

impl Nginx {
    /// `None` if it ends at once, as it does if the port is not free any more.
    fn try_start(place: &Place, instances: &[Known]) -> Option<(Child, SocketAddr)> {
        let address = lasting_address();
        let listen = format!("listen {address} backlog=4096;\nadd_header X-Served-By $upstream_addr always;\n");
        configure(place, &listen, &lines(instances));
        let output = File::create(place.path("nginx.log")).unwrap();
        let mut command = command(place, &[]);
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let mut child = command.spawn().unwrap();
        let serves = until("nginx to start", || {
            let ended = child.try_wait().unwrap().is_some();
            let serves = place.path("nginx.pid").exists() && TcpStream::connect(address).is_ok();
            (ended || serves).then_some(serves && !ended)
        });
        serves.then_some((child, address))
    }

    /// Tells it what the file of instances is to say, as an operator does, and waits until the workers have ended that
    /// did not know.
    fn reload(&mut self) {
        let before = children(&self.child);
        self.place.write("instances.conf", &lines(&self.instances));
        let told = command(&self.place, &["-s", "reload"]).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        until_replaced(&self.child, &before);
    }

    fn known(&mut self, name: &str) -> &mut Known {
        self.instances.iter_mut().find(|known| known.name == name).unwrap()
    }
}

/// What `instances.conf` says: the operators' terms for each.
fn lines(instances: &[Known]) -> String {
    let shipped = shipped("instances.conf");
    let example = shipped.lines().find(|line| line.starts_with("server ")).unwrap().trim_end_matches(';');
    let terms = example.splitn(3, ' ').nth(2).unwrap();
    let line = |one: &Known| format!("server {} {terms}{};\n", one.address, if one.down { " down" } else { "" });
    instances.iter().map(line).collect()
}

impl Balancer for Nginx {
    const NAME: &str = "nginx";
    const PROGRAM: [&str; 2] = ["nginx", "-v"];
    const CHECKS: bool = false;
    /// It does not look, and is told before.
    const LINGER: &str = "0s";

    fn start(instances: [SocketAddr; 3]) -> Self {
        let place = Place::new();
        let named = (1..).zip(instances);
        let named = named.map(|(number, address)| Known { name: format!("i{number}"), address, down: false });
        let instances: Vec<_> = named.collect();
        let started = (0..PORTS_TRIED).find_map(|_| Self::try_start(&place, &instances));
        let log = || fs::read_to_string(place.path("nginx.log")).unwrap();
        let (child, address) = started.unwrap_or_else(|| panic!("nginx does not start:\n{}", log()));
        Self { child, address, instances, place }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that were tried are told, the last one answered.
    fn name(&self, served_by: &str) -> String {
        let last = served_by.rsplit(", ").next().unwrap();
        let known = self.instances.iter().find(|known| known.address.to_string() == last);
        known.map_or(last.to_owned(), |known| known.name.clone())
    }

    fn add(&mut self, name: &str, address: SocketAddr) {
        self.instances.push(Known { name: name.to_owned(), address, down: false });
        self.reload();
    }

    fn remove(&mut self, name: &str) {
        if !self.known(name).down {
            self.known(name).down = true;
            self.reload();
        }
    }

    fn drain(&mut self, name: &str, stop: impl FnOnce()) {
        self.remove(name);
        stop();
    }

    fn take_back(&mut self, name: &str) {
        self.known(name).down = false;
        self.reload();
    }

    fn until_noticed(&self, name: &str) {
        until(&format!("{name} is given up"), || (self.taken_out(name) > 0).then_some(()));
    }

    fn taken_out(&self, name: &str) -> u64 {
        let address = self.instances.iter().find(|known| known.name == name).unwrap().address.to_string();
        self.log().lines().filter(|line| line.contains(GIVEN_UP) && line.contains(&address)).count() as u64
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.place.path("nginx.log")).unwrap()).into_owned()
    }
}

impl Drop for Nginx {
    /// Its workers end with it only if it is told to end.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            end(&mut self.child);
        }
    }
}
