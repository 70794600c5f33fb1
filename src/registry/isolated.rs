//! A Docker configuration of a build's own: this program is the credential helper in it, and everything else is the user's
//! (REG-10, REG-11).
//!
//! Two directories in one of the build's:
//!
//! - `config`, for `DOCKER_CONFIG`: `config.json` is the user's without credentials, and with `credsStore: runner`; contexts,
//!   plug-ins and all else are links to the user's own, for `DOCKER_CONFIG` is where Docker looks for those too.
//! - `bin`, for the end of PATH: `docker-credential-runner`, a link to this program.
//!
//! Whom a command runs as may change from phase to phase (REG-14). So the way in is open to those who know it, `config`
//! belongs to the user of the command and is closed to all others, and within it each user has a file of logins.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::docker_config::{DockerConfig, OUR_HELPER};
use super::error::Error;
use crate::env::{EnvironmentVariable, Origin};
use crate::ownership::OwnedDirectory;
use crate::private;

/// The variable that names Docker's configuration.
pub const VARIABLE: &str = "DOCKER_CONFIG";

/// Name under which this program is a credential helper.
pub const HELPER_NAME: &str = "docker-credential-runner";

/// Docker's file.
const CONFIG: &str = "config.json";

/// File that says whose configuration this one was made from.
const ORIGIN: &str = "runner.json";

/// Permissions of what can be read by: whoever gets into the directory.
const READABLE: u32 = 0o644;

/// Permissions of a directory that others pass through.
const PASSABLE: u32 = 0o711;

/// Keys of the user's `config.json` that are the helper's business from now on.
const OF_CREDENTIALS: &[&str] = &["auths", "credsStore", "credHelpers"];

/// A configuration of one build. It goes away with the value.
#[derive(Debug)]
pub struct Isolated {
    directory: OwnedDirectory,
}

impl Isolated {
    /// Makes one, in a directory in `place`; `user` is the user's own configuration, if there can
    /// be one; `program` is this program.
    pub fn make(place: &Path, user: Option<&Path>, program: &Path) -> Result<Self, Error> {
        let config = match user {
            Some(user) => DockerConfig::read(user, None)?,
            None => DockerConfig::default(),
        };
        let doing = "make a Docker configuration for this build in";
        // From here on, whatever happens, it is removed.
        let directory = OwnedDirectory::make_passable_in(place)
            .map_err(|error| Error::file(doing, place, error))?;
        let isolated = Self { directory };
        isolated
            .fill(&config, user, program)
            .map_err(|error| Error::file(doing, isolated.directory.path(), error))?;
        Ok(isolated)
    }

    fn fill(&self, config: &DockerConfig, user: Option<&Path>, program: &Path) -> io::Result<()> {
        let (own, bin) = (self.config(), self.bin());
        for directory in [&own, &bin] {
            private::directory(directory)?;
        }
        fs::set_permissions(&bin, Permissions::from_mode(PASSABLE))?;
        symlink(program, bin.join(HELPER_NAME))?;
        if let Some(user) = user {
            link_all(user, &own)?;
        }
        // This process: after a crash, whoever clears up can tell that nobody needs this any more.
        let origin = json!({"user-directory": user, "pid": std::process::id()});
        let text = serde_json::to_vec_pretty(&without_credentials(config.json()))?;
        for (name, content) in [
            (ORIGIN, origin.to_string().as_bytes()),
            (CONFIG, text.as_slice()),
        ] {
            private::write(&own.join(name), content)?;
            fs::set_permissions(own.join(name), Permissions::from_mode(READABLE))?;
        }
        Ok(())
    }

    /// For `DOCKER_CONFIG`. It has to belong to whoever uses it, and nobody else can look into it.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// For the end of PATH.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    /// Makes it the configuration of a build with these variables.
    pub fn add_to(&self, environment: &mut Vec<EnvironmentVariable>) {
        for variable in environment
            .iter_mut()
            .filter(|variable| variable.name == "PATH")
        {
            let mut path = std::mem::take(&mut variable.value);
            if !path.is_empty() {
                path.push(":");
            }
            path.push(self.bin());
            variable.value = path;
        }
        environment.retain(|variable| variable.name != VARIABLE);
        let place = environment
            .partition_point(|variable| variable.name.as_os_str() < OsStr::new(VARIABLE));
        let variable = EnvironmentVariable {
            name: VARIABLE.into(),
            value: self.config().into_os_string(),
            origin: Origin::Default,
        };
        environment.insert(place, variable);
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        // Links go, not what they lead to.
        let _ = fs::remove_dir_all(self.directory.path());
    }
}

/// Whether a build with these variables wants one: not if somebody has said which configuration is to be used.
#[must_use]
pub fn is_wanted(environment: &[EnvironmentVariable]) -> bool {
    !environment
        .iter()
        .any(|variable| variable.name == VARIABLE && variable.origin > Origin::Environment)
}

/// What a configuration of a build was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MadeFrom {
    /// The user's own configuration, if there can be one.
    pub(super) user: Option<PathBuf>,
}

/// File with what `docker login` said to this process's user, in a build's configuration in this directory.
pub(super) fn stored(directory: &Path) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    directory.join(format!("runner-credentials-{user}.json"))
}

/// What the configuration in this directory was made from, if it is one of a build.
pub(super) fn made_from(directory: &Path) -> Option<MadeFrom> {
    let text = fs::read(directory.join(ORIGIN)).ok()?;
    let origin: Value = serde_json::from_slice(&text).ok()?;
    let user = origin.get("user-directory")?.as_str().map(PathBuf::from);
    Some(MadeFrom { user })
}

fn without_credentials(user: &Map<String, Value>) -> Map<String, Value> {
    let mut config = user.clone();
    config.retain(|key, _| !OF_CREDENTIALS.contains(&key.as_str()));
    config.insert("credsStore".to_owned(), OUR_HELPER.into());
    config
}

/// Links to everything in the user's directory but what is about credentials.
fn link_all(user: &Path, own: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(user) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // A link with a relative path would lead elsewhere.
    let user = user.canonicalize()?;
    for entry in entries {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let ours =
            text.starts_with("config.json") || text.starts_with("runner") || text.starts_with('.');
        if !ours {
            symlink(user.join(&name), own.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str, origin: Origin) -> EnvironmentVariable {
        EnvironmentVariable {
            name: name.into(),
            value: value.into(),
            origin,
        }
    }

    #[test]
    fn a_build_has_all_of_the_users_configuration_but_the_credentials() {
        let place = tempfile::tempdir().unwrap();
        let user = place.path().join("user");
        fs::create_dir_all(user.join("contexts/meta")).unwrap();
        fs::write(user.join("cli-plugins"), "").unwrap();
        let text = r#"{"proxies": {}, "auths": {"h": {"auth": "c2VjcmV0"}}, "currentContext": "c", "credsStore": "desktop", "credHelpers": {"x": "y"}}"#;
        fs::write(user.join("config.json"), text).unwrap();
        let program = Path::new("/bin/sh");
        let isolated = Isolated::make(place.path(), Some(&user), program).unwrap();
        let directory = isolated.directory.path().to_owned();
        let own: Value =
            serde_json::from_slice(&fs::read(isolated.config().join("config.json")).unwrap())
                .unwrap();
        assert_eq!(
            own,
            json!({"proxies": {}, "currentContext": "c", "credsStore": "runner"})
        );
        assert!(isolated.config().join("contexts/meta").is_dir());
        assert!(isolated.config().join("cli-plugins").is_file());
        assert_eq!(
            fs::read_link(isolated.bin().join(HELPER_NAME)).unwrap(),
            program
        );
        assert_eq!(
            made_from(&isolated.config()),
            Some(MadeFrom {
                user: Some(user.clone())
            })
        );
        drop(isolated);
        assert!(!directory.exists());
        assert!(user.join("contexts/meta").is_dir());
        assert_eq!(fs::read_to_string(user.join("config.json")).unwrap(), text);
        assert_eq!(made_from(&user), None);
    }

    #[test]
    fn a_user_without_configuration_gives_none() {
        let place = tempfile::tempdir().unwrap();
        for user in [None, Some(place.path().join("nowhere"))] {
            let isolated =
                Isolated::make(place.path(), user.as_deref(), Path::new("/bin/sh")).unwrap();
            assert_eq!(made_from(&isolated.config()), Some(MadeFrom { user }));
        }
        let broken = place.path().join("broken");
        fs::create_dir(&broken).unwrap();
        fs::write(broken.join("config.json"), "{").unwrap();
        assert!(Isolated::make(place.path(), Some(&broken), Path::new("/bin/sh")).is_err());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn variables_lead_to_it_unless_somebody_said_otherwise() {
        let place = tempfile::tempdir().unwrap();
        let isolated = Isolated::make(place.path(), None, Path::new("/bin/sh")).unwrap();
        let own = isolated.directory.path();
        let mut environment = vec![
            variable("A", "1", Origin::Environment),
            variable("DOCKER_CONFIG", "/user", Origin::Environment),
            variable("PATH", "/bin", Origin::Environment),
        ];
        assert!(is_wanted(&environment));
        isolated.add_to(&mut environment);
        let names: Vec<_> = environment
            .iter()
            .map(|variable| variable.name.clone())
            .collect();
        assert_eq!(names, ["A", "DOCKER_CONFIG", "PATH"]);
        assert_eq!(environment[1].value, own.join("config"));
        assert_eq!(environment[2].value, *format!("/bin:{}/bin", own.display()));
        for origin in [Origin::Buildspec, Origin::Project, Origin::StartBuild] {
            assert!(!is_wanted(&[variable("DOCKER_CONFIG", "/x", origin)]));
        }
    }
}
