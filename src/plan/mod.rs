//! A buildspec and a request make a plan: everything a build needs to know, with no decision left for later.
//!
//! Planning is pure. What depends on the machine (the source directory, the caller's variables, the time) comes in with
//! the [`BuildRequest`]; what depends on the build (the text of `$VAR` in an artifact's name) is marked as such.

mod environment;
mod exported;
mod make;
mod reports;
mod request;
mod types;
mod unsupported;

pub use environment::{partition, plan_environment as environment};
pub use make::{limits, plan};
pub use request::{
    ArtifactLocation, ArtifactRequest, BuildRequest, CacheRequest, NamespaceType, Packaging,
    ProjectName, ReportRequest, RequestedValue, RequestedVariable, Runtimes, SecondarySource,
    Source, SourceKind, Users,
};
pub use types::{
    ArtifactName, ArtifactPlan, CachePlan, CommandList, CommandPlan, Expandable, ExportedPlan,
    PhasePlan, Plan, ReportPlan, RuntimePlan, RuntimeSource, SecretPlan,
};
