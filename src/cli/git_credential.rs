//! Git's credential helper: who is granted what, this program under the helper's name, and what a build has of it (CRED-20 to
//! CRED-29).

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;

use super::args::RequestArgs;
use super::{complain, machine, mistake, print, start};
use crate::aws::Settings as AwsSettings;
use crate::build::ExitCode;
use crate::env::{self, EnvironmentVariable, Origin as VariableOrigin};
use crate::git_credential::{
    self, COUNT, Grant, HELPER_NAME, Keeper, LONGEST, Origin, STOP, Site, Token, VARIABLE,
};
use crate::ownership::OwnedDirectory;
use crate::redact::Hider;
use crate::tool;

/// Name of the socket in its directory.
const SOCKET: &str = "git.socket";

/// What `--git-credential` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GrantArg {
    user: Option<String>,
    /// That of the source, if it is not said.
    site: Option<Site>,
    source: SourceArg,
}

/// Where the token is, before anything is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SourceArg {
    Variable(String),
    File(PathBuf),
    Secret(String),
    Helper,
}

/// Reads `[[USER@]HOST=]SOURCE`.
pub(super) fn parse(text: &str) -> Result<GrantArg, String> {
    if let Some(source) = source_of(text) {
        return Ok(GrantArg {
            user: None,
            site: None,
            source: source?,
        });
    }
    let expected = || {
        "expected [[USER@]HOST=]SOURCE, where SOURCE is env:NAME, file:PATH, secret:ID or helper"
            .to_owned()
    };
    let (place, source) = text.split_once('=').ok_or_else(expected)?;
    let source = source_of(source).ok_or_else(expected)??;
    let (scheme, rest) = match place.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("https", place),
    };
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, rest),
    };
    let site = Site::parse(&format!("{scheme}://{host}")).ok_or_else(|| {
        format!("`{host}` is no host for a token: expected such as github.com, which means HTTPS; HTTP without encryption is for loopback only")
    })?;
    Ok(GrantArg {
        user,
        site: Some(site),
        source,
    })
}

/// `None` if it begins like no source.
fn source_of(text: &str) -> Option<Result<SourceArg, String>> {
    if text == "helper" {
        return Some(Ok(SourceArg::Helper));
    }
    let (kind, rest) = text.split_once(':')?;
    let source = match kind {
        "env" => SourceArg::Variable(rest.to_owned()),
        "file" => SourceArg::File(PathBuf::from(rest)),
        "secret" => SourceArg::Secret(rest.to_owned()),
        _ => return None,
    };
    if rest.is_empty() {
        return Some(Err(format!("`{text}` says nothing behind the colon")));
    }
    Some(Ok(source))
}

/// Variables of the caller that have tokens: commands get none of them (CRED-26).
pub(super) fn withheld(args: &RequestArgs) -> impl Iterator<Item = &str> {
    args.git_credential
        .iter()
        .filter_map(|grant| match &grant.source {
            SourceArg::Variable(name) => Some(name.as_str()),
            SourceArg::File(_) | SourceArg::Secret(_) | SourceArg::Helper => None,
        })
}

/// What is granted. `repository` is where the source was cloned from.
pub(super) fn grants(
    args: &RequestArgs,
    repository: Option<&str>,
) -> Result<Vec<Grant>, clap::Error> {
    args.git_credential
        .iter()
        .map(|grant| {
            let site = grant.site.clone();
            let site = site.or_else(|| Site::of_repository(repository?));
            let site = site.ok_or_else(|| {
                mistake("`--git-credential` has to say which host it is for: the source has no repository with one; write HOST=SOURCE")
            })?;
            Ok(Grant {
                site,
                user: grant.user.clone(),
                origin: origin(&grant.source)?,
            })
        })
        .collect()
}

fn origin(source: &SourceArg) -> Result<Origin, clap::Error> {
    Ok(match source {
        SourceArg::Variable(name) => {
            let value = machine::text(name).ok_or_else(|| {
                mistake(format!(
                    "`--git-credential`: the variable `{name}` is not set here"
                ))
            })?;
            Origin::Value(Token(value))
        }
        SourceArg::File(path) => {
            let here = machine::directory()
                .map_err(|error| mistake(format!("this directory is gone: {error}")))?;
            Origin::File(here.join(path))
        }
        SourceArg::Secret(reference) => Origin::Secret(reference.clone()),
        SourceArg::Helper => Origin::Helper,
    })
}

/// What answers git in a build.
pub(super) fn keeper(grants: Vec<Grant>, aws: &AwsSettings, hider: Hider) -> Arc<Keeper> {
    Keeper::new(grants, aws.clone(), machine::variable("PATH"), hider)
}

/// Leads git in a build with these variables to the helper at this path.
pub(super) fn configure(
    environment: &mut Vec<EnvironmentVariable>,
    grants: &[Grant],
    helper: &Path,
) {
    let mut sites: Vec<Site> = Vec::new();
    for grant in grants {
        if !sites.contains(&grant.site) {
            sites.push(grant.site.clone());
        }
    }
    let counted = environment.iter().find(|variable| variable.name == COUNT);
    let known = counted.and_then(|counted| counted.value.to_str()?.parse().ok());
    // Whoever counts, ours come behind.
    let origin = counted.map_or(VariableOrigin::Default, |counted| counted.origin);
    let origin = origin.max(VariableOrigin::Default);
    for (name, value) in git_credential::settings(&sites, helper, known.unwrap_or(0)) {
        env::set_late(environment, origin, &name, OsString::from(value));
    }
}

/// Tells the helper in a build with these variables where to ask.
pub(super) fn lead_to(environment: &mut Vec<EnvironmentVariable>, socket: &Path) {
    env::set_late(environment, VariableOrigin::Runner, VARIABLE, socket.into());
}

/// What a build on this machine has: a link to this program, and a socket behind which somebody answers. It ends with this.
pub(super) struct Here {
    directory: OwnedDirectory,
}

impl Here {
    /// Makes it, in `place`, and begins to answer; `is_for_all` if commands are other users' too.
    pub(super) fn make(
        place: &Path,
        program: &Path,
        keeper: Arc<Keeper>,
        is_for_all: bool,
    ) -> io::Result<Self> {
        let here = Self {
            directory: OwnedDirectory::make_passable_in(place)?,
        };
        symlink(program, here.helper())?;
        let socket = here.directory.path().join(SOCKET);
        let listener = UnixListener::bind(&socket)?;
        let mode = if is_for_all { 0o666 } else { 0o600 };
        std::fs::set_permissions(&socket, Permissions::from_mode(mode))?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let keeper = Arc::clone(&keeper);
                // What is wrong with a connection is seen at its other end.
                tokio::spawn(async move { drop(tool::serve_git(stream, &keeper).await) });
            }
        });
        Ok(here)
    }

    /// Leads git in a build with these variables here.
    pub(super) fn add_to(&self, environment: &mut Vec<EnvironmentVariable>, grants: &[Grant]) {
        configure(environment, grants, &self.helper());
        lead_to(environment, &self.directory.path().join(SOCKET));
    }

    fn helper(&self) -> PathBuf {
        self.directory.path().join(HELPER_NAME)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.directory.path());
    }
}

/// This program as git's credential helper. What there is for git to keep or to forget is nobody's here.
pub(super) fn serve(arguments: &[OsString]) -> ExitCode {
    match arguments.get(1).and_then(|verb| verb.to_str()) {
        Some("get") => {}
        Some(_) => return ExitCode::Succeeded,
        None => {
            complain(
                "git-credential-runner is called by git: git-credential-runner get|store|erase\n",
            );
            return ExitCode::Usage;
        }
    }
    match answer() {
        Ok(lines) => print(lines.as_bytes()),
        // Nobody else is to be asked: the user of a build is not there.
        Err(why) => {
            complain(&format!("{HELPER_NAME}: {why}\n"));
            print(STOP.as_bytes())
        }
    }
}

fn answer() -> Result<String, String> {
    let mut question = String::new();
    let read = io::stdin().take(LONGEST).read_to_string(&mut question);
    read.map_err(|error| format!("could not read what git asks: {error}"))?;
    let socket = machine::variable(VARIABLE)
        .ok_or("there is no build to ask: this is for commands of a build")?;
    start::ask_runner(Path::new(&socket), async |stream| {
        tool::ask_git(stream, &question).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // CRED-23
    #[test]
    fn grants_are_read() {
        let variable = SourceArg::Variable("T".to_owned());
        let table = [
            ("env:T", Some((None, None, variable.clone()))),
            (
                "github.com=env:T",
                Some((None, Some("https://github.com"), variable.clone())),
            ),
            (
                "me@host:8443=env:T",
                Some((Some("me"), Some("https://host:8443"), variable.clone())),
            ),
            (
                "me@x.org@host=env:T",
                Some((Some("me@x.org"), Some("https://host"), variable)),
            ),
            (
                "http://me@127.0.0.1=helper",
                Some((Some("me"), Some("http://127.0.0.1"), SourceArg::Helper)),
            ),
            (
                "file:/a=b",
                Some((None, None, SourceArg::File("/a=b".into()))),
            ),
            (
                "http://127.0.0.1:81=helper",
                Some((None, Some("http://127.0.0.1:81"), SourceArg::Helper)),
            ),
            (
                "secret:arn:aws:s",
                Some((None, None, SourceArg::Secret("arn:aws:s".to_owned()))),
            ),
            ("helper", Some((None, None, SourceArg::Helper))),
            ("http://host=helper", None),
            ("github.com", None),
            ("github.com=the-token", None),
            ("env:", None),
            ("=env:T", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = parse(text).ok().map(|grant| {
                let site = grant.site.map(|site| site.url());
                (grant.user, site, grant.source)
            });
            let expected = expected.map(|(user, site, source)| {
                (user.map(str::to_owned), site.map(str::to_owned), source)
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
