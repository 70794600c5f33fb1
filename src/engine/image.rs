//! What is known of an image that the engine has.

use std::fmt;

use super::{Engine, Error};

/// What an image is for: `linux/arm64/v8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64`, … as Go names them.
    pub architecture: String,
    /// `v7` of `arm/v7`; empty where there is none.
    pub variant: String,
}

impl Platform {
    /// The platform in a text such as `linux/arm64`; nothing if it has no two parts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            let is_letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !part.is_empty() && part.chars().all(is_letter)
        };
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => return None,
        };
        parts.iter().all(is_word).then(|| Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        })
    }

    /// Whether this is what was asked for. A variant that was not asked for, or is not known, decides nothing.
    #[must_use]
    pub fn is(&self, wanted: &Self) -> bool {
        let same_variant =
            wanted.variant.is_empty() || self.variant.is_empty() || self.variant == wanted.variant;
        let same_architecture = usual(&self.architecture) == usual(&wanted.architecture);
        self.os == wanted.os && same_architecture && same_variant
    }
}

/// The name of an architecture that images have; engines know these others too.
fn usual(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

/// What is known of an image that the engine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// `REPOSITORY@sha256:…` of each registry that it came from or went to.
    pub digests: Vec<String>,
    /// What it is for.
    pub platform: Platform,
    /// `NAME=VALUE` of each variable.
    pub env: Vec<String>,
    /// `ENTRYPOINT`, in words.
    pub entrypoint: Vec<String>,
    /// `CMD`, in words.
    pub cmd: Vec<String>,
    /// `USER`; empty for root.
    pub user: String,
    /// `WORKDIR`; empty for `/`.
    pub working_dir: String,
    /// Bytes that it takes on the engine's disk.
    pub size: u64,
}

impl Engine {
    /// Facts of an image, by name, digest or id; nothing if the engine does not have it.
    pub async fn inspect(&self, image: &str) -> Result<Option<ImageFacts>, Error> {
        let doing = format!("inspect the image {image}");
        // The name becomes part of a path.
        if image.is_empty() || !image.chars().all(is_of_name) {
            return Err(Error::Refused {
                doing,
                status: 400,
                message: "this is no name of an image".to_owned(),
            });
        }
        match self.api().inspect_image(image).await {
            Ok(answer) => Ok(Some(facts(answer))),
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(None),
            Err(error) => Err(Error::api(doing, error)),
        }
    }
}

const fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@')
}

fn facts(answer: bollard::models::ImageInspect) -> ImageFacts {
    let config = answer.config.unwrap_or_default();
    ImageFacts {
        id: answer.id.unwrap_or_default(),
        digests: answer.repo_digests.unwrap_or_default(),
        platform: Platform {
            os: answer.os.unwrap_or_default(),
            architecture: answer.architecture.unwrap_or_default(),
            variant: answer.variant.unwrap_or_default(),
        },
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
        size: answer
            .size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // IMG-12
    #[test]
    fn platforms_are_compared_as_far_as_they_are_named() {
        let is = |found: &str, wanted: &str| {
            Platform::parse(found)
                .unwrap()
                .is(&Platform::parse(wanted).unwrap())
        };
        assert!(is("linux/amd64", "linux/amd64"));
        assert!(is("linux/arm64/v8", "linux/arm64"));
        assert!(is("linux/arm64", "linux/arm64/v8"));
        assert!(is("linux/amd64", "linux/x86_64"));
        assert!(is("linux/arm64/v8", "linux/aarch64"));
        assert!(!is("linux/arm/v6", "linux/arm/v7"));
        assert!(!is("linux/amd64", "linux/arm64"));
        assert!(!is("windows/amd64", "linux/amd64"));
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/am d64"] {
            assert_eq!(Platform::parse(text), None, "{text}");
        }
        let platform = Platform::parse("linux/arm/v7").unwrap();
        assert_eq!(platform.to_string(), "linux/arm/v7");
    }
}
