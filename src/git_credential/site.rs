//! A host that git speaks to.

/// Where a credential is for: a host, with its port if it is not the usual one, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    protocol: &'static str,
    host: String,
}

impl Site {
    /// Reads `HOST[:PORT]`, which means HTTPS, or a URL. Nothing is for HTTP without encryption but loopback.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (protocol, rest) = match text.split_once("://") {
            None => ("https", text),
            Some(("https", rest)) => ("https", rest),
            Some(("http", rest)) => ("http", rest),
            Some(_) => return None,
        };
        let host = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let is_host = !host.is_empty() && host.bytes().all(allowed);
        let is_safe = protocol == "https" || is_loopback(&host);
        (is_host && is_safe).then_some(Self { protocol, host })
    }

    /// The host of a repository's URL, in whatever form git has it; `None` for a path.
    #[must_use]
    pub fn of_repository(url: &str) -> Option<Self> {
        let host_of = |rest: &str| {
            let authority = rest.split('/').next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            host.to_owned()
        };
        match url.split_once("://") {
            Some((protocol @ ("http" | "https"), rest)) => {
                Self::parse(&format!("{protocol}://{}", host_of(rest)))
            }
            // The port is that of SSH.
            Some(("ssh", rest)) => Self::parse(host_of(rest).split(':').next()?),
            Some(_) => None,
            // `git@host:path`
            None => {
                let (place, _) = url.split_once(':')?;
                let host = place.rsplit('@').next().filter(|_| !place.contains('/'))?;
                Self::parse(host)
            }
        }
    }

    /// As git's settings have it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.protocol, self.host)
    }

    /// `https` or `http`
    pub(super) const fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// The host, with its port if it is not the usual one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether git means this one.
    pub(super) fn is(&self, protocol: &str, host: &str) -> bool {
        let usual = match self.protocol {
            "https" => ":443",
            _ => ":80",
        };
        let host = host.to_ascii_lowercase();
        let plain = |host: &str| host.strip_suffix(usual).unwrap_or(host).to_owned();
        self.protocol == protocol && plain(&self.host) == plain(&host)
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    // CRED-22
    #[test]
    fn sites_are_hosts_that_are_spoken_to_in_secret() {
        let table = [
            ("github.com", Some("https://github.com")),
            ("GitHub.com", Some("https://github.com")),
            (
                "https://git.example.com:8443/",
                Some("https://git.example.com:8443"),
            ),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("http://localhost", Some("http://localhost")),
            ("http://[::1]:80", Some("http://[::1]:80")),
            ("http://example.com", None),
            ("http://127.0.0.1.example.com", None),
            ("ssh://github.com", None),
            ("github.com/owner", None),
            ("me@github.com", None),
            ("", None),
        ];
        for (text, url) in table {
            assert_eq!(
                Site::parse(text).map(|site| site.url()).as_deref(),
                url,
                "{text}"
            );
        }
    }

    #[test]
    fn a_repository_has_a_host() {
        let table = [
            ("https://github.com/o/r.git", Some("https://github.com")),
            ("https://me:p@host:8443/o/r@2", Some("https://host:8443")),
            ("git@github.com:o/r.git", Some("https://github.com")),
            ("ssh://git@host:7999/o/r.git", Some("https://host")),
            ("http://127.0.0.1:81/r", Some("http://127.0.0.1:81")),
            ("/srv/repo", None),
            ("../repo", None),
            ("a/b:c", None),
            ("file:///srv/repo", None),
        ];
        for (url, expected) in table {
            let found = Site::of_repository(url).map(|site| site.url());
            assert_eq!(found.as_deref(), expected, "{url}");
        }
    }

    // CRED-22
    #[test]
    fn a_site_is_itself_and_no_other() {
        let site = Site::parse("git.example.com").expect("a site");
        for (protocol, host, expected) in [
            ("https", "git.example.com", true),
            ("https", "GIT.example.com:443", true),
            ("http", "git.example.com", false),
            ("https", "git.example.com:8443", false),
            ("https", "example.com", false),
            ("https", "git.example.com.evil.example", false),
            ("https", "", false),
        ] {
            assert_eq!(site.is(protocol, host), expected, "{protocol} {host}");
        }
    }
}
