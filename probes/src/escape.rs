//! Escapes text that a peer, a process or a user of this host has chosen, and so may have chosen to do harm.

/// Makes text harmless for a terminal, a spreadsheet and a web page. Escapes control characters (C0, C1),
/// characters that change the direction of writing, double quotes, backslashes, `<`, and a first character
/// with which a spreadsheet's formula begins. Also escapes bytes that are not UTF-8.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let is_first = text.is_empty();
            match c {
                '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '"'
                | '\\' => {
                    text.extend(c.escape_default());
                }
                '<' => text.push_str("\\x3c"),
                '=' | '+' | '-' | '@' if is_first => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_harm_a_terminal() {
        assert_eq!(escape(b"amf"), "amf");
        assert_eq!(escape("ba\u{e9}r".as_bytes()), "ba\u{e9}r");
        assert_eq!(escape(b"\x1b[2J\n"), "\\u{1b}[2J\\n");
        assert_eq!(escape("\u{9b}\u{202e}x".as_bytes()), "\\u{9b}\\u{202e}x");
        assert_eq!(escape(b"a\xffb\"c\\"), "a\\xffb\\\"c\\\\");
        assert_eq!(escape(b"=1+1=2"), "\\x3d1+1=2");
        assert_eq!(escape(b"</script>"), "\\x3c/script>");
    }
}
