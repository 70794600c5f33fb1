//! Names of images, as far as the commands have to take them apart.

/// Docker Hub, by the name under which its credentials are kept.
pub(in crate::tool) const HUB: &str = "https://index.docker.io/v1/";

/// A name in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// Host and path, as written.
    pub(super) name: String,
    /// The host of the registry, or [`HUB`].
    pub(super) registry: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

impl Reference {
    /// Takes a name apart.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        // A colon in front of a slash belongs to a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (rest, None),
        };
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:[]".contains(&byte);
        if name.is_empty()
            || !name.bytes().all(is_part)
            || tag.as_ref().is_some_and(String::is_empty)
        {
            return None;
        }
        let registry = match name.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => {
                registry_host(host).to_owned()
            }
            _ => HUB.to_owned(),
        };
        Some(Self {
            name: name.to_owned(),
            registry,
            tag,
            digest,
        })
    }

    /// The name with its tag or digest, and with `latest` where it has neither.
    pub(super) fn whole(&self) -> String {
        match (&self.tag, &self.digest) {
            (_, Some(digest)) => format!("{}@{digest}", self.name),
            (Some(tag), None) => format!("{}:{tag}", self.name),
            (None, None) => format!("{}:latest", self.name),
        }
    }

    /// [`Reference::whole`] with the registry and the path that Docker Hub has for it.
    pub(super) fn canonical(&self) -> String {
        let whole = self.whole();
        let path = whole.strip_prefix("docker.io/").unwrap_or(&whole);
        match self.registry.as_str() {
            HUB if path.contains('/') => format!("docker.io/{path}"),
            HUB => format!("docker.io/library/{path}"),
            _ => whole,
        }
    }
}

/// Whether a text can be the name or the id of something in the engine, and as part of a path leads nowhere else.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@[]".contains(&byte);
    let leads_elsewhere = |part: &str| part.is_empty() || part == "." || part == "..";
    text.bytes().all(is_part) && !text.split('/').any(leads_elsewhere)
}

/// The host in the address of a registry, which may have a scheme and a path: `https://HOST/v2/`.
pub(in crate::tool) fn registry_host(address: &str) -> &str {
    let rest = address
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let host = rest.split('/').next().unwrap_or_default();
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_their_parts() {
        let table = [
            ("a", HUB, "a:latest", "docker.io/library/a:latest"),
            ("me/a:1", HUB, "me/a:1", "docker.io/me/a:1"),
            (
                "docker.io/library/a",
                HUB,
                "docker.io/library/a:latest",
                "docker.io/library/a:latest",
            ),
            (
                "localhost/a",
                "localhost",
                "localhost/a:latest",
                "localhost/a:latest",
            ),
            (
                "h:5000/a/b",
                "h:5000",
                "h:5000/a/b:latest",
                "h:5000/a/b:latest",
            ),
            (
                "h.x/a:t@sha256:0",
                "h.x",
                "h.x/a@sha256:0",
                "h.x/a@sha256:0",
            ),
        ];
        for (text, registry, whole, canonical) in table {
            let found = Reference::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (
                    found.registry.as_str(),
                    found.whole().as_str(),
                    found.canonical().as_str()
                ),
                (registry, whole, canonical)
            );
        }
        for text in ["", ":1", "a:", "a b", "a?x=1"] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for text in ["a", "h:5000/a/b:1", "a@sha256:0", "0123abcd"] {
            assert!(is_name(text), "{text}");
        }
        for text in [
            "", "..", "../a", "a/../b", "/a", "a//b", "a?x", "a#x", "a%2e", "a b", "a\n",
        ] {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn the_host_of_an_address() {
        let table = [
            (
                "https://1.dkr.ecr.x.amazonaws.com",
                "1.dkr.ecr.x.amazonaws.com",
            ),
            (
                "1.dkr.ecr.x.amazonaws.com/repository",
                "1.dkr.ecr.x.amazonaws.com",
            ),
            ("https://index.docker.io/v1/", HUB),
            ("docker.io", HUB),
            ("localhost:5000", "localhost:5000"),
        ];
        for (address, host) in table {
            assert_eq!(registry_host(address), host, "{address}");
        }
    }
}
