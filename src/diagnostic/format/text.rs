//! Snippets for people.

use super::File;
use crate::diagnostic::{Colour, render};

/// Every file's findings, a blank line after each file.
pub(super) fn show(files: &[File<'_>], colour: Colour) -> String {
    let mut text = String::new();
    for file in files.iter().filter(|file| !file.findings.is_empty()) {
        text.push_str(&render(file.source, file.findings, colour));
        text.push('\n');
    }
    text
}
