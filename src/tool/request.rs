//! What a front asks its back for. Nothing in here is a path: paths mean something only where the command runs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that only who it is for may see: it has no form for people.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Something of AWS.
    Aws(AwsRequest),
    /// Something of the container engine.
    Docker(DockerRequest),
    /// To hide a value in everything that the build writes.
    Mask {
        /// The value.
        value: Secret,
    },
    /// Who the user is for a registry, for our credential helper: the answer is empty, or JSON of the helper protocol.
    Credential {
        /// The registry's address, as Docker writes it.
        server: String,
    },
    /// What git's credential helper is asked, in git's own words; the answer is too.
    Git {
        /// Lines of `key=value`.
        question: String,
    },
}

/// Something of AWS, and who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AwsRequest {
    pub(super) caller: Caller,
    pub(super) operation: Operation,
}

/// Who asks AWS, as far as the command or its environment says so. What is not said is as the back has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Caller {
    pub(super) region: Option<String>,
    pub(super) profile: Option<String>,
    /// Credentials that the build itself has set, such as those of a role it took on.
    pub(super) keys: Option<Keys>,
    /// Another endpoint of AWS.
    pub(super) endpoint: Option<String>,
}

/// `AWS_ACCESS_KEY_ID` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) session: Option<Secret>,
}

/// What is asked of AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Operation {
    /// `ecr get-login-password`
    Password,
    /// `ecr-public get-login-password`
    PublicPassword,
    /// `ecr get-login`
    Login {
        /// Accounts, or the caller's own.
        registries: Vec<String>,
        /// Whether to write `-e none`, which today's docker refuses.
        email: bool,
    },
    /// `sts get-caller-identity`
    Identity {
        /// `--query`
        query: Option<super::aws::Query>,
        /// `--output text`
        text: bool,
    },
}

/// Something of the container engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DockerRequest {
    /// `docker login`
    Login {
        registry: String,
        username: String,
        password: Secret,
    },
    /// `docker logout`
    Logout { registry: String },
    /// `docker build`; the context follows as a TAR.
    Build(Box<Build>),
    /// `docker tag`
    Tag { source: String, target: String },
    /// `docker push`
    Push {
        image: String,
        all_tags: bool,
        quiet: bool,
    },
    /// `docker pull`
    Pull {
        image: String,
        platform: Option<String>,
        quiet: bool,
    },
    /// `docker images`
    Images(Listing),
    /// `docker inspect`
    Inspect {
        names: Vec<String>,
        /// Whether containers count too.
        containers: bool,
        format: Option<String>,
    },
    /// `docker save`; the answer is a TAR.
    Save { images: Vec<String> },
    /// `docker load`; the TAR follows.
    Load { quiet: bool },
    /// `docker rmi`
    Remove { images: Vec<String>, force: bool },
    /// `docker version`
    Version { format: Option<String> },
    /// `docker info`
    Info { format: Option<String> },
}

/// A build of an image.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Build {
    pub(super) tags: Vec<String>,
    /// The Dockerfile's name in the context.
    pub(super) dockerfile: String,
    /// Images it starts from, as far as the Dockerfile says so plainly.
    pub(super) bases: Vec<String>,
    /// Hosts of Amazon ECR that the Dockerfile or an argument names, wherever that is.
    pub(super) registries: Vec<String>,
    pub(super) arguments: BTreeMap<String, Option<String>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) cache_from: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) target: Option<String>,
    pub(super) platform: Option<String>,
    pub(super) network: Option<String>,
    pub(super) no_cache: bool,
    pub(super) pull: bool,
    pub(super) quiet: bool,
    /// Push every tag after it is built.
    pub(super) push: bool,
}

/// Which images are listed, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listing {
    pub(super) reference: Option<String>,
    pub(super) filters: Vec<String>,
    pub(super) all: bool,
    pub(super) quiet: bool,
    pub(super) whole_ids: bool,
    pub(super) format: Option<String>,
}
