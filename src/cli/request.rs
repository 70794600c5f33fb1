//! Arguments and the machine make a request.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use super::args::RequestArgs;
use super::sources::{Place, Sources};
use super::{aws, cache, container, git_credential, handover, machine, mistake, variables};
use crate::fetch::Location;
use crate::plan::{
    ArtifactLocation, ArtifactRequest, BuildRequest, ProjectName, ReportRequest, Runtimes,
    SecondarySource, Source, SourceKind, Users,
};
use crate::process;

/// How long git may take to say which commit is checked out.
const GIT_LIMIT: Duration = Duration::from_secs(10);

/// Where artifacts go if nobody says otherwise, below the source directory.
pub(super) const DEFAULT_ARTIFACTS: &str = ".runner/artifacts";

/// Where runner's files about reports go if nobody says otherwise, below the source directory.
const DEFAULT_REPORTS: &str = ".runner/reports";

/// Variables with AWS's keys.
const KEYS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
];

/// Makes the request. `buildspec_location` is filled in when the buildspec was found.
pub(super) async fn request(
    args: &RequestArgs,
    sources: &Sources,
    start_time: SystemTime,
) -> Result<BuildRequest, clap::Error> {
    let project = args
        .project
        .clone()
        .unwrap_or_else(|| ProjectName::from_directory_name(&sources.primary.name()));
    let others = sources
        .secondary
        .iter()
        .map(|(_, place)| source(place, None));
    let (mut source, others, region) = tokio::join!(
        source(&sources.primary, args.source_version.as_deref()),
        join_all(others),
        aws::region(args.region.as_deref(), args.profile.as_deref()),
    );
    git_credential::grants(args, source.repository_url.as_deref())?;
    let (project_variables, start_build_variables) = variables::requested(args)?;
    let handed = args.job.as_deref().map(handover::read).transpose()?;
    let build_uuid = match &handed {
        Some(handed) => handed.build_uuid.clone(),
        None => uuid::Uuid::new_v4().to_string(),
    };
    let in_container = container::image(&args.container)?.is_some();
    let mut environment = if in_container {
        container::environment()
    } else {
        machine::variables()
    };
    environment.retain(|(name, _)| git_credential::withheld(args).all(|secret| name != secret));
    // What the flags say holds for the commands as it does for the runner's own calls.
    if let Some(profile) = &args.profile {
        // They would come before it, and be another account's (CRED-34).
        environment.retain(|(name, _)| KEYS.iter().all(|key| name != key));
        if !in_container {
            environment.push(("AWS_PROFILE".into(), profile.into()));
        }
    }
    if let Some(region) = &args.region {
        environment
            .extend(["AWS_REGION", "AWS_DEFAULT_REGION"].map(|name| (name.into(), region.into())));
    }
    let changeable = changeable(args, sources);
    let mut secondary_sources = secondary_sources(sources, others);
    if in_container {
        source.directory = container::source_directory(&build_uuid);
        let mut taken = vec![source.directory.clone()];
        for SecondarySource { identifier, source } in &mut secondary_sources {
            source.directory = container::secondary_directory(&build_uuid, identifier, &taken);
            taken.push(source.directory.clone());
        }
    }
    let mut request = BuildRequest {
        build_uuid,
        build_number: 0,
        project,
        start_time,
        initiator: machine::initiator(),
        source,
        secondary_sources,
        buildspec_location: String::new(),
        environment,
        has_git_credentials: !args.git_credential.is_empty(),
        serves_credentials: args.assume_role.is_some() || args.credentials_endpoint,
        role: args
            .assume_role
            .as_ref()
            .map(|role| role.as_str().to_owned()),
        project_variables,
        start_build_variables,
        users: if in_container {
            Users::Any
        } else {
            machine::users()
        },
        runtimes: if in_container {
            Runtimes::OfImage
        } else {
            Runtimes::OnMachine(Vec::new())
        },
        shell: args.shell.clone(),
        account: None,
        region,
        artifacts: artifacts(args, &sources.beside, &changeable)?,
        reports: reports(args, &sources.beside, &changeable)?,
        retry_scope: args.retry_scope.into(),
        cache: cache::request(args, &changeable)?,
        timeout: args.timeout,
        grace: args.grace,
        strict: args.strict,
    };
    if let Some(handed) = &handed {
        handover::apply(handed, &mut request);
    }
    Ok(request)
}

/// The directories that a build can change: nothing in them says where something of the caller's goes (CTR-66).
pub(super) fn changeable(args: &RequestArgs, sources: &Sources) -> Vec<PathBuf> {
    let mut all = sources.directories();
    all.extend(container::changeable(&args.container));
    all
}

fn artifacts(
    args: &RequestArgs,
    directory: &Path,
    changeable: &[PathBuf],
) -> Result<ArtifactRequest, clap::Error> {
    let settled = |path: PathBuf| machine::settled(&path, changeable);
    let location = match args.artifacts.as_deref() {
        None => ArtifactLocation::Directory(settled(directory.join(DEFAULT_ARTIFACTS))),
        Some(text) => match text.strip_prefix("s3://") {
            Some(place) => {
                let (bucket, path) = place.split_once('/').unwrap_or((place, ""));
                if bucket.is_empty() {
                    return Err(mistake(format!(
                        "`{text}` names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX"
                    )));
                }
                let path = path.trim_matches('/').to_owned();
                ArtifactLocation::S3 {
                    bucket: bucket.to_owned(),
                    path,
                }
            }
            None if has_scheme(text) => {
                return Err(mistake(format!(
                    "`{text}` is no place for artifacts: write a directory, or s3://BUCKET/PREFIX"
                )));
            }
            None if text.is_empty() => {
                return Err(mistake(
                    "`--artifacts` needs a directory or s3://BUCKET/PREFIX",
                ));
            }
            None => {
                let here = machine::directory()
                    .map_err(|error| mistake(format!("this directory is gone: {error}")))?;
                ArtifactLocation::Directory(settled(here.join(text)))
            }
        },
    };
    Ok(ArtifactRequest {
        location,
        packaging: args.packaging.into(),
        namespace_type: args.artifact_namespace.into(),
        name: args.artifact_name.clone(),
        encryption_key: args.kms_key.clone(),
    })
}

/// What is made of reports (REP-13, REP-14).
fn reports(
    args: &RequestArgs,
    directory: &Path,
    changeable: &[PathBuf],
) -> Result<ReportRequest, clap::Error> {
    let place = match &args.reports {
        None => machine::settled(&directory.join(DEFAULT_REPORTS), changeable),
        Some(text) if text.as_os_str().is_empty() => {
            return Err(mistake("`--reports` needs a directory"));
        }
        Some(text) if text.to_str().is_some_and(has_scheme) => {
            return Err(mistake(format!(
                "`{}` is no place for reports: write a directory",
                text.display()
            )));
        }
        Some(text) => {
            let here = machine::directory()
                .map_err(|error| mistake(format!("this directory is gone: {error}")))?;
            let place = machine::settled(&here.join(text), changeable);
            if place.exists() && !place.is_dir() {
                return Err(mistake(format!(
                    "`--reports {}` is no directory",
                    text.display()
                )));
            }
            place
        }
    };
    Ok(ReportRequest {
        directory: place,
        is_default: args.reports.is_none(),
        fail_under: args.fail_under,
    })
}

/// Whether a text is a URL, and not a directory.
pub(super) fn has_scheme(text: &str) -> bool {
    let letters = |scheme: &str| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    text.split_once("://")
        .is_some_and(|(scheme, _)| letters(scheme))
}

fn secondary_sources(sources: &Sources, found: Vec<Source>) -> Vec<SecondarySource> {
    let identifiers = sources.secondary.iter().map(|(identifier, _)| identifier);
    identifiers
        .zip(found)
        .map(|(identifier, source)| SecondarySource {
            identifier: identifier.clone(),
            source,
        })
        .collect()
}

/// What is known of a source before it is fetched; of a directory, what git knows if it is a git work tree (ENV-3).
async fn source(place: &Place, version: Option<&str>) -> Source {
    let Place {
        location,
        directory,
    } = place;
    if location.is_elsewhere() {
        return Source {
            kind: kind(location),
            directory: directory.clone(),
            repository_url: location.repository_url(),
            version: location.version().map(str::to_owned),
            resolved_version: None,
        };
    }
    let in_git = directory
        .ancestors()
        .any(|ancestor| ancestor.join(".git").exists());
    let (commit, url) = if in_git {
        tokio::join!(
            git(directory, &["rev-parse", "--verify", "--quiet", "HEAD"]),
            git(directory, &["config", "--get", "remote.origin.url"]),
        )
    } else {
        (None, None)
    };
    Source {
        kind: SourceKind::S3,
        directory: directory.to_owned(),
        repository_url: url.map(|url| without_credentials(&url)),
        version: version.map(str::to_owned),
        resolved_version: commit,
    }
}

fn kind(location: &Location) -> SourceKind {
    match location {
        Location::Directory(_) | Location::S3(_) => SourceKind::S3,
        Location::Git(at) if at.url.contains("://git-codecommit.") => SourceKind::CodeCommit,
        Location::Git(_) => SourceKind::Git,
    }
}

async fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    // The commands of this directory are about to be run anyway; who owns it decides nothing here.
    let all: Vec<&OsStr> = ["-c", "safe.directory=*"]
        .iter()
        .chain(arguments)
        .map(OsStr::new)
        .collect();
    let output = process::capture("git", &all, directory, GIT_LIMIT).await?;
    let text = String::from_utf8(output).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A clone URL without what gives access: variables end up in logs. The user of SSH gives none, and is part of the place.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.find('/').unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) if scheme == "ssh" && !rest[..at].contains(':') => url.to_owned(),
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_url_loses_its_credentials() {
        let table = [
            ("https://github.com/o/r.git", "https://github.com/o/r.git"),
            (
                "https://token@github.com/o/r.git",
                "https://github.com/o/r.git",
            ),
            ("https://u:p@host:8443/o/r@2", "https://host:8443/o/r@2"),
            ("https://u:p%40x@host", "https://host"),
            ("git@github.com:o/r.git", "git@github.com:o/r.git"),
            ("ssh://git@host/o/r.git", "ssh://git@host/o/r.git"),
            ("ssh://git:p@host/o/r.git", "ssh://host/o/r.git"),
            ("/srv/repo", "/srv/repo"),
        ];
        for (url, expected) in table {
            assert_eq!(without_credentials(url), expected);
        }
    }
}
