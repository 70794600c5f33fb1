//! Git repositories, through the `git` program (SRC-10 to SRC-14).
//!
//! What gives access is in no argument and in no file: git asks a credential helper for it, which is three words of shell
//! and reads it from variables of git's own process. No program of git's has a terminal, so that nothing is ever asked.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::location::{Credentials, GitLocation, RevisionKind, is_commit};
use super::{ATTEMPTS, Error, Fetched, Settings, Watch};
use crate::event::Exit;
use crate::ownership::remove_tree;
use crate::process::{self, Start};

/// How git is run.
#[derive(Clone, Debug, Default)]
pub struct GitSettings {
    /// The program; none, and there is no git.
    pub program: Option<PathBuf>,
    /// Variables of git's processes. Those that lead git to another repository are left out.
    pub variables: Vec<(OsString, OsString)>,
    /// This program, to be started in between where there is a terminal to leave.
    pub leave_terminal: Option<PathBuf>,
}

/// Longest silence of git, which says several times a second how far it is.
const SILENCE: Duration = Duration::from_mins(5);

/// Bytes that git may write; more than any answer that is wanted, and all of what is kept of it.
const MOST_SAID: usize = 1 << 20;

/// How git is told to keep to itself: what goes on in the background would write where nothing is any more.
const CONFIGURATION: &[&str] = &[
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "protocol.ext.allow=never",
];

/// Variables by which a caller that is a hook of git leads every git to its own repository, and those that have git tell
/// everybody what it sends.
const LEFT_OUT: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_CURL_VERBOSE",
];

/// The credential helper. Its answer is for the one host that it is asked about.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$RUNNER_GIT_USER" "$RUNNER_GIT_PASSWORD"; }; f"#;

/// What a repository said it has: names of references and where they lead.
struct Offer {
    /// Where `HEAD` leads, if it is a branch.
    head: Option<String>,
    /// Commits, or tags, and their names.
    references: Vec<(String, String)>,
}

/// Why git did not do it.
struct Failure {
    /// What git said of it.
    said: String,
    /// What that means.
    meaning: Meaning,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Whoever asks has to say who they are, or may not.
    Access,
    /// There is no such repository.
    NoRepository,
    /// There is no such revision.
    NoRevision,
    /// There is nothing in it.
    Empty,
    /// It cannot be, now or later.
    Never,
    /// Another attempt may do it.
    Perhaps,
}

/// Fetches a repository and checks out a revision.
pub(super) async fn fetch(
    at: &GitLocation,
    into: &Path,
    settings: &Settings,
    watch: Watch<'_>,
) -> Result<Fetched, Error> {
    let Some(program) = &settings.git.program else {
        return Err(Error::new(
            format!("could not fetch {}: there is no git on PATH", at.url),
            "install git",
        ));
    };
    let checkout = Checkout {
        at,
        into,
        program,
        settings: &settings.git,
        variables: variables(&settings.git.variables, at),
    };
    let mut failed = 0;
    loop {
        match checkout.attempt().await {
            Ok(commit) => {
                return Ok(Fetched {
                    commit: Some(commit),
                    object_version: None,
                });
            }
            Err(failure) => {
                failed += 1;
                if failure.meaning != Meaning::Perhaps || failed == ATTEMPTS {
                    return Err(checkout.explain(&failure));
                }
                settings.wait(failed, &failure.said, watch).await;
            }
        }
    }
}

/// All variables of git's processes.
fn variables(given: &[(OsString, OsString)], at: &GitLocation) -> Vec<(OsString, OsString)> {
    let value = |name: &str| {
        given
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    };
    let left_out = |name: &OsString| {
        let name = name.to_string_lossy();
        LEFT_OUT.contains(&&*name) || name.starts_with("GIT_TRACE")
    };
    let mut variables: Vec<(OsString, OsString)> = given.to_vec();
    variables.retain(|(name, _)| !left_out(name));
    let mut set = |name: &str, value: &OsStr| {
        variables.retain(|(other, _)| other != name);
        variables.push((name.into(), value.to_owned()));
    };
    // What git says is read, so it has to say it in English.
    set("LC_ALL", OsStr::new("C"));
    set("GIT_TERMINAL_PROMPT", OsStr::new("0"));
    // Without it git and ssh look for a window to ask in.
    set("SSH_ASKPASS_REQUIRE", OsStr::new("force"));
    set("SSH_ASKPASS", OsStr::new("false"));
    let usual = [
        // Empty, and `core.askPass` and `SSH_ASKPASS` count for nothing. What the caller set is a program that answers.
        ("GIT_ASKPASS", ""),
        // Nothing at all for a minute is a line that is dead.
        ("GIT_HTTP_LOW_SPEED_LIMIT", "1"),
        ("GIT_HTTP_LOW_SPEED_TIME", "60"),
    ];
    for (name, usual) in usual {
        if value(name).is_none() {
            set(name, OsStr::new(usual));
        }
    }
    if let Some(Credentials { user, password }) = &at.credentials {
        let count = value("GIT_CONFIG_COUNT").and_then(|count| count.to_str()?.parse().ok());
        let count: usize = count.unwrap_or(0);
        let key = format!("credential.{}.helper", origin_of(&at.url));
        // The first, empty one takes away all that others have set for this host.
        for (number, helper) in [(count, ""), (count + 1, HELPER)] {
            set(&format!("GIT_CONFIG_KEY_{number}"), OsStr::new(&key));
            set(&format!("GIT_CONFIG_VALUE_{number}"), OsStr::new(helper));
        }
        set("GIT_CONFIG_COUNT", OsStr::new(&(count + 2).to_string()));
        set("RUNNER_GIT_USER", OsStr::new(user));
        set("RUNNER_GIT_PASSWORD", OsStr::new(password));
    }
    variables
}

/// Scheme and host of a URL.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |place| place + 3);
    let end = url[host..]
        .find('/')
        .map_or(url.len(), |place| host + place);
    &url[..end]
}

/// One repository on its way.
struct Checkout<'c> {
    at: &'c GitLocation,
    into: &'c Path,
    program: &'c Path,
    settings: &'c GitSettings,
    variables: Vec<(OsString, OsString)>,
}

impl Checkout<'_> {
    /// Everything from the beginning: what another attempt left half-way is worth nothing. Gives the commit.
    async fn attempt(&self) -> Result<String, Failure> {
        let fresh = remove_tree(self.into).and_then(|()| fs::create_dir_all(self.into));
        fresh.map_err(|error| self.no_directory(&error))?;
        let offer = self.ask().await?;
        let reference = self.choose(&offer)?;
        let format = match offer.references.first() {
            Some((id, _)) if id.len() == 64 => "--object-format=sha256",
            _ => "--object-format=sha1",
        };
        self.git(&["init", "--quiet", "--template=", format])
            .await?;
        self.git(&["remote", "add", "origin", &self.at.url]).await?;
        self.git_fetch(reference.as_deref()).await?;
        let commit = self.resolve(reference.as_deref()).await?;
        self.git(&["checkout", "--progress", "--force", "--detach", &commit])
            .await?;
        if self.at.submodules {
            self.update_submodules().await?;
        }
        Ok(commit)
    }

    fn kind(&self) -> Option<&RevisionKind> {
        self.at.revision.as_ref().map(super::Revision::kind)
    }

    fn text(&self) -> &str {
        self.at
            .revision
            .as_ref()
            .map_or("HEAD", super::Revision::text)
    }

    /// Asks the repository for what may be meant.
    async fn ask(&self) -> Result<Offer, Failure> {
        let text = self.text();
        let names: Vec<String> = match self.kind() {
            None | Some(RevisionKind::Commit) => Vec::new(),
            Some(RevisionKind::Name) => ["heads", "tags"]
                .map(|kind| format!("refs/{kind}/{text}"))
                .into(),
            Some(RevisionKind::Reference) => vec![text.to_owned()],
            Some(RevisionKind::CommitOfReference { reference, .. }) => vec![reference.clone()],
            Some(RevisionKind::PullRequest(number)) => pull_requests(*number).into(),
        };
        let mut arguments = vec!["ls-remote", "--symref", &self.at.url, "HEAD"];
        arguments.extend(names.iter().map(String::as_str));
        Ok(read_offer(&self.git(&arguments).await?))
    }

    /// The reference that is meant; `None` where it is a commit, which no name leads to.
    fn choose(&self, offer: &Offer) -> Result<Option<String>, Failure> {
        let has = |name: &str| offer.references.iter().any(|(_, other)| other == name);
        let first = |names: &[String]| names.iter().find(|name| has(name)).cloned();
        let text = self.text();
        let chosen = match self.kind() {
            None if offer.references.is_empty() => {
                return Err(Failure::new(
                    Meaning::Empty,
                    "there is nothing in the repository",
                ));
            }
            None => Some(offer.head.clone().unwrap_or_else(|| "HEAD".to_owned())),
            Some(RevisionKind::Commit) => return Ok(None),
            Some(RevisionKind::Name) => {
                let chosen = first(&["heads", "tags"].map(|kind| format!("refs/{kind}/{text}")));
                if chosen.is_none() && may_be_commit(text) {
                    return Ok(None);
                }
                chosen
            }
            Some(RevisionKind::Reference) => first(&[text.to_owned()]),
            Some(RevisionKind::CommitOfReference { reference, .. }) => {
                first(std::slice::from_ref(reference))
            }
            Some(RevisionKind::PullRequest(number)) => first(&pull_requests(*number)),
        };
        chosen.map(Some).ok_or_else(|| self.no_revision())
    }

    async fn git_fetch(&self, reference: Option<&str>) -> Result<(), Failure> {
        let mut arguments = vec!["fetch", "--progress", "--no-tags"];
        let only_it = matches!(self.kind(), Some(RevisionKind::CommitOfReference { .. }));
        let depth = self.at.depth.filter(|_| reference.is_some() && !only_it);
        let depth = depth.map(|depth| format!("--depth={depth}"));
        arguments.extend(depth.as_deref());
        arguments.push("origin");
        let it = reference.map(|name| format!("+{name}:{}", local(name)));
        if depth.is_none() && !only_it {
            arguments.extend([
                "+refs/heads/*:refs/remotes/origin/*",
                "+refs/tags/*:refs/tags/*",
            ]);
        }
        let is_there = |it: &&str| {
            let pair = |kind: &str| it.starts_with(&format!("+refs/{kind}/"));
            depth.is_none() && !only_it && (pair("heads") || pair("tags"))
        };
        arguments.extend(it.as_deref().filter(|it| !is_there(it)));
        self.git(&arguments).await.map(drop)
    }

    /// The commit that is meant, which has to be there by now.
    async fn resolve(&self, reference: Option<&str>) -> Result<String, Failure> {
        let wanted = match (self.kind(), reference) {
            (Some(RevisionKind::CommitOfReference { commit, .. }), _) => commit.clone(),
            (_, Some(reference)) => local(reference),
            (_, None) => self.text().to_owned(),
        };
        if let Some(commit) = self.commit(&wanted).await {
            return Ok(commit);
        }
        // No branch and no tag leads to it, but the server may give it all the same.
        if reference.is_none() && is_commit(&wanted) {
            let found = self
                .git(&["fetch", "--progress", "--no-tags", "origin", &wanted])
                .await;
            if let (Ok(_), Some(commit)) = (found, self.commit(&wanted).await) {
                return Ok(commit);
            }
        }
        Err(self.no_revision())
    }

    async fn commit(&self, name: &str) -> Option<String> {
        let commit = format!("{name}^{{commit}}");
        let said = self
            .git(&[
                "rev-parse",
                "--verify",
                "--quiet",
                "--end-of-options",
                &commit,
            ])
            .await
            .ok()?;
        said.lines()
            .map(str::trim)
            .find(|line| is_commit(line))
            .map(str::to_owned)
    }

    async fn update_submodules(&self) -> Result<(), Failure> {
        // Git lets submodules name directories of this machine only where all of it is one.
        let files = self.at.url.starts_with("file://");
        let mut arguments: Vec<&str> = files
            .then_some(["-c", "protocol.file.allow=always"])
            .into_iter()
            .flatten()
            .collect();
        arguments.extend(["submodule", "update", "--init", "--recursive", "--progress"]);
        let depth = self.at.depth.map(|depth| format!("--depth={depth}"));
        arguments.extend(depth.as_deref());
        self.git(&arguments).await.map(drop)
    }

    /// Runs git to its end and gives what it said.
    async fn git(&self, arguments: &[&str]) -> Result<String, Failure> {
        let configuration = CONFIGURATION.iter().flat_map(|setting| ["-c", setting]);
        let arguments = configuration.chain(arguments.iter().copied());
        let start = Start {
            program: self.program,
            arguments: arguments.map(OsStr::new).collect(),
            directory: self.into,
            variables: &self.variables,
            leave_terminal: self.settings.leave_terminal.as_deref(),
            user: None,
        };
        let failed = |error: io::Error| {
            Failure::new(Meaning::Never, &format!("git could not be run: {error}"))
        };
        let (mut process, mut reader) = process::start(&start).map_err(failed)?;
        let mut said = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            match tokio::time::timeout(SILENCE, reader.read(&mut chunk)).await {
                Ok(Ok(0)) => break,
                Ok(Ok(count)) => keep(&mut said, &chunk[..count]),
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => {
                    process.group().kill();
                    let _ = process.wait().await;
                    return Err(Failure::new(
                        Meaning::Perhaps,
                        "git said nothing for five minutes",
                    ));
                }
            }
        }
        let exit = process.wait().await.map_err(failed)?;
        let said = self.without_secrets(&String::from_utf8_lossy(&said));
        match exit {
            Exit::Exited(0) => Ok(said),
            _ => Err(Failure::of(&said, exit)),
        }
    }

    /// Nothing that gives access was given to git where it could show it; should it all the same, nobody is told.
    fn without_secrets(&self, said: &str) -> String {
        let secret = self.at.credentials.as_ref().map_or("", Credentials::secret);
        if secret.is_empty() {
            said.to_owned()
        } else {
            said.replace(secret, "***")
        }
    }

    fn no_revision(&self) -> Failure {
        Failure::new(
            Meaning::NoRevision,
            &format!("there is no revision {}", self.text()),
        )
    }

    fn no_directory(&self, error: &io::Error) -> Failure {
        let said = format!("could not make {}: {error}", self.into.display());
        Failure::new(Meaning::Never, &said)
    }

    /// In CodeBuild's words, as far as they are known (SRC-30).
    fn explain(&self, failure: &Failure) -> Error {
        let url = &self.at.url;
        let said = &failure.said;
        match failure.meaning {
            Meaning::Access => Error::codebuilds(
                "authentication required",
                format!(
                    "{url}: git said: {said}. Give git a credential helper, GIT_ASKPASS or an ssh key that answers without asking"
                ),
            ),
            Meaning::NoRepository => Error::codebuilds(
                "repository not found",
                format!(
                    "{url}: git said: {said}. Check the URL, and that whoever fetches it may see it"
                ),
            ),
            Meaning::NoRevision => Error::codebuilds(
                "reference not found",
                format!(
                    "{url}: {said}. Check its spelling; a commit has to be part of a branch or a tag"
                ),
            ),
            Meaning::Empty => Error::codebuilds(
                "remote repository is empty",
                format!("{url}: push a commit to it"),
            ),
            Meaning::Never | Meaning::Perhaps => Error::new(
                format!("Git clone failed: {}", in_codebuilds_words(said)),
                if said.contains(NO_ROOM) {
                    format!(
                        "make room where {} is, or name another place in TMPDIR",
                        self.into.display()
                    )
                } else {
                    format!("{url}: check the network, and that `git ls-remote {url}` answers")
                },
            ),
        }
    }
}

/// What git says of a disk that is full: it speaks English here.
const NO_ROOM: &str = "No space left on device";

/// Keeps the end of what is said.
fn keep(said: &mut Vec<u8>, more: &[u8]) {
    said.extend_from_slice(more);
    if said.len() > MOST_SAID {
        said.drain(..said.len() - MOST_SAID / 2);
    }
}

/// Where those who keep repositories have the commits of a pull request: GitHub, GitLab, Bitbucket.
fn pull_requests(number: u64) -> [String; 3] {
    [
        format!("refs/pull/{number}/head"),
        format!("refs/merge-requests/{number}/head"),
        format!("refs/pull-requests/{number}/from"),
    ]
}

/// Whether a name may be the beginning of a commit's.
fn may_be_commit(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a reference of the repository is called here.
fn local(name: &str) -> String {
    match (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/")) {
        (Some(branch), _) => format!("refs/remotes/origin/{branch}"),
        (None, Some(rest)) if rest.starts_with("tags/") => name.to_owned(),
        (None, rest) => format!("refs/remotes/origin/{}", rest.unwrap_or(name)),
    }
}

fn read_offer(said: &str) -> Offer {
    let mut offer = Offer {
        head: None,
        references: Vec::new(),
    };
    for (what, name) in said.lines().filter_map(|line| line.split_once('\t')) {
        match what.strip_prefix("ref: ") {
            Some(branch) if name == "HEAD" => offer.head = Some(branch.to_owned()),
            None if is_commit(what) => offer.references.push((what.to_owned(), name.to_owned())),
            _ => {}
        }
    }
    offer
}

impl Failure {
    fn new(meaning: Meaning, said: &str) -> Self {
        Self {
            said: said.to_owned(),
            meaning,
        }
    }

    /// What git's last words mean.
    fn of(said: &str, exit: Exit) -> Self {
        let lines = said.split(['\n', '\r']).map(str::trim);
        let mut words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        // Progress explains nothing.
        words.retain(|line| !line.contains("% (") && !line.starts_with("hint:"));
        let blamed = |line: &&&str| line.starts_with("fatal:") || line.starts_with("error:");
        let first = words.iter().find(|line| line.starts_with("fatal:"));
        let first = first.or_else(|| words.iter().find(blamed)).or(words.last());
        let sentence = first.map_or_else(
            || format!("git ended with {}", exit.describe()),
            |line| {
                line.trim_start_matches("fatal: ")
                    .trim_start_matches("error: ")
                    .to_owned()
            },
        );
        Self {
            meaning: meaning(&words.join("\n").to_lowercase()),
            said: sentence,
        }
    }
}

/// What git means; in English and lower case.
fn meaning(said: &str) -> Meaning {
    const MEANINGS: &[(&str, Meaning)] = &[
        ("could not read username", Meaning::Access),
        ("could not read password", Meaning::Access),
        ("authentication failed", Meaning::Access),
        ("terminal prompts disabled", Meaning::Access),
        ("permission denied (", Meaning::Access),
        ("host key verification failed", Meaning::Never),
        ("returned error: 401", Meaning::Access),
        ("returned error: 403", Meaning::Access),
        ("couldn't find remote ref", Meaning::NoRevision),
        ("not our ref", Meaning::NoRevision),
        ("repository not found", Meaning::NoRepository),
        (
            "does not appear to be a git repository",
            Meaning::NoRepository,
        ),
        ("not a git repository", Meaning::NoRepository),
        ("repository '", Meaning::NoRepository),
        ("does not exist", Meaning::NoRepository),
        ("certificate", Meaning::Never),
        ("dubious ownership", Meaning::Never),
        ("unable to find remote helper", Meaning::Never),
        ("not allowed", Meaning::Never),
        ("no space left", Meaning::Never),
        ("disk quota", Meaning::Never),
        ("unable to create file", Meaning::Never),
        ("no url found for submodule", Meaning::Never),
        ("dumb http transport", Meaning::Never),
    ];
    let found = MEANINGS.iter().find(|(words, _)| said.contains(words));
    found.map_or(Meaning::Perhaps, |(_, meaning)| *meaning)
}

/// CodeBuild begins git's sentence with a capital letter, and the one about certificates too.
fn in_codebuilds_words(said: &str) -> String {
    let mut characters = said.chars();
    let capital: String = characters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(characters)
        .collect();
    ["self-signed certificate", "self signed certificate"]
        .iter()
        .fold(capital, |text, words| {
            text.replace(words, "Self signed certificate")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_understood() {
        let table = [
            (
                "fatal: could not read Username for 'https://h': terminal prompts disabled",
                "could not read Username",
                Meaning::Access,
            ),
            (
                "remote: Repository not found.\nfatal: repository 'https://h/r/' not found",
                "repository 'https",
                Meaning::NoRepository,
            ),
            (
                "git@h: Permission denied (publickey).\r\nfatal: Could not read from remote repository.\n\nPlease make sure",
                "Could not read",
                Meaning::Access,
            ),
            (
                "fatal: '/x' does not appear to be a git repository\nfatal: Could not read",
                "'/x' does not",
                Meaning::NoRepository,
            ),
            (
                "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate",
                "unable to access",
                Meaning::Never,
            ),
            (
                "fatal: unable to access 'https://h/': Could not resolve host: h",
                "unable to access",
                Meaning::Perhaps,
            ),
            (
                "Receiving objects:  9% (1/11)\rerror: RPC failed; curl 18\nfatal: early EOF",
                "early EOF",
                Meaning::Perhaps,
            ),
            ("", "git ended with exit status 128", Meaning::Perhaps),
        ];
        for (said, begins, expected) in table {
            let failure = Failure::of(said, Exit::Exited(128));
            assert!(failure.said.starts_with(begins), "{said}: {}", failure.said);
            assert!(failure.meaning == expected, "{said}");
        }
        let said =
            "unable to access 'https://h/': SSL certificate problem: self-signed certificate";
        let expected =
            "Unable to access 'https://h/': SSL certificate problem: Self signed certificate";
        assert_eq!(in_codebuilds_words(said), expected);
    }

    /// SRC-14: a hook of git that starts a build leads it nowhere, and what gives access is for one host.
    #[test]
    fn variables_lead_git_to_what_is_meant() {
        let given = [
            ("GIT_DIR", "/x"),
            ("GIT_TRACE_CURL", "1"),
            ("HOME", "/h"),
            ("GIT_CONFIG_COUNT", "1"),
            ("LC_ALL", "de_DE"),
        ];
        let given: Vec<(OsString, OsString)> = given
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let at = GitLocation {
            url: "https://h:1/r".to_owned(),
            credentials: Some(Credentials {
                user: "u".to_owned(),
                password: "hush".to_owned(),
            }),
            revision: None,
            depth: None,
            submodules: false,
        };
        let found = variables(&given, &at);
        let value = |name: &str| {
            let found = found.iter().find(|(other, _)| other == name);
            found.and_then(|(_, value)| value.to_str())
        };
        assert_eq!((value("GIT_DIR"), value("GIT_TRACE_CURL")), (None, None));
        assert_eq!((value("HOME"), value("LC_ALL")), (Some("/h"), Some("C")));
        assert_eq!(value("GIT_CONFIG_COUNT"), Some("3"));
        assert_eq!(
            value("GIT_CONFIG_KEY_2"),
            Some("credential.https://h:1.helper")
        );
        assert_eq!(value("GIT_CONFIG_VALUE_1"), Some(""));
        let with_secret = found.iter().filter(|(_, value)| value == "hush");
        assert_eq!(with_secret.count(), 1);
    }

    #[test]
    fn what_is_kept_of_git_is_bounded() {
        let mut said = Vec::new();
        for _ in 0..100 {
            keep(&mut said, &vec![b'x'; 64 * 1024]);
        }
        keep(&mut said, b"the end");
        assert!(said.len() <= MOST_SAID && said.ends_with(b"the end"));
    }
}
