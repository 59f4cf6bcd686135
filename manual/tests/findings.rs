//! docs/findings.md has the findings of all commands, in the words of their tables.

use std::fs;
use std::path::Path;

use cli::{HOST_RULES, Rule, Words};

fn words<Evidence>(rules: &'static [Rule<Evidence>]) -> Vec<&'static Words> {
    rules.iter().map(|rule| &rule.words).collect()
}

/// The findings of each command; those of all commands come last.
fn all() -> [(&'static str, Vec<&'static Words>); 5] {
    [
        ("`sctp-rtt`", words(sctp_rtt::findings::RULES)),
        ("`sctp-rto`", words(sctp_rto::findings::RULES)),
        ("`sctp-bufmon`", words(sctp_bufmon::findings::RULES)),
        ("`sctp-streamutil`", words(sctp_streamutil::findings::RULES)),
        ("All commands", words(HOST_RULES)),
    ]
}

/// The part of the page about a command.
fn part(command: &str, words: &[&Words]) -> String {
    let mut text = format!("## {command}\n");
    for Words { code, premises, sentence, cure, section } in words {
        text += &format!(
            "\n### `{code}`\n\n{sentence}.\n\n| | |\n|---|---|\n| measured | {premises} |\n| cure | {cure} |\n| why | \
             {section} |\n"
        );
    }
    text
}

#[test]
fn the_page_has_the_words_of_the_tables() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/findings.md")).unwrap();
    let mut headings = 0;
    for (command, words) in all() {
        let part = part(command, &words);
        assert!(page.contains(&part), "docs/findings.md has not\n{part}");
        headings += words.len();
    }
    assert_eq!(page.matches("\n### `").count(), headings, "the page has findings that no command has");
}

#[test]
fn each_code_is_one_command_s() {
    let mut codes: Vec<_> = all().into_iter().flat_map(|(_, words)| words).map(|words| words.code).collect();
    codes.sort_unstable();
    let count = codes.len();
    codes.dedup();
    assert_eq!(codes.len(), count);
}

#[test]
fn words_fit_into_a_table_and_name_an_rfc() {
    for words in all().into_iter().flat_map(|(_, words)| words) {
        for text in [words.sentence, words.premises, words.cure] {
            assert!(!text.ends_with('.') && !text.contains("  ") && !text.contains('|'), "{text}");
        }
        assert!(words.section.starts_with("RFC "), "{}", words.section);
    }
}
