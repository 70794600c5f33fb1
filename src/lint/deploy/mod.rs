//! Files of the deploy stage: what CodePipeline's deploy actions would refuse, and what very likely is not meant.
//!
//! Nothing but these actions reads such files, so errors are theirs, in their words where those are known. A build looks
//! at what it stores with the same rules (ART-15), and warns.

mod appspec;
mod fields;
mod image;
mod image_definitions;
mod image_detail;
mod json;
mod task_definition;
mod together;

pub use together::check_together;

use super::FileKind;
use crate::diagnostic::Diagnostic;
use crate::source::SourceText;

/// The largest image definitions that the ECS deploy action reads, in bytes.
pub const MAX_BYTES: usize = image::MAX_BYTES;

/// Whether an image in a task definition is a placeholder; `None` if it is no task definition.
#[must_use]
pub fn has_placeholder(source: &SourceText) -> Option<bool> {
    task_definition::read(source).map(|definition| definition.has_placeholder())
}

/// Everything there is to say about one file of the deploy stage; nothing about a buildspec.
#[must_use]
pub fn check(source: &SourceText, kind: FileKind) -> Vec<Diagnostic> {
    match kind {
        FileKind::Buildspec => Vec::new(),
        FileKind::ImageDefinitions => image_definitions::check(source),
        FileKind::ImageDetail => image_detail::check(source),
        FileKind::AppSpec => appspec::check(source),
        FileKind::TaskDefinition => task_definition::check(source),
    }
}
