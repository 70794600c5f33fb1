//! From the tree to what was written: one small function a section.
//!
//! Every mapping is walked key by key; what a section does not know is reported with the full list of what it knows.
//! Nothing stops at the first problem, so all problems of a file come out at once.

use super::ast::{
    Artifact, Artifacts, Batch, BatchEnv, BatchFanout, BatchMatrix, BatchStrategy, BatchTask,
    Buildspec, Cache, Command, Commands, Env, Phase, Phases, Proxy, Report, RuntimeVersions,
    Unrecognized, Variable,
};
use super::mend;
use super::yaml::{Document, Entry, Node, NodeKind};
use crate::diagnostic::{Code, Diagnostic, Fix, Severity, nearest, one_of, slip};
use crate::phase::CommandPhase;
use crate::source::{SourceText, Span, Spanned};

/// CodeBuild's sentence for a node of the wrong kind, and for a file with nothing in it (SPEC-9).
const WRONG_NUMBER_OF_TAGS: &str = "wrong number of container tags, expected 1";

/// Keys of the top level.
const TOP_LEVEL: &[&str] = &[
    "version",
    "run-as",
    "env",
    "proxy",
    "batch",
    "phases",
    "reports",
    "artifacts",
    "cache",
];

/// Those of them that no phase has.
const NOT_IN_A_PHASE: &[&str] = &[
    "env",
    "proxy",
    "batch",
    "phases",
    "reports",
    "artifacts",
    "cache",
];

/// Keys of `env` that are put beside it instead.
const OF_ENV: &[&str] = &[
    "variables",
    "parameter-store",
    "secrets-manager",
    "exported-variables",
    "git-credential-helper",
];

/// Reads the tree as a buildspec. Never fails: what is wrong with it is in the diagnostics.
#[must_use]
pub fn buildspec(source: &SourceText, document: &Document) -> (Buildspec, Vec<Diagnostic>) {
    let mut parser = Parser {
        source,
        diagnostics: Vec::new(),
        unrecognized: Vec::new(),
        top_level: Vec::new(),
        runs_something: false,
        phases: None,
    };
    let mut buildspec = match &document.root {
        Some(root) if !root.is_null() => parser.buildspec(root),
        _ => {
            if document.complete {
                let diagnostic =
                    Diagnostic::new(Code::WrongType, Span::at(0), "the file holds no buildspec")
                        .with_help("begin with `version: 0.2` and `phases:`")
                        .with_codebuild_message(WRONG_NUMBER_OF_TAGS);
                parser.diagnostics.push(diagnostic);
            }
            Buildspec::default()
        }
    };
    // That a file is empty or no mapping was reported above; saying that it lacks a version and phases would say it twice
    // more.
    let is_mapping = |root: &Node| matches!(root.kind, NodeKind::Mapping(_));
    buildspec.complete = document.complete && document.root.as_ref().is_some_and(is_mapping);
    buildspec.unrecognized = parser.unrecognized;
    buildspec.aliases.clone_from(&document.aliases);
    (buildspec, parser.diagnostics)
}

struct Parser<'s> {
    source: &'s SourceText,
    diagnostics: Vec<Diagnostic>,
    unrecognized: Vec<Unrecognized>,
    /// Keys of the top level.
    top_level: Vec<String>,
    /// Whether `phases` or `batch` is among them.
    runs_something: bool,
    /// `phases`: the key, and where what is below it ends.
    phases: Option<(Span, usize)>,
}

/// Where a mapping is, for messages about its keys.
struct Section<'a> {
    /// As a phrase: "in phase `build`".
    place: &'a str,
    /// As CodeBuild's log names it.
    log_name: &'a str,
    /// What it knows.
    keys: &'a [&'a str],
}

impl Parser<'_> {
    fn buildspec(&mut self, root: &Node) -> Buildspec {
        let mut buildspec = Buildspec {
            span: root.span,
            ..Buildspec::default()
        };
        let Some(entries) = self.mapping(root, "a buildspec has to be a mapping") else {
            return buildspec;
        };
        let old = entries.iter().any(|entry| {
            entry.key.value == "version"
                && scalar_text(&entry.value).is_some_and(|text| text == "0.1")
        });
        self.top_level = entries
            .iter()
            .map(|entry| entry.key.value.clone())
            .collect();
        self.runs_something = has_key(entries, "phases") || has_key(entries, "batch");
        for (index, entry) in entries.iter().enumerate() {
            match entry.key.value.as_str() {
                "version" => buildspec.version = self.text(entry),
                "run-as" => buildspec.run_as = self.text(entry),
                "env" => self.env(entry, &mut buildspec.env),
                "environment_variables" if old => self.old_env(entry, &mut buildspec.env),
                "proxy" => buildspec.proxy = self.proxy(entry),
                "batch" => buildspec.batch = self.batch(entry),
                "phases" => buildspec.phases = Some(self.phases(entry)),
                "reports" => buildspec.reports = self.reports(entry),
                "artifacts" => buildspec.artifacts = self.artifacts(entry, old),
                "cache" => buildspec.cache = self.cache(entry),
                name if CommandPhase::from_key(name).is_some() => {
                    self.phase_at_top_level(entries, index);
                }
                name if OF_ENV.contains(&name) => self.part_of_env_at_top_level(entry),
                _ => self.unknown_top_level(entries, entry),
            }
        }
        buildspec
    }

    /// A phase beside `phases` instead of below it: CodeBuild does not look for one there (SPEC-23).
    fn phase_at_top_level(&mut self, entries: &[Entry], index: usize) {
        let key = &entries[index].key;
        self.ignored("buildspec", &key.value);
        let message = format!(
            "phase `{}` stands at the top level, and belongs below `phases`",
            key.value
        );
        let mut diagnostic = Diagnostic::new(Code::MisplacedSection, key.span, message)
            .with_severity(Severity::Warning)
            .labelled("CodeBuild ignores this")
            .with_help(format!("indent `{}` under `phases`", key.value));
        diagnostic.fix = self.indented(entries, index);
        self.diagnostics.push(diagnostic);
    }

    /// The change that puts phases right behind `phases` below it.
    fn indented(&self, entries: &[Entry], index: usize) -> Option<Fix> {
        let is_phase = |entry: &Entry| CommandPhase::from_key(&entry.key.value).is_some();
        let parent = entries
            .iter()
            .position(|entry| entry.key.value == "phases")?;
        let behind = entries.get(parent + 1..)?;
        let run = &behind[..behind.iter().take_while(|entry| is_phase(entry)).count()];
        let (first, last) = (run.first()?, run.last()?);
        let own = mend::column(self.source, entries[parent].key.span.start())?;
        let column = match &entries[parent].value.kind {
            NodeKind::Mapping(phases)
                if run.iter().all(|entry| !has_key(phases, &entry.key.value)) =>
            {
                mend::column(self.source, phases.first()?.key.span.start())?
            }
            NodeKind::Scalar(scalar) if scalar.is_null() => own + 2,
            _ => return None,
        };
        let lines = first.key.span.start()..end_of(last);
        let edits = mend::indent(self.source, lines, column)?;
        (index > parent && index <= parent + run.len())
            .then(|| Fix::new("move the phase below `phases`", edits))
    }

    fn part_of_env_at_top_level(&mut self, entry: &Entry) {
        let name = &entry.key.value;
        self.ignored("buildspec", name);
        let message = format!("`{name}` stands at the top level, and belongs in `env`");
        let diagnostic = Diagnostic::new(Code::MisplacedSection, entry.key.span, message)
            .with_severity(Severity::Warning)
            .labelled("CodeBuild ignores this")
            .with_help(format!("indent `{name}` under `env`"));
        self.diagnostics.push(diagnostic);
    }

    fn unknown_top_level(&mut self, entries: &[Entry], entry: &Entry) {
        let section = Section {
            place: "at the top level",
            log_name: "buildspec",
            keys: TOP_LEVEL,
        };
        let old = entry.key.value == "environment_variables";
        let help = old.then(|| "version 0.2 has `env`".to_owned());
        self.unknown_key_with(&section, entries, entry, help);
        // Without these it may be a file of another program, whose keys have names of their own.
        let names_one = slip(&entry.key.value, ["phases", "batch"]).is_some();
        if !self.runs_something
            && !names_one
            && let Some(found) = self.diagnostics.last_mut()
        {
            found.fix = None;
        }
    }

    // ── env ──────────────────────────────────────────────────────────────────────────────────────────────────────

    fn env(&mut self, entry: &Entry, env: &mut Env) {
        let section = Section {
            place: "in `env`",
            log_name: "env",
            keys: &[
                "shell",
                "variables",
                "parameter-store",
                "secrets-manager",
                "exported-variables",
                "git-credential-helper",
            ],
        };
        let entries = self.section(entry);
        for entry in entries {
            match entry.key.value.as_str() {
                "shell" => env.shell = self.text(entry),
                "variables" => env.variables = self.variables(entry),
                "parameter-store" => env.parameter_store = self.variables(entry),
                "secrets-manager" => env.secrets_manager = self.variables(entry),
                "exported-variables" => {
                    env.exported_variables = self.texts(entry).unwrap_or_default();
                }
                "git-credential-helper" => env.git_credential_helper = self.flag(entry),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
    }

    /// `environment_variables` of version 0.1 (SPEC-20).
    fn old_env(&mut self, entry: &Entry, env: &mut Env) {
        let section = Section {
            place: "in `environment_variables`",
            log_name: "environment_variables",
            keys: &["plaintext", "parameter-store"],
        };
        let entries = self.section(entry);
        for entry in entries {
            match entry.key.value.as_str() {
                "plaintext" => env.variables = self.variables(entry),
                "parameter-store" => env.parameter_store = self.variables(entry),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
    }

    fn variables(&mut self, entry: &Entry) -> Vec<Variable> {
        let mut variables = Vec::new();
        if let NodeKind::Sequence(items) = &entry.value.kind {
            let expected = format!("`{}` has to be a mapping", entry.key.value);
            let fix = single_pairs(items)
                .and_then(|pairs| mend::without_dashes(self.source, &pairs, entry.key.span));
            self.wrong_kind_with(&entry.value, &expected, fix);
            return variables;
        }
        for entry in self.section(entry) {
            // A name without a value is an empty variable (SPEC-6).
            let value = if entry.value.is_null() {
                Some(Spanned::new(String::new(), entry.value.span))
            } else {
                self.text(entry)
            };
            if let Some(value) = value {
                variables.push(Variable {
                    name: entry.key.clone(),
                    value,
                });
            }
        }
        variables
    }

    // ── proxy ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn proxy(&mut self, entry: &Entry) -> Option<Proxy> {
        let section = Section {
            place: "in `proxy`",
            log_name: "proxy",
            keys: &["upload-artifacts", "logs"],
        };
        let mut proxy = Proxy {
            span: entry.key.span,
            upload_artifacts: None,
            logs: None,
        };
        let entries = self.optional_section(entry)?;
        for entry in entries {
            match entry.key.value.as_str() {
                "upload-artifacts" => proxy.upload_artifacts = self.flag(entry),
                "logs" => proxy.logs = self.flag(entry),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
        Some(proxy)
    }

    // ── phases ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn phases(&mut self, entry: &Entry) -> Phases {
        let mut phases = Phases {
            key: entry.key.span,
            phases: Vec::new(),
            has_errors: false,
        };
        let before = self.diagnostics.len();
        self.phases = Some((entry.key.span, end_of(entry)));
        let entries = self.section(entry);
        for (index, entry) in entries.iter().enumerate() {
            match CommandPhase::from_key(&entry.key.value) {
                Some(name) => phases.phases.push(self.phase(entry, name)),
                None if TOP_LEVEL.contains(&entry.key.value.as_str()) => {
                    self.section_below_phases(&entries[index..]);
                }
                None => self.unknown_phase(entries, entry),
            }
        }
        phases.has_errors = self.diagnostics[before..].iter().any(Diagnostic::is_error);
        phases
    }

    /// A section of the top level that is indented as a phase. `rest` begins with it.
    fn section_below_phases(&mut self, rest: &[Entry]) {
        let [entry, ..] = rest else { return };
        let name = &entry.key.value;
        let message = format!("`{name}` stands below `phases`, and belongs at the top level");
        let mut diagnostic = Diagnostic::new(Code::MisplacedSection, entry.key.span, message)
            .labelled("CodeBuild takes this for a phase")
            .with_help(format!("indent `{name}` as far as `phases`"))
            .with_codebuild_message(no_phase(name));
        diagnostic.fix = self.dedented(rest, TOP_LEVEL);
        self.diagnostics.push(diagnostic);
    }

    /// A section of the top level in a phase: an unknown key to CodeBuild, which ignores it (SPEC-23).
    fn section_in_phase(&mut self, phase: CommandPhase, rest: &[Entry]) {
        let [entry, ..] = rest else { return };
        let name = &entry.key.value;
        self.ignored(phase.phase().name(), name);
        let message = format!(
            "`{name}` stands in phase `{}`, and belongs at the top level",
            phase.key()
        );
        let mut diagnostic = Diagnostic::new(Code::MisplacedSection, entry.key.span, message)
            .with_severity(Severity::Warning)
            .labelled("CodeBuild ignores this")
            .with_help(format!("indent `{name}` as far as `phases`"));
        diagnostic.fix = self.dedented(rest, NOT_IN_A_PHASE);
        self.diagnostics.push(diagnostic);
    }

    /// The change that moves sections to the top level, if nothing stands below `phases` behind them.
    fn dedented(&self, rest: &[Entry], sections: &[&str]) -> Option<Fix> {
        let (phases, end) = self.phases?;
        let may_move = |entry: &Entry| {
            let name = &entry.key.value;
            sections.contains(&name.as_str()) && !self.top_level.contains(name)
        };
        let (first, last) = (rest.first()?, rest.last()?);
        let start = first.key.span.start();
        if !rest.iter().all(may_move) || end_of(last) != end || start < phases.end() {
            return None;
        }
        let column = mend::column(self.source, phases.start())?;
        let edits = mend::dedent(self.source, start..end, column)?;
        Some(Fix::new("move the section to the top level", edits))
    }

    fn unknown_phase(&mut self, entries: &[Entry], entry: &Entry) {
        let name = &entry.key.value;
        let known = CommandPhase::ALL.map(CommandPhase::key);
        let mut diagnostic = Diagnostic::new(
            Code::UnknownPhase,
            entry.key.span,
            format!("unknown phase `{name}`"),
        )
        .labelled(format!("expected {}", one_of(&known)))
        .with_codebuild_message(no_phase(name));
        diagnostic.help = nearest(name, known).map(|phase| format!("did you mean `{phase}`?"));
        diagnostic.fix = self.renamed(entries, entry, &known);
        self.diagnostics.push(diagnostic);
    }

    fn phase(&mut self, entry: &Entry, name: CommandPhase) -> Phase {
        let place = format!("in phase `{}`", name.key());
        let section = Section {
            place: &place,
            log_name: name.phase().name(),
            keys: if name == CommandPhase::Install {
                &[
                    "run-as",
                    "on-failure",
                    "runtime-versions",
                    "commands",
                    "finally",
                ]
            } else {
                &["run-as", "on-failure", "commands", "finally"]
            },
        };
        let mut phase = Phase {
            name: Spanned::new(name, entry.key.span),
            run_as: None,
            on_failure: None,
            runtime_versions: None,
            commands: None,
            finally: None,
        };
        let entries = self.section_or_list(entry, "commands").unwrap_or_default();
        for (index, entry) in entries.iter().enumerate() {
            match entry.key.value.as_str() {
                "run-as" => phase.run_as = self.text(entry),
                "on-failure" => phase.on_failure = self.text(entry),
                "runtime-versions" => phase.runtime_versions = Some(self.runtime_versions(entry)),
                "commands" => phase.commands = Some(self.commands(entry, "Commands")),
                "finally" => phase.finally = Some(self.commands(entry, "Finally")),
                other if NOT_IN_A_PHASE.contains(&other) => {
                    self.section_in_phase(name, &entries[index..]);
                }
                _ => self.unknown_key(&section, entries, entry),
            }
        }
        phase
    }

    fn runtime_versions(&mut self, entry: &Entry) -> RuntimeVersions {
        RuntimeVersions {
            key: entry.key.span,
            versions: self.variables(entry),
        }
    }

    /// `commands` or `finally`: nothing, one text or a list of texts and nothings (SPEC-12).
    fn commands(&mut self, entry: &Entry, list: &str) -> Commands {
        let mut nothing = Vec::new();
        let items = match &entry.value.kind {
            NodeKind::Scalar(_) => self.command(&entry.value, 0, list).into_iter().collect(),
            NodeKind::Sequence(items) => {
                let empty = items.iter().filter(|item| item.is_null());
                nothing.extend(empty.map(|item| item.span));
                let commands = items.iter().enumerate();
                commands
                    .filter_map(|(index, item)| self.command(item, index, list))
                    .collect()
            }
            NodeKind::Mapping(_) => {
                self.wrong_kind(
                    &entry.value,
                    &format!("`{}` has to be a list of commands", entry.key.value),
                );
                Vec::new()
            }
        };
        Commands {
            key: entry.key.span,
            items,
            nothing,
        }
    }

    fn command(&mut self, item: &Node, index: usize, list: &str) -> Option<Command> {
        match &item.kind {
            NodeKind::Scalar(scalar) if scalar.is_null() => None,
            NodeKind::Scalar(scalar) => Some(Command {
                index,
                text: Spanned::new(scalar.text.clone(), item.span),
            }),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => {
                self.command_not_text(item, index, list);
                None
            }
        }
    }

    fn command_not_text(&mut self, item: &Node, index: usize, list: &str) {
        let line = self.source.line(item.span.start());
        let mut diagnostic = Diagnostic::new(
            Code::CommandNotString,
            item.span,
            format!("a command has to be text, and this is {}", item.describe()),
        )
        .with_codebuild_message(format!(
            "Expected {list}[{index}] to be of string type: found subkeys instead at line {line}, \
             value of the key tag on line {} might be empty",
            line.saturating_sub(1)
        ));
        if let NodeKind::Mapping(entries) = &item.kind
            && let Some(first) = entries.first()
        {
            let colon = self.source.text()[first.key.span.end()..]
                .find(':')
                .map(|at| first.key.span.end() + at);
            if let Some(colon) = colon {
                diagnostic = diagnostic
                    .with_secondary(Span::new(colon, colon + 1), "this colon makes it a mapping");
            }
            diagnostic = diagnostic
                .with_help("put the whole command in quotes, or write it as a block after `- |`");
        } else {
            diagnostic = diagnostic.with_help("write each command as an item of its own");
        }
        diagnostic.fix = self.quoted(item);
        self.diagnostics.push(diagnostic);
    }

    /// The change that quotes an item that was meant as a command: a line of several words in front of a colon, or a test
    /// in the shell's brackets.
    fn quoted(&self, item: &Node) -> Option<Fix> {
        let start = item.span.start();
        match &item.kind {
            NodeKind::Mapping(entries) => {
                let [only] = entries.as_slice() else {
                    return None;
                };
                let written = self.source.slice(only.key.span);
                let words = only.key.span.start() == start
                    && written == only.key.value
                    && written.contains([' ', '\t']);
                words.then(|| mend::quote_command(self.source, start))?
            }
            NodeKind::Sequence(_) => mend::quote_test(self.source, start),
            NodeKind::Scalar(_) => None,
        }
    }

    // ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn reports(&mut self, entry: &Entry) -> Vec<Report> {
        self.section(entry)
            .iter()
            .filter_map(|entry| self.report(entry))
            .collect()
    }

    fn report(&mut self, entry: &Entry) -> Option<Report> {
        let section = Section {
            place: "in a report group",
            log_name: "reports",
            keys: &["files", "file-format", "base-directory", "discard-paths"],
        };
        let mut report = Report {
            group: entry.key.clone(),
            files: None,
            file_format: None,
            base_directory: None,
            discard_paths: None,
        };
        let entries = self.mapping(&entry.value, "a report group has to be a mapping")?;
        for entry in entries {
            match entry.key.value.as_str() {
                "files" => report.files = self.texts(entry),
                "file-format" => report.file_format = self.text(entry),
                "base-directory" => report.base_directory = self.text(entry),
                "discard-paths" => report.discard_paths = self.flag(entry),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
        Some(report)
    }

    // ── artifacts ────────────────────────────────────────────────────────────────────────────────────────────────

    fn artifacts(&mut self, entry: &Entry, old: bool) -> Option<Artifacts> {
        let mut secondary = Vec::new();
        let key = entry.key.span;
        let entries = self.section_or_list(entry, "files")?;
        let mut primary = empty_artifact(key);
        let section = Section {
            place: "in `artifacts`",
            log_name: "artifacts",
            keys: &[
                "files",
                "name",
                "base-directory",
                "discard-paths",
                "exclude-paths",
                "enable-symlinks",
                "s3-prefix",
                "secondary-artifacts",
            ],
        };
        for entry in entries {
            match entry.key.value.as_str() {
                "secondary-artifacts" => secondary = self.secondary_artifacts(entry),
                "type" if old => {
                    self.text(entry);
                }
                _ if self.artifact_key(entry, &mut primary) => {}
                _ => self.unknown_key(&section, entries, entry),
            }
        }
        Some(Artifacts { primary, secondary })
    }

    fn secondary_artifacts(&mut self, entry: &Entry) -> Vec<(Spanned<String>, Artifact)> {
        let section = Section {
            place: "in a secondary artifact",
            log_name: "secondary-artifacts",
            keys: &[
                "files",
                "name",
                "base-directory",
                "discard-paths",
                "exclude-paths",
                "enable-symlinks",
                "s3-prefix",
            ],
        };
        let mut artifacts = Vec::new();
        for entry in self.section(entry) {
            let mut artifact = empty_artifact(entry.key.span);
            let Some(entries) =
                self.mapping(&entry.value, "a secondary artifact has to be a mapping")
            else {
                continue;
            };
            for entry in entries {
                if !self.artifact_key(entry, &mut artifact) {
                    self.unknown_key(&section, entries, entry);
                }
            }
            artifacts.push((entry.key.clone(), artifact));
        }
        artifacts
    }

    /// Reads one key of an artifact; false if it is none.
    fn artifact_key(&mut self, entry: &Entry, artifact: &mut Artifact) -> bool {
        match entry.key.value.as_str() {
            "files" => artifact.files = self.texts(entry),
            "name" => artifact.name = self.text(entry),
            "base-directory" => artifact.base_directory = self.text(entry),
            "discard-paths" => artifact.discard_paths = self.flag(entry),
            "exclude-paths" => artifact.exclude_paths = self.texts(entry).unwrap_or_default(),
            "enable-symlinks" => artifact.enable_symlinks = self.flag(entry),
            "s3-prefix" => artifact.s3_prefix = self.text(entry),
            _ => return false,
        }
        true
    }

    // ── cache ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn cache(&mut self, entry: &Entry) -> Option<Cache> {
        let section = Section {
            place: "in `cache`",
            log_name: "cache",
            keys: &["paths", "key", "fallback-keys", "action"],
        };
        let mut cache = Cache {
            span: entry.key.span,
            paths: None,
            key: None,
            fallback_keys: None,
            action: None,
        };
        let entries = self.section_or_list(entry, "paths")?;
        for entry in entries {
            match entry.key.value.as_str() {
                "paths" => cache.paths = self.texts(entry),
                "key" => cache.key = self.text(entry),
                "fallback-keys" => {
                    cache.fallback_keys = self
                        .texts(entry)
                        .map(|keys| Spanned::new(keys, entry.key.span));
                }
                "action" => cache.action = self.text(entry),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
        Some(cache)
    }

    // ── batch ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn batch(&mut self, entry: &Entry) -> Option<Batch> {
        let section = Section {
            place: "in `batch`",
            log_name: "batch",
            keys: &[
                "fast-fail",
                "build-list",
                "build-graph",
                "build-matrix",
                "build-fanout",
            ],
        };
        let mut batch = Batch {
            span: entry.key.span,
            fast_fail: None,
            strategies: Vec::new(),
        };
        let entries = self.optional_section(entry)?;
        for entry in entries {
            let strategy = match entry.key.value.as_str() {
                "fast-fail" => {
                    batch.fast_fail = self.flag(entry);
                    continue;
                }
                "build-list" => BatchStrategy::List(self.batch_tasks(entry)),
                "build-graph" => BatchStrategy::Graph(self.batch_tasks(entry)),
                "build-matrix" => BatchStrategy::Matrix(Box::new(self.batch_matrix(entry))),
                "build-fanout" => BatchStrategy::Fanout(self.batch_fanout(entry)),
                _ => {
                    self.unknown_key(&section, entries, entry);
                    continue;
                }
            };
            batch
                .strategies
                .push(Spanned::new(strategy, entry.key.span));
        }
        Some(batch)
    }

    fn batch_tasks(&mut self, entry: &Entry) -> Vec<BatchTask> {
        match &entry.value.kind {
            NodeKind::Sequence(items) => items
                .iter()
                .filter_map(|item| self.batch_task(item))
                .collect(),
            _ if entry.value.is_null() => Vec::new(),
            _ => {
                self.wrong_kind(
                    &entry.value,
                    &format!("`{}` has to be a list of builds", entry.key.value),
                );
                Vec::new()
            }
        }
    }

    fn batch_task(&mut self, item: &Node) -> Option<BatchTask> {
        let section = Section {
            place: "in a build of a batch",
            log_name: "batch",
            keys: &[
                "identifier",
                "buildspec",
                "debug-session",
                "depend-on",
                "env",
                "ignore-failure",
            ],
        };
        let mut task = BatchTask {
            identifier: None,
            buildspec: None,
            debug_session: None,
            depend_on: Vec::new(),
            env: BatchEnv::default(),
            ignore_failure: None,
        };
        let entries = self.mapping(item, "a build of a batch has to be a mapping")?;
        for entry in entries {
            match entry.key.value.as_str() {
                "identifier" => task.identifier = self.text(entry),
                "buildspec" => task.buildspec = self.text(entry),
                "debug-session" => task.debug_session = self.flag(entry),
                "depend-on" => task.depend_on = self.texts(entry).unwrap_or_default(),
                "env" => task.env = self.batch_env(entry),
                "ignore-failure" => task.ignore_failure = self.flag(entry),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
        Some(task)
    }

    fn batch_env(&mut self, entry: &Entry) -> BatchEnv {
        let section = Section {
            place: "in `env` of a build of a batch",
            log_name: "env",
            keys: &[
                "compute-type",
                "fleet",
                "image",
                "privileged-mode",
                "type",
                "variables",
                "git-credential-helper",
            ],
        };
        let mut env = BatchEnv::default();
        let entries = self.section(entry);
        for entry in entries {
            match entry.key.value.as_str() {
                "compute-type" => env.compute_type = self.text(entry),
                "fleet" => env.fleet = self.text(entry),
                "image" => env.image = self.text(entry),
                "privileged-mode" => env.privileged_mode = self.flag(entry),
                "type" => env.environment_type = self.text(entry),
                "variables" => env.variables = self.variables(entry),
                "git-credential-helper" => env.git_credential_helper = self.flag(entry),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
        env
    }

    fn batch_matrix(&mut self, entry: &Entry) -> BatchMatrix {
        let section = Section {
            place: "in `build-matrix`",
            log_name: "batch",
            keys: &["static", "dynamic"],
        };
        let mut matrix = BatchMatrix::default();
        let entries = self.section(entry);
        for entry in entries {
            match entry.key.value.as_str() {
                "static" => self.matrix_static(entry, &mut matrix),
                "dynamic" => self.matrix_dynamic(entry, &mut matrix),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
        matrix
    }

    fn matrix_static(&mut self, entry: &Entry, matrix: &mut BatchMatrix) {
        let section = Section {
            place: "in `static`",
            log_name: "batch",
            keys: &["ignore-failure", "env"],
        };
        let entries = self.section(entry);
        for entry in entries {
            match entry.key.value.as_str() {
                "ignore-failure" => matrix.ignore_failure = self.flag(entry),
                "env" => matrix.static_env = self.batch_env(entry),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
    }

    fn matrix_dynamic(&mut self, entry: &Entry, matrix: &mut BatchMatrix) {
        let section = Section {
            place: "in `dynamic`",
            log_name: "batch",
            keys: &["buildspec", "env"],
        };
        let entries = self.section(entry);
        for entry in entries {
            match entry.key.value.as_str() {
                "buildspec" => matrix.buildspecs = self.axis(entry, &mut matrix.empty_axes),
                "env" => self.matrix_dynamic_env(entry, matrix),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
    }

    fn matrix_dynamic_env(&mut self, entry: &Entry, matrix: &mut BatchMatrix) {
        let section = Section {
            place: "in `env` of `dynamic`",
            log_name: "batch",
            keys: &["compute-type", "image", "variables"],
        };
        let entries = self.section(entry);
        for entry in entries {
            match entry.key.value.as_str() {
                "compute-type" => {
                    matrix.compute_types = self.axis(entry, &mut matrix.empty_axes);
                }
                "image" => matrix.images = self.axis(entry, &mut matrix.empty_axes),
                "variables" => {
                    for entry in self.section(entry) {
                        let values = self.axis(entry, &mut matrix.empty_axes);
                        matrix.variables.push((entry.key.clone(), values));
                    }
                }
                _ => self.unknown_key(&section, entries, entry),
            }
        }
    }

    /// One list of a matrix; `empty` gets its key if nothing is in it.
    fn axis(&mut self, entry: &Entry, empty: &mut Vec<Spanned<String>>) -> Vec<Spanned<String>> {
        let values = self.texts(entry);
        if values.is_none() {
            empty.push(entry.key.clone());
        }
        values.unwrap_or_default()
    }

    fn batch_fanout(&mut self, entry: &Entry) -> BatchFanout {
        let section = Section {
            place: "in `build-fanout`",
            log_name: "batch",
            keys: &["parallelism", "ignore-failure"],
        };
        let mut fanout = BatchFanout {
            parallelism: None,
            ignore_failure: None,
        };
        let entries = self.section(entry);
        for entry in entries {
            match entry.key.value.as_str() {
                "parallelism" => fanout.parallelism = self.text(entry),
                "ignore-failure" => fanout.ignore_failure = self.flag(entry),
                _ => self.unknown_key(&section, entries, entry),
            }
        }
        fanout
    }

    // ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The entries of a key's mapping; a key without a value has none.
    fn section<'n>(&mut self, entry: &'n Entry) -> &'n [Entry] {
        self.optional_section(entry).unwrap_or_default()
    }

    /// Like [`Self::section`], but `None` for a key without a value: to CodeBuild it is as if it had not been written.
    fn optional_section<'n>(&mut self, entry: &'n Entry) -> Option<&'n [Entry]> {
        if entry.value.is_null() {
            return None;
        }
        self.mapping(
            &entry.value,
            &format!("`{}` has to be a mapping", entry.key.value),
        )
    }

    /// Like [`Self::optional_section`]. A list of texts right below the section can only be meant for this key of it.
    fn section_or_list<'n>(&mut self, entry: &'n Entry, key: &str) -> Option<&'n [Entry]> {
        match &entry.value.kind {
            NodeKind::Sequence(items) if items.iter().all(|item| scalar_text(item).is_some()) => {
                let expected = format!("`{}` has to be a mapping", entry.key.value);
                let fix = mend::key_above(self.source, entry.value.span, entry.key.span, key);
                self.wrong_kind_with(&entry.value, &expected, fix);
                None
            }
            _ => self.optional_section(entry),
        }
    }

    fn mapping<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n [Entry]> {
        match &node.kind {
            NodeKind::Mapping(entries) => Some(entries),
            _ => {
                self.wrong_kind(node, expected);
                None
            }
        }
    }

    /// A single text. `None` for no value.
    fn text(&mut self, entry: &Entry) -> Option<Spanned<String>> {
        match &entry.value.kind {
            NodeKind::Scalar(scalar) if scalar.is_null() => None,
            NodeKind::Scalar(scalar) => Some(Spanned::new(scalar.text.clone(), entry.value.span)),
            _ => {
                let expected = format!("`{}` has to be a single value", entry.key.value);
                let fix = only_text(&entry.value)
                    .and_then(|item| mend::only_item(self.source, entry.value.span, item));
                self.wrong_kind_with(&entry.value, &expected, fix);
                None
            }
        }
    }

    /// A list of texts; one text stands for a list of one (SPEC-13). `None` for nothing. Something else is reported and
    /// stands for a list of none, so that nobody is told that the list is missing too.
    fn texts(&mut self, entry: &Entry) -> Option<Vec<Spanned<String>>> {
        match &entry.value.kind {
            NodeKind::Scalar(scalar) if scalar.is_null() => None,
            NodeKind::Scalar(scalar) => {
                Some(vec![Spanned::new(scalar.text.clone(), entry.value.span)])
            }
            NodeKind::Sequence(items) if items.iter().all(Node::is_null) => None,
            NodeKind::Sequence(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match &item.kind {
                        NodeKind::Scalar(scalar) if scalar.is_null() => {}
                        NodeKind::Scalar(scalar) => {
                            texts.push(Spanned::new(scalar.text.clone(), item.span));
                        }
                        _ => self.wrong_kind(
                            item,
                            &format!("an item of `{}` has to be a single value", entry.key.value),
                        ),
                    }
                }
                Some(texts)
            }
            NodeKind::Mapping(_) => {
                self.wrong_kind(
                    &entry.value,
                    &format!("`{}` has to be a list", entry.key.value),
                );
                Some(Vec::new())
            }
        }
    }

    /// `yes`, `no` and their like, in any casing, quoted or not (SPEC-5).
    fn flag(&mut self, entry: &Entry) -> Option<Spanned<bool>> {
        let text = self.text(entry)?;
        let value = match text.value.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" => true,
            "no" | "false" | "off" => false,
            _ => {
                let message = format!(
                    "`{}` has to be `yes` or `no`, and this is `{}`",
                    entry.key.value, text.value
                );
                self.diagnostics
                    .push(Diagnostic::new(Code::WrongType, text.span, message));
                return None;
            }
        };
        Some(Spanned::new(value, text.span))
    }

    fn wrong_kind(&mut self, node: &Node, expected: &str) {
        self.wrong_kind_with(node, expected, None);
    }

    fn wrong_kind_with(&mut self, node: &Node, expected: &str, fix: Option<Fix>) {
        let mut diagnostic = Diagnostic::new(
            Code::WrongType,
            node.span,
            format!("{expected}, and this is {}", node.describe()),
        )
        .with_codebuild_message(WRONG_NUMBER_OF_TAGS);
        diagnostic.fix = fix;
        self.diagnostics.push(diagnostic);
    }

    fn unknown_key(&mut self, section: &Section<'_>, entries: &[Entry], entry: &Entry) {
        self.unknown_key_with(section, entries, entry, None);
    }

    fn unknown_key_with(
        &mut self,
        section: &Section<'_>,
        entries: &[Entry],
        entry: &Entry,
        help: Option<String>,
    ) {
        let key = &entry.key.value;
        self.ignored(section.log_name, key);
        let message = format!("unexpected key `{key}` {}", section.place);
        let mut diagnostic = Diagnostic::new(Code::UnknownKey, entry.key.span, message)
            .labelled(format!("expected {}", one_of(section.keys)));
        diagnostic.help = help.or_else(|| {
            nearest(key, section.keys.iter().copied())
                .map(|known| format!("did you mean `{known}`?"))
        });
        diagnostic.fix = self.renamed(entries, entry, section.keys);
        self.diagnostics.push(diagnostic);
    }

    /// The change that gives a misspelt key its name, unless the mapping has that key too.
    fn renamed(&self, entries: &[Entry], entry: &Entry, known: &[&str]) -> Option<Fix> {
        let key = &entry.key;
        let name = slip(&key.value, known.iter().copied())?;
        let is_plain = self.source.slice(key.span) == key.value;
        (is_plain && !has_key(entries, name)).then(|| {
            Fix::new(
                format!("rename it to `{name}`"),
                [(key.span, name.to_owned())],
            )
        })
    }

    /// CodeBuild's log lists keys that it does not know (LOG-9).
    fn ignored(&mut self, section: &str, key: &str) {
        let mut known = self.unrecognized.iter_mut();
        match known.find(|known| known.section == section) {
            Some(known) => known.keys.push(key.to_owned()),
            None => self.unrecognized.push(Unrecognized {
                section: section.to_owned(),
                keys: vec![key.to_owned()],
            }),
        }
    }
}

/// CodeBuild's sentence for a key below `phases` that is no phase (SPEC-14).
fn no_phase(name: &str) -> String {
    format!("Invalid buildspec phase name: {name}. Expecting: build,install,post_build,pre_build")
}

fn has_key(entries: &[Entry], key: &str) -> bool {
    entries.iter().any(|entry| entry.key.value == key)
}

fn end_of(entry: &Entry) -> usize {
    entry.value.span.end().max(entry.key.span.end())
}

/// The places of items that are mappings of one name and one text each, no name twice.
fn single_pairs(items: &[Node]) -> Option<Vec<Span>> {
    let mut names = Vec::new();
    for item in items {
        let NodeKind::Mapping(entries) = &item.kind else {
            return None;
        };
        let [only] = entries.as_slice() else {
            return None;
        };
        scalar_text(&only.value)?;
        names.push(only.key.value.as_str());
    }
    names.sort_unstable();
    let unique = names.windows(2).all(|pair| pair[0] != pair[1]);
    unique.then(|| items.iter().map(|item| item.span).collect())
}

/// The place of the one text in a list.
fn only_text(list: &Node) -> Option<Span> {
    match &list.kind {
        NodeKind::Sequence(items) => match items.as_slice() {
            [only] if scalar_text(only).is_some() && !only.is_null() => Some(only.span),
            _ => None,
        },
        _ => None,
    }
}

fn empty_artifact(key: Span) -> Artifact {
    Artifact {
        key,
        files: None,
        name: None,
        base_directory: None,
        discard_paths: None,
        exclude_paths: Vec::new(),
        enable_symlinks: None,
        s3_prefix: None,
    }
}

fn scalar_text(node: &Node) -> Option<&str> {
    match &node.kind {
        NodeKind::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}
