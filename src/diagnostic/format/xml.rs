//! Text as XML has it.

/// Text between tags or in quotes. What XML 1.0 has no way to write becomes U+FFFD; line ends and tabs are written as
/// references, since attributes would turn them into blanks.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", u32::from(character))),
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_a_text_can_be_written() {
        assert_eq!(
            escape("a<b>&\"'\t\r\n\u{0}\u{1b}\u{ffff}é𝄞\u{7f}"),
            "a&lt;b&gt;&amp;&quot;&apos;&#9;&#13;&#10;\u{fffd}\u{fffd}\u{fffd}é𝄞\u{7f}"
        );
    }
}
