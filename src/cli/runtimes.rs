//! What this machine has of the runtimes that a buildspec names (RUN-6).

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::buildspec::Buildspec;
use crate::phase::CommandPhase;
use crate::plan::{self, BuildRequest};
use crate::process;
use crate::runtime::{self, Found, OnMachine};

/// How long a tool may take to say its version.
const LIMIT: Duration = Duration::from_secs(10);

/// Looks for the tools of all runtimes at once, with the variables of the first command.
pub(super) async fn look(buildspec: &Buildspec, request: &BuildRequest) -> Vec<OnMachine> {
    let install = buildspec.phase(CommandPhase::Install);
    let asked = install.and_then(|phase| phase.runtime_versions.as_ref());
    let Some(asked) = asked.filter(|asked| !asked.value.is_empty()) else {
        return Vec::new();
    };
    let variables: Vec<(OsString, OsString)> = plan::environment(buildspec, request)
        .into_iter()
        .map(|variable| (variable.name, variable.value))
        .collect();
    let value = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    };
    let looking = asked.value.iter().map(async |runtime| OnMachine {
        runtime: runtime.name.value.clone(),
        asked: runtime::expand(&runtime.value.value, value),
        found: find(&runtime.name.value, &request.source.directory, &variables).await,
    });
    futures_util::future::join_all(looking).await
}

async fn find(runtime: &str, directory: &Path, variables: &[(OsString, OsString)]) -> Found {
    let Some(tool) = runtime::tool(runtime) else {
        return Found::Unknown;
    };
    let path = variables.iter().find(|(name, _)| name == "PATH");
    let path = path.map(|(_, path)| path.as_os_str());
    let there = tool.programs.iter().find_map(|name| {
        let program = process::find_program(name, path)?;
        // A relative directory on PATH is one of the source.
        Some((*name, directory.join(program)))
    });
    let Some((name, program)) = there else {
        return Found::Missing(tool.programs[0]);
    };
    let said = process::what_is_said(&program, tool.arguments, directory, variables, LIMIT).await;
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    match runtime::version_in(runtime, &said) {
        Some(version) => Found::Version(name, version),
        None => Found::Silent(name),
    }
}
