//! Real buildspecs, read in place: what is in use is accepted, what is refused is refused for a reason that others see.
//!
//! The second opinion is `serde_yaml`: libyaml's grammar, and none of our code. Nothing of the corpus enters the project;
//! where it is not at hand these tests say so and do nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start the program and look at the environment"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use buildspec_runner::buildspec::Buildspec;
use buildspec_runner::diagnostic::{Code, Diagnostic, has_error};
use buildspec_runner::plan::{Plan, plan};
use buildspec_runner::source::SourceText;
use serde_yaml::Value;
use support::oracle::{Witness, difference, same_text};
use support::sound::{self, Reading};
use support::wait::Bounded as _;
use support::{RUNNER, corpus, request, skipped};

/// One file, read by us and by others.
struct Read {
    name: String,
    source: SourceText,
    reading: Reading,
    witness: Witness,
}

/// Whether a file of this name is wanted.
type Wanted = fn(&str) -> bool;

/// Every text of a folder whose name passes, or nothing where there is no corpus. Reading is sound for all of them.
fn read_all(folder: &str, wanted: Wanted) -> Option<Vec<Read>> {
    let Some(corpus) = corpus() else {
        skipped(
            "corpus",
            "no corpus beside the project, and RUNNER_CORPUS names none",
        );
        return None;
    };
    let read: Vec<Read> = paths(&corpus.join(folder))
        .iter()
        .map(|path| read(path))
        .filter(|read| wanted(&read.name))
        .collect();
    assert!(!read.is_empty(), "the corpus has no such files in {folder}");
    Some(read)
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the corpus can be listed");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Read {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = fs::read(path).expect("a file of the corpus can be read");
    let source = SourceText::from_bytes(name.clone(), bytes)
        .unwrap_or_else(|_| panic!("{name} is no UTF-8: it needs a test of its own"));
    let reading = sound::read(&source).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    let witness = Witness::of(source.text());
    Read {
        name: name.into_owned(),
        source,
        reading,
        witness,
    }
}

fn all(_: &str) -> bool {
    true
}

impl Read {
    fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.reading
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
    }

    fn slice(&self, diagnostic: &Diagnostic) -> &str {
        self.source.slice(diagnostic.primary.span)
    }

    /// Errors that nobody else can see.
    fn unfounded(&self) -> Vec<String> {
        self.errors()
            .filter(|error| !self.confirms(error))
            .map(|error| {
                let place = self.source.start_of(error.primary.span);
                let theirs = self.witness.error.as_ref().map(ToString::to_string);
                format!(
                    "{}:{place}: {}: theirs: {theirs:?}",
                    self.name, error.message
                )
            })
            .collect()
    }

    /// Whether the finding is a fact that `serde_yaml` shows as well.
    fn confirms(&self, error: &Diagnostic) -> bool {
        match (error.code, &self.witness.error) {
            (Code::YamlSyntax, Some(theirs)) => {
                let labels = std::iter::once(&error.primary).chain(&error.secondary);
                let mut places = labels.map(|label| self.source.start_of(label.span));
                theirs.location().is_some_and(|at| {
                    places.any(|place| (at.line(), at.column()) == (place.line, place.column))
                })
            }
            // They stop behind the asterisk; ours is the whole pattern.
            (Code::GlobWithoutQuotes, Some(theirs)) => theirs.location().is_some_and(|at| {
                let place = self.source.start_of(error.primary.span);
                at.line() == place.line && self.slice(error).starts_with('*')
            }),
            (Code::YamlSyntax | Code::GlobWithoutQuotes, None) => false,
            // It reads nothing of a file with a key given twice, so it is no witness of what else is wrong there.
            (_, Some(theirs)) if theirs.to_string().contains("duplicate entry with key") => {
                self.reading.diagnostics.iter().any(|found| {
                    let quoted = format!("duplicate entry with key \"{}\"", self.slice(found));
                    found.code == Code::DuplicateKey && theirs.to_string().contains(&quoted)
                })
            }
            (code, Some(theirs)) => self.confirms_before(theirs, code, error),
            (code, None) => self.confirms_in_tree(&self.witness, code, error),
        }
    }

    /// What stands before a syntax error is checked too. They read nothing of such a file, but they read the lines
    /// before the error where those are YAML by themselves.
    fn confirms_before(&self, theirs: &serde_yaml::Error, code: Code, error: &Diagnostic) -> bool {
        let line = theirs.location().map_or(1, |at| at.line());
        if self.source.start_of(error.primary.span).line >= line {
            return true;
        }
        let before = self.source.text().split_inclusive('\n').take(line - 1);
        let witness = Witness::of(&before.collect::<String>());
        witness.error.is_some() || self.confirms_in_tree(&witness, code, error)
    }

    fn confirms_in_tree(&self, witness: &Witness, code: Code, error: &Diagnostic) -> bool {
        let written = self.slice(error);
        let at = |path: &[&str]| witness.at(path);
        let anywhere = || {
            let all = witness.everything();
            all.into_iter().any(|value| same_text(written, value))
        };
        match code {
            Code::PhasesMissing => {
                let phases = at(&["phases"]);
                phases.is_null()
                    || phases
                        .as_mapping()
                        .is_some_and(serde_yaml::Mapping::is_empty)
            }
            Code::VersionMissing => at(&["version"]).is_null(),
            Code::UnsupportedVersion => {
                let version = at(&["version"]);
                !version.is_null() && !same_text("0.1", version) && !same_text("0.2", version)
            }
            Code::UnknownPhase | Code::MisplacedSection => {
                !["install", "pre_build", "build", "post_build"].contains(&written)
                    && !at(&["phases", written]).is_null()
            }
            Code::CommandNotString => {
                let found = self.errors().filter(|error| error.code == code).count();
                found == commands_that_are_no_text(witness)
            }
            Code::UnknownShell => same_text(written, at(&["env", "shell"])),
            // The whole file, or a flag or a choice that is none.
            Code::WrongType if written.is_empty() => at(&[]).is_null(),
            Code::WrongType | Code::OnFailureValue => anywhere(),
            Code::UnknownTag => witness
                .everything()
                .into_iter()
                .any(|value| matches!(value, Value::Tagged(tagged) if tagged.tag == written)),
            Code::NotABuildspec => is_of_oracle(witness),
            // A finding of another kind needs a second opinion of its own, here.
            _ => false,
        }
    }

    /// What this version refuses to plan, as far as others see it in the file.
    fn has_unsupported(&self) -> bool {
        self.witness.at(&["phases"]).is_null()
    }

    fn plan(&self, buildspec: &Buildspec) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
        let request = request::request(Path::new("/source"), Path::new("/artifacts"));
        plan(&self.source, buildspec, &request)
    }
}

/// Oracle Cloud DevOps takes its files by the same name: no phases, and a list of steps that are commands.
fn is_of_oracle(witness: &Witness) -> bool {
    let steps = witness.at(&["steps"]).as_sequence();
    let commands = steps.is_some_and(|steps| {
        let is_command = |step: &Value| step.get("type") == Some(&Value::from("Command"));
        !steps.is_empty() && steps.iter().all(is_command)
    });
    commands && witness.at(&["phases"]).is_null() && witness.at(&["batch"]).is_null()
}

fn commands_that_are_no_text(witness: &Witness) -> usize {
    let phases = witness.at(&["phases"]).as_mapping();
    let lists = phases
        .into_iter()
        .flat_map(serde_yaml::Mapping::values)
        .flat_map(|phase| [phase.get("commands"), phase.get("finally")])
        .flatten();
    lists
        .filter_map(Value::as_sequence)
        .flatten()
        .filter(|item| item.is_mapping() || item.is_sequence())
        .count()
}

// SPEC-4, SPEC-11, SPEC-12, SPEC-14, SPEC-24
#[test]
fn buildspecs_in_use_are_accepted_or_refused_for_a_reason_that_others_see() {
    let Some(files) = read_all("buildspecs", all) else {
        return;
    };
    let refused: Vec<&Read> = files
        .iter()
        .filter(|read| read.reading.buildspec.is_none())
        .collect();
    let unfounded: Vec<String> = refused.iter().flat_map(|read| read.unfounded()).collect();
    assert!(unfounded.is_empty(), "{unfounded:#?}");
    let names: Vec<&str> = refused.iter().map(|read| read.name.as_str()).collect();
    assert!(
        refused.len() * 20 <= files.len(),
        "{} of {} files are refused: {names:#?}",
        refused.len(),
        files.len()
    );
}

// SPEC-8, SPEC-10
#[test]
fn what_others_cannot_read_is_refused() {
    let Some(files) = read_all("buildspecs", all) else {
        return;
    };
    for read in files {
        if let Some(theirs) = &read.witness.error {
            assert!(read.reading.buildspec.is_none(), "{}: {theirs}", read.name);
        }
    }
}

/// The line in which somebody who read the file found the mistake, by the end of its name.
const MISTAKES: &[(&str, usize)] = &[
    ("d2d44fa1f3", 1),
    ("39b6e80dc0", 47),
    ("f4212acfef", 30),
    ("1d6d39ea97", 31),
    ("234996660f", 31),
    ("8fea748cbf", 31),
    ("707c6a0602", 23),
    ("04ece02342", 12),
    ("607779eb0b", 24),
    ("ec31badc0c", 24),
    ("831b0009a4", 14),
    ("052a49a69e", 1),
    ("5f41325346", 19),
    ("4ae2b1b44f", 12),
    ("c6e0e3b2db", 10),
    ("b6055ce13e", 1),
    ("dfa61b504f", 1),
    ("5c8030f463", 12),
    ("d02f7b0d9e", 12),
    ("ed6e9587a3", 11),
    ("2f30ed79a2", 6),
    ("df8dc3aff7", 41),
    ("16f8797587", 6),
    ("bee1615033", 16),
    ("51790e48d7", 11),
    ("662a4323c3", 11),
    ("b9bf32c6b3", 39),
    ("e3d16be134", 18),
    ("8ed62a1f5e", 7),
    ("c7f78908f6", 3),
    ("c3dae2d023", 34),
    ("185a9c708d", 16),
    ("53018e4b78", 6),
    ("b06292face", 6),
    ("b5c1b797ca", 222),
    ("44aa722f46", 20),
    ("8ba2ddc559", 74),
    ("9c018d98b3", 20),
    ("dbb00df568", 19),
    ("852dbb2842", 27),
    ("34b9161aa2", 3),
    ("27f064adb1", 19),
    ("341c04ba70", 22),
    ("31a8410c4d", 17),
    ("920ab9f4c3", 13),
    ("aee281492d", 23),
    ("4cfbe9715b", 1),
    ("634243ed88", 1),
    ("82ab91fd93", 1),
    ("36e48ad80d", 22),
];

// SPEC-8, SPEC-26, LINT-15, LINT-16
#[test]
fn files_that_do_not_parse_are_refused_where_the_mistake_is() {
    let Some(files) = read_all("malformed", all) else {
        return;
    };
    for read in files {
        assert!(
            has_error(&read.reading.in_tree),
            "{} is accepted",
            read.name
        );
        let halts =
            |error: &&Diagnostic| matches!(error.code, Code::YamlSyntax | Code::GlobWithoutQuotes);
        let [halt] = read.errors().filter(halts).collect::<Vec<_>>()[..] else {
            panic!("{}: not one syntax error", read.name);
        };
        assert_eq!(read.unfounded(), [""; 0], "{}", read.name);
        let mistake = MISTAKES.iter().find(|(end, _)| read.name.contains(end));
        if let Some((_, line)) = mistake {
            let place = read.source.start_of(halt.primary.span);
            assert_eq!(place.line, *line, "{}: {}", read.name, halt.message);
        }
    }
}

// LINT-13
#[test]
fn a_file_of_another_format_has_one_finding_and_no_buildspec_has_it() {
    let Some(files) = read_all("lookalikes", all) else {
        return;
    };
    for read in files {
        let [only] = read.reading.diagnostics.as_slice() else {
            panic!("{}: {:?}", read.name, read.reading.diagnostics);
        };
        assert_eq!(only.code, Code::NotABuildspec, "{}", read.name);
    }
    for folder in ["buildspecs", "docs"] {
        for read in read_all(folder, all).unwrap_or_default() {
            let found = &read.reading.diagnostics;
            let other = found.iter().any(|found| found.code == Code::NotABuildspec);
            assert_eq!(other, is_of_oracle(&read.witness), "{}", read.name);
            assert!(!other || found.len() == 1, "{}: {found:?}", read.name);
        }
    }
}

// SPEC-4, SPEC-8, SPEC-10
#[test]
fn buildspecs_of_the_user_guides_are_accepted_or_refused_for_a_reason_that_others_see() {
    let whole = |name: &str| name.contains(".buildspec.");
    let Some(files) = read_all("docs", whole) else {
        return;
    };
    let refused: Vec<&Read> = files
        .iter()
        .filter(|read| read.reading.buildspec.is_none())
        .collect();
    let unfounded: Vec<String> = refused.iter().flat_map(|read| read.unfounded()).collect();
    assert!(unfounded.is_empty(), "{unfounded:#?}");
    let names: Vec<&str> = refused.iter().map(|read| read.name.as_str()).collect();
    assert!(refused.len() * 5 <= files.len(), "refused: {names:#?}");
}

// SPEC-4, SPEC-11
#[test]
fn files_of_other_formats_are_not_taken_for_buildspecs() {
    let appspec = |name: &str| name.contains(".appspec.");
    let folders = [
        ("docs", appspec as Wanted),
        ("lookalikes", all),
        ("deploy", all),
    ];
    for (folder, wanted) in folders {
        let Some(files) = read_all(folder, wanted) else {
            return;
        };
        for read in files {
            assert!(
                read.reading.buildspec.is_none(),
                "{} is accepted",
                read.name
            );
        }
    }
}

// SPEC-6, SPEC-7, SPEC-25, SPEC-27
#[test]
fn our_tree_is_the_tree_that_others_read() {
    // Not `lookalikes`: `serde_yaml` mixes up anchors that are given twice, which they are full of.
    for folder in ["buildspecs", "docs", "deploy"] {
        let Some(files) = read_all(folder, all) else {
            return;
        };
        let mut compared = 0;
        for read in &files {
            let (Some(root), Some(value)) = (&read.reading.document.root, &read.witness.value)
            else {
                continue;
            };
            if !read.reading.document.complete {
                continue;
            }
            compared += 1;
            assert_eq!(difference(root, value), None, "{}", read.name);
        }
        assert!(
            compared * 10 >= files.len() * 9,
            "only {compared} of {} files of {folder} could be compared",
            files.len()
        );
    }
}

// SPEC-12, SPEC-20, SPEC-22, PHASE-2
#[test]
fn every_accepted_buildspec_has_a_plan_unless_it_needs_what_is_declared_unsupported() {
    let Some(files) = read_all("buildspecs", all) else {
        return;
    };
    for read in &files {
        let Some(buildspec) = &read.reading.buildspec else {
            continue;
        };
        match read.plan(buildspec) {
            Ok((plan, _)) => {
                assert!(!read.has_unsupported(), "{} is planned", read.name);
                assert_eq!(commands_differ(&plan, &read.witness), None, "{}", read.name);
            }
            Err(found) => {
                let errors = found.iter().filter(|diagnostic| diagnostic.is_error());
                for error in errors {
                    let declared =
                        matches!(error.code, Code::UnsupportedHere | Code::PhasesMissing);
                    assert!(declared, "{}: {error:?}", read.name);
                }
                assert!(read.has_unsupported(), "{}: {found:#?}", read.name);
            }
        }
    }
}

/// The first list of commands that is not what others read.
fn commands_differ(plan: &Plan, witness: &Witness) -> Option<String> {
    plan.phases.iter().find_map(|phase| {
        let lists = [("commands", &phase.commands), ("finally", &phase.finally)];
        lists.into_iter().find_map(|(key, planned)| {
            let value = witness.at(&["phases", phase.name.key(), key]);
            let alone = std::slice::from_ref(value);
            let items = value.as_sequence().map_or(alone, Vec::as_slice);
            let theirs: Vec<(usize, &Value)> = items
                .iter()
                .enumerate()
                .filter(|(_, item)| !item.is_null())
                .collect();
            let same = planned.len() == theirs.len()
                && planned.iter().zip(&theirs).all(|(ours, (index, theirs))| {
                    ours.index == *index && same_text(&ours.text, theirs)
                });
            (!same).then(|| format!("{key} of {:?}: {planned:?}, theirs {theirs:?}", phase.name))
        })
    })
}

// CLI-5, SPEC-22
#[test]
fn every_plan_and_every_refusal_can_be_shown() {
    let Some(corpus) = corpus() else {
        skipped(
            "corpus",
            "no corpus beside the project, and RUNNER_CORPUS names none",
        );
        return;
    };
    let paths = paths(&corpus.join("buildspecs"));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for part in paths.chunks(paths.len().div_ceil(threads)) {
            scope.spawn(|| part.iter().for_each(|path| show_plan(path)));
        }
    });
}

fn show_plan(path: &Path) {
    let output = Command::new(RUNNER)
        .args(["plan", "--file"])
        .arg(path)
        .bounded_output()
        .expect("the program can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    let file = path.display();
    match output.status.code() {
        Some(0) => assert!(text.contains("POST_BUILD"), "{file}: {text}"),
        Some(3) => assert!(
            text.is_empty() && complaint.contains("error["),
            "{file}: {complaint}"
        ),
        code => panic!("{file}: {code:?}: {complaint}"),
    }
}
