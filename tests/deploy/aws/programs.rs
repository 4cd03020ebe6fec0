//! What runs on an instance of AWS beside the watcher: its installation, its volume, its keys, what it does for the dead.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    instance::{GROUP, Instance, said},
    tools::{logweir, read, root, run, succeeds, tool},
    unit_file::Unit,
};

/// Scripts of bash.
const SCRIPTS: [&str; 9] = [
    "adopt-spool",
    "bundle",
    "fetch-keys",
    "fetch-settings",
    "fetch-token",
    "install",
    "mount-spool",
    "take-over",
    "tell-load",
];

#[test]
fn scripts_are_sound() {
    let Some(shellcheck) = tool("shellcheck") else { return };
    for name in SCRIPTS {
        succeeds(&shellcheck, &[&format!("deploy/aws/{name}")]);
        let mode = fs::metadata(root().join("deploy/aws").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name} can be executed");
    }
    succeeds(&shellcheck, &["tests/deploy/aws/instance.sh"]);
    // Amazon Linux 2023 has Python 3.9.
    let Some(python) = tool("python3") else { return };
    let parse = "import ast, sys; ast.parse(open(sys.argv[1]).read(), feature_version=(3, 9))";
    succeeds(&python, &["-c", parse, "deploy/aws/logweir-lifecycle"]);
}

#[test]
fn units_are_sound() {
    let Some(analyze) = tool("systemd-analyze") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in fs::read_dir(root().join("deploy/aws")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|it| it == "service" || it == "timer") {
            let text = fs::read_to_string(&path).unwrap();
            // What they execute is not installed here.
            let text: String = text
                .lines()
                .map(|line| match line.split_once("ExecStart=/") {
                    Some(("", _)) => "ExecStart=/bin/true\n".to_owned(),
                    _ => format!("{line}\n"),
                })
                .collect();
            let name = name.replace("@.", "@var-lib-logweir-spool.");
            fs::write(dir.path().join(&name), text).unwrap();
            units.push(dir.path().join(name).to_str().unwrap().to_owned());
        }
    }
    assert_eq!(units.len(), 8);
    let mut arguments = vec!["verify", "--man=no", "--recursive-errors=no"];
    arguments.extend(units.iter().map(String::as_str));
    let output = run(&analyze, &arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains(dir.path().to_str().unwrap()), "{said}");
}

/// The worst exposure that `systemd-analyze security` may find in each, in tenths.
const EXPOSURE: [(&str, u32); 5] = [
    // It mounts disks where other units see them.
    ("adopt-spool.service", 49),
    ("fetch-keys.service", 24),
    ("fetch-settings.service", 24),
    ("logweir-lifecycle.service", 24),
    ("logweir-replay@.service", 15),
];

#[test]
fn units_may_do_what_they_have_to_and_little_more() {
    let found = fs::read_dir(root().join("deploy/aws")).unwrap().map(|it| it.unwrap().file_name());
    let found: BTreeSet<String> = found.map(|it| it.to_str().unwrap().to_owned()).collect();
    let found: Vec<&str> = found.iter().map(String::as_str).filter(|it| it.ends_with(".service")).collect();
    assert_eq!(found, EXPOSURE.map(|(unit, _)| unit));
    // A replay is locked up like the server.
    let server = Unit::of("deploy/systemd/logweir.service");
    let replay = Unit::of("deploy/aws/logweir-replay@.service");
    let mut expected = server.from("CapabilityBoundingSet").to_vec();
    expected.retain(|(name, _)| !["WantedBy", "Also"].contains(&name.as_str()));
    assert_eq!(replay.from("CapabilityBoundingSet"), expected);
    // What one mounts, the other sees.
    let adopt = read("deploy/aws/adopt-spool.service");
    assert!(!adopt.contains("\nProtect") && !adopt.contains("\nPrivate") && !adopt.contains("\nUMask"), "{adopt}");
    let Some(analyze) = tool("systemd-analyze") else { return };
    for (unit, tenths) in EXPOSURE {
        let threshold = format!("--threshold={tenths}");
        let path = format!("deploy/aws/{unit}");
        succeeds(&analyze, &["security", "--offline=true", &threshold, "--no-pager", &path]);
    }
}

#[test]
fn a_bundle_is_the_same_each_time_and_has_all_that_its_installation_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let pack = |name: &str| {
        let out = dir.path().join(name);
        // The real binary is large and no different.
        fs::write(dir.path().join("logweir"), "#!/bin/sh\n").unwrap();
        let binary = dir.path().join("logweir");
        let arguments = [binary.to_str().unwrap(), "deploy/aws/logweir.toml", out.to_str().unwrap()];
        let told = succeeds(&root().join("deploy/aws/bundle"), &arguments);
        (told.split(' ').next().unwrap().to_owned(), out)
    };
    let ((one, out), (other, _)) = (pack("one.tar.gz"), pack("other.tar.gz"));
    assert_eq!(one, other);
    assert_eq!(one.len(), 64);
    let listed = succeeds(Path::new("tar"), &["-tzf", out.to_str().unwrap()]);
    let listed: BTreeSet<&str> = listed.lines().map(|line| line.trim_start_matches("./")).collect();
    // Whatever scripts and units call by the bundle's place is in it.
    let mut asked = 0;
    for file in SCRIPTS.into_iter().chain([
        "logweir-lifecycle.service",
        "fetch-keys.service",
        "fetch-settings.service",
        "adopt-spool.service",
    ]) {
        let text = read(&format!("deploy/aws/{file}"));
        for place in ["/opt/logweir/", "$here/"] {
            for part in text.split(place).skip(1) {
                let name: String = part.chars().take_while(|it| it.is_alphanumeric() || "-_.".contains(*it)).collect();
                let here = file == "bundle" || name.is_empty() || name.starts_with("..");
                assert!(here || listed.contains(name.as_str()), "{file} asks for {name}, not in {listed:?}");
                asked += usize::from(!here);
            }
        }
    }
    assert!(asked > 8, "{asked}");
    for unit in
        ["logweir.service", "logweir.socket", "logweir-lifecycle.service", "adopt-spool.timer", "logweir-load.timer"]
    {
        assert!(listed.contains(unit), "{unit} in {listed:?}");
    }
}

#[test]
fn the_configuration_of_instances_is_sound_with_what_the_stack_adds() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.toml");
    fs::write(&keys, "[[keys]]\nname = \"sdk\"\nkey = \"an-example-key-of-the-sdk\"\n").unwrap();
    let config = dir.path().join("logweir.toml");
    let text = read("deploy/aws/logweir.toml").replace("/etc/logweir/keys.toml", keys.to_str().unwrap());
    fs::write(&config, text).unwrap();
    let mut check = Command::new(logweir());
    check.args(["check", "--config"]).arg(&config).env_clear();
    // /etc/logweir/aws.env, as the user data and the installation write it.
    for line in read("deploy/cloudformation/fleet.yaml").lines().map(str::trim).filter(|it| it.starts_with("LOGWEIR__"))
    {
        let (name, value) = line.split_once('=').unwrap();
        let value = match value {
            "${Bucket}" => "example-logs",
            "${AWS::Region}" => "ap-northeast-2",
            "${MaxSize}" => "20",
            "${AdminListen}" => "0.0.0.0:9090",
            other => panic!("{name}={other}"),
        };
        check.env(name, value);
    }
    check.env("LOGWEIR__SPOOL__DISK_QUOTA", "102005473280B").env("LOGWEIR__ADMIN__TOKEN", "a-token-of-16-characters");
    let said = said(&mut check);
    assert!(said.contains("example-logs"), "{said}");
}

/// A directory with stand-ins for `names`, each with a text of bash, and the environment that finds them.
fn with_stand_ins(dir: &Path, stand_ins: &[(&str, &str)], script: &str) -> Command {
    fs::create_dir_all(dir.join("bin")).unwrap();
    for (name, text) in stand_ins {
        let file = dir.join("bin").join(name);
        fs::write(&file, format!("#!/bin/bash\necho \"$(basename \"$0\") $*\" >>\"$PLAY/calls\"\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(root().join("deploy/aws").join(script));
    command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", dir.join("bin").display())).env("PLAY", dir);
    command
}

#[test]
fn a_volume_is_formatted_only_if_nothing_is_on_it() {
    for (blkid, formatted, mounted) in [("exit 2", true, true), ("exit 0", false, true), ("exit 4", false, false)] {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("sdf");
        fs::write(&device, "").unwrap();
        let stand_ins =
            [("blkid", blkid), ("mkfs.xfs", ""), ("mount", ""), ("mountpoint", "exit 1"), ("chown", ""), ("chmod", "")];
        let mut command = with_stand_ins(dir.path(), &stand_ins, "mount-spool");
        let fstab = dir.path().join("fstab");
        command.arg(&device).arg(dir.path().join("spool")).env("LOGWEIR_FSTAB", &fstab);
        // Twice, as after a reboot.
        let ended = (0..2).map(|_| command.output().unwrap().status.success()).collect::<Vec<_>>();
        assert_eq!(ended, [mounted, mounted]);
        let calls = fs::read_to_string(dir.path().join("calls")).unwrap();
        assert_eq!(calls.contains("mkfs.xfs"), formatted, "{blkid}: {calls}");
        assert_eq!(calls.contains("\nmount "), mounted, "{blkid}: {calls}");
        let lines = fs::read_to_string(&fstab).map_or(0, |text| text.lines().count());
        assert_eq!(lines, usize::from(mounted));
    }
}

#[test]
fn a_volume_that_does_not_come_is_no_reason_to_format_anything() {
    let dir = tempfile::tempdir().unwrap();
    let mut command =
        with_stand_ins(dir.path(), &[("blkid", "exit 2"), ("mkfs.xfs", ""), ("mount", "")], "mount-spool");
    let output = command.arg(dir.path().join("sdf")).arg("/nowhere").env("LOGWEIR_WAIT", "0").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no volume"));
    assert!(!dir.path().join("calls").exists());
}

/// A file that is brought from elsewhere by `script`, checked by the real binary, and taken over by a stand-in's reload.
struct Brought {
    dir: tempfile::TempDir,
    script: &'static str,
}

impl Brought {
    fn by(script: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let text = format!(
            "keys_file = '{place}/keys.toml'\nspool.dir = '{place}/spool'\ningest.undeclared_streams = 'accept'\n{SINK}"
        );
        fs::write(dir.path().join("logweir.toml"), text).unwrap();
        fs::write(dir.path().join("keys.toml"), format!("[[keys]]\nname = \"old\"\n{HASH}")).unwrap();
        Self { dir, script }
    }

    /// Whether it succeeded, and whether the service was told, after `text` was put there.
    fn fetch(&self, text: &str, reload: &str) -> (bool, bool) {
        let dir = self.dir.path();
        fs::write(dir.join("there"), text).unwrap();
        fs::write(dir.join("calls"), "").unwrap();
        let systemctl = format!("[[ $1 != reload ]] || {reload}");
        // Of S3 it is the last word, of Secrets Manager what is printed.
        let aws = "if [[ $1 == s3 ]]; then cat \"$PLAY/there\" >\"${!#}\"; else cat \"$PLAY/there\"; fi";
        let stand_ins = [("aws", aws), ("systemctl", systemctl.as_str()), ("chgrp", "")];
        let mut command = with_stand_ins(dir, &stand_ins, self.script);
        command.env("LOGWEIR_KEYS_FILE", dir.join("keys.toml")).env("LOGWEIR_CONFIG", dir.join("logweir.toml"));
        command.env("LOGWEIR_KEYS_SECRET", "arn:aws:secretsmanager:x").env("LOGWEIR", logweir());
        command.env("LOGWEIR_SETTINGS_URL", "s3://example/logweir.toml");
        let succeeded = command.output().unwrap().status.success();
        let told = fs::read_to_string(dir.join("calls")).unwrap().contains("systemctl reload logweir.service");
        (succeeded, told)
    }

    /// What stands there, for the service's group, and nothing beside it.
    fn taken(&self, name: &str) -> String {
        let file = self.dir.path().join(name);
        let left = fs::read_dir(self.dir.path()).unwrap();
        let left = left.filter(|it| it.as_ref().unwrap().path().to_str().unwrap().contains(&format!("{name}.")));
        assert_eq!(left.count(), 0);
        fs::read_to_string(file).unwrap()
    }
}

const SINK: &str = "[[sinks]]\nname = 'lake'\nkind = 's3'\nbucket = 'logs'\nregion = 'ap-northeast-2'\n";
const HASH: &str = "key_hash = \"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\"\n";

#[test]
fn keys_are_taken_over_when_they_have_changed_and_never_for_something_else() {
    let brought = Brought::by("fetch-keys");
    let one = format!("[[keys]]\nname = \"sdk\"\n{HASH}");
    let other = format!("[[keys]]\nname = \"web\"\n{HASH}");
    assert_eq!(brought.fetch(&one, "true"), (true, true));
    assert_eq!(brought.fetch(&one, "true"), (true, false), "nothing has changed");
    assert_eq!(brought.fetch("", "true"), (false, false));
    assert_eq!(brought.fetch("{\"password\": \"of another thing\"}", "true"), (false, false));
    // Not sound, and not sound the next time either: a start would end with it.
    for unsound in ["[[keys]]\nname = \"sdk\"\nkey_hash = \"sha256:2c26\"\n", "[[keys]]\nname = \"sdk\n"] {
        for _ in 0..2 {
            assert_eq!(brought.fetch(unsound, "true"), (false, false), "{unsound}");
            assert_eq!(brought.taken("keys.toml"), one);
        }
    }
    // What the service did not take over is not taken for done.
    for _ in 0..2 {
        assert_eq!(brought.fetch(&other, "false"), (false, true));
        assert_eq!(brought.taken("keys.toml"), one);
    }
    assert_eq!(brought.fetch(&other, "true"), (true, true));
    assert_eq!(brought.taken("keys.toml"), other);
    // A round that was broken off before the service was told.
    fs::write(brought.dir.path().join("keys.toml.before"), &one).unwrap();
    assert_eq!(brought.fetch(&other, "true"), (true, true));
    assert_eq!(brought.taken("keys.toml"), other);
    let mode = fs::metadata(brought.dir.path().join("keys.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn settings_are_taken_over_when_they_have_changed_and_only_if_they_are_sound() {
    let brought = Brought::by("fetch-settings");
    let old = brought.taken("logweir.toml");
    let muted = format!("{old}[[mute]]\nstream = \"heard\"\n");
    assert_eq!(brought.fetch(&old, "true"), (true, false), "nothing has changed");
    for unsound in ["", "no TOML", &format!("{old}[[mute]]\nstreams = 3\n")] {
        assert_eq!(brought.fetch(unsound, "true"), (false, false), "{unsound}");
        assert_eq!(brought.taken("logweir.toml"), old);
    }
    assert_eq!(brought.fetch(&muted, "true"), (true, true));
    assert_eq!(brought.taken("logweir.toml"), muted);
    let mode = fs::metadata(brought.dir.path().join("logweir.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    // Without an address nothing is asked for.
    let mut command = with_stand_ins(brought.dir.path(), &[("aws", "exit 1")], "fetch-settings");
    assert!(command.status().unwrap().success());
}

#[test]
fn a_token_is_written_where_root_alone_reads_it_and_only_if_it_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let env = dir.path().join("aws.env");
    fs::write(&env, "LOGWEIR_FLEET=logweir-fleet\nLOGWEIR__ADMIN__TOKEN=the-old-token-of-it\n").unwrap();
    let mut ended = Vec::new();
    for token in
        ["", "short", "of two words, which bash would run", "a line\nand-another-line-of-it", "a-token-of-16+/=chars"]
    {
        fs::write(dir.path().join("there"), token).unwrap();
        let mut command = with_stand_ins(dir.path(), &[("aws", "cat \"$PLAY/there\"")], "fetch-token");
        command.env("LOGWEIR_ENV", &env).env("LOGWEIR_TOKEN_SECRET", "arn:aws:secretsmanager:x");
        let output = command.output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("which"), "no secret is told");
        ended.push(output.status.success());
    }
    assert_eq!(ended, [false, false, false, false, true]);
    let text = fs::read_to_string(&env).unwrap();
    assert_eq!(text, "LOGWEIR_FLEET=logweir-fleet\nLOGWEIR__ADMIN__TOKEN=a-token-of-16+/=chars\n");
    assert_eq!(fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_round_of_the_loader_is_told_by_how_it_ended() {
    for (status, told) in [
        ("0", vec!["ended"]),
        ("1", vec!["ended", "attention"]),
        ("69", vec!["failed"]),
        ("75", vec!["interrupted"]),
        ("78", vec!["failed"]),
        ("KILL", vec!["failed"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = with_stand_ins(dir.path(), &[("aws", "")], "tell-load");
        assert!(command.env("EXIT_STATUS", status).env("LOGWEIR_LOADER", "loader").status().unwrap().success());
        let calls = fs::read_to_string(dir.path().join("calls")).unwrap();
        let outcomes: Vec<&str> = calls.lines().map(|line| line.rsplit_once("outcome=").unwrap().1).collect();
        assert_eq!(outcomes, told, "{status}");
        assert!(
            calls.contains("--metric-name logweir_load_rounds_total") && calls.contains("Loader=loader,"),
            "{calls}"
        );
    }
}

/// A volume with a spool that nobody has.
fn orphan(instance: &Instance, size: &str) -> String {
    let tags = format!("ResourceType=volume,Tags=[{{Key=logweir:spool,Value={GROUP}}}]");
    let create = ["ec2", "create-volume", "--availability-zone", &instance.zone, "--size", size];
    instance.aws(&[&create[..], &["--query", "VolumeId", "--tag-specifications", &tags]].concat())
}

/// The name of its disk in `dir`.
fn disk(dir: &Path, volume: &str) -> PathBuf {
    dir.join(format!("nvme-Amazon_Elastic_Block_Store_{}", volume.replace('-', "")))
}

#[test]
fn a_volume_that_is_broken_or_new_keeps_nobody_waiting() {
    let Some(instance) = Instance::launch() else { return };
    let disks = tempfile::tempdir().unwrap();
    let mut adopt = instance.command(root().join("deploy/aws/adopt-spool"));
    adopt.env("LOGWEIR_DISKS", disks.path()).env("LOGWEIR_ADOPT_ROOT", instance.dir.path().join("adopted"));
    adopt.env("LOGWEIR_ADOPT_AGE", "-1 minutes");
    // Those of all volumes, in one call.
    let tags =
        || instance.aws(&["ec2", "describe-volumes", "--query", "Volumes[].[VolumeId, State, Tags[].[Key, Value]]"]);

    // The oldest cannot be mounted, and nothing is known of it; nor is anything of the other one, which is new.
    let (broken, new) = (orphan(&instance, "1"), orphan(&instance, "2"));
    for (volume, byte) in [(&broken, b'x'), (&new, 0)] {
        let disk = disk(disks.path(), volume);
        fs::write(&disk, vec![byte; 2 << 20]).unwrap();
        fs::write(format!("{}.known", disk.display()), "2").unwrap();
    }
    let mut ended = [adopt.output().unwrap().status.success(), adopt.output().unwrap().status.success()];
    ended.sort_unstable();
    assert_eq!(ended, [false, true], "each had its turn");
    let told = tags();
    let of =
        |volume: &str| told.split("vol-").skip(1).find(|it| volume.ends_with(it.split('\t').next().unwrap())).unwrap();
    assert!(of(&broken).contains("available") && of(&new).contains("available"), "both were let go: {told}");
    assert!(of(&broken).contains("logweir:failed") && !of(&broken).contains("logweir:replayed"), "{told}");
    assert!(of(&new).contains("Z never formatted") && !of(&new).contains("logweir:failed"), "{told}");
    assert!(!instance.calls().contains("mkfs"), "{}", instance.calls());

    // Whoever comes later comes first, and what has failed comes again afterwards.
    let later = orphan(&instance, "1");
    let later_disk = disk(disks.path(), &later);
    fs::write(&later_disk, "xfs").unwrap();
    fs::create_dir(format!("{}.files", later_disk.display())).unwrap();
    assert!(said(&mut adopt).contains(&format!("everything on {later} is stored")));
    let again = String::from_utf8(adopt.output().unwrap().stdout).unwrap();
    assert!(again.contains(&broken), "{again}");
}

#[test]
fn what_a_dead_instance_left_is_stored_by_another_one() {
    let Some(mut instance) = Instance::launch() else { return };
    // The other one's spool: taken while its sink was away, and killed.
    let other = tempfile::tempdir().unwrap();
    let service = instance.serve("kind = 'file'\ndir = 'DIR/objects'");
    service.take();
    instance.kill();
    let volume = orphan(&instance, "1");
    let disk = disk(other.path(), &volume);
    fs::write(&disk, "").unwrap();
    let files = format!("{}.files", disk.display());
    fs::create_dir(&files).unwrap();
    fs::rename(instance.dir.path().join("spool"), Path::new(&files).join("spool")).unwrap();
    assert!(instance.objects().is_empty());

    let mut adopt = instance.command(root().join("deploy/aws/adopt-spool"));
    adopt.env("LOGWEIR_DISKS", other.path()).env("LOGWEIR_ADOPT_ROOT", instance.dir.path().join("adopted"));
    // A volume that has just been made may be on its way to its instance.
    assert_eq!(said(&mut adopt), "");
    adopt.env("LOGWEIR_ADOPT_AGE", "-1 minutes");

    // While the sink is away, nothing is lost, and the volume is let go for another time.
    fs::create_dir_all(instance.dir.path().join("objects")).unwrap();
    fs::write(instance.dir.path().join("objects/heard"), "").unwrap();
    let output = adopt.env("LOGWEIR_ADOPT_LIMIT", "3").output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    let state = |instance: &Instance| {
        instance.aws(&["ec2", "describe-volumes", "--volume-ids", &volume, "--query", "Volumes[0].State"])
    };
    assert_eq!(state(&instance), "available");
    assert_eq!(instance.tag(&volume, "logweir:replayed"), "");
    assert!(instance.tag(&volume, "logweir:failed").ends_with('Z'), "the next one is tried first from now on");

    fs::remove_file(instance.dir.path().join("objects/heard")).unwrap();
    let told = said(adopt.env("LOGWEIR_ADOPT_LIMIT", "100"));
    assert!(told.contains(&format!("everything on {volume} is stored")), "{told}");
    assert_eq!(instance.objects().len(), 1);
    assert_eq!(state(&instance), "available");
    assert!(instance.tag(&volume, "logweir:replayed").ends_with('Z'));
    // Once is enough.
    assert_eq!(said(&mut adopt), "");
    // And nobody adopts who is going to end.
    instance.set("autoscaling/target-lifecycle-state", "Terminated");
    assert_eq!(said(adopt.arg(&volume)), "");
}

#[test]
fn the_stand_ins_of_these_tests_are_found_before_the_real_ones() {
    let dir = tempfile::tempdir().unwrap();
    symlink(root().join("tests/deploy/aws/instance.sh"), dir.path().join("mkfs.xfs")).unwrap();
    let mut command = Command::new(dir.path().join("mkfs.xfs"));
    assert!(command.arg("/dev/nothing").env("PLAY", dir.path()).status().unwrap().success());
    assert_eq!(fs::read_to_string(dir.path().join("calls")).unwrap(), "mkfs.xfs /dev/nothing\n");
}
