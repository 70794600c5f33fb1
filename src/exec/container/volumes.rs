//! `--volume`: what the engine is asked to mount besides the source (CTR-7, CTR-50).
//!
//! As binds (`-v` of Docker's command line) engines make a source that is not there, as an empty directory of root's. As mounts
//! (`--mount`) they refuse it. So paths are mounts, and binds only what cannot be said otherwise. Podman makes it in any case.

use std::path::Path;

use bollard::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum as Propagation, MountType,
};

use crate::engine::{Endpoint, Engine};
use crate::exec::Error;

/// How the engine is asked for volumes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Volumes {
    pub(super) mounts: Vec<Mount>,
    pub(super) binds: Vec<String>,
}

impl Volumes {
    /// Those of `SOURCE:TARGET[:OPTIONS]`.
    pub(super) fn of(volumes: &[String]) -> Self {
        let mut asked = Self::default();
        for volume in volumes {
            match mount(volume) {
                Some(mount) => asked.mounts.push(mount),
                None => asked.binds.push(volume.clone()),
            }
        }
        asked
    }
}

/// Fails if an engine on this machine would make a source.
pub(super) fn check(volumes: &[String], engine: &Engine) -> Result<(), Error> {
    if !matches!(engine.endpoint(), Endpoint::Unix(_)) {
        return Ok(());
    }
    let is_missing = |volume: &&String| {
        let source = Path::new(source(volume));
        let is_made = engine.name() == "Podman" || mount(volume).is_none();
        is_made && source.is_absolute() && matches!(source.try_exists(), Ok(false))
    };
    match volumes.iter().find(is_missing) {
        Some(volume) => Err(missing(volume)),
        None => Ok(()),
    }
}

/// The error of a volume whose source is not there, if that is what an engine complains about.
pub(super) fn refused(volumes: &[String], message: &str) -> Option<Error> {
    let is_it = |volume: &&String| {
        let source = source(volume);
        // Docker's words, and Podman's.
        message.ends_with(&format!("bind source path does not exist: {source}"))
            || message.contains(&format!("statfs {source}: no such file"))
    };
    volumes.iter().find(is_it).map(|volume| missing(volume))
}

fn missing(volume: &str) -> Error {
    Error::Volume {
        volume: volume.to_owned(),
        path: source(volume).to_owned(),
    }
}

fn source(volume: &str) -> &str {
    volume.split_once(':').map_or(volume, |(source, _)| source)
}

/// A volume as a mount; `None` if its source is no path, or an option has no word there, as those of SELinux have none.
fn mount(volume: &str) -> Option<Mount> {
    let mut parts = volume.splitn(3, ':');
    let (source, target) = (parts.next()?, parts.next()?);
    if !source.starts_with('/') {
        return None;
    }
    let mut read_only = false;
    let mut propagation = None;
    for option in parts.next().unwrap_or_default().split(',') {
        match option {
            "" | "rw" => {}
            "ro" => read_only = true,
            other => propagation = Some(propagation_of(other)?),
        }
    }
    Some(Mount {
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(read_only),
        bind_options: propagation.map(|propagation| MountBindOptions {
            propagation: Some(propagation),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn propagation_of(option: &str) -> Option<Propagation> {
    Some(match option {
        "private" => Propagation::PRIVATE,
        "rprivate" => Propagation::RPRIVATE,
        "shared" => Propagation::SHARED,
        "rshared" => Propagation::RSHARED,
        "slave" => Propagation::SLAVE,
        "rslave" => Propagation::RSLAVE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // CTR-50
    #[test]
    fn paths_are_mounts_unless_there_is_no_word_for_an_option() {
        let volumes = [
            "/a:/b",
            "/a:/b:ro,rslave",
            "named:/b",
            "/a:/b:z",
            "/a:/b:ro,Z",
        ];
        let asked = Volumes::of(&volumes.map(str::to_owned));
        assert_eq!(asked.binds, ["named:/b", "/a:/b:z", "/a:/b:ro,Z"]);
        let [plain, with_options] = asked.mounts.as_slice() else {
            panic!("{:?}", asked.mounts);
        };
        assert_eq!(plain.source.as_deref(), Some("/a"));
        assert_eq!(plain.target.as_deref(), Some("/b"));
        assert_eq!((plain.read_only, &plain.bind_options), (Some(false), &None));
        assert_eq!(with_options.read_only, Some(true));
        let options = with_options.bind_options.as_ref().unwrap();
        assert_eq!(options.propagation, Some(Propagation::RSLAVE));
    }

    // CTR-50
    #[test]
    fn engines_say_in_their_words_that_a_source_is_not_there() {
        let volumes = ["/a:/b", "/a/typo:/c"].map(str::to_owned);
        let docker = "invalid mount config for type \"bind\": bind source path does not exist: ";
        for (message, is_said) in [
            (format!("{docker}/a/typo"), true),
            ("statfs /a/typo: no such file or directory".to_owned(), true),
            (format!("{docker}/a/typo/below"), false),
            (format!("{docker}/source"), false),
        ] {
            let said = refused(&volumes, &message).map(|error| error.to_string());
            let expected =
                "could not mount the volume `/a/typo:/c`: there is no /a/typo where the engine is";
            assert_eq!(said.as_deref(), is_said.then_some(expected), "{message}");
        }
    }
}
