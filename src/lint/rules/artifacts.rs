//! What is said of artifacts.

use super::Rule;

pub(super) const RULES: &[Rule] = &[];
