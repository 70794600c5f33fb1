//! Who a build is for AWS: whose credentials its commands have, and this program's own calls for it (CRED-1, CRED-11).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::RequestArgs;
use super::aws;
use crate::aws::Settings as AwsSettings;
use crate::credentials::{
    Endpoint, Keeper, Role, Service, Source, TOKEN_VARIABLE, Token, URI_VARIABLE,
};
use crate::env::{self, EnvironmentVariable, Origin};
use crate::ownership::OwnedDirectory;
use crate::plan::BuildRequest;
use crate::redact::{self, Hider};

/// Variables that name files of profiles, and what a build's own are called.
const PROFILES: [(&str, &str); 2] = [
    ("AWS_CONFIG_FILE", "config"),
    ("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
];

/// Who a build is.
pub(super) struct Identity {
    /// How this program's own calls for the build reach AWS.
    pub(super) aws: AwsSettings,
    /// What is served to commands, if anything.
    served: Option<Served>,
    hider: Hider,
}

struct Served {
    keeper: Arc<Keeper>,
    service: Service,
    token: Token,
}

impl Identity {
    /// Who the build of these arguments is. Nobody is asked yet.
    pub(super) fn of(args: &RequestArgs, request: &BuildRequest) -> Self {
        let caller = aws::settings(request.region.as_deref(), args.profile.as_deref());
        let hider = Hider::default();
        let role = role(args, request);
        let source = match role {
            Some(role) => Source::Role(role),
            None if request.serves_credentials => Source::Caller,
            None => {
                return Self {
                    aws: caller,
                    served: None,
                    hider,
                };
            }
        };
        // As on CodeBuild, where the service role does it all (CRED-11).
        let is_role = matches!(source, Source::Role(_));
        let keeper = Keeper::new(source, caller.clone(), hider.clone());
        let token = Token::random();
        hider.hide(redact::forms(token.reveal().as_bytes()));
        let provider = is_role.then(|| keeper.provider());
        let service = Service::new(Arc::clone(&keeper), token.clone());
        Self {
            aws: AwsSettings { provider, ..caller },
            served: Some(Served {
                keeper,
                service,
                token,
            }),
            hider,
        }
    }

    /// What has the credentials of the build, if they are served.
    pub(super) fn keeper(&self) -> Option<Arc<Keeper>> {
        self.served
            .as_ref()
            .map(|served| Arc::clone(&served.keeper))
    }

    /// Where values come from that are to be hidden.
    pub(super) fn hider(&self) -> Hider {
        self.hider.clone()
    }

    /// What serves the commands of a build with these variables. They get the token; where the endpoint is they are to be
    /// told by whoever listens. Nothing if the build names another endpoint itself.
    pub(super) fn service(&self, environment: &mut Vec<EnvironmentVariable>) -> Option<Service> {
        let served = self.served.as_ref()?;
        let named = |variable: &EnvironmentVariable| {
            variable.name == URI_VARIABLE && variable.origin > Origin::Environment
        };
        if environment.iter().any(named) {
            return None;
        }
        env::set_default(environment, TOKEN_VARIABLE, served.token.reveal().into());
        Some(served.service.clone())
    }

    /// Serves the commands of a build on this machine, with these variables, for as long as what comes back lives. Files of
    /// profiles are the build's own, in `place`: those of the user lead to the user's credentials.
    pub(super) async fn serve_here(
        &self,
        environment: &mut Vec<EnvironmentVariable>,
        place: &Path,
    ) -> std::io::Result<Option<Here>> {
        let Some(service) = self.service(environment) else {
            return Ok(None);
        };
        let endpoint = Endpoint::listen(service).await?;
        env::set_default(environment, URI_VARIABLE, endpoint.uri().into());
        let profiles = OwnedDirectory::make_in(place)?;
        for (variable, name) in PROFILES {
            let path = profiles.path().join(name);
            env::set_default(environment, variable, path.into());
        }
        Ok(Some(Here {
            _endpoint: endpoint,
            profiles,
        }))
    }
}

/// An endpoint on this machine. It ends with this.
pub(super) struct Here {
    _endpoint: Endpoint,
    profiles: OwnedDirectory,
}

impl Here {
    /// Where the build has its files of profiles: each user whose command runs has to get at them.
    pub(super) fn profiles(&self) -> PathBuf {
        self.profiles.path().to_owned()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.profiles.path());
    }
}

fn role(args: &RequestArgs, request: &BuildRequest) -> Option<Role> {
    let arn = args.assume_role.clone()?;
    Some(Role {
        arn,
        session_name: Role::session_name(request.project.as_str(), &request.build_uuid),
        external_id: args.external_id.clone(),
        duration: args.role_duration,
    })
}
