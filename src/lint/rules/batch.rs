//! What is said of batches.

use super::Rule;

pub(super) const RULES: &[Rule] = &[];
