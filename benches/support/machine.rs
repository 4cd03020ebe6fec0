//! Where it was measured, when, and what.

use std::process::Command;

/// The machine and the versions of what ran on it; "" for what is not there.
#[derive(serde::Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    kernel: String,
    /// Of the frequency; virtual machines mostly have none.
    governor: String,
    /// How many threads wanted to run in the last minute: what is above 0 when it begins is somebody else's.
    pub(crate) load_before: f64,
    began: String,
    rustc: String,
    logweir: String,
    pub(crate) nginx: String,
    gzip: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease"),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            began: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            rustc: says("rustc", "-V"),
            logweir: says(env!("CARGO_BIN_EXE_logweir"), "--version"),
            nginx: says("nginx", "-v").trim_start_matches("nginx version: ").to_owned(),
            gzip: says("gzip", "--version"),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} · {}, {} cores, Linux {} · {}", self.began, self.cpu, self.cores, self.kernel, self.logweir)?;
        [&self.nginx, &self.gzip, &self.rustc]
            .iter()
            .filter(|it| !it.is_empty())
            .try_for_each(|it| write!(f, " · {it}"))
    }
}

/// The first line that a program says.
fn says(program: &str, argument: &str) -> String {
    let Ok(said) = Command::new(program).arg(argument).output() else { return String::new() };
    // nginx tells its version as an error.
    let said = if said.stdout.is_empty() { said.stderr } else { said.stdout };
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}
