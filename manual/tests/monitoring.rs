//! What `packaging/monitoring` has for Prometheus and Grafana is valid, and asks for metrics that the commands have.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use sctptrace_manual::pages;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/monitoring")
}

/// The alerts' unit tests are in `sctp.alerts.test.yml`.
#[test]
fn prometheus_takes_configuration_and_rules_and_the_alerts_fire_when_they_should() {
    for arguments in [
        &["check", "config", "prometheus.yml"][..],
        &["check", "rules", "sctp.rules.yml", "sctp.alerts.yml"],
        &["test", "rules", "sctp.alerts.test.yml"],
    ] {
        let promtool = Command::new("promtool").args(arguments).current_dir(folder()).output();
        let output = promtool.expect("promtool of the Debian package prometheus");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The names of metrics in an expression.
fn names(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("sctp_") || word.starts_with("sctptrace_")).collect()
}

/// The metric to which a sample of this name belongs; `None` if there is none.
fn metric_of(name: &str) -> Option<&'static str> {
    let pages = pages();
    let metric = pages.iter().flat_map(|page| page.metrics()).find(|metric| {
        let endings: &[&str] =
            if metric.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        name.strip_prefix(metric.name).is_some_and(|ending| endings.contains(&ending))
    });
    metric.map(|metric| metric.name)
}

#[test]
fn rules_ask_for_metrics_that_there_are() {
    for file in ["sctp.rules.yml", "sctp.alerts.yml"] {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        let is_said = |line: &&str| {
            ["#", "summary:", "- record:"].iter().any(|begin| line.trim_start().starts_with(begin))
        };
        for name in text.lines().filter(|line| !is_said(line)).flat_map(names) {
            assert!(metric_of(name).is_some(), "{file}: {name}");
        }
    }
}

/// The dashboard shows each metric, but for what is known of single associations, and the kernel's own counters.
#[test]
fn the_dashboard_shows_all_metrics() {
    let text = fs::read_to_string(folder().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut shown = BTreeSet::from(["sctp_association_info", "sctp_host_..._total"]);
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            for name in names(target["expr"].as_str().unwrap()) {
                shown.insert(metric_of(name).unwrap_or_else(|| panic!("{name}")));
            }
        }
    }
    let pages = pages();
    let all = pages.iter().flat_map(|page| page.metrics()).map(|metric| metric.name);
    assert_eq!(shown, all.collect());
}
