//! Makes text safe to put into HTML. What peers and processes are called, and what an ABORT says, is up to others.

use std::fmt::Write as _;

/// Returns `text` for use between tags, and in attributes with double quotes. Characters that have a meaning in HTML become
/// references. Characters that cannot be seen, or that change the direction of text, become `\u{...}`.
#[must_use]
pub fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// Returns `text` with each character that cannot be seen, or that changes the direction of text, as `\u{...}`.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether `c` is a control character (C0, C1), sets the direction of text, or has no width.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{fffe}'..='\u{ffff}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns the first `most` characters of `text`, and `…` if there are more.
#[must_use]
pub fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(
            html("</script><img src=x onerror=\"a('b')\">"),
            "&lt;/script&gt;&lt;img src=x onerror=&quot;a(&#39;b&#39;)&quot;&gt;"
        );
        assert_eq!(html("a\u{202e}b\u{0}\u{85}\n&"), "a\\u{202e}b\\u{0}\\u{85}\\u{a}&amp;");
    }

    proptest! {
        #[test]
        fn nothing_raw_comes_out(text in any::<String>()) {
            let safe = html(&text);
            let is_raw = |c| matches!(c, '<' | '>' | '"' | '\'') || is_hidden(c);
            prop_assert!(!safe.contains(is_raw));
            for (at, _) in safe.match_indices('&') {
                let is_reference = |name: &str| safe[at..].starts_with(name);
                prop_assert!(["&lt;", "&gt;", "&amp;", "&quot;", "&#39;"].into_iter().any(is_reference));
            }
        }

        #[test]
        fn text_without_such_characters_stays(text in "[a-zA-Z0-9 .:/äß漢字-]*") {
            prop_assert_eq!(html(&text), text);
        }
    }
}
