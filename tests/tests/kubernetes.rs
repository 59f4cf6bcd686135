//! What `packaging/kubernetes` has is well formed, and agrees with the commands' flags, the documented ports, the image
//! and itself. That a cluster takes it is not tested.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use sctptrace_manual::{Page, pages};
use sctptrace_tests::command;
use sctptrace_tests::kubernetes::{containers, daemon_set, documents, folder};
use sctptrace_tests::programs::TOOLS;
use serde_json::{Value, json};

/// Files that are not for the API server.
const OTHERS: [&str; 4] =
    ["kustomization.yaml", "prometheus.yml", "sctp.pods.rules.yml", "sctp.pods.test.yml"];

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}")).iter().map(text).collect()
}

/// The port that docs/metrics.md names for a command.
fn documented_port(name: &str) -> u16 {
    let page = file("docs/metrics.md").replace('\n', " ");
    let rest = page.split_once(&format!("`{name}@NAME` ")).expect(name).1;
    rest.trim_start_matches("has port ")
        .chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap()
}

fn page_of(name: &str) -> Page {
    pages().into_iter().find(|page| page.name() == name).expect(name)
}

#[test]
fn kustomize_has_every_manifest_and_each_has_a_name() {
    let [kustomization] = documents("kustomization.yaml").unwrap().try_into().unwrap();
    let listed: BTreeSet<_> = texts(&kustomization["resources"]).into_iter().map(str::to_owned).collect();
    let files =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let manifests: BTreeSet<_> = files.filter(|name| !OTHERS.contains(&name.as_str())).collect();
    assert_eq!(listed, manifests);
    let mut kinds = BTreeSet::new();
    for name in &manifests {
        for document in documents(name).unwrap() {
            let kind = text(&document["kind"]);
            let version = match kind {
                "DaemonSet" => "apps/v1",
                "NetworkPolicy" => "networking.k8s.io/v1",
                _ => "v1",
            };
            assert_eq!(document["apiVersion"], version, "{name}");
            assert_eq!(document["metadata"]["name"], "sctptrace", "{name}");
            assert_eq!(document["metadata"]["labels"]["app.kubernetes.io/name"], "sctptrace", "{name}");
            let namespace = &document["metadata"]["namespace"];
            let expected = if kind == "Namespace" { Value::Null } else { kustomization["namespace"].clone() };
            assert_eq!(*namespace, expected, "{name}");
            kinds.insert(kind.to_owned());
        }
    }
    let expected = ["DaemonSet", "Namespace", "NetworkPolicy", "ServiceAccount"];
    assert_eq!(kinds, expected.map(str::to_owned).into());
}

#[test]
fn each_command_has_a_container_whose_flags_and_ports_are_right() {
    let containers = containers().unwrap();
    let names: BTreeSet<_> = containers.iter().map(|container| text(&container["name"]).to_owned()).collect();
    assert_eq!(names, TOOLS.map(|tool| format!("sctp-{tool}")).into());
    // xtask names the image, with the workspace's version.
    let image = file("xtask/src/dist/image.rs");
    let image =
        image.split_once("const NAME: &str = \"").and_then(|(_, rest)| rest.split_once('"')).unwrap().0;
    for container in &containers {
        let name = text(&container["name"]);
        let port = documented_port(name);
        assert_eq!(text(&container["image"]), format!("{image}:{}", env!("CARGO_PKG_VERSION")));
        assert_eq!(texts(&container["command"]), [format!("/usr/bin/{name}")]);
        let args = [vec![name], texts(&container["args"])].concat();
        let page = page_of(name);
        let flags =
            page.command().clone().try_get_matches_from(args).unwrap_or_else(|error| panic!("{error}"));
        let listen: SocketAddr = *flags.get_one("listen").expect("it serves metrics");
        assert!(listen.ip().is_unspecified() && listen.is_ipv6(), "{name}: families of addresses");
        assert_eq!(listen.port(), port, "{name}");
        assert!(flags.get_flag("wait"), "{name}");
        assert_eq!(container["ports"], json!([{ "name": name, "containerPort": port }]));
        // A port's name has at most 15 characters.
        assert!(name.len() <= 15, "{name}");
        for probe in ["startupProbe", "livenessProbe"] {
            assert_eq!(container[probe]["httpGet"], json!({ "path": "/metrics", "port": name }), "{name}");
        }
    }
}

/// `docs/kubernetes.md` gives the reasons.
#[test]
fn containers_have_one_capability_and_no_other_right() {
    let daemon_set = daemon_set().unwrap();
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(pod["hostPID"], true);
    for forbidden in ["hostNetwork", "hostIPC", "volumes", "initContainers"] {
        assert_eq!(pod[forbidden], Value::Null, "{forbidden}");
    }
    assert_eq!(pod["automountServiceAccountToken"], false);
    let [account] = documents("serviceaccount.yaml").unwrap().try_into().unwrap();
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!(account["automountServiceAccountToken"], false);
    for container in containers().unwrap() {
        let name = text(&container["name"]);
        let rights = json!({
            "runAsUser": 0,
            "runAsGroup": 0,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["SYS_ADMIN"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        assert_eq!(container["securityContext"], rights, "{name}");
        let added = texts(&rights["capabilities"]["add"]);
        assert!(
            added.iter().all(|name| format!("CAP_{name}").parse::<caps::Capability>().is_ok()),
            "{added:?}"
        );
        let [requested, limit] =
            ["requests", "limits"].map(|kind| mebibytes(&container["resources"][kind]["memory"]));
        assert!(requested <= limit, "{name}");
        assert_eq!(container["resources"]["limits"]["cpu"], Value::Null, "{name}: it would be held back");
    }
}

fn mebibytes(value: &Value) -> u64 {
    text(value).strip_suffix("Mi").expect("in Mi").parse().unwrap()
}

#[test]
fn the_network_policy_is_of_the_pods_and_of_their_ports() {
    let [policy] = documents("networkpolicy.yaml").unwrap().try_into().unwrap();
    let template = &daemon_set().unwrap()["spec"]["template"];
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"], template["metadata"]["labels"]);
    assert_eq!(texts(&policy["spec"]["policyTypes"]), ["Ingress", "Egress"]);
    assert_eq!(policy["spec"]["egress"], json!([]));
    let [rule] = &policy["spec"]["ingress"].as_array().unwrap()[..] else { panic!("{policy}") };
    let [from] = &rule["from"].as_array().unwrap()[..] else { panic!("{rule}") };
    // One entry with both selectors: these pods of these namespaces. Two entries would be a union.
    assert!(from["namespaceSelector"].is_object() && from["podSelector"].is_object(), "{from}");
    let [range] = &rule["ports"].as_array().unwrap()[..] else { panic!("{rule}") };
    let ports: BTreeSet<u64> =
        (range["port"].as_u64().unwrap()..=range["endPort"].as_u64().unwrap()).collect();
    assert_eq!(ports, TOOLS.map(|tool| documented_port(&format!("sctp-{tool}")).into()).into());
}

/// Debian's Prometheus is built without discovery in Kubernetes. So the targets are static here, with the labels that
/// discovery would give them.
#[test]
fn prometheus_scrapes_each_command_as_a_job_of_its_name() {
    let [mut config] = documents("prometheus.yml").unwrap().try_into().unwrap();
    let [scrape] = &mut config["scrape_configs"].as_array_mut().unwrap()[..] else { panic!("not one job") };
    let discovery = scrape["kubernetes_sd_configs"].take();
    let namespace = &documents("namespace.yaml").unwrap()[0]["metadata"]["name"];
    assert_eq!(discovery, json!([{ "role": "pod", "namespaces": { "names": [namespace] } }]));
    let containers = containers().unwrap();
    let ports = containers.iter().flat_map(|container| container["ports"].as_array().unwrap());
    let other = json!({ "name": "web", "containerPort": 80 });
    let targets = ports.chain([&other]).map(|port| {
        let labels = json!({
            "__meta_kubernetes_pod_container_port_name": port["name"],
            "__meta_kubernetes_pod_node_name": "node1",
        });
        json!({ "targets": [format!("10.0.0.1:{}", port["containerPort"])], "labels": labels })
    });
    scrape["static_configs"] = targets.collect();
    scrape.as_object_mut().unwrap().remove("kubernetes_sd_configs");
    config.as_object_mut().unwrap().remove("rule_files");
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("prometheus.yml");
    fs::write(&path, config.to_string()).unwrap();
    let mut promtool = Command::new("promtool");
    let found =
        command::run(promtool.args(["check", "service-discovery"]).arg(path).arg("sctptrace")).unwrap();
    let found: Vec<Value> = serde_json::from_str(&found).unwrap();
    let mut scraped: Vec<_> = found
        .iter()
        .filter(|target| target["labels"].as_object().is_some_and(|labels| !labels.is_empty()))
        .map(|target| {
            ["__address__", "job", "instance"].map(|label| text(&target["labels"][label]).to_owned())
        })
        .collect();
    scraped.sort();
    let mut expected = TOOLS.map(|tool| {
        let name = format!("sctp-{tool}");
        [format!("10.0.0.1:{}", documented_port(&name)), name, "node1".to_owned()]
    });
    expected.sort();
    assert_eq!(scraped, expected, "{found:?}");
}

/// The tests of the rule are in `sctp.pods.test.yml`.
#[test]
fn prometheus_finds_the_pod_of_an_association() {
    for arguments in [["check", "rules", "sctp.pods.rules.yml"], ["test", "rules", "sctp.pods.test.yml"]] {
        command::run(Command::new("promtool").args(arguments).current_dir(folder())).unwrap();
    }
    // The labels by which the rule goes.
    let page = page_of("sctp-rto");
    let info = page.metrics().iter().find(|metric| metric.name == "sctp_association_info").unwrap();
    assert!(
        ["assoc", "netns", "cgroup"].iter().all(|label| info.labels.contains(label)),
        "{:?}",
        info.labels
    );
}
