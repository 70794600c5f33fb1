//! Output artifacts: each goes to exactly the place that CodePipeline names, encrypted as it says, and is there when that was
//! asked for afterwards (AGENT-18, AGENT-19).

use std::ffi::OsString;
use std::path::Path;

use tokio::sync::mpsc;

use super::answer::{FailureKind, StoredArtifact, Told};
use super::input::AsJob;
use super::pipeline::Artifact;
use crate::proxy::{Proxy, Variables, is_to_blame};
use crate::store::{self, ObjectMetadata, Progress, S3Settings, S3Store, Stop, Upload};

/// What to do about an output that may not be stored.
const OF_THE_JOB: &str = "the credentials are the job's own: see what the pipeline's service role may do, and the policies of the bucket and its key";

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

/// The proxy that outputs go through, if the buildspec wants one. It is that of the agent's own environment: who writes a pipeline
/// does not decide where an agent's requests go (AGENT-101).
pub fn proxy(
    outputs: &[Artifact],
    told: &Told,
    environment: &[(OsString, OsString)],
) -> Result<Option<Proxy>, NotStored> {
    if outputs.is_empty() || !told.uploads_through_proxy {
        return Ok(None);
    }
    let proxy = Variables::of(environment).proxy();
    proxy.map_err(|error| NotStored {
        kind: FailureKind::SystemUnavailable,
        message: format!(
            "the output artifacts could not be stored: they are to go through a proxy (`proxy.upload-artifacts`), and in the agent's environment {error}"
        ),
        credentials: false,
    })
}

/// The bucket of an output, with the credentials that the job has now.
pub fn place(output: &Artifact, encryption_key: Option<&str>, s3: &AsJob) -> S3Store {
    S3Store::new(S3Settings {
        bucket: output.bucket.clone(),
        encryption_key: encryption_key.map(str::to_owned),
        always_kms: true,
        is_ours_alone: true,
        aws: s3.aws.clone(),
        custom_endpoint: s3.custom_endpoint,
        proxy: s3.proxy.clone(),
    })
}

/// Stores an output, and asks whether it is there. What is to be said beside goes to `note`.
pub async fn store(
    to: &S3Store,
    output: &Artifact,
    stored: &StoredArtifact,
    note: impl Fn(&str),
    stop: &Stop,
) -> Result<(), NotStored> {
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
    let (sender, mut progress) = mpsc::unbounded_channel::<Progress>();
    let put = to.put(vec![upload], metadata(stored), &sender, stop).await;
    drop(sender);
    while let Some(said) = progress.recv().await {
        if let Progress::Note(said) = said {
            note(&said);
        }
    }
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
    // The credentials are not the agent's, so its operator looks in the wrong place.
    let help = match (error.kind, error.help.as_deref()) {
        (Forbidden, _) => Some(OF_THE_JOB),
        (_, help) => help.filter(|_| is_to_blame(error)),
    };
    let help = help.map_or_else(String::new, |help| {
        format!(
            "
{help}"
        )
    });
    NotStored {
        kind,
        message: format!(
            "output artifact {} could not be stored in s3://{}/{}: {}{help}",
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
