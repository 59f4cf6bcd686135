//! Configurations by which a container runtime runs a container in the guest (`config.json` of the OCI runtime
//! specification), as containerd and CRI-O make them of a pod's manifest.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// The profile of system calls that CRI-O and podman apply by default (`RuntimeDefault`), of Debian's package
/// golang-github-containers-common.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// What containerd hides in a container's `/proc` and `/sys`.
const MASKED: [&str; 8] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/scsi",
    "/sys/firmware",
];

/// What containerd makes read-only in a container's `/proc` and `/sys`.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where a container stands among the others of its host.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Path of its cgroup.
    pub cgroup: &'a str,
    /// Name of its network namespace below `/run/netns`.
    pub netns: &'a str,
}

/// Returns the configuration of a container of an ordinary pod: with namespaces of its own, and no capability. It finds
/// the guest's programs in `/usr/bin`.
#[must_use]
pub fn ordinary(args: &[&str], place: Place<'_>) -> Value {
    let mut config = config(&json!(args), place);
    config["process"]["noNewPrivileges"] = true.into();
    add_namespace(&mut config, "pid");
    config
}

/// Returns the configuration of a container of the DaemonSet, whose pod has the pid namespace of the host, with `more`
/// flags. It finds the guest's programs in `/usr/bin`, where the image has its own.
///
/// # Errors
/// Where the container's security context has what is not known here, or the profile of system calls cannot be read.
pub fn of_daemon_set(container: &Value, more: &[&str], place: Place<'_>) -> Result<Value> {
    let context = &container["securityContext"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let args = [list(&container["command"]), list(&container["args"])].concat();
    let args: Vec<Value> = args.into_iter().chain(more.iter().map(|flag| json!(flag))).collect();
    let mut config = config(&json!(args), place);

    ensure!(context["capabilities"]["drop"] == json!(["ALL"]), "other capabilities: {context}");
    let added = list(&context["capabilities"]["add"]);
    let capabilities: Vec<String> =
        added.iter().filter_map(Value::as_str).map(|name| format!("CAP_{name}")).collect();
    let process = &mut config["process"];
    process["capabilities"] =
        json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities });
    process["noNewPrivileges"] = (context["allowPrivilegeEscalation"] == false).into();
    process["user"] = json!({ "uid": context["runAsUser"], "gid": context["runAsGroup"] });
    config["root"]["readonly"] = context["readOnlyRootFilesystem"].clone();
    let limit =
        container["resources"]["limits"]["memory"].as_str().and_then(|limit| limit.strip_suffix("Mi"));
    let limit = limit.context("no limit of memory in Mi")?.parse::<u64>()? << 20;
    config["linux"]["resources"] = json!({ "memory": { "limit": limit } });
    ensure!(context["seccompProfile"]["type"] == "RuntimeDefault", "another profile: {context}");
    let profile = fs::read_to_string(PROFILE)
        .with_context(|| format!("cannot read {PROFILE}: `cargo xtask test --only packages` installs it"))?;
    config["linux"]["seccomp"] = seccomp(&serde_json::from_str(&profile)?, &capabilities);
    Ok(config)
}

/// Returns the limit of memory that a configuration has, in bytes.
#[must_use]
pub fn memory_limit(config: &Value) -> Option<u64> {
    config["linux"]["resources"]["memory"]["limit"].as_u64()
}

fn config(args: &Value, place: Place<'_>) -> Value {
    let bind = |from: &str, to: &str| json!({ "destination": to, "source": from, "type": "bind", "options": ["bind", "ro", "nosuid", "nodev"] });
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/bin"],
            "cwd": "/",
        },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [
            { "destination": "/proc", "source": "proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "source": "tmpfs", "type": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
            { "destination": "/sys", "source": "sysfs", "type": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            {
                "destination": "/sys/fs/cgroup", "source": "cgroup", "type": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
            },
            // The guest's programs are not static.
            bind("/bin", "/usr/bin"), bind("/lib", "/lib"), bind("/lib64", "/lib64"),
        ],
        "linux": {
            "cgroupsPath": place.cgroup,
            "namespaces": [],
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    });
    for kind in ["mount", "ipc", "uts", "cgroup"] {
        add_namespace(&mut config, kind);
    }
    let network = json!({ "type": "network", "path": format!("/run/netns/{}", place.netns) });
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.push(network);
    }
    config
}

fn add_namespace(config: &mut Value, kind: &str) {
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.push(json!({ "type": kind }));
    }
}

/// Returns what a profile of containers/common is on x86-64 for a container with these capabilities: the rules that
/// they, or their absence, leave out are gone.
fn seccomp(profile: &Value, capabilities: &[String]) -> Value {
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let own: BTreeSet<String> = capabilities.iter().cloned().collect();
    let arch: BTreeSet<String> = ["amd64", "x86_64"].map(str::to_owned).into();
    let applies = |rule: &&Value| {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let [arches, caps] = ["arches", "caps"].map(|kind| names(&includes[kind]));
        let [not_arches, not_caps] = ["arches", "caps"].map(|kind| names(&excludes[kind]));
        (arches.is_empty() || !arches.is_disjoint(&arch))
            && caps.is_subset(&own)
            && not_arches.is_disjoint(&arch)
            && (not_caps.is_empty() || !not_caps.is_subset(&own))
    };
    let rules = profile["syscalls"].as_array().into_iter().flatten().filter(applies).map(|rule| {
        let mut made = json!({ "names": rule["names"], "action": rule["action"] });
        if rule["args"].as_array().is_some_and(|args| !args.is_empty()) {
            made["args"] = rule["args"].clone();
        }
        if rule["errnoRet"].is_number() {
            made["errnoRet"] = rule["errnoRet"].clone();
        }
        made
    });
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::containers;

    /// Whether a profile lets a system call pass, whatever its arguments.
    fn allows(seccomp: &Value, call: &str) -> bool {
        let has = |rule: &&Value| rule["names"].as_array().is_some_and(|names| names.contains(&json!(call)));
        let mut rules = seccomp["syscalls"].as_array().into_iter().flatten().filter(has);
        rules.any(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule["args"].is_null())
    }

    /// The calls by which a command starts and confines itself: all pass the default profile with the DaemonSet's
    /// capability, and those that trace do not without it. (socket(2) has rules about its arguments.)
    #[test]
    fn the_default_profile_lets_the_commands_start() {
        let place = Place { cgroup: "/x", netns: "m" };
        let config = of_daemon_set(&containers().unwrap()[0], &[], place).unwrap();
        let profile = serde_json::from_str(&fs::read_to_string(PROFILE).unwrap()).unwrap();
        let without = seccomp(&profile, &[]);
        for call in ["bpf", "perf_event_open"] {
            assert!(allows(&config["linux"]["seccomp"], call) && !allows(&without, call), "{call}");
        }
        for call in [
            "accept4",
            "bind",
            "capget",
            "capset",
            "fsconfig",
            "fsmount",
            "fsopen",
            "landlock_create_ruleset",
            "landlock_restrict_self",
            "listen",
            "membarrier",
            "prctl",
            "prlimit64",
            "seccomp",
        ] {
            assert!(allows(&config["linux"]["seccomp"], call), "{call}");
        }
    }

    #[test]
    fn a_container_has_what_its_manifest_says() {
        for container in containers().unwrap() {
            let place = Place { cgroup: "/x", netns: "m" };
            let config = of_daemon_set(&container, &["--labels", "assoc"], place).unwrap();
            let process = &config["process"];
            assert_eq!(process["capabilities"]["bounding"], json!(["CAP_SYS_ADMIN"]));
            assert_eq!(process["noNewPrivileges"], true);
            assert_eq!(process["args"][0], container["command"][0]);
            assert_eq!(process["args"].as_array().unwrap().last(), Some(&json!("assoc")));
            assert!(memory_limit(&config).is_some_and(|limit| limit >= 64 << 20));
            let namespaces = config["linux"]["namespaces"].as_array().unwrap();
            assert!(!namespaces.contains(&json!({ "type": "pid" })), "hostPID");
        }
    }
}
