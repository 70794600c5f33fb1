//! JUnit XML: a file is a test case.

use super::xml::escape;
use super::{File, places, whole_message};
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::SourceText;

/// One document. A file with findings at the gate is a failed test; what is below the gate is what it printed.
pub(super) fn show(files: &[File<'_>], gate: Option<Severity>) -> String {
    let failed = files.iter().filter(|file| at_gate(file, gate).count() > 0);
    let counts = format!(
        "name=\"runner validate\" tests=\"{}\" failures=\"{}\" errors=\"0\"",
        files.len(),
        failed.count()
    );
    let cases: String = files.iter().map(|file| case(file, gate)).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  <testsuite {counts}>\n{cases}  </testsuite>\n</testsuites>\n"
    )
}

fn at_gate<'a>(
    file: &File<'a>,
    gate: Option<Severity>,
) -> impl Iterator<Item = &'a Diagnostic> + use<'a> {
    let findings = file.findings.iter();
    findings.filter(move |finding| gate.is_some_and(|gate| finding.severity <= gate))
}

fn case(file: &File<'_>, gate: Option<Severity>) -> String {
    let failures: Vec<&Diagnostic> = at_gate(file, gate).collect();
    let below = file.findings.iter();
    let below = below.filter(|finding| !failures.contains(finding));
    let mut inside = String::new();
    if let Some(first) = failures.first() {
        let told = match failures.len() {
            1 => first.message.clone(),
            count => format!("{} (and {} more)", first.message, count - 1),
        };
        inside.push_str(&format!(
            "      <failure type=\"{}\" message=\"{}\">{}</failure>\n",
            first.code.name(),
            escape(&told),
            lines(file.source, failures.iter().copied()),
        ));
    }
    let printed = lines(file.source, below);
    if !printed.is_empty() {
        inside.push_str(&format!("      <system-out>{printed}</system-out>\n"));
    }
    let name = escape(file.source.name());
    if inside.is_empty() {
        return format!("    <testcase name=\"{name}\" classname=\"runner.validate\"/>\n");
    }
    format!(
        "    <testcase name=\"{name}\" classname=\"runner.validate\">\n{inside}    </testcase>\n"
    )
}

fn lines<'a>(source: &SourceText, findings: impl Iterator<Item = &'a Diagnostic>) -> String {
    let lines: Vec<String> = findings
        .map(|finding| {
            let (start, _) = places(source, finding);
            let word = finding.severity.word();
            let name = finding.code.name();
            format!(
                "{}:{start}: {word}[{name}]: {}",
                source.name(),
                whole_message(finding)
            )
        })
        .collect();
    escape(&lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::super::samples::shown;
    use super::*;

    #[test]
    fn a_file_with_findings_at_the_gate_is_a_failed_test() {
        let expected = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"runner validate\" tests=\"1\" failures=\"1\" errors=\"0\">
  <testsuite name=\"runner validate\" tests=\"1\" failures=\"1\" errors=\"0\">
    <testcase name=\"./ci/a b,c.yml\" classname=\"runner.validate\">
      <failure type=\"duplicate-key\" message=\"100% `x`:&#10;&lt;twice&gt;\">./ci/a b,c.yml:2:2: error[duplicate-key]: 100% `x`:&#10;&lt;twice&gt; (again here)&#10;help: merge the two</failure>
      <system-out>./ci/a b,c.yml:3:3: warning[unknown-key]: unexpected \u{fffd}</system-out>
    </testcase>
  </testsuite>
</testsuites>
";
        assert_eq!(shown(|files| show(files, Some(Severity::Error))), expected);
    }

    #[test]
    fn the_gate_decides() {
        let all = shown(|files| show(files, Some(Severity::Warning)));
        assert!(all.contains("(and 1 more)") && !all.contains("<system-out>"));
        let none = shown(|files| show(files, None));
        assert!(none.contains("failures=\"0\"") && !none.contains("<failure"));
    }
}
