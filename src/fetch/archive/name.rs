//! Names of entries.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Longest name, in bytes: what the system takes for a path.
const LONGEST: usize = 4096;

/// How much of a name is shown, in characters.
const SHOWN: usize = 200;

/// Characters of code page 437 from 128 on: what names of ZIP are in that are not said to be UTF-8.
const CODE_PAGE_437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// A place below a directory: names only, no root, no `.`, no `..` (SRC-20).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(PathBuf);

impl Name {
    /// The place that an entry's name stands for; else what is wrong with it. The directory itself is a place, too: an empty
    /// name.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.is_empty() {
            return Err("it has no name");
        }
        if bytes.len() > LONGEST {
            return Err("its name is longer than a path can be");
        }
        if bytes.contains(&0) {
            return Err("its name has a NUL character");
        }
        if bytes[0] == b'/' || is_drive(bytes) {
            return Err("its name is an absolute path");
        }
        let mut path = PathBuf::new();
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err("its name leads outside of the archive"),
                name => path.push(OsStr::from_bytes(name)),
            }
        }
        Ok(Self(path))
    }

    /// As a path, relative.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it is the directory itself.
    pub(super) fn is_top(&self) -> bool {
        self.0.as_os_str().is_empty()
    }

    /// Whether a link in this place leads to a place below the directory, wherever other links lead (SRC-21): the way goes up
    /// first, never past the directory, and then down only. Going up behind a name could begin anywhere, for the name may be
    /// that of a link.
    pub(super) fn may_link_to(&self, target: &[u8]) -> Result<(), &'static str> {
        if target.is_empty() || target.contains(&0) || target.len() > LONGEST {
            return Err("it is a link to no place at all");
        }
        if target[0] == b'/' {
            return Err("it is a link to an absolute path");
        }
        let mut room = self.0.components().count().saturating_sub(1);
        let mut goes_down = false;
        for part in target.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." if goes_down => {
                    return Err("it is a link whose target has `..` behind a name");
                }
                b".." if room == 0 => return Err("it is a link that leads outside of the archive"),
                b".." => room -= 1,
                _ => goes_down = true,
            }
        }
        Ok(())
    }
}

/// `C:/…`, which is a root where it was written.
fn is_drive(bytes: &[u8]) -> bool {
    matches!(bytes, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic())
}

/// A text in code page 437 as UTF-8.
pub(super) fn from_code_page_437(bytes: &[u8]) -> String {
    let high: Vec<char> = CODE_PAGE_437.chars().collect();
    let character = |byte: &u8| match byte.checked_sub(128) {
        Some(place) => high[usize::from(place)],
        None => char::from(*byte),
    };
    bytes.iter().map(character).collect()
}

/// A name as a message can have it: no control characters, and not without end.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_places_below_or_refused() {
        let long = "a".repeat(LONGEST + 1);
        let table = [
            ("a", Ok("a")),
            ("a/b/c.txt", Ok("a/b/c.txt")),
            ("./a//b/./c/", Ok("a/b/c")),
            ("..a/b..", Ok("..a/b..")),
            ("a\\b", Ok("a\\b")),
            ("C:x", Ok("C:x")),
            ("./", Ok("")),
            ("", Err("no name")),
            ("/a", Err("absolute")),
            ("//a", Err("absolute")),
            ("C:/a", Err("absolute")),
            ("c:\\a", Err("absolute")),
            ("..", Err("outside")),
            ("../a", Err("outside")),
            ("a/../b", Err("outside")),
            ("a/..", Err("outside")),
            ("a/../../b", Err("outside")),
            ("a\0b", Err("NUL")),
            (&long, Err("longer")),
        ];
        for (name, expected) in table {
            match (Name::new(name.as_bytes()), expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found.path(), Path::new(expected), "{name}");
                }
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{name}: {found}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn links_lead_up_first_and_never_outside() {
        let table = [
            ("l", "a", true),
            ("l", "./a/b", true),
            ("l", ".", true),
            ("d/l", "..", true),
            ("d/l", "../x/y", true),
            ("d/e/l", "../../x", true),
            ("l", "..", false),
            ("l", "../x", false),
            ("d/l", "../../x", false),
            ("l", "/etc/passwd", false),
            ("l", "a/../b", false),
            ("l", "a/../../b", false),
            ("l", "", false),
        ];
        for (name, target, may) in table {
            let name = Name::new(name.as_bytes()).unwrap();
            assert_eq!(
                name.may_link_to(target.as_bytes()).is_ok(),
                may,
                "{name:?} -> {target}"
            );
        }
    }

    #[test]
    fn code_page_437_has_a_character_for_every_byte() {
        assert_eq!(CODE_PAGE_437.chars().count(), 128);
        assert_eq!(from_code_page_437(b"a\x81\x84\xe1\xff"), "aüäß\u{a0}");
    }

    #[test]
    fn what_is_shown_of_a_name_is_harmless() {
        assert_eq!(shown(b"a\x1b[31m\n"), "`a\\u{1b}[31m\\n`");
        assert!(shown(&[b'a'; 5000]).chars().count() < 210);
    }
}
