//! Output artifacts: each goes to exactly the place that CodePipeline names, encrypted as it says, and is there when that was
//! asked for afterwards (AGENT-18, AGENT-19).

use std::path::Path;

use tokio::sync::mpsc;

use super::answer::{FailureKind, StoredArtifact};
use super::input::AsJob;
use super::pipeline::Artifact;
use crate::store::{self, ObjectMetadata, Progress, S3Settings, S3Store, Stop, Upload};

/// Why an output is not in its place.
#[derive(Debug)]
pub struct NotStored {
    /// Who has to act.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
    /// Whether other credentials could help.
    pub credentials: bool,
}

impl NotStored {
    fn missing(message: String) -> Self {
        Self {
            kind: FailureKind::JobFailed,
            message,
            credentials: false,
        }
    }
}

/// Which artifact of the build each output is: the primary one if there is one output, whatever its name; else the secondary
/// ones by their names.
pub fn select<'a>(
    outputs: &'a [Artifact],
    stored: &'a [StoredArtifact],
) -> Result<Vec<(&'a Artifact, &'a StoredArtifact)>, NotStored> {
    // What a retry repeats stores again: the last one counts.
    let find = |identifier: Option<&str>| {
        let mut stored = stored.iter().rev();
        stored.find(|one| one.identifier.as_deref() == identifier)
    };
    if let [output] = outputs {
        let primary = find(None).ok_or_else(|| {
            NotStored::missing(format!(
                "the action has the output artifact {}, and the build made none: add `artifacts` with `files` to the buildspec",
                output.name
            ))
        })?;
        return Ok(vec![(output, primary)]);
    }
    let pairs = outputs.iter().map(|output| {
        let found = find(Some(&output.name)).ok_or_else(|| {
            NotStored::missing(format!(
                "the action has several output artifacts, and the build made none that is called {}: add it to `secondary-artifacts` in the buildspec",
                output.name
            ))
        })?;
        Ok((output, found))
    });
    pairs.collect()
}

/// Stores an output, and asks whether it is there.
pub async fn store(
    output: &Artifact,
    stored: &StoredArtifact,
    encryption_key: Option<&str>,
    s3: &AsJob,
    stop: &Stop,
) -> Result<(), NotStored> {
    let to = S3Store::new(S3Settings {
        bucket: output.bucket.clone(),
        encryption_key: encryption_key.map(str::to_owned),
        always_kms: true,
        aws: s3.aws.clone(),
        custom_endpoint: s3.custom_endpoint,
        proxy: None,
    });
    let upload = Upload {
        key: output.key.clone(),
        raw_key: None,
        source: Path::new(&stored.location).to_owned(),
        follow_links: true,
        path: output.name.clone(),
        consume: false,
        sha256: stored.sha256.clone(),
        unless_there: false,
    };
    let (sender, _progress) = mpsc::unbounded_channel::<Progress>();
    let put = to.put(vec![upload], metadata(stored), &sender, stop).await;
    put.map_err(|error| not_stored(output, &error))
}

fn metadata(stored: &StoredArtifact) -> ObjectMetadata {
    let sums = [
        ("codebuild-content-md5", &stored.md5),
        ("codebuild-content-sha256", &stored.sha256),
    ];
    let entries = sums.into_iter();
    ObjectMetadata {
        entries: entries
            .filter_map(|(name, sum)| Some((name, sum.clone()?)))
            .collect(),
        content_type: Some("application/zip"),
    }
}

fn not_stored(output: &Artifact, error: &store::Error) -> NotStored {
    use store::ErrorKind::{
        Exists, Forbidden, Link, Mismatch, NoSpace, NotFound, NotGivenUp, Other, Source, Stopped,
        Unreachable,
    };
    let kind = match error.kind {
        Forbidden => FailureKind::PermissionError,
        NotFound => FailureKind::ConfigurationError,
        NoSpace | Link | Unreachable | NotGivenUp | Mismatch | Exists | Other | Source
        | Stopped => FailureKind::SystemUnavailable,
    };
    // Credentials that are over are a bad request for S3.
    let is_over = ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId"];
    let credentials = error.kind == Forbidden
        || error.kind == Unreachable
        || is_over.iter().any(|code| error.message.contains(code));
    NotStored {
        kind,
        message: format!(
            "output artifact {} could not be stored in s3://{}/{}: {}",
            output.name, output.bucket, output.key, error.message
        ),
        credentials,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(name: &str) -> Artifact {
        Artifact {
            name: name.to_owned(),
            ..Artifact::default()
        }
    }

    fn stored(identifier: Option<&str>, location: &str) -> StoredArtifact {
        StoredArtifact {
            identifier: identifier.map(str::to_owned),
            location: location.to_owned(),
            ..StoredArtifact::default()
        }
    }

    // AGENT-18
    #[test]
    fn one_output_is_the_primary_artifact_and_several_are_the_secondary_ones() {
        let primary = stored(None, "/p");
        let old = stored(Some("docs"), "/old");
        let docs = stored(Some("docs"), "/d");
        let app = stored(Some("app"), "/a");
        let all = [primary, old, docs, app];
        let names = |outputs: &[Artifact]| {
            let found = select(outputs, &all);
            found.map(|pairs| {
                pairs
                    .iter()
                    .map(|(_, stored)| stored.location.clone())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(names(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(names(&[output("Any")]).unwrap(), ["/p"]);
        assert_eq!(
            names(&[output("app"), output("docs")]).unwrap(),
            ["/a", "/d"]
        );
        let missing = names(&[output("app"), output("web")]).unwrap_err();
        assert!(missing.message.contains("web"), "{}", missing.message);
        assert!(select(&[output("Any")], &all[1..]).is_err());
    }
}
