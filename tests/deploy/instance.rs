//! An instance on AWS, as far as what runs on it can see: its metadata (`IMDSv2`), its auto-scaling group and its volumes
//! (in moto), its units (processes, by a stand-in for systemctl), the `CloudWatch` agent (a UDP socket).

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{
    moto_server::Moto,
    tools::{logweir, root, succeeds, tool},
};

/// How long anything may take. No test waits for it unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// What stands for programs that only a real instance has.
const STAND_INS: [&str; 9] =
    ["systemctl", "systemd-escape", "mount", "umount", "mountpoint", "blkid", "mkfs.xfs", "chown", "chgrp"];
/// The group's name.
pub(crate) const GROUP: &str = "logweir-fleet";

/// Makes a group of one instance with a spool's volume, as the template does.
const LAUNCH: &str = r#"
import boto3, json
ec2, group = boto3.client("ec2"), boto3.client("autoscaling")
spool = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 10, "VolumeType": "gp3", "DeleteOnTermination": False}}
image = ec2.describe_images()["Images"][0]["ImageId"]
data = {"ImageId": image, "InstanceType": "c7i.large", "BlockDeviceMappings": [spool]}
ec2.create_launch_template(LaunchTemplateName="spooling", LaunchTemplateData=data)
template, subnet = {"LaunchTemplateName": "spooling", "Version": "$Latest"}, ec2.describe_subnets()["Subnets"][0]["SubnetId"]
group.create_auto_scaling_group(
    AutoScalingGroupName="logweir-fleet", MinSize=1, MaxSize=2, LaunchTemplate=template, VPCZoneIdentifier=subnet)
instance = group.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"][0]["InstanceId"]
told = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
volume = next(it["Ebs"]["VolumeId"] for it in told["BlockDeviceMappings"] if it["DeviceName"] == "/dev/sdf")
ec2.create_tags(Resources=[volume], Tags=[{"Key": "logweir:spool", "Value": "logweir-fleet"}])
print(json.dumps([instance, volume, told["Placement"]["AvailabilityZone"]]))
"#;

/// An instance, in a directory of its own. What it started is ended when it is dropped.
pub(crate) struct Instance {
    moto: Moto,
    stub: Stub,
    agent: UdpSocket,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) id: String,
    pub(crate) volume: String,
    pub(crate) zone: String,
    processes: Vec<Child>,
}

impl Instance {
    /// Launches one, if what it needs is installed.
    pub(crate) fn launch() -> Option<Self> {
        let python = tool("python3")?;
        tool("aws")?;
        let moto = Moto::start()?;
        let agent = UdpSocket::bind("127.0.0.1:0").unwrap();
        agent.set_read_timeout(Some(PATIENCE)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        for name in STAND_INS {
            symlink(root().join("tests/deploy/aws/instance.sh"), dir.path().join("bin").join(name)).unwrap();
        }
        let mut instance = Self {
            moto,
            stub: Stub::start(),
            agent,
            dir,
            id: String::new(),
            volume: String::new(),
            zone: String::new(),
            processes: Vec::new(),
        };
        let mut launch = instance.command(&python);
        launch.env_remove("AWS_ENDPOINT_URL_AUTO_SCALING");
        let launched = said(launch.args(["-c", LAUNCH]));
        [instance.id, instance.volume, instance.zone] = serde_json::from_str(&launched).unwrap();
        instance.set("instance-id", &instance.id);
        instance.set("placement/availability-zone", &instance.zone);
        instance.set("autoscaling/target-lifecycle-state", "InService");
        Some(instance)
    }

    /// A program of the instance: with the stand-ins, and AWS as it is played here.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let path = [self.dir.path().join("bin"), root().join("target/python/bin"), "/usr/bin".into(), "/bin".into()];
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("HOME", self.dir.path())
            .env("PLAY", self.dir.path())
            .env("LOGWEIR", logweir())
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.moto.port))
            .env("AWS_ENDPOINT_URL_AUTO_SCALING", format!("http://{}", self.stub.address))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", "ap-northeast-2")
            .env("LOGWEIR_FLEET", GROUP)
            .env("LOGWEIR_LIFECYCLE_GROUP", GROUP)
            .env("LOGWEIR_LIFECYCLE_SPOOL", self.dir.path().join("spool"))
            // Something is mounted there, on any machine.
            .env("LOGWEIR_LIFECYCLE_MOUNT", "/")
            .env("LOGWEIR_LIFECYCLE_IMDS", format!("http://{}", self.stub.address))
            .env("LOGWEIR_LIFECYCLE_STATSD", self.agent.local_addr().unwrap().to_string())
            .env("LOGWEIR_LIFECYCLE_POLL", "0.2")
            .env("LOGWEIR_LIFECYCLE_RETRY", "0.2")
            .env("LOGWEIR_LIFECYCLE_HEARTBEAT", "1")
            .env("LOGWEIR_WAIT", "0.1")
            .stdin(Stdio::null());
        command
    }

    /// Runs the watcher, with `settings` of its environment.
    pub(crate) fn watch(&mut self, settings: &[(&str, &str)]) {
        self.watch_by(&[], settings);
    }

    /// As [`Instance::watch`], started by a program and its arguments.
    pub(crate) fn watch_by(&mut self, starter: &[&str], settings: &[(&str, &str)]) {
        let python = tool("python3").unwrap();
        let words: Vec<&str> = starter.iter().copied().chain([python.to_str().unwrap()]).collect();
        let mut command = self.command(words[0]);
        command.args(&words[1..]).arg(root().join("deploy/aws/logweir-lifecycle"));
        for (name, value) in settings {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        let log = fs::File::create(self.dir.path().join("watcher")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.processes.push(command.spawn().unwrap());
    }

    /// Starts the service with `sink`, a section of its configuration, and gives the port of its metrics.
    pub(crate) fn serve(&mut self, sink: &str) -> Service {
        self.serve_with(sink, &[])
    }

    /// As [`Instance::serve`], with `settings` of its environment.
    pub(crate) fn serve_with(&mut self, sink: &str, settings: &[(&str, &str)]) -> Service {
        let (public, admin) = (free_port(), free_port());
        let place = self.dir.path().to_str().unwrap();
        let config = format!(
            "server.listen = '127.0.0.1:{public}'\nadmin.listen = '127.0.0.1:{admin}'\n\
             spool.dir = '{place}/spool'\ningest.undeclared_streams = 'accept'\n\
             drain = {{ linger = '200ms', timeout = '2s' }}\nlog.format = 'json'\n\
             [[sinks]]\nname = 'lake'\nbackoff_min = '50ms'\nbackoff_max = '200ms'\n{sink}\n"
        );
        fs::write(self.dir.path().join("logweir.toml"), config.replace("DIR", place)).unwrap();
        let mut command = self.command(logweir());
        command.arg("--config").arg(self.dir.path().join("logweir.toml")).envs(settings.iter().copied());
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        fs::write(self.dir.path().join("logweir.pid"), child.id().to_string()).unwrap();
        self.processes.push(child);
        let service = Service { public: ([127, 0, 0, 1], public).into(), admin };
        until("the service serves", || TcpStream::connect(service.public).is_ok());
        service
    }

    /// Kills what runs, as a machine that dies does.
    pub(crate) fn kill(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        self.processes.clear();
    }

    /// What the metadata says at `path` from now on.
    pub(crate) fn set(&self, path: &str, text: &str) {
        self.stub.told.lock().unwrap().insert(path.to_owned(), text.to_owned());
    }

    /// What the auto-scaling group was asked for, as `Action` and its parameters.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.stub.asked.lock().unwrap().clone()
    }

    /// Where the metadata, and other figures than the service's own, are found.
    pub(crate) fn stub(&self) -> SocketAddr {
        self.stub.address
    }

    /// What the watcher has said.
    pub(crate) fn watcher_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("watcher")).unwrap_or_default()
    }

    /// Waits until the watcher has said `text`.
    pub(crate) fn until_watcher_says(&self, text: &str) {
        until_else(&format!("the watcher says {text:?}"), || self.watcher_log().contains(text), || self.watcher_log());
    }

    /// What was done to units and disks.
    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default()
    }

    /// The next packet that the agent gets.
    pub(crate) fn figures(&self) -> String {
        let mut buffer = [0; 8192];
        let len = self.agent.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// What the AWS CLI answers to `arguments`, of moto.
    pub(crate) fn aws(&self, arguments: &[&str]) -> String {
        let mut command = self.command(tool("aws").unwrap());
        command.env_remove("AWS_ENDPOINT_URL_AUTO_SCALING");
        said(command.args(arguments).args(["--output", "text"])).trim().to_owned()
    }

    /// Whether the spool's volume goes with the instance.
    pub(crate) fn volume_is_deleted_with_it(&self) -> bool {
        let query = "Reservations[0].Instances[0].BlockDeviceMappings[?DeviceName=='/dev/sdf'].Ebs.DeleteOnTermination";
        self.aws(&["ec2", "describe-instances", "--instance-ids", &self.id, "--query", query]) == "True"
    }

    /// The value of a tag of `volume`, "" without one.
    pub(crate) fn tag(&self, volume: &str, key: &str) -> String {
        let query = format!("Volumes[0].Tags[?Key=='{key}'].Value");
        self.aws(&["ec2", "describe-volumes", "--volume-ids", volume, "--query", &query])
    }

    /// The objects below the directory `objects`.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.dir.path().join("objects/heard"), &mut found);
        found
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
        // What the stand-in started is nobody's child here.
        if let Ok(pid) = fs::read_to_string(self.dir.path().join("replay.pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).stderr(Stdio::null()).status();
        }
    }
}

/// The service.
pub(crate) struct Service {
    public: SocketAddr,
    admin: u16,
}

impl Service {
    /// Where its figures are.
    pub(crate) fn metrics(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.admin)
    }

    /// Whether it listens.
    pub(crate) fn serves(&self) -> bool {
        TcpStream::connect(self.public).is_ok()
    }

    /// Sends a batch of one event, which is taken.
    pub(crate) fn take(&self) {
        let body = r#"[{"tone": 18431}]"#;
        let mut connection = TcpStream::connect(self.public).unwrap();
        let head = "POST /v1/logs/heard HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n";
        write!(connection, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        BufReader::new(connection).read_line(&mut answer).expect("the service answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// Answers for the metadata and for the group.
struct Stub {
    address: SocketAddr,
    told: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stub = Self { address: listener.local_addr().unwrap(), told: Arc::default(), asked: Arc::default() };
        let (told, asked) = (Arc::clone(&stub.told), Arc::clone(&stub.asked));
        let serve = move || {
            for connection in listener.incoming() {
                // Whoever breaks off is not waited for, and whoever asks again is answered.
                let _ = answer(connection.unwrap(), &told, &asked);
            }
        };
        thread::Builder::new().name("stub".into()).spawn(serve).unwrap();
        stub
    }
}

/// Answers one request, and closes the connection.
fn answer(
    mut connection: TcpStream,
    told: &Mutex<BTreeMap<String, String>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    const TOKEN: &str = "a-token";
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut length, mut token, mut ttl) = (0, String::new(), false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or_default(),
            "x-aws-ec2-metadata-token" => value.trim().clone_into(&mut token),
            "x-aws-ec2-metadata-token-ttl-seconds" => ttl = true,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, text) = match (method, path) {
        ("PUT", "/latest/api/token") if ttl => (200, TOKEN.to_owned()),
        ("GET", path) if path.starts_with("/latest/meta-data/") => {
            let key = path.trim_start_matches("/latest/meta-data/");
            match told.lock().unwrap().get(key) {
                _ if token != TOKEN => (401, String::new()),
                Some(text) => (200, text.clone()),
                None => (404, String::new()),
            }
        }
        ("GET", "/metrics") => (200, told.lock().unwrap().get("metrics").cloned().unwrap_or_default()),
        ("POST", "/") => {
            let body = String::from_utf8_lossy(&body).into_owned();
            let action = body.split('&').find_map(|it| it.strip_prefix("Action=")).unwrap_or_default().to_owned();
            asked.lock().unwrap().push(body);
            let namespace = "http://autoscaling.amazonaws.com/doc/2011-01-01/";
            (200, format!("<{action}Response xmlns=\"{namespace}\"><{action}Result/></{action}Response>"))
        }
        _ => (400, String::new()),
    };
    write!(connection, "HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
}

/// What `command` printed, which must end well.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `done`.
pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    until_else(what, done, String::new);
}

fn until_else(what: &str, done: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}\n{}", otherwise());
        thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// A Python script of the tests, against `moto`: what it prints.
pub(crate) fn script(name: &str, arguments: &[&str]) -> Option<String> {
    let python = tool("python3")?;
    let script = root().join("tests/deploy/aws").join(name);
    Some(succeeds(&python, &[&[script.to_str().unwrap()], arguments].concat()))
}
