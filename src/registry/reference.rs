//! What images are called: `[registry/]path[:tag][@digest]`, and how Docker completes a short name (REG-1).

use std::fmt;

/// Docker's own registry, where names without one are looked for.
pub const DOCKER_HUB: &str = "docker.io";

/// The address under which Docker keeps credentials for its hub.
pub const HUB_SERVER: &str = "https://index.docker.io/v1/";

/// Longest name without tag and digest, in characters.
const LONGEST_NAME: usize = 255;

/// Longest tag, in characters.
const LONGEST_TAG: usize = 128;

/// The name of an image, complete: with its registry, and with `library/` for official images of Docker's hub.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is no name of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no name of an image: {problem}")]
pub struct ReferenceError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with the name of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// The path has a capital letter: the most common mistake, and the hardest to see.
    #[error("capital letters are allowed in tags only")]
    Capital,
    /// The path.
    #[error(
        "a path is lower-case letters and digits, with `.`, `_`, `__` or dashes between them, in parts between `/`"
    )]
    Path,
    /// The registry.
    #[error("the part before the first `/` is no host with an optional port")]
    Registry,
    /// The tag.
    #[error("a tag is at most 128 letters, digits, `_`, `.` and `-`, neither `.` nor `-` first")]
    Tag,
    /// The digest.
    #[error("a digest is `sha256:` and 64 hexadecimal digits in lower case")]
    Digest,
    /// The name is too long.
    #[error("it has more than 255 characters before the tag")]
    Long,
    /// A bare digest, which names content and not where it is.
    #[error("64 hexadecimal digits are the id of an image, not a name")]
    Identifier,
    /// A URL.
    #[error("it begins like a URL; leave the `https://` out")]
    Url,
}

impl Reference {
    /// Reads a name as Docker does.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        read(text).map_err(|problem| ReferenceError {
            text: text.to_owned(),
            problem,
        })
    }

    /// The registry: a host with an optional port; `docker.io` for Docker's hub.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in its registry, such as `library/debian`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, where one is written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one is written.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The tag that is meant: the one that is written; `latest` if there is no digest either.
    #[must_use]
    pub fn tag_meant(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, Some(_)) => None,
            (None, None) => Some("latest"),
        }
    }

    /// Registry and path, as people write it: without what Docker adds.
    #[must_use]
    pub fn name(&self) -> String {
        if self.registry == DOCKER_HUB {
            let path = self.path.strip_prefix("library/");
            path.unwrap_or(&self.path).to_owned()
        } else {
            format!("{}/{}", self.registry, self.path)
        }
    }

    /// The same image by what it holds: without the tag.
    #[must_use]
    pub fn by_digest(&self, digest: &str) -> Self {
        Self {
            tag: None,
            digest: Some(digest.to_owned()),
            ..self.clone()
        }
    }

    /// The registry's address as Docker's configuration and credential helpers know it.
    #[must_use]
    pub fn server(&self) -> &str {
        if self.registry == DOCKER_HUB {
            HUB_SERVER
        } else {
            &self.registry
        }
    }
}

/// As people write it: what reads back as the same name.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn read(text: &str) -> Result<Reference, Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.contains("://") {
        return Err(Problem::Url);
    }
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == 64 && text.bytes().all(is_hex) {
        return Err(Problem::Identifier);
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(check_digest(digest)?)),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; one before it, a port.
    let slash = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[slash..].find(':') {
        Some(colon) => (
            &rest[..slash + colon],
            Some(check_tag(&rest[slash + colon + 1..])?),
        ),
        None => (rest, None),
    };
    let (registry, path) = split_registry(name)?;
    if name.len() > LONGEST_NAME {
        return Err(Problem::Long);
    }
    check_path(&path)?;
    Ok(Reference {
        registry,
        path,
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

/// The first part is a registry if it looks like a host: a dot, a port, `localhost`, or a capital letter, which no path has.
fn split_registry(name: &str) -> Result<(String, String), Problem> {
    let hub = |path: &str| {
        let official = if path.contains('/') { "" } else { "library/" };
        (DOCKER_HUB.to_owned(), format!("{official}{path}"))
    };
    let Some((first, path)) = name.split_once('/') else {
        return Ok(hub(name));
    };
    let is_host = first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_host {
        return Ok(hub(name));
    }
    check_host(first)?;
    if ["docker.io", "index.docker.io"].contains(&first) {
        return Ok(hub(path));
    }
    Ok((first.to_owned(), path.to_owned()))
}

fn check_host(host: &str) -> Result<(), Problem> {
    let (name, port) = match host.rfind(']') {
        // An address of IPv6 is in brackets.
        Some(end) => (&host[..=end], host[end + 1..].strip_prefix(':')),
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let port_fits =
        port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let label_fits = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let name_fits = match name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(label_fits),
    };
    if port_fits && name_fits {
        Ok(())
    } else {
        Err(Problem::Registry)
    }
}

fn check_path(path: &str) -> Result<(), Problem> {
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Problem::Capital);
    }
    if path.split('/').all(is_path_part) {
        Ok(())
    } else {
        Err(Problem::Path)
    }
}

/// Runs of letters and digits with one separator between two of them: `.`, `_`, `__`, or any number of dashes.
fn is_path_part(part: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends_fit = part.starts_with(is_letter) && part.ends_with(is_letter);
    let mut separators = part
        .split(is_letter)
        .filter(|separator| !separator.is_empty());
    ends_fit
        && separators.all(|separator| {
            [".", "_", "__"].contains(&separator) || separator.bytes().all(|byte| byte == b'-')
        })
}

fn check_tag(tag: &str) -> Result<&str, Problem> {
    let fits = tag.len() <= LONGEST_TAG
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if fits { Ok(tag) } else { Err(Problem::Tag) }
}

fn check_digest(digest: &str) -> Result<&str, Problem> {
    let fits = digest.split_once(':').is_some_and(|(kind, hex)| {
        let length = match kind {
            "sha256" => 64,
            "sha512" => 128,
            _ => return false,
        };
        hex.len() == length
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    });
    if fits {
        Ok(digest)
    } else {
        Err(Problem::Digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_read_and_completed_as_docker_does() {
        let table = [
            ("debian", "docker.io", "library/debian", None, "debian"),
            (
                "debian:12",
                "docker.io",
                "library/debian",
                Some("12"),
                "debian:12",
            ),
            (
                "docker.io/debian",
                "docker.io",
                "library/debian",
                None,
                "debian",
            ),
            (
                "index.docker.io/library/debian",
                "docker.io",
                "library/debian",
                None,
                "debian",
            ),
            ("me/app:v1", "docker.io", "me/app", Some("v1"), "me/app:v1"),
            ("localhost/app", "localhost", "app", None, "localhost/app"),
            (
                "localhost:5000/a/b:1",
                "localhost:5000",
                "a/b",
                Some("1"),
                "localhost:5000/a/b:1",
            ),
            (
                "127.0.0.1:5000/app",
                "127.0.0.1:5000",
                "app",
                None,
                "127.0.0.1:5000/app",
            ),
            (
                "[::1]:5000/app",
                "[::1]:5000",
                "app",
                None,
                "[::1]:5000/app",
            ),
            ("Host/app", "Host", "app", None, "Host/app"),
            (
                "a__b/c--d.e_f",
                "docker.io",
                "a__b/c--d.e_f",
                None,
                "a__b/c--d.e_f",
            ),
            (
                "app:a.B-_",
                "docker.io",
                "library/app",
                Some("a.B-_"),
                "app:a.B-_",
            ),
            (
                "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:1",
                "123456789012.dkr.ecr.us-east-1.amazonaws.com",
                "team/app",
                Some("1"),
                "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:1",
            ),
        ];
        for (text, registry, path, tag, shown) in table {
            let name = Reference::parse(text).unwrap();
            let found = (name.registry(), name.path(), name.tag());
            assert_eq!(found, (registry, path, tag), "{text}");
            assert_eq!(name.to_string(), shown);
            assert_eq!(Reference::parse(shown).unwrap(), name);
        }
    }

    #[test]
    fn a_digest_stands_beside_a_tag() {
        let name = Reference::parse(&format!("h.example/app:1@{DIGEST}")).unwrap();
        assert_eq!((name.tag(), name.digest()), (Some("1"), Some(DIGEST)));
        let name = Reference::parse(&format!("app@{DIGEST}")).unwrap();
        assert_eq!(name.tag_meant(), None);
        assert_eq!(name.to_string(), format!("app@{DIGEST}"));
        let plain = Reference::parse("h.example/app:1").unwrap();
        assert_eq!(
            plain.by_digest(DIGEST).to_string(),
            format!("h.example/app@{DIGEST}")
        );
        assert_eq!(Reference::parse("app").unwrap().tag_meant(), Some("latest"));
        assert_eq!(
            Reference::parse("app").unwrap().server(),
            "https://index.docker.io/v1/"
        );
        assert_eq!(plain.server(), "h.example");
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let (long, tag) = ("a".repeat(256), format!("a:{}", "t".repeat(129)));
        let table = [
            ("", Problem::Empty),
            ("App", Problem::Capital),
            ("h.example/App", Problem::Capital),
            ("a//b", Problem::Path),
            ("a/", Problem::Path),
            ("-a", Problem::Path),
            ("a..b", Problem::Path),
            ("a___b", Problem::Path),
            ("a._b", Problem::Path),
            ("a b", Problem::Path),
            ("$image", Problem::Path),
            ("h_x.example/app", Problem::Registry),
            ("h.example:x/app", Problem::Registry),
            ("h..example/app", Problem::Registry),
            ("app:", Problem::Tag),
            ("app:.x", Problem::Tag),
            (&tag, Problem::Tag),
            ("app@sha256:12", Problem::Digest),
            ("app@", Problem::Digest),
            ("https://h.example/app", Problem::Url),
            (&DIGEST[7..], Problem::Identifier),
            (&long, Problem::Long),
        ];
        for (text, problem) in table {
            assert_eq!(
                Reference::parse(text).unwrap_err().problem,
                problem,
                "{text}"
            );
        }
    }
}
