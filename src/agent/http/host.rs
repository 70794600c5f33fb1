//! Whom a request is for. A page from elsewhere can make a browser ask loopback, under a name that was made to lead there; but
//! the name goes with the request (AGENT-89).

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::Uri;
use hyper::header::HOST;
use hyper::http::uri::Authority;

/// The names by which an agent may be called.
#[derive(Clone, Debug)]
pub struct Names(Vec<String>);

impl Names {
    /// Those of loopback, the address itself, and what the operator says.
    #[must_use]
    pub fn new(address: IpAddr, others: &[String]) -> Self {
        let own = ["localhost", "127.0.0.1", "[::1]"].map(ToOwned::to_owned);
        let mut names = own.to_vec();
        if !address.is_unspecified() {
            names.push(match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            });
        }
        names.extend(
            others
                .iter()
                .map(|name| name.trim_end_matches('.').to_ascii_lowercase()),
        );
        Self(names)
    }

    /// Whether a request is for one of them: its one `Host` says so, and so does its target, if that names a host.
    ///
    /// Ports do not matter: they change on the way through a tunnel.
    #[must_use]
    pub fn has(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let host = host.to_str().ok().and_then(|host| host.parse().ok());
        let is_ours = |authority: &Authority| {
            let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
            !authority.as_str().contains('@') && self.0.contains(&name)
        };
        host.as_ref().is_some_and(is_ours) && uri.authority().is_none_or(is_ours)
    }
}
