//! Names that become parts of the engine's paths.

/// Whether a text can be the name or the id of something in the engine, and as part of a path leads nowhere else.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@[]".contains(&byte);
    let leads_elsewhere = |part: &str| part.is_empty() || part == "." || part == "..";
    text.bytes().all(is_part) && !text.split('/').any(leads_elsewhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for text in ["a", "h:5000/a/b:1", "a@sha256:0", "0123abcd"] {
            assert!(is_name(text), "{text}");
        }
        for text in [
            "", "..", "../a", "a/../b", "/a", "a//b", "a?x", "a#x", "a%2e", "a b", "a\n",
        ] {
            assert!(!is_name(text), "{text}");
        }
    }
}
