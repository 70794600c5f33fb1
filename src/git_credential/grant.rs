//! What the caller lets a build's git have: for which host, and where the token is.

use std::fmt;
use std::path::PathBuf;

use super::site::Site;

/// A token, which has no form for people.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Here: a variable of the caller had it.
    Value(Token),
    /// In a file of the caller's that nobody else can read.
    File(PathBuf),
    /// In Secrets Manager, as `id[:json-key[:stage[:version]]]`. Without a key it is a secret as CodeBuild has them for its
    /// sources.
    Secret(String),
    /// With the caller's own git.
    Helper,
}

/// A credential for one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it is for.
    pub site: Site,
    /// Who the user is, if it was said.
    pub user: Option<String>,
    /// Where the token is.
    pub origin: Origin,
}

impl Grant {
    /// The user for a token of which nobody says whose it is: what the hosts that many use take for it.
    pub(super) fn usual_user(&self) -> &'static str {
        let host = self.site.host();
        if host.contains("bitbucket") {
            "x-token-auth"
        } else if host.contains("gitlab") {
            "oauth2"
        } else {
            "x-access-token"
        }
    }
}
