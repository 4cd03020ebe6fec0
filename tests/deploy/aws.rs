//! The `CloudFormation` templates. What runs on an instance is tried in `programs`, and its watcher in `lifecycle`.
//!
//! cfn-lint reads every template with all of its rules, and none is left out. moto then creates them for real, and the
//! services' own APIs are asked what is there. What moto's `CloudFormation` does not create, or not with these attributes,
//! is held to the linter and to what the templates say: the load balancer's and the target group's attributes, the lifecycle
//! hook, the bucket's policy, lifecycle and public access, managed policies of roles, and the types in [`ONLY_LINTED`].
//! Neither looks at the conditions of permissions.

#[path = "aws/programs.rs"]
mod programs;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command},
};

use logweir::metrics;
use serde_json::{Value, json};

use crate::{
    instance::{GROUP, Instance, PATIENCE, said, script, until},
    moto_server::Moto,
    tools::{logweir, read, root, succeeds, tool},
};

const TEMPLATES: [&str; 4] = ["storage", "fleet", "loader", "alarms"];
/// Types that moto 5.2.5 does not create from a template.
const ONLY_LINTED: [&str; 4] = [
    "AWS::AutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Alarm",
    "AWS::KinesisFirehose::DeliveryStream",
    "AWS::S3::BucketPolicy",
];
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
    // Information too, and no rule is left out.
    let [one, two, three, four] = TEMPLATES.map(template);
    succeeds(&lint, &["--include-checks", "I", "--", &one, &two, &three, &four]);
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
    assert_eq!(instances.as_array().unwrap().len(), 2, "nothing but the load balancer and Prometheus: {instances}");
    let (balancer, prometheus) = (&instances[0], &instances[1]);
    assert_eq!((&balancer["FromPort"], &prometheus["FromPort"]), (&json!(8080), &json!(9090)));
    assert_eq!(balancer["UserIdGroupPairs"][0]["GroupId"], found["security_groups"][0]["GroupId"]);
    assert_ne!(prometheus["UserIdGroupPairs"][0]["GroupId"], found["security_groups"][0]["GroupId"]);
    let data = launched["UserData"].as_str().unwrap();
    assert!(
        data.contains("\nLOGWEIR__ADMIN__LISTEN=0.0.0.0:9090\n") && data.contains(":secret:logweir/token-"),
        "{data}"
    );
    assert!(data.contains("\nLOGWEIR_SETTINGS_URL=s3://example-artifacts/logweir.toml\n"), "{data}");
    let schedule = found["schedule"].as_array().unwrap();
    assert_eq!((&schedule[0]["MinSize"], &schedule[0]["TimeZone"]), (&json!(12), &json!("Asia/Seoul")));
    assert_eq!(schedule[1]["MinSize"], 2);

    // Who may do what.
    assert_eq!(
        actions(&found["policies"]["WriterPolicy"], "Allow"),
        [
            "firehose:PutRecordBatch",
            "kms:Decrypt",
            "kms:GenerateDataKey",
            "s3:AbortMultipartUpload",
            "s3:GetObject",
            "s3:ListBucket",
            "s3:PutObject"
        ]
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
        for statement in
            found[role]["inline"].as_object().unwrap().values().flat_map(|it| it["Statement"].as_array().unwrap())
        {
            // What knows no resource has a condition, only looks, or is Session Manager's; parameters are nobody's business.
            let anything = statement["Resource"] == "*" && statement["Condition"].is_null();
            let action = statement["Action"].to_string();
            let known = action.contains("ec2:Describe") || action.contains("ssmmessages:OpenDataChannel");
            assert!(!anything || known, "{statement}");
            assert!(!action.contains("Parameter") && !action.contains('*'), "{statement}");
            // What is done to instances is done to the one that asks.
            if statement["Resource"].to_string().contains(":instance/") {
                assert_eq!(
                    statement["Condition"]["StringEquals"]["aws:ARN"], "${ec2:SourceInstanceARN}",
                    "{statement}"
                );
            }
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
fn the_commands_of_the_manual_give_what_the_templates_ask_for() {
    let Some(templates) = templates() else { return };
    let manual = read("deploy/cloudformation/README.md").replace("\\\n", " ");
    let mut deployed = BTreeSet::new();
    for command in manual.lines().filter_map(|line| line.strip_prefix("deploy ")) {
        let mut words = command.split_whitespace();
        let name = words.next().unwrap();
        let given: BTreeSet<&str> = words.filter_map(|word| word.split_once('=')).map(|(name, _)| name).collect();
        let given: BTreeSet<&str> =
            given.into_iter().filter(|it| it.starts_with(|first: char| first.is_ascii_uppercase())).collect();
        let parameters = templates[name]["Parameters"].as_object().unwrap();
        for parameter in &given {
            assert!(parameters.contains_key(*parameter), "{name} has no {parameter}");
        }
        for (parameter, told) in parameters {
            assert!(!told["Default"].is_null() || given.contains(parameter.as_str()), "{name} wants {parameter}");
        }
        deployed.insert(name.to_owned());
    }
    assert_eq!(deployed, TEMPLATES.map(str::to_owned).into());
    // What it names in backticks as a parameter or an alarm exists.
    for word in [
        "AdminTokenSecretArn",
        "AdvertDown",
        "AdvertMinSize",
        "AdvertUp",
        "CertificateArn",
        "DrainLimit",
        "PrometheusSecurityGroup",
        "ReservedLcus",
        "SettingsUrl",
    ] {
        assert!(manual.contains(&format!("`{word}`")), "{word}");
        assert!(!templates["fleet"]["Parameters"][word].is_null(), "{word}");
    }
    for alarm in ["SpoolNotEmptied", "OrphanedSpools"] {
        assert!(
            manual.contains(&format!("`{alarm}`")) && !templates["alarms"]["Resources"][alarm].is_null(),
            "{alarm}"
        );
    }
}

#[test]
fn prometheus_looks_for_the_instances_of_the_fleet_where_they_listen() {
    let Some(templates) = templates() else { return };
    let resources = &templates["fleet"]["Resources"];
    let python = tool("python3").unwrap();
    let convert = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let prometheus = succeeds(&python, &["-c", convert, "deploy/prometheus/prometheus.yaml"]);
    let prometheus: Value = serde_json::from_str(&prometheus).unwrap();
    let discovery = &prometheus["scrape_configs"][0]["ec2_sd_configs"][0];
    // The stack's name by the manual's commands, and a tag that instances bear.
    let filter = &discovery["filters"][0];
    assert_eq!(filter["values"], json!([GROUP]));
    let key = filter["name"].as_str().unwrap().strip_prefix("tag:").unwrap();
    let tags = &resources["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["TagSpecifications"];
    let instance = tags.as_array().unwrap().iter().find(|it| it["ResourceType"] == "instance").unwrap();
    let tag = instance["Tags"].as_array().unwrap().iter().find(|it| it["Key"] == key).unwrap();
    assert_eq!(tag["Value"], json!({"Ref": "AWS::StackName"}));
    assert!(read("deploy/cloudformation/README.md").contains("--stack-name logweir-$1") && GROUP == "logweir-fleet");
    // The port is open to it, and what it reads asks for the token that it sends.
    let ingress = &resources["PrometheusIngress"]["Properties"];
    assert_eq!((&ingress["FromPort"], &ingress["ToPort"]), (&discovery["port"], &discovery["port"]));
    assert_eq!(ingress["SourceSecurityGroupId"]["Ref"], "PrometheusSecurityGroup");
    assert_eq!(prometheus["scrape_configs"][0]["authorization"]["type"], "Bearer");
    let rule = templates["fleet"]["Rules"]["PrometheusSendsToken"].to_string();
    assert!(rule.contains("AdminTokenSecretArn") && rule.contains("PrometheusSecurityGroup"), "{rule}");
    // Only those who read it, and who are read by it, are named.
    let listen =
        &resources["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"][1];
    assert_eq!(listen["AdminListen"]["Fn::If"], json!(["HasPrometheus", "0.0.0.0:9090", "127.0.0.1:9090"]));
}

#[test]
fn private_subnets_are_told_every_service_that_is_called_there() {
    let Some(templates) = templates() else { return };
    let of = |template: &str, parameter: &str| {
        templates[template]["Parameters"][parameter]["Description"].as_str().unwrap().to_owned()
    };
    let (fleet, loader) = (of("fleet", "InstanceSubnets"), of("loader", "Subnets"));
    let mut called = BTreeSet::from(["cloudformation", "ssm", "ssmmessages"].map(str::to_owned));
    for file in ["adopt-spool", "fetch-keys", "fetch-settings", "fetch-token", "tell-load"] {
        let text = read(&format!("deploy/aws/{file}"));
        let calls =
            text.split("aws ").skip(1).filter_map(|it| it.split_once(' ')).map(|(service, _)| service.to_owned());
        called.extend(calls.filter(|it| ["ec2", "s3", "secretsmanager", "cloudwatch"].contains(&it.as_str())));
    }
    let watcher = read("deploy/aws/logweir-lifecycle");
    called.extend(watcher.split(" aws(\"").skip(1).map(|it| it.split_once('"').unwrap().0.to_owned()));
    assert!(called.contains("autoscaling") && called.contains("ec2"), "{called:?}");
    for service in called {
        let endpoint = if service == "cloudwatch" { "monitoring" } else { &service };
        let named = |it: &str| it.to_ascii_lowercase().split(|of: char| !of.is_alphanumeric()).any(|it| it == endpoint);
        assert!(named(&fleet), "{endpoint}: {fleet}");
        assert!(["autoscaling", "ec2"].contains(&endpoint) || named(&loader), "{endpoint}: {loader}");
    }
    assert!(fleet.contains("kinesis-firehose") && loader.contains("redshift-data"));
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
        assert!(
            text.contains("sha256sum --check --strict") && text.ends_with(&format!("/opt/logweir/install {role}\n"))
        );
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
    let notices =
        check("UnhealthyThresholdCount") * check("HealthCheckIntervalSeconds") + check("HealthCheckTimeoutSeconds");
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
    // From InService on, which is the boot, until it serves.
    assert_eq!(resources["Fleet"]["Properties"]["DefaultInstanceWarmup"], 180);
    assert_eq!(resources["DemandPolicy"]["Properties"]["EstimatedInstanceWarmup"], 180);
    let scaled =
        &resources["DemandPolicy"]["Properties"]["TargetTrackingConfiguration"]["CustomizedMetricSpecification"];
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
        for word in text.split(|it: char| !it.is_ascii_lowercase() && it != '_').filter(|it| it.starts_with("logweir_"))
        {
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
        let Some(kind) =
            metric["Dimensions"].as_array().and_then(|it| it.iter().find(|it| it["Name"] == "metric_type"))
        else {
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
fn volumes_that_nobody_has_are_found_and_counted() {
    let Some(moto) = Moto::start() else { return };
    let endpoint = format!("http://127.0.0.1:{}", moto.port);
    let alarms = root().join(template("alarms"));
    let Some(printed) = script("orphans.py", &[&endpoint, alarms.to_str().unwrap()]) else { return };
    let found: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(found[1], json!([found[0]]));
    assert_eq!(found[2], json!([1.0]));
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // `timeout` passes on the signal that it gets, and SIGKILL cannot be passed on.
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let _ = self.0.wait();
        }
    }
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
        // What is not permitted would be tried for ever.
        let mut command = instance.command("timeout");
        command.arg(PATIENCE.as_secs().to_string()).arg(logweir());
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
    let mut analyst = Killed(analyst.stderr(fs::File::create(&log).unwrap()).spawn().unwrap());
    until("the analyst is denied", || fs::read_to_string(&log).unwrap().contains("AccessDenied"));
    succeeds(Path::new("kill"), &[&analyst.0.id().to_string()]);
    assert_eq!(analyst.0.wait().unwrap().code(), Some(75), "what is not stored is kept");

    // The writer can, also where the object is there already and is compared (412, then HEAD).
    said(&mut as_user("Writer", &["replay", "--spool", spool]));
    said(&mut as_user("Writer", &["replay", "--spool", copy]));
    // Who reads finds it, and it is in the books once.
    for user in ["Analyst", "Loader"] {
        let today = jiff::Timestamp::now().to_string()[..10].to_owned();
        let tomorrow = (jiff::Timestamp::now() + std::time::Duration::from_hours(24)).to_string()[..10].to_owned();
        let audit = said(&mut as_user(user, &["audit", "--from", &today, "--to", &tomorrow]));
        assert!(audit.contains("every instance that was heard of has ended and stored everything"), "{audit}");
    }
}
