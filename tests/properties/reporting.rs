//! Reports: whatever is in a file, reading it ends, and what is kept has its limits.

use std::fs;

use buildspec_runner::report::{Format, Limits, Reading, Report};
use proptest::sample::{Index, select};

use super::*;

/// The files of the cases, and pieces that readers look for.
static FILES: LazyLock<Vec<(Format, Vec<u8>)>> = LazyLock::new(|| {
    let mut files = Vec::new();
    for format in Format::ALL {
        let folder = support::root().join("testdata/report").join(format.name());
        for entry in fs::read_dir(folder).expect("the cases are there").flatten() {
            if entry
                .path()
                .extension()
                .is_some_and(|kind| kind != "expected")
            {
                files.push((format, fs::read(entry.path()).expect("a case can be read")));
            }
        }
    }
    files.sort();
    files
});

const PIECES: &[&str] = &[
    "<testsuite>",
    "</testsuite>",
    "<testcase name='",
    "'>",
    "<failure>",
    "</failure>",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<?",
    "?>",
    "<!DOCTYPE a [",
    "]>",
    "&",
    "&#",
    ";",
    "<",
    ">",
    "/",
    "/>",
    "'",
    "\"",
    "\0",
    "\u{feff}",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "\\u",
    "\\",
    "null",
    "1e999",
    "-",
    "<coverage>",
    "<class filename='a'>",
    "<line number='1' hits='1'/>",
    "<UnitTestResult>",
    "<test-case>",
    "<test-suite>",
    "\"elements\"",
    "\"coverage\"",
    "\"lines\"",
    "é",
    "😀",
];

fn read(format: Format, bytes: &[u8]) -> Report {
    let limits = Limits {
        cases: 5,
        text: 500,
        files: 3,
        lines: 4,
    };
    let mut reading = Reading::new(Report::new("group", format), limits);
    reading.file("file", bytes, &|| false);
    reading.finish()
}

fn check(format: Format, bytes: &[u8]) {
    let report = read(format, bytes);
    assert!(report.cases.len() <= 5 && report.coverage.len() <= 3);
    let text: usize = report
        .cases
        .iter()
        .map(|case| {
            case.name.len() + case.output.len() + case.message.as_ref().map_or(0, String::len)
        })
        .sum();
    assert!(text <= 500 * 2, "{text} bytes");
    assert!(report.tests.total() >= report.cases.len());
    for case in &report.cases {
        let _ = (report.suite(case), report.place(case));
    }
    let coverage = report.coverage_summary();
    let share = coverage.lines.percentage().unwrap_or(0.0);
    assert!((0.0..=100.0).contains(&share), "{share}");
}

proptest! {
    #![proptest_config(tries(512))]

    // REP-8, REP-9
    #[test]
    fn any_pieces_in_any_order_are_read_to_their_end(
        format in select(Format::ALL.as_slice()),
        pieces in prop::collection::vec(select(PIECES), 0..40),
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = pieces.concat().into_bytes();
        bytes.extend(rest);
        check(format, &bytes);
    }

    // REP-4, REP-8, REP-9
    #[test]
    fn a_file_that_was_changed_anywhere_is_read_to_its_end(
        file in any::<Index>(),
        other in any::<Index>(),
        cut in any::<Index>(),
        insert in prop_oneof![prop::collection::vec(any::<u8>(), 0..8), select(PIECES).prop_map(|piece| piece.as_bytes().to_vec())],
        take in 0..30_usize,
    ) {
        let (_, bytes) = file.get(&FILES);
        let (format, _) = other.get(&FILES);
        let at = cut.index(bytes.len() + 1);
        let mut changed = bytes[..at].to_vec();
        changed.extend(insert);
        changed.extend(&bytes[(at + take).min(bytes.len())..]);
        check(*format, &changed);
        let (own, _) = file.get(&FILES);
        check(*own, &changed);
        check(*own, &bytes[..at]);
    }
}
