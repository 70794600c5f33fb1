//! Tokens of ECR's, kept until half their life is over, so that a hundred pulls ask AWS once (REG-6, REG-7).
//!
//! One file for each principal and scope, in a directory that only this user can read. A cache that cannot be used is no
//! failure: AWS is asked instead.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::credentials::Secret;
use super::ecr::{Registry, Token, now};
use crate::private::{self, Lock};

/// Form of the files; others are not read.
const FORMAT: u64 = 1;

/// Longest wait for another process that is asking AWS. After it this one asks too: a wait must not become a failure.
const LOCK_LIMIT: Duration = Duration::from_secs(35);

/// Where a principal's tokens are kept.
#[derive(Clone, Debug)]
pub(super) struct TokenCache {
    directory: PathBuf,
    principal: String,
}

impl TokenCache {
    pub(super) fn new(directory: &Path, principal: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            principal: principal.to_owned(),
        }
    }

    fn path(&self, registry: &Registry) -> PathBuf {
        let digest = Sha256::digest(format!("{}\n{}", self.principal, registry.scope()));
        let name = crate::units::hex(&digest[..16]);
        self.directory.join(format!("{name}.json"))
    }

    /// The token for a registry, if one is here that is in the first half of its life.
    pub(super) fn get(&self, registry: &Registry) -> Option<Token> {
        let text = std::fs::read(self.path(registry)).ok()?;
        let token = read(&serde_json::from_slice(&text).ok()?)?;
        is_fresh(&token, now()).then_some(token)
    }

    /// Keeps a token. One that is over already, by this machine's clock, is not worth it.
    pub(super) fn put(&self, registry: &Registry, token: &Token) -> io::Result<()> {
        if !is_fresh(token, now()) {
            return Ok(());
        }
        private::directory(&self.directory)?;
        let text = json!({
            "format": FORMAT,
            "scope": registry.scope(),
            "fetched": token.fetched,
            "expires": token.expires,
            "token": token.secret.reveal(),
        });
        private::write(&self.path(registry), text.to_string().as_bytes())
    }

    /// Forgets the token for a registry.
    pub(super) fn remove(&self, registry: &Registry) {
        let _ = std::fs::remove_file(self.path(registry));
    }

    /// Makes this the only process that asks AWS for this token; whoever else wants it waits, and then finds it here.
    pub(super) fn lock(&self, registry: &Registry) -> io::Result<Lock> {
        private::directory(&self.directory)?;
        private::lock(&self.path(registry).with_extension("lock"), LOCK_LIMIT)
    }
}

fn read(text: &Value) -> Option<Token> {
    (text.get("format")?.as_u64()? == FORMAT).then_some(())?;
    Some(Token {
        secret: Secret::new(text.get("token")?.as_str()?),
        fetched: text.get("fetched")?.as_u64()?,
        expires: text.get("expires")?.as_u64()?,
    })
}

/// Whether a token is in the first half of its life. One from the future is from a clock that was put back since.
fn is_fresh(token: &Token, now: u64) -> bool {
    let life = token.expires.saturating_sub(token.fetched);
    (token.fetched..token.fetched.saturating_add(life / 2)).contains(&now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    fn token(fetched: u64, expires: u64) -> Token {
        Token {
            secret: Secret::new("secret"),
            fetched,
            expires,
        }
    }

    #[test]
    fn a_token_is_used_in_the_first_half_of_its_life() {
        let table = [
            (99, false),
            (100, true),
            (149, true),
            (150, false),
            (200, false),
        ];
        for (now, fresh) in table {
            assert_eq!(is_fresh(&token(100, 200), now), fresh, "{now}");
        }
        assert!(!is_fresh(&token(100, 50), 100));
        assert!(is_fresh(&token(1, u64::MAX), 1));
    }

    #[test]
    fn what_was_put_is_got_by_the_same_principal_for_the_same_region_only() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("runner/ecr");
        let (one, other) = (
            TokenCache::new(&directory, "one"),
            TokenCache::new(&directory, "other"),
        );
        let registry = Registry::parse(HOST).unwrap();
        assert_eq!(one.get(&registry), None);
        let token = token(now(), now() + 43_200);
        one.put(&registry, &token).unwrap();
        assert_eq!(one.get(&registry), Some(token.clone()));
        let account = Registry::parse(&HOST.replace("1234", "4321")).unwrap();
        assert_eq!(one.get(&account), Some(token));
        assert_eq!(
            one.get(&Registry::parse(&HOST.replace("east", "west")).unwrap()),
            None
        );
        assert_eq!(other.get(&registry), None);
        one.remove(&registry);
        assert_eq!(one.get(&registry), None);
    }

    #[test]
    fn what_is_over_is_not_kept_and_what_is_broken_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let cache = TokenCache::new(place.path(), "one");
        let registry = Registry::parse(HOST).unwrap();
        cache.put(&registry, &token(now(), 1_420_070_400)).unwrap();
        assert!(!cache.path(&registry).exists());
        for text in [
            "",
            "{}",
            "[",
            r#"{"format":2}"#,
            r#"{"format":1,"token":5}"#,
        ] {
            std::fs::write(cache.path(&registry), text).unwrap();
            assert_eq!(cache.get(&registry), None, "{text}");
        }
    }
}
