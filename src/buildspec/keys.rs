//! Every key of a buildspec: where it may stand, what it may be and what it means.
//!
//! One table for whoever explains buildspecs: the JSON schema ([`super::schema`]), and completion and hover in editors. A
//! test holds it to the reader ([`super::parse`]): both know the same keys.

/// A mapping with keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// The whole file.
    TopLevel,
    /// `env`.
    Env,
    /// `environment_variables` of version 0.1.
    OldEnv,
    /// `proxy`.
    Proxy,
    /// `phases`.
    Phases,
    /// The phase `install`.
    InstallPhase,
    /// One of the other phases.
    Phase,
    /// A group under `reports`.
    ReportGroup,
    /// `artifacts`.
    Artifacts,
    /// An artifact under `secondary-artifacts`.
    SecondaryArtifact,
    /// `cache`.
    Cache,
    /// `batch`.
    Batch,
    /// A build of `build-list` or `build-graph`.
    BatchTask,
    /// `env` of such a build, and of `static`.
    BatchEnv,
    /// `build-matrix`.
    Matrix,
    /// `static` of `build-matrix`.
    MatrixStatic,
    /// `dynamic` of `build-matrix`.
    MatrixDynamic,
    /// `env` of `dynamic`.
    MatrixEnv,
    /// `build-fanout`.
    Fanout,
}

/// What a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One text.
    Text,
    /// `yes` or `no`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any text; these words are known.
    Known(&'static [&'static str]),
    /// A text of this form; these words are the usual ones.
    Form(&'static [&'static str], &'static str),
    /// A list of texts, or one text.
    Texts,
    /// A list of texts, or one text; these are known.
    KnownTexts(&'static [&'static str]),
    /// Names of one's own, each with a text.
    Variables,
    /// Names of one's own, each with a list of texts.
    Lists,
    /// A mapping.
    Section(Section),
    /// A list of mappings.
    Sections(Section),
    /// Names of one's own, each with a mapping.
    Named(Section),
}

/// Which versions of buildspecs know a key. What was there before 0.2 is not documented in full: only the keys that
/// the oldest examples use are said to be that old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// 0.1 and 0.2.
    V0_1,
    /// 0.2.
    V0_2,
    /// 0.1 and no later one.
    OnlyV0_1,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it may stand.
    pub section: Section,
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Which versions know it.
    pub since: Since,
    /// What it means: one sentence.
    pub meaning: &'static str,
}

/// Words of a flag.
pub const FLAG: &[&str] = &["yes", "no"];

const SHELLS: &[&str] = &["bash", "/bin/sh", "powershell.exe", "cmd.exe"];
const SHELL_FORM: &str = "^((/(.*/)?)?(sh|bash)|(powershell|pwsh)(\\.exe)?|cmd(\\.exe)?)$";
const ON_FAILURE: &[&str] = &["ABORT", "CONTINUE", "RETRY"];
const ON_FAILURE_FORM: &str =
    "^([Aa][Bb][Oo][Rr][Tt]|[Cc][Oo][Nn][Tt][Ii][Nn][Uu][Ee]|[Rr][Ee][Tt][Rr][Yy](-[\\s\\S]*)?)$";
const VERSIONS: &[&str] = &["0.2", "0.1"];
const ACTIONS: &[&str] = &["restore", "save"];
pub(crate) const REPORT_FORMATS: &[&str] = &[
    "JUNITXML",
    "NUNITXML",
    "NUNIT3XML",
    "TESTNGXML",
    "CUCUMBERJSON",
    "VISUALSTUDIOTRX",
    "COBERTURAXML",
    "CLOVERXML",
    "JACOCOXML",
    "SIMPLECOV",
];
const COMPUTE_TYPES: &[&str] = &[
    "BUILD_GENERAL1_SMALL",
    "BUILD_GENERAL1_MEDIUM",
    "BUILD_GENERAL1_LARGE",
    "BUILD_GENERAL1_XLARGE",
    "BUILD_GENERAL1_2XLARGE",
    "BUILD_LAMBDA_1GB",
    "BUILD_LAMBDA_2GB",
    "BUILD_LAMBDA_4GB",
    "BUILD_LAMBDA_8GB",
    "BUILD_LAMBDA_10GB",
    "ATTRIBUTE_BASED_COMPUTE",
    "CUSTOM_INSTANCE_TYPE",
];
const ENVIRONMENT_TYPES: &[&str] = &[
    "LINUX_CONTAINER",
    "LINUX_GPU_CONTAINER",
    "ARM_CONTAINER",
    "WINDOWS_CONTAINER",
    "WINDOWS_SERVER_2019_CONTAINER",
    "WINDOWS_SERVER_2022_CONTAINER",
    "LINUX_LAMBDA_CONTAINER",
    "ARM_LAMBDA_CONTAINER",
    "LINUX_EC2",
    "ARM_EC2",
    "WINDOWS_EC2",
    "MAC_ARM",
];

macro_rules! keys {
    ($($section:ident { $($name:literal $kind:expr, $since:ident, $meaning:literal;)* })*) => {
        /// Every key, section by section, in the order in which messages list them.
        pub const ALL: &[Key] = &[$($(Key {
            section: Section::$section,
            name: $name,
            kind: $kind,
            since: Since::$since,
            meaning: $meaning,
        },)*)*];

        impl Section {
            /// Every section, the outer before the inner.
            pub const ALL: &'static [Self] = &[$(Self::$section,)*];
        }
    };
}

use Kind::{
    Flag, Form, Known, KnownTexts, Lists, Named, OneOf, Section as Of, Sections, Text, Texts,
    Variables,
};

keys! {
    TopLevel {
        "version" OneOf(VERSIONS), V0_1, "The version of this format; it decides whether commands share the state of their shell (0.2) or not (0.1).";
        "run-as" Text, V0_2, "The Linux user that runs all commands, unless a phase names another; root without it.";
        "env" Of(Section::Env), V0_2, "Environment variables and the shell.";
        "proxy" Of(Section::Proxy), V0_2, "What goes through the project's explicit proxy server.";
        "batch" Of(Section::Batch), V0_2, "The builds that a batch build consists of; a single build ignores it.";
        "phases" Of(Section::Phases), V0_1, "The commands, in phases that always run in the same order.";
        "reports" Named(Section::ReportGroup), V0_2, "Report groups, each with the test or coverage reports that go into it.";
        "artifacts" Of(Section::Artifacts), V0_1, "The files that are kept after the build.";
        "cache" Of(Section::Cache), V0_2, "Files that one build saves and later ones find.";
        "environment_variables" Of(Section::OldEnv), OnlyV0_1, "Environment variables as version 0.1 has them; version 0.2 has `env`.";
    }
    Env {
        "shell" Form(SHELLS, SHELL_FORM), V0_2, "The shell that runs the commands; `/bin/sh` on Linux and PowerShell on Windows without it.";
        "variables" Variables, V0_2, "Variables with literal values: nothing in them is expanded.";
        "parameter-store" Variables, V0_2, "Variables whose values are fetched from the Parameter Store: the name of the parameter stands as value.";
        "secrets-manager" Variables, V0_2, "Variables whose values are fetched from Secrets Manager: `secret-id:json-key:version-stage:version-id`.";
        "exported-variables" Texts, V0_2, "Names of variables whose values, as they are after `post_build`, go to later stages of the pipeline.";
        "git-credential-helper" Flag, V0_2, "Whether `git` in commands may use the credentials of the source.";
    }
    OldEnv {
        "plaintext" Variables, OnlyV0_1, "Variables with literal values.";
        "parameter-store" Variables, OnlyV0_1, "Variables whose values are fetched from the Parameter Store.";
    }
    Proxy {
        "upload-artifacts" Flag, V0_2, "Whether artifacts are uploaded through the proxy.";
        "logs" Flag, V0_2, "Whether logs are sent through the proxy.";
    }
    Phases {
        "install" Of(Section::InstallPhase), V0_1, "The first phase: runtimes and tools; if it fails, nothing more runs.";
        "pre_build" Of(Section::Phase), V0_1, "What the build needs, such as logins and dependencies; if it fails, nothing more runs.";
        "build" Of(Section::Phase), V0_1, "The build itself; `post_build` runs even if it fails.";
        "post_build" Of(Section::Phase), V0_1, "What comes after the build, such as packing and pushing; it runs after a failed `build` too.";
    }
    InstallPhase {
        "run-as" Text, V0_2, "The Linux user that runs the commands of this phase.";
        "on-failure" Form(ON_FAILURE, ON_FAILURE_FORM), V0_2, "What a failure of this phase does: end the build, go on with the next phase, or try again (`RETRY-count-regex`).";
        "runtime-versions" Variables, V0_2, "Runtimes of the build image that are selected, each with a version such as `20`, `3.x` or `latest`.";
        "commands" Texts, V0_1, "Commands, run one after the other until one fails.";
        "finally" Texts, V0_2, "Commands that run after `commands`, whether these failed or not.";
    }
    Phase {
        "run-as" Text, V0_2, "The Linux user that runs the commands of this phase.";
        "on-failure" Form(ON_FAILURE, ON_FAILURE_FORM), V0_2, "What a failure of this phase does: end the build, go on with the next phase, or try again (`RETRY-count-regex`).";
        "commands" Texts, V0_1, "Commands, run one after the other until one fails.";
        "finally" Texts, V0_2, "Commands that run after `commands`, whether these failed or not.";
    }
    ReportGroup {
        "files" Texts, V0_2, "Globs of the report files, relative to the source or to `base-directory`.";
        "file-format" Known(REPORT_FORMATS), V0_2, "The format of the files, in any casing; `JUNITXML` without it.";
        "base-directory" Text, V0_2, "The directory that `files` are relative to; the source without it.";
        "discard-paths" Flag, V0_2, "Whether exported report files lose the directories in their names.";
    }
    Artifacts {
        "files" Texts, V0_1, "Globs of the files to keep, relative to the source or to `base-directory`; `**/*` is everything.";
        "name" Text, V0_2, "The name of the artifact, expanded by a shell, where the project lets the buildspec name it.";
        "base-directory" Text, V0_1, "The directory that `files` are relative to, which is not part of their stored names.";
        "discard-paths" Flag, V0_1, "Whether stored files lose the directories in their names.";
        "exclude-paths" Texts, V0_2, "Globs of files not to keep, relative to `base-directory`.";
        "enable-symlinks" Flag, V0_2, "Whether a ZIP keeps symbolic links inside the artifact as links.";
        "s3-prefix" Text, V0_2, "A prefix in front of the build id in the key of the stored object, where the project's namespace is the build id.";
        "secondary-artifacts" Named(Section::SecondaryArtifact), V0_2, "More artifacts, each under the identifier that the project or the pipeline has for it.";
        "type" Text, OnlyV0_1, "The packaging of the artifact in version 0.1; later versions ignore it.";
    }
    SecondaryArtifact {
        "files" Texts, V0_2, "Globs of the files to keep, relative to the source or to `base-directory`.";
        "name" Text, V0_2, "The name of the artifact, expanded by a shell, where the project lets the buildspec name it.";
        "base-directory" Text, V0_2, "The directory that `files` are relative to, which is not part of their stored names.";
        "discard-paths" Flag, V0_2, "Whether stored files lose the directories in their names.";
        "exclude-paths" Texts, V0_2, "Globs of files not to keep, relative to `base-directory`.";
        "enable-symlinks" Flag, V0_2, "Whether a ZIP keeps symbolic links inside the artifact as links.";
        "s3-prefix" Text, V0_2, "A prefix in front of the build id in the key of the stored object.";
    }
    Cache {
        "paths" Texts, V0_2, "Globs of the files to save, relative to the source or absolute; without them the cache is skipped.";
        "key" Text, V0_2, "The name under which the cache is saved and looked for, expanded by a shell.";
        "fallback-keys" Texts, V0_2, "Up to five beginnings of names, tried in order when nothing is saved under `key`.";
        "action" OneOf(ACTIONS), V0_2, "Only restore or only save; without it both are done.";
    }
    Batch {
        "fast-fail" Flag, V0_2, "Whether the first build that fails stops those that are running.";
        "build-list" Sections(Section::BatchTask), V0_2, "Builds that all run at the same time.";
        "build-graph" Sections(Section::BatchTask), V0_2, "Builds that wait for the builds they depend on.";
        "build-matrix" Of(Section::Matrix), V0_2, "One build for each combination of the values given.";
        "build-fanout" Of(Section::Fanout), V0_2, "Equal builds that share the tests among them.";
    }
    BatchTask {
        "identifier" Text, V0_2, "The name of this build in the batch: letters, digits and underscores.";
        "buildspec" Text, V0_2, "The buildspec of this build, as a path from the top of the source; this file without it.";
        "debug-session" Flag, V0_2, "Whether one may connect to the running build.";
        "depend-on" Texts, V0_2, "Identifiers of the builds that have to be completed before this one starts.";
        "env" Of(Section::BatchEnv), V0_2, "What this build has instead of the project's environment.";
        "ignore-failure" Flag, V0_2, "Whether the batch may succeed although this build fails.";
    }
    BatchEnv {
        "compute-type" Known(COMPUTE_TYPES), V0_2, "The size of the machine.";
        "fleet" Text, V0_2, "The fleet of reserved machines to run on; not together with `compute-type`.";
        "image" Text, V0_2, "The build image.";
        "privileged-mode" Flag, V0_2, "Whether the build may start a Docker daemon of its own.";
        "type" Known(ENVIRONMENT_TYPES), V0_2, "The kind of environment.";
        "variables" Variables, V0_2, "Variables of this build, with literal values.";
        "git-credential-helper" Flag, V0_2, "Whether `git` in commands may use the credentials of the source.";
    }
    Matrix {
        "static" Of(Section::MatrixStatic), V0_2, "What all builds of the matrix have in common.";
        "dynamic" Of(Section::MatrixDynamic), V0_2, "The values that are combined: as many builds as there are combinations.";
    }
    MatrixStatic {
        "ignore-failure" Flag, V0_2, "Whether the batch may succeed although some of these builds fail.";
        "env" Of(Section::BatchEnv), V0_2, "What these builds have instead of the project's environment.";
    }
    MatrixDynamic {
        "buildspec" Texts, V0_2, "Buildspecs, as paths from the top of the source.";
        "env" Of(Section::MatrixEnv), V0_2, "Values of the environment that are combined.";
    }
    MatrixEnv {
        "compute-type" KnownTexts(COMPUTE_TYPES), V0_2, "Sizes of the machine.";
        "image" Texts, V0_2, "Build images.";
        "variables" Lists, V0_2, "Variables, each with the values that are combined.";
    }
    Fanout {
        "parallelism" Text, V0_2, "How many equal builds there are.";
        "ignore-failure" Flag, V0_2, "Whether the batch may succeed although some of these builds fail.";
    }
}

/// The keys of a section.
pub fn of(section: Section) -> impl Iterator<Item = &'static Key> {
    ALL.iter().filter(move |key| key.section == section)
}

/// The key with this name in a section.
#[must_use]
pub fn find(section: Section, name: &str) -> Option<&'static Key> {
    of(section).find(|key| key.name == name)
}

/// What a place in a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A mapping whose keys are known.
    Section(Section),
    /// What is below a key that holds no such mapping.
    Value(Kind),
}

/// What is below these keys, from the top; list items count for nothing. `None` where nobody knows.
#[must_use]
pub fn place<'k>(path: impl IntoIterator<Item = &'k str>) -> Option<Place> {
    let mut place = Place::Section(Section::TopLevel);
    for name in path {
        place = match place {
            Place::Section(section) => match find(section, name)?.kind {
                Of(inner) | Sections(inner) => Place::Section(inner),
                other => Place::Value(other),
            },
            Place::Value(Named(section)) => Place::Section(section),
            Place::Value(Variables) => Place::Value(Text),
            Place::Value(Lists) => Place::Value(Texts),
            Place::Value(_) => return None,
        };
    }
    Some(place)
}

impl Kind {
    /// Words that a value may be, or usually is.
    #[must_use]
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Flag => FLAG,
            OneOf(words) | Known(words) | KnownTexts(words) | Form(words, _) => words,
            _ => &[],
        }
    }

    /// What it is, as a phrase.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Text | Known(_) | Form(..) | OneOf(_) => "text",
            Flag => "`yes` or `no`",
            Texts | KnownTexts(_) => "a list of texts, or one text",
            Variables => "names, each with a text",
            Lists => "names, each with a list of texts",
            Of(_) => "a mapping",
            Sections(_) => "a list of mappings",
            Named(_) => "names, each with a mapping",
        }
    }
}

impl Since {
    /// The versions, as a phrase.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::V0_1 => "since version 0.1",
            Self::V0_2 => "since version 0.2",
            Self::OnlyV0_1 => "only in version 0.1",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buildspec;
    use crate::diagnostic::{Code, Diagnostic, one_of};
    use crate::source::SourceText;

    /// Ways to each section from the top.
    fn ways(section: Section) -> Vec<Vec<&'static str>> {
        let way: &[&[&str]] = match section {
            Section::TopLevel => &[&[]],
            Section::Env => &[&["env"]],
            Section::OldEnv => &[&["environment_variables"]],
            Section::Proxy => &[&["proxy"]],
            Section::Phases => &[],
            Section::InstallPhase => &[&["phases", "install"]],
            Section::Phase => &[
                &["phases", "pre_build"],
                &["phases", "build"],
                &["phases", "post_build"],
            ],
            Section::ReportGroup => &[&["reports", "group"]],
            Section::Artifacts => &[&["artifacts"]],
            Section::SecondaryArtifact => &[&["artifacts", "secondary-artifacts", "id"]],
            Section::Cache => &[&["cache"]],
            Section::Batch => &[&["batch"]],
            Section::BatchTask => &[&["batch", "build-list"], &["batch", "build-graph"]],
            Section::BatchEnv => &[
                &["batch", "build-list", "env"],
                &["batch", "build-matrix", "static", "env"],
            ],
            Section::Matrix => &[&["batch", "build-matrix"]],
            Section::MatrixStatic => &[&["batch", "build-matrix", "static"]],
            Section::MatrixDynamic => &[&["batch", "build-matrix", "dynamic"]],
            Section::MatrixEnv => &[&["batch", "build-matrix", "dynamic", "env"]],
            Section::Fanout => &[&["batch", "build-fanout"]],
        };
        way.iter().map(|way| way.to_vec()).collect()
    }

    /// A buildspec with an empty key at the end of a way, as JSON, which is YAML too.
    fn with_key(way: &[&str], key: &str, version: &str) -> Vec<Diagnostic> {
        let mut text = format!("{{\"{key}\": null}}");
        for name in way.iter().rev() {
            let list = name.starts_with("build-list") || name.starts_with("build-graph");
            let inner = if list { format!("[{text}]") } else { text };
            text = format!("{{\"{name}\": {inner}}}");
        }
        let rest = text.strip_prefix('{').expect("a mapping");
        let text = match (way, key) {
            ([], "version") => format!("{{{rest}"),
            _ => format!("{{\"version\": {version}, {rest}"),
        };
        let (_, found) = buildspec::check(&SourceText::new("b.yml", text));
        found
    }

    fn unknown(found: &[Diagnostic]) -> Vec<&Diagnostic> {
        let unknown = |finding: &&Diagnostic| finding.code == Code::UnknownKey;
        found.iter().filter(unknown).collect()
    }

    // LINT-60
    #[test]
    fn the_reader_knows_every_key_of_the_table() {
        for key in ALL {
            for way in ways(key.section) {
                let version = match key.since {
                    Since::OnlyV0_1 => "0.1",
                    _ if key.section == Section::OldEnv => "0.1",
                    _ => "0.2",
                };
                let found = with_key(&way, key.name, version);
                assert_eq!(
                    unknown(&found),
                    [] as [&Diagnostic; 0],
                    "{way:?} {}",
                    key.name
                );
                let read = found.iter().all(|found| found.code != Code::YamlSyntax);
                assert!(read, "{way:?} {}", key.name);
            }
        }
    }

    // LINT-60
    #[test]
    fn the_table_knows_every_key_of_the_reader() {
        for section in Section::ALL.iter().copied() {
            let version = if section == Section::OldEnv {
                "0.1"
            } else {
                "0.2"
            };
            let names: Vec<&str> = of(section)
                .filter(|key| key.since != Since::OnlyV0_1 || version == "0.1")
                .map(|key| key.name)
                .collect();
            for way in ways(section) {
                let found = with_key(&way, "zzz", version);
                let labels: Vec<&str> = unknown(&found)
                    .into_iter()
                    .map(|found| found.primary.text.as_str())
                    .collect();
                assert_eq!(labels, [format!("expected {}", one_of(&names))], "{way:?}");
            }
        }
        let phases: Vec<&str> = of(Section::Phases).map(|key| key.name).collect();
        let known = crate::phase::CommandPhase::ALL.map(crate::phase::CommandPhase::key);
        assert_eq!(phases, known);
    }

    #[test]
    fn places_are_found_by_the_keys_above() {
        let table: [(&[&str], Option<Place>); 8] = [
            (&[], Some(Place::Section(Section::TopLevel))),
            (&["phases", "build"], Some(Place::Section(Section::Phase))),
            (&["phases", "test"], None),
            (
                &["reports", "any"],
                Some(Place::Section(Section::ReportGroup)),
            ),
            (&["env", "variables", "A"], Some(Place::Value(Text))),
            (&["env", "variables", "A", "b"], None),
            (
                &["batch", "build-list", "env", "type"],
                Some(Place::Value(Known(ENVIRONMENT_TYPES))),
            ),
            (
                &["batch", "build-matrix", "dynamic", "env", "variables", "V"],
                Some(Place::Value(Texts)),
            ),
        ];
        for (path, expected) in table {
            assert_eq!(place(path.iter().copied()), expected, "{path:?}");
        }
    }

    #[test]
    fn every_meaning_is_a_sentence() {
        for key in ALL {
            let ends =
                key.meaning.ends_with('.') && !key.meaning[..key.meaning.len() - 1].contains(". ");
            assert!(ends, "{}: {}", key.name, key.meaning);
        }
    }
}
