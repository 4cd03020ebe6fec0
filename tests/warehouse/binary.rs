//! The built binary: its exit codes, and that it can be killed at any moment.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    postgres::{self, Postgres},
    segments::RECEIVED,
    world::{HOUR, World, batch, configuration, events, gzip},
};

const END: Duration = Duration::from_mins(1);

fn command(world: &World, port: u16, arguments: &[&str]) -> Command {
    let file = world.dir.path().join("logweir.toml");
    fs::write(&file, configuration(world.dir.path(), port, world.names.schema())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_logweir"));
    command.args(["load", "--config"]).arg(file).args(arguments).env_clear().stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(world: &World, port: u16, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(world, port, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A process that is killed if the test ends before it does.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < END, "still running");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

/// The CPU time of all children of this process that have ended, in seconds: fields 16 and 17 of stat, in hundredths.
fn cpu_of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[13..15].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

fn sample(path: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64
}

#[test]
fn the_exit_code_says_what_a_scheduler_must_know_and_the_summary_is_json() {
    if !postgres::is_installed() {
        return;
    }
    let mut postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let all: Vec<_> = (0..5).flat_map(|number| events(&format!("s{number}"), 10, RECEIVED)).collect();
    block_on(world.store(all.chunks(10).map(|some| vec![batch(RECEIVED, some)]).collect()));
    let (code, stdout, stderr) = run(&world, postgres.port, &["--json"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(
        stderr.lines().filter(|line| line.starts_with("logweir: heard: ") && line.contains(" loaded, ")).count(),
        2,
        "{stderr}"
    );
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let stream = &report["streams"][0];
    assert_eq!((&report["format"], &stream["stream"]), (&1.into(), &"heard".into()), "{stdout}");
    for (name, value) in
        [("objects", 5), ("loads", 2), ("lines", 50), ("loaded", 50), ("duplicates", 0), ("conflicts", 0)]
    {
        assert_eq!(stream[name], value, "{name}: {stdout}");
    }
    world.assert_once(&postgres, &all, 5);
    let metrics = world.dir.path().join("load.prom");
    assert_eq!(sample(&metrics, "logweir_load_objects_total{stream=\"heard\"}"), 5);
    assert_eq!(sample(&metrics, "logweir_load_rows_total{stream=\"heard\",outcome=\"loaded\"}"), 50);
    assert!(sample(&metrics, "logweir_load_last_success_seconds ") > 1_000_000_000);
    let written = fs::read_to_string(&metrics).unwrap();
    for metric in logweir::metrics::ALL.iter().filter(|metric| metric.name.starts_with("logweir_load_")) {
        assert!(written.contains(&format!("\n{}", metric.name)), "{} is declared, and not written", metric.name);
    }

    // Somebody should look.
    gzip(&world.path("raw/heard/dt=2026-11-22/hour=09/x.ndjson.gz"), "{}\n");
    let (code, stdout, _) = run(&world, postgres.port, &[]);
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("stranger: raw/heard/dt=2026-11-22/hour=09/x.ndjson.gz"), "{stdout}");
    // The round fails after it has loaded something: what it did is told.
    world.query(
        &postgres,
        "CREATE FUNCTION {}.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
         CREATE TRIGGER fail BEFORE UPDATE ON {}.load_status FOR EACH ROW WHEN (NEW.last_load IS NOT DISTINCT FROM \
         OLD.last_load) EXECUTE FUNCTION {}.fail()",
    );
    block_on(world.store(vec![vec![batch(RECEIVED, &events("failing", 10, RECEIVED))]]));
    let (code, stdout, stderr) = run(&world, postgres.port, &["--json"]);
    assert!(code == 78 && stderr.contains("not today"), "{code}: {stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert!(report["problem"].as_str().is_some_and(|problem| problem.contains("not today")), "{stdout}");
    assert_eq!((&report["streams"][0]["objects"], &report["rollups"]), (&1.into(), &Value::Null), "{stdout}");
    assert_eq!(sample(&metrics, "logweir_load_objects_total{stream=\"heard\"}"), 1);
    assert_eq!(sample(&metrics, "logweir_load_rounds_total{outcome=\"failed\"}"), 1);
    world.query(&postgres, "DROP TRIGGER fail ON {}.load_status");
    // An argument or a table is wrong.
    for arguments in [&["--stream", "none"][..], &["--every", "1ms"]] {
        let (code, _, stderr) = run(&world, postgres.port, arguments);
        assert_eq!(code, 78, "{stderr}");
    }
    world.query(&postgres, "ALTER TABLE {}.heard DROP COLUMN n");
    let (code, stdout, _) = run(&world, postgres.port, &["--stream", "heard"]);
    assert!(code == 78 && stdout.contains("not loaded: ") && stdout.contains("ADD COLUMN \"n\" bigint"), "{stdout}");
    // The warehouse cannot be reached.
    postgres.kill();
    let (code, stdout, stderr) = run(&world, postgres.port, &[]);
    assert!(code == 69 && stdout.starts_with("the round failed: "), "{code}: {stdout}{stderr}");
    assert!(stderr.contains("trying again in "), "{stderr}");
}

#[test]
fn a_loader_that_is_killed_at_any_moment_and_started_again_loads_each_event_once() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let (mut lines, mut objects, mut killed) = (Vec::new(), 0, 0);
    // How long a round takes, the machine decides: as many as it takes to hit some in the middle, within a limit.
    for round in 0..100 {
        if killed >= 10 {
            break;
        }
        let mut segments = Vec::new();
        for segment in 0..4 {
            let at = RECEIVED + round % 5 * HOUR;
            let some = [events(&format!("r{round}s{segment}"), 60, at), events("copy", 2, at)].concat();
            segments.push(vec![batch(at, &some)]);
            lines.extend(some);
            objects += 1;
        }
        block_on(world.store(segments));
        let mut loader = Running(command(&world, postgres.port, &[]).spawn().unwrap());
        thread::sleep(Duration::from_millis(fastrand::u64(5..150)));
        if loader.0.try_wait().unwrap().is_none() {
            loader.signal(Signal::KILL);
            killed += 1;
        }
        loader.end();
    }
    let (code, stdout, stderr) = run(&world, postgres.port, &[]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    world.assert_once(&postgres, &lines, objects);
    crate::tell(&format!("killed with SIGKILL {killed} times: lost 0, doubled 0"));
    assert!(killed > 5, "{killed}");
}

#[test]
fn a_loop_loads_what_comes_and_ends_between_rounds_and_sigterm_lets_a_transaction_end() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let mut looping = Running(command(&world, postgres.port, &["--every", "1s", "--json"]).spawn().unwrap());
    let mut lines = Vec::new();
    for round in 0..3 {
        let some = events(&format!("r{round}"), 10, RECEIVED);
        block_on(world.store(vec![vec![batch(RECEIVED, &some)]]));
        lines.extend(some);
        let began = Instant::now();
        while world.query(&postgres, "SELECT count(*) FROM {}.logweir_ledger") != (round + 1).to_string() {
            assert!(began.elapsed() < END, "it is not loaded");
            thread::sleep(Duration::from_millis(50));
        }
    }
    thread::sleep(Duration::from_millis(500));
    looping.signal(Signal::TERM);
    let code = looping.end();
    assert!(matches!(code, Some(0 | 75)), "{code:?}");
    world.assert_once(&postgres, &lines, 3);

    // Six objects are two transactions. The first waits for the lock, which somebody holds, when it is told to stop.
    let more: Vec<_> = (0..6).flat_map(|number| events(&format!("m{number}"), 5, RECEIVED)).collect();
    block_on(world.store(more.chunks(5).map(|some| vec![batch(RECEIVED, some)]).collect()));
    let mut psql = Command::new("psql")
        .args(["-X", "-q", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-p", &postgres.port.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = psql.stdin.take().unwrap();
    input.write_all(b"BEGIN; LOCK TABLE w.logweir_ledger;\n").unwrap();
    let waiting = |count: &str| {
        let began = Instant::now();
        let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'w.logweir_ledger'::regclass AND granted AND mode = \
                   'AccessExclusiveLock'";
        let held = "SELECT count(*) FROM pg_locks WHERE relation = 'w.logweir_ledger'::regclass AND NOT granted";
        while postgres.query(if count == "held" { sql } else { held }) != "1" {
            assert!(began.elapsed() < END, "{count}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    waiting("held");
    let mut loader = Running(command(&world, postgres.port, &["--json"]).spawn().unwrap());
    waiting("waits");
    loader.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(200));
    drop(input);
    psql.wait().unwrap();
    assert!(matches!(loader.end(), Some(75)), "there is more to load");
    let (code, stdout, _) = run(&world, postgres.port, &[]);
    assert_eq!(code, 0, "{stdout}");
    lines.extend(more);
    world.assert_once(&postgres, &lines, 9);
}

#[test]
fn figures_of_a_load() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let (objects, events_each) = (40, 2_500);
    let mut lines = Vec::new();
    let segments = (0..objects).map(|number| {
        let some = events(&format!("s{number}"), events_each, RECEIVED);
        lines.extend_from_slice(&some);
        vec![batch(RECEIVED, &some)]
    });
    block_on(world.store(segments.collect()));
    let before = cpu_of_children();
    let began = Instant::now();
    let (code, stdout, stderr) = run(&world, postgres.port, &["--json"]);
    let took = began.elapsed().as_secs_f64();
    assert_eq!(code, 0, "{stderr}");
    let cpu = cpu_of_children() - before;
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["streams"][0]["loaded"], lines.len(), "{stdout}");
    let rows = lines.len() as f64;
    crate::tell(&format!(
        "{objects} objects, {rows} rows in {took:.2} s: {:.1} objects/s, {:.0} rows/s; CPU of the loader {cpu:.2} s, {:.2} µs \
         a row ({} build)",
        objects as f64 / took,
        rows / took,
        cpu * 1e6 / rows,
        if cfg!(debug_assertions) { "debug" } else { "release" }
    ));
    world.assert_once(&postgres, &lines, objects);
}
