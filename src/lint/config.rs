//! `runner.toml`: which findings matter to a project, and how much (LINT-55, LINT-56).
//!
//! Everything that is wrong with it is said, each with its place; a configuration exists only if nothing is.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use toml::Spanned as TomlSpanned;
use toml::de::{DeTable, DeValue};

use super::Profile;
use crate::diagnostic::{Code, Diagnostic, Severity, nearest, one_of, sort};
use crate::source::{SourceText, Span};

/// What a project asks for.
#[derive(Debug, Default)]
pub struct Config {
    /// Levels of rules, in every file.
    pub rules: Levels,
    /// Levels of rules in some files; of two that name a rule the later one wins.
    pub paths: Vec<PathLevels>,
    /// The least that is a failure.
    pub gate: Option<Gate>,
    /// Who is asked.
    pub profile: Option<Profile>,
    /// What is not looked at in folders.
    exclude: Globs,
}

/// How much a rule matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Its findings are of this severity.
    Is(Severity),
    /// It is not asked.
    Off,
}

/// The least that is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Findings of this severity and worse.
    At(Severity),
    /// Nothing is.
    Never,
}

/// Rules with their levels; of two for one rule the later one wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels(Vec<(Code, Level)>);

/// Levels for files that a glob matches.
#[derive(Debug)]
pub struct PathLevels {
    globs: Globs,
    rules: Levels,
}

/// Globs as git has them in `.gitignore`.
#[derive(Debug, Default)]
struct Globs(Option<Gitignore>);

impl Level {
    /// Its words.
    pub const WORDS: &'static [&'static str] = &["error", "warning", "info", "off"];

    /// The level with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        if word == "off" {
            return Some(Self::Off);
        }
        severity(word).map(Self::Is)
    }
}

impl Gate {
    /// Its words.
    pub const WORDS: &'static [&'static str] = &["error", "warning", "info", "never"];

    fn parse(word: &str) -> Option<Self> {
        if word == "never" {
            return Some(Self::Never);
        }
        severity(word).map(Self::At)
    }
}

fn severity(word: &str) -> Option<Severity> {
    let all = [Severity::Error, Severity::Warning, Severity::Info];
    all.into_iter().find(|severity| severity.word() == word)
}

impl Levels {
    /// Gives a rule a level. What builds are refused for stays an error; the reason is returned.
    pub fn set(&mut self, code: Code, level: Level) -> Result<(), String> {
        if code.severity() == Severity::Error && level != Level::Is(Severity::Error) {
            return Err(format!(
                "`{}` is an error and stays one: such a file cannot be used",
                code.name()
            ));
        }
        self.0.push((code, level));
        Ok(())
    }

    fn of(&self, code: Code) -> Option<Level> {
        let mut latest = self.0.iter().rev();
        latest.find(|(of, _)| *of == code).map(|(_, level)| *level)
    }
}

impl Config {
    /// Reads a `runner.toml`.
    pub fn read(source: &SourceText) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader {
            problems: Vec::new(),
        };
        let config = match DeTable::parse(source.text()) {
            Ok(table) => reader.file(table.get_ref()),
            Err(error) => {
                let range = error.span().unwrap_or_default();
                let message = error.message().lines().next().unwrap_or("it is no TOML");
                reader.problem(&range, message);
                Self::default()
            }
        };
        sort(&mut reader.problems);
        if reader.problems.is_empty() {
            Ok(config)
        } else {
            Err(reader.problems)
        }
    }

    /// Gives findings in a file the level that is asked for; `path` is relative to the directory of `runner.toml`, if the
    /// file lies below it. What `stronger` says wins. An error stays one.
    pub fn apply(&self, path: Option<&Path>, stronger: &Levels, findings: &mut Vec<Diagnostic>) {
        let here = |paths: &&PathLevels| path.is_some_and(|path| paths.globs.matches(path));
        let matching = self.paths.iter().filter(here);
        let mut levels: Vec<&Levels> = vec![&self.rules];
        levels.extend(matching.map(|paths| &paths.rules));
        levels.push(stronger);
        findings.retain_mut(|finding| {
            let level = levels
                .iter()
                .rev()
                .find_map(|levels| levels.of(finding.code));
            match level {
                Some(level) if !finding.is_error() => match level {
                    Level::Off => return false,
                    Level::Is(severity) => finding.severity = severity,
                },
                _ => {}
            }
            true
        });
        sort(findings);
    }

    /// Whether a file is passed over in folders; `path` is relative to the directory of `runner.toml`.
    #[must_use]
    pub fn excludes(&self, path: &Path) -> bool {
        self.exclude.matches(path)
    }
}

impl Globs {
    fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Result<Self, ignore::Error> {
        let mut builder = GitignoreBuilder::new("");
        builder.allow_unclosed_class(false);
        for glob in globs {
            builder.add_line(None, glob)?;
        }
        builder.build().map(Some).map(Self)
    }

    fn matches(&self, path: &Path) -> bool {
        let Some(globs) = &self.0 else { return false };
        !path.has_root() && globs.matched_path_or_any_parents(path, false).is_ignore()
    }
}

/// Tables that are for other commands. The command line reads them.
pub const OTHER_TABLES: &[&str] = &["run", "agent"];

/// Keys of `[validate]` that are flags like those of every command. The command line reads them.
pub const OTHER_KEYS: &[&str] = &[
    "kind",
    "no-tree",
    "shellcheck",
    "no-ignores",
    "strict",
    "format",
    "color",
];

type Value<'t> = TomlSpanned<DeValue<'t>>;

/// Walks the tree of the file and collects what is wrong.
struct Reader {
    problems: Vec<Diagnostic>,
}

impl Reader {
    fn file(&mut self, table: &DeTable<'_>) -> Config {
        let mut config = Config::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "validate" => {
                    if let Some(table) = self.table(value, "`validate` has to be a table") {
                        self.validate(table, &mut config);
                    }
                }
                other if OTHER_TABLES.contains(&other) => {}
                _ => self.unknown_key(key, &[&["validate"], OTHER_TABLES].concat()),
            }
        }
        config
    }

    fn validate(&mut self, table: &DeTable<'_>, config: &mut Config) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "fail-on" => config.gate = self.word(value, Gate::WORDS, Gate::parse),
                "profile" => config.profile = self.word(value, Profile::WORDS, Profile::parse),
                "exclude" => config.exclude = self.exclude(value),
                "rules" => config.rules = self.rules(value),
                "path" => config.paths = self.paths(value),
                other if OTHER_KEYS.contains(&other) => {}
                _ => {
                    let own = ["fail-on", "profile", "exclude", "rules", "path"];
                    self.unknown_key(key, &[&own, OTHER_KEYS].concat());
                }
            }
        }
    }

    fn exclude(&mut self, value: &Value<'_>) -> Globs {
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_kind(value, "`exclude` has to be a list of globs");
            return Globs::default();
        };
        let mut globs = Vec::new();
        for item in items {
            if let Some(glob) = self.glob(item) {
                globs.push(glob);
            }
        }
        Globs::new(globs.iter().map(String::as_str)).unwrap_or_default()
    }

    fn paths(&mut self, value: &Value<'_>) -> Vec<PathLevels> {
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_kind(
                value,
                "`path` has to be a list of tables: `[[validate.path]]`",
            );
            return Vec::new();
        };
        items.iter().filter_map(|item| self.path(item)).collect()
    }

    fn path(&mut self, value: &Value<'_>) -> Option<PathLevels> {
        let table = self.table(value, "an item of `path` has to be a table")?;
        let (mut glob, mut rules) = (None, Levels::default());
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "glob" => glob = Some(self.glob(value)),
                "rules" => rules = self.rules(value),
                _ => self.unknown_key(key, &["glob", "rules"]),
            }
        }
        if glob.is_none() {
            self.problem(&value.span(), "`glob` is missing: which files is this for?");
        }
        let globs = Globs::new([glob??.as_str()]).ok()?;
        Some(PathLevels { globs, rules })
    }

    fn glob(&mut self, value: &Value<'_>) -> Option<String> {
        let Some(glob) = value.get_ref().as_str() else {
            self.wrong_kind(value, "a glob has to be text");
            return None;
        };
        match Globs::new([glob]) {
            Ok(_) => Some(glob.to_owned()),
            Err(error) => {
                let why = match error {
                    ignore::Error::Glob { err, .. } => err,
                    other => other.to_string(),
                };
                self.problem(&value.span(), &format!("this is no glob: {why}"));
                None
            }
        }
    }

    fn rules(&mut self, value: &Value<'_>) -> Levels {
        let mut levels = Levels::default();
        let Some(table) = self.table(value, "`rules` has to be a table of rules and levels") else {
            return levels;
        };
        for (key, value) in table {
            let name = key.get_ref();
            let level = self.word(value, Level::WORDS, Level::parse);
            match (Code::find(name), level) {
                (None, _) => {
                    let problem = self.problem(&key.span(), &format!("there is no rule `{name}`"));
                    problem.help = rule_near(name);
                }
                (Some(code), Some(level)) => {
                    if let Err(why) = levels.set(code, level) {
                        self.problem(&value.span(), &why);
                    }
                }
                (Some(_), None) => {}
            }
        }
        levels
    }

    fn word<T>(
        &mut self,
        value: &Value<'_>,
        words: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let expected = format!("expected {}", one_of(words));
        let Some(word) = value.get_ref().as_str() else {
            self.wrong_kind(value, &expected);
            return None;
        };
        let meant = parse(word);
        if meant.is_none() {
            let problem = self.problem(&value.span(), &format!("{expected}, and this is `{word}`"));
            problem.help = near(word, words);
        }
        meant
    }

    fn table<'v, 't>(&mut self, value: &'v Value<'t>, expected: &str) -> Option<&'v DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_kind(value, expected);
        }
        table
    }

    fn unknown_key(&mut self, key: &TomlSpanned<toml::de::DeString<'_>>, known: &[&str]) {
        let name = key.get_ref();
        let problem = self.problem(&key.span(), &format!("unexpected key `{name}`"));
        problem.primary.text = format!("expected {}", one_of(known));
        problem.help = near(name, known);
    }

    fn wrong_kind(&mut self, value: &Value<'_>, expected: &str) {
        let kind = value.get_ref().type_str();
        self.problem(
            &value.span(),
            &format!("{expected}, and this is of type {kind}"),
        );
    }

    fn problem(&mut self, range: &std::ops::Range<usize>, message: &str) -> &mut Diagnostic {
        let span = Span::new(range.start, range.end);
        let problem = Diagnostic::new(Code::Configuration, span, message);
        self.problems.push(problem);
        self.problems.last_mut().expect("invariant: one was pushed")
    }
}

fn near(word: &str, known: &[&str]) -> Option<String> {
    nearest(word, known.iter().copied()).map(|known| format!("did you mean `{known}`?"))
}

/// The rule that may have been meant, as a question.
#[must_use]
pub fn rule_near(name: &str) -> Option<String> {
    let names = Code::ALL.iter().flat_map(|code| [code.name(), code.id()]);
    nearest(name, names).map(|known| format!("did you mean `{known}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Vec<String>> {
        let source = SourceText::new("runner.toml", text);
        Config::read(&source).map_err(|problems| {
            let shown = |problem: &Diagnostic| {
                let place = source.start_of(problem.primary.span);
                let help = problem.help.as_deref().unwrap_or_default();
                format!("{place} {} {help}", problem.message)
                    .trim_end()
                    .to_owned()
            };
            problems.iter().map(shown).collect()
        })
    }

    /// What becomes of a warning, a note and an error in a file.
    fn applied(config: &Config, path: &str, stronger: &Levels) -> Vec<String> {
        let mut findings = vec![
            Diagnostic::new(Code::UnknownKey, Span::at(0), "m"),
            Diagnostic::new(Code::PipeHidesFailure, Span::at(1), "m"),
            Diagnostic::new(Code::UnknownKey, Span::at(2), "m").with_severity(Severity::Error),
        ];
        config.apply(Some(Path::new(path)), stronger, &mut findings);
        let shown =
            |finding: &Diagnostic| format!("{} {}", finding.severity.word(), finding.code.name());
        findings.iter().map(shown).collect()
    }

    // LINT-55
    #[test]
    fn the_later_and_the_nearer_level_wins_and_an_error_stays() {
        let config = read(
            "[validate.rules]\nunknown-key = 'info'\nBS304 = 'error'\n\
             [[validate.path]]\nglob = 'legacy/**'\nrules = { unknown-key = 'off' }\n\
             [[validate.path]]\nglob = '*.old.yml'\nrules = { unknown-key = 'warning', pipe-hides-failure = 'off' }\n",
        )
        .unwrap();
        let none = Levels::default();
        let pipe = "error pipe-hides-failure";
        let error = "error unknown-key";
        assert_eq!(
            applied(&config, "a.yml", &none),
            ["info unknown-key", pipe, error]
        );
        assert_eq!(applied(&config, "legacy/x/a.yml", &none), [pipe, error]);
        assert_eq!(
            applied(&config, "legacy/a.old.yml", &none),
            ["warning unknown-key", error]
        );
        let mut stronger = Levels::default();
        stronger
            .set(Code::PipeHidesFailure, Level::Is(Severity::Info))
            .unwrap();
        assert_eq!(
            applied(&config, "legacy/a.old.yml", &stronger),
            ["warning unknown-key", "info pipe-hides-failure", error]
        );
    }

    // LINT-56
    #[test]
    fn files_are_excluded_as_git_does_it() {
        let config = read("[validate]\nexclude = ['vendor/', '/top.yml']\n").unwrap();
        let table = [
            ("vendor/a.yml", true),
            ("x/vendor/b/a.yml", true),
            ("top.yml", true),
            ("x/top.yml", false),
            ("vendor.yml", false),
            ("/vendor/a.yml", false),
        ];
        for (path, excluded) in table {
            assert_eq!(config.excludes(Path::new(path)), excluded, "{path}");
        }
    }

    // LINT-55
    #[test]
    fn gate_and_profile_are_read_and_an_empty_file_asks_for_nothing() {
        let config = read("[validate]\nfail-on = 'never'\nprofile = 'runner'\n").unwrap();
        assert_eq!(config.gate, Some(Gate::Never));
        assert_eq!(config.profile, Some(Profile::Runner));
        let config = read("").unwrap();
        assert_eq!((config.gate, config.profile), (None, None));
        assert!(!config.excludes(Path::new("a.yml")));
    }

    // LINT-57
    #[test]
    fn everything_that_is_wrong_is_said_with_its_place() {
        let text = "\
lint = 1
[validate]
fail-on = 'warn'
profiles = 'x'
exclude = ['a[', 3]
[validate.rules]
unknown-keys = 'off'
yaml-syntax = 'warning'
pipe-hides-failure = true
[[validate.path]]
rules = 7
";
        let expected = [
            "1:1 unexpected key `lint`",
            "3:11 expected `error`, `warning`, `info` or `never`, and this is `warn`",
            "4:1 unexpected key `profiles` did you mean `profile`?",
            "5:12 this is no glob: unclosed character class; missing ']'",
            "5:18 a glob has to be text, and this is of type integer",
            "7:1 there is no rule `unknown-keys` did you mean `unknown-key`?",
            "8:15 `yaml-syntax` is an error and stays one: such a file cannot be used",
            "9:22 expected `error`, `warning`, `info` or `off`, and this is of type boolean",
            "10:1 `glob` is missing: which files is this for?",
            "11:9 `rules` has to be a table of rules and levels, and this is of type integer",
        ];
        assert_eq!(read(text).unwrap_err(), expected);
    }

    // LINT-57
    #[test]
    fn what_is_no_toml_is_said_with_its_place() {
        for (text, place) in [
            ("[validate\n", "1:10"),
            ("a = 1\na = 2\n", "2:1"),
            ("x", "1:2"),
        ] {
            let problems = read(text).unwrap_err();
            assert!(problems[0].starts_with(place), "{problems:?}");
        }
    }
}
