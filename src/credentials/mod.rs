//! Credentials of AWS that a build's commands are given while it lives, and not longer (CRED-1 to CRED-12).
//!
//! A [`Keeper`] gets them ([`Source`]), keeps them in memory, renews them before they end, and has each of them hidden in
//! everything that is recorded before anybody else sees it. A [`Service`] gives them to whoever has the build's token, over
//! HTTP as SDKs ask for them in containers of AWS. On a host an [`Endpoint`] listens on loopback; in a container this program
//! listens there, and carries each connection out to the service.

mod endpoint;
mod error;
mod keeper;
mod source;

pub use endpoint::{Endpoint, Service, TOKEN_VARIABLE, Token, URI_VARIABLE};
pub use error::Error;
pub use keeper::Keeper;
pub use source::{ASSUMING, Role, RoleArn, Source};
