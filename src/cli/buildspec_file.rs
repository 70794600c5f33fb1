//! Finding and reading the buildspec (SPEC-1).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic};
use crate::phase::{PhaseContext, YAML_FILE_ERROR};
use crate::source::{MAX_BYTES, SourceText, Span};

/// The name that CodeBuild looks for.
pub(super) const DEFAULT: &str = "buildspec.yml";

/// A buildspec that was found and read.
pub(super) struct Found {
    /// Its text.
    pub(super) source: SourceText,
    /// Its place as the log shows it.
    pub(super) location: String,
}

/// A buildspec that cannot be read.
pub(super) struct NotFound {
    /// Where it was found, if it was.
    pub(super) location: Option<String>,
    /// What CodeBuild says of it.
    pub(super) context: PhaseContext,
    /// What a person is told: one line, and what to do.
    pub(super) message: String,
    /// What to do, where that is known.
    pub(super) help: Option<String>,
    /// Places in the file, where there are any.
    pub(super) diagnostic: Option<Box<(SourceText, Diagnostic)>>,
}

impl NotFound {
    fn buildspec(
        context: impl Into<String>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Self {
        let context = PhaseContext::buildspec(context);
        Self {
            location: None,
            context,
            message: message.into(),
            help,
            diagnostic: None,
        }
    }
}

/// Finds and reads the buildspec of a source directory; `file` is what the command line says, shown as it was written.
pub(super) fn read(
    directory: &Path,
    shown_directory: Option<&Path>,
    file: Option<&Path>,
) -> Result<Found, Box<NotFound>> {
    if file == Some(Path::new("-")) {
        let bytes = read_bounded(io::stdin().lock());
        let bytes = bytes.map_err(|error| Box::new(unreadable("standard input", &error)))?;
        return text("<stdin>".to_owned(), "<stdin>".to_owned(), bytes);
    }
    let relative = file.unwrap_or(Path::new(DEFAULT));
    let path = directory.join(relative);
    let location = path.display().to_string();
    let name = shown_directory.map_or_else(|| relative.to_owned(), |shown| shown.join(relative));
    let name = name.display().to_string();
    let opened = File::open(&path).and_then(|file| {
        if file.metadata()?.is_dir() {
            Err(io::ErrorKind::IsADirectory.into())
        } else {
            Ok(file)
        }
    });
    match opened.and_then(read_bounded) {
        Ok(bytes) => text(name, location, bytes),
        Err(error) => Err(Box::new(explain(&error, file, &path, &name, directory))),
    }
}

fn read_bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file that is too large from one that just fits.
    reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(name: String, location: String, bytes: Vec<u8>) -> Result<Found, Box<NotFound>> {
    match SourceText::from_bytes(name, bytes) {
        Ok(source) => Ok(Found { source, location }),
        Err(error) => {
            let message = match error.looks_like {
                Some(encoding) => format!("the file is {encoding}, and a buildspec is UTF-8"),
                None => "a byte here is not UTF-8".to_owned(),
            };
            let span = Span::at(error.offset);
            let diagnostic = Diagnostic::new(Code::Encoding, span, message.clone())
                .with_help("save the file as UTF-8");
            let context = PhaseContext::buildspec(message.clone());
            let diagnostic = Some(Box::new((error.source, diagnostic)));
            Err(Box::new(NotFound {
                location: Some(location),
                context,
                message,
                help: None,
                diagnostic,
            }))
        }
    }
}

/// CodeBuild's words for a file that is not there (C15, C16), and ours for the rest.
fn explain(
    error: &io::Error,
    file: Option<&Path>,
    path: &Path,
    name: &str,
    directory: &Path,
) -> NotFound {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if file.is_some() => {
            NotFound::buildspec(
                format!("stat {}: no such file or directory", path.display()),
                format!("there is no buildspec {name}"),
                Some("the path given with `--file` is relative to the source directory".to_owned()),
            )
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => NotFound::buildspec(
            "YAML file does not exist",
            format!("there is no {name}"),
            Some(near(directory)),
        ),
        io::ErrorKind::IsADirectory => NotFound::buildspec(
            format!("read {}: is a directory", path.display()),
            format!("{name} is a directory, where a buildspec is needed"),
            // As `--file` takes it: relative to the source directory, whatever `-C` says.
            Some(format!(
                "name the file in it: `--file {}`",
                file.unwrap_or(Path::new(DEFAULT)).join(DEFAULT).display()
            )),
        ),
        _ => unreadable(name, error),
    }
}

/// The machine's fault: the file may be right.
fn unreadable(name: &str, error: &io::Error) -> NotFound {
    let message = format!("could not read {name}: {error}");
    let context = PhaseContext::environment(YAML_FILE_ERROR, message.clone());
    let help = (error.kind() == io::ErrorKind::PermissionDenied)
        .then(|| "check its permissions".to_owned());
    NotFound {
        location: None,
        context,
        message,
        help,
        diagnostic: None,
    }
}

/// What may have been meant: another spelling, or a file one level down.
fn near(directory: &Path) -> String {
    let spelled = [
        "buildspec.yaml",
        "Buildspec.yml",
        "BuildSpec.yml",
        "buildSpec.yml",
    ];
    if let Some(other) = spelled
        .into_iter()
        .find(|name| directory.join(name).is_file())
    {
        return format!(
            "there is {other}, but CodeBuild looks for {DEFAULT}: rename it, or pass `--file {other}`"
        );
    }
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut below: Vec<PathBuf> = entries
        .filter(|entry| entry.path().join(DEFAULT).is_file())
        .map(|entry| PathBuf::from(entry.file_name()).join(DEFAULT))
        .collect();
    below.sort();
    match below.first() {
        Some(first) => format!(
            "there is {}: pass `--file {0}`, or `-C` its directory",
            first.display()
        ),
        None => "write one, or name another file with `--file`".to_owned(),
    }
}
