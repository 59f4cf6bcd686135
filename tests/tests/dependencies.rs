//! Checks the rules of `deny.toml` that can be checked without `cargo deny`, which Debian does not have as a
//! package: the licences of all dependencies, that they come from crates.io, and that no crate of the
//! workspace accepts any version (`*`) of a dependency. `cargo xtask test --all` runs `cargo deny` itself.

use std::env;
use std::process::Command;

use serde_json::Value;

/// Returns the packages that are used for a target triple, as `cargo metadata` describes them.
fn packages(target: &str) -> Vec<Value> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--all-features",
            "--filter-platform",
            target,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let used: Vec<Value> =
        all["resolve"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()).collect();
    let Value::Array(mut packages) = all["packages"].take() else { panic!("no packages") };
    packages.retain(|package| used.contains(&package["id"]));
    assert!(packages.len() > 50, "only {} packages", packages.len());
    packages
}

/// Returns the strings of the list in `deny.toml` whose line starts with `key`.
fn listed(key: &str) -> Vec<&'static str> {
    let line = include_str!("../../deny.toml").lines().find(|line| line.starts_with(key)).unwrap();
    line.split('"').skip(1).step_by(2).collect()
}

/// Returns whether the allowed licences satisfy an SPDX expression, in which AND binds closer than OR.
/// `MIT/Apache-2.0` is an old way to write OR.
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    let words = licence.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = words.split_whitespace().peekable();
    let holds = any(&mut words, allowed);
    assert_eq!(words.next(), None, "not read to its end: {licence}");
    holds
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut holds = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        holds |= all(words, allowed);
    }
    holds
}

fn all(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut holds = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        holds &= one(words, allowed);
    }
    holds
}

fn one(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let word = words.next().unwrap_or_default();
    if word == "(" {
        let holds = any(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return holds;
    }
    // A licence with an exception has to be in the list with that exception, although it only allows more.
    match words.next_if_eq(&"WITH") {
        Some(_) => {
            let exception = words.next().unwrap_or_default();
            allowed.contains(&format!("{word} WITH {exception}").as_str())
        }
        None => allowed.contains(&word),
    }
}

#[test]
fn licences_and_sources_are_allowed() {
    let allowed = listed("allow = ");
    for target in listed("targets = ") {
        for package in packages(target) {
            let name = &package["name"];
            let Some(source) = package["source"].as_str() else {
                let dependencies = package["dependencies"].as_array().unwrap();
                let any = dependencies.iter().find(|needs| needs["req"] == "*" && needs["path"].is_null());
                assert!(any.is_none(), "{name} takes any version: {any:?}");
                continue;
            };
            assert!(
                source.starts_with("registry+") && source.ends_with("/crates.io-index"),
                "{name} comes from {source}"
            );
            let licence = package["license"].as_str().unwrap_or_default();
            assert!(is_allowed(licence, &allowed), "{name} is under {licence:?}");
        }
    }
}

#[test]
fn expressions() {
    let holds = |licence| is_allowed(licence, &["MIT", "Unicode-3.0"]);
    for licence in ["MIT", "MIT OR X", "X/MIT", "(X OR MIT) AND Unicode-3.0", "X AND Y OR MIT"] {
        assert!(holds(licence), "{licence}");
    }
    for licence in ["", "X", "MIT AND X", "MIT WITH exception", "MIT AND (X OR Y)", "(X OR MIT) AND Y"] {
        assert!(!holds(licence), "{licence}");
    }
}
