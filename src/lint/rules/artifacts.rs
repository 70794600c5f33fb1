//! What is said of artifacts.

use std::collections::BTreeMap;

use super::Rule;
use crate::buildspec::ast::Artifact;
use crate::buildspec::text_map::TextMap;
use crate::diagnostic::{Code, Diagnostic, is_one_off};
use crate::lint::paths::{self, Globs};
use crate::lint::shell::Script;
use crate::lint::{Item, SourceTree, Subject};
use crate::source::{Span, Spanned};

pub(super) const RULES: &[Rule] = &[
    directory_without_glob,
    absolute_or_parent_path,
    base_directory_repeats,
    discard_paths_collision,
    exclude_everything,
    name_not_shell_safe,
    too_broad,
    nothing_can_match,
    non_ascii_name,
];

/// All artifacts: the primary one and the others.
pub(super) fn artifacts<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Artifact> {
    let artifacts = subject.buildspec.artifacts.iter();
    artifacts.flat_map(|artifacts| {
        let secondary = artifacts.secondary.iter().map(|(_, artifact)| artifact);
        std::iter::once(&artifacts.primary).chain(secondary)
    })
}

/// The entries of its `files`.
pub(super) fn files(artifact: &Artifact) -> impl Iterator<Item = &Spanned<String>> {
    artifact.files.iter().flatten()
}

/// Its base directory as written.
pub(super) fn base(artifact: &Artifact) -> Option<&str> {
    artifact
        .base_directory
        .as_ref()
        .map(|base| base.value.as_str())
}

/// Whether one of the commands has this in its text.
fn mentioned(subject: &Subject<'_>, text: &str) -> bool {
    subject.items.iter().any(|item| item.text().contains(text))
}

/// How sure it is that an entry names a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    Known,
    Likely,
}

/// An entry without a wildcard at its end selects a file, and a directory is none (ART-3).
fn directory_without_glob(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for artifact in artifacts(subject) {
        for file in files(artifact) {
            let Some(certainty) = names_directory(subject, artifact, &file.value) else {
                continue;
            };
            let all = format!("{}/**/*", file.value.trim_end_matches('/'));
            let message = match certainty {
                Certainty::Known => {
                    format!("`{}` is a directory, which selects no file", file.value)
                }
                Certainty::Likely => format!(
                    "`{}` looks like a directory, which would select no file",
                    file.value
                ),
            };
            let diagnostic = Diagnostic::new(Code::DirectoryWithoutGlob, file.span, message)
                .with_help(format!("`{all}` is every file below it"));
            let end = end_of_text(subject, file).filter(|_| certainty == Certainty::Known);
            diagnostics.push(match end {
                Some(end) => {
                    let added = all[file.value.len()..].to_owned();
                    diagnostic.with_fix(format!("select `{all}`"), [(end, added)])
                }
                None => diagnostic,
            });
        }
    }
}

/// Just behind the last character of a text, inside of its quotes.
fn end_of_text(subject: &Subject<'_>, text: &Spanned<String>) -> Option<Span> {
    let map = TextMap::new(subject.source, text.span, &text.value);
    let length = text.value.len();
    let last = map.span(length.checked_sub(1)?..length);
    map.is_exact().then(|| Span::at(last.end()))
}

fn names_directory(subject: &Subject<'_>, artifact: &Artifact, text: &str) -> Option<Certainty> {
    /// Names that tools give to directories, and nobody to a file.
    const DIRECTORIES: &[&str] = &[
        "dist",
        "build",
        "target",
        "node_modules",
        "coverage",
        "public",
    ];
    if text.ends_with('/') && text.len() > 1 {
        return Some(Certainty::Known);
    }
    let path = paths::below(base(artifact), text).filter(|path| !paths::has_wildcard(path))?;
    let tree = subject.tree;
    if tree.is_some_and(|tree| tree.is_directory(&path)) && !path.is_empty() {
        return Some(Certainty::Known);
    }
    let own = paths::plain(text)?;
    let inside = format!("{own}/");
    let has_files = |other: &Spanned<String>| {
        paths::plain(&other.value).is_some_and(|other| other.starts_with(&inside))
    };
    if !own.is_empty() && files(artifact).any(has_files) {
        return Some(Certainty::Known);
    }
    let name = own.rsplit('/').next().unwrap_or_default();
    let is_file = tree.is_some_and(|tree| tree.is_file(&path)) || is_written(subject, name);
    (DIRECTORIES.contains(&name) && !is_file).then_some(Certainty::Likely)
}

/// Whether some command writes a file of this name: `go build -o build`.
fn is_written(subject: &Subject<'_>, name: &str) -> bool {
    let commands = subject.scripts().flat_map(|(_, script)| &script.commands);
    commands
        .filter_map(|command| command.option_value(&["-o", "--output", "--out", "--outfile"]))
        .any(|path| path.rsplit('/').next() == Some(name))
}

/// Absolute paths and `..` lead out of the base directory; where such files are stored is not documented (ART-5).
fn absolute_or_parent_path(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for artifact in artifacts(subject) {
        // Only the name counts then.
        if artifact
            .discard_paths
            .as_ref()
            .is_some_and(|flag| flag.value)
        {
            continue;
        }
        for file in files(artifact) {
            let text = &file.value;
            let message = if text.starts_with('/') {
                format!("`{text}` is an absolute path")
            } else if text.split('/').any(|part| part == "..") {
                format!("`{text}` leads out of its directory")
            } else {
                continue;
            };
            let diagnostic = Diagnostic::new(Code::AbsoluteOrParentPath, file.span, message)
                .with_help("name the directory in `base-directory`, or copy the files into the source directory first");
            diagnostics.push(diagnostic);
        }
    }
}

/// `base-directory: dist` with `dist/**/*` looks for `dist/dist` (ART-2).
fn base_directory_repeats(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for artifact in artifacts(subject) {
        let Some(written) = &artifact.base_directory else {
            continue;
        };
        let Some(base) = paths::plain(&written.value).filter(|base| !base.is_empty()) else {
            continue;
        };
        let twice = format!("{base}/{base}");
        let is_there = subject.tree.is_some_and(|tree| tree.exists(&twice));
        if is_there || mentioned(subject, &twice) {
            continue;
        }
        for file in files(artifact) {
            // An absolute pattern stays what it is, wherever patterns begin (ART-5).
            let relative = !file.value.starts_with('/') && !written.value.starts_with('/');
            let inside = paths::plain(&file.value).filter(|_| relative);
            let Some(rest) = inside.as_deref().and_then(|file| {
                let rest = file.strip_prefix(base.as_str())?;
                rest.strip_prefix('/')
            }) else {
                continue;
            };
            let message = format!("this looks for `{twice}/{rest}`");
            let diagnostic = Diagnostic::new(Code::BaseDirectoryRepeats, file.span, message)
                .with_secondary(written.span, "patterns begin below this directory")
                .with_help(format!("write `{rest}`"));
            diagnostics.push(diagnostic);
        }
    }
}

/// What an artifact selects, as far as it can be told from the text and the tree.
struct Selected<'a> {
    patterns: Vec<(&'a Spanned<String>, String, Globs)>,
    excluded: Vec<Globs>,
}

impl<'a> Selected<'a> {
    fn new(artifact: &'a Artifact) -> Self {
        let base = base(artifact);
        let globs = |text: &str| {
            let path = paths::below(base, text)?;
            let globs = Globs::new(&path)?;
            Some((path, globs))
        };
        let patterns = files(artifact).filter_map(|file| {
            let (path, patterns) = globs(&file.value)?;
            Some((file, path, patterns))
        });
        let excluded = artifact.exclude_paths.iter();
        Self {
            patterns: patterns.collect(),
            excluded: excluded
                .filter_map(|path| Some(globs(&path.value)?.1))
                .collect(),
        }
    }

    /// Paths that are selected: those that are written out, and those of the tree that match.
    fn paths(&self, tree: Option<&SourceTree>) -> Vec<String> {
        let literal = self.patterns.iter().map(|(_, path, _)| path.clone());
        let mut found: Vec<String> = literal.filter(|path| !paths::has_wildcard(path)).collect();
        if found.len() < self.patterns.len() {
            let files = tree.map(SourceTree::files).unwrap_or_default();
            found.extend(
                files
                    .iter()
                    .filter(|path| {
                        let mut patterns = self.patterns.iter();
                        patterns.any(|(_, _, globs)| globs.selects(path))
                    })
                    .cloned(),
            );
        }
        found.retain(|path| !self.excluded.iter().any(|globs| globs.selects(path)));
        found
    }
}

/// With `discard-paths`, files of the same name meet (ART-6).
fn discard_paths_collision(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for artifact in artifacts(subject) {
        let Some(flag) = artifact.discard_paths.as_ref().filter(|flag| flag.value) else {
            continue;
        };
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for path in Selected::new(artifact).paths(subject.tree) {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let same = by_name.entry(name).or_default();
            if !same.contains(&path) {
                same.push(path);
            }
        }
        let mut collisions = by_name.iter().filter(|(_, paths)| paths.len() > 1);
        let Some((name, paths)) = collisions.next() else {
            continue;
        };
        let message = format!(
            "`{}` and `{}` would both be stored as `{name}`",
            paths[0], paths[1]
        );
        let mut diagnostic = Diagnostic::new(Code::DiscardPathsCollision, flag.span, message);
        let others = collisions.count();
        if others > 0 {
            diagnostic = diagnostic.labelled(format!("and {others} more like them"));
        }
        diagnostics.push(diagnostic);
    }
}

/// Something is left after `exclude-paths` (ART-3).
fn exclude_everything(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for artifact in artifacts(subject) {
        let excluded: Vec<(&Spanned<String>, Globs)> = artifact
            .exclude_paths
            .iter()
            .filter_map(|path| Some((path, Globs::new(&paths::plain(&path.value)?)?)))
            .collect();
        let by_which = |file: &Spanned<String>| {
            let file = paths::plain(&file.value)?;
            let which = excluded.iter().find(|(_, globs)| globs.covers(&file));
            which.map(|(path, _)| *path)
        };
        let covered: Option<Vec<&Spanned<String>>> = files(artifact).map(by_which).collect();
        if let Some(path) = covered.iter().flatten().next() {
            let message = format!("`{}` takes away all that `files` selects", path.value);
            diagnostics.push(Diagnostic::new(Code::ExcludeEverything, path.span, message));
        }
    }
}

/// The name is shell text, read as between double quotes (ART-8).
fn name_not_shell_safe(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if !subject.is_posix_shell() {
        return;
    }
    for name in artifacts(subject).filter_map(|artifact| artifact.name.as_ref()) {
        let Some(problem) = problem_of(subject, &name.value) else {
            continue;
        };
        let message = format!("the shell cannot make a name of `{}`", name.value);
        let diagnostic =
            Diagnostic::new(Code::NameNotShellSafe, name.span, message).labelled(problem);
        diagnostics.push(diagnostic);
    }
}

/// What a shell has against this text.
fn problem_of(subject: &Subject<'_>, text: &str) -> Option<String> {
    if let Some(at) = text.find("${") {
        let rest = &text[at + 2..];
        let name: String = rest
            .chars()
            .take_while(|next| next.is_ascii_alphanumeric() || *next == '_')
            .collect();
        if rest[name.len()..].starts_with(' ') {
            return Some(format!(
                "`${{{name} …}}` is no expansion; `$({name} …)` runs a command"
            ));
        }
    }
    let quoted = Script::parse(&format!(": \"{}\"", text.replace('"', "\\\"")));
    let inner = Script::parse(&format!(": \"{text}\""));
    // Double quotes stand for themselves, but not in a substitution: only what is wrong either way is wrong.
    if !quoted.errors.is_empty() && !inner.errors.is_empty() {
        return Some("a substitution is not closed, or cannot be read".to_owned());
    }
    (has_powershell(text) && is_surely_posix(subject, text)).then(|| {
        "`$Env:NAME` is PowerShell's; here `$Env` has no value, and `:NAME` is text".to_owned()
    })
}

fn has_powershell(text: &str) -> bool {
    text.to_ascii_lowercase().contains("$env:")
}

/// Whether no PowerShell reads the commands, as it does on Windows where `env.shell` does not say so.
fn is_surely_posix(subject: &Subject<'_>, name: &str) -> bool {
    let texts = || subject.items.iter().map(Item::text);
    let posix = |text: &str| {
        ["${", "export ", "$(date ", "fi\n"]
            .iter()
            .any(|mark| text.contains(mark))
    };
    let written = subject.shell().is_some() || posix(name) || texts().any(posix);
    written && !texts().any(has_powershell)
}

/// `**/*` over the source directory also takes what a package manager has put there.
fn too_broad(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for artifact in artifacts(subject) {
        let top = paths::plain(base(artifact).unwrap_or_default());
        if top.as_deref() != Some("") || !artifact.exclude_paths.is_empty() {
            continue;
        }
        let everything = |file: &&Spanned<String>| {
            matches!(paths::plain(&file.value).as_deref(), Some("**/*" | "**"))
        };
        let Some(file) = files(artifact).find(everything) else {
            continue;
        };
        if let Some((place, directory)) = brought(subject) {
            let message = format!("`{}` stores all of `{directory}` too", file.value);
            let diagnostic = Diagnostic::new(Code::TooBroad, file.span, message)
                .with_secondary(place, "filled here")
                .with_help("if it is not meant to be in the artifact, name it in `exclude-paths`");
            diagnostics.push(diagnostic);
        }
    }
}

/// A directory of dependencies that a command fills and none makes smaller.
fn brought(subject: &Subject<'_>) -> Option<(Span, &'static str)> {
    const SMALLER: &[&str] = &[
        "prune",
        "--production",
        "--omit=dev",
        "--only=production",
        "--prod",
    ];
    if SMALLER.iter().any(|word| mentioned(subject, word)) {
        return None;
    }
    for (item, script) in subject.scripts() {
        for command in &script.commands {
            let directory = match command.program() {
                Some("npm") if command.calls(&["npm", "ci"]) => "node_modules",
                Some("npm" | "yarn" | "pnpm") if installs_here(command) => "node_modules",
                Some("bower") if installs_here(command) => "bower_components",
                _ => continue,
            };
            let removed = script_removes(subject, directory);
            return (!removed).then(|| (item.span(&command.range), directory));
        }
    }
    None
}

fn installs_here(command: &crate::lint::shell::SimpleCommand) -> bool {
    let mut operands = command.operands().map(|word| word.text.as_str());
    let installs = matches!(operands.next(), Some("install" | "i"));
    let elsewhere = command.has_option(&["-g", "--global", "--prefix", "--cwd", "-C", "--dir"]);
    installs && operands.next().is_none() && !elsewhere
}

fn script_removes(subject: &Subject<'_>, directory: &str) -> bool {
    let mut commands = subject.scripts().flat_map(|(_, script)| &script.commands);
    commands.any(|command| {
        command.program() == Some("rm")
            && command
                .words
                .iter()
                .any(|word| word.text.contains(directory))
    })
}

/// A path that is not in the tree, beside one whose name differs by a slip of the hand (ART-9).
fn nothing_can_match(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(tree) = subject.tree else { return };
    for artifact in artifacts(subject) {
        let listed: Vec<String> = files(artifact)
            .filter_map(|file| paths::below(base(artifact), &file.value))
            .collect();
        for file in files(artifact) {
            let Some(path) = paths::below(base(artifact), &file.value) else {
                continue;
            };
            let Some((missing, there)) = misspelt(tree, &path) else {
                continue;
            };
            let name = missing.rsplit('/').next().unwrap_or_default();
            // Whoever writes the name in a command may make the file.
            let below = format!("{there}/");
            let is_listed = |path: &String| *path == there || path.starts_with(&below);
            if listed.iter().any(is_listed) || mentioned(subject, name) {
                continue;
            }
            let message = format!("there is no `{missing}` in the source");
            let diagnostic = Diagnostic::new(Code::NothingCanMatch, file.span, message)
                .with_help(format!("did you mean `{there}`?"));
            diagnostics.push(diagnostic);
        }
    }
}

/// The first part of a pattern that is not in the tree, and what is there instead.
fn misspelt(tree: &SourceTree, path: &str) -> Option<(String, String)> {
    if path.starts_with('/') {
        return None;
    }
    let mut directory = String::new();
    let mut rest = paths::segments(path).peekable();
    while let Some(name) = rest.next() {
        if paths::has_wildcard(name) || name == ".." {
            return None;
        }
        let here = format!("{directory}{name}");
        if !tree.exists(&here) {
            let is_file = rest.peek().is_none();
            let names = tree.names(if directory.is_empty() {
                "."
            } else {
                &directory
            });
            let there = names.iter().find(|other| {
                is_slip(name, other, is_file)
                    && tree.is_file(&format!("{directory}{other}")) == is_file
            })?;
            return Some((here, format!("{directory}{there}")));
        }
        directory = format!("{here}/");
    }
    None
}

/// Whether one name is the other with a slip. A letter more or less at the end is none: a build makes `reports` beside
/// `report`.
fn is_slip(written: &str, other: &str, is_file: bool) -> bool {
    // A directory may have very many names, so that nothing is made of them that is thrown away.
    if folded(written).eq(folded(other)) {
        return true;
    }
    if !is_file {
        return false;
    }
    let (Some((stem, kind)), Some((other_stem, other_kind))) =
        (written.rsplit_once('.'), other.rsplit_once('.'))
    else {
        return false;
    };
    let yaml = |kind: &str| matches!(kind, "yml" | "yaml");
    let plural = |a: &str, b: &str| a.strip_suffix('s') == Some(b);
    (stem == other_stem && yaml(kind) && yaml(other_kind))
        || (kind == other_kind
            && stem.len() > 5
            && is_one_off(stem, other_stem)
            && !plural(stem, other_stem)
            && !plural(other_stem, stem)
            && !has_digit(stem))
}

/// The letters of a name where case and hyphens do not matter.
fn folded(name: &str) -> impl Iterator<Item = char> {
    let letters = name.chars().flat_map(char::to_lowercase);
    letters.map(|letter| if letter == '-' { '_' } else { letter })
}

/// Names with numbers in them differ by a number and are different files.
fn has_digit(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_digit())
}

/// Names beyond ASCII need a UTF-8 locale, which not every image has.
fn non_ascii_name(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let utf8 = |name: &str| mentioned(subject, name);
    let variables = &subject.buildspec.env.variables;
    let locale = variables
        .iter()
        .any(|variable| matches!(variable.name.value.as_str(), "LC_ALL" | "LANG" | "LC_CTYPE"));
    if locale || utf8("LC_ALL=") || utf8("LANG=") {
        return;
    }
    for artifact in artifacts(subject) {
        let texts = files(artifact)
            .chain(&artifact.name)
            .chain(&artifact.base_directory);
        for text in texts.filter(|text| !text.value.is_ascii()) {
            let message = format!("`{}` has characters beyond ASCII", text.value);
            let diagnostic = Diagnostic::new(Code::NonAsciiName, text.span, message)
                .with_help("an `LC_ALL: C.UTF-8` in `env.variables` lets every tool read them");
            diagnostics.push(diagnostic);
        }
    }
}
