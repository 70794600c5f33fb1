//! Logging in by wish: credentials into a Docker configuration, the user's own (REG-12) or a build's (REG-10).

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::credentials::{Credential, Credentials};
use super::docker_config::{DockerConfig, OUR_HELPER};
use super::error::{Error, ErrorKind};
use super::helper;
use crate::private;

/// Longest wait for another login of ours that changes the same file.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// Where a credential was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Into `config.json`, where it stands as it is.
    File(PathBuf),
    /// By the user's credential helper.
    Helper(String),
    /// Nowhere: this program is the helper for this registry, and gets a token when one is needed.
    OnDemand,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "kept in {}", path.display()),
            Self::Helper(name) => write!(f, "kept by docker-credential-{name}"),
            Self::OnDemand => {
                f.write_str("docker-credential-runner gets tokens when they are needed")
            }
        }
    }
}

/// Puts credentials where Docker will look for them: each with the helper that is configured for its registry, else into
/// `config.json`. Everything else in that file stays as it is, in its order.
pub fn keep(
    directory: &Path,
    path: Option<&OsStr>,
    credentials: &[Credential],
) -> Result<Vec<Kept>, Error> {
    let file = file_of(directory)?;
    let _lock = lock(&file)?;
    let config = DockerConfig::read(directory, path)?;
    let mut json = config.json().clone();
    let mut kept = Vec::new();
    for credential in credentials {
        let auth = match config.helper(&credential.server) {
            Some(OUR_HELPER) => {
                kept.push(Kept::OnDemand);
                continue;
            }
            Some(name) => {
                config.store_with_helper(name, credential)?;
                kept.push(Kept::Helper(name.to_owned()));
                // Docker itself notes so which registries the helper knows.
                json!({})
            }
            None => {
                kept.push(Kept::File(file.clone()));
                let both = format!("{}:{}", credential.username, credential.secret.reveal());
                json!({"auth": BASE64.encode(both)})
            }
        };
        object(&mut json, "auths", &file)?.insert(credential.server.clone(), auth);
    }
    if kept.iter().any(|kept| *kept != Kept::OnDemand) {
        write(&file, &json)?;
    }
    Ok(kept)
}

/// Keeps what `docker login` was given, where Docker keeps it: with the helper for the registry, this program among
/// them, else in `config.json`.
pub(super) fn log_in(credentials: &Credentials, credential: &Credential) -> Result<(), Error> {
    let (directory, config) = configuration(credentials)?;
    if config.helper(&credential.server) == Some(OUR_HELPER) {
        return helper::keep(credentials, credential);
    }
    let kept = keep(
        directory,
        credentials.path(),
        std::slice::from_ref(credential),
    );
    kept.map(|_| ())
}

/// Forgets what [`log_in`] keeps. Says whether there was something.
pub(super) fn log_out(credentials: &Credentials, server: &str) -> Result<bool, Error> {
    let (directory, config) = configuration(credentials)?;
    let by = config.helper(server);
    if by == Some(OUR_HELPER) {
        return helper::forget(credentials, server);
    }
    if !has_entry(&config, server) {
        return Ok(false);
    }
    if let Some(name) = by {
        config.erase_with_helper(name, server)?;
    }
    let file = file_of(directory)?;
    let _lock = lock(&file)?;
    let mut json = DockerConfig::read(directory, None)?.json().clone();
    let entries = object(&mut json, "auths", &file)?;
    let before = entries.len();
    let host = super::host_of(server);
    entries.retain(|other, _| super::host_of(other) != host);
    let is_changed = entries.len() < before;
    if is_changed {
        write(&file, &json)?;
    }
    Ok(is_changed)
}

/// Docker notes the registries that a helper knows in `auths` too.
fn has_entry(config: &DockerConfig, server: &str) -> bool {
    let host = super::host_of(server);
    let entries = config.json().get("auths").and_then(Value::as_object);
    entries.is_some_and(|entries| entries.keys().any(|other| super::host_of(other) == host))
}

fn configuration(credentials: &Credentials) -> Result<(&Path, DockerConfig), Error> {
    let Some(directory) = credentials.docker_config() else {
        let why = "neither DOCKER_CONFIG nor HOME is set";
        let doing = "find Docker's configuration";
        return Err(Error::new(ErrorKind::File, doing, why, None));
    };
    Ok((
        directory,
        DockerConfig::read(directory, credentials.path())?,
    ))
}

/// Makes this program the credential helper for registries.
pub fn register(directory: &Path, hosts: &[&str]) -> Result<PathBuf, Error> {
    let file = file_of(directory)?;
    let _lock = lock(&file)?;
    let mut json = DockerConfig::read(directory, None)?.json().clone();
    for host in hosts {
        object(&mut json, "credHelpers", &file)?.insert((*host).to_owned(), OUR_HELPER.into());
    }
    write(&file, &json)?;
    Ok(file)
}

/// The file itself: people keep it elsewhere, and link to it.
fn file_of(directory: &Path) -> Result<PathBuf, Error> {
    if !directory.exists() {
        private::directory(directory).map_err(|error| Error::file("make", directory, error))?;
    }
    let file = directory.join("config.json");
    Ok(file.canonicalize().unwrap_or(file))
}

fn lock(file: &Path) -> Result<private::Lock, Error> {
    let path = file.with_file_name(".config.json.runner-lock");
    private::lock(&path, LOCK_LIMIT).map_err(|error| Error::file("lock", &path, error))
}

fn object<'j>(
    json: &'j mut Map<String, Value>,
    key: &str,
    file: &Path,
) -> Result<&'j mut Map<String, Value>, Error> {
    let value = json.entry(key).or_insert_with(|| json!({}));
    value.as_object_mut().ok_or_else(|| {
        let why = format!("`{key}` in it is no object");
        let doing = format!("change {}", file.display());
        Error::new(ErrorKind::File, doing, why, Some("correct it".to_owned()))
    })
}

/// Replaces the file, indented as it was; Docker indents by tabs.
fn write(file: &Path, json: &Map<String, Value>) -> Result<(), Error> {
    let before = std::fs::read_to_string(file).unwrap_or_default();
    let indent: String = before
        .lines()
        .find(|line| line.starts_with([' ', '\t']))
        .map_or_else(
            || "\t".to_owned(),
            |line| {
                line.chars()
                    .take_while(|c| [' ', '\t'].contains(c))
                    .collect()
            },
        );
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let written = json.serialize(&mut serde_json::Serializer::with_formatter(
        &mut text, formatter,
    ));
    written.map_err(|error| Error::file("write", file, error))?;
    if before.ends_with('\n') {
        text.push(b'\n');
    }
    private::write(file, &text).map_err(|error| Error::file("write", file, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::credentials::Secret;
    use super::*;

    fn credential(server: &str) -> Credential {
        Credential {
            server: server.to_owned(),
            username: "AWS".to_owned(),
            secret: Secret::new("token"),
        }
    }

    #[test]
    fn a_login_leaves_the_rest_of_the_file_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("docker");
        let file = directory.join("config.json");
        let kept = keep(&directory, None, &[credential("h.example")]).unwrap();
        assert_eq!(kept, [Kept::File(file.clone())]);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text =
            "{\n  \"zeta\": 1.50,\n  \"auths\": {\n    \"a\": {}\n  },\n  \"alpha\": \"é\"\n}\n";
        std::fs::write(&file, text).unwrap();
        keep(&directory, None, &[credential("h.example")]).unwrap();
        let expected = text
            .replace(
                "\"a\": {}\n",
                "\"a\": {},\n    \"h.example\": {\n      \"auth\": \"QVdTOnRva2Vu\"\n    }\n",
            )
            .replace("1.50", "1.5");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
        std::fs::write(&file, "{ broken").unwrap();
        assert!(keep(&directory, None, &[credential("h.example")]).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{ broken");
        std::fs::write(&file, r#"{"auths": 5}"#).unwrap();
        let error = keep(&directory, None, &[credential("h.example")]).unwrap_err();
        assert!(error.to_string().contains("`auths` in it is no object"));
    }

    #[test]
    fn a_linked_file_stays_a_link() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().join("real.json");
        std::fs::write(&real, "{}").unwrap();
        let link = place.path().join("config.json");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        keep(place.path(), None, &[credential("h.example")]).unwrap();
        assert!(link.is_symlink());
        assert!(
            std::fs::read_to_string(&real)
                .unwrap()
                .contains("h.example")
        );
    }

    #[test]
    fn the_users_helper_keeps_what_it_is_for() {
        let place = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\ncat > \"$DOCKER_CONFIG/kept-$1\"\n";
        let helper = place.path().join("docker-credential-test");
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(place.path().join("config.json"), r#"{"credsStore":"test"}"#).unwrap();
        register(place.path(), &["own.example"]).unwrap();
        let path = Some(place.path().as_os_str());
        let all = [credential("h.example"), credential("own.example")];
        let kept = keep(place.path(), path, &all).unwrap();
        assert_eq!(kept, [Kept::Helper("test".to_owned()), Kept::OnDemand]);
        let given = std::fs::read(place.path().join("kept-store")).unwrap();
        assert_eq!(Credential::from_json(&given), Some(credential("h.example")));
        let text = std::fs::read_to_string(place.path().join("config.json")).unwrap();
        assert!(
            text.contains("\"h.example\": {}") && !text.contains("token"),
            "{text}"
        );
        assert!(
            keep(place.path(), None, &all)
                .unwrap_err()
                .to_string()
                .contains("not on PATH")
        );
    }
}
