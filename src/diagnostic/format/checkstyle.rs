//! Checkstyle XML, which many servers and review tools read.

use super::xml::escape;
use super::{File, places, whole_message};
use crate::diagnostic::Diagnostic;
use crate::source::SourceText;

/// One document; a file without findings is in it too.
pub(super) fn show(files: &[File<'_>]) -> String {
    let files: String = files.iter().map(file).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<checkstyle version=\"4.3\">\n{files}</checkstyle>\n"
    )
}

fn file(file: &File<'_>) -> String {
    let findings = file.findings.iter();
    let errors: String = findings
        .map(|finding| error(file.source, finding))
        .collect();
    format!(
        "  <file name=\"{}\">\n{errors}  </file>\n",
        escape(file.source.name())
    )
}

fn error(source: &SourceText, finding: &Diagnostic) -> String {
    let (start, _) = places(source, finding);
    format!(
        "    <error line=\"{}\" column=\"{}\" severity=\"{}\" message=\"{}\" source=\"runner.{}\"/>\n",
        start.line,
        start.column,
        finding.severity.word(),
        escape(&whole_message(finding)),
        finding.code.name(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::samples::shown;
    use super::*;

    #[test]
    fn a_finding_is_an_error_of_its_file() {
        let expected = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<checkstyle version=\"4.3\">
  <file name=\"./ci/a b,c.yml\">
    <error line=\"2\" column=\"2\" severity=\"error\" message=\"100% `x`:&#10;&lt;twice&gt; (again here)&#10;help: merge the two\" source=\"runner.duplicate-key\"/>
    <error line=\"3\" column=\"3\" severity=\"warning\" message=\"unexpected \u{fffd}\" source=\"runner.unknown-key\"/>
  </file>
</checkstyle>
";
        assert_eq!(shown(show), expected);
    }
}
