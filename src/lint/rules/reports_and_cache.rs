//! What is said of reports and the cache.

use super::Rule;
use super::artifacts::{artifacts, base, files};
use crate::buildspec::ast::Report;
use crate::diagnostic::{Code, Diagnostic, nearest};
use crate::lint::Subject;
use crate::lint::paths::{self, Globs};
use crate::source::{Span, Spanned};

pub(super) const RULES: &[Rule] = &[
    report_format_unknown,
    report_format_extension,
    too_many_report_groups,
    report_group_arn,
    report_and_artifact_same_dir,
    cache_too_broad,
    cache_key_constant,
    cache_contains_secrets,
    cache_and_artifact_overlap,
];

/// Formats of reports and the extension their files have.
const FORMATS: &[(&str, &str)] = &[
    ("JUNITXML", "xml"),
    ("NUNITXML", "xml"),
    ("NUNIT3XML", "xml"),
    ("TESTNGXML", "xml"),
    ("CUCUMBERJSON", "json"),
    ("VISUALSTUDIOTRX", "trx"),
    ("COBERTURAXML", "xml"),
    ("CLOVERXML", "xml"),
    ("JACOCOXML", "xml"),
    ("SIMPLECOV", "json"),
];

/// `file-format` is one of CodeBuild's, in any casing.
fn report_format_unknown(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let formats = subject.buildspec.reports.iter();
    for format in formats.filter_map(|report| report.file_format.as_ref()) {
        let written = format.value.to_ascii_uppercase();
        let names = || FORMATS.iter().map(|(name, _)| *name);
        if names().any(|name| name == written) {
            continue;
        }
        let message = format!("CodeBuild knows no format `{}`", format.value);
        let mut diagnostic = Diagnostic::new(Code::ReportFormatUnknown, format.span, message);
        let bare = written.replace(['-', '_', ' '], "");
        let begun = names().find(|name| bare.len() > 3 && name.starts_with(&bare));
        diagnostic.help = begun
            .or_else(|| nearest(&bare, names()))
            .map(|name| format!("did you mean `{name}`?"));
        if diagnostic.help.is_none() {
            let all: Vec<&str> = names().collect();
            diagnostic = diagnostic.labelled(format!("expected one of {}", all.join(", ")));
        }
        diagnostics.push(diagnostic);
    }
}

/// Files have the extension of their format.
fn report_format_extension(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    /// Extensions that say what is in a file. An `.xml` may hold a TRX report, which is XML too.
    const TELLING: &[&str] = &["xml", "json", "trx", "html", "htm", "txt", "csv", "info"];
    for report in &subject.buildspec.reports {
        let written = report.file_format.as_ref();
        let name = written.map_or("JUNITXML", |format| format.value.as_str());
        let format = FORMATS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((format, extension)) = format else {
            continue;
        };
        for file in report.files.iter().flatten() {
            let Some((_, kind)) = file.value.rsplit_once('.') else {
                continue;
            };
            let may_be = kind == *extension || (*extension == "trx" && kind == "xml");
            if may_be || !TELLING.contains(&kind) {
                continue;
            }
            let message = format!("`{}` is no {format} report by its name", file.value);
            let diagnostic = Diagnostic::new(Code::ReportFormatExtension, file.span, message);
            diagnostics.push(match written {
                Some(written) => diagnostic
                    .with_secondary(written.span, format!("its files end in `.{extension}`")),
                None => diagnostic.with_help("without `file-format` a report is in JUNITXML"),
            });
        }
    }
}

/// A project has five groups at most.
fn too_many_report_groups(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if let Some(sixth) = subject.buildspec.reports.get(5) {
        let diagnostic = Diagnostic::new(
            Code::TooManyReportGroups,
            sixth.group.span,
            "a sixth report group",
        )
        .labelled("a project has five at most");
        diagnostics.push(diagnostic);
    }
}

/// A group that begins like an ARN is one.
fn report_group_arn(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for report in &subject.buildspec.reports {
        let group = &report.group;
        if let Some(problem) = problem_of_arn(&group.value) {
            let message = format!("`{}` is not the ARN of a report group", group.value);
            let diagnostic = Diagnostic::new(Code::ReportGroupArn, group.span, message)
                .labelled(problem)
                .with_help("an ARN is `arn:aws:codebuild:REGION:ACCOUNT:report-group/NAME`");
            diagnostics.push(diagnostic);
        }
    }
}

fn problem_of_arn(text: &str) -> Option<String> {
    let rest = text.strip_prefix("arn:").filter(|_| !text.contains('$'))?;
    let parts: Vec<&str> = rest.splitn(5, ':').collect();
    let [_, service, region, account, resource] = parts[..] else {
        return Some(format!("{} of six parts", parts.len() + 1));
    };
    let is_number = account.bytes().all(|byte| byte.is_ascii_digit());
    if service != "codebuild" {
        Some(format!("the service is `{service}`"))
    } else if region.is_empty() {
        Some("there is no region".to_owned())
    } else if account.is_empty() || (is_number && account.len() != 12) {
        Some("an account has twelve digits".to_owned())
    } else if !resource.strip_prefix("report-group/").is_some_and(is_name) {
        Some(format!("the resource is `{resource}`"))
    } else {
        None
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains([':', '/'])
}

/// Patterns of artifacts that name a directory; `**/*` over everything is left out: it says nothing about this one.
fn kept(subject: &Subject<'_>) -> Vec<(String, Globs, Span)> {
    let all = artifacts(subject).flat_map(|artifact| {
        files(artifact).filter_map(|file| {
            let path = paths::below(base(artifact), &file.value)?;
            let globs = Globs::new(&path)?;
            Some((path, globs, file.span))
        })
    });
    all.filter(|(path, _, _)| is_specific(path)).collect()
}

fn is_specific(path: &str) -> bool {
    let first = paths::segments(path).next();
    first.is_some_and(|first| !paths::has_wildcard(first))
}

/// Reports are uploaded without being artifacts.
fn report_and_artifact_same_dir(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let kept = kept(subject);
    for report in &subject.buildspec.reports {
        let patterns = report.files.iter().flatten();
        let found = patterns.filter_map(|file| {
            let path = pattern_of(report, file)?;
            let (_, _, span) = kept.iter().find(|(_, globs, _)| globs.covers(&path))?;
            Some((file, span))
        });
        if let Some((file, span)) = found.take(1).next() {
            let message = "these reports are in the artifact as well";
            let diagnostic = Diagnostic::new(Code::ReportAndArtifactSameDir, file.span, message)
                .with_secondary(*span, "selected here");
            diagnostics.push(diagnostic);
        }
    }
}

fn pattern_of(report: &Report, file: &Spanned<String>) -> Option<String> {
    let base = report.base_directory.as_ref();
    paths::below(base.map(|base| base.value.as_str()), &file.value)
}

fn cache_paths<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Spanned<String>> {
    let cache = subject.buildspec.cache.iter();
    cache.flat_map(|cache| cache.paths.iter().flatten())
}

/// A cached directory with its variables taken for what they are: names of places.
fn cached(text: &str) -> String {
    let plain = paths::plain(text);
    plain.unwrap_or_else(|| text.trim_end_matches('/').to_owned())
}

/// A cache holds what one tool keeps, not a home or the system.
fn cache_too_broad(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    const BROAD: &[(&str, &str)] = &[
        ("", "the whole source"),
        ("/", "the whole system"),
        ("/root", "a whole home directory"),
        ("/home", "all home directories"),
        ("~", "a whole home directory"),
        ("$HOME", "a whole home directory"),
        ("${HOME}", "a whole home directory"),
        ("/usr", "a whole system directory"),
        ("/usr/local", "a whole system directory"),
        ("/var", "a whole system directory"),
        ("/etc", "a whole system directory"),
        ("/opt", "a whole system directory"),
        ("/tmp", "all temporary files"),
        ("/codebuild", "all of the build's own files"),
    ];
    for path in cache_paths(subject) {
        let text = cached(&path.value);
        let directory = ["/**/*", "/**", "**/*", "**"]
            .iter()
            .find_map(|all| text.strip_suffix(all))
            .unwrap_or(&text);
        let directory = if directory.is_empty() && text.starts_with('/') {
            "/"
        } else {
            directory
        };
        let Some((_, what)) = BROAD.iter().find(|(broad, _)| *broad == directory) else {
            continue;
        };
        let message = format!("`{}` caches {what}", path.value);
        let diagnostic = Diagnostic::new(Code::CacheTooBroad, path.span, message)
            .with_help("name the directory that the tool keeps its downloads in");
        diagnostics.push(diagnostic);
    }
}

/// A key has something in it that changes.
fn cache_key_constant(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let cache = subject.buildspec.cache.as_ref();
    let Some(key) = cache.and_then(|cache| cache.key.as_ref()) else {
        return;
    };
    if !key.value.contains(['$', '`']) {
        let message = format!("the key is always `{}`", key.value);
        let diagnostic = Diagnostic::new(Code::CacheKeyConstant, key.span, message)
            .labelled("what is cached first is never written again")
            .with_help("let it follow a lock file: `NAME-$(codebuild-hash-files LOCKFILE)`");
        diagnostics.push(diagnostic);
    }
}

/// Credentials do not belong into a cache.
fn cache_contains_secrets(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    const DIRECTORIES: &[&str] = &[".aws", ".ssh", ".gnupg"];
    const FILES: &[&str] = &[
        ".npmrc",
        ".netrc",
        ".pypirc",
        ".git-credentials",
        ".dockercfg",
    ];
    for path in cache_paths(subject) {
        let parts: Vec<&str> = paths::segments(&path.value).collect();
        let last = parts.last().copied().unwrap_or_default();
        let after_docker = parts
            .iter()
            .position(|part| *part == ".docker")
            .map(|at| &parts[at + 1..]);
        let docker = after_docker
            .is_some_and(|rest| matches!(rest.first(), None | Some(&("config.json" | "*" | "**"))));
        let holds =
            docker || parts.iter().any(|part| DIRECTORIES.contains(part)) || FILES.contains(&last);
        if holds {
            let message = format!("credentials are kept in `{}`", path.value);
            let diagnostic = Diagnostic::new(Code::CacheContainsSecrets, path.span, message)
                .with_help("fetch them in every build");
            diagnostics.push(diagnostic);
        }
    }
}

/// What is cached comes back, and what is an artifact is kept: hardly ever are both meant.
fn cache_and_artifact_overlap(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let kept = kept(subject);
    for path in cache_paths(subject) {
        let text = cached(&path.value);
        let globs = Globs::new(&text).filter(|_| is_specific(&text));
        let same = kept.iter().find(|(artifact, covers, _)| {
            let inside = globs.as_ref().is_some_and(|globs| globs.covers(artifact));
            inside || (is_specific(&text) && covers.covers(&text))
        });
        if let Some((_, _, span)) = same {
            let message = format!("`{}` is cached and an artifact", path.value);
            let diagnostic = Diagnostic::new(Code::CacheAndArtifactOverlap, path.span, message)
                .with_secondary(*span, "stored as an artifact here");
            diagnostics.push(diagnostic);
        }
    }
}
