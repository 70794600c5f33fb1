//! What is said of the file itself and its top level.

use super::Rule;

pub(super) const RULES: &[Rule] = &[];
