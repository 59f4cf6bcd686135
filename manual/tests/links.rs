//! Links between the pages lead somewhere, and README is a front page.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders whose pages are checked.
const FOLDERS: [&str; 4] = [".", "docs", "docs/examples", "tests"];
/// How long README may be, in bytes.
const FRONT_PAGE: usize = 8_000;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The paths of all pages.
fn pages() -> Vec<PathBuf> {
    let files = FOLDERS.into_iter().flat_map(|folder| fs::read_dir(workspace().join(folder)).expect(folder));
    let paths = files.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// The lines of a page that are no part of a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    })
}

/// The targets of a page's links, without those on other hosts.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).collect::<Vec<_>>().join("\n");
    let targets = text.split("](").skip(1).map(|rest| rest.split_once(')').expect("a link ends").0);
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The anchors of a page's headings, as GitHub makes them: letters and digits in lower case, `-` for a blank, and
/// a number for a heading that is there already.
fn anchors(text: &str) -> Vec<String> {
    let mut counts = BTreeMap::new();
    let headings = prose(text)
        .filter(|line| line.starts_with('#'))
        .filter_map(|line| line.split_once("# "))
        .map(|(_, words)| {
            words
                .to_lowercase()
                .chars()
                .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
                .map(|char| if char == ' ' { '-' } else { char })
                .collect::<String>()
        });
    headings
        .map(|anchor| {
            let count = counts.entry(anchor.clone()).or_insert(0);
            *count += 1;
            if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
        })
        .collect()
}

/// What is wrong with a link of the page at `path`.
fn fault(path: &Path, link: &str) -> Option<&'static str> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { path.to_owned() } else { path.with_file_name(file) };
    if !target.exists() {
        return Some("no such file");
    }
    let is_there = || anchors(&fs::read_to_string(&target).unwrap()).contains(&anchor.to_owned());
    (!anchor.is_empty() && !is_there()).then_some("no such heading")
}

#[test]
fn links_lead_somewhere() {
    let mut count = 0;
    let mut faults = Vec::new();
    for path in pages() {
        for link in links(&fs::read_to_string(&path).unwrap()) {
            count += 1;
            faults.extend(fault(&path, &link).map(|fault| format!("{}: {link}: {fault}", path.display())));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 100, "{count} links");
}

#[test]
fn broken_links_are_found() {
    let page = workspace().join("docs/README.md");
    assert_eq!(fault(&page, "limits.md#accuracy"), None);
    assert_eq!(fault(&page, "../README.md"), None);
    assert_eq!(fault(&page, "limits.md#precision"), Some("no such heading"));
    assert_eq!(fault(&page, "#no-such"), Some("no such heading"));
    assert_eq!(fault(&page, "limit.md"), Some("no such file"));
}

#[test]
fn anchors_are_those_of_github() {
    let page =
        "# `sctp-rtt`\n## What's it, then?\n```\n# sctp-rtt -d 1\n```\n### a_b\n### a_b\n#no heading\n";
    assert_eq!(anchors(page), ["sctp-rtt", "whats-it-then", "a_b", "a_b-1"]);
}

/// Each page of `docs/` can be reached from `docs/README.md`.
#[test]
fn the_list_of_pages_is_whole() {
    let folder = workspace().join("docs");
    let listed = links(&fs::read_to_string(folder.join("README.md")).unwrap());
    for path in pages() {
        let Ok(page) = path.strip_prefix(&folder) else { continue };
        let page = page.to_str().unwrap();
        assert!(
            page == "README.md" || listed.iter().any(|link| link == page),
            "docs/README.md has no {page}"
        );
    }
}

/// README is short, and names the command that `.ci/run` runs.
#[test]
fn readme_is_a_front_page() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    assert!(readme.len() <= FRONT_PAGE, "README.md has {} bytes", readme.len());
    let script = fs::read_to_string(workspace().join(".ci/run")).unwrap();
    let test = script.lines().find_map(|line| line.strip_prefix("exec ")).expect("the test command");
    assert!(readme.lines().any(|line| line.starts_with(test)), "README.md does not name {test}");
}
