//! What is said of variables, secrets and the shell.

use super::Rule;

pub(super) const RULES: &[Rule] = &[];
