//! Whatever a file holds, reading it ends, and what is said about it can be shown.

use buildspec_runner::diagnostic::{Code, has_error};
use buildspec_runner::lint::fix::fix;
use buildspec_runner::lint::{FileKind, Profile, Settings};
use buildspec_runner::plan::plan;
use buildspec_runner::source::{LineColumn, SourceText, Span};

use super::support::oracle::{Witness, difference};
use super::support::{request, sound};
use super::{BUILDSPECS, Path, Strategy, any, prop, prop_oneof, proptest, tries};

/// Reads a text and plans it; fails if a place is outside the text or a finding cannot be shown.
fn check(text: &str) -> Result<sound::Reading, String> {
    let source = SourceText::new("buildspec.yml", text);
    let reading = sound::read(&source)?;
    check_fixes(&source)?;
    if let Some(buildspec) = &reading.buildspec {
        let request = request::request(Path::new("/source"), Path::new("/artifacts"));
        match plan(&source, buildspec, &request) {
            Ok((_, warnings)) if has_error(&warnings) => Err("a plan in spite of an error")?,
            Err(found) if !has_error(&found) => Err("no plan, and nothing says why")?,
            Ok(_) | Err(_) => {}
        }
    }
    Ok(reading)
}

/// Fixes leave a text that has no more of them.
fn check_fixes(source: &SourceText) -> Result<(), String> {
    let settings = Settings {
        profile: Profile::Codebuild,
        tree: None,
        shellcheck: None,
        directives: true,
    };
    let once = fix(source, FileKind::Buildspec, &settings);
    let twice = fix(&once.source, FileKind::Buildspec, &settings);
    if twice.applied == 0 && twice.source.text() == once.source.text() {
        Ok(())
    } else {
        Err(format!(
            "fixed twice:\n{}\n{}",
            once.source.text(),
            twice.source.text()
        ))
    }
}

/// The same, and others who read the text read the same tree or refuse it in the same place.
fn check_with_witness(text: &str) -> Result<(), String> {
    let reading = check(text)?;
    let theirs = Witness::of(SourceText::new("x", text).text());
    let halted = |code| reading.in_tree.iter().any(|found| found.code == code);
    // Bounds and refusals of our own: a tag without a value, and nesting beyond reason.
    let ours_alone = halted(Code::LimitExceeded)
        || reading
            .in_tree
            .iter()
            .any(|found| found.message == "a tag without a value");
    // `serde_yaml` mixes up anchors that are given twice.
    if ours_alone || text.matches('&').count() > 1 {
        return Ok(());
    }
    match (&theirs.value, &theirs.error) {
        (Some(_), None) if halted(Code::YamlSyntax) => {
            Err(format!("only we refuse it: {:?}", reading.in_tree))
        }
        // What a tag makes of a scalar is a question of its own; a buildspec has none.
        (Some(value), None) if !has_error(&reading.in_tree) && !text.contains('!') => {
            let root = reading.document.root.as_ref();
            let differs = root.and_then(|root| difference(root, value));
            match (root, differs) {
                (None, _) if !value.is_null() => Err(format!("only they read {value:?}")),
                (_, Some(differs)) => Err(differs),
                _ => Ok(()),
            }
        }
        // Two merge keys lose nothing, so we take both.
        (None, Some(error))
            if !has_error(&reading.in_tree)
                && !error
                    .to_string()
                    .contains("duplicate entry with key \"<<\"") =>
        {
            Err(format!("only they refuse it: {error}"))
        }
        (None, Some(error)) if halted(Code::YamlSyntax) => same_place(&reading, error, text),
        _ => Ok(()),
    }
}

/// A syntax error is in the place where others see it, or shows that place beside the one where it was made.
fn same_place(
    reading: &sound::Reading,
    theirs: &serde_yaml::Error,
    text: &str,
) -> Result<(), String> {
    let source = SourceText::new("x", text);
    let ours = reading
        .in_tree
        .iter()
        .find(|found| found.code == Code::YamlSyntax)
        .map(|found| std::iter::once(&found.primary).chain(&found.secondary))
        .map(|labels| labels.map(|label| label.span).collect::<Vec<Span>>())
        .filter(|spans| spans.iter().all(|span| span.start() < source.text().len()));
    // The end of a text without a final newline is the beginning of one more line to them.
    // They stop at a key given twice; we go on. They count line breaks that no editor shows, and a character that is
    // not allowed they place by its offset.
    let message = theirs.to_string();
    let words = ["duplicate entry", "at position", "recursion limit"];
    let elsewhere = words.iter().any(|words| message.contains(words)) || text.contains('\u{85}');
    match (ours, theirs.location()) {
        (Some(ours), Some(theirs)) if !elsewhere => {
            let places = ours.iter().map(|span| source.start_of(*span));
            let place = |place: LineColumn| (place.line, place.column);
            if places
                .map(place)
                .any(|ours| ours == (theirs.line(), theirs.column()))
            {
                Ok(())
            } else {
                Err(format!("ours at {ours:?}, theirs: {message}"))
            }
        }
        _ => Ok(()),
    }
}

/// One change to a text.
#[derive(Clone, Debug)]
enum Change {
    DeleteByte(usize),
    InsertByte(usize, u8),
    DoubleByte(usize),
    SwapBytes(usize),
    DeleteLine(usize),
    DoubleLine(usize),
    SwapLines(usize, usize),
    IndentLine(usize),
    CutOff(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..4096_usize;
    prop_oneof![
        at.clone().prop_map(Change::DeleteByte),
        (
            at.clone(),
            prop_oneof![
                any::<u8>(),
                prop::sample::select(&b"\n\r\t :-#'\"|>*&!{}[],?%~"[..])
            ]
        )
            .prop_map(|(at, byte)| Change::InsertByte(at, byte)),
        at.clone().prop_map(Change::DoubleByte),
        at.clone().prop_map(Change::SwapBytes),
        at.clone().prop_map(Change::DeleteLine),
        at.clone().prop_map(Change::DoubleLine),
        (at.clone(), at.clone()).prop_map(|(a, b)| Change::SwapLines(a, b)),
        at.clone().prop_map(Change::IndentLine),
        at.prop_map(Change::CutOff),
    ]
}

impl Change {
    fn apply(&self, text: &mut Vec<u8>) {
        let mut lines: Vec<Vec<u8>> = text
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        let (length, count) = (text.len(), lines.len());
        if length == 0 {
            return;
        }
        match *self {
            Self::DeleteByte(at) => drop(text.remove(at % length)),
            Self::InsertByte(at, byte) => text.insert(at % length, byte),
            Self::DoubleByte(at) => text.insert(at % length, text[at % length]),
            Self::SwapBytes(at) => text.swap(at % length, (at + 1) % length),
            Self::CutOff(at) => text.truncate(at % length),
            Self::DeleteLine(at) => drop(lines.remove(at % count)),
            Self::DoubleLine(at) => lines.insert(at % count, lines[at % count].clone()),
            Self::SwapLines(a, b) => lines.swap(a % count, b % count),
            Self::IndentLine(at) => lines[at % count].insert(0, b' '),
        }
        if matches!(
            self,
            Self::DeleteLine(_) | Self::DoubleLine(_) | Self::SwapLines(..) | Self::IndentLine(_)
        ) {
            *text = lines.concat();
        }
    }
}

/// A buildspec of the cases after a few accidents. What is no UTF-8 any more is as a damaged file is shown.
fn damaged() -> impl Strategy<Value = String> {
    let seed = prop::sample::select(&BUILDSPECS[..]);
    (seed, prop::collection::vec(change(), 1..6)).prop_map(|(text, changes)| {
        let mut bytes = text.into_bytes();
        for change in changes {
            change.apply(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Everything that means something to YAML or to a buildspec, in no order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "- ",
        "-",
        ": ",
        ":",
        "? ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ",",
        "&a ",
        "*a",
        "!!str ",
        "! ",
        "!x ",
        "|",
        ">",
        "|-",
        "|+2",
        "'",
        "\"",
        "\\",
        "#",
        " #",
        "%",
        "%YAML 1.1",
        "@",
        "`",
        "~",
        "null",
        "<<",
        "---",
        "...",
        "--- ",
        "\n",
        "\n ",
        "\n  ",
        "\n    ",
        "\r\n",
        "\r",
        "\t",
        " ",
        "a",
        "b: c",
        "é",
        "世",
        "\u{feff}",
        "\u{85}",
        "\u{7}",
        "\u{1f600}",
        "version: 0.2\n",
        "phases:",
        "build:",
        "commands:",
        "finally:",
        "env:",
        "variables:",
        "artifacts:",
        "files:",
        "x: 1\n",
        "0x1F",
        "3.10",
        "yes",
    ];
    let pieces = prop::sample::select(pieces.to_vec());
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(tries(300))]

    // SPEC-2, SPEC-3, SPEC-26
    #[test]
    fn any_text_is_read_or_refused_in_a_place_of_its_own(text in any::<String>()) {
        check(&text).map_err(proptest::test_runner::TestCaseError::fail)?;
    }

    // SPEC-8, SPEC-26
    #[test]
    fn a_damaged_buildspec_is_read_as_others_read_it(text in damaged()) {
        check_with_witness(&text).map_err(proptest::test_runner::TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(tries(1500))]

    // SPEC-7, SPEC-8, SPEC-25, SPEC-26
    #[test]
    fn indicators_in_no_order_are_read_as_others_read_them(text in soup()) {
        check_with_witness(&text).map_err(proptest::test_runner::TestCaseError::fail)?;
    }
}
