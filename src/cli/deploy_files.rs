//! `imagedefinitions.json` and `imageDetail.json`, written after a push (IMG-30 to IMG-33).

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::fix::create_beside;
use crate::registry::Reference;

/// A container and the file that gives it an image.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    /// The container's name in the task definition.
    pub(super) container: String,
    /// The file.
    pub(super) file: PathBuf,
}

/// An image that is in its registry.
#[derive(Clone, Debug)]
pub(super) struct PushedImage {
    pub(super) image: Reference,
    pub(super) digest: String,
}

impl PushedImage {
    fn uri(&self) -> String {
        format!("{}@{}", self.image.name(), self.digest)
    }
}

/// Which files are written for which images.
#[derive(Debug)]
pub(super) struct DeployFiles {
    detail: Option<PathBuf>,
    /// Each with the place of its image among those that are pushed.
    definitions: Vec<(Definition, usize)>,
    /// Whether all images have to be one.
    one_image: bool,
}

impl DeployFiles {
    /// What to write, or why the command line cannot mean that.
    pub(super) fn new(
        images: &[Reference],
        detail: Option<PathBuf>,
        definitions: &[Definition],
    ) -> Result<Self, String> {
        let one_repository = images.iter().all(|image| image.name() == images[0].name());
        if detail.is_some() && !one_repository {
            return Err(
                "`--image-detail` describes one image, and these are several: push them one by one"
                    .to_owned(),
            );
        }
        let in_order = definitions.len() == images.len();
        if !definitions.is_empty() && !in_order && !one_repository {
            return Err(format!(
                "{} images need `--image-definitions` {} times, in their order",
                images.len(),
                images.len()
            ));
        }
        let place = |index: usize| if in_order { index } else { 0 };
        let all: Vec<(Definition, usize)> = definitions
            .iter()
            .enumerate()
            .map(|(index, definition)| (definition.clone(), place(index)))
            .collect();
        if let Some((twice, _)) = all.iter().enumerate().find_map(|(index, one)| {
            let same = |other: &&(Definition, usize)| {
                other.0.container == one.0.container && other.0.file == one.0.file
            };
            all[..index].iter().find(same)
        }) {
            return Err(format!(
                "`--image-definitions` gives container `{}` two images",
                twice.container
            ));
        }
        if let Some(detail) = &detail
            && all.iter().any(|(definition, _)| definition.file == *detail)
        {
            return Err("`--image-detail` and `--image-definitions` name one file".to_owned());
        }
        Ok(Self {
            one_image: detail.is_some() || (!all.is_empty() && !in_order),
            detail,
            definitions: all,
        })
    }

    fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = self.detail.iter().map(PathBuf::as_path).collect();
        for (definition, _) in &self.definitions {
            if !files.contains(&definition.file.as_path()) {
                files.push(&definition.file);
            }
        }
        files
    }

    /// Whether there is a place for each file.
    pub(super) fn check(&self) -> Result<(), String> {
        for file in self.files() {
            let begun = create_beside(file).and_then(|(beside, _)| fs::remove_file(beside));
            let begun = begun.and_then(|()| {
                if file.is_dir() {
                    Err(io::ErrorKind::IsADirectory.into())
                } else {
                    Ok(())
                }
            });
            begun.map_err(|error| unwritable(file, &error))?;
        }
        Ok(())
    }

    /// Writes them all, each whole or not at all.
    pub(super) fn write(&self, pushed: &[PushedImage]) -> Result<(), String> {
        if self.one_image
            && let Some(other) = pushed.iter().find(|other| other.digest != pushed[0].digest)
        {
            return Err(format!(
                "{} and {} are two images, so no file for the deploy stage can name both; nothing was written",
                pushed[0].uri(),
                other.uri()
            ));
        }
        for file in self.files() {
            let content = if self.detail.as_deref() == Some(file) {
                detail(pushed)
            } else {
                self.definitions_of(file, pushed)
            };
            write(file, &content).map_err(|error| unwritable(file, &error))?;
        }
        Ok(())
    }

    fn definitions_of(&self, file: &Path, pushed: &[PushedImage]) -> Value {
        let of_file = self
            .definitions
            .iter()
            .filter(|(definition, _)| definition.file == file);
        of_file
            .map(|(definition, place)| {
                json!({"name": definition.container, "imageUri": pushed[*place].uri()})
            })
            .collect()
    }
}

fn unwritable(file: &Path, error: &io::Error) -> String {
    format!("could not write {}: {error}", file.display())
}

/// What an ECR source action would say of an image, as far as a push knows it.
fn detail(pushed: &[PushedImage]) -> Value {
    let first = &pushed[0];
    let tags: Vec<&str> = pushed
        .iter()
        .filter_map(|one| one.image.tag_meant())
        .collect();
    let mut detail = json!({
        "Version": "1.0",
        "ImageURI": first.uri(),
        "ImageDigest": first.digest,
        "ImageTags": tags,
        "RepositoryName": first.image.path(),
    });
    if let Some((account, _)) = first.image.registry().split_once(".dkr") {
        detail["RegistryId"] = json!(account);
    }
    detail
}

fn write(file: &Path, content: &Value) -> io::Result<()> {
    let (beside, mut new) = create_beside(file)?;
    let written = new
        .write_all(format!("{content}\n").as_bytes())
        .and_then(|()| new.sync_all())
        .and_then(|()| fs::rename(&beside, file));
    if written.is_err() {
        // The first error is the one to tell of.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&str]) -> Vec<Reference> {
        let read = |name: &&str| Reference::parse(name).unwrap();
        names.iter().map(read).collect()
    }

    fn definitions(of: &[(&str, &str)]) -> Vec<Definition> {
        of.iter()
            .map(|(container, file)| Definition {
                container: (*container).to_owned(),
                file: PathBuf::from(file),
            })
            .collect()
    }

    fn pushed(names: &[&str], digests: &[&str]) -> Vec<PushedImage> {
        let images = images(names).into_iter().zip(digests);
        images
            .map(|(image, digest)| PushedImage {
                image,
                digest: (*digest).to_owned(),
            })
            .collect()
    }

    // IMG-31, IMG-32
    #[test]
    fn what_the_command_line_cannot_mean_is_said_before_the_push() {
        let detail = || Some(PathBuf::from("d.json"));
        let new = |names: &[&str], detail, of: &[(&str, &str)]| {
            DeployFiles::new(&images(names), detail, &definitions(of)).map(|_| ())
        };
        assert_eq!(
            new(&["h/a:1", "h/a:2"], detail(), &[("a", "x"), ("b", "x")]),
            Ok(())
        );
        assert_eq!(
            new(&["h/a:1", "h/b:1"], None, &[("a", "x"), ("b", "x")]),
            Ok(())
        );
        assert_eq!(new(&["h/a:1", "h/a:2"], None, &[("a", "x")]), Ok(()));
        let refused = |result: Result<(), String>, text: &str| {
            assert!(result.unwrap_err().contains(text), "{text}");
        };
        refused(
            new(&["h/a:1", "h/b:1"], detail(), &[]),
            "describes one image",
        );
        refused(
            new(&["h/a:1", "h/b:1"], None, &[("a", "x")]),
            "2 images need",
        );
        refused(
            new(&["h/a:1"], None, &[("a", "x"), ("a", "x")]),
            "container `a` two",
        );
        refused(
            new(&["h/a:1"], detail(), &[("a", "d.json")]),
            "name one file",
        );
    }

    // IMG-30, IMG-31, IMG-32
    #[test]
    fn files_name_images_by_their_digests() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let read = |name: &str| fs::read_to_string(path(name)).unwrap();
        let names = [
            "1.dkr.ecr.eu-west-1.amazonaws.com/web:1",
            "1.dkr.ecr.eu-west-1.amazonaws.com/log:1",
        ];
        let both = path("both.json");
        let both = both.to_str().unwrap();
        let of = definitions(&[("web", both), ("log", both)]);
        let files = DeployFiles::new(&images(&names), None, &of).unwrap();
        files.check().unwrap();
        files
            .write(&pushed(&names, &["sha256:a", "sha256:b"]))
            .unwrap();
        assert_eq!(
            read("both.json"),
            "[{\"name\":\"web\",\"imageUri\":\"1.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:a\"},{\"name\":\"log\",\"imageUri\":\"1.dkr.ecr.eu-west-1.amazonaws.com/log@sha256:b\"}]\n"
        );
        let tags = [
            "1.dkr.ecr.eu-west-1.amazonaws.com/web:1",
            "1.dkr.ecr.eu-west-1.amazonaws.com/web",
        ];
        let files = DeployFiles::new(&images(&tags), Some(path("detail.json")), &[]).unwrap();
        let two = files.write(&pushed(&tags, &["sha256:a", "sha256:b"]));
        assert!(two.unwrap_err().contains("are two images"));
        assert!(!path("detail.json").exists());
        files
            .write(&pushed(&tags, &["sha256:a", "sha256:a"]))
            .unwrap();
        assert_eq!(
            read("detail.json"),
            "{\"Version\":\"1.0\",\"ImageURI\":\"1.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:a\",\"ImageDigest\":\"sha256:a\",\"ImageTags\":[\"1\",\"latest\"],\"RepositoryName\":\"web\",\"RegistryId\":\"1\"}\n"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    // IMG-33
    #[test]
    fn a_place_that_cannot_be_written_is_known_before_the_push() {
        let directory = tempfile::tempdir().unwrap();
        for file in [
            directory.path().join("gone/x.json"),
            directory.path().to_owned(),
        ] {
            let files = DeployFiles::new(&images(&["h/a:1"]), Some(file), &[]).unwrap();
            assert!(files.check().unwrap_err().starts_with("could not write"));
        }
    }
}
