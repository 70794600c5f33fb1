//! How a source is named: `DIR`, `s3://BUCKET/KEY` or `git+URL@REVISION?depth=N` (SRC-1, SRC-10, SRC-11).

use std::fmt;
use std::path::PathBuf;

/// CodeBuild takes a greater depth for no depth at all.
const DEEPEST: u32 = 25;

/// Where a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine, as it was written.
    Directory(PathBuf),
    /// An object of a bucket.
    S3(S3Location),
    /// A git repository.
    Git(Box<GitLocation>),
}

/// An archive in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Which version of the object; the newest if not given.
    pub version: Option<String>,
}

/// A git repository, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitLocation {
    /// Where it is, without what gives access.
    pub url: String,
    /// What gives access.
    pub credentials: Option<Credentials>,
    /// What is checked out; what `HEAD` is there if not given.
    pub revision: Option<Revision>,
    /// How many commits; all if not given.
    pub depth: Option<u32>,
    /// Whether its submodules are wanted too.
    pub submodules: bool,
}

/// What gives access to a repository over HTTP. May be shown: nothing of it is in its `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user; where there is no password, this is what nobody may see.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// What has to be hidden wherever it is met.
    #[must_use]
    pub fn secret(&self) -> &str {
        if self.password.is_empty() {
            &self.user
        } else {
            &self.password
        }
    }
}

/// What is checked out of a repository, in the forms that CodeBuild takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    text: String,
    kind: RevisionKind,
}

/// The forms of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevisionKind {
    /// A branch, a tag, or the beginning of a commit, which the repository has to decide.
    Name,
    /// A whole commit id.
    Commit,
    /// `refs/…`
    Reference,
    /// `refs/…^{commit}`: the reference and the commit in it.
    CommitOfReference {
        /// The reference.
        reference: String,
        /// The commit.
        commit: String,
    },
    /// `pr/N`
    PullRequest(u64),
}

impl Revision {
    /// The revision that a text stands for; else what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let kind = if let Some((reference, commit)) = at_commit(text) {
            check_reference(reference)?;
            RevisionKind::CommitOfReference {
                reference: reference.to_owned(),
                commit: commit.to_ascii_lowercase(),
            }
        } else if let Some(number) = pull_request(text) {
            RevisionKind::PullRequest(number)
        } else if is_commit(text) {
            RevisionKind::Commit
        } else {
            check_reference(text)?;
            if text.starts_with("refs/") {
                RevisionKind::Reference
            } else {
                RevisionKind::Name
            }
        };
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its form.
    #[must_use]
    pub const fn kind(&self) -> &RevisionKind {
        &self.kind
    }
}

fn at_commit(text: &str) -> Option<(&str, &str)> {
    let (reference, commit) = text.strip_suffix('}')?.split_once("^{")?;
    (reference.starts_with("refs/") && is_commit(commit)).then_some((reference, commit))
}

fn pull_request(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("pr/")?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

/// Whether a text is a whole commit id, of SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What git allows in the name of a reference: with anything else a name could be taken for an option or a pattern.
fn check_reference(text: &str) -> Result<(), String> {
    let allowed = |c: char| !c.is_control() && !" ~^:?*[\\".contains(c);
    let part = |part: &str| {
        let ending = std::path::Path::new(part).extension();
        let locks = ending.is_some_and(|ending| ending.eq_ignore_ascii_case("lock"));
        !part.is_empty() && !part.starts_with('.') && !locks
    };
    let fits = !text.starts_with('-')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && text != "@"
        && text.chars().all(allowed)
        && text.split('/').all(part);
    if fits {
        return Ok(());
    }
    Err(format!(
        "`{text}` is no revision: write a branch, a tag, a commit, refs/…, pr/NUMBER or refs/heads/BRANCH^{{COMMIT}}"
    ))
}

impl Location {
    /// The source that a text stands for; else what is wrong with it. `version` is one that was said beside it.
    pub fn parse(text: &str, version: Option<&str>) -> Result<Self, String> {
        if let Some(place) = text.strip_prefix("s3://") {
            return s3(text, place, version).map(Self::S3);
        }
        if let Some(url) = text.strip_prefix("git+") {
            return git(url, version).map(Box::new).map(Self::Git);
        }
        if let Some((scheme, _)) = scheme(text) {
            let help = match scheme {
                "https" | "http" | "ssh" | "file" | "git" => {
                    format!("write git+{scheme}://… for a git repository")
                }
                _ => "write a directory, s3://BUCKET/KEY or git+https://…".to_owned(),
            };
            return Err(format!("{scheme}:// is no place for a source: {help}"));
        }
        if text.is_empty() {
            return Err(
                "it is empty: write a directory, s3://BUCKET/KEY or git+https://…".to_owned(),
            );
        }
        Ok(Self::Directory(PathBuf::from(text)))
    }

    /// Whether it has to be fetched.
    #[must_use]
    pub const fn is_elsewhere(&self) -> bool {
        !matches!(self, Self::Directory(_))
    }

    /// `CODEBUILD_SOURCE_REPO_URL`; nothing for a directory, which may know it by itself.
    #[must_use]
    pub fn repository_url(&self) -> Option<String> {
        match self {
            Self::Directory(_) => None,
            Self::S3(at) => Some(format!("s3://{}/{}", at.bucket, at.key)),
            Self::Git(at) => Some(at.url.clone()),
        }
    }

    /// `CODEBUILD_SOURCE_VERSION`, where a version was said.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Directory(_) => None,
            Self::S3(at) => at.version.as_deref(),
            Self::Git(at) => at.revision.as_ref().map(Revision::text),
        }
    }

    /// The last name in it, for a project that was given none.
    #[must_use]
    pub fn name(&self) -> String {
        let place = match self {
            Self::Directory(path) => return path.display().to_string(),
            Self::S3(at) => &at.key,
            Self::Git(at) => &at.url,
        };
        let last = place.trim_end_matches('/').rsplit('/').next();
        let name = last.unwrap_or_default();
        let endings = [".git", ".zip", ".tar.gz", ".tgz", ".tar"];
        let bare = endings.iter().find_map(|ending| name.strip_suffix(ending));
        bare.unwrap_or(name).to_owned()
    }
}

/// For people, without what gives access.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::S3(at) => write!(f, "s3://{}/{}", at.bucket, at.key),
            Self::Git(at) => write!(f, "{}", at.url),
        }
    }
}

/// The scheme of a URL and what follows it.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    (!scheme.is_empty() && scheme.bytes().all(letter)).then_some((scheme, rest))
}

/// Two versions of one source, said in two places.
fn one_version<'v>(
    written: Option<&'v str>,
    said: Option<&'v str>,
) -> Result<Option<&'v str>, String> {
    match (written, said) {
        (Some(written), Some(said)) if written != said => Err(format!(
            "it names the version `{written}`, and `--source-version` names `{said}`"
        )),
        (written, said) => Ok(written.or(said)),
    }
}

fn s3(text: &str, place: &str, said: Option<&str>) -> Result<S3Location, String> {
    let (place, written) = match place.rsplit_once("?versionId=") {
        Some((place, version)) => (place, Some(version)),
        None => (place, None),
    };
    match place.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() && written != Some("") => {
            Ok(S3Location {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                version: one_version(written, said)?.map(str::to_owned),
            })
        }
        _ => Err(format!(
            "`{text}` names no object: write s3://BUCKET/KEY or s3://BUCKET/KEY?versionId=VERSION"
        )),
    }
}

/// What is between `git+` and the end.
fn git(text: &str, said: Option<&str>) -> Result<GitLocation, String> {
    const FORM: &str = "write git+https://HOST/PATH@REVISION";
    let (scheme, rest) = scheme(text).ok_or_else(|| {
        format!("it has no scheme: {FORM}, or git+ssh://git@HOST/PATH for what ssh reaches")
    })?;
    if !["https", "http", "ssh", "file", "git"].contains(&scheme) {
        return Err(format!(
            "git+{scheme}:// is not known: {FORM}, git+ssh:// or git+file://"
        ));
    }
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let slash = rest
        .find('/')
        .ok_or_else(|| format!("it names no repository: {FORM}"))?;
    let (authority, path) = rest.split_at(slash);
    let (path, written) = match path.split_once('@') {
        Some((path, revision)) => (path, Some(revision)),
        None => (path, None),
    };
    let (credentials, authority) = access(scheme, authority)?;
    let nowhere = authority.is_empty() != (scheme == "file");
    if nowhere || path.trim_matches('/').is_empty() || authority.starts_with('-') {
        return Err(format!("it names no repository: {FORM}"));
    }
    if path.chars().chain(authority.chars()).any(char::is_control) {
        return Err("its URL has control characters".to_owned());
    }
    let revision = one_version(written, said)?;
    let (depth, submodules) = options_of(options)?;
    Ok(GitLocation {
        url: format!("{scheme}://{authority}{path}"),
        credentials,
        revision: revision.map(Revision::parse).transpose()?,
        depth,
        submodules,
    })
}

/// What gives access, and the host. The user of SSH gives none, and is a part of the place.
fn access<'a>(scheme: &str, authority: &'a str) -> Result<(Option<Credentials>, &'a str), String> {
    let Some((user, host)) = authority.rsplit_once('@') else {
        return Ok((None, authority));
    };
    if scheme == "ssh" {
        // Nothing of the password is in the message.
        if user.contains(':') {
            return Err("ssh takes no password from a URL: use a key, or git+https://".to_owned());
        }
        return Ok((None, authority));
    }
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (user, password) = (decoded(user)?, decoded(password)?);
    // Each is one line of what git is told.
    if user.chars().chain(password.chars()).any(char::is_control) {
        return Err("the user or the password in its URL has control characters".to_owned());
    }
    let credentials = Some(Credentials { user, password });
    Ok((credentials.filter(|known| !known.secret().is_empty()), host))
}

/// `%40` is `@`.
fn decoded(text: &str) -> Result<String, String> {
    let bad = || "the user or the password in its URL is not encoded as a URL wants it".to_owned();
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(bad)?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// `depth=N` and `submodules=true`, with `&` between them.
fn options_of(text: &str) -> Result<(Option<u32>, bool), String> {
    let (mut depth, mut submodules) = (None, false);
    for option in text.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("depth", number) => {
                let number: u32 = number
                    .parse()
                    .map_err(|_| format!("`depth={number}` is no number of commits"))?;
                depth = (1..=DEEPEST).contains(&number).then_some(number);
            }
            ("submodules", "true" | "") => submodules = true,
            ("submodules", "false") => submodules = false,
            _ => {
                return Err(format!(
                    "`{option}` is not known: write ?depth=NUMBER, ?submodules=true or both with & between them"
                ));
            }
        }
    }
    Ok((depth, submodules))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git_of(text: &str) -> GitLocation {
        match Location::parse(text, None) {
            Ok(Location::Git(at)) => *at,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn repositories_are_read() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let at = format!("git+https://host/o/r@refs/heads/a^{{{commit}}}");
        let table = [
            ("git+https://host/o/r.git", "https://host/o/r.git", None),
            (
                "git+https://host:8443/o/r@main",
                "https://host:8443/o/r",
                Some("main"),
            ),
            (
                "git+https://host/o/r@pkg@1.2",
                "https://host/o/r",
                Some("pkg@1.2"),
            ),
            (
                "git+https://u:p@host/o/r@a/b",
                "https://host/o/r",
                Some("a/b"),
            ),
            (
                "git+ssh://git@host/o/r@v1",
                "ssh://git@host/o/r",
                Some("v1"),
            ),
            (
                "git+file:///srv/r.git@pr/7",
                "file:///srv/r.git",
                Some("pr/7"),
            ),
            (
                &at,
                "https://host/o/r",
                at.strip_prefix("git+https://host/o/r@"),
            ),
        ];
        for (text, url, revision) in table {
            let at = git_of(text);
            assert_eq!(at.url, url, "{text}");
            assert_eq!(at.revision.as_ref().map(Revision::text), revision, "{text}");
        }
    }

    #[test]
    fn revisions_are_told_apart() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let of = |text: &str| Revision::parse(text).map(|revision| revision.kind);
        assert_eq!(of("main"), Ok(RevisionKind::Name));
        assert_eq!(of("0123456"), Ok(RevisionKind::Name));
        assert_eq!(of(commit), Ok(RevisionKind::Commit));
        assert_eq!(of("refs/pull/7/head"), Ok(RevisionKind::Reference));
        assert_eq!(of("pr/7"), Ok(RevisionKind::PullRequest(7)));
        assert_eq!(of("pr/x"), Ok(RevisionKind::Name));
        assert!(matches!(
            of(&format!("refs/heads/a^{{{commit}}}")),
            Ok(RevisionKind::CommitOfReference { reference, commit: c }) if reference == "refs/heads/a" && c == commit
        ));
        for bad in [
            "",
            "-x",
            "--upload-pack=x",
            "a b",
            "a..b",
            "a~1",
            "a^",
            "a:b",
            "a*",
            "a//b",
            "/a",
            "a/",
            "x.lock",
            "@{-1}",
            "refs/heads/a^{0123}",
            "a\n",
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_gives_access_is_kept_apart() {
        let table = [
            ("git+https://tok3n@host/r", Some(("tok3n", "")), "tok3n"),
            ("git+https://u:p%40ss@host/r", Some(("u", "p@ss")), "p@ss"),
            ("git+https://@host/r", None, ""),
            ("git+https://host/r", None, ""),
        ];
        for (text, expected, secret) in table {
            let found = git_of(text).credentials;
            let parts = found
                .as_ref()
                .map(|c| (c.user.as_str(), c.password.as_str()));
            assert_eq!(parts, expected, "{text}");
            assert_eq!(found.as_ref().map_or("", Credentials::secret), secret);
            assert!(secret.is_empty() || !format!("{:?}", git_of(text)).contains(secret));
        }
        for (text, secret) in [
            ("git+ssh://u:hush-hush@host/r", "hush-hush"),
            ("git+https://u:hush%0Ahush@host/r", "hush"),
            ("git+https://u:hush%zz@host/r", "hush"),
            ("git+https://u:hush-hush@host", "hush-hush"),
            ("git+gopher://u:hush-hush@host/r", "hush-hush"),
        ] {
            let error = Location::parse(text, None).unwrap_err();
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn options_are_read() {
        let of = |options: &str| {
            let at = git_of(&format!("git+https://h/r@main{options}"));
            (at.depth, at.submodules)
        };
        assert_eq!(of(""), (None, false));
        assert_eq!(of("?depth=1"), (Some(1), false));
        assert_eq!(of("?depth=25&submodules=true"), (Some(25), true));
        assert_eq!(of("?depth=26"), (None, false));
        assert_eq!(of("?depth=0&submodules"), (None, true));
        for bad in ["?depth=x", "?depth=-1", "?ref=main", "?submodules=2"] {
            assert!(
                Location::parse(&format!("git+https://h/r{bad}"), None).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn objects_and_directories_are_read() {
        let s3 = |bucket: &str, key: &str, version: Option<&str>| {
            Ok(Location::S3(S3Location {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                version: version.map(str::to_owned),
            }))
        };
        assert_eq!(
            Location::parse("s3://b/k.zip", None),
            s3("b", "k.zip", None)
        );
        assert_eq!(
            Location::parse("s3://b/d/k?x@y", Some("v")),
            s3("b", "d/k?x@y", Some("v"))
        );
        assert_eq!(
            Location::parse("s3://b/k?versionId=v.1", None),
            s3("b", "k", Some("v.1"))
        );
        let directory = Location::parse("./a=b", Some("v"));
        assert_eq!(directory, Ok(Location::Directory(PathBuf::from("./a=b"))));
        for bad in [
            "",
            "s3://",
            "s3://b",
            "s3://b/",
            "s3:///k",
            "s3://b/k?versionId=",
            "https://h/r",
            "git+h/r",
            "git+git@h:o/r",
            "git+https://h",
            "git+https://h/",
            "git+file://h/r",
        ] {
            assert!(Location::parse(bad, None).is_err(), "{bad}");
        }
        assert!(Location::parse("git+https://h/r@a", Some("b")).is_err());
        assert!(Location::parse("git+https://h/r@a", Some("a")).is_ok());
    }

    #[test]
    fn a_project_has_a_name_from_its_source() {
        for (text, name) in [
            ("git+https://h/o/app.git@main", "app"),
            ("s3://b/in/app.zip", "app"),
            ("s3://b/in/app", "app"),
        ] {
            assert_eq!(
                Location::parse(text, None).map(|at| at.name()),
                Ok(name.to_owned())
            );
        }
    }
}
