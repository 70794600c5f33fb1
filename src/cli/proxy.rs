//! The proxy that artifacts of a build go through (ENV-56).

use super::load::Loaded;
use super::machine;
use crate::plan::RequestedValue;
use crate::proxy::Proxy;

/// The proxy for the artifacts, if the buildspec wants one and variables name it: those of the project, as on CodeBuild, which
/// here are those that were given for this build, then this program's own. What the buildspec says of them counts for commands only.
pub(super) fn of_uploads(loaded: &Loaded) -> Result<Option<Proxy>, String> {
    let plan = loaded.plan.as_ref().ok();
    if !plan.is_some_and(|plan| plan.proxy.uploads) {
        return Ok(None);
    }
    let given = [
        &loaded.request.start_build_variables,
        &loaded.request.project_variables,
    ];
    let value = |name: &str| {
        let mut variables = given.into_iter().flat_map(|given| given.iter().rev());
        match variables.find(|variable| variable.name == name) {
            // What is stored elsewhere is fetched later, and no address of a proxy by its kind: it is refused as it stands.
            Some(variable) => Some(match &variable.value {
                RequestedValue::Plaintext(value) => value.to_string_lossy().into_owned(),
                _ => NOT_PLAIN.to_owned(),
            }),
            None => machine::variable(name).map(|value| value.to_string_lossy().into_owned()),
        }
    };
    Proxy::named(value).map_err(|error| {
        format!(
            "could not send artifacts through a proxy, as `proxy.upload-artifacts` asks: {error}"
        )
    })
}

/// Stands for a value that is not known, and is no address.
const NOT_PLAIN: &str = "://";
