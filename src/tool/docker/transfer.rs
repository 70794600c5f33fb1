//! The back of `docker push`, `pull`, `save` and `load`: images move as [`registry`] moves them, and the output is that of
//! Docker's command line without a terminal.

use std::collections::HashMap;

use bollard::query_parameters::ListImagesOptionsBuilder;
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::pass_on;
use super::own;
use crate::engine::{self, Error, Platform, Records, Said};
use crate::registry::ecr::Registry;
use crate::registry::{self, Limits, Progress, Pull, Push, Reference, TransferError};
use crate::tool::backend::{Backend, Body, Failure, Out};

/// Lines of progress that wait for the front. What finds no place is left out: what matters is written at the end.
const WAITING: usize = 1024;

/// Writes records as lines; gives each to `look`.
async fn show(
    mut records: Records,
    doing: &str,
    out: &Out,
    mut look: impl FnMut(&Value),
) -> Result<(), Failure> {
    while let Some(record) = records.next().await? {
        match Said::read(&record) {
            Said::Text(text) => out.stdout(text).await?,
            Said::Nothing => {}
            Said::Failed { message, .. } => {
                return Err(Failure::new(format!("could not {doing}: {message}")));
            }
        }
        look(&record);
    }
    Ok(())
}

/// What is heard while an image moves, on its way to the front.
struct Heard {
    lines: mpsc::Sender<Line>,
    quiet: bool,
    /// How the line begins that tells of success.
    success: String,
    /// That line, to be written when it is certain.
    held_back: String,
}

enum Line {
    Output(String),
    Trouble(String),
}

impl Heard {
    /// Gives the other end too.
    fn new(quiet: bool, success: String) -> (Self, mpsc::Receiver<Line>) {
        let (lines, heard) = mpsc::channel(WAITING);
        let own = Self {
            lines,
            quiet,
            success,
            held_back: String::new(),
        };
        (own, heard)
    }

    fn take(&mut self, progress: Progress) {
        let line = match progress {
            Progress::Said(_) if self.quiet => return,
            Progress::Said(text) if text.starts_with(&self.success) => {
                self.held_back = text;
                return;
            }
            Progress::Said(text) => Line::Output(text),
            Progress::Layer(_) => return,
            Progress::Retry {
                next,
                of,
                wait,
                reason,
            } => {
                let wait = crate::units::write_duration(wait);
                Line::Trouble(format!("retrying in {wait} (try {next} of {of}): {reason}"))
            }
            Progress::Note(note) => Line::Trouble(format!("note: {note}")),
        };
        let _ = self.lines.try_send(line);
    }
}

/// Moves an image and writes what is heard of it meanwhile. While the front takes nothing, the work waits.
async fn moved<T>(
    work: impl Future<Output = Result<T, TransferError>>,
    mut heard: mpsc::Receiver<Line>,
    out: &Out,
) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            Some(line) = heard.recv() => write(line, out).await?,
            done = &mut work => break done,
        }
    };
    while let Ok(line) = heard.try_recv() {
        write(line, out).await?;
    }
    Ok(done?)
}

async fn write(line: Line, out: &Out) -> Result<(), Failure> {
    match line {
        Line::Output(text) => out.stdout(text).await,
        Line::Trouble(text) => out.stderr(format!("docker: {text}\n")).await,
    }
}

/// Pushes an image, or all its tags.
pub(super) async fn push(
    backend: &Backend,
    image: &str,
    all_tags: bool,
    quiet: bool,
    out: &Out,
) -> Result<u8, Failure> {
    let name = Reference::parse(image)?;
    if name.digest().is_some() {
        return Err(Failure::new(format!(
            "`{image}` cannot be pushed: a digest is no tag"
        )));
    }
    let images = match (name.tag(), all_tags) {
        (_, true) => tags(backend, &name).await?,
        (Some(_), false) => vec![name],
        (None, false) => {
            use_latest(quiet, out).await?;
            vec![name]
        }
    };
    for image in &images {
        own::check(backend, "push", &image.to_string()).await?;
    }
    for image in images {
        push_one(backend, &image, quiet, out).await?;
    }
    Ok(0)
}

async fn use_latest(quiet: bool, out: &Out) -> Result<(), Failure> {
    if quiet {
        return Ok(());
    }
    out.stdout("Using default tag: latest\n").await
}

/// Every name with a tag that the engine has of a repository, or that the build has of it.
async fn tags(backend: &Backend, name: &Reference) -> Result<Vec<Reference>, Failure> {
    let repository = name.name();
    let filters = HashMap::from([("reference", vec![repository.as_str()])]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    let doing = format!("look for the tags of {repository}");
    let engine = backend.engine().await?;
    let listed = engine.api().list_images(Some(options)).await;
    let mut listed = listed.map_err(|error| Error::api(doing, error))?;
    if let Some(own) = backend.own() {
        own.keep_own(&mut listed);
    }
    let names = listed.iter().flat_map(|image| &image.repo_tags);
    let found = names.filter_map(|name| Reference::parse(name).ok());
    let found: Vec<Reference> = found.filter(|found| found.name() == repository).collect();
    if found.is_empty() && backend.own().is_some() {
        return Err(Failure::new(own::refused("push", &repository)));
    }
    if found.is_empty() {
        return Err(Failure::new(format!(
            "could not push {repository}: the engine has no image of this name"
        )));
    }
    Ok(found)
}

async fn push_one(
    backend: &Backend,
    image: &Reference,
    quiet: bool,
    out: &Out,
) -> Result<(), Failure> {
    let engine = backend.engine().await?;
    let mut auth = backend.credentials(image.server()).await?;
    let tag = image.tag_meant().unwrap_or_default();
    let (mut heard, lines) = Heard::new(quiet, format!("{tag}: digest: "));
    let mut take = |progress| heard.take(progress);
    let pushing = async {
        loop {
            let push = Push {
                image,
                platform: None,
                auth: auth.as_ref(),
                limits: Limits::default(),
            };
            let error = match registry::push(engine, &push, &mut take).await {
                Ok(pushed) => break Ok(pushed),
                Err(error) => error,
            };
            match backend.renewed(image.server(), auth.as_ref(), &error).await {
                Some(renewed) => auth = Some(renewed),
                None => break Err(error),
            }
        }
    };
    let pushed = moved(Box::pin(pushing), lines, out).await?;
    let text = if quiet {
        format!("{}\n", whole(image))
    } else {
        format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.size)
    };
    out.stdout(text).await
}

/// A name with all that Docker adds to it.
fn whole(image: &Reference) -> String {
    let mut text = format!("{}/{}", image.registry(), image.path());
    if let Some(tag) = image.tag_meant() {
        text.push_str(&format!(":{tag}"));
    }
    if let Some(digest) = image.digest() {
        text.push_str(&format!("@{digest}"));
    }
    text
}

/// Pulls an image.
pub(super) async fn pull(
    backend: &Backend,
    image: &str,
    platform: Option<&str>,
    quiet: bool,
    out: &Out,
) -> Result<u8, Failure> {
    let name = Reference::parse(image)?;
    let platform = match platform {
        None => None,
        Some(text) => Some(Platform::parse(text).ok_or_else(|| {
            Failure::new(format!(
                "`{text}` is no platform: expected OS/ARCH, such as linux/arm64"
            ))
        })?),
    };
    if name.tag().is_none() && name.digest().is_none() {
        use_latest(quiet, out).await?;
    }
    let engine = backend.engine().await?;
    let mut auth = match backend.credentials(name.server()).await {
        Err(Failure { message, .. }) if Registry::is_public(name.server()) => {
            let text = format!("docker: note: pulling without a token: {message}\n");
            out.stderr(text).await?;
            None
        }
        found => found?,
    };
    let (mut heard, lines) = Heard::new(quiet, "Status: ".to_owned());
    let mut take = |progress| heard.take(progress);
    let pulling = async {
        loop {
            let pull = Pull {
                image: &name,
                platform: platform.as_ref(),
                auth: auth.as_ref(),
                limits: Limits::default(),
            };
            let error = match registry::pull(engine, &pull, &mut take).await {
                Ok(pulled) => break Ok(pulled),
                Err(error) => error,
            };
            match backend.renewed(name.server(), auth.as_ref(), &error).await {
                Some(renewed) => auth = Some(renewed),
                None => break Err(error),
            }
        }
    };
    moved(Box::pin(pulling), lines, out).await?;
    own::note(backend, image).await?;
    out.stdout(format!("{}{}\n", heard.held_back, whole(&name)))
        .await?;
    Ok(0)
}

/// Sends images as a TAR.
pub(super) async fn save(backend: &Backend, images: &[String], out: &Out) -> Result<u8, Failure> {
    let mut names = Vec::new();
    for image in images {
        names.extend(to_save(backend, image).await?);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let doing = format!("save {}", images.join(", "));
    let engine = backend.engine().await?;
    pass_on(&doing, engine.api().export_images(&names), out).await?;
    Ok(0)
}

/// What to save for a name. A name without a tag is all tags of a repository to the engine, those of others too.
async fn to_save(backend: &Backend, image: &str) -> Result<Vec<String>, Failure> {
    let name = Reference::parse(image);
    let repository = name
        .ok()
        .filter(|name| name.tag().is_none() && name.digest().is_none());
    match repository {
        Some(repository) if backend.own().is_some() => match tags(backend, &repository).await {
            Ok(tags) => Ok(tags.iter().map(Reference::to_string).collect()),
            // The beginning of an id looks like such a name.
            Err(failure) => match own::whole_id(backend, image).await? {
                Some(id) => Ok(vec![id]),
                None => Err(failure),
            },
        },
        _ => {
            own::check(backend, "save", image).await?;
            Ok(vec![image.to_owned()])
        }
    }
}

/// Takes images from a TAR.
pub(super) async fn load(
    backend: &Backend,
    body: Body,
    quiet: bool,
    out: &Out,
) -> Result<u8, Failure> {
    let doing = "load images";
    let headers = [("content-type", "application/x-tar".to_owned())];
    let body = engine::Body::Stream(Box::pin(body.into_stream()));
    let engine = backend.engine().await?;
    let records = engine
        .stream(
            doing,
            &format!("/images/load?quiet={}", u8::from(quiet)),
            &headers,
            body,
        )
        .await?;
    let mut loaded = Vec::new();
    show(records, doing, out, |record| {
        let text = record["stream"].as_str().unwrap_or_default();
        loaded.extend(text.lines().filter_map(loaded_in).map(str::to_owned));
    })
    .await?;
    if loaded.is_empty() {
        return Err(Failure::new(
            "could not load images: there was none in what came",
        ));
    }
    for image in loaded.iter().flat_map(|names| names.split(',')) {
        own::note(backend, image.trim()).await?;
    }
    Ok(0)
}

/// The image that a line tells of: by its name, else by its id. Podman's engine has several in one line.
fn loaded_in(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("Loaded image")?;
    let (_, image) = rest.split_once(": ")?;
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_as_docker_completes_it() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let table = [
            ("a", "docker.io/library/a:latest".to_owned()),
            ("me/a:1", "docker.io/me/a:1".to_owned()),
            ("h:5000/a/b", "h:5000/a/b:latest".to_owned()),
            (&format!("h:5000/a@{digest}"), format!("h:5000/a@{digest}")),
        ];
        for (text, expected) in table {
            let name = Reference::parse(text).expect("it is one");
            assert_eq!(whole(&name), expected);
        }
    }

    // TOOL-10
    #[test]
    fn success_is_not_told_before_it_is_certain() {
        let (mut take, _) = Heard::new(false, "1: digest: ".to_owned());
        let (lines, mut heard) = mpsc::channel(2);
        take.lines = lines;
        let said = |text: &str| Progress::Said(text.to_owned());
        take.take(said("1: digest: sha256:0 size: 1\n"));
        assert!(heard.try_recv().is_err());
        assert_eq!(take.held_back, "1: digest: sha256:0 size: 1\n");
        // What finds no place is left out.
        for text in ["a: Pushed\n", "b: Pushed\n", "c: Pushed\n"] {
            take.take(said(text));
        }
        let mut count = 0;
        while let Ok(Line::Output(_)) = heard.try_recv() {
            count += 1;
        }
        assert_eq!(count, 2);
        take.quiet = true;
        take.take(said("a: Pushed\n"));
        take.take(Progress::Note("n".to_owned()));
        assert!(matches!(heard.try_recv(), Ok(Line::Trouble(_))));
    }
}
