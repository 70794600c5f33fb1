//! A request as the command line would make it, for plans that are made in process.

use std::path::Path;
use std::time::{Duration, SystemTime};

use buildspec_runner::plan::{
    ArtifactLocation, ArtifactRequest, BuildRequest, NamespaceType, Packaging, ProjectName,
    ReportRequest, Runtimes, Source, SourceKind, Users,
};

/// A build of this directory, with nothing asked for and artifacts beside it.
pub(crate) fn request(source: &Path, artifacts: &Path) -> BuildRequest {
    BuildRequest {
        project: ProjectName::from_directory_name("demo"),
        build_uuid: "00000000-0000-4000-8000-000000000000".to_owned(),
        build_number: 1,
        start_time: SystemTime::UNIX_EPOCH,
        initiator: "tester".to_owned(),
        source: Source {
            kind: SourceKind::S3,
            directory: source.to_owned(),
            repository_url: None,
            version: None,
            resolved_version: None,
        },
        secondary_sources: Vec::new(),
        buildspec_location: source.join("buildspec.yml").display().to_string(),
        environment: Vec::new(),
        serves_credentials: false,
        role: None,
        has_git_credentials: false,
        project_variables: Vec::new(),
        start_build_variables: Vec::new(),
        users: Users::Only(Vec::new()),
        runtimes: Runtimes::OnMachine(Vec::new()),
        shell: None,
        account: None,
        region: None,
        artifacts: ArtifactRequest {
            location: ArtifactLocation::Directory(artifacts.to_owned()),
            packaging: Packaging::None,
            namespace_type: NamespaceType::None,
            name: None,
            encryption_key: None,
        },
        reports: ReportRequest {
            directory: source.join(".runner/reports"),
            is_default: true,
            fail_under: None,
        },
        retry_scope: buildspec_runner::phase::RetryScope::Build,
        cache: None,
        timeout: Duration::from_hours(1),
        grace: Duration::from_secs(10),
        strict: false,
    }
}
