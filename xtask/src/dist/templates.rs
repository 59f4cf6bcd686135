//! Fills in the templates in `packaging`. Marks such as `@NAME@` stand for the texts that differ from package
//! to package.

use std::fs;
use std::path::Path;

use super::workspace;
use crate::files::{failure, read, write};
use crate::run::Failure;

/// Marks of templates, each with the text that it stands for.
pub struct Values(Vec<(&'static str, String)>);

impl Values {
    /// Values of these marks and texts. The marks are given without their `@`.
    pub fn new(values: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self(values.into_iter().collect())
    }

    /// Fill in the marks of a template, and write the result to the file `to`, with the template's mode.
    ///
    /// # Errors
    /// Where the template has a mark without a text, which would end up in the package.
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

/// The first mark in a text: capital letters between two `@`.
fn left(text: &str) -> Option<&str> {
    let is_mark = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase());
    // The text before the first `@` and after the last one is not between two.
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
