//! Who the user is for a registry (REG-8).
//!
//! In this order: what `docker login` said in this build; for ECR a token of AWS's, from the cache or fresh; what the
//! user's own Docker configuration has; nobody.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::auth::RegistryAuth;
use super::docker_config::DockerConfig;
use super::ecr::{self, Kind, Registry, Token};
use super::error::{Error, ErrorKind};
use super::isolated;
use super::login;
use super::principal::principal;
use super::stored::Stored;
use super::token_cache::TokenCache;
use super::transfer::TransferError;
use crate::aws;

/// The name that stands for nobody: the secret is a token that says itself whose it is.
pub const IDENTITY_TOKEN: &str = "<token>";

/// Most configurations of builds that are looked through, one inside the other.
const DEEPEST: usize = 4;

/// Something that no log may show: neither `Debug` nor `Display` gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A name and a password for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The registry's address, as Docker writes it.
    pub server: String,
    /// The user's name, or [`IDENTITY_TOKEN`].
    pub username: String,
    /// The password or the token.
    pub secret: Secret,
}

impl From<Credential> for RegistryAuth {
    fn from(credential: Credential) -> Self {
        let Credential {
            username, secret, ..
        } = credential;
        if username == IDENTITY_TOKEN {
            Self::IdentityToken(secret.0)
        } else {
            Self::Password {
                username,
                password: secret.0,
            }
        }
    }
}

impl Credential {
    /// The form of the helper protocol.
    #[must_use]
    pub fn to_json(&self) -> String {
        json!({
            "ServerURL": self.server,
            "Username": self.username,
            "Secret": self.secret.reveal(),
        })
        .to_string()
    }

    /// What a helper says, or is given to store.
    #[must_use]
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let json: Value = serde_json::from_slice(text).ok()?;
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        Some(Self {
            server: text("ServerURL")?.to_owned(),
            username: text("Username")?.to_owned(),
            secret: Secret::new(text("Secret")?),
        })
    }
}

/// What decides which credentials there are, as the caller's environment has it.
#[derive(Clone, Default)]
pub struct Settings {
    /// Docker's configuration: `DOCKER_CONFIG`, else `~/.docker`.
    pub docker_config: Option<PathBuf>,
    /// Where tokens are kept: `$XDG_CACHE_HOME/runner/ecr`, else `~/.cache/runner/ecr`.
    pub cache: Option<PathBuf>,
    /// Where `docker login` outside of a build is kept if this program is Docker's credential helper.
    pub stored: Option<PathBuf>,
    /// PATH, for the user's other credential helpers.
    pub path: Option<OsString>,
    /// How AWS is reached.
    pub aws: aws::Settings,
    /// Variables that lead to AWS's credentials.
    variables: Vec<(OsString, OsString)>,
}

/// Without the variables: AWS's keys are among them.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("docker_config", &self.docker_config)
            .field("cache", &self.cache)
            .field("stored", &self.stored)
            .field("path", &self.path)
            .field("aws", &self.aws)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// What these variables say. Nothing is read yet.
    #[must_use]
    pub fn new(variables: Vec<(OsString, OsString)>, aws: aws::Settings) -> Self {
        let get = |name: &str| {
            let mut values = variables.iter().rev();
            let found = values.find(|(other, _)| other == name);
            found
                .map(|(_, value)| value)
                .filter(|value| !value.is_empty())
        };
        let home = get("HOME").map(PathBuf::from);
        let below = |variable: &str, usual: &str| {
            let named = get(variable).map(PathBuf::from);
            named
                .filter(|path| path.is_absolute())
                .or_else(|| Some(home.as_ref()?.join(usual)))
        };
        Self {
            docker_config: get("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(|| Some(home.as_ref()?.join(".docker"))),
            cache: below("XDG_CACHE_HOME", ".cache").map(|path| path.join("runner/ecr")),
            stored: below("XDG_STATE_HOME", ".local/state")
                .map(|path| path.join("runner/docker-credentials.json")),
            path: get("PATH").cloned(),
            aws,
            variables,
        }
    }
}

impl Settings {
    /// A variable that leads to AWS's credentials.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<OsString> {
        let mut values = self.variables.iter().rev();
        let found = values.find(|(other, value)| other == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    }
}

/// What is known of a registry without asking AWS.
#[derive(Debug)]
pub enum Known {
    /// This.
    Credential(Credential),
    /// Nothing, and nobody else can be asked.
    Nothing,
    /// AWS has to be asked.
    AskAws(Registry),
}

/// Finds credentials.
#[derive(Clone, Debug)]
pub struct Credentials {
    settings: Settings,
    /// What `docker login` said: in this build, then in the build around it.
    stored: Vec<Stored>,
    /// The user's own configuration.
    user: Option<PathBuf>,
    /// What tokens are good for that AWS was asked for here: none of those is an old one.
    asked: Arc<Mutex<HashSet<String>>>,
}

impl Credentials {
    /// A finder with these settings. In a build, what the build itself has comes before what the user has.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut stored = Vec::new();
        let mut user = settings.docker_config.clone();
        while let Some(directory) = &user
            && stored.len() < DEEPEST
            && let Some(made_from) = isolated::made_from(directory)
        {
            stored.push(Stored::new(isolated::stored(directory)));
            user = made_from.user;
        }
        if stored.is_empty() {
            stored.extend(settings.stored.clone().map(Stored::new));
        }
        Self {
            settings,
            stored,
            user,
            asked: Arc::default(),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where `docker login` is kept.
    pub(super) fn stored(&self) -> Option<&Stored> {
        self.stored.first()
    }

    /// The user's own configuration.
    pub(super) fn user_config(&self) -> Result<DockerConfig, Error> {
        match &self.user {
            None => Ok(DockerConfig::default()),
            // What whoever started the build keeps from a user of the build is none of that user's (REG-14).
            Some(directory) if self.is_of_a_build() && is_closed(directory) => {
                Ok(DockerConfig::default())
            }
            Some(directory) => DockerConfig::read(directory, self.settings.path.as_deref()),
        }
    }

    /// `None` where credentials are a build's own: what comes of them is not to outlive it (CRED-10).
    fn cache(&self) -> Option<TokenCache> {
        let served = self.settings.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let served =
            served.is_some_and(|uri| uri.as_encoded_bytes().starts_with(b"http://127.0.0.1:"));
        if served || self.settings.aws.provider.is_some() {
            return None;
        }
        let directory = self.settings.cache.as_deref()?;
        let profile = self.settings.aws.profile.as_deref();
        let principal = principal(&self.settings.variables, profile);
        Some(TokenCache::new(directory, &principal))
    }

    fn stored_credential(&self, server: &str) -> Result<Option<Credential>, Error> {
        for stored in &self.stored {
            let found = stored.get(server);
            let found = found.map_err(|error| Error::file("read", stored.path(), error))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What is known of a registry without asking AWS. May ask the user's credential helpers, and so take a while.
    pub fn known(&self, server: &str) -> Result<Known, Error> {
        if let Some(credential) = self.stored_credential(server)? {
            return Ok(Known::Credential(credential));
        }
        let Some(registry) = Registry::parse(server) else {
            let found = self.user_config()?.credential(server)?;
            return Ok(found.map_or(Known::Nothing, Known::Credential));
        };
        match self.cache().and_then(|cache| cache.get(&registry)) {
            Some(token) => Ok(Known::Credential(credential(server, token))),
            None => Ok(Known::AskAws(registry)),
        }
    }

    /// The credential for a registry; none where it is not known, and has to be used without.
    pub async fn for_registry(&self, server: &str) -> Result<Option<Credential>, Error> {
        let (own, address) = (self.clone(), server.to_owned());
        match blocking(move || own.known(&address)).await? {
            Known::Credential(credential) => Ok(Some(credential)),
            Known::Nothing => Ok(None),
            Known::AskAws(registry) => self.from_aws(server, &registry).await,
        }
    }

    /// The credential that Docker itself would use, else as [`Credentials::for_registry`]. The two differ where the
    /// configuration is the user's own and has a login to ECR: Docker would take that one, and so does whoever stands in
    /// for Docker.
    pub async fn as_docker(&self, server: &str) -> Result<Option<Credential>, Error> {
        let (own, address) = (self.clone(), server.to_owned());
        let found = blocking(move || own.login(&address)).await;
        match found {
            Ok(Some(credential)) => Ok(Some(credential)),
            // A helper that fails does not stand in the way of a token.
            Err(error) if Registry::parse(server).is_none() => Err(error),
            Ok(None) | Err(_) => self.for_registry(server).await,
        }
    }

    /// What `docker login` said: in a build what it said there, else what the user's configuration has.
    fn login(&self, server: &str) -> Result<Option<Credential>, Error> {
        if let Some(found) = self.stored_credential(server)? {
            return Ok(Some(found));
        }
        if self.is_of_a_build() {
            return Ok(None);
        }
        self.user_config()?.credential(server)
    }

    /// The registries that `docker login` was for, by their addresses: in a build those it was for there, else those of
    /// the user's configuration file.
    pub async fn logins(&self) -> Result<Vec<String>, Error> {
        let own = self.clone();
        let find = move || {
            let mut found = Vec::new();
            if let Some(stored) = own.stored() {
                let listed = stored.list();
                let listed = listed.map_err(|error| Error::file("read", stored.path(), error))?;
                found.extend(listed.into_keys());
            }
            if !own.is_of_a_build() {
                found.extend(own.user_config()?.auths());
            }
            Ok(found)
        };
        blocking(find).await
    }

    /// Keeps a credential where `docker login` would: in a build for that build only, else as the user's configuration
    /// has it.
    pub async fn log_in(&self, credential: Credential) -> Result<(), Error> {
        let own = self.clone();
        blocking(move || login::log_in(&own, &credential)).await
    }

    /// Forgets what [`Credentials::log_in`] keeps. Says whether there was something.
    pub async fn log_out(&self, server: &str) -> Result<bool, Error> {
        let (own, address) = (self.clone(), server.to_owned());
        blocking(move || login::log_out(&own, &address)).await
    }

    /// Whether Docker's configuration is that of a build, which this program has made.
    fn is_of_a_build(&self) -> bool {
        self.user != self.settings.docker_config
    }

    /// A token of AWS's; where there can be none, what the user's own configuration has after all.
    pub async fn from_aws(
        &self,
        server: &str,
        registry: &Registry,
    ) -> Result<Option<Credential>, Error> {
        let failed = match self.token(registry).await {
            Ok(token) => return Ok(Some(credential(server, token))),
            Err(error) => error,
        };
        let (own, address) = (self.clone(), server.to_owned());
        let users = blocking(move || own.user_config()?.credential(&address)).await;
        match (users, registry.kind(), failed.kind) {
            (Ok(Some(credential)), ..) => Ok(Some(credential)),
            // Everybody may read there.
            (_, Kind::Public, ErrorKind::NoCredentials | ErrorKind::BadCredentials) => Ok(None),
            _ => Err(failed),
        }
    }

    /// A token for a registry: from the cache, else from AWS. Of many that ask at once, in this process or in others, one
    /// asks AWS, and the others get what it got.
    async fn token(&self, registry: &Registry) -> Result<Token, Error> {
        let Some(cache) = self.cache() else {
            return self.ask(registry).await;
        };
        let (of_lock, wanted) = (cache.clone(), registry.clone());
        // Without a lock there is one call more, and no harm.
        let lock = blocking(move || Ok(of_lock.lock(&wanted).ok())).await?;
        if let Some(token) = cache.get(registry) {
            return Ok(token);
        }
        let token = self.ask(registry).await?;
        // What cannot be kept is asked for again.
        let _ = cache.put(registry, &token);
        drop(lock);
        Ok(token)
    }

    async fn ask(&self, registry: &Registry) -> Result<Token, Error> {
        let asked = || self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked().insert(registry.scope());
        ecr::ask(&self.settings.aws, registry).await
    }

    /// Who to be after a registry has refused these credentials: if that was with a token from the cache, which may have been
    /// revoked since, it is forgotten and AWS is asked, once (REG-21). `None` where nobody else is to be had.
    pub async fn renewed(
        &self,
        server: &str,
        refused: Option<&RegistryAuth>,
        error: &TransferError,
    ) -> Option<RegistryAuth> {
        let Some(RegistryAuth::Password { password, .. }) = refused else {
            return None;
        };
        let registry = Registry::parse(server)?;
        let is_known = {
            let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.contains(&registry.scope())
        };
        if is_known || !error.kind.is_of_credentials() {
            return None;
        }
        let cache = self.cache()?;
        let (of_cache, wanted) = (cache.clone(), registry.clone());
        let kept = blocking(move || Ok(of_cache.get(&wanted))).await.ok()??;
        if kept.secret.reveal() != password {
            return None;
        }
        cache.remove(&registry);
        let fresh = self.fresh_token(&registry).await.ok()?;
        Some(credential(server, fresh).into())
    }

    /// A token fresh from AWS, which takes the place of the one in the cache.
    pub async fn fresh_token(&self, registry: &Registry) -> Result<Token, Error> {
        let token = self.ask(registry).await?;
        self.keep(registry, &token);
        Ok(token)
    }

    /// Keeps a token in the cache, if there is one and it is good for anything.
    pub fn keep(&self, registry: &Registry, token: &Token) {
        if let Some(cache) = self.cache() {
            let _ = cache.put(registry, token);
        }
    }

    /// Forgets the token of a registry, as after `docker logout`.
    pub(super) fn forget(&self, registry: &Registry) {
        if let Some(cache) = self.cache() {
            cache.remove(registry);
        }
    }

    /// Docker's configuration of the caller: that of the build, in a build.
    #[must_use]
    pub fn docker_config(&self) -> Option<&Path> {
        self.settings.docker_config.as_deref()
    }

    /// PATH, for credential helpers.
    #[must_use]
    pub fn path(&self) -> Option<&OsStr> {
        self.settings.path.as_deref()
    }
}

/// Whether this process's user is kept from a configuration.
fn is_closed(directory: &Path) -> bool {
    let opened = std::fs::File::open(directory.join("config.json"));
    opened.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// A token as a credential.
#[must_use]
pub fn credential(server: &str, token: Token) -> Credential {
    Credential {
        server: server.to_owned(),
        username: ecr::USER.to_owned(),
        secret: token.secret,
    }
}

/// Files and other programs are waited for beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        let doing = "look for credentials";
        Err(Error::new(ErrorKind::Other, doing, error.to_string(), None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(place: &Path) -> Settings {
        let home = place.as_os_str().to_owned();
        let variables = vec![
            ("HOME".into(), home),
            ("AWS_ACCESS_KEY_ID".into(), "AKIA1".into()),
        ];
        Settings::new(variables, aws::Settings::default())
    }

    #[test]
    fn settings_do_not_show_keys() {
        let variables = vec![("AWS_SECRET_ACCESS_KEY".into(), "hidden".into())];
        let settings = Settings::new(variables, aws::Settings::default());
        let shown = format!("{settings:?} {:?}", Credentials::new(settings.clone()));
        assert!(!shown.contains("hidden"), "{shown}");
    }

    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    #[test]
    fn a_credential_survives_the_helper_protocol_and_hides_its_secret() {
        let mut credential = Credential {
            server: "h.example".to_owned(),
            username: "me".to_owned(),
            secret: Secret::new("p\"w"),
        };
        assert_eq!(
            Credential::from_json(credential.to_json().as_bytes()).as_ref(),
            Some(&credential)
        );
        assert!(!format!("{credential:?}").contains("p\""));
        credential.username = IDENTITY_TOKEN.to_owned();
        let token = RegistryAuth::IdentityToken("p\"w".to_owned());
        assert_eq!(RegistryAuth::from(credential), token);
    }

    #[test]
    fn places_are_where_the_variables_say() {
        let of = |pairs: &[(&str, &str)]| {
            let variables = pairs.iter().map(|(a, b)| (a.into(), b.into())).collect();
            Settings::new(variables, aws::Settings::default())
        };
        let plain = of(&[("HOME", "/h")]);
        assert_eq!(plain.docker_config, Some("/h/.docker".into()));
        assert_eq!(plain.cache, Some("/h/.cache/runner/ecr".into()));
        assert_eq!(
            plain.stored,
            Some("/h/.local/state/runner/docker-credentials.json".into())
        );
        let named = of(&[
            ("HOME", "/h"),
            ("DOCKER_CONFIG", "/d"),
            ("XDG_CACHE_HOME", "/c"),
            ("XDG_STATE_HOME", "x"),
        ]);
        assert_eq!(named.docker_config, Some("/d".into()));
        assert_eq!(named.cache, Some("/c/runner/ecr".into()));
        assert_eq!(named.stored, plain.stored, "a relative path is none");
        assert_eq!(of(&[]).cache, None);
    }

    #[test]
    fn what_the_build_said_comes_before_the_cache_and_the_user() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join(".docker")).unwrap();
        let config = format!(
            r#"{{"auths": {{"h.example": {{"auth": "YTpi"}}, "{HOST}": {{"auth": "YTpi"}}}}}}"#
        );
        std::fs::write(place.path().join(".docker/config.json"), config).unwrap();
        let credentials = Credentials::new(settings(place.path()));
        let of = |server: &str| match credentials.known(server).unwrap() {
            Known::Credential(credential) => credential.secret.reveal().to_owned(),
            Known::Nothing => "nothing".to_owned(),
            Known::AskAws(registry) => format!("ask {}", registry.host()),
        };
        assert_eq!(of("h.example"), "b");
        assert_eq!(of("other.example"), "nothing");
        assert_eq!(of(HOST), format!("ask {HOST}"));
        let registry = Registry::parse(HOST).unwrap();
        let now = ecr::now();
        let token = Token {
            secret: Secret::new("cached"),
            fetched: now,
            expires: now + 100,
        };
        credentials.keep(&registry, &token);
        assert_eq!(of(HOST), "cached");
        for server in [HOST, "h.example"] {
            let said = Credential {
                server: server.to_owned(),
                username: "me".to_owned(),
                secret: Secret::new("said"),
            };
            credentials.stored().unwrap().put(&said).unwrap();
            assert_eq!(of(server), "said");
        }
        credentials.forget(&registry);
        credentials.stored().unwrap().remove(HOST).unwrap();
        assert_eq!(of(HOST), format!("ask {HOST}"));
    }
}
