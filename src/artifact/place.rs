//! Where an artifact goes: its key in the store (ART-12).

use std::path::Path;

use crate::plan::{NamespaceType, Packaging};

/// What a key is made of, all texts expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// CodeBuild's `path`; empty if there is none.
    pub path: &'a str,
    /// Whether the build id is part of it.
    pub namespace_type: NamespaceType,
    /// UUID of the build.
    pub build_uuid: &'a str,
    /// Identifier of a secondary artifact, where its name is not that already (ART-19).
    pub identifier: Option<&'a str>,
    /// The artifact's name.
    pub name: &'a str,
    /// `s3-prefix`, where it counts.
    pub s3_prefix: Option<&'a str>,
    /// One archive or single files.
    pub packaging: Packaging,
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Nothing is left of the name.
    #[error("the artifact name is empty")]
    EmptyName,
    /// `/` is a name for single files only.
    #[error("an archive needs a name other than `/`")]
    NoArchiveName,
    /// `..` would lead out of the place for artifacts.
    #[error("`{0}` leads out of the place for artifacts")]
    LeadsOut(String),
    /// A line break, or another character that no name should have.
    #[error("`{0}` holds a control character")]
    Control(String),
}

/// The key of an archive, or what stands before the paths of single files; empty if nothing does.
pub fn key(place: &Place<'_>) -> Result<String, PlaceError> {
    if place.name.is_empty() {
        return Err(PlaceError::EmptyName);
    }
    let mut identifier = place.identifier;
    let mut name = place.name.to_owned();
    if segments(&name)?.is_empty() {
        match identifier.take() {
            Some(identifier) => identifier.clone_into(&mut name),
            None if place.packaging == Packaging::Zip => return Err(PlaceError::NoArchiveName),
            None => {}
        }
    }
    // Only this form of CodeBuild's documentation adds a suffix.
    let has_suffix = Path::new(&name)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    if place.s3_prefix.is_some() && place.packaging == Packaging::Zip && !has_suffix {
        name.push_str(".zip");
    }
    let build_id = match place.namespace_type {
        NamespaceType::BuildId => place.build_uuid,
        NamespaceType::None => "",
    };
    let mut key = Vec::new();
    let before = [place.s3_prefix.unwrap_or(place.path), build_id];
    for part in before.into_iter().chain(identifier).chain([name.as_str()]) {
        key.extend(segments(part)?.into_iter().map(str::to_owned));
    }
    Ok(key.join("/"))
}

/// A key of a single file below the key of its artifact.
#[must_use]
pub fn below(key: &str, path: &str) -> String {
    if key.is_empty() {
        path.to_owned()
    } else {
        format!("{key}/{path}")
    }
}

fn segments(text: &str) -> Result<Vec<&str>, PlaceError> {
    if text.chars().any(char::is_control) {
        return Err(PlaceError::Control(text.escape_debug().to_string()));
    }
    let segments: Vec<&str> = text
        .split('/')
        .filter(|segment| !matches!(*segment, "" | "."))
        .collect();
    if segments.contains(&"..") {
        return Err(PlaceError::LeadsOut(text.to_owned()));
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_path_build_id_and_name() {
        use NamespaceType::{BuildId, None as Plain};
        let table = [
            ("", Plain, "demo", None, Packaging::None, Ok("demo")),
            ("p/q/", Plain, "demo", None, Packaging::Zip, Ok("p/q/demo")),
            (
                "p",
                BuildId,
                "app.zip",
                None,
                Packaging::Zip,
                Ok("p/uuid/app.zip"),
            ),
            ("p", BuildId, "/", None, Packaging::None, Ok("p/uuid")),
            ("", Plain, "/", None, Packaging::None, Ok("")),
            (
                "",
                Plain,
                "builds/7/app",
                None,
                Packaging::None,
                Ok("builds/7/app"),
            ),
            (
                "p",
                BuildId,
                "app",
                Some("nightly"),
                Packaging::Zip,
                Ok("nightly/uuid/app.zip"),
            ),
            (
                "p",
                BuildId,
                "app.zip",
                Some("nightly"),
                Packaging::Zip,
                Ok("nightly/uuid/app.zip"),
            ),
            (
                "p",
                BuildId,
                "app",
                Some("nightly"),
                Packaging::None,
                Ok("nightly/uuid/app"),
            ),
            (
                "",
                Plain,
                "",
                None,
                Packaging::None,
                Err(PlaceError::EmptyName),
            ),
            (
                "",
                Plain,
                "/",
                None,
                Packaging::Zip,
                Err(PlaceError::NoArchiveName),
            ),
            (
                "",
                Plain,
                "../x",
                None,
                Packaging::Zip,
                Err(PlaceError::LeadsOut("../x".to_owned())),
            ),
            (
                "",
                Plain,
                "a\nb",
                None,
                Packaging::Zip,
                Err(PlaceError::Control("a\\nb".to_owned())),
            ),
        ];
        for (path, namespace_type, name, s3_prefix, packaging, expected) in table {
            let place = Place {
                path,
                namespace_type,
                build_uuid: "uuid",
                identifier: None,
                name,
                s3_prefix,
                packaging,
            };
            assert_eq!(key(&place), expected.map(str::to_owned), "{place:?}");
        }
    }

    // ART-19
    #[test]
    fn the_name_of_a_secondary_artifact_stands_below_its_identifier() {
        let table = [
            ("site-1", None, Packaging::None, Ok("p/uuid/docs/site-1")),
            ("site.zip", None, Packaging::Zip, Ok("p/uuid/docs/site.zip")),
            ("/", None, Packaging::None, Ok("p/uuid/docs")),
            ("/", None, Packaging::Zip, Ok("p/uuid/docs")),
            ("/", Some("n"), Packaging::Zip, Ok("n/uuid/docs.zip")),
            ("a", Some("n"), Packaging::Zip, Ok("n/uuid/docs/a.zip")),
            ("", None, Packaging::Zip, Err(PlaceError::EmptyName)),
            (
                "../x",
                None,
                Packaging::None,
                Err(PlaceError::LeadsOut("../x".to_owned())),
            ),
        ];
        for (name, s3_prefix, packaging, expected) in table {
            let place = Place {
                path: "p",
                namespace_type: NamespaceType::BuildId,
                build_uuid: "uuid",
                identifier: Some("docs"),
                name,
                s3_prefix,
                packaging,
            };
            assert_eq!(key(&place), expected.map(str::to_owned), "{place:?}");
        }
    }

    #[test]
    fn single_files_stand_below_the_key() {
        assert_eq!(below("p/app", "a/b"), "p/app/a/b");
        assert_eq!(below("", "a/b"), "a/b");
    }
}
