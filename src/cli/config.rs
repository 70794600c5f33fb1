//! Finding and reading `runner.toml`, and what the command line says instead (LINT-55 to LINT-58).

use std::fs::File;
use std::path::{Path, PathBuf};

use super::args::{FailOn, ProfileArg, ValidateArgs, When};
use super::validate::{bounded, unreadable};
use super::{complain, configured, mistake, terminal, usage};
use crate::build::ExitCode;
use crate::diagnostic::{Code, Diagnostic, Severity, one_of, render, sort};
use crate::lint::Profile;
use crate::lint::config::{Config, Gate, Level, Levels, rule_near};
use crate::source::{SourceText, Span};

/// The name that is looked for.
const NAME: &str = "runner.toml";

/// What files are checked for.
#[derive(Debug)]
pub(super) struct Configuration {
    /// Who is asked.
    pub(super) profile: Profile,
    /// The least that is a failure.
    pub(super) gate: Option<Severity>,
    /// What the command line says of rules.
    rules: Levels,
    file: Config,
    /// Where `runner.toml` lies, without links; nothing if there is none.
    directory: Option<PathBuf>,
}

/// Why a `runner.toml` cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It cannot be read.
    Unreadable(String),
    /// There is something wrong in it.
    Wrong(Box<SourceText>, Vec<Diagnostic>),
}

impl Configuration {
    /// What the command line and `runner.toml` ask for. What is wrong with either has been said.
    pub(super) fn load(args: &ValidateArgs) -> Result<Self, ExitCode> {
        let mut rules = Levels::default();
        for (code, level) in &args.rule {
            let set = rules.set(*code, *level);
            set.map_err(|why| usage(&mistake(why)))?;
        }
        let place = match (&args.config, args.no_config) {
            (Some(file), _) => Some(file.clone()),
            (None, true) => None,
            (None, false) => find(args.paths.first().map_or(Path::new("."), PathBuf::as_path)),
        };
        let (file, directory) = match place {
            Some(place) => (
                checked(&place).map_err(|why| why.tell(args.color))?.1,
                parent(&place),
            ),
            None => (Config::default(), None),
        };
        Ok(Self {
            profile: profile(args.profile, &file),
            gate: gate(args, &file),
            rules,
            file,
            directory,
        })
    }

    /// What the `runner.toml` of a file asks for.
    pub(super) fn around(path: &Path) -> Result<Self, Unusable> {
        let Some(place) = find(path) else {
            return Ok(Self::default());
        };
        let file = read(&place)?;
        Ok(Self {
            profile: profile(None, &file),
            gate: gate_of(&file),
            rules: Levels::default(),
            file,
            directory: parent(&place),
        })
    }

    /// Gives findings in a file their levels.
    pub(super) fn apply(&self, file: &Path, findings: &mut Vec<Diagnostic>) {
        let path = self.relative(file);
        self.file.apply(path.as_deref(), &self.rules, findings);
    }

    /// Whether a file is passed over in folders.
    pub(super) fn excludes(&self, file: &Path) -> bool {
        self.relative(file)
            .is_some_and(|path| self.file.excludes(&path))
    }

    /// A file as seen from the directory of `runner.toml`, if it lies below it.
    fn relative(&self, file: &Path) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        let path = parent(file)?.join(file.file_name()?);
        path.strip_prefix(directory).ok().map(Path::to_owned)
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            profile: Profile::Codebuild,
            gate: Some(Severity::Error),
            rules: Levels::default(),
            file: Config::default(),
            directory: None,
        }
    }
}

impl Unusable {
    /// All that is wrong, in a line.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Unreadable(why) => why.trim_end().to_owned(),
            Self::Wrong(source, problems) => {
                let all = problems.iter().map(|problem| {
                    let place = source.start_of(problem.primary.span);
                    format!("{}:{place}: {}", source.name(), problem.message)
                });
                all.collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// Says it on standard error.
    pub(super) fn tell(self, color: When) -> ExitCode {
        match self {
            Self::Unreadable(why) => complain(&why),
            Self::Wrong(source, problems) => {
                complain(&render(&source, &problems, terminal::error_colour(color)));
            }
        }
        ExitCode::Usage
    }
}

fn profile(asked: Option<ProfileArg>, file: &Config) -> Profile {
    match asked {
        Some(ProfileArg::Codebuild) => Profile::Codebuild,
        Some(ProfileArg::Runner) => Profile::Runner,
        None => file.profile.unwrap_or(Profile::Codebuild),
    }
}

fn gate(args: &ValidateArgs, file: &Config) -> Option<Severity> {
    match (args.fail_on, args.strict) {
        (_, true) => Some(Severity::Warning),
        (Some(FailOn::Never), false) => None,
        (Some(FailOn::Error), false) => Some(Severity::Error),
        (Some(FailOn::Warning), false) => Some(Severity::Warning),
        (Some(FailOn::Info), false) => Some(Severity::Info),
        (None, false) => gate_of(file),
    }
}

fn gate_of(file: &Config) -> Option<Severity> {
    match file.gate {
        Some(Gate::At(severity)) => Some(severity),
        Some(Gate::Never) => None,
        None => Some(Severity::Error),
    }
}

/// The directory that a file lies in, without links.
fn parent(file: &Path) -> Option<PathBuf> {
    let directory = match file.parent()? {
        here if here == Path::new("") => Path::new("."),
        directory => directory,
    };
    directory.canonicalize().ok()
}

/// The `runner.toml` of a path: the nearest one from there up to the top of its repository; outside of repositories, up
/// to where this program was started.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    let start = if path.is_dir() || path == Path::new("-") {
        let directory = if path.is_dir() { path } else { Path::new(".") };
        directory.canonicalize().ok()?
    } else {
        parent(path)?
    };
    let here = Path::new(".").canonicalize().ok();
    let is_top = |directory: &Path| directory.join(".git").exists();
    let in_repository = start.ancestors().any(is_top);
    let below_here = here.as_ref().is_some_and(|here| start.starts_with(here));
    for directory in start.ancestors() {
        let file = directory.join(NAME);
        if file.is_file() {
            return Some(file);
        }
        let last = match (in_repository, below_here) {
            (true, _) => is_top(directory),
            (false, true) => here.as_deref() == Some(directory),
            (false, false) => true,
        };
        if last {
            return None;
        }
    }
    None
}

/// A file with what it says to the linter, if nothing in it is wrong, for whatever command it is.
pub(super) fn checked(file: &Path) -> Result<(SourceText, Config), Unusable> {
    let source = source(file)?;
    let mut problems = configured::problems(&source);
    match Config::read(&source) {
        Ok(config) if problems.is_empty() => return Ok((source, config)),
        Ok(_) => {}
        Err(others) => problems.extend(others),
    }
    sort(&mut problems);
    Err(Unusable::Wrong(Box::new(source), problems))
}

fn read(file: &Path) -> Result<Config, Unusable> {
    let source = source(file)?;
    Config::read(&source).map_err(|problems| Unusable::Wrong(Box::new(source), problems))
}

fn source(file: &Path) -> Result<SourceText, Unusable> {
    let bytes = File::open(file).and_then(bounded);
    let bytes = bytes
        .map_err(|error| Unusable::Unreadable(unreadable(&file.display().to_string(), &error)))?;
    SourceText::from_bytes(shown(file), bytes).map_err(|error| {
        let span = Span::at(error.offset);
        let problem = Diagnostic::new(Code::Configuration, span, "a byte here is not UTF-8");
        Unusable::Wrong(Box::new(error.source), vec![problem])
    })
}

/// A path as it is written from here, where that is shorter.
fn shown(file: &Path) -> String {
    let here = Path::new(".").canonicalize().ok();
    // From the root, every path would look like one that is not from the root.
    let here = here.filter(|here| here.parent().is_some());
    let relative = here.and_then(|here| file.strip_prefix(here).ok().map(Path::to_owned));
    relative.as_deref().unwrap_or(file).display().to_string()
}

/// `NAME=LEVEL` of the command line.
pub(super) fn rule_level(text: &str) -> Result<(Code, Level), String> {
    let (name, word) = text
        .split_once('=')
        .ok_or("expected a rule, `=` and a level")?;
    let code = Code::find(name).ok_or_else(|| {
        let near = rule_near(name).map(|near| format!("; {near}"));
        format!("there is no rule `{name}`{}", near.unwrap_or_default())
    })?;
    let level = Level::parse(word)
        .ok_or_else(|| format!("expected {}, and this is `{word}`", one_of(Level::WORDS)))?;
    Ok((code, level))
}
