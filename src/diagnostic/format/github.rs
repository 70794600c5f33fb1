//! Workflow commands of GitHub Actions: annotations beside the lines of a pull request.

use super::{File, places, plain_path, whole_message};
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::SourceText;

/// One command a finding.
pub(super) fn show(files: &[File<'_>]) -> String {
    let commands = files.iter().flat_map(|file| {
        let findings = file.findings.iter();
        findings.map(|finding| command(file.source, finding))
    });
    commands.collect()
}

fn command(source: &SourceText, finding: &Diagnostic) -> String {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    };
    let (start, end) = places(source, finding);
    let title = format!("{} ({})", finding.code.name(), finding.code.id());
    format!(
        "::{level} file={},line={},endLine={},col={},endColumn={},title={}::{}\n",
        property(plain_path(source.name())),
        start.line,
        end.line,
        start.column,
        end.column,
        property(&title),
        data(&whole_message(finding)),
    )
}

/// Text behind `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Text of a property, where `:` and `,` mean something as well.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::samples::shown;
    use super::*;

    #[test]
    fn a_finding_is_one_line_whatever_is_in_it() {
        let expected = "\
::error file=ci/a b%2Cc.yml,line=2,endLine=2,col=2,endColumn=3,title=duplicate-key (BS002)::\
100%25 `x`:%0A<twice> (again here)%0Ahelp: merge the two
::warning file=ci/a b%2Cc.yml,line=3,endLine=3,col=3,endColumn=4,title=unknown-key (BS103)::\
unexpected \u{1}
";
        assert_eq!(shown(show), expected);
        assert_eq!(property("a%\r\n:,"), "a%25%0D%0A%3A%2C");
        assert_eq!(data("a%\r\n:,"), "a%25%0D%0A:,");
    }
}
