//! What is said of files that a build makes for the deploy stage.

use std::collections::BTreeMap;
use std::path::Path;

use super::Rule;
use crate::artifact::glob;
use crate::buildspec::ast::{Artifact, Buildspec};
use crate::diagnostic::{Code, Diagnostic};
use crate::lint::literals::{Literals, Place, is_literal};
use crate::lint::shell::Piece;
use crate::lint::written::{self, Written};
use crate::lint::{FileKind, Subject, deploy};
use crate::source::{SourceText, Span, Spanned};

pub(super) const RULES: &[Rule] = &[
    written_files,
    not_an_artifact,
    for_blue_green,
    one_of_two,
    placeholder_unused,
];

/// Largest task definition that is looked at in the tree; ECS takes 64 KB.
const MAX_TASK_DEFINITION: usize = 1024 * 1024;

fn is_image_file(name: &str) -> Option<FileKind> {
    let kind = FileKind::of(Path::new(name));
    [FileKind::ImageDefinitions, FileKind::ImageDetail]
        .contains(&kind)
        .then_some(kind)
}

/// Most buildspecs have nothing to do with these files, and are not looked at twice.
fn mentions_images(subject: &Subject<'_>) -> bool {
    let text = subject.source.text();
    text.contains("imagedefinitions.json") || text.contains("imageDetail.json")
}

/// The text of a file, put together from one write or more.
struct Content {
    text: String,
    /// Where the first value stands that is not known, and is not inside of quotes; nothing behind it can be told.
    known_up_to: usize,
}

impl Content {
    /// The text with `x` in place of what only the build knows.
    fn of<'w>(writes: &[&'w Written<'w>], literals: &Literals) -> Option<Self> {
        let mut content = Self {
            text: String::new(),
            known_up_to: usize::MAX,
        };
        for write in writes {
            let place = (write.index, write.range.start);
            for piece in write.text.as_ref()? {
                content.push(piece, place, literals);
            }
            content.text.push('\n');
        }
        Some(content)
    }

    fn push(&mut self, piece: &Piece, place: Place, literals: &Literals) {
        match piece {
            Piece::Text(text) => self.text.push_str(text),
            Piece::Expansion(written) => {
                let resolved = literals.resolve(place, written);
                if is_literal(&resolved) {
                    self.text.push_str(&resolved);
                    return;
                }
                if !ends_inside_text(&self.text) {
                    self.known_up_to = self.known_up_to.min(self.text.len());
                }
                self.text.push('x');
            }
        }
    }

    /// What the deploy action would say, as far as it does not depend on what is not known.
    fn problems(&self, name: &str, kind: FileKind) -> Vec<Diagnostic> {
        let source = SourceText::new(name, self.text.as_str());
        let found = deploy::check(&source, kind).into_iter();
        let certain = |found: &Diagnostic| {
            let is_syntax = found.message.starts_with("it is not JSON");
            self.known_up_to == usize::MAX
                || (is_syntax && found.primary.span.start() < self.known_up_to)
        };
        found.filter(certain).collect()
    }

    /// The images that are named, as far as they are written out.
    fn images(&self) -> Vec<String> {
        let value = serde_json::from_str::<serde_json::Value>(&self.text).unwrap_or_default();
        let entries = match &value {
            serde_json::Value::Array(entries) => entries.as_slice(),
            other => std::slice::from_ref(other),
        };
        let images = entries.iter().filter_map(|entry| {
            let image = entry.get("imageUri").or_else(|| entry.get("ImageURI"))?;
            image.as_str().map(str::to_owned)
        });
        images.collect()
    }
}

/// Whether a text of JSON ends inside of quotes.
fn ends_inside_text(json: &str) -> bool {
    let mut inside = false;
    let mut characters = json.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if inside => _ = characters.next(),
            '"' => inside = !inside,
            _ => {}
        }
    }
    inside
}

/// Writes of one file: each `>` begins it anew, and what `>>` adds belongs to it.
fn texts<'w>(writes: &[&'w Written<'w>]) -> Vec<Vec<&'w Written<'w>>> {
    if !writes.iter().any(|write| write.appends) {
        return writes.iter().map(|write| vec![*write]).collect();
    }
    // What is added in a branch or a loop is there once, often or never.
    if !writes.iter().all(|write| write.once) {
        return Vec::new();
    }
    let mut texts: Vec<Vec<&Written<'_>>> = Vec::new();
    for write in writes {
        match texts.last_mut() {
            Some(text) if write.appends => text.push(write),
            _ => texts.push(vec![write]),
        }
    }
    texts
}

/// The files for the deploy stage that commands write, checked by the rules that the files themselves are checked by.
fn written_files(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if !mentions_images(subject) {
        return;
    }
    let literals = subject.literals();
    let files = written::files(subject, literals);
    let mut by_path: BTreeMap<&str, Vec<&Written<'_>>> = BTreeMap::new();
    for file in &files {
        by_path.entry(&file.path).or_default().push(file);
    }
    for writes in by_path.values() {
        let name = writes[0].name();
        let Some(kind) = is_image_file(name) else {
            continue;
        };
        for text in texts(writes) {
            let Some(content) = Content::of(&text, literals) else {
                continue;
            };
            check_text(&text, &content, name, kind, diagnostics);
        }
    }
}

fn check_text(
    writes: &[&Written<'_>],
    content: &Content,
    name: &str,
    kind: FileKind,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let code = match kind {
        FileKind::ImageDetail => Code::ImagedetailShape,
        _ => Code::ImagedefinitionsShape,
    };
    let write = writes[0];
    let span = write.item.span(&write.range);
    for problem in content.problems(name, kind) {
        let message = format!("`{name}` would be wrong: {}", problem.message);
        let mut diagnostic = Diagnostic::new(code, span, message);
        diagnostic.help = if quotes_are_lost(write, content) {
            Some("outside of single quotes the shell takes the `\"` away: `printf '…\"%s\"…' \"$IMAGE\"` keeps them".to_owned())
        } else {
            problem.help
        };
        let is_object = problem.fix.is_some() && kind == FileKind::ImageDefinitions;
        if let (true, [_], Some(edits)) = (is_object, writes, brackets(write)) {
            diagnostic = diagnostic.with_fix("put the object into an array", edits);
        }
        diagnostics.push(diagnostic);
    }
    for image in content.images() {
        if image.ends_with(":latest") && content.known_up_to == usize::MAX {
            let message = format!("`{name}` deploys an image by the tag `latest`, which moves");
            let diagnostic = Diagnostic::new(Code::MutableTagInDeploy, span, message)
                .with_help("name the tag of this build, such as the commit, or the digest");
            diagnostics.push(diagnostic);
            break;
        }
    }
}

/// Whether the text was written with quotes, and the shell has taken all of them.
fn quotes_are_lost(write: &Written<'_>, content: &Content) -> bool {
    write.item.text()[write.range.clone()].contains('"') && !content.text.contains('"')
}

/// Where the brackets go that make an array of an object, if the object is one quoted word.
fn brackets(write: &Written<'_>) -> Option<[(Span, String); 2]> {
    let range = write.word.clone()?;
    let written = &write.item.text()[range.clone()];
    let quote = written
        .chars()
        .next()
        .filter(|quote| ['\'', '"'].contains(quote))?;
    let inner = written[1..].strip_suffix(quote)?;
    if !inner.starts_with('{') || inner.contains(quote) && quote == '\'' {
        return None;
    }
    let (open, close) = (range.start + 1, range.start + written.rfind('}')?);
    let first = write.item.span(&(open..open + 1));
    let last = write.item.span(&(close..close + 1));
    let exact = first.len() == 1 && last.len() == 1;
    exact.then(|| {
        [
            (Span::at(first.start()), "[".to_owned()),
            (Span::at(last.end()), "]".to_owned()),
        ]
    })
}

/// All artifacts of a buildspec.
fn artifacts(buildspec: &Buildspec) -> impl Iterator<Item = &Artifact> {
    let artifacts = buildspec.artifacts.iter();
    artifacts.flat_map(|artifacts| {
        let secondary = artifacts.secondary.iter().map(|(_, artifact)| artifact);
        std::iter::once(&artifacts.primary).chain(secondary)
    })
}

/// All patterns of all artifacts.
fn patterns(buildspec: &Buildspec) -> impl Iterator<Item = &Spanned<String>> {
    artifacts(buildspec).flat_map(|artifact| artifact.files.iter().flatten())
}

/// Whether a pattern may stand for a file of this name, in whatever directory.
fn may_match(pattern: &str, name: &str) -> bool {
    let last = pattern.rsplit('/').next().unwrap_or_default();
    if last.is_empty() || !is_literal(last) {
        return true;
    }
    glob::parse(last.as_bytes()).is_ok_and(|forms| {
        let mut forms = forms.iter();
        forms.any(|form| form.accepts(form.start(), name.as_bytes()))
    })
}

/// A file that is made for the deploy stage, and stays in the build.
fn not_an_artifact(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if !mentions_images(subject) {
        return;
    }
    let literals = subject.literals();
    let files = written::files(subject, literals);
    let mut said: Vec<&str> = Vec::new();
    for file in &files {
        let name = file.name();
        if is_image_file(name).is_none() || !is_literal(name) || said.contains(&name) {
            continue;
        }
        said.push(name);
        let stored = patterns(subject.buildspec).any(|pattern| may_match(&pattern.value, name));
        if stored || is_used(subject, name) {
            continue;
        }
        let span = file.item.span(&file.range);
        let message = format!("`{name}` is written, and no artifact has it");
        let mut diagnostic = Diagnostic::new(Code::ImagedefinitionsNotArtifact, span, message)
            .with_help(format!("add `{name}` to `artifacts.files`"));
        if let Some(artifacts) = &subject.buildspec.artifacts {
            let place = artifacts.primary.key;
            diagnostic = diagnostic.with_secondary(place, "it is not among these");
        }
        diagnostics.push(diagnostic);
    }
}

/// Whether a command takes the file somewhere: it is named by one that does more than show it.
fn is_used(subject: &Subject<'_>, name: &str) -> bool {
    const SHOW: &[&str] = &[
        "cat", "echo", "printf", "ls", "tee", "jq", "head", "chmod", "touch", "rm", "test", "[",
    ];
    subject.scripts().any(|(_, script)| {
        script.commands.iter().any(|command| {
            let shows = command
                .program()
                .is_some_and(|program| SHOW.contains(&program));
            !shows
                && command
                    .words
                    .iter()
                    .skip(1)
                    .any(|word| word.text.contains(name))
        })
    })
}

/// The file names of patterns that are written out, with their places; `None` if a wildcard leaves it open.
fn named(buildspec: &Buildspec) -> Option<Vec<(&str, Span)>> {
    let names = patterns(buildspec).map(|pattern| {
        let name = pattern.value.rsplit('/').next().unwrap_or_default();
        let open = name.is_empty() || name.contains(['*', '?', '[', '$']);
        (!open).then_some((name, pattern.span))
    });
    names.collect()
}

fn find<'n>(names: &[(&'n str, Span)], wanted: impl Fn(&str) -> bool) -> Option<(&'n str, Span)> {
    names.iter().copied().find(|(name, _)| wanted(name))
}

fn is_appspec(name: &str) -> bool {
    name.contains("appspec")
}

fn is_task_definition(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_'], "");
    name.contains("taskdef") || name.contains("taskdefinition")
}

/// The files of a blue/green deployment, with the image in the file of the other kind.
fn for_blue_green(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(names) = named(subject.buildspec) else {
        return;
    };
    let definitions = find(&names, |name| name == "imagedefinitions.json");
    let appspec = find(&names, is_appspec);
    let task = find(&names, is_task_definition);
    let detail = find(&names, |name| name == "imageDetail.json");
    if let (Some((name, span)), Some(_), Some((task, place)), None) =
        (definitions, appspec, task, detail)
    {
        let message = format!("a blue/green deployment does not read `{name}`");
        let diagnostic = Diagnostic::new(Code::ImagedefinitionsForBlueGreen, span, message)
            .with_secondary(place, format!("`{task}` is for one"))
            .with_help("it reads `imageDetail.json`: `{\"ImageURI\":\"<image>\"}`");
        diagnostics.push(diagnostic);
    }
}

/// A blue/green deployment needs both templates.
fn one_of_two(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(names) = named(subject.buildspec) else {
        return;
    };
    let Some((detail, _)) = find(&names, |name| name == "imageDetail.json") else {
        return;
    };
    let (present, absent) = match (find(&names, is_appspec), find(&names, is_task_definition)) {
        (Some(present), None) => (present, "the task definition"),
        (None, Some(present)) => (present, "the AppSpec"),
        _ => return,
    };
    let message = format!("`{}` and `{detail}` are stored without {absent}", present.0);
    let diagnostic = Diagnostic::new(Code::AppspecOrTaskdefMissing, present.1, message)
        .with_help("unless it comes from another artifact of the pipeline, add it");
    diagnostics.push(diagnostic);
}

/// An image that the pipeline is given, and a task definition with no place for it.
fn placeholder_unused(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(tree) = subject.tree else {
        return;
    };
    let mut files = patterns(subject.buildspec);
    let detail = files.any(|pattern| pattern.value == "imageDetail.json");
    let task = patterns(subject.buildspec).find(|pattern| pattern.value.ends_with("taskdef.json"));
    let Some(task) = task.filter(|_| detail) else {
        return;
    };
    let name = task.value.rsplit('/').next().unwrap_or_default();
    let made = subject
        .scripts()
        .any(|(item, _)| item.text().contains(name));
    let bytes = tree.head(&task.value, MAX_TASK_DEFINITION);
    let Ok(source) = SourceText::from_bytes(task.value.as_str(), bytes) else {
        return;
    };
    if !made && deploy::has_placeholder(&source) == Some(false) {
        let message = format!(
            "no image in `{}` is a placeholder, so the new image is not used",
            task.value
        );
        let diagnostic = Diagnostic::new(Code::PlaceholderUnused, task.span, message)
            .with_help("write `\"image\": \"<IMAGE1_NAME>\"` there, and give the deploy action that name as `Image1ContainerName`");
        diagnostics.push(diagnostic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::{Profile, Settings, check};

    #[test]
    fn patterns_may_stand_for_a_name_in_any_directory() {
        for (pattern, expected) in [
            ("imagedefinitions.json", true),
            ("out/imagedefinitions.json", true),
            ("**/*", true),
            ("image*.json", true),
            ("$FILES", true),
            ("out/", true),
            ("appspec.yml", false),
            ("*.yml", false),
        ] {
            assert_eq!(
                may_match(pattern, "imagedefinitions.json"),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn an_object_becomes_an_array_where_it_is_one_quoted_word() {
        for (command, expected) in [
            (
                "printf '{\"name\":\"a\",\"imageUri\":\"%s\"}\\n' $I > imagedefinitions.json",
                "printf '[{\"name\":\"a\",\"imageUri\":\"%s\"}]\\n' $I > imagedefinitions.json",
            ),
            (
                "echo \"{\\\"name\\\":\\\"a\\\",\\\"imageUri\\\":\\\"${I}\\\"}\" > imagedefinitions.json",
                "echo \"[{\\\"name\\\":\\\"a\\\",\\\"imageUri\\\":\\\"${I}\\\"}]\" > imagedefinitions.json",
            ),
        ] {
            let text = format!(
                "version: 0.2\nphases:\n  build:\n    commands:\n      - |\n        {command}\n"
            );
            let source = SourceText::new("x", text.as_str());
            let settings = Settings {
                profile: Profile::Codebuild,
                tree: None,
                shellcheck: None,
                directives: false,
            };
            let found = check(&source, FileKind::Buildspec, &settings);
            let fix = found
                .into_iter()
                .find_map(|found| found.fix)
                .expect("it has a fix");
            let mut fixed = text.clone();
            for edit in fix.edits.iter().rev() {
                fixed.replace_range(edit.span.start()..edit.span.end(), &edit.text);
            }
            assert_eq!(fixed, text.replace(command, expected));
        }
    }

    #[test]
    fn quotes_of_json_are_followed() {
        assert!(ends_inside_text("{\"a\": \"\\\""));
        assert!(!ends_inside_text("{\"a\": "));
    }
}
