//! `runner validate`: what is wrong with buildspecs and the files of the deploy stage.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::args::{ShellcheckArg, ValidateArgs};
use super::config::Configuration;
use super::{complain, fix, mistake, print, shellcheck, terminal, usage};
use crate::build::ExitCode;
use crate::diagnostic::{self, Code, Diagnostic, Severity, format, nearest};
use crate::lint::{FileKind, Settings, Shellcheck, SourceTrees, deploy};
use crate::source::{MAX_BYTES, SourceText, Span};

/// The page of findings, for `--explain`.
const PAGE: &str = include_str!("../../spec/diagnostics.md");

/// A file and what was found in it.
#[derive(Debug)]
pub(super) struct Checked {
    /// The text, with what could not be read replaced.
    pub(super) source: SourceText,
    /// What was found, sorted by place.
    pub(super) findings: Vec<Diagnostic>,
    /// What it was taken for.
    pub(super) kind: FileKind,
    /// How many findings were fixed, or could be.
    fixed: usize,
    /// What fixes would change.
    diff: String,
}

/// A file that could not be read, and why.
type Unreadable = String;

/// Checks files and prints what was found.
pub(super) fn validate(args: &ValidateArgs) -> ExitCode {
    if args.list_rules {
        return print(list_rules().as_bytes());
    }
    if let Some(name) = &args.explain {
        return explain(name);
    }
    if args.fix && args.paths.iter().any(|path| path == Path::new("-")) {
        return usage(&mistake(
            "`--fix` changes files; for standard input there is `--diff`",
        ));
    }
    let config = match Configuration::load(args) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let shellcheck = match shellcheck::find(args.shellcheck) {
        Ok(program) => program,
        Err(code) => return code,
    };
    let (files, mut unreadable) = find(&args.paths, &config);
    let mut results = check_all(&files, args, &config, shellcheck.as_deref());
    fit_together(&mut results, &config);
    let mut checked = Vec::new();
    for result in results {
        match result {
            Ok(file) => checked.push(file),
            Err(why) => unreadable.push(why),
        }
    }
    let gate = config.gate;
    let printed = print(show(&checked, args, gate).as_bytes());
    if printed != ExitCode::Succeeded {
        return printed;
    }
    let counts = count(&checked);
    summarize(args, &checked, &counts, files.len());
    for why in &unreadable {
        complain(why);
    }
    if unreadable.is_empty() {
        exit_code(gate, &counts)
    } else {
        ExitCode::Fault
    }
}

fn show(checked: &[Checked], args: &ValidateArgs, gate: Option<Severity>) -> String {
    if args.diff {
        return checked.iter().map(|file| file.diff.as_str()).collect();
    }
    let files: Vec<format::File<'_>> = checked
        .iter()
        .map(|file| format::File {
            source: &file.source,
            findings: &file.findings,
        })
        .collect();
    let look = format::Look {
        format: terminal::finding_format(args.format),
        colour: terminal::output_colour(args.color),
        gate,
    };
    format::show(&files, look)
}

/// How many errors, warnings and notes there are.
fn count(checked: &[Checked]) -> [usize; 3] {
    let mut counts = [0; 3];
    for finding in checked.iter().flat_map(|file| &file.findings) {
        counts[finding.severity as usize] += 1;
    }
    counts
}

fn exit_code(gate: Option<Severity>, counts: &[usize; 3]) -> ExitCode {
    let at_gate = gate.map_or(0, |gate| counts[..=gate as usize].iter().sum());
    match at_gate {
        0_usize => ExitCode::Succeeded,
        _ => ExitCode::Findings,
    }
}

/// Says how much was found, or is left where something was fixed, and how much was or would be fixed.
fn summarize(args: &ValidateArgs, checked: &[Checked], counts: &[usize; 3], files: usize) {
    let fixed: Vec<usize> = checked.iter().map(|file| file.fixed).collect();
    let found = summary(counts, files);
    match (fix::summary(args, &fixed), found) {
        // What would be fixed is among what was found, so that comes first.
        (Some(would), Some(found)) if args.diff => complain(&format!("{found}{would}")),
        (Some(fixed), Some(left)) => complain(&format!("{fixed}left: {left}")),
        (Some(one), None) | (None, Some(one)) => complain(&one),
        (None, None) => {}
    }
}

/// How much was found, unless it was nothing.
fn summary(counts: &[usize; 3], files: usize) -> Option<String> {
    let names = ["error", "warning", "note"];
    let counted: Vec<String> = counts
        .iter()
        .zip(names)
        .filter(|(count, _)| **count > 0)
        .map(|(count, name)| plural(*count, name))
        .collect();
    (!counted.is_empty()).then(|| format!("{} in {}\n", counted.join(", "), plural(files, "file")))
}

pub(super) fn plural(count: usize, name: &str) -> String {
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// The files to check, in the order of the arguments, and what is no file. A file that several arguments lead to is
/// checked once, under the first of its names.
fn find(paths: &[PathBuf], config: &Configuration) -> (Vec<PathBuf>, Vec<Unreadable>) {
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        if path.is_dir() {
            files.extend(find_below(path, config, &mut unreadable));
        } else {
            files.push(path.clone());
        }
    }
    // One path leads to a file twice only where links do; there both names are shown.
    if paths.len() > 1 {
        let mut known = HashSet::new();
        // What is no file, or cannot be reached, goes by its name.
        let place = |file: &PathBuf| fs::canonicalize(file).unwrap_or_else(|_| file.clone());
        files.retain(|file| known.insert(place(file)));
    }
    (files, unreadable)
}

/// The files to check below a folder, in the order of their names.
fn find_below(
    folder: &Path,
    config: &Configuration,
    unreadable: &mut Vec<Unreadable>,
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in ignore::WalkBuilder::new(folder).hidden(false).build() {
        match entry {
            Ok(entry)
                if is_looked_for(entry.path())
                    && !entry.path().is_dir()
                    && !config.excludes(entry.path()) =>
            {
                found.push(entry.into_path());
            }
            Ok(_) => {}
            Err(error) => unreadable.push(format!(
                "error: could not look through {}: {error}\n",
                folder.display()
            )),
        }
    }
    found.sort();
    if found.is_empty() {
        unreadable.push(format!(
            "error: there is no buildspec below {}\n  help: files named `*buildspec*.yml` or `.yaml`, and those of the deploy stage, are looked for; name a file to check it whatever its name is\n",
            folder.display()
        ));
    }
    found
}

pub(super) fn is_looked_for(path: &Path) -> bool {
    let in_git = path.components().any(|part| part.as_os_str() == ".git");
    FileKind::in_folder(path).is_some() && !in_git
}

/// Adds what is wrong with files of the deploy stage only when they are seen together.
fn fit_together(results: &mut [Result<Checked, Unreadable>], config: &Configuration) {
    let mut readable: Vec<&mut Checked> = results
        .iter_mut()
        .filter_map(|result| result.as_mut().ok())
        .collect();
    let files: Vec<(FileKind, &SourceText)> = readable
        .iter()
        .map(|checked| (checked.kind, &checked.source))
        .collect();
    for (index, finding) in deploy::check_together(&files) {
        let mut found = vec![finding];
        config.apply(Path::new(readable[index].source.name()), &mut found);
        readable[index].findings.extend(found);
        diagnostic::sort(&mut readable[index].findings);
    }
}

/// Checks all files, as many at a time as there are processors.
fn check_all(
    files: &[PathBuf],
    args: &ValidateArgs,
    config: &Configuration,
    shellcheck: Option<&Path>,
) -> Vec<Result<Checked, Unreadable>> {
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(files.len());
    let next = AtomicUsize::new(0);
    let trees = SourceTrees::default();
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else {
                return done;
            };
            done.push((index, check_one(file, args, config, shellcheck, &trees)));
        }
    };
    if workers < 2 {
        return work().into_iter().map(|(_, result)| result).collect();
    }
    let mut results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("invariant: rules do not panic"))
            .collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn check_one(
    file: &Path,
    args: &ValidateArgs,
    config: &Configuration,
    shellcheck: Option<&Path>,
    trees: &SourceTrees,
) -> Result<Checked, Unreadable> {
    let from_input = file == Path::new("-");
    let name = if from_input {
        "<stdin>".to_owned()
    } else {
        file.display().to_string()
    };
    let bytes = if from_input {
        bounded(io::stdin().lock())
    } else {
        File::open(file).and_then(bounded)
    };
    let bytes = bytes.map_err(|error| unreadable(&name, &error))?;
    let kind = args.kind.map_or_else(|| FileKind::of(file), FileKind::from);
    let read = if args.fix { bytes.clone() } else { Vec::new() };
    let source = match SourceText::from_bytes(name, bytes) {
        Ok(source) => source,
        Err(error) => {
            let message = match error.looks_like {
                Some(encoding) if kind == FileKind::Buildspec => {
                    format!("the file is {encoding}, and a buildspec is UTF-8")
                }
                Some(encoding) => format!("the file is {encoding}, and has to be UTF-8"),
                None => "a byte here is not UTF-8".to_owned(),
            };
            let finding = Diagnostic::new(Code::Encoding, Span::at(error.offset), message)
                .with_help("save the file as UTF-8");
            return Ok(Checked::new(error.source, vec![finding], kind));
        }
    };
    let tree = (!args.no_tree && !from_input).then(|| trees.around(file));
    let settings = Settings {
        profile: config.profile,
        tree: tree.as_ref(),
        shellcheck: shellcheck.map(|program| Shellcheck {
            program,
            all: args.shellcheck == ShellcheckArg::On,
        }),
        directives: !args.no_ignores,
    };
    let mut checked = fix::check_and_fix(args, (file, &read), source, kind, &settings)?;
    config.apply(file, &mut checked.findings);
    Ok(checked)
}

impl Checked {
    /// A file that is left as it is.
    pub(super) fn new(source: SourceText, findings: Vec<Diagnostic>, kind: FileKind) -> Self {
        Self {
            source,
            findings,
            kind,
            fixed: 0,
            diff: String::new(),
        }
    }

    /// The same with what fixes did, or would do.
    pub(super) fn with_fixes(mut self, fixed: usize, diff: String) -> Self {
        self.fixed = fixed;
        self.diff = diff;
        self
    }
}

pub(super) fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file that is too large from one that just fits.
    reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Says that a file could not be read, and why.
pub(super) fn unreadable(name: &str, error: &io::Error) -> Unreadable {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        _ => error.to_string(),
    };
    format!("error: could not read {name}: {why}\n")
}

fn list_rules() -> String {
    let mut text = String::new();
    for code in Code::ALL {
        let info = code.info();
        text.push_str(&format!(
            "{} {:<34} {:<8} {}\n",
            info.id,
            info.name,
            info.severity.word(),
            info.why
        ));
    }
    text
}

/// Prints the section of a rule from the page of findings.
fn explain(name: &str) -> ExitCode {
    let Some(code) = Code::find(name) else {
        let names = Code::ALL.iter().flat_map(|code| [code.name(), code.id()]);
        let mut text = format!("there is no rule `{name}`");
        if let Some(near) = nearest(name, names) {
            text.push_str(&format!("; did you mean `{near}`?"));
        }
        return usage(&mistake(text));
    };
    let title = format!("## `{}` ", code.name());
    let section = PAGE
        .split_once(&title)
        .map(|(_, rest)| rest.split("\n## ").next().unwrap_or_default())
        .unwrap_or_default();
    print(
        format!("{title}{}\n", section.trim_end())
            .trim_start_matches("## ")
            .as_bytes(),
    )
}
