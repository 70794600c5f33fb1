//! What is known of a build besides its events: where its logs go, and what its events on a bus say of it.

use serde::{Deserialize, Serialize};

/// One build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct About {
    /// `project:uuid`
    pub build_id: String,
    /// Its ARN.
    pub arn: String,
    /// Who has started it, such as `codepipeline/NAME`.
    pub initiator: String,
    /// The image that it runs in, if it runs in one.
    pub image: Option<String>,
    /// Whether its container may do what the machine may.
    pub privileged: bool,
    /// Minutes until it is stopped.
    pub timeout_minutes: Option<u64>,
    /// Where its source is from: an ARN.
    pub source: Option<String>,
}

impl About {
    /// The name of the project.
    #[must_use]
    pub fn project(&self) -> &str {
        self.build_id
            .split_once(':')
            .map_or(&self.build_id, |(project, _)| project)
    }

    /// The name of its log stream: the project and the build's UUID, as CodeBuild has them where streams have a prefix.
    /// The colon of the id is no character of such names (AGENT-61).
    #[must_use]
    pub fn stream(&self) -> String {
        self.build_id.replace([':', '*'], "/")
    }
}
