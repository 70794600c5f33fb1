//! Answers git.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::grant::{Grant, Origin, Token};
use super::protocol::{self, Question};
use crate::aws;
use crate::env::{Origin as VariableOrigin, SecretReference};
use crate::plan::SecretPlan;
use crate::process;
use crate::redact::{self, Hider};
use crate::secret::SecretSource;
use crate::units;

/// How long the caller's own git may take.
const GIT_LIMIT: Duration = Duration::from_secs(30);

/// Most that it may write, and most that a file with a token may have, in bytes.
const MOST: u64 = 64 * 1024;

/// Has what a build's git is granted.
#[derive(Debug)]
pub struct Keeper {
    grants: Vec<Grant>,
    secrets: SecretSource,
    /// PATH, for the caller's own git.
    path: Option<OsString>,
    hider: Hider,
}

/// A user and their token.
type Credential = (String, Token);

impl Keeper {
    /// One with these grants; `aws` says how Secrets Manager is reached. What is secret is told to `hider` before git sees it.
    #[must_use]
    pub fn new(
        grants: Vec<Grant>,
        aws: aws::Settings,
        path: Option<OsString>,
        hider: Hider,
    ) -> Arc<Self> {
        let secrets = SecretSource {
            aws,
            given: Vec::new(),
        };
        for grant in &grants {
            if let Origin::Value(token) = &grant.origin {
                hider.hide(redact::forms(token.0.as_bytes()));
            }
        }
        Arc::new(Self {
            grants,
            secrets,
            path,
            hider,
        })
    }

    /// Answers a question of git's: with lines for git, with nothing if it is not for a host that was granted. What went wrong
    /// is said in words, without any token.
    pub async fn answer(&self, question: &str) -> Result<String, String> {
        let question = Question::read(question).ok_or("this is no question of git's")?;
        let Question {
            protocol,
            host,
            username,
        } = &question;
        let granted = |grant: &&Grant| {
            let is_same = |user: &String| username.as_ref().is_none_or(|asked| asked == user);
            grant.site.is(protocol, host) && grant.user.as_ref().is_none_or(is_same)
        };
        // Of several for one host the last word counts.
        let Some(grant) = self.grants.iter().rev().find(granted) else {
            return Ok(String::new());
        };
        let (user, token) = self
            .credential(grant, username.as_deref())
            .await
            .map_err(|why| format!("no credential for {}: {why}", grant.site.url()))?;
        self.hider.hide(redact::forms(token.0.as_bytes()));
        protocol::answer(&user, &token.0).ok_or_else(|| {
            format!(
                "no credential for {}: the token is empty, or has several lines",
                grant.site.url()
            )
        })
    }

    /// Whether every token can be had, as far as that is found out without git: the first reason why not.
    pub async fn check(&self) -> Result<(), String> {
        for grant in &self.grants {
            if matches!(grant.origin, Origin::Secret(_) | Origin::File(_)) {
                let found = self.credential(grant, None).await;
                let (_, token) = found.map_err(|why| {
                    format!(
                        "could not get a git credential for {}: {why}",
                        grant.site.url()
                    )
                })?;
                self.hider.hide(redact::forms(token.0.as_bytes()));
            }
        }
        Ok(())
    }

    async fn credential(&self, grant: &Grant, asked: Option<&str>) -> Result<Credential, String> {
        let user = || {
            let said = grant.user.as_deref().or(asked);
            said.unwrap_or_else(|| grant.usual_user()).to_owned()
        };
        match &grant.origin {
            Origin::Value(token) => Ok((user(), token.clone())),
            Origin::File(path) => Ok((user(), read_file(path)?)),
            Origin::Secret(reference) => {
                let text = self.fetch(reference).await?;
                match SecretReference::secret(reference) {
                    SecretReference::Secret { json_key: None, .. } => {
                        let (whose, token) = of_source(grant, &text)?;
                        Ok((whose.unwrap_or_else(user), token))
                    }
                    _ => Ok((user(), Token(text))),
                }
            }
            Origin::Helper => self.ask_git(grant, asked).await,
        }
    }

    async fn fetch(&self, reference: &str) -> Result<String, String> {
        const NAME: &str = "git-credential";
        let plan = SecretPlan {
            name: NAME.to_owned(),
            origin: VariableOrigin::Runner,
            reference: SecretReference::secret(reference),
        };
        let fetched = self.secrets.fetch(std::slice::from_ref(&plan)).await;
        let fetched = fetched.map_err(|error| error.to_string())?;
        let first = fetched.into_iter().next();
        first
            .map(|one| one.value)
            .ok_or_else(|| "it was not sent".to_owned())
    }

    /// What the caller's own git has. It is asked where no repository is: one in the source could have settings of the
    /// build's, which are commands.
    async fn ask_git(&self, grant: &Grant, asked: Option<&str>) -> Result<Credential, String> {
        let git = process::find_program("git", self.path.as_deref());
        let git = git.ok_or("there is no git on the PATH of runner")?;
        let mut input = format!(
            "protocol={}\nhost={}\n",
            grant.site.protocol(),
            grant.site.host()
        );
        if let Some(user) = grant.user.as_deref().or(asked) {
            input.push_str(&format!("username={user}\n"));
        }
        input.push('\n');
        let answered = tokio::task::spawn_blocking(move || {
            // Nobody is there to be asked.
            let quiet = [("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", "false")];
            let quiet = quiet.map(|(name, value)| (name, OsStr::new(value)));
            let arguments = ["-C", "/", "credential", "fill"];
            process::ask(&git, &arguments, &quiet, input.as_bytes(), GIT_LIMIT, MOST)
        });
        let answered = answered.await.map_err(|error| error.to_string())?;
        let answer = answered.map_err(|error| format!("the caller's git: {error}"))?;
        let text = String::from_utf8_lossy(&answer.output).into_owned();
        let (user, password) = protocol::said(&text)
            .filter(|_| answer.exit.is_success())
            .ok_or("the caller's git has none")?;
        Ok((user, Token(password)))
    }
}

/// The first line of a file that is the caller's alone.
fn read_file(path: &Path) -> Result<Token, String> {
    let about = |why: String| format!("{}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|error| about(error.to_string()))?;
    let found = file.metadata().map_err(|error| about(error.to_string()))?;
    if found.permissions().mode() & 0o077 != 0 {
        return Err(about(
            "others can read it or write to it: `chmod 600` makes it yours alone".to_owned(),
        ));
    }
    let own = rustix::process::geteuid().as_raw();
    if !found.is_file() || (found.uid() != own && own != 0) {
        return Err(about("it is not a file of yours".to_owned()));
    }
    if found.len() > MOST {
        let most = units::render_size(MOST);
        return Err(about(format!("it is larger than {most}, and no token")));
    }
    let text = std::io::read_to_string(file).map_err(|error| about(error.to_string()))?;
    Ok(Token(
        text.lines().next().unwrap_or_default().trim().to_owned(),
    ))
}

/// User and token of a secret as CodeBuild has them for its sources: `ServerType`, `AuthType`, `Token`, and `Username` where a
/// password is meant. Nothing of the token is in what is said.
fn of_source(grant: &Grant, text: &str) -> Result<(Option<String>, Token), String> {
    const SHAPE: &str = "it is no JSON object with `ServerType`, `AuthType` and `Token`: name the key of a token in another secret as ID:KEY";
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
        return Err(SHAPE.to_owned());
    };
    let field = |name: &str| fields.get(name).and_then(Value::as_str);
    let (Some(server), Some(kind), Some(token)) =
        (field("ServerType"), field("AuthType"), field("Token"))
    else {
        return Err(SHAPE.to_owned());
    };
    let host = grant.site.host();
    let expected = match server {
        "GITHUB" => Some("github.com"),
        "BITBUCKET" => Some("bitbucket.org"),
        "GITLAB" => Some("gitlab.com"),
        _ => None,
    };
    if expected.is_some_and(|expected| expected != host) {
        return Err(format!("the secret is for {server}, which is not {host}"));
    }
    let user = match (kind, server) {
        ("BASIC_AUTH", _) => Some(field("Username").ok_or("the secret has no `Username`")?),
        ("PERSONAL_ACCESS_TOKEN" | "OAUTH", "BITBUCKET") => Some("x-token-auth"),
        ("PERSONAL_ACCESS_TOKEN" | "OAUTH", "GITLAB" | "GITLAB_SELF_MANAGED") => Some("oauth2"),
        ("PERSONAL_ACCESS_TOKEN" | "OAUTH", "GITHUB" | "GITHUB_ENTERPRISE") => {
            Some("x-access-token")
        }
        ("PERSONAL_ACCESS_TOKEN" | "OAUTH", _) => None,
        (other, _) => {
            return Err(format!(
                "a secret with the `AuthType` {other} has no token that git could use"
            ));
        }
    };
    let user = grant.user.clone().or_else(|| user.map(str::to_owned));
    Ok((user, Token(token.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git_credential::Site;

    fn grant(site: &str, user: Option<&str>, origin: Origin) -> Grant {
        Grant {
            site: Site::parse(site).expect("a site"),
            user: user.map(str::to_owned),
            origin,
        }
    }

    fn keeper(grants: Vec<Grant>) -> Arc<Keeper> {
        Keeper::new(grants, aws::Settings::default(), None, Hider::default())
    }

    // CRED-22 CRED-24
    #[tokio::test]
    async fn a_token_is_for_the_host_it_belongs_to() {
        let value = |token: &str| Origin::Value(Token(token.to_owned()));
        let keeper = keeper(vec![
            grant("github.com", None, value("one")),
            grant("gitlab.example.com", Some("me"), value("two")),
            grant("github.com", Some("bot"), value("three")),
            grant("bitbucket.org", None, value("four\nlines")),
        ]);
        let table = [
            (
                "https",
                "github.com",
                None,
                Ok("username=bot\npassword=three\n"),
            ),
            (
                "https",
                "github.com",
                Some("bot"),
                Ok("username=bot\npassword=three\n"),
            ),
            (
                "https",
                "github.com",
                Some("you"),
                Ok("username=you\npassword=one\n"),
            ),
            (
                "https",
                "gitlab.example.com",
                None,
                Ok("username=me\npassword=two\n"),
            ),
            ("https", "gitlab.example.com", Some("you"), Ok("")),
            ("http", "github.com", None, Ok("")),
            ("https", "example.com", None, Ok("")),
            ("https", "bitbucket.org", None, Err(())),
        ];
        for (protocol, host, user, expected) in table {
            let user = user
                .map(|user| format!("username={user}\n"))
                .unwrap_or_default();
            let question = format!("protocol={protocol}\nhost={host}\n{user}\n");
            let answer = keeper.answer(&question).await;
            let answer = answer.as_deref().map_err(|error| {
                assert!(
                    !error.contains("lines\n") && !error.contains("four"),
                    "{error}"
                );
            });
            assert_eq!(answer, expected, "{question}");
        }
        let hidden = keeper.hider.take();
        assert!(hidden.iter().any(|value| value == b"three"));
    }

    // CRED-25
    #[test]
    fn secrets_of_codebuild_are_read() {
        let one = |server: &str, kind: &str, more: &str| {
            format!(r#"{{"ServerType":"{server}","AuthType":"{kind}","Token":"s3cr3t"{more}}}"#)
        };
        let table = [
            (
                "github.com",
                one("GITHUB", "PERSONAL_ACCESS_TOKEN", ""),
                Ok("x-access-token"),
            ),
            (
                "ghe.example.com",
                one("GITHUB_ENTERPRISE", "PERSONAL_ACCESS_TOKEN", ""),
                Ok("x-access-token"),
            ),
            (
                "gitlab.com",
                one("GITLAB", "PERSONAL_ACCESS_TOKEN", ""),
                Ok("oauth2"),
            ),
            (
                "bitbucket.org",
                one("BITBUCKET", "PERSONAL_ACCESS_TOKEN", ""),
                Ok("x-token-auth"),
            ),
            (
                "bitbucket.org",
                one("BITBUCKET", "BASIC_AUTH", r#","Username":"me""#),
                Ok("me"),
            ),
            (
                "bitbucket.org",
                one("BITBUCKET", "BASIC_AUTH", ""),
                Err("no `Username`"),
            ),
            (
                "github.com",
                one("GITLAB", "PERSONAL_ACCESS_TOKEN", ""),
                Err("is for GITLAB"),
            ),
            (
                "github.com",
                one("GITHUB", "CODECONNECTIONS", ""),
                Err("no token that git could use"),
            ),
            ("github.com", "s3cr3t".to_owned(), Err("ID:KEY")),
            (
                "github.com",
                r#"{"Token":"s3cr3t"}"#.to_owned(),
                Err("ID:KEY"),
            ),
        ];
        for (host, text, expected) in table {
            let grant = grant(host, None, Origin::Secret("s".to_owned()));
            match (of_source(&grant, &text), expected) {
                (Ok((user, token)), Ok(expected)) => {
                    assert_eq!(
                        (user.as_deref(), token.0.as_str()),
                        (Some(expected), "s3cr3t")
                    );
                }
                (Err(error), Err(part)) => {
                    assert!(error.contains(part) && !error.contains("s3cr3t"), "{error}");
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    // CRED-24
    #[test]
    fn a_file_with_a_token_is_its_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        std::fs::write(&path, "the-token \nmore\n").unwrap();
        for (mode, expected) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = read_file(&path);
            assert_eq!(
                found.is_ok_and(|token| token.0 == "the-token"),
                expected,
                "{mode:o}"
            );
        }
        assert!(read_file(place.path()).is_err());
        assert!(read_file(&place.path().join("none")).is_err());
    }
}
