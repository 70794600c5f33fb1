//! What archives are called where they are kept: the same in a directory and in a bucket.
//!
//! `NAMESPACE/VERSION/key-KEY.tar.zst`, or `NAMESPACE/VERSION/latest.tar.zst` where there is no key. Whatever is in a key, its
//! part of the name is letters, digits, `.`, `_`, `-` and `%`, and begins as the names of all keys do that begin as it does.

use sha2::{Digest as _, Sha256};

use super::Trouble;
use crate::units::hex;

/// What every archive's name ends in.
pub(super) const ENDING: &str = ".tar.zst";

/// What names begin with that are of a key.
const KEYED: &str = "key-";

/// The name without a key.
const LATEST: &str = "latest";

/// Longest key, in bytes.
const MAX_KEY: usize = 512;

/// Most bytes of a key that stand in a name; longer ones have a hash behind them. File systems take 255 for all of it.
const MAX_SHOWN: usize = 150;

/// Refuses a key that is none.
pub fn check_key(key: &str) -> Result<(), Trouble> {
    if key.is_empty() {
        return Err(Trouble::new("`cache.key` is empty after expansion")
            .with_help("check the variables and commands in it"));
    }
    if key.len() > MAX_KEY {
        let message = format!(
            "`cache.key` has {} bytes after expansion, and at most {MAX_KEY} can be used",
            key.len()
        );
        return Err(Trouble::new(message)
            .with_help("hash what it is made of, such as with `codebuild-hash-files`"));
    }
    Ok(())
}

/// A text in letters that every file system and every bucket takes, one after the other: what two texts begin with alike,
/// their forms do too.
pub(super) fn written(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
            written.push(char::from(byte));
        } else {
            written.push_str(&format!("%{byte:02X}"));
        }
    }
    written
}

/// Where an archive is kept, below the top of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Whose it is: the project, or what several projects share.
    pub namespace: String,
    /// Which paths it is of ([`version`](super::version)).
    pub version: String,
}

impl Name {
    /// The directory, with `/` at its end.
    #[must_use]
    pub fn directory(&self) -> String {
        // No name may lead up.
        let namespace = written(&self.namespace).replace('.', "%2E");
        format!("{namespace}/{}/", self.version)
    }

    /// The archive of a key, or the one without.
    #[must_use]
    pub fn of(&self, key: Option<&str>) -> String {
        let directory = self.directory();
        match key {
            None => format!("{directory}{LATEST}{ENDING}"),
            Some(key) => {
                let whole = written(key);
                if whole.len() <= MAX_SHOWN {
                    return format!("{directory}{KEYED}{whole}{ENDING}");
                }
                let hash = hex(&Sha256::digest(key)[..16]);
                format!("{directory}{KEYED}{}~{hash}{ENDING}", &whole[..MAX_SHOWN])
            }
        }
    }

    /// What the names of all archives begin with whose key begins so. Whether a key really does, only the archive says.
    #[must_use]
    pub fn prefix(&self, key: &str) -> String {
        let whole = written(key);
        let shown = &whole[..whole.len().min(MAX_SHOWN)];
        format!("{}{KEYED}{shown}", self.directory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_begin_as_their_keys_do() {
        let name = Name {
            namespace: "app".to_owned(),
            version: "0123456789abcdef".to_owned(),
        };
        let long = "x/".repeat(200);
        let keys = ["a", "../../etc/passwd", "/", "é b", "a%2F", "a/", &long];
        let mut seen = std::collections::HashSet::new();
        for key in keys {
            let of = name.of(Some(key));
            assert!(seen.insert(of.clone()), "{key}");
            let file = of.strip_prefix("app/0123456789abcdef/key-").unwrap();
            assert!(!file.contains('/') && file.len() < 220, "{file}");
            for (end, _) in key.char_indices() {
                let prefix = name.prefix(&key[..end]);
                assert!(of.starts_with(&prefix), "{of} {prefix}");
            }
        }
        assert_eq!(name.of(None), "app/0123456789abcdef/latest.tar.zst");
        let up = Name {
            namespace: "..".to_owned(),
            ..name
        };
        assert_eq!(up.directory(), "%2E%2E/0123456789abcdef/");
        assert!(check_key("").is_err() && check_key(&"k".repeat(513)).is_err());
        check_key(&long).unwrap();
    }
}
