//! What is said of reports and the cache.

use super::Rule;

pub(super) const RULES: &[Rule] = &[];
