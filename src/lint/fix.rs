//! Applying fixes: a text with findings becomes a text with fewer.
//!
//! Fixes come in rounds: what does not overlap is applied together, and the result is checked again, since one mended
//! mistake uncovers the next (a syntax error hides everything behind it). A fix after which the file is worse is not kept.

use std::collections::BTreeMap;

use super::{FileKind, Settings, check};
use crate::diagnostic::{Code, Diagnostic, Edit, Fix};
use crate::source::SourceText;

/// Most rounds that do not get further into the file than the one before.
const MAX_ROUNDS: usize = 10;

/// What became of a text.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// The text as it is now.
    pub source: SourceText,
    /// How many fixes were applied.
    pub applied: usize,
    /// What is still found.
    pub findings: Vec<Diagnostic>,
}

/// How bad a text is: how much of it cannot be read because of a syntax error, and how many errors are known. Smaller is
/// better, in this order.
type Badness = (usize, usize);

/// Applies every fix until there is none left.
#[must_use]
pub fn fix(source: &SourceText, kind: FileKind, settings: &Settings<'_>) -> Fixed {
    let mut fixed = Fixed {
        source: source.clone(),
        applied: 0,
        findings: check(source, kind, settings),
    };
    let mut rounds = 0;
    while rounds < MAX_ROUNDS {
        let Some(next) = round(&fixed, kind, settings) else {
            break;
        };
        let further = unread(&next) < unread(&fixed);
        rounds = if further { 0 } else { rounds + 1 };
        fixed = next;
    }
    fixed
}

/// One round: all fixes that go together; or, if that makes it worse, those that do not.
fn round(before: &Fixed, kind: FileKind, settings: &Settings<'_>) -> Option<Fixed> {
    let offered: Vec<&Fix> = before
        .findings
        .iter()
        .filter_map(|finding| finding.fix.as_ref())
        .collect();
    let together = apart(&offered);
    if together.is_empty() {
        return None;
    }
    let mut attempt = Attempt {
        before,
        best: None,
        kept: Vec::new(),
        kind,
        settings,
    };
    attempt.keep(&together);
    attempt.best
}

/// The search for those fixes of a round that do no harm.
struct Attempt<'f> {
    before: &'f Fixed,
    /// The text with the fixes that are kept so far.
    best: Option<Fixed>,
    kept: Vec<&'f Fix>,
    kind: FileKind,
    settings: &'f Settings<'f>,
}

impl<'f> Attempt<'f> {
    /// Keeps these fixes; or, if something new is wrong then, what is good in each half of them.
    fn keep(&mut self, fixes: &[&'f Fix]) {
        let before = self.kept.len();
        self.kept.extend(fixes);
        let next = self.result();
        let best = self.best.as_ref().unwrap_or(self.before);
        let alone = fixes.len() == 1;
        let good = badness(&next) <= badness(best);
        let certain = alone || unread(&next) < unread(best) || nothing_new(best, &next);
        if good && certain && next.source.text() != best.source.text() {
            self.best = Some(next);
            return;
        }
        self.kept.truncate(before);
        if !alone {
            let (first, second) = fixes.split_at(fixes.len() / 2);
            self.keep(first);
            self.keep(second);
        }
    }

    fn result(&self) -> Fixed {
        let text = apply(self.before.source.text(), &self.kept);
        let source = SourceText::new(self.before.source.name(), text);
        let findings = check(&source, self.kind, self.settings);
        Fixed {
            source,
            applied: self.before.applied + self.kept.len(),
            findings,
        }
    }
}

/// Whether no error is there that was not there before. Among many fixes one may bring as many as the others mend.
fn nothing_new(before: &Fixed, after: &Fixed) -> bool {
    let errors = |fixed: &Fixed| {
        let mut counted: BTreeMap<(Code, String), usize> = BTreeMap::new();
        for error in fixed.findings.iter().filter(|finding| finding.is_error()) {
            *counted
                .entry((error.code, error.message.clone()))
                .or_default() += 1;
        }
        counted
    };
    let known = errors(before);
    errors(after)
        .iter()
        .all(|(error, count)| known.get(error).is_some_and(|known| known >= count))
}

/// Those of the fixes that do not touch one before them.
fn apart<'f>(fixes: &[&'f Fix]) -> Vec<&'f Fix> {
    // From the beginning of an edit to its end; no two of different fixes touch.
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    for fix in fixes {
        let touches = |edit: &Edit| {
            let before = taken.range(..=edit.span.end()).next_back();
            before.is_some_and(|(_, end)| *end >= edit.span.start())
        };
        if !fix.edits.is_empty() && !fix.edits.iter().any(touches) {
            let spans = fix.edits.iter().map(|edit| edit.span);
            taken.extend(spans.map(|span| (span.start(), span.end())));
            chosen.push(*fix);
        }
    }
    chosen
}

/// The text after these fixes, which do not overlap.
#[must_use]
pub fn apply(text: &str, fixes: &[&Fix]) -> String {
    let mut edits: Vec<&Edit> = fixes.iter().flat_map(|fix| &fix.edits).collect();
    edits.sort_by_key(|edit| edit.span);
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        result.push_str(&text[at..edit.span.start()]);
        result.push_str(&edit.text);
        at = edit.span.end();
    }
    result.push_str(&text[at..]);
    result
}

fn badness(fixed: &Fixed) -> Badness {
    let errors = fixed.findings.iter().filter(|finding| finding.is_error());
    (unread(fixed), errors.count())
}

/// How much of the text lies behind a syntax error.
fn unread(fixed: &Fixed) -> usize {
    let halting = [Code::YamlSyntax, Code::GlobWithoutQuotes];
    let halt = fixed
        .findings
        .iter()
        .find(|finding| halting.contains(&finding.code));
    halt.map_or(0, |finding| {
        let labels = std::iter::once(&finding.primary).chain(&finding.secondary);
        let last = labels
            .map(|label| label.span.start())
            .max()
            .unwrap_or_default();
        // An error at the very end leaves nothing unread, and is one all the same.
        fixed.source.text().len() - last + 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::Profile;
    use crate::source::Span;

    const SETTINGS: Settings<'_> = Settings {
        profile: Profile::Codebuild,
        tree: None,
        shellcheck: None,
        directives: true,
    };

    fn fixed(text: &str) -> Fixed {
        let source = SourceText::new("x", text);
        fix(&source, FileKind::Buildspec, &SETTINGS)
    }

    #[test]
    fn one_mended_mistake_uncovers_the_next() {
        let mut text = String::from("version: 0.2\nphases:\n  build:\n    commands:\n");
        let mut mended = text.clone();
        for number in 0..12 {
            text.push_str(&format!(
                "      - [ -n \"$A{number}\" ] && make\n      - echo {number}: 1\n"
            ));
            mended.push_str(&format!(
                "      - '[ -n \"$A{number}\" ] && make'\n      - 'echo {number}: 1'\n"
            ));
        }
        let result = fixed(&text);
        assert_eq!(result.source.text(), mended);
        assert_eq!(
            (result.applied, result.findings.as_slice()),
            (24, [].as_slice())
        );
    }

    #[test]
    fn a_fix_that_makes_it_worse_is_not_kept_and_the_others_are() {
        let text = "version: 0.2\nphases:\n  build:\n    command:\n      - make\n    comands:\n      - make test\n    finaly:\n      - make clean\n";
        let result = fixed(text);
        let expected = text
            .replacen("command:", "commands:", 1)
            .replace("finaly", "finally");
        assert_eq!(result.source.text(), expected);
        assert_eq!(result.applied, 2);
        assert_eq!(result.findings.len(), 1);
    }

    #[test]
    fn edits_that_touch_wait_for_the_next_round() {
        let fix =
            |start, end, text: &str| Fix::new("x", [(Span::new(start, end), text.to_owned())]);
        let (a, b, c) = (fix(0, 2, "A"), fix(2, 3, "B"), fix(4, 5, "C"));
        let chosen = apart(&[&a, &b, &c]);
        assert_eq!(chosen, [&a, &c]);
        assert_eq!(apply("aabccd", &chosen), "AbcCd");
    }
}
