//! Filling in the files of `packaging`: `@NAME@` and the like stand for what differs from package to package.

use std::fs;
use std::path::Path;

use super::workspace;
use crate::files::{failure, read, write};
use crate::run::Failure;

/// Marks, and the texts that they stand for.
pub struct Values(Vec<(&'static str, String)>);

impl Values {
    /// These marks, without their `@`, and what each stands for.
    pub fn new(values: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self(values.into_iter().collect())
    }

    /// Write a file of `packaging` with its marks filled in. The file's mode stays.
    ///
    /// # Errors
    /// Where a mark is left that nothing is known for, as it would be in the package.
    pub fn fill(&self, file: &str, to: &Path) -> Result<(), Failure> {
        let from = workspace("packaging").join(file);
        let mut text = read(&from)?;
        for (mark, value) in &self.0 {
            text = text.replace(&format!("@{mark}@"), value);
        }
        if let Some(mark) = left(&text) {
            return Err(Failure(format!("{}: nothing is known for @{mark}@", from.display())));
        }
        write(to, &text)?;
        let mode = fs::metadata(&from).map_err(|error| failure(&from, error))?.permissions();
        fs::set_permissions(to, mode).map_err(|error| failure(to, error))
    }
}

/// The first mark in a text: capitals between `@`s.
fn left(text: &str) -> Option<&str> {
    let is_mark = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase());
    // What stands before the first `@` and after the last one is between no two.
    let mut parts = text.split('@').skip(1).peekable();
    std::iter::from_fn(|| parts.next().filter(|_| parts.peek().is_some())).find(is_mark)
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn marks_are_capitals_between_signs() {
        for text in [
            "",
            "NAME",
            "@NAME",
            "NAME@",
            "a@b.c",
            "sctp-rtt@core and sctp-rto@web",
            "x@@y",
            "@system-service a@",
        ] {
            assert_eq!(left(text), None, "{text}");
        }
        assert_eq!(left("@NAME@@core.service"), Some("NAME"));
        assert_eq!(left("a@b @NAME@"), Some("NAME"));
    }
}
