//! What is said of images, registries and what the deploy stage reads.

use super::Rule;

pub(super) const RULES: &[Rule] = &[];
