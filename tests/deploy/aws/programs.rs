//! What runs on an instance of AWS beside the watcher: its installation, its volume, its keys, what it does for the dead.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use crate::{
    instance::{GROUP, Instance, said},
    tools::{logweir, read, root, run, succeeds, tool},
};

/// Scripts of bash.
const SCRIPTS: [&str; 6] = ["adopt-spool", "bundle", "fetch-keys", "install", "mount-spool", "tell-load"];

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
    assert_eq!(units.len(), 6);
    let mut arguments = vec!["verify", "--man=no", "--recursive-errors=no"];
    arguments.extend(units.iter().map(String::as_str));
    let output = run(&analyze, &arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains(dir.path().to_str().unwrap()), "{said}");
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
    for file in SCRIPTS.into_iter().chain(["logweir-lifecycle.service", "fetch-keys.service", "adopt-spool.service"]) {
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
            other => panic!("{name}={other}"),
        };
        check.env(name, value);
    }
    check.env("LOGWEIR__SPOOL__DISK_QUOTA", "102005473280B");
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

#[test]
fn keys_are_taken_over_when_they_have_changed_and_never_for_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    let fetch = |secret: &str| {
        fs::write(dir.path().join("secret"), secret).unwrap();
        let _ = fs::remove_file(dir.path().join("calls"));
        let stand_ins = [("aws", "cat \"$PLAY/secret\""), ("systemctl", ""), ("chgrp", "")];
        let mut command = with_stand_ins(dir.path(), &stand_ins, "fetch-keys");
        command.env("LOGWEIR_KEYS_FILE", &file).env("LOGWEIR_KEYS_SECRET", "arn:aws:secretsmanager:x");
        let succeeded = command.output().unwrap().status.success();
        let reloaded =
            fs::read_to_string(dir.path().join("calls")).unwrap().contains("systemctl reload logweir.service");
        (succeeded, reloaded)
    };
    let (one, other) = ("[[keys]]\nname = \"sdk\"\n", "[[keys]]\nname = \"sdk\"\n\n[[keys]]\nname = \"web\"\n");
    assert_eq!(fetch(one), (true, true));
    assert_eq!(fetch(one), (true, false), "nothing has changed");
    assert_eq!(fetch(""), (false, false));
    assert_eq!(fetch("{\"password\": \"of another thing\"}"), (false, false));
    assert_eq!(fs::read_to_string(&file).unwrap(), one);
    assert_eq!(fetch(other), (true, true));
    assert_eq!(fs::read_to_string(&file).unwrap(), other);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    let left = fs::read_dir(dir.path())
        .unwrap()
        .filter(|it| it.as_ref().unwrap().path().to_str().unwrap().contains("keys.toml."));
    assert_eq!(left.count(), 0);
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

#[test]
fn what_a_dead_instance_left_is_stored_by_another_one() {
    let Some(mut instance) = Instance::launch() else { return };
    // The other one's spool: taken while its sink was away, and killed.
    let other = tempfile::tempdir().unwrap();
    let service = instance.serve("kind = 'file'\ndir = 'DIR/objects'");
    service.take();
    instance.kill();
    let volume = instance.aws(&[
        "ec2",
        "create-volume",
        "--availability-zone",
        &instance.zone,
        "--size",
        "1",
        "--query",
        "VolumeId",
        "--tag-specifications",
        &format!("ResourceType=volume,Tags=[{{Key=logweir:spool,Value={GROUP}}}]"),
    ]);
    let disk = other.path().join(format!("nvme-Amazon_Elastic_Block_Store_{}", volume.replace('-', "")));
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
