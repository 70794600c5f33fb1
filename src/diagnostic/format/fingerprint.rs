//! What stays the same of a finding while lines move around it, so that services know it again.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{File, plain_path};

/// A fingerprint for each finding of each file, in their order; no two are equal.
///
/// File, rule and the text of the line decide; of findings with all three in common, so does which one of them it is.
/// Messages are not part of it, since they may be worded better one day.
pub(super) fn fingerprints(files: &[File<'_>]) -> Vec<Vec<String>> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut of_file = |file: &File<'_>| {
        let findings = file.findings.iter();
        let one = findings.map(|finding| {
            let line = file.source.line(finding.primary.span.start());
            let parts = [
                plain_path(file.source.name()),
                finding.code.name(),
                file.source.line_text(line).trim(),
            ];
            let hash = hash(&parts);
            let number = seen.entry(hash.clone()).or_default();
            *number += 1;
            format!("{hash}:{number}")
        });
        one.collect()
    };
    files.iter().map(&mut of_file).collect()
}

/// 64 bits are enough to tell the lines of a repository apart.
fn hash(parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.join("\0"));
    let start = digest.iter().take(8);
    let number = start.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{number:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Code, Diagnostic};
    use crate::source::{SourceText, Span};

    fn of(text: &str) -> Vec<String> {
        let source = SourceText::new("b.yml", text);
        let findings: Vec<Diagnostic> = text
            .match_indices("bad")
            .map(|(at, _)| Diagnostic::new(Code::UnknownKey, Span::at(at), "m"))
            .collect();
        let files = [File {
            source: &source,
            findings: &findings,
        }];
        fingerprints(&files).concat()
    }

    #[test]
    fn a_finding_keeps_its_fingerprint_when_it_moves_and_shares_it_with_none() {
        let before = of("bad: 1\n- bad: 1\nbad: 1\nbad: 2\n");
        let after = of("new: 0\nbad: 1\n\n  - bad: 1\n  bad: 1\nbad: 2\n");
        assert_eq!(before, after);
        assert_eq!(before[0].replace(":1", ":2"), before[2]);
        let mut distinct = before.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 4);
    }
}
