//! Docker's own configuration: who the user is for which registry, in `config.json` and with credential helpers (REG-8).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::credentials::{Credential, IDENTITY_TOKEN, Secret};
use super::error::{Error, ErrorKind};
use crate::event::Exit;
use crate::process;

/// Name of this program as a credential helper, without `docker-credential-`.
pub const OUR_HELPER: &str = "runner";

/// What every helper says, by the protocol, of a registry it does not know.
pub const NOT_FOUND: &str = "credentials not found in native keychain";

/// How long another helper may take: some ask a person for a passphrase.
const HELPER_LIMIT: Duration = Duration::from_mins(1);

/// Most bytes of an answer of a helper's.
const MOST: u64 = 1024 * 1024;

/// Docker's configuration in one directory.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    directory: PathBuf,
    json: Map<String, Value>,
    path: Option<OsString>,
}

impl DockerConfig {
    /// Reads `config.json` of a directory; where there is none, nothing is configured. `path` is where helpers are.
    pub fn read(directory: &Path, path: Option<&OsStr>) -> Result<Self, Error> {
        let file = directory.join("config.json");
        let json = match std::fs::read(&file) {
            // Docker, too, takes an empty file for none.
            Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Map::new(),
            Ok(text) => serde_json::from_slice(&text).map_err(|error| broken(&file, &error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(Error::file("read", &file, error)),
        };
        Ok(Self {
            directory: directory.to_owned(),
            json,
            path: path.map(OsStr::to_owned),
        })
    }

    /// Everything in the file, in its order.
    #[must_use]
    pub const fn json(&self) -> &Map<String, Value> {
        &self.json
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `HttpHeaders`: sent to the engine with every request.
    #[must_use]
    pub fn http_headers(&self) -> BTreeMap<String, String> {
        let headers = self.json.get("HttpHeaders").and_then(Value::as_object);
        let text =
            |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        headers.into_iter().flatten().filter_map(text).collect()
    }

    /// The helper for a registry: its own in `credHelpers`, else `credsStore`.
    #[must_use]
    pub fn helper(&self, server: &str) -> Option<&str> {
        let own = entry(self.json.get("credHelpers"), server).and_then(|(_, value)| value.as_str());
        own.or_else(|| self.json.get("credsStore")?.as_str())
            .filter(|name| !name.is_empty())
    }

    /// The credential in the file itself.
    #[must_use]
    pub fn auth(&self, server: &str) -> Option<Credential> {
        let (server, auth) = entry(self.json.get("auths"), server)?;
        credential_in(server, auth)
    }

    /// The registries with a credential in the file itself, as they are written.
    pub(super) fn auths(&self) -> Vec<String> {
        let all = objects(self.json.get("auths"));
        all.filter_map(|(server, auth)| Some(credential_in(server, auth)?.server))
            .collect()
    }

    /// The credential for a registry: from its helper, else from the file. Our own helper is left out: whoever asks is it.
    pub fn credential(&self, server: &str) -> Result<Option<Credential>, Error> {
        if let Some(name) = self.helper(server).filter(|name| *name != OUR_HELPER)
            && let Some(found) = self.ask_helper(name, server)?
        {
            return Ok(Some(found));
        }
        Ok(self.auth(server))
    }

    /// Every registry that something is known of, with the user's name as far as it can be told without asking each.
    #[must_use]
    pub fn list(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        if let Some(store) = self.json.get("credsStore").and_then(Value::as_str)
            && store != OUR_HELPER
            && let Ok(answer) = self.start(store, "list", b"")
            && let Ok(listed) = serde_json::from_slice::<BTreeMap<String, String>>(&answer.output)
        {
            found.extend(listed);
        }
        for (server, auth) in objects(self.json.get("auths")) {
            if let Some(credential) = credential_in(server, auth) {
                found.insert(server.clone(), credential.username);
            }
        }
        for (server, name) in objects(self.json.get("credHelpers")) {
            if name.as_str().is_some_and(|name| name != OUR_HELPER) {
                found.entry(server.clone()).or_default();
            }
        }
        found
    }

    /// Gives a credential to a helper to keep.
    pub fn store_with_helper(&self, name: &str, credential: &Credential) -> Result<(), Error> {
        self.tell_helper(name, "store", credential.to_json().as_bytes())
    }

    /// Has a helper forget a registry.
    pub(super) fn erase_with_helper(&self, name: &str, server: &str) -> Result<(), Error> {
        self.tell_helper(name, "erase", server.as_bytes())
    }

    fn tell_helper(&self, name: &str, verb: &str, input: &[u8]) -> Result<(), Error> {
        let doing = format!("{verb} with docker-credential-{name}");
        let answer = self.start(name, verb, input);
        let answer = answer.map_err(|error| self.no_helper(&doing, name, &error))?;
        match answer.exit {
            Exit::Exited(0) => Ok(()),
            _ => Err(said(&doing, &answer.output)),
        }
    }

    fn ask_helper(&self, name: &str, server: &str) -> Result<Option<Credential>, Error> {
        let doing = format!("ask docker-credential-{name} for {server}");
        // Docker's hub is known to helpers by its whole address only.
        let answer = self.start(name, "get", server.as_bytes());
        let answer = answer.map_err(|error| self.no_helper(&doing, name, &error))?;
        if answer.exit != Exit::Exited(0) {
            let text = String::from_utf8_lossy(&answer.output);
            return match text.trim() {
                NOT_FOUND => Ok(None),
                _ => Err(said(&doing, &answer.output)),
            };
        }
        let found = Credential::from_json(&answer.output);
        found.map(Some).ok_or_else(|| {
            let why = "its answer is not that of a credential helper";
            Error::new(ErrorKind::Helper, doing, why, None)
        })
    }

    fn start(&self, name: &str, verb: &str, input: &[u8]) -> io::Result<process::Answer> {
        let program = format!("docker-credential-{name}");
        if name.contains('/') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let program = process::find_program(&program, self.path.as_deref());
        let program = program.ok_or(io::ErrorKind::NotFound)?;
        let variables = [("DOCKER_CONFIG", self.directory.as_os_str())];
        process::ask(&program, &[verb], &variables, input, HELPER_LIMIT, MOST)
    }

    fn no_helper(&self, doing: &str, name: &str, error: &io::Error) -> Error {
        let file = self.directory.join("config.json");
        let file = file.display();
        let (why, help) = match error.kind() {
            io::ErrorKind::NotFound => (
                "it is not on PATH".to_owned(),
                format!("install docker-credential-{name}, or take it out of {file}"),
            ),
            io::ErrorKind::TimedOut => (
                format!(
                    "it did not answer within {} seconds",
                    HELPER_LIMIT.as_secs()
                ),
                format!("see what it waits for, or take it out of {file}"),
            ),
            _ => (error.to_string(), format!("{file} names it")),
        };
        Error::new(ErrorKind::Helper, doing, why, Some(help))
    }
}

fn broken(file: &Path, error: &serde_json::Error) -> Error {
    let mut broken = Error::file("read", file, format!("it is no JSON object: {error}"));
    broken.help = Some("correct it, or move it away".to_owned());
    broken
}

/// What a helper that failed has said, in one line.
fn said(doing: &str, output: &[u8]) -> Error {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().find(|line| !line.trim().is_empty());
    let line: String = line
        .unwrap_or("it failed without a word")
        .trim()
        .chars()
        .take(300)
        .collect();
    Error::new(ErrorKind::Helper, doing, line, None)
}

fn objects(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

/// The entry of a registry: as it is written, else one that means the same registry.
fn entry<'v>(value: Option<&'v Value>, server: &str) -> Option<(&'v String, &'v Value)> {
    let host = super::host_of(server);
    objects(value)
        .find(|(other, _)| *other == server)
        .or_else(|| objects(value).find(|(other, _)| super::host_of(other) == host))
}

/// `auth` is name and password in Base64; older versions of Docker, and other programs, write them as they are.
fn credential_in(server: &str, auth: &Value) -> Option<Credential> {
    let text = |key: &str| auth.get(key)?.as_str().filter(|text| !text.is_empty());
    let made = |username: &str, secret: &str| Credential {
        server: server.to_owned(),
        username: username.to_owned(),
        secret: Secret::new(secret),
    };
    if let Some(token) = text("identitytoken") {
        return Some(made(IDENTITY_TOKEN, token));
    }
    if let Some(encoded) = text("auth") {
        let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        return Some(made(username, password.trim_end_matches('\0')));
    }
    Some(made(text("username")?, text("password")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with a helper `test` that answers as this script does.
    fn config(json: &str, script: &str) -> (tempfile::TempDir, DockerConfig) {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("config.json"), json).unwrap();
        let helper = place.path().join("docker-credential-test");
        std::fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = DockerConfig::read(place.path(), Some(place.path().as_os_str())).unwrap();
        (place, config)
    }

    fn shown(found: Option<Credential>) -> Option<(String, String, String)> {
        let found = found?;
        Some((
            found.server,
            found.username,
            found.secret.reveal().to_owned(),
        ))
    }

    #[test]
    fn entries_are_found_in_every_form_they_are_written() {
        let json = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3OngA"},
            "h.example": {"username": "me", "password": "pw"},
            "https://t.example/v2/": {"auth": "eDp5", "identitytoken": "tok"},
            "empty.example": {}, "broken.example": {"auth": "%"}, "odd.example": 5
        }, "HttpHeaders": {"X-Meta": "1", "Odd": 2}}"#;
        let (_place, config) = config(json, "exit 9");
        let table = [
            (
                "docker.io",
                Some(("https://index.docker.io/v1/", "hub", "pw:x")),
            ),
            ("https://h.example", Some(("h.example", "me", "pw"))),
            (
                "t.example",
                Some(("https://t.example/v2/", IDENTITY_TOKEN, "tok")),
            ),
            ("empty.example", None),
            ("broken.example", None),
            ("odd.example", None),
            ("unknown.example", None),
        ];
        for (server, expected) in table {
            let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
            assert_eq!(
                shown(config.credential(server).unwrap()),
                expected,
                "{server}"
            );
        }
        assert_eq!(config.list().len(), 3);
        assert_eq!(config.http_headers().len(), 1);
    }

    #[test]
    fn helpers_are_asked_before_the_file() {
        let script = r#"read server; case "$1 $server" in
            "get one.example") echo '{"ServerURL":"one.example","Username":"u","Secret":"s"}' ;;
            "get bad.example") echo '{"Username":"u"}' ;;
            "get locked.example") echo 'the keychain is locked'; exit 1 ;;
            list*) echo '{"one.example":"u"}' ;;
            *) echo 'credentials not found in native keychain'; exit 1 ;;
        esac"#;
        let json = r#"{"credsStore": "test", "credHelpers": {"gone.example": "gone", "own.example": "runner"},
            "auths": {"two.example": {"auth": "YTpi"}, "one.example": {"auth": "YTpi"}}}"#;
        let (_place, config) = config(json, script);
        let of = |server: &str| shown(config.credential(server).unwrap()).map(|found| found.2);
        assert_eq!(of("one.example").as_deref(), Some("s"));
        assert_eq!(of("two.example").as_deref(), Some("b"));
        assert_eq!(of("unknown.example"), None);
        assert_eq!(of("own.example"), None);
        let why = |server: &str| config.credential(server).unwrap_err().to_string();
        assert!(why("locked.example").ends_with(": the keychain is locked"));
        assert!(why("bad.example").contains("not that of a credential helper"));
        assert!(
            why("gone.example")
                .ends_with("docker-credential-gone for gone.example: it is not on PATH")
        );
        let listed: Vec<String> = config.list().into_keys().collect();
        assert_eq!(listed, ["gone.example", "one.example", "two.example"]);
    }

    #[test]
    fn a_configuration_that_is_none_is_said() {
        let place = tempfile::tempdir().unwrap();
        let read = || DockerConfig::read(place.path(), None);
        assert!(read().unwrap().json().is_empty());
        std::fs::write(place.path().join("config.json"), " \n").unwrap();
        assert!(read().unwrap().json().is_empty());
        for text in ["[]", "{", "{\"auths\": }"] {
            std::fs::write(place.path().join("config.json"), text).unwrap();
            assert!(read().unwrap_err().to_string().contains("no JSON object"));
        }
    }
}
