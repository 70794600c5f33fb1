//! What was written is what is read.

use std::collections::BTreeMap;

use buildspec_runner::buildspec::{self, Buildspec};
use buildspec_runner::phase::{CommandPhase, OnFailure};
use buildspec_runner::source::{SourceText, Spanned};

use proptest::option::of as maybe;

use super::{Strategy, any, prop, prop_oneof, proptest, tries};

/// Texts that a reader with ideas of its own would change.
const ODD: &[&str] = &[
    "3.10",
    "010",
    "yes",
    "No",
    "1_000",
    "0x1F",
    "0o17",
    "1e3",
    ".5",
    "+1",
    "-1",
    "true",
    "12:30:45",
    "2020-01-01",
    "0.2",
    ".inf",
    "1.0.0",
    "=",
    "http://h/p",
    "a:b",
    "x#y",
    "$A/${B}",
    "nil",
    "NaN",
];

/// A scalar and how it is written.
#[derive(Clone, Debug)]
struct Text {
    value: String,
    style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

impl Text {
    /// As it stands in a file, in a mapping or list that is indented this far.
    fn written(&self, indent: usize) -> String {
        match self.style {
            Style::Plain => self.value.clone(),
            Style::Single => format!("'{}'", self.value.replace('\'', "''")),
            Style::Double => format!(
                "\"{}\"",
                self.value.chars().map(escaped).collect::<String>()
            ),
            Style::Literal => {
                let chomping = if self.value.ends_with('\n') { "" } else { "-" };
                let lines = self
                    .value
                    .lines()
                    .map(|line| format!("\n{:indent$}  {line}", ""));
                format!("|{chomping}{}", lines.collect::<String>())
            }
        }
    }
}

fn escaped(character: char) -> String {
    match character {
        '"' | '\\' => format!("\\{character}"),
        ' '..='~' | '\u{a1}'..='\u{2000}' => character.to_string(),
        _ => format!("\\U{:08x}", u32::from(character)),
    }
}

fn text() -> impl Strategy<Value = Text> {
    let of = |style| move |value: String| Text { value, style };
    let line = "[!-~é世][ -~é世]{0,12}";
    prop_oneof![
        prop::sample::select(ODD)
            .prop_map(str::to_owned)
            .prop_map(of(Style::Plain)),
        "[a-zA-Z0-9$./][a-zA-Z0-9 $./=_-]{0,12}[a-zA-Z0-9]"
            .prop_filter("null means nothing", |text| text.to_lowercase() != "null")
            .prop_map(of(Style::Plain)),
        "[ -~é世]{0,16}".prop_map(of(Style::Single)),
        any::<String>()
            .prop_filter("NUL is refused in a variable", |text| !text.contains('\0'))
            .prop_map(of(Style::Double)),
        (prop::collection::vec(line, 1..4), any::<bool>()).prop_map(|(lines, end)| Text {
            value: lines.join("\n") + if end { "\n" } else { "" },
            style: Style::Literal,
        }),
    ]
}

/// An item of a list of commands: a text, or one of the ways to write nothing.
#[derive(Clone, Debug)]
enum Item {
    Text(Text),
    Nothing(&'static str),
}

#[derive(Clone, Debug)]
struct Phase {
    commands: Option<Vec<Item>>,
    finally: Option<Vec<Item>>,
    on_failure: Option<(&'static str, OnFailure)>,
}

#[derive(Clone, Debug)]
struct Artifacts {
    files: Vec<Text>,
    excludes: Vec<Text>,
    name: Option<Text>,
    base: Option<Text>,
    discard: Option<(&'static str, bool)>,
}

#[derive(Clone, Debug)]
struct Written {
    variables: BTreeMap<String, Text>,
    phases: Vec<(CommandPhase, Phase)>,
    artifacts: Option<Artifacts>,
    flow: bool,
    line_end: &'static str,
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let item = prop_oneof![
        4 => text().prop_map(Item::Text),
        1 => prop::sample::select(&["", "~", "null", "# note"][..]).prop_map(Item::Nothing),
    ];
    prop::collection::vec(item, 1..4)
}

fn phase() -> impl Strategy<Value = Phase> {
    let on_failure = [
        ("ABORT", OnFailure::Abort),
        ("abort", OnFailure::Abort),
        ("'Continue'", OnFailure::Continue),
    ];
    (
        maybe(items()),
        maybe(items()),
        maybe(prop::sample::select(on_failure.to_vec())),
    )
        .prop_map(|(commands, finally, on_failure)| Phase {
            commands,
            finally,
            on_failure,
        })
}

fn artifacts() -> impl Strategy<Value = Artifacts> {
    let texts = |range| prop::collection::vec(text(), range);
    let flags = [
        ("yes", true),
        ("no", false),
        ("TRUE", true),
        ("\"off\"", false),
    ];
    (
        texts(1..4),
        texts(0..3),
        maybe(text()),
        maybe(text()),
        maybe(prop::sample::select(flags.to_vec())),
    )
        .prop_map(|(files, excludes, name, base, discard)| Artifacts {
            files,
            excludes,
            name,
            base,
            discard,
        })
}

fn written() -> impl Strategy<Value = Written> {
    let variables = prop::collection::btree_map("[A-Z][A-Z0-9_]{0,6}", text(), 0..4);
    let order = prop::sample::subsequence(CommandPhase::ALL.to_vec(), 1..=4).prop_shuffle();
    let phases = (order, prop::collection::vec(phase(), 4))
        .prop_map(|(order, phases)| order.into_iter().zip(phases).collect());
    let line_end = prop::sample::select(&["\n", "\r\n", "\r"][..]);
    (
        variables,
        phases,
        maybe(artifacts()),
        any::<bool>(),
        line_end,
    )
        .prop_map(|(variables, phases, artifacts, flow, line_end)| Written {
            variables,
            phases,
            artifacts,
            flow,
            line_end,
        })
}

impl Written {
    fn yaml(&self) -> String {
        let mut yaml = "version: 0.2\n".to_owned();
        if !self.variables.is_empty() {
            yaml.push_str("env:\n  variables:\n");
            for (name, value) in &self.variables {
                yaml.push_str(&format!("    {name}: {}\n", value.written(4)));
            }
        }
        yaml.push_str("phases:\n");
        for (name, phase) in &self.phases {
            yaml.push_str(&format!("  {}:\n", name.key()));
            for (key, items) in [("commands", &phase.commands), ("finally", &phase.finally)] {
                if let Some(items) = items {
                    yaml.push_str(&format!("    {key}:\n"));
                    for item in items {
                        let written = match item {
                            Item::Text(text) => text.written(6),
                            Item::Nothing(nothing) => (*nothing).to_owned(),
                        };
                        yaml.push_str(&format!("      - {written}\n"));
                    }
                }
            }
            if let Some((written, _)) = phase.on_failure {
                yaml.push_str(&format!("    on-failure: {written}\n"));
            }
        }
        if let Some(artifacts) = &self.artifacts {
            yaml.push_str("artifacts:\n");
            yaml.push_str(&self.list("files", &artifacts.files));
            yaml.push_str(&self.list("exclude-paths", &artifacts.excludes));
            for (key, text) in [
                ("name", &artifacts.name),
                ("base-directory", &artifacts.base),
            ] {
                if let Some(text) = text {
                    yaml.push_str(&format!("  {key}: {}\n", text.written(2)));
                }
            }
            if let Some((written, _)) = artifacts.discard {
                yaml.push_str(&format!("  discard-paths: {written}\n"));
            }
        }
        yaml.replace('\n', self.line_end)
    }

    /// A list of texts; in brackets where that can be.
    fn list(&self, key: &str, texts: &[Text]) -> String {
        let quoted = |text: &Text| matches!(text.style, Style::Single | Style::Double);
        if self.flow && texts.iter().all(quoted) {
            let texts: Vec<String> = texts.iter().map(|text| text.written(0)).collect();
            return format!("  {key}: [{}]\n", texts.join(", "));
        }
        let items = texts
            .iter()
            .map(|text| format!("    - {}\n", text.written(4)));
        format!("  {key}:\n{}", items.collect::<String>())
    }

    /// The first thing that was read in another way than it was written.
    fn difference(&self, source: &SourceText, read: &Buildspec) -> Option<String> {
        let variables = read
            .variables
            .iter()
            .map(|variable| (variable.name.value.clone(), variable.value.value.clone()));
        let meant = self
            .variables
            .iter()
            .map(|(name, text)| (name.clone(), text.value.clone()));
        let differs = |what: &str, read: String, meant: String| {
            (read != meant).then(|| format!("{what}: read {read}, written {meant}"))
        };
        let debug = |value: &dyn std::fmt::Debug| format!("{value:?}");
        let sorted = |pairs: BTreeMap<String, String>| debug(&pairs);
        differs(
            "variables",
            sorted(variables.collect()),
            sorted(meant.collect()),
        )
        .or_else(|| {
            let read: Vec<CommandPhase> =
                read.phases.iter().map(|phase| phase.name.value).collect();
            let mut meant: Vec<CommandPhase> = self.phases.iter().map(|(name, _)| *name).collect();
            meant.sort();
            differs("phases", debug(&read), debug(&meant))
        })
        .or_else(|| {
            self.phases.iter().find_map(|(name, phase)| {
                let read = read.phase(*name)?;
                let on_failure = read.on_failure.as_ref().map(|value| &value.value);
                let meant = phase.on_failure.as_ref().map(|(_, meant)| meant);
                differs("on-failure", debug(&on_failure), debug(&meant))
                    .or_else(|| commands_differ(source, phase.commands.as_ref(), &read.commands))
                    .or_else(|| commands_differ(source, phase.finally.as_ref(), &read.finally))
            })
        })
        .or_else(|| {
            let read = read
                .artifacts
                .as_ref()
                .and_then(|read| read.primary.as_ref());
            let read = read.map(|read| {
                let one =
                    |text: &Option<Spanned<String>>| text.as_ref().map(|text| text.value.clone());
                let all = |texts: &[Spanned<String>]| -> Vec<String> {
                    texts.iter().map(|text| text.value.clone()).collect()
                };
                let (files, excludes) = (all(&read.files), all(&read.exclude_paths));
                (
                    files,
                    excludes,
                    one(&read.name),
                    one(&read.base_directory),
                    read.discard_paths,
                )
            });
            let meant = self.artifacts.as_ref().map(|meant| {
                let one = |text: &Option<Text>| text.as_ref().map(|text| text.value.clone());
                let all = |texts: &[Text]| -> Vec<String> {
                    texts.iter().map(|text| text.value.clone()).collect()
                };
                let discard = meant.discard.is_some_and(|(_, on)| on);
                (
                    all(&meant.files),
                    all(&meant.excludes),
                    one(&meant.name),
                    one(&meant.base),
                    discard,
                )
            });
            differs("artifacts", debug(&read), debug(&meant))
        })
    }
}

fn commands_differ(
    source: &SourceText,
    written: Option<&Vec<Item>>,
    read: &[buildspec::model::Command],
) -> Option<String> {
    let items = written.into_iter().flatten().enumerate();
    let meant: Vec<(usize, &Text)> = items
        .filter_map(|(index, item)| match item {
            Item::Text(text) => Some((index, text)),
            Item::Nothing(_) => None,
        })
        .collect();
    let same = |(read, (index, text)): (&buildspec::model::Command, &(usize, &Text))| {
        // A block loses nothing but what stands behind its last letter.
        let place = source
            .slice(read.text.span)
            .replace("\r\n", "\n")
            .replace('\r', "\n");
        read.index == *index
            && read.text.value == text.value
            && place == text.written(6).trim_end_matches([' ', '\t', '\n'])
    };
    let all = read.len() == meant.len() && read.iter().zip(&meant).all(same);
    (!all).then(|| format!("read {read:?}, written {meant:?}"))
}

proptest! {
    #![proptest_config(tries(250))]

    // SPEC-2, SPEC-5, SPEC-6, SPEC-12, SPEC-13, SPEC-14, PHASE-6, ENV-10
    #[test]
    fn what_was_written_is_what_is_read(written in written()) {
        let yaml = written.yaml();
        let source = SourceText::new("buildspec.yml", yaml.as_str());
        let (read, _) = buildspec::read(&source)
            .map_err(|found| proptest::test_runner::TestCaseError::fail(format!("{found:#?}\n{yaml}")))?;
        proptest::prop_assert_eq!(written.difference(&source, &read), None, "{}", yaml);
    }
}

// SPEC-6, SPEC-12
#[test]
fn a_scalar_keeps_its_text_wherever_it_stands() {
    for odd in ODD {
        let yaml = format!(
            "version: 0.2\nenv:\n  variables:\n    V: {odd}\nphases:\n  build:\n    commands: [make]\n    \
             finally:\n      - {odd}\nartifacts:\n  files: {odd}\n  name: {odd}\n"
        );
        let (read, _) = buildspec::read(&SourceText::new("buildspec.yml", yaml.as_str()))
            .unwrap_or_else(|found| panic!("{odd}: {found:#?}"));
        let artifact = read.artifacts.unwrap().primary.unwrap();
        assert_eq!(read.variables[0].value.value, *odd);
        assert_eq!(read.phases[0].finally[0].text.value, *odd);
        assert_eq!(artifact.files[0].value, *odd);
        assert_eq!(artifact.name.unwrap().value, *odd);
    }
}

// SPEC-6, SPEC-12
#[test]
fn nothing_is_an_empty_variable_and_no_command() {
    for nothing in ["", "~", "null", "Null", "NULL"] {
        let yaml = format!(
            "version: 0.2\nenv:\n  variables:\n    V: {nothing}\nphases:\n  build:\n    commands:\n      - \
             {nothing}\n      - make\n"
        );
        let (read, _) = buildspec::read(&SourceText::new("buildspec.yml", yaml.as_str()))
            .unwrap_or_else(|found| panic!("{nothing}: {found:#?}"));
        assert_eq!(read.variables[0].value.value, "");
        let commands = &read.phases[0].commands;
        assert_eq!((commands.len(), commands[0].index), (1, 1), "{nothing}");
    }
}
