//! What is said of what differs between CodeBuild and this program.

use super::Rule;

pub(super) const RULES: &[Rule] = &[];
