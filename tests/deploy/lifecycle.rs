//! What watches over an instance's life on AWS (`deploy/aws/logweir-lifecycle`), as the process that it is, with the real
//! binary: the metadata and the hook are stubs, the group, the volume and the alarms' metrics are moto's.
//!
//! moto knows no `RecordLifecycleActionHeartbeat` and no `CompleteLifecycleAction`, so those two go to the stub, which
//! takes anything; protection from scale-in goes to moto.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    thread,
    time::Duration,
};

use crate::{
    instance::{GROUP, Instance, until},
    tools::tool,
    unit_file::Unit,
};

/// A sink that is there.
const DIRECTORY: &str = "kind = 'file'\ndir = 'DIR/objects'";
/// A sink that is away: nobody listens there.
const NOBODY: &str = "kind = 's3'\nbucket = 'logs'\nregion = 'ap-northeast-2'\nendpoint = 'http://127.0.0.1:9'";

const STATE: &str = "autoscaling/target-lifecycle-state";

/// How often the group was asked to do `action`.
fn times(instance: &Instance, action: &str) -> usize {
    instance.asked().iter().filter(|asked| asked.contains(&format!("Action={action}&"))).count()
}

/// The hook was completed, once, for this instance.
fn assert_completed(instance: &Instance) {
    let asked = instance.asked();
    let completed: Vec<&String> = asked.iter().filter(|it| it.contains("CompleteLifecycleAction")).collect();
    assert_eq!(completed.len(), 1, "{asked:?}");
    for part in [
        format!("AutoScalingGroupName={GROUP}"),
        "LifecycleHookName=logweir-drain".to_owned(),
        "LifecycleActionResult=CONTINUE".to_owned(),
        format!("InstanceId={}", instance.id),
    ] {
        assert!(completed[0].contains(&part), "{part} in {completed:?}");
    }
}

#[test]
fn in_service_figures_are_told_and_nothing_else_happens() {
    let Some(mut instance) = Instance::launch() else { return };
    let service = instance.serve(DIRECTORY);
    service.take();
    instance.watch(&[("LOGWEIR_LIFECYCLE_METRICS", &service.metrics())]);
    let mut requests = 0;
    for round in 0..10 {
        let figures = instance.figures();
        let figure = |name: &str| {
            let line = figures.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_default();
            let (value, rest) = line.split_once(':').and_then(|(_, it)| it.split_once('|')).unwrap_or_default();
            let end = format!("|#AutoScalingGroupName:{GROUP}");
            assert!(rest.ends_with(&end) && value.parse::<f64>().is_ok(), "{name} in {figures}");
            (value.to_owned(), rest[..1].to_owned())
        };
        for gauge in ["demand_ratio", "oldest_unstored_seconds", "ready", "spool_bytes", "spool_quota_bytes"] {
            assert_eq!(figure(&format!("logweir_{gauge}")).1, "g", "{figures}");
        }
        assert_eq!(figure("logweir_ready").0.parse(), Ok(1.0));
        assert_eq!(figure("logweir_refusals_total"), ("0".to_owned(), "c".to_owned()));
        requests += figure("logweir_requests_total").0.parse::<u64>().unwrap();
        if round == 2 {
            service.take();
            service.take();
        }
    }
    // What was there before the watcher is not told as new.
    assert_eq!(requests, 2);
    assert!(service.serves());
    until("it is told to be unprotected", || times(&instance, "SetInstanceProtection") == 1);
    assert_eq!(instance.asked().len(), 1, "{:?}", instance.asked());
    assert_eq!(instance.calls(), "");
}

#[test]
fn an_instance_that_the_group_ends_drains_and_completes_the_hook() {
    let Some(mut instance) = Instance::launch() else { return };
    let service = instance.serve(DIRECTORY);
    service.take();
    instance.watch(&[("LOGWEIR_LIFECYCLE_METRICS", &service.metrics())]);
    instance.set(STATE, "Terminated");
    instance.until_watcher_says("drained\n");
    assert!(!service.serves());
    assert_eq!(instance.objects().len(), 1);
    assert!(times(&instance, "RecordLifecycleActionHeartbeat") >= 1);
    assert_completed(&instance);
    // What is empty is not left over.
    assert!(instance.volume_is_deleted_with_it());
    assert_eq!(instance.tag(&instance.volume, "logweir:unstored"), "");
    // With the socket, or that would wake the service up again.
    assert!(instance.calls().starts_with("systemctl stop logweir.socket logweir.service\n"), "{}", instance.calls());
    // It drains once.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(instance.watcher_log().matches("draining within").count(), 1);
}

#[test]
fn an_instance_without_a_spool_is_let_go_at_once() {
    let Some(mut instance) = Instance::launch() else { return };
    instance.set(STATE, "Terminated");
    instance.watch(&[("LOGWEIR_LIFECYCLE_METRICS", "http://127.0.0.1:9/metrics")]);
    instance.until_watcher_says("drained\n");
    assert_completed(&instance);
    assert!(instance.volume_is_deleted_with_it());
}

#[test]
fn a_spool_that_cannot_be_emptied_is_kept_and_tagged() {
    let Some(mut instance) = Instance::launch() else { return };
    let service = instance.serve(NOBODY);
    service.take();
    instance.set(STATE, "Terminated");
    instance.watch(&[("LOGWEIR_LIFECYCLE_METRICS", &service.metrics()), ("LOGWEIR_LIFECYCLE_LIMIT", "12")]);
    instance.until_watcher_says("drained\n");
    assert!(instance.watcher_log().contains("not everything is stored; the volume stays"));
    assert!(times(&instance, "RecordLifecycleActionHeartbeat") >= 2);
    assert_completed(&instance);
    assert!(!instance.volume_is_deleted_with_it());
    assert!(instance.tag(&instance.volume, "logweir:unstored").ends_with('Z'));
    let metric =
        instance.aws(&["cloudwatch", "list-metrics", "--namespace", "logweir", "--query", "Metrics[].MetricName"]);
    assert_eq!(metric, "logweir_unstored_spools");
    // It is there for whoever replays it, and nobody has its lock.
    assert!(instance.calls().contains("systemctl --no-block stop logweir-replay@"), "{}", instance.calls());
    let survey = logweir::spool::survey(&instance.dir.path().join("spool")).unwrap();
    assert_eq!(survey.segments, 1, "{survey:?}");
}

/// The watcher's capabilities, as its unit sets them, for `setpriv`; `None` without it, or if this is not root.
fn as_its_unit() -> Option<Vec<String>> {
    let setpriv = tool("setpriv")?;
    // Nobody else has a directory that this user may not look into, or capabilities to take away.
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let unit = Unit::of("deploy/aws/logweir-lifecycle.service");
    assert_eq!((unit.one("NoNewPrivileges"), unit.all("User").len()), ("yes", 0), "it is root, and nothing more");
    let left = unit.one("CapabilityBoundingSet").to_ascii_lowercase();
    let left = left.split_whitespace().map(|it| it.replacen("cap_", "+", 1));
    let left: Vec<String> = ["-all".to_owned()].into_iter().chain(left).collect();
    let words = ["--no-new-privs", "--inh-caps=-all", &format!("--bounding-set={}", left.join(","))].map(str::to_owned);
    Some([setpriv.to_str().unwrap().to_owned()].into_iter().chain(words).collect())
}

/// A directory of another user, as the spool's volume is, and what the watcher does with what is in it.
fn drained_as_its_unit(spooled: bool) -> Option<Instance> {
    let words = as_its_unit()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut instance = Instance::launch()?;
    let volume = instance.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let spool = volume.join("spool");
    if spooled {
        let service = instance.serve(NOBODY);
        service.take();
        instance.kill();
        fs::rename(instance.dir.path().join("spool"), &spool).unwrap();
        fs::remove_file(instance.dir.path().join("logweir.pid")).unwrap();
    }
    chown(&volume, Some(65_534), Some(65_534)).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o750)).unwrap();
    instance.set(STATE, "Terminated");
    let settings = [
        ("LOGWEIR_LIFECYCLE_METRICS", "http://127.0.0.1:9/metrics"),
        ("LOGWEIR_LIFECYCLE_LIMIT", "8"),
        ("LOGWEIR_LIFECYCLE_SPOOL", spool.to_str().unwrap()),
    ];
    instance.watch_by(&words, &settings);
    instance.until_watcher_says("drained\n");
    assert_completed(&instance);
    Some(instance)
}

#[test]
fn with_the_capabilities_of_its_unit_a_spool_of_another_user_is_not_taken_for_empty() {
    let Some(instance) = drained_as_its_unit(true) else { return };
    assert!(!instance.volume_is_deleted_with_it(), "{}", instance.watcher_log());
    assert!(instance.tag(&instance.volume, "logweir:unstored").ends_with('Z'));
    // It was seen, and tried.
    assert!(instance.calls().contains("systemctl start logweir-replay@"), "{}", instance.watcher_log());
}

#[test]
fn with_the_capabilities_of_its_unit_an_empty_volume_of_another_user_is_seen_to_be_empty() {
    let Some(instance) = drained_as_its_unit(false) else { return };
    assert!(instance.volume_is_deleted_with_it(), "{}", instance.watcher_log());
    assert!(!instance.calls().contains("logweir-replay@"), "{}", instance.calls());
}

#[test]
fn a_volume_that_is_not_mounted_is_not_taken_for_empty() {
    let Some(mut instance) = Instance::launch() else { return };
    let place = instance.dir.path().to_str().unwrap().to_owned();
    instance.set(STATE, "Terminated");
    instance.watch(&[("LOGWEIR_LIFECYCLE_METRICS", "http://127.0.0.1:9/metrics"), ("LOGWEIR_LIFECYCLE_MOUNT", &place)]);
    instance.until_watcher_says("drained\n");
    assert!(instance.watcher_log().contains(&format!("there is no volume at {place}")), "{}", instance.watcher_log());
    assert_completed(&instance);
    assert!(!instance.volume_is_deleted_with_it());
    assert!(instance.tag(&instance.volume, "logweir:unstored").ends_with('Z'));
}

#[test]
fn what_the_watcher_cannot_read_is_not_taken_for_empty() {
    let Some(mut instance) = Instance::launch() else { return };
    // Not a directory.
    fs::write(instance.dir.path().join("spool"), "").unwrap();
    instance.set(STATE, "Terminated");
    instance.watch(&[("LOGWEIR_LIFECYCLE_METRICS", "http://127.0.0.1:9/metrics")]);
    instance.until_watcher_says("drained\n");
    assert!(instance.watcher_log().contains("nobody knows what is on the volume"), "{}", instance.watcher_log());
    assert!(!instance.volume_is_deleted_with_it());
}

#[test]
fn figures_behind_a_token_are_read_with_it() {
    let Some(mut instance) = Instance::launch() else { return };
    let token = ("LOGWEIR__ADMIN__TOKEN", "a-token-that-is-long-enough-for-it");
    let service = instance.serve_with(DIRECTORY, &[token]);
    instance.watch(&[("LOGWEIR_LIFECYCLE_METRICS", &service.metrics()), token]);
    assert!(instance.figures().contains("logweir_demand_ratio:"));
    assert!(!instance.watcher_log().contains("a-token"));
}

#[test]
fn a_sink_that_comes_back_is_waited_for() {
    let Some(mut instance) = Instance::launch() else { return };
    let service = instance.serve(DIRECTORY);
    service.take();
    // In the place of the stream's directory stands a file.
    let blocked = instance.dir.path().join("objects/heard");
    fs::create_dir_all(blocked.parent().unwrap()).unwrap();
    fs::write(&blocked, "").unwrap();
    instance.watch(&[("LOGWEIR_LIFECYCLE_METRICS", &service.metrics())]);
    instance.set(STATE, "Terminated");
    until("the service has ended, and its spool is replayed", || instance.dir.path().join("replay.pid").exists());
    assert!(!service.serves());
    let heartbeats = times(&instance, "RecordLifecycleActionHeartbeat");
    until("it keeps the hook open", || times(&instance, "RecordLifecycleActionHeartbeat") > heartbeats + 1);
    assert_eq!(times(&instance, "CompleteLifecycleAction"), 0);
    fs::remove_file(&blocked).unwrap();
    instance.until_watcher_says("drained\n");
    assert_eq!(instance.objects().len(), 1);
    assert_completed(&instance);
    assert!(instance.volume_is_deleted_with_it());
}

#[test]
fn without_metadata_nothing_is_drained() {
    let Some(mut instance) = Instance::launch() else { return };
    let service = instance.serve(DIRECTORY);
    instance.set(STATE, "Terminated");
    instance
        .watch(&[("LOGWEIR_LIFECYCLE_METRICS", &service.metrics()), ("LOGWEIR_LIFECYCLE_IMDS", "http://127.0.0.1:9")]);
    for _ in 0..10 {
        assert!(instance.figures().contains("logweir_demand_ratio"));
    }
    assert!(service.serves());
    assert!(instance.asked().is_empty() && instance.calls().is_empty());
    let log = instance.watcher_log();
    assert_eq!(log.matches("the instance metadata does not answer").count(), 1, "{log}");
}

#[test]
fn spot_gives_two_minutes_and_what_cannot_be_stored_in_them_is_kept() {
    let Some(mut instance) = Instance::launch() else { return };
    let service = instance.serve(NOBODY);
    service.take();
    instance.watch(&[("LOGWEIR_LIFECYCLE_METRICS", &service.metrics()), ("LOGWEIR_LIFECYCLE_SPOT_MARGIN", "90")]);
    let ends = jiff::Timestamp::now() + Duration::from_mins(2);
    instance.set("spot/instance-action", &format!(r#"{{"action": "terminate", "time": "{ends:.0}"}}"#));
    instance.until_watcher_says("drained\n");
    let log = instance.watcher_log();
    let (_, within) = log.split_once("draining within ").unwrap();
    let within: u64 = within.split_once(" s: Spot").unwrap().0.parse().unwrap();
    assert!(within <= 30, "what is left of two minutes, less the margin: {log}");
    assert!(!service.serves());
    assert!(instance.tag(&instance.volume, "logweir:unstored").ends_with('Z'));
    // If the group ends it because of Spot, its hook waits too.
    assert_completed(&instance);
}

#[test]
fn a_backlog_protects_from_scale_in_until_it_is_gone() {
    let Some(mut instance) = Instance::launch() else { return };
    let protected = |instance: &Instance| {
        let query = "AutoScalingInstances[0].ProtectedFromScaleIn";
        instance.aws(&["autoscaling", "describe-auto-scaling-instances", "--query", query])
    };
    instance.set("metrics", "logweir_oldest_unstored_seconds 300\n");
    let metrics = format!("http://{}/metrics", instance.stub());
    let settings = [("LOGWEIR_LIFECYCLE_METRICS", metrics.as_str()), ("AWS_ENDPOINT_URL_AUTO_SCALING", "")];
    instance.watch(&settings);
    instance.until_watcher_says("not protected from scale-in: the oldest unstored data is 300 s old");
    let backlog = |age: u32| instance.set("metrics", &format!("logweir_oldest_unstored_seconds {age}\n"));
    backlog(751);
    instance.until_watcher_says("\nprotected from scale-in: the oldest unstored data is 751 s old");
    assert_eq!(protected(&instance), "True");
    // Between the two ages it stays as it is.
    backlog(600);
    while !instance.figures().contains("logweir_oldest_unstored_seconds:600.0|g") {}
    while !instance.figures().contains("logweir_oldest_unstored_seconds:600.0|g") {}
    assert_eq!(protected(&instance), "True");
    backlog(449);
    instance.until_watcher_says("not protected from scale-in: the oldest unstored data is 449 s old");
    assert_eq!(protected(&instance), "False");
}
