//! Reports: what is read of files in the ten formats, and what becomes of files that are wrong.
//!
//! A file under `testdata/report/FORMAT/` is a test of its own; `NAME.expected` beside it has what is read of it.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::Path;

use buildspec_runner::event::CaseStatus;
use buildspec_runner::redact::Secrets;
use buildspec_runner::report::made::{self, Overview};
use buildspec_runner::report::{Format, Limits, Reading, Report};
use support::sandbox::Sandbox;
use support::{root, updating};

fn read(format: Format, limits: Limits, files: &[(&str, &[u8])]) -> Report {
    let mut reading = Reading::new(Report::new("group", format), limits);
    for (name, bytes) in files {
        reading.file(name, *bytes, &|| false);
    }
    reading.finish()
}

fn one(format: Format, text: &str) -> Report {
    read(format, Limits::default(), &[("file", text.as_bytes())])
}

/// A report as text.
fn shown(report: &Report) -> String {
    let mut out = format!("{}\n", report.status().name());
    for case in &report.cases {
        let time = case
            .duration
            .map(|time| format!(" {:.6} s", time.as_secs_f64()))
            .unwrap_or_default();
        let _ = writeln!(out, "{} {}{time}", case.status.name(), case.name);
        let _ = writeln!(out, "    in {} > {}", report.suite(case), case.class);
        if let Some(message) = &case.message {
            let _ = writeln!(out, "    says {message:?}");
        }
        if !case.output.is_empty() {
            let _ = writeln!(out, "    wrote {:?}", case.output);
        }
    }
    for file in &report.coverage {
        let (lines, branches) = (file.lines(), file.branches());
        let _ = writeln!(
            out,
            "{}: lines {}/{}, branches {}/{}",
            file.path,
            lines.covered,
            lines.total(),
            branches.covered,
            branches.total()
        );
    }
    for problem in &report.problems {
        let _ = writeln!(out, "problem: {}", problem.message);
    }
    out
}

// REP-3, REP-4, REP-5, REP-6, REP-7
#[test]
fn every_file_is_read_as_its_expectation_says() {
    let mut problems = Vec::new();
    let mut files = 0;
    for format in Format::ALL {
        let folder = root().join("testdata/report").join(format.name());
        let mut paths: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_none_or(|kind| kind != "expected"))
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} is empty", folder.display());
        for path in paths {
            files += 1;
            let bytes = fs::read(&path).unwrap();
            let report = read(format, Limits::default(), &[("file", &bytes)]);
            compare(&path, &shown(&report), &mut problems);
        }
    }
    assert!(files > 40, "only {files} files are there");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn compare(path: &Path, found: &str, problems: &mut Vec<String>) {
    let expected = path.with_extension("expected");
    if updating() {
        fs::write(&expected, found).expect("an expectation can be written");
    }
    let text = fs::read_to_string(&expected).unwrap_or_default();
    if text != found {
        problems.push(format!(
            "{}\nexpected:\n{text}\nfound:\n{found}",
            path.display()
        ));
    }
}

/// A file whose middle is repeated, without ever being in memory as a whole.
struct Repeated {
    head: Vec<u8>,
    middle: Vec<u8>,
    tail: Vec<u8>,
    times: usize,
    at: usize,
}

impl Repeated {
    fn new(head: &str, middle: &str, tail: &str, times: usize) -> Self {
        Self {
            head: head.into(),
            middle: middle.into(),
            tail: tail.into(),
            times,
            at: 0,
        }
    }
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let middle = self.middle.len() * self.times;
        let rest = if self.at < self.head.len() {
            &self.head[self.at..]
        } else if self.at < self.head.len() + middle {
            &self.middle[(self.at - self.head.len()) % self.middle.len()..]
        } else {
            self.tail
                .get(self.at - self.head.len() - middle..)
                .unwrap_or_default()
        };
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }
}

fn streamed(format: Format, file: Repeated) -> Report {
    let mut reading = Reading::new(Report::new("group", format), Limits::default());
    reading.file("file", file, &|| false);
    reading.finish()
}

// REP-8
#[test]
fn failing_cases_are_kept_before_others_and_all_are_counted() {
    let limits = Limits {
        cases: 10,
        ..Limits::default()
    };
    let mut text = "<testsuite>".to_owned();
    for number in 0..100 {
        let failure = if number % 9 == 8 { "<failure/>" } else { "" };
        let _ = write!(text, "<testcase name='{number}'>{failure}</testcase>");
    }
    text.push_str("</testsuite>");
    let report = read(Format::JunitXml, limits, &[("file", text.as_bytes())]);
    assert_eq!((report.tests.total(), report.tests.failed), (100, 11));
    assert_eq!(report.cases.len(), 10);
    assert!(report.truncated);
    let failed = report
        .cases
        .iter()
        .filter(|case| case.status == CaseStatus::Failed);
    assert_eq!(failed.count(), 10);
}

// REP-8
#[test]
fn text_has_a_limit() {
    let limits = Limits {
        text: 10_000,
        ..Limits::default()
    };
    let file = Repeated::new(
        "<testsuite name='s'>",
        "<testcase name='c'><failure message='m'>0123456789 0123456789 0123456789</failure></testcase>",
        "</testsuite>",
        5_000,
    );
    let mut reading = Reading::new(Report::new("group", Format::JunitXml), limits);
    reading.file("file", file, &|| false);
    let report = reading.finish();
    assert_eq!(report.tests.failed, 5_000);
    assert!(report.truncated);
    let kept: usize = report
        .cases
        .iter()
        .map(|case| {
            case.name.len() + case.output.len() + case.message.as_ref().map_or(0, String::len)
        })
        .sum();
    assert!((5_000..=10_000).contains(&kept), "{kept}");
}

// REP-9
#[test]
fn one_text_of_any_length_streams_by() {
    let long = Repeated::new(
        "<testsuite><testcase name='c'><failure message='m'>",
        &"0123456789abcdef".repeat(4096),
        "</failure></testcase></testsuite>",
        320,
    );
    let report = streamed(Format::JunitXml, long);
    assert_eq!(report.tests.failed, 1);
    assert_eq!(report.problems, []);
    assert_eq!(report.cases[0].output.len(), 64 * 1024);
    let long = Repeated::new(
        "[{\"name\": \"f\", \"elements\": [{\"name\": \"s\", \"type\": \"scenario\", \"steps\": [{\"result\": {\"status\": \"failed\", \"error_message\": \"",
        &"0123456789abcdef".repeat(4096),
        "\"}}]}]}]",
        320,
    );
    let report = streamed(Format::CucumberJson, long);
    assert_eq!((report.tests.failed, &report.problems[..]), (1, &[][..]));
}

// REP-9
#[test]
fn lines_of_any_number_have_a_limit() {
    let limits = Limits {
        lines: 100,
        ..Limits::default()
    };
    let mut text = "<coverage><packages><package><classes><class filename='a'><lines>".to_owned();
    for number in 0..10_000 {
        let _ = write!(text, "<line number='{}' hits='1'/>", number * 64);
    }
    text.push_str("</lines></class></classes></package></packages></coverage>");
    let report = read(Format::CoberturaXml, limits, &[("file", text.as_bytes())]);
    assert!(report.truncated);
    assert_eq!(report.coverage_summary().lines.covered, 100);
}

// REP-6
#[test]
fn files_of_one_report_are_one() {
    let tests = [
        "<testsuite name='a'><testcase name='x'/></testsuite>",
        "<testsuite name='b'><testcase name='y'><error/></testcase></testsuite>",
    ];
    let files = tests.map(|text| ("file", text.as_bytes()));
    let report = read(Format::JunitXml, Limits::default(), &files);
    assert_eq!(
        (report.files, report.tests.succeeded, report.tests.error),
        (2, 1, 1)
    );
    let lines = |lines: &str| {
        format!(
            "<coverage><packages><package><classes><class filename='a.py'><lines>{lines}</lines></class></classes></package></packages></coverage>"
        )
    };
    let first = lines(
        "<line number='1' hits='1'/><line number='2' hits='0' branch='true' condition-coverage='50% (1/2)'/>",
    );
    let second = lines(
        "<line number='2' hits='3' branch='true' condition-coverage='100% (2/2)'/><line number='3' hits='0'/>",
    );
    let files = [("1", first.as_bytes()), ("2", second.as_bytes())];
    let report = read(Format::CoberturaXml, Limits::default(), &files);
    let file = &report.coverage[0];
    assert_eq!((file.lines().covered, file.lines().missed), (2, 1));
    assert_eq!((file.branches().covered, file.branches().missed), (2, 0));
}

// REP-7, REP-9
#[test]
fn what_is_wrong_with_a_file_is_said() {
    let deep = "<a>".repeat(999);
    let table: &[(Format, &str, &str)] = &[
        (Format::JunitXml, "", "EOF"),
        (Format::JunitXml, "  \n", "EOF"),
        (
            Format::JunitXml,
            "<testsuite><testcase name='a'",
            "EOF in <testsuite>",
        ),
        (
            Format::JunitXml,
            "<testsuite><testcase>",
            "EOF in <testcase>",
        ),
        (
            Format::JunitXml,
            "<coverage/>",
            "expected element type <testsuite> but have <coverage>",
        ),
        (Format::JunitXml, "{}", "EOF"),
        (
            Format::JacocoXml,
            "<coverage/>",
            "expected element type <report> but have <coverage>",
        ),
        (
            Format::CloverXml,
            "<coverage><packages/></coverage>",
            "expected element type <project> but have <packages>",
        ),
        (
            Format::CoberturaXml,
            "<coverage><project/></coverage>",
            "expected element type <packages> but have <project>",
        ),
        (
            Format::VisualStudioTrx,
            "<testsuites/>",
            "expected element type <TestRun> but have <testsuites>",
        ),
        (Format::CucumberJson, "", "EOF"),
        (Format::CucumberJson, "[{\"name\": \"a\"", "EOF"),
        (
            Format::CucumberJson,
            "{\"name\": 1}",
            "expected a list of features: a map with `name`",
        ),
        (
            Format::CucumberJson,
            "3",
            "expected a list of features: a number",
        ),
        (Format::CucumberJson, "[}", "expected value"),
        (
            Format::SimpleCov,
            "[]",
            "expected results by command: a list",
        ),
        (
            Format::SimpleCov,
            "{\"RSpec\": {\"coverage\": {\"a\": [1, 0",
            "EOF",
        ),
    ];
    for (format, text, expected) in table {
        let report = one(*format, text);
        let said = report
            .problems
            .first()
            .map_or("", |problem| problem.message.as_str());
        assert!(
            said.starts_with(expected),
            "{}: {text:?}: {said:?} and not {expected:?}",
            format.name()
        );
        assert_eq!(report.status().name(), "INCOMPLETE");
    }
    assert!(
        one(Format::JunitXml, &format!("<testsuite>{deep}")).problems[0]
            .message
            .contains("deep")
    );
    // What stands before the mistake is kept.
    let report = one(
        Format::JunitXml,
        "<testsuite><testcase name='a'><failure/></testcase><testcase name='b'",
    );
    assert_eq!((report.tests.failed, report.cases.len()), (1, 1));
}

// REP-15
#[test]
fn what_is_no_xml_is_said_to_be_none() {
    let table = [
        (
            "[{\"name\": \"a <b\"}]",
            "declare `file-format: CUCUMBERJSON` or `SIMPLECOV`",
        ),
        (" \n{}", "the file is JSON"),
        ("ok 1 - works", "there is no XML in the file"),
        ("", "there is nothing in the file"),
        ("<testsuite>", "the file breaks off"),
    ];
    for (text, expected) in table {
        let report = one(Format::JunitXml, text);
        let help = report.problems[0].help.as_deref().unwrap_or_default();
        assert!(help.contains(expected), "{text:?}: {help}");
    }
}

// REP-13
#[test]
fn cases_that_are_not_kept_are_counted_in_the_junit_file_too() {
    let limits = Limits {
        cases: 2,
        ..Limits::default()
    };
    let cases = "<testcase name='a'/><testcase name='b'/><testcase name='c'><skipped/></testcase><testcase name='d'><failure/></testcase>";
    let text = format!("<testsuite name='s'>{cases}</testsuite>");
    let report = read(Format::JunitXml, limits, &[("file", text.as_bytes())]);
    let junit = made_of(report)("junit.xml");
    for line in [
        "<testsuites name=\"demo\" tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\"",
        "<testsuite name=\"s\" package=\"group\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\"",
        "<testsuite name=\"group: cases that are counted and not listed\" package=\"group\" tests=\"2\" failures=\"0\" errors=\"0\" skipped=\"1\"",
    ] {
        assert!(junit.contains(line), "{line} in {junit}");
    }
}

/// What is made of one report, by the name of the file.
fn written(text: &str, secrets: &Secrets) -> impl Fn(&str) -> String + use<> {
    let mut report = one(Format::JunitXml, text);
    report.hide(secrets);
    made_of(report)
}

fn made_of(report: Report) -> impl Fn(&str) -> String + use<> {
    let overview = Overview {
        project: "demo".to_owned(),
        build_id: "demo:1".to_owned(),
        reports: vec![report],
    };
    let directory = tempfile::tempdir().expect("a directory can be made");
    made::write(&directory.path().join("new/reports"), &overview).expect("files can be written");
    move |name| {
        let path = directory.path().join("new/reports").join(name);
        fs::read_to_string(path).expect("the file is there")
    }
}

// REP-13
#[test]
fn the_page_needs_nothing_from_elsewhere_and_runs_nothing() {
    let text = "<testsuite name='&lt;script&gt;'><testcase name='\"&gt;&lt;img src=x onerror=alert(1)&gt;' time='1'>\
        <failure message='&lt;/pre&gt;&lt;script&gt;'>https://example.com &#27;[31mred&#27;[0m</failure></testcase></testsuite>";
    let page = written(text, &Secrets::default())("index.html");
    for forbidden in [
        "<script", "<img", "<link", "src=", "url(", "@import", "\u{1b}",
    ] {
        let allowed = page.replace("img src=x onerror", "");
        assert!(!allowed.contains(forbidden), "{forbidden} in {page}");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(page.contains("&quot;&gt;&lt;img src=x onerror=alert(1)&gt;"));
    assert!(page.contains("https://example.com red"));
    assert!(page.contains("prefers-color-scheme:dark"));
}

// REP-13
#[test]
fn what_is_made_is_read_as_what_it_was_made_of() {
    let text = fs::read_to_string(root().join("testdata/report/JUNITXML/every-status.xml"));
    let text = text.expect("the case is there");
    let before = one(Format::JunitXml, &text);
    let after = one(
        Format::JunitXml,
        &written(&text, &Secrets::default())("junit.xml"),
    );
    assert_eq!(after.problems, []);
    assert_eq!(after.tests, before.tests);
    let names = |report: &Report| -> Vec<(String, CaseStatus, Option<String>)> {
        let cases = report.cases.iter();
        cases
            .map(|case| (case.name.clone(), case.status, case.message.clone()))
            .collect()
    };
    assert_eq!(names(&after), names(&before));
}

// REP-13
#[test]
fn secrets_are_in_no_file() {
    let secret = "correct horse battery";
    let text = format!(
        "<testsuite name='{secret}'><testcase name='{secret}' classname='{secret}' time='1'>\
         <failure message='{secret}'>{}{secret}</failure></testcase></testsuite>",
        "x".repeat(64 * 1024 - 9)
    );
    let file = written(&text, &Secrets::new([secret.as_bytes().to_vec()]));
    for name in made::FILES {
        let content = file(name);
        // The output was cut in the middle of it.
        for part in [secret, "correct"] {
            assert!(!content.contains(part), "{part} in {name}");
        }
        assert!(content.contains("***"), "{name}");
    }
}

/// A build with a report of tests and one of coverage.
fn sandbox() -> Sandbox {
    Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    commands: [echo testing]\nreports:\n  unit: {files: unit.xml}\n  \
         lines: {files: cov.xml, file-format: cobertura}\n"
            .replace("cobertura", "COBERTURAXML")
            .as_str(),
    )
    .file(
        "unit.xml",
        "<testsuite name='s'><testcase name='a' classname='pkg.C'/><testcase name='b' classname='pkg.C'><failure message='why&#10;and where&#27;[2J'/></testcase></testsuite>",
    )
    .file(
        "cov.xml",
        "<coverage><packages><package><classes><class filename='a'><lines><line number='1' hits='1'/><line number='2' hits='0'/></lines></class></classes></package></packages></coverage>",
    )
}

// REP-12
#[test]
fn a_terminal_is_told_which_tests_failed_and_how_much_is_covered() {
    let sandbox = sandbox();
    let project = sandbox.project();
    let ran = sandbox
        .run(["run", "--log-format", "pretty", "--project", &project])
        .expect(0);
    let ran = ran
        .stdout_has(&format!("report {project}-unit  2 tests, 1 failed"))
        .stdout_has("pkg.C > b")
        .stdout_has("      why\n      and where\n")
        .stdout_has("50.0% of lines (1/2) in 1 file")
        .stdout_has(".runner/reports/index.html");
    assert!(!ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    let quiet = sandbox.run(["run", "--quiet"]).expect(0);
    assert_eq!(quiet.stdout, "testing\n");
    assert_eq!(quiet.stderr, "");
}

// REP-12, REP-13
#[test]
fn a_build_without_reports_has_not_a_line_or_file_more() {
    let sandbox = Sandbox::with_commands(&["echo testing"]);
    let ran = sandbox.run(["run"]).expect(0);
    assert!(!ran.stderr.contains("report"), "{}", ran.stderr);
    assert!(!sandbox.source().join(".runner/reports").exists());
}

// REP-13
#[test]
fn what_is_made_goes_where_it_was_asked_to_go_and_is_no_report_of_the_next_build() {
    let sandbox = sandbox();
    for _ in 0..2 {
        let ran = sandbox.run(["run", "--reports", "made/here"]).expect(0);
        let ran = ran.stderr_has("reports: <SRC>/made/here\n");
        assert!(!ran.stderr.contains("AutoDiscovered"), "{}", ran.stderr);
        let mut found = support::tree::files(&sandbox.source().join("made/here"));
        found.sort();
        assert_eq!(found, ["index.html", "junit.xml", "summary.json"]);
    }
    assert!(!sandbox.source().join(".runner/reports").exists());
    sandbox
        .run(["run", "--reports", "unit.xml"])
        .expect(2)
        .stderr_has("`--reports unit.xml` is no directory");
    sandbox
        .run(["run", "--reports", "s3://bucket/x"])
        .expect(2)
        .stderr_has("write a directory");
    for wrong in ["101", "many", "-1", "NaN"] {
        sandbox
            .run(["run".to_owned(), format!("--fail-under={wrong}")])
            .expect(2)
            .stderr_has("write a number from 0 to 100");
    }
}

// REP-13
#[test]
fn a_place_that_cannot_be_written_is_a_fault_where_it_was_asked_for() {
    // A file where a directory would have to be: also root cannot write there.
    let asked = sandbox().file("taken", "");
    asked
        .run(["run", "--no-preflight", "--reports", "taken/below"])
        .expect(4)
        .stderr_has("could not write reports to <SRC>/taken/below: ");
    let default = sandbox().file(".runner/reports", "");
    default
        .run(["run"])
        .expect(0)
        .stderr_has("warning: could not write reports to <SRC>/.runner/reports: ");
}

// REP-14
#[test]
fn coverage_that_is_not_all_counted_decides_nothing() {
    // More files than are kept, of which the first are covered.
    let mut files = String::new();
    for number in 0..20_001 {
        let covered = if number < 20_000 {
            "ci='1' mi='0'"
        } else {
            "ci='0' mi='1'"
        };
        let _ = write!(
            files,
            "<sourcefile name='{number}'><line nr='1' {covered}/></sourcefile>"
        );
    }
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    commands: [\"true\"]\nreports:\n  lines: {files: cov.xml, file-format: JACOCOXML}\n",
    )
    .file(
        "cov.xml",
        format!("<report><package name='p'>{files}</package></report>"),
    );
    sandbox
        .run(["run", "--fail-under", "90"])
        .expect(1)
        .stdout_has("more lines are in the coverage reports than are counted");
}
