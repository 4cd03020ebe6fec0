//! The Kubernetes manifests: held to the API's schemas, and to each other. No cluster runs here.

use std::{collections::BTreeSet, fs, time::Duration};

use logweir::metrics;
use serde_json::Value;

use crate::{
    checked::Checked,
    tools::{read, root, run, tool},
    yaml::{document, documents, texts},
};

const DIR: &str = "deploy/kubernetes";
/// Files of other kinds than Kubernetes' own, which its schemas do not know.
const OTHERS: [&str; 4] = ["kustomization.yaml", "monitoring.yaml", "prometheus-adapter.yaml", "rules.yaml"];
/// Files that are for whoever needs them, and not applied with the others.
const BESIDE: [&str; 5] =
    ["monitoring.yaml", "prometheus-adapter.yaml", "replay.yaml", "rules.yaml", "secret-example.yaml"];
/// What belongs to no namespace.
const OF_THE_CLUSTER: [&str; 1] = ["StorageClass"];
/// What statefulset.yaml takes from the example of a Secret.
const TOKEN: (&str, &str) = ("ADMIN__TOKEN", "an-example-token-of-the-admin-port");

fn files() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(DIR)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn manifest(name: &str) -> Option<Value> {
    document(&format!("{DIR}/{name}"))
}

/// The one pod of the `StatefulSet`, or of the Job.
fn pod(manifest: &Value) -> &Value {
    &manifest["spec"]["template"]["spec"]
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs(value.as_u64().unwrap())
}

/// A quantity of memory or storage, in bytes.
fn bytes(value: &Value) -> u64 {
    let gibibytes: u64 = value.as_str().unwrap().strip_suffix("Gi").unwrap().parse().unwrap();
    gibibytes << 30
}

/// The configuration of the `ConfigMap`, checked with the keys of the Secret as the pod finds them.
fn checked() -> Option<Checked> {
    let (configuration, secret) = (manifest("configmap.yaml")?, manifest("secret-example.yaml")?);
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.toml");
    fs::write(&keys, secret["stringData"]["keys.toml"].as_str().unwrap()).unwrap();
    let text = configuration["data"]["logweir.toml"].as_str().unwrap();
    let mounted = "/etc/logweir/keys/keys.toml";
    assert!(text.contains(mounted));
    let file = dir.path().join("logweir.toml");
    fs::write(&file, text.replace(mounted, keys.to_str().unwrap())).unwrap();
    assert_eq!(secret["stringData"]["admin-token"], TOKEN.1);
    Some(Checked::of(&file, &[TOKEN]))
}

#[test]
fn every_manifest_is_what_the_api_takes_and_has_nothing_that_it_does_not_know() {
    let Some(validate) = tool("kubernetes-validate") else { return };
    for name in files().iter().filter(|name| !OTHERS.contains(&name.as_str())) {
        let output = run(&validate, &["--strict", &format!("{DIR}/{name}")]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains(" passed ") && !said.contains("WARN"), "{said}");
    }
}

#[test]
fn the_kustomization_has_every_file_or_says_why_not() {
    let Some(kustomization) = manifest("kustomization.yaml") else { return };
    let mut named: BTreeSet<String> = texts(&kustomization["resources"]).into_iter().map(ToOwned::to_owned).collect();
    let text = read("deploy/kubernetes/kustomization.yaml");
    for name in BESIDE {
        assert!(text.contains(&format!("#   {name} ")), "nothing of {name}");
        assert!(named.insert(name.to_owned()), "{name} is applied");
    }
    named.insert("kustomization.yaml".to_owned());
    assert_eq!(named, files());
    // Everything stands in the one namespace.
    for name in
        files().iter().filter(|name| !["kustomization.yaml", "prometheus-adapter.yaml"].contains(&name.as_str()))
    {
        for document in documents(&format!("{DIR}/{name}")).unwrap() {
            let metadata = &document["metadata"];
            if OF_THE_CLUSTER.contains(&document["kind"].as_str().unwrap()) {
                assert!(metadata["namespace"].is_null(), "{name}");
                continue;
            }
            let of = if document["kind"] == "Namespace" { &metadata["name"] } else { &metadata["namespace"] };
            assert_eq!(of, "logweir", "{name}");
        }
    }
}

/// The secret stands in the namespace, and the pods do not start without it.
#[test]
fn what_is_told_to_apply_is_told_in_an_order_that_works() {
    let text = read("deploy/kubernetes/kustomization.yaml");
    let at = |command: &str| text.find(command).unwrap_or_else(|| panic!("no {command}"));
    let (namespace, secret) =
        ("kubectl apply --filename deploy/kubernetes/namespace.yaml", "--filename my-secret.yaml");
    assert!(at(namespace) < at(secret) && at(secret) < at("kubectl apply --kustomize deploy/kubernetes"));
    let text = read("deploy/kubernetes/secret-example.yaml");
    assert!(text.find(namespace).unwrap() < text.find(secret).unwrap());
}

#[test]
fn the_spools_have_a_class_that_is_shipped_and_encrypted_and_outlives_its_claim() {
    let (Some(set), Some(class)) = (manifest("statefulset.yaml"), manifest("storageclass.yaml")) else { return };
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["storageClassName"], class["metadata"]["name"]);
    assert_eq!(class["parameters"], serde_json::json!({"type": "gp3", "encrypted": "true"}));
    assert_eq!((&class["provisioner"], &class["reclaimPolicy"]), (&"ebs.csi.aws.com".into(), &"Retain".into()));
    assert_eq!(class["volumeBindingMode"], "WaitForFirstConsumer");
}

/// The operator calls a job as the label says that `jobLabel` names, of the Service.
#[test]
fn the_alerts_know_the_job_as_the_operator_calls_it() {
    let (Some(monitor), Some(services)) = (manifest("monitoring.yaml"), documents("deploy/kubernetes/services.yaml"))
    else {
        return;
    };
    let job = &services[1]["metadata"]["labels"][monitor["spec"]["jobLabel"].as_str().unwrap()];
    let rules = read("deploy/prometheus/alerts.yaml");
    let asked: BTreeSet<&str> = rules.split("{job=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), [job.as_str().unwrap()]);
}

/// To write it anew: `LOGWEIR_UPDATE_GOLDEN=1 cargo nextest run --test deploy rules`.
#[test]
#[expect(clippy::disallowed_methods, reason = "where tests run is no setting of the server")]
fn the_rules_for_the_operator_are_the_alerts() {
    const HEAD: &str = "\
# deploy/prometheus/alerts.yaml for the Prometheus operator, written by tests/deploy/kubernetes.rs. Change them there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: logweir
  namespace: logweir
spec:
";
    let alerts = read("deploy/prometheus/alerts.yaml");
    let groups = &alerts[alerts.find("\ngroups:\n").unwrap() + 1..];
    let lines = groups.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
    let wanted = HEAD.to_owned() + &lines.collect::<String>();
    if std::env::var_os("LOGWEIR_UPDATE_GOLDEN").is_some() {
        fs::write(root().join(DIR).join("rules.yaml"), &wanted).unwrap();
    }
    assert!(read("deploy/kubernetes/rules.yaml") == wanted, "LOGWEIR_UPDATE_GOLDEN=1 writes it anew");
    let Some(rules) = manifest("rules.yaml") else { return };
    assert_eq!(rules["spec"], document("deploy/prometheus/alerts.yaml").unwrap());
}

#[test]
fn a_pod_has_the_time_that_its_drain_takes_and_the_linger_covers_the_probes() {
    let (Some(set), Some(checked)) = (manifest("statefulset.yaml"), checked()) else { return };
    let pod = pod(&set);
    assert!(seconds(&pod["terminationGracePeriodSeconds"]) >= checked.drain() + Duration::from_secs(10));
    let container = &pod["containers"][0];
    assert!(container["lifecycle"].is_null(), "a preStop would be on top of it");
    let probe = &container["readinessProbe"];
    let failures = u32::try_from(probe["failureThreshold"].as_u64().unwrap()).unwrap();
    let noticed = seconds(&probe["periodSeconds"]) * failures + seconds(&probe["timeoutSeconds"]);
    assert!(checked.duration("drain", "linger") > noticed, "{noticed:?}");
}

#[test]
fn probes_and_services_name_ports_that_the_configuration_opens() {
    let (Some(set), Some(checked)) = (manifest("statefulset.yaml"), checked()) else { return };
    let container = &pod(&set)["containers"][0];
    for (name, section) in [("public", "server"), ("admin", "admin")] {
        let port = container["ports"].as_array().unwrap().iter().find(|port| port["name"] == name).unwrap();
        assert_eq!(checked.value(section, "listen"), format!("0.0.0.0:{}", port["containerPort"]));
    }
    // Liveness never depends on saturation: it is not asked on the port that a flood fills.
    for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        let get = &container[probe]["httpGet"];
        assert_eq!((&get["path"], &get["port"]), (&path.into(), &"admin".into()), "{probe}");
    }
    let services = documents("deploy/kubernetes/services.yaml").unwrap();
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    for service in &services {
        assert_eq!(&service["spec"]["selector"], labels);
        assert!(["public", "admin"].contains(&service["spec"]["ports"][0]["targetPort"].as_str().unwrap()));
    }
    assert_eq!(services[1]["metadata"]["name"], set["spec"]["serviceName"]);
    assert_eq!(services[1]["spec"]["clusterIP"], "None");
    let monitor = manifest("monitoring.yaml").unwrap();
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], services[1]["metadata"]["labels"]);
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], services[1]["spec"]["ports"][0]["name"]);
    for selecting in [&set, &manifest("disruption.yaml").unwrap()] {
        assert_eq!(&selecting["spec"]["selector"]["matchLabels"], labels);
    }
}

#[test]
fn memory_cores_and_the_volume_fit_the_configuration() {
    let (Some(set), Some(checked)) = (manifest("statefulset.yaml"), checked()) else { return };
    let container = &pod(&set)["containers"][0];
    let resources = &container["resources"];
    assert!(bytes(&resources["limits"]["memory"]) >= checked.ceiling() / 4 * 5, "{}", checked.ceiling());
    assert_eq!(resources["limits"]["memory"], resources["requests"]["memory"]);
    assert!(resources["limits"]["cpu"].is_null());
    assert_eq!(resources["requests"]["cpu"], checked.value("server", "workers"));
    let claim = &set["spec"]["volumeClaimTemplates"][0];
    assert!(bytes(&claim["spec"]["resources"]["requests"]["storage"]) / 20 * 19 >= checked.size("spool", "disk_quota"));
    let mount = |name: &str| {
        let mounts = container["volumeMounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["name"] == name).unwrap()["mountPath"].as_str().unwrap().to_owned()
    };
    assert!(checked.value("spool", "dir").starts_with(&mount(claim["metadata"]["name"].as_str().unwrap())));
    assert_eq!(texts(&container["args"])[2], format!("{}/logweir.toml", mount("config")));
    // What is not stored outlives all of it.
    let kept = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
    assert_eq!((&kept["whenDeleted"], &kept["whenScaled"]), (&"Retain".into(), &"Retain".into()));
}

#[test]
fn the_autoscaler_follows_a_metric_that_exists_and_quotas_know_its_limit() {
    let (Some(scaler), Some(checked)) = (manifest("autoscaler.yaml"), checked()) else { return };
    let spec = &scaler["spec"];
    let name = spec["metrics"][0]["pods"]["metric"]["name"].as_str().unwrap();
    assert!(metrics::ALL.iter().any(|metric| metric.name == name), "{name}");
    assert_eq!(spec["maxReplicas"].to_string(), checked.value("fleet", "instances"));
    let set = manifest("statefulset.yaml").unwrap();
    assert_eq!(
        (&spec["scaleTargetRef"]["kind"], &spec["scaleTargetRef"]["name"]),
        (&set["kind"], &set["metadata"]["name"])
    );
    assert!(set["spec"]["replicas"].is_null(), "each apply would set back what the autoscaler said");
    let adapter = manifest("prometheus-adapter.yaml").unwrap();
    let query = adapter["rules"]["custom"][0]["seriesQuery"].as_str().unwrap();
    assert!(query.starts_with(&format!("{name}{{")), "{query}");
}

#[test]
fn pods_may_do_nothing_that_the_strictest_profile_forbids() {
    let (Some(set), Some(job)) = (manifest("statefulset.yaml"), manifest("replay.yaml")) else { return };
    for manifest in [&set, &job] {
        let (pod, container) = (pod(manifest), &pod(manifest)["containers"][0]);
        let (ours, its) = (&pod["securityContext"], &container["securityContext"]);
        assert_eq!(ours["runAsNonRoot"], true);
        assert_eq!(ours["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(its["allowPrivilegeEscalation"], false);
        assert_eq!(its["readOnlyRootFilesystem"], true);
        assert_eq!(texts(&its["capabilities"]["drop"]), ["ALL"]);
        assert_eq!(pod["automountServiceAccountToken"], false);
        // As whom the image runs, to whom the volume belongs.
        let user = format!("\nUSER {}:{}\n", ours["runAsUser"], ours["fsGroup"]);
        assert!(read("deploy/docker/Dockerfile").contains(&user), "{user}");
    }
    // What is replayed is found where it was written, with the same configuration.
    let same = |part: &str| (pod(&set)["containers"][0][part].clone(), pod(&job)["containers"][0][part].clone());
    for part in ["env", "volumeMounts", "securityContext"] {
        let (served, replayed) = same(part);
        assert_eq!(served, replayed, "{part}");
    }
    let claim = pod(&job)["volumes"][0]["persistentVolumeClaim"]["claimName"].as_str().unwrap();
    let template = &set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"];
    assert!(claim.starts_with(&format!(
        "{}-{}-",
        template.as_str().unwrap(),
        set["metadata"]["name"].as_str().unwrap()
    )));
}

#[test]
fn the_namespace_in_which_the_keys_are_is_locked_up() {
    let Some(namespace) = manifest("namespace.yaml") else { return };
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
}
