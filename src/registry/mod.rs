//! Image registries: what an image is called, who may push it, and how it gets there.
//!
//! Amazon ECR needs a token that AWS gives out for twelve hours; every other registry needs what Docker's own
//! configuration says.
