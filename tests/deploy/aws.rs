//! The CloudFormation templates, and what runs on an instance of AWS beside the watcher (see `lifecycle`).
//!
//! cfn-lint reads every template with all of its rules, and none is left out. moto then creates them for real, and the
//! services' own APIs are asked what is there. What moto's `CloudFormation` does not create, or not with these attributes,
//! is held to the linter and to what the templates say: the load balancer's and the target group's attributes, the lifecycle
//! hook, the bucket's policy, lifecycle and public access, managed policies of roles, and the types in [`ONLY_LINTED`].
//! Neither looks at the conditions of permissions.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use logweir::metrics;
use serde_json::{Value, json};

use crate::{
    instance::{GROUP, Instance, said, script, until},
    moto_server::Moto,
    tools::{logweir, read, root, run, succeeds, tool},
};

const TEMPLATES: [&str; 4] = ["storage", "fleet", "loader", "alarms"];
/// Types that moto 5.2.5 does not create from a template.
const ONLY_LINTED: [&str; 4] = [
    "AWS::AutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Alarm",
    "AWS::KinesisFirehose::DeliveryStream",
    "AWS::S3::BucketPolicy",
];
/// Scripts of bash.
const SCRIPTS: [&str; 6] = ["adopt-spool", "bundle", "fetch-keys", "install", "mount-spool", "tell-load"];
/// Metrics that are not logweir's own: of a fleet, and not of an instance.
const OF_THE_FLEET: [&str; 2] = ["logweir_orphaned_spools", "logweir_unstored_spools"];

fn template(name: &str) -> String {
    format!("deploy/cloudformation/{name}.yaml")
}

/// All templates, as JSON.
fn templates() -> Option<Value> {
    let paths = TEMPLATES.map(|name| root().join(template(name)).to_str().unwrap().to_owned());
    Some(serde_json::from_str(&script("templates.py", &paths.each_ref().map(String::as_str))?).unwrap())
}

/// What the attributes of a resource say, by key.
fn attribute<'a>(attributes: &'a Value, key: &str) -> &'a str {
    let found = attributes.as_array().unwrap().iter().find(|it| it["Key"] == key);
    found.and_then(|it| it["Value"].as_str()).unwrap_or_else(|| panic!("no {key} in {attributes}"))
}

#[test]
fn the_linter_has_nothing_to_say_of_the_templates() {
    let Some(lint) = tool("cfn-lint") else { return };
    for name in TEMPLATES {
        // Information too, and no rule is left out.
        succeeds(&lint, &["--include-checks", "I", "--template", &template(name)]);
    }
}

#[test]
fn every_parameter_says_what_it_is_for() {
    let Some(templates) = templates() else { return };
    for name in TEMPLATES {
        let parameters = templates[name]["Parameters"].as_object().unwrap();
        for (parameter, told) in parameters {
            let description = told["Description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.') || description.ends_with(')'), "{name}: {parameter}: {description:?}");
        }
        let groups = templates[name]["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"].as_array();
        if let Some(groups) = groups {
            let shown = groups.iter().flat_map(|group| group["Parameters"].as_array().unwrap());
            let shown: BTreeSet<&str> = shown.map(|it| it.as_str().unwrap()).collect();
            assert_eq!(shown, parameters.keys().map(String::as_str).collect(), "{name}");
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one creation, and what came of it")]
fn moto_makes_the_stacks_and_the_services_show_what_matters() {
    let Some(moto) = Moto::start() else { return };
    let endpoint = format!("http://127.0.0.1:{}", moto.port);
    let directory = root().join("deploy/cloudformation");
    let Some(printed) = script("stacks.py", &[&endpoint, directory.to_str().unwrap()]) else { return };
    let found: Value = serde_json::from_str(&printed).unwrap();

    // What was not created is known: when moto learns it, this test learns it too.
    let Some(templates) = templates() else { return };
    let mut missing = BTreeSet::new();
    for name in TEMPLATES {
        let made = found[format!("logweir-{name}")]["resources"].as_object().unwrap();
        for (resource, told) in templates[name]["Resources"].as_object().unwrap() {
            if !made.contains_key(resource) && resource != "HttpsListener" {
                missing.insert(told["Type"].as_str().unwrap());
            }
        }
    }
    assert_eq!(missing, BTreeSet::from(ONLY_LINTED));

    // The bucket and the way there.
    let encryption = &found["bucket"]["encryption"]["Rules"][0]["ApplyServerSideEncryptionByDefault"];
    assert_eq!(encryption["SSEAlgorithm"], "aws:kms");
    assert_eq!(found["endpoints"][0]["VpcEndpointType"], "Gateway");
    assert_eq!(found["endpoints"][0]["ServiceName"], "com.amazonaws.ap-northeast-2.s3");
    assert_eq!(found["endpoints"][0]["RouteTableIds"].as_array().unwrap().len(), 1);

    // The load balancer and its targets.
    assert_eq!(found["balancer"]["Type"], "application");
    assert_eq!(found["balancer"]["AvailabilityZones"].as_array().unwrap().len(), 2);
    let listeners = found["balancer"]["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 1, "without a certificate HTTP alone");
    assert_eq!((&listeners[0]["Port"], &listeners[0]["Protocol"]), (&json!(80), &json!("HTTP")));
    assert_eq!(listeners[0]["DefaultActions"][0]["TargetGroupArn"], found["target"]["TargetGroupArn"]);
    for (key, value) in [
        ("HealthCheckPath", json!("/readyz")),
        ("HealthCheckIntervalSeconds", json!(5)),
        ("HealthCheckTimeoutSeconds", json!(4)),
        ("HealthyThresholdCount", json!(2)),
        ("UnhealthyThresholdCount", json!(2)),
        ("Port", json!(8080)),
        ("ProtocolVersion", json!("HTTP1")),
        ("Matcher", json!({"HttpCode": "200"})),
    ] {
        assert_eq!(found["target"][key], value, "{key}");
    }
    assert_eq!(found["target"]["targets"].as_array().unwrap().len(), 2);
    let outputs = &found["logweir-fleet"]["outputs"];
    assert!(outputs["Url"].as_str().unwrap().starts_with("http://"));
    // As CloudWatch names them, for the alarms.
    let arn = found["balancer"]["LoadBalancerArn"].as_str().unwrap();
    assert!(arn.ends_with(&format!(":loadbalancer/{}", outputs["LoadBalancerName"].as_str().unwrap())));
    let arn = found["target"]["TargetGroupArn"].as_str().unwrap();
    assert!(arn.ends_with(&format!(":{}", outputs["TargetGroupName"].as_str().unwrap())));

    // The instances.
    let group = &found["group"];
    assert_eq!(group["AutoScalingGroupName"], GROUP);
    assert_eq!(group["HealthCheckType"], "EC2");
    assert_eq!((&group["MinSize"], &group["MaxSize"]), (&json!(2), &json!(20)));
    assert_eq!(group["Instances"].as_array().unwrap().len(), 2);
    assert_eq!(group["TargetGroupARNs"], json!([found["target"]["TargetGroupArn"]]));
    let launched = &found["template"];
    assert_eq!(launched["MetadataOptions"]["HttpTokens"], "required");
    let spool = &launched["BlockDeviceMappings"][1];
    assert_eq!(spool["DeviceName"], "/dev/sdf");
    for (key, value) in [
        ("DeleteOnTermination", json!(false)),
        ("Encrypted", json!(true)),
        ("VolumeType", json!("gp3")),
        ("VolumeSize", json!(100)),
        ("Throughput", json!(250)),
    ] {
        assert_eq!(spool["Ebs"][key], value, "{key}");
    }
    let tagged = launched["TagSpecifications"].as_array().unwrap();
    let volume = tagged.iter().find(|it| it["ResourceType"] == "volume").unwrap();
    assert_eq!(attribute(&volume["Tags"], "logweir:spool"), GROUP);
    let devices = &found["security_groups"][0]["IpPermissions"];
    assert_eq!(devices[0]["FromPort"], 80);
    let instances = &found["security_groups"][1]["IpPermissions"];
    assert_eq!(instances.as_array().unwrap().len(), 1, "nothing but the load balancer gets in: {instances}");
    assert_eq!(instances[0]["UserIdGroupPairs"][0]["GroupId"], found["security_groups"][0]["GroupId"]);
    let schedule = found["schedule"].as_array().unwrap();
    assert_eq!((&schedule[0]["MinSize"], &schedule[0]["TimeZone"]), (&json!(12), &json!("Asia/Seoul")));
    assert_eq!(schedule[1]["MinSize"], 2);

    // Who may do what.
    assert_eq!(
        actions(&found["policies"]["WriterPolicy"], "Allow"),
        ["firehose:PutRecordBatch", "kms:Decrypt", "kms:GenerateDataKey", "s3:AbortMultipartUpload", "s3:GetObject",
         "s3:ListBucket", "s3:PutObject"]
    );
    assert_eq!(
        actions(&found["policies"]["AnalystPolicy"], "Allow"),
        ["kms:Decrypt", "s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"]
    );
    for document in found["policies"].as_object().unwrap().values().chain([&found["copy_role"]["inline"]["read"]]) {
        for statement in document["Statement"].as_array().unwrap() {
            let resource = statement["Resource"].as_str().unwrap();
            assert!(resource != "*" && !resource.ends_with(":*"), "{statement}");
            let objects = statement["Action"].to_string().contains("Object");
            assert!(!objects || resource.contains("/logs/"), "no object outside of the prefix: {statement}");
        }
    }
    for role in ["instance_role", "loader_role"] {
        for statement in found[role]["inline"].as_object().unwrap().values().flat_map(|it| it["Statement"].as_array().unwrap()) {
            // What knows no resource has a condition, or only looks.
            let anything = statement["Resource"] == "*" && statement["Condition"].is_null();
            assert!(!anything || statement["Action"].to_string().replace("ec2:Describe", "") != statement["Action"].to_string(), "{statement}");
        }
    }

    // Who is told, and who looks.
    assert_eq!(found["topic"][0]["Endpoint"], "ops@example.com");
    assert_eq!(found["rule"][0]["ScheduleExpression"], "rate(5 minutes)");
    assert_eq!(found["rule_targets"][0]["Arn"], found["function"][0]["FunctionArn"]);
}

/// The actions of a policy, each once, in order.
fn actions(policy: &Value, effect: &str) -> Vec<String> {
    let statements = policy["Statement"].as_array().unwrap().iter().filter(|it| it["Effect"] == effect);
    let actions = statements.flat_map(|it| match &it["Action"] {
        Value::Array(actions) => actions.clone(),
        action => vec![action.clone()],
    });
    let actions: BTreeSet<String> = actions.map(|it| it.as_str().unwrap().to_owned()).collect();
    actions.into_iter().collect()
}

#[test]
fn user_data_hold_no_secret_and_no_line_that_bash_does_not_read() {
    let Some(templates) = templates() else { return };
    let Some(shellcheck) = tool("shellcheck") else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, role) in [("fleet", "server"), ("loader", "loader")] {
        let data = &templates[name]["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"];
        let text = data["Fn::Base64"]["Fn::Sub"][0].as_str().unwrap();
        // CloudFormation's parameters look like bash's.
        let text = text.replace("${AWS::", "${AWS_");
        let file = dir.path().join(name);
        fs::write(&file, &text).unwrap();
        succeeds(&shellcheck, &["--exclude", "SC2154,SC2016", file.to_str().unwrap()]);
        assert!(text.contains("sha256sum --check --strict") && text.ends_with(&format!("/opt/logweir/install {role}\n")));
        assert!(text.find("sha256sum").unwrap() < text.find("tar -xzf").unwrap());
    }
}

#[test]
fn attributes_of_the_load_balancer_fit_the_server_behind_it() {
    let Some(templates) = templates() else { return };
    let resources = &templates["fleet"]["Resources"];
    let number = |text: &str| text.parse::<u64>().unwrap();
    let balancer = &resources["LoadBalancer"]["Properties"]["LoadBalancerAttributes"];
    let target = &resources["TargetGroup"]["Properties"];
    // config/logweir.toml holds the defaults, which a test of the configuration sees to; the instances' own file repeats them.
    let served: toml::Table = read("deploy/aws/logweir.toml").parse().unwrap();
    let seconds = |section: &str, key: &str| {
        let text = served[section][key].as_str().unwrap();
        humantime::parse_duration(text).unwrap().as_secs()
    };
    let idle = number(attribute(balancer, "idle_timeout.timeout_seconds"));
    assert!(idle < seconds("server", "idle_timeout"), "whoever closes an idle connection is to be the load balancer");
    let check = |key: &str| target[key].as_u64().unwrap();
    let notices = check("UnhealthyThresholdCount") * check("HealthCheckIntervalSeconds") + check("HealthCheckTimeoutSeconds");
    assert!(notices < seconds("drain", "linger"), "an instance that drains is noticed before it stops listening");
    assert!(check("HealthCheckTimeoutSeconds") < check("HealthCheckIntervalSeconds"), "AWS refuses anything else");
    let delay = number(attribute(&target["TargetGroupAttributes"], "deregistration_delay.timeout_seconds"));
    assert!(delay >= idle, "what is under way may end");
    let algorithm = attribute(&target["TargetGroupAttributes"], "load_balancing.algorithm.type");
    assert_eq!(algorithm, "round_robin", "slow start knows no other");
    // The hook waits longer than two heartbeats of the watcher, and the watcher's limit is within what hooks can wait.
    let hook = &resources["Fleet"]["Properties"]["LifecycleHookSpecificationList"][0];
    assert_eq!(hook["LifecycleTransition"], "autoscaling:EC2_INSTANCE_TERMINATING");
    let heartbeat = hook["HeartbeatTimeout"].as_u64().unwrap();
    assert!(heartbeat >= 3 * 100 && read("deploy/aws/logweir-lifecycle").contains("setting(\"HEARTBEAT\", 100)"));
    assert!(templates["fleet"]["Parameters"]["DrainLimit"]["MaxValue"].as_u64().unwrap() < 100 * heartbeat);
    let scaled = &resources["DemandPolicy"]["Properties"]["TargetTrackingConfiguration"]["CustomizedMetricSpecification"];
    assert_eq!((&scaled["Period"], &scaled["Statistic"]), (&json!(10), &json!("Average")));
}

#[test]
fn the_bucket_keeps_what_it_has_and_cleans_up_what_is_nobodys() {
    let Some(templates) = templates() else { return };
    let resources = &templates["storage"]["Resources"];
    assert_eq!(resources["Bucket"]["DeletionPolicy"], "Retain");
    let bucket = &resources["Bucket"]["Properties"];
    let public = bucket["PublicAccessBlockConfiguration"].as_object().unwrap();
    assert!(public.len() == 4 && public.values().all(|it| it == true), "{public:?}");
    let rules = bucket["LifecycleConfiguration"]["Rules"].as_array().unwrap();
    let rule = |id: &str| rules.iter().find(|it| it["Id"] == id).unwrap();
    assert_eq!(rule("rejected")["ExpirationInDays"]["Ref"], "RejectedDays");
    assert_eq!(templates["storage"]["Parameters"]["RejectedDays"]["Default"], 30);
    assert_eq!(rule("incomplete-uploads")["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"], 1);
    let statements = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"].as_array().unwrap();
    let statement = |sid: &str| statements.iter().find(|it| it["Sid"] == sid).unwrap();
    assert_eq!(statement("OnlyTls")["Condition"]["Bool"]["aws:SecureTransport"], false);
    // What is put without a condition by design: the heartbeats, and the loader's manifests.
    let spared = statement("OnlyWhatIsNotThere")["NotResource"].to_string();
    for key in ["_ledger/heartbeats/*", "_ledger/loads/*"] {
        assert!(spared.contains(&format!("${{Prefix}}{key}")), "{spared}");
    }
    // The role that writes reads the prefix of the instances' file.
    let served: toml::Table = read("deploy/aws/logweir.toml").parse().unwrap();
    assert_eq!(served["sinks"][0]["prefix"].as_str(), templates["storage"]["Parameters"]["Prefix"]["Default"].as_str());
}

#[test]
fn metrics_that_are_named_on_aws_are_metrics_of_logweir() {
    let known: BTreeSet<&str> = metrics::ALL.iter().map(|metric| metric.name).chain(OF_THE_FLEET).collect();
    let mut named = 0;
    let files = TEMPLATES.map(template).into_iter().chain(
        ["logweir-lifecycle", "tell-load", "amazon-cloudwatch-agent.json", "adopt-spool", "install"]
            .map(|file| format!("deploy/aws/{file}")),
    );
    for file in files {
        let text = read(&file);
        for word in text.split(|it: char| !it.is_ascii_lowercase() && it != '_').filter(|it| it.starts_with("logweir_")) {
            assert!(known.contains(word), "{file} names {word}");
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
    // Alarms on what the watcher tells look for it by its kind, which the agent adds.
    let watcher = read("deploy/aws/logweir-lifecycle");
    let told = |list: &str| {
        let (_, behind) = watcher.split_once(&format!("\n{list} = (")).unwrap();
        behind.split_once(")\n").unwrap().0.to_owned()
    };
    let Some(templates) = templates() else { return };
    let mut checked = 0;
    let mut check = |metric: &Value| {
        let Some(kind) = metric["Dimensions"].as_array().and_then(|it| it.iter().find(|it| it["Name"] == "metric_type")) else {
            return;
        };
        let list = if kind["Value"] == "gauge" { "GAUGES" } else { "COUNTERS" };
        let name = metric["MetricName"].as_str().unwrap();
        assert!(told(list).contains(&format!("\"{name}\"")), "{name} is told as none of {list}");
        checked += 1;
    };
    for resource in templates["alarms"]["Resources"].as_object().unwrap().values() {
        check(&resource["Properties"]);
        for query in resource["Properties"]["Metrics"].as_array().into_iter().flatten() {
            check(&query["MetricStat"]["Metric"]);
        }
    }
    let policy = &templates["fleet"]["Resources"]["DemandPolicy"]["Properties"]["TargetTrackingConfiguration"];
    check(&policy["CustomizedMetricSpecification"]);
    assert_eq!(checked, 7);
}

#[test]
fn the_agent_passes_on_what_it_is_told_every_ten_seconds() {
    let agent: Value = serde_json::from_str(&read("deploy/aws/amazon-cloudwatch-agent.json")).unwrap();
    let statsd = &agent["metrics"]["metrics_collected"]["statsd"];
    assert_eq!(statsd["metrics_collection_interval"], 10);
    // 0 is what makes them metrics of high resolution: with anything else the agent gathers them.
    assert_eq!(statsd["metrics_aggregation_interval"], 0);
    // By default a minute.
    assert!(agent["metrics"]["force_flush_interval"].as_u64().unwrap() < 10);
    // Or each instance would be a metric of its own, and the group's average none.
    assert_eq!(agent["agent"]["omit_hostname"], true);
    assert!(agent["metrics"]["append_dimensions"].is_null());
    let watcher = read("deploy/aws/logweir-lifecycle");
    assert!(watcher.contains(&format!("setting(\"STATSD\", {})", statsd["service_address"])));
    assert_eq!(agent["metrics"]["namespace"], "logweir");
}

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
        if name.ends_with(".service") || name.ends_with(".timer") {
            let text = fs::read_to_string(&path).unwrap();
            // What they execute is not installed here.
            let text: String = text.lines().map(|line| match line.split_once("ExecStart=/") {
                Some(("", _)) => "ExecStart=/bin/true\n".to_owned(),
                _ => format!("{line}\n"),
            }).collect();
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
    for unit in ["logweir.service", "logweir.socket", "logweir-lifecycle.service", "adopt-spool.timer", "logweir-load.timer"] {
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
    for line in read("deploy/cloudformation/fleet.yaml").lines().map(str::trim).filter(|it| it.starts_with("LOGWEIR__")) {
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
    let mut command = with_stand_ins(dir.path(), &[("blkid", "exit 2"), ("mkfs.xfs", ""), ("mount", "")], "mount-spool");
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
        let reloaded = fs::read_to_string(dir.path().join("calls")).unwrap().contains("systemctl reload logweir.service");
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
    let left = fs::read_dir(dir.path()).unwrap().filter(|it| it.as_ref().unwrap().path().to_str().unwrap().contains("keys.toml."));
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
        assert!(calls.contains("--metric-name logweir_load_rounds_total") && calls.contains("Loader=loader,"), "{calls}");
    }
}

#[test]
fn volumes_that_nobody_has_are_found_and_counted() {
    let Some(moto) = Moto::start() else { return };
    let endpoint = format!("http://127.0.0.1:{}", moto.port);
    let alarms = root().join(template("alarms"));
    let Some(printed) = script("orphans.py", &[&endpoint, alarms.to_str().unwrap()]) else { return };
    let found: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(found[1], json!([found[0]]));
    assert_eq!(found[2], json!([1.0]));
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
        "ec2", "create-volume", "--availability-zone", &instance.zone, "--size", "1", "--query", "VolumeId",
        "--tag-specifications", &format!("ResourceType=volume,Tags=[{{Key=logweir:spool,Value={GROUP}}}]"),
    ]);
    let disk = other.path().join(format!("nvme-Amazon_Elastic_Block_Store_{}", volume.replace('-', "")));
    fs::write(&disk, "").unwrap();
    let files = format!("{}.files", disk.display());
    fs::create_dir(&files).unwrap();
    fs::rename(instance.dir.path().join("spool"), Path::new(&files).join("spool")).unwrap();
    assert!(instance.objects().is_empty());

    let mut adopt = instance.command(root().join("deploy/aws/adopt-spool"));
    adopt
        .env("LOGWEIR_DISKS", other.path())
        .env("LOGWEIR_ADOPT_ROOT", instance.dir.path().join("adopted"));
    // A volume that has just been made may be on its way to its instance.
    assert_eq!(said(&mut adopt), "");
    adopt.env("LOGWEIR_ADOPT_AGE", "-1 minutes");

    // While the sink is away, nothing is lost, and the volume is let go for another time.
    fs::create_dir_all(instance.dir.path().join("objects")).unwrap();
    fs::write(instance.dir.path().join("objects/heard"), "").unwrap();
    let output = adopt.env("LOGWEIR_ADOPT_LIMIT", "3").output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    let state = |instance: &Instance| instance.aws(&["ec2", "describe-volumes", "--volume-ids", &volume, "--query", "Volumes[0].State"]);
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
fn who_writes_may_do_what_the_sink_does_and_who_reads_may_not() {
    let Some(moto) = Moto::start() else { return };
    let endpoint = format!("http://127.0.0.1:{}", moto.port);
    let storage = root().join(template("storage"));
    let Some(printed) = script("policies.py", &[&endpoint, storage.to_str().unwrap()]) else { return };
    let found: Value = serde_json::from_str(&printed).unwrap();
    let Some(mut instance) = Instance::launch() else { return };
    let bucket = found["bucket"].as_str().unwrap();
    let sink = format!(
        "kind = 's3'\nprefix = 'logs/'\nbucket = '{bucket}'\nregion = 'ap-northeast-2'\npath_style = true\nendpoint = '{endpoint}'"
    );
    let service = instance.serve(&sink);
    service.take();
    instance.kill();
    let dir = instance.dir.path().to_owned();
    let as_user = |user: &str, arguments: &[&str]| {
        let mut command = instance.command(logweir());
        let key = |at: usize| found[user][at].as_str().unwrap();
        command.env("AWS_ACCESS_KEY_ID", key(0)).env("AWS_SECRET_ACCESS_KEY", key(1)).env_remove("AWS_ENDPOINT_URL");
        command.args(arguments).arg("--config").arg(dir.join("logweir.toml"));
        command
    };
    // A copy of the spool, so that another one can store the same.
    succeeds(Path::new("cp"), &["-r", dir.join("spool").to_str().unwrap(), dir.join("copy").to_str().unwrap()]);
    let (spool, copy) = (dir.join("spool"), dir.join("copy"));
    let (spool, copy) = (spool.to_str().unwrap(), copy.to_str().unwrap());

    // An analyst cannot write.
    let log = dir.join("denied");
    let mut analyst = as_user("Analyst", &["replay", "--spool", spool]);
    let mut analyst = analyst.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    until("the analyst is denied", || fs::read_to_string(&log).unwrap().contains("AccessDenied"));
    analyst.kill().unwrap();
    analyst.wait().unwrap();

    // The writer can, also where the object is there already and is compared (412, then HEAD).
    said(&mut as_user("Writer", &["replay", "--spool", spool]));
    said(&mut as_user("Writer", &["replay", "--spool", copy]));
    // Who reads finds it, and it is in the books once.
    for user in ["Analyst", "Loader"] {
        let today = jiff::Timestamp::now().to_string()[..10].to_owned();
        let tomorrow = (jiff::Timestamp::now() + std::time::Duration::from_hours(24)).to_string()[..10].to_owned();
        let audit = said(&mut as_user(user, &["audit", "--from", &today, "--to", &tomorrow]));
        assert!(audit.contains("0 differences") || audit.contains("no difference"), "{audit}");
    }
}

#[test]
fn the_stand_ins_of_these_tests_are_found_before_the_real_ones() {
    let dir = tempfile::tempdir().unwrap();
    symlink(root().join("tests/deploy/aws/instance.sh"), dir.path().join("mkfs.xfs")).unwrap();
    let mut command = Command::new(dir.path().join("mkfs.xfs"));
    assert!(command.arg("/dev/nothing").env("PLAY", dir.path()).status().unwrap().success());
    assert_eq!(fs::read_to_string(dir.path().join("calls")).unwrap(), "mkfs.xfs /dev/nothing\n");
}
