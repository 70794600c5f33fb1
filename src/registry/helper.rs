//! Docker's protocol of credential helpers, from the helper's side (REG-9).
//!
//! Docker starts `docker-credential-NAME VERB`, writes to its standard input, and reads its standard output. An answer with
//! exit code 1 is an error, and its words are on standard output too.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::credentials::{Credential, Credentials};
use super::docker_config::NOT_FOUND;
use super::ecr::Registry;
use super::error::{Error, ErrorKind};

/// Largest Dockerfile that is looked through for registries, in bytes.
const LARGEST_DOCKERFILE: u64 = 1024 * 1024;

/// What Docker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The credential for a registry.
    Get,
    /// To keep one.
    Store,
    /// To forget one.
    Erase,
    /// Every registry with a credential.
    List,
}

impl Verb {
    /// The verb of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "get" => Some(Self::Get),
            "store" => Some(Self::Store),
            "erase" => Some(Self::Erase),
            "list" => Some(Self::List),
            _ => None,
        }
    }
}

/// The answer to `get`.
pub fn got(found: Option<Credential>) -> Result<String, String> {
    let found = found.ok_or_else(|| NOT_FOUND.to_owned())?;
    Ok(found.to_json())
}

/// Keeps what `docker login` was given.
pub fn store(credentials: &Credentials, input: &[u8]) -> Result<(), String> {
    let credential = Credential::from_json(input)
        .ok_or("expected a JSON object with ServerURL, Username and Secret")?;
    if credential.server.is_empty() {
        return Err("no credentials server URL".to_owned());
    }
    keep(credentials, &credential).map_err(|error| error.to_string())
}

/// Keeps a credential in the file of the build, or of the user.
pub(super) fn keep(credentials: &Credentials, credential: &Credential) -> Result<(), Error> {
    let Some(stored) = credentials.stored() else {
        let why = "there is no place to keep it: HOME is not set";
        let doing = format!("log in to {}", credential.server);
        return Err(Error::new(ErrorKind::File, doing, why, None));
    };
    let kept = stored.put(credential);
    kept.map_err(|error| Error::file("write", stored.path(), error))
}

/// Forgets what is known of a registry, as `docker logout` wishes: the token of ECR's too, so that the next one is fresh.
pub fn erase(credentials: &Credentials, server: &str) -> Result<(), String> {
    let forgotten = forget(credentials, server);
    forgotten.map(|_| ()).map_err(|error| error.to_string())
}

/// As [`erase`]. Says whether a login was kept.
pub(super) fn forget(credentials: &Credentials, server: &str) -> Result<bool, Error> {
    if let Some(registry) = Registry::parse(server) {
        credentials.forget(&registry);
    }
    let Some(stored) = credentials.stored() else {
        return Ok(false);
    };
    let erased = stored.remove(server);
    erased.map_err(|error| Error::file("write", stored.path(), error))
}

/// Every registry with a credential that is known without asking AWS: names by addresses.
pub fn list(credentials: &Credentials) -> Result<BTreeMap<String, String>, Error> {
    let mut found = credentials.user_config()?.list();
    if let Some(stored) = credentials.stored() {
        let kept = stored.list();
        found.extend(kept.map_err(|error| Error::file("read", stored.path(), error))?);
    }
    Ok(found)
}

/// Registries of ECR's that a `docker` command with these arguments is going to need.
///
/// The classic builder sends all credentials with the build and asks for none later, so `list` has to name what the
/// Dockerfile begins with. It is looked for where the command says: in its own words, in the Dockerfile, and in variables
/// that it hands on as build arguments.
#[must_use]
pub fn needed(
    arguments: &[OsString],
    variable: impl Fn(&str) -> Option<OsString>,
) -> Vec<Registry> {
    let mut found = Vec::new();
    let mut add = |text: &str| {
        for registry in Registry::mentioned(text) {
            if !found.contains(&registry) {
                found.push(registry);
            }
        }
    };
    for (index, argument) in arguments.iter().enumerate().skip(1) {
        let text = argument.to_string_lossy();
        add(&text);
        let value = text.split_once('=').map_or(&*text, |(_, value)| value);
        add(&dockerfile(Path::new(value)));
        let before = arguments[index - 1].as_os_str();
        let handed_on = text.strip_prefix("--build-arg=");
        let handed_on =
            handed_on.or_else(|| (before == OsStr::new("--build-arg")).then_some(&*text));
        if let Some(value) = handed_on
            .filter(|name| !name.contains('='))
            .and_then(&variable)
        {
            add(&value.to_string_lossy());
        }
    }
    found
}

/// The Dockerfile that an argument leads to: itself, or the one in it; nothing where it leads to none.
fn dockerfile(path: &Path) -> String {
    let path = if path.is_dir() {
        path.join("Dockerfile")
    } else {
        path.to_owned()
    };
    let fits = std::fs::metadata(&path)
        .is_ok_and(|found| found.is_file() && found.len() <= LARGEST_DOCKERFILE);
    let text = if fits {
        std::fs::read(&path).ok()
    } else {
        None
    };
    String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registries_of_a_build_are_found_where_its_command_leads() {
        let place = tempfile::tempdir().unwrap();
        let host = |n: u32| format!("{n:012}.dkr.ecr.us-east-1.amazonaws.com");
        let directory = place.path().display();
        std::fs::write(
            place.path().join("Dockerfile"),
            format!("FROM {}/base", host(1)),
        )
        .unwrap();
        std::fs::write(place.path().join("other"), format!("FROM {}/base", host(2))).unwrap();
        let variable = |name: &str| (name == "BASE").then(|| host(3).into());
        let of = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found = needed(&arguments, variable);
            found
                .iter()
                .map(|registry| registry.host().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&format!("docker build {directory}")), [host(1)]);
        assert_eq!(
            of(&format!("docker build -f {directory}/other -")),
            [host(2)]
        );
        assert_eq!(
            of(&format!("docker build --file={directory}/other -")),
            [host(2)]
        );
        assert_eq!(of("docker build --build-arg BASE -"), [host(3)]);
        assert_eq!(of("docker build --build-arg=BASE -"), [host(3)]);
        assert_eq!(
            of(&format!("docker build --build-arg X={} -", host(4))),
            [host(4)]
        );
        assert_eq!(of("docker build --build-arg NONE /nowhere"), [""; 0]);
    }

    #[test]
    fn an_unknown_registry_is_said_in_the_words_of_the_protocol() {
        assert_eq!(
            got(None),
            Err("credentials not found in native keychain".to_owned())
        );
        assert_eq!(Verb::parse("get"), Some(Verb::Get));
        assert_eq!(Verb::parse("version"), None);
    }
}
