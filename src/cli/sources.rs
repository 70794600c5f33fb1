//! The sources of a build: from arguments to directories (SRC-1 to SRC-7).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::args::RequestArgs;
use super::layers::Layers;
use super::provision::Stops;
use super::{aws, machine, mistake};
use crate::aws::Settings as AwsSettings;
use crate::event::SourceReady;
use crate::fetch::archive::Limits;
use crate::fetch::{self, Fetched, GitSettings, Location, Progress, S3Settings, Settings};
use crate::ownership::{OwnedDirectory, remove_tree};
use crate::phase::{CLIENT_ERROR, PhaseContext};
use crate::plan::BuildRequest;
use crate::process;
use crate::units::render_duration;

/// The pause before a source is tried for the second time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest identifier, in characters.
const LONGEST_IDENTIFIER: usize = 127;

/// A source, and the directory that it is in or comes to: absolute.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) location: Location,
    pub(super) directory: PathBuf,
}

impl Place {
    /// What a project is called that has this source and no name.
    pub(super) fn name(&self) -> String {
        if self.location.is_elsewhere() {
            return self.location.name();
        }
        let name = self.directory.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// All sources of a build. What was fetched goes away with it.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) primary: Place,
    /// Those with an identifier, in the order in which they were named.
    pub(super) secondary: Vec<(String, Place)>,
    /// Beside what artifacts go by default: the source, or this directory where the source does not stay.
    pub(super) beside: PathBuf,
    /// Where fetched ones are.
    room: Option<OwnedDirectory>,
    /// Why there is no room for them.
    no_room: Option<String>,
}

impl Drop for Sources {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            // Whoever wrote there when the build was stopped may still be at its last file.
            let _ = remove_tree(room.path()).or_else(|_| remove_tree(room.path()));
        }
    }
}

/// Sources that were fetched as far as they could be.
pub(super) struct Arrived {
    /// The commit of the primary source, if that is of git.
    pub(super) commit: Option<String>,
    /// Identifiers of the sources that are not there; `None` for the primary one.
    missing: HashSet<Option<String>>,
    /// Why the first of them is not: what CodeBuild says, and what a person is told.
    pub(super) refusal: Option<(PhaseContext, String)>,
}

impl Arrived {
    /// Nothing had to be fetched.
    pub(super) fn nothing() -> Self {
        Self {
            commit: None,
            missing: HashSet::new(),
            refusal: None,
        }
    }

    /// The sources that are there, for the log.
    pub(super) fn ready(&self, request: &BuildRequest) -> Vec<SourceReady> {
        let primary = std::iter::once((None, &request.source));
        let others = request.secondary_sources.iter();
        let others = others.map(|other| (Some(other.identifier.clone()), &other.source));
        primary
            .chain(others)
            .filter(|(identifier, _)| !self.missing.contains(identifier))
            .map(|(identifier, source)| SourceReady {
                identifier,
                directory: source.directory.display().to_string(),
                kind: source.kind,
            })
            .collect()
    }
}

/// Which sources are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All that have to be fetched.
    All,
    /// What a plan is made of: the primary one, and of that no more than one commit.
    ForPlan,
}

impl Sources {
    /// The sources that the arguments name. A directory that is none is a mistake; nothing is fetched yet.
    pub(super) fn of(args: &RequestArgs) -> Result<Self, clap::Error> {
        let mut primary = None;
        let mut secondary: Vec<(String, Location)> = Vec::new();
        for text in &args.source {
            let (identifier, form) = identified(text);
            // Only the primary one has a flag for its version.
            let version = args
                .source_version
                .as_deref()
                .filter(|_| identifier.is_none());
            let location = Location::parse(form, version)
                .map_err(|problem| mistake(format!("`--source {}`: {problem}", shown(text))))?;
            match identifier {
                Some(name) if secondary.iter().any(|(other, _)| other == name) => {
                    return Err(mistake(format!("two sources are called `{name}`")));
                }
                Some(name) => secondary.push((name.to_owned(), location)),
                None if primary.is_some() => {
                    return Err(mistake(
                        "there is one primary source: give the others names, with `--source ID=SOURCE`",
                    ));
                }
                None => primary = Some(location),
            }
        }
        let primary = match (primary, &args.directory) {
            (Some(_), Some(_)) => {
                return Err(mistake(
                    "`-C` and `--source` both say where the primary source is: leave one of them out",
                ));
            }
            (Some(primary), None) => primary,
            (None, directory) => {
                Location::Directory(directory.clone().unwrap_or_else(|| PathBuf::from(".")))
            }
        };
        Self::in_place(primary, secondary)
    }

    fn in_place(
        primary: Location,
        secondary: Vec<(String, Location)>,
    ) -> Result<Self, clap::Error> {
        let here = machine::directory()
            .map_err(|error| mistake(format!("this directory is gone: {error}")))?;
        let mut locations = std::iter::once(&primary).chain(secondary.iter().map(|(_, at)| at));
        let parent = machine::temporary_directory();
        let made = locations
            .any(Location::is_elsewhere)
            .then(|| OwnedDirectory::make_in(&parent));
        let (room, no_room) = match made.transpose() {
            Ok(room) => (room, None),
            Err(error) => (
                None,
                Some(format!(
                    "could not make a directory in {}: {error}",
                    parent.display()
                )),
            ),
        };
        let top = room.as_ref().map_or(parent, |room| room.path().to_owned());
        // Links in the way to it would make two names of one place.
        let top = machine::canonical(&top);
        let place = |location: Location, name: &str| -> Result<Place, clap::Error> {
            let directory = match &location {
                Location::Directory(directory) => existing(&here, directory)?,
                _ => top.join(name),
            };
            Ok(Place {
                location,
                directory,
            })
        };
        let primary = place(primary, "src")?;
        let others = secondary.into_iter().map(|(name, location)| {
            let directory = format!("src_{name}");
            Ok((name, place(location, &directory)?))
        });
        Ok(Self {
            secondary: others.collect::<Result<_, clap::Error>>()?,
            beside: if primary.location.is_elsewhere() {
                here
            } else {
                primary.directory.clone()
            },
            primary,
            room,
            no_room,
        })
    }

    /// The directories of all of them, without links.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let others = self.secondary.iter().map(|(_, place)| place);
        std::iter::once(&self.primary)
            .chain(others)
            .map(|place| machine::canonical(&place.directory))
            .collect()
    }

    /// Those that nobody but this build has, by identifier: what is fetched for it, or all where `all_are`.
    pub(super) fn own(&self, all_are: bool) -> Vec<(Option<String>, PathBuf)> {
        let others = self.secondary.iter();
        let others = others.map(|(name, place)| (Some(name.clone()), place));
        std::iter::once((None, &self.primary))
            .chain(others)
            .filter(|(_, place)| all_are || place.location.is_elsewhere())
            .map(|(identifier, place)| (identifier, place.directory.clone()))
            .collect()
    }

    /// Whether anything has to be fetched.
    pub(super) fn has_to_fetch(&self, wanted: Wanted) -> bool {
        let others = self.secondary.iter().map(|(_, place)| place);
        match wanted {
            Wanted::ForPlan => self.primary.location.is_elsewhere(),
            Wanted::All => std::iter::once(&self.primary)
                .chain(others)
                .any(|place| place.location.is_elsewhere()),
        }
    }

    /// What may be in nothing that is shown: what gives access to repositories.
    pub(super) fn secrets(&self) -> Vec<Vec<u8>> {
        let others = self.secondary.iter().map(|(_, place)| place);
        let all = std::iter::once(&self.primary).chain(others);
        all.filter_map(|place| match &place.location {
            Location::Git(at) => at.credentials.as_ref(),
            _ => None,
        })
        .flat_map(|credentials| crate::redact::forms(credentials.secret().as_bytes()))
        .collect()
    }

    /// Lets the users that commands run as reach what was fetched.
    pub(super) fn open_to_users(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        if let Some(room) = &self.room {
            let passable = std::fs::Permissions::from_mode(0o711);
            let _ = std::fs::set_permissions(room.path(), passable);
        }
    }

    /// Fetches what is wanted, all of it at once, as whoever the build is for AWS. A signal and the end of the build's time end it: both are put back for the
    /// build, which then ends by them.
    pub(super) async fn fetch(
        &self,
        wanted: Wanted,
        (args, aws): (&RequestArgs, &AwsSettings),
        quiet: bool,
        deadline: Option<Instant>,
        stops: Stops<'_>,
    ) -> Arrived {
        let settings = settings(aws);
        let layers = Mutex::new(Layers::new(args.color, quiet));
        let others = self
            .secondary
            .iter()
            .map(|(name, place)| (Some(name), place));
        let all = std::iter::once((None, &self.primary)).chain(others);
        let all: Vec<(Option<&String>, &Place)> = all
            .filter(|(_, place)| place.location.is_elsewhere())
            .filter(|(identifier, _)| wanted == Wanted::All || identifier.is_none())
            .collect();
        let fetching = all
            .iter()
            .map(|(_, place)| self.fetch_one(place, wanted, &settings, &layers));
        let ended = tokio::select! {
            biased;
            Some(reason) = stops.heard.recv() => {
                let _ = stops.back.send(reason);
                None
            }
            () = super::provision::at(deadline) => None,
            ended = join_all(fetching) => Some(ended),
        };
        if let Ok(mut layers) = layers.lock() {
            layers.clear();
        }
        arrived(&all, ended)
    }

    async fn fetch_one(
        &self,
        place: &Place,
        wanted: Wanted,
        settings: &Settings,
        layers: &Mutex<Layers>,
    ) -> Result<Fetched, fetch::Error> {
        if let Some(problem) = &self.no_room {
            return Err(fetch::Error::new(
                problem,
                "make room there, or point TMPDIR somewhere else",
            ));
        }
        let location = for_plan(&place.location, wanted);
        let name = location.to_string();
        let started = Instant::now();
        let show = |what: &dyn Fn(&mut Layers)| {
            if let Ok(mut layers) = layers.lock() {
                what(&mut layers);
            }
        };
        let why = match wanted {
            Wanted::All => "",
            Wanted::ForPlan => ", to read the buildspec in it",
        };
        show(&|layers| layers.begin("Fetching", &format!("{name}{why}")));
        let watch = |progress: Progress| match progress {
            Progress::Received { bytes, total } => {
                show(&|layers| layers.received(&name, bytes, total));
            }
            Progress::Silence { waited } => {
                let seconds = waited.as_secs();
                let note = format!("no answer after {seconds} s: still waiting for {name}");
                show(&|layers| layers.progress(crate::registry::Progress::Note(note.clone())));
            }
            Progress::Retry {
                next,
                of,
                wait,
                reason,
            } => show(&|layers| {
                layers.progress(crate::registry::Progress::Retry {
                    next,
                    of,
                    wait,
                    reason: reason.clone(),
                });
            }),
        };
        let fetched = fetch::fetch(&location, &place.directory, settings, &watch).await?;
        let what = fetched
            .commit
            .as_deref()
            .or(fetched.object_version.as_deref());
        let what = what.map_or_else(String::new, |what| format!(" ({what})"));
        let took = render_duration(started.elapsed());
        show(&|layers| layers.done("Fetched", &format!("{name}{what} in {took}")));
        Ok(fetched)
    }
}

/// No more than a plan needs: one commit, and no submodules.
fn for_plan(location: &Location, wanted: Wanted) -> Location {
    let mut location = location.clone();
    if let (Location::Git(at), Wanted::ForPlan) = (&mut location, wanted) {
        at.depth = Some(1);
        at.submodules = false;
    }
    location
}

/// What came of it; `None` where it was stopped.
fn arrived(
    all: &[(Option<&String>, &Place)],
    ended: Option<Vec<Result<Fetched, fetch::Error>>>,
) -> Arrived {
    let mut arrived = Arrived::nothing();
    let Some(ended) = ended else {
        arrived.missing = all
            .iter()
            .map(|(identifier, _)| identifier.cloned())
            .collect();
        let message = "the build was ended while its source was fetched";
        let context = PhaseContext::environment(CLIENT_ERROR, message);
        arrived.refusal = Some((context, String::new()));
        return arrived;
    };
    for ((identifier, place), ended) in all.iter().zip(ended) {
        match ended {
            Ok(fetched) if identifier.is_none() => arrived.commit = fetched.commit,
            Ok(_) => {}
            Err(error) => {
                arrived.missing.insert(identifier.cloned());
                arrived.refuse(identifier.map(String::as_str), place, &error);
            }
        }
    }
    arrived
}

impl Arrived {
    /// The first source that is not there is what the phase fails with; the others are told as help.
    fn refuse(&mut self, identifier: Option<&str>, place: &Place, error: &fetch::Error) {
        let message = error.of_source(identifier, place.location.version());
        let complaint = format!("error: {message}\n  help: {}\n", error.help);
        match &mut self.refusal {
            None => {
                let context = PhaseContext::environment(CLIENT_ERROR, message);
                self.refusal = Some((context.with_help(error.help.clone()), complaint));
            }
            Some((context, told)) => {
                told.push_str(&complaint);
                let help = context.help.get_or_insert_with(String::new);
                help.push_str(&format!("\nalso: {message}"));
            }
        }
    }
}

/// `ID=SOURCE`, where what stands before the first `=` can be an identifier.
fn identified(text: &str) -> (Option<&str>, &str) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match text.split_once('=') {
        Some((name, form))
            if !name.is_empty()
                && name.len() <= LONGEST_IDENTIFIER
                && name.bytes().all(allowed) =>
        {
            (Some(name), form)
        }
        _ => (None, text),
    }
}

/// What was written, without what gives access.
fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = rest.find('/').unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => text.to_owned(),
    }
}

/// A directory that is there; a mistake if it is none.
fn existing(here: &Path, written: &Path) -> Result<PathBuf, clap::Error> {
    let directory = here.join(written);
    let shown = if written == Path::new(".") {
        here.display()
    } else {
        written.display()
    };
    match directory.canonicalize() {
        Ok(directory) if directory.is_dir() => Ok(directory),
        Ok(_) => Err(mistake(format!("{shown} is no directory"))),
        Err(error) => Err(mistake(format!(
            "the source directory {shown} cannot be used: {error}"
        ))),
    }
}

fn settings(aws_settings: &AwsSettings) -> Settings {
    let leaves = process::has_terminal();
    Settings {
        git: GitSettings {
            program: process::find_program("git", machine::variable("PATH").as_deref()),
            variables: machine::variables(),
            leave_terminal: leaves.then(process::this_program).flatten(),
        },
        s3: S3Settings {
            aws: aws_settings.clone(),
            custom_endpoint: aws::has_custom_endpoint(),
        },
        limits: Limits::default(),
        first_pause: FIRST_PAUSE,
    }
}
