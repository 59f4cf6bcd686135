//! Findings: what the commands concluded themselves. Cures are not in JSON: they are in docs/findings.md.

use std::collections::BTreeMap;

/// At most this many findings are kept. Further ones are counted by their codes.
const MOST: usize = 500;

/// The page of the documentation, which is part of the program.
const DOCS: &str = include_str!("../../docs/findings.md");

/// A finding, put together from all its lines.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The finding as one word.
    pub code: String,
    /// The finding as a sentence.
    pub sentence: String,
    /// When the finding began; `None` if its line does not say.
    pub begin: Option<i64>,
    /// When the finding was over; `None` if no line of the input says that.
    pub end: Option<i64>,
    /// When the last line about the finding was printed.
    pub time: i64,
    /// The peer's address of the path; `None` if the finding is not about a path.
    pub path: Option<String>,
    /// Index of the association; `None` if the finding is about the host, or about an association that is not shown.
    pub association: Option<usize>,
    /// Which association the finding is about, in words; empty if it is about the host.
    pub about: String,
    /// The figures on which the finding rests, each with its name.
    pub evidence: Vec<(String, f64)>,
    /// Number of the source that has the finding's lines.
    pub source: usize,
}

/// The findings of the input.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    /// How many findings are not kept, by code: at most 100 codes.
    pub more: BTreeMap<String, u64>,
}

impl Findings {
    /// Adds a finding, or takes it as the end of one that was added. Returns whether it is new.
    pub fn add(&mut self, finding: Finding) -> bool {
        let same = |known: &&mut Finding| {
            known.code == finding.code
                && known.begin == finding.begin
                && known.association == finding.association
                && known.about == finding.about
        };
        if let Some(known) = self.kept.iter_mut().rev().find(same) {
            known.end = finding.end.or(known.end);
            known.time = finding.time;
            return false;
        }
        if self.kept.len() < MOST {
            self.kept.push(finding);
            return true;
        }
        // The line that says that a finding is over does not count as another finding.
        if finding.end.is_none() && (self.more.len() < 100 || self.more.contains_key(&finding.code)) {
            *self.more.entry(finding.code).or_default() += 1;
            return true;
        }
        false
    }

    /// The findings in the order of the page: first those that last, then those that are over; in each group the latest
    /// begin first.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Finding> {
        let mut sorted: Vec<_> = self.kept.iter().collect();
        sorted.sort_by_key(|finding| (finding.end.is_some(), std::cmp::Reverse(finding.begin)));
        sorted
    }

    /// The findings of an association, in order of their begin.
    #[must_use]
    pub fn of(&self, association: usize) -> Vec<&Finding> {
        let mut of: Vec<_> = self.kept.iter().filter(|f| f.association == Some(association)).collect();
        of.sort_by_key(|finding| finding.begin);
        of
    }

    /// Whether the input has no finding.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// What docs/findings.md has in the row `row` (`cure`, `why`) of a finding; `None` if it does not know the code.
#[must_use]
pub fn documented(code: &str, row: &str) -> Option<&'static str> {
    let heading = format!("### `{code}`");
    let mut lines = DOCS.lines().skip_while(|line| *line != heading).skip(1);
    let start = format!("| {row} | ");
    lines
        .by_ref()
        .take_while(|line| !line.starts_with('#'))
        .find_map(|line| line.strip_prefix(&start)?.strip_suffix(" |"))
}

/// The sentence of a finding in docs/findings.md; `None` if it does not know the code.
#[must_use]
pub fn documented_sentence(code: &str) -> Option<&'static str> {
    let heading = format!("### `{code}`");
    let mut lines = DOCS.lines().skip_while(|line| *line != heading).skip(1);
    lines.find(|line| !line.is_empty()).map(|line| line.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_documented_finding_has_a_cure() {
        let codes: Vec<_> =
            DOCS.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
        assert!(codes.len() > 20, "{codes:?}");
        for code in codes {
            assert!(documented(code, "cure").is_some_and(|cure| !cure.is_empty()), "{code}");
            assert!(documented(code, "why").is_some_and(|why| why.contains("RFC")), "{code}");
            assert!(documented_sentence(code).is_some_and(|sentence| sentence.len() > 10), "{code}");
        }
        assert_eq!(documented("no_such_code", "cure"), None);
    }

    #[test]
    fn the_line_that_a_finding_is_over_ends_it() {
        let finding = |begin, end| Finding {
            code: "real_loss".to_owned(),
            sentence: String::new(),
            begin: Some(begin),
            end,
            time: begin,
            path: None,
            association: Some(0),
            about: String::new(),
            evidence: Vec::new(),
            source: 0,
        };
        let mut findings = Findings::default();
        assert!(findings.add(finding(5, None)));
        assert!(findings.add(finding(3, None)));
        assert!(!findings.add(finding(5, Some(9))));
        let ends: Vec<_> = findings.sorted().iter().map(|f| (f.begin, f.end)).collect();
        assert_eq!(ends, [(Some(3), None), (Some(5), Some(9))]);
    }
}
