//! Masking, as whoever uses the library sees it, and as a whole build does.
//!
//! The tables show what public suites of other runners show, with texts of our own: which situations there are is known from
//! the tests of the replacer of buildkite/agent (with its fuzz seeds) and of its redaction, of the masker and the token
//! sanitizer of gitlab-runner, and of the encoders of actions/runner.

mod support;

use std::ffi::OsString;

use buildspec_runner::aws;
use buildspec_runner::engine::Endpoint;
use buildspec_runner::redact::{self, Hider, Redactor, Secrets};
use buildspec_runner::registry::Settings;
use buildspec_runner::tool::{self, Backend, Environment, Logins, Masks, Surroundings, Tool};
use support::sandbox::Sandbox;
use support::wait::Bounded as _;

/// What is left of pieces of output, with exact values hidden.
fn exact(values: &[&[u8]], pieces: &[&[u8]]) -> Vec<u8> {
    let values = values.iter().map(|value| value.to_vec());
    let mut stream = Redactor::new(Secrets::new(values));
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(stream.push(piece.to_vec()));
    }
    out.extend(stream.flush());
    out
}

/// The same with all forms of values; `|` is where the text is cut.
fn seen(values: &[&str], text: &str) -> String {
    let forms: Vec<Vec<u8>> = values
        .iter()
        .flat_map(|value| redact::forms(value.as_bytes()))
        .collect();
    let forms: Vec<&[u8]> = forms.iter().map(Vec::as_slice).collect();
    let pieces: Vec<&[u8]> = text.split('|').map(str::as_bytes).collect();
    String::from_utf8(exact(&forms, &pieces)).expect("text stays text")
}

/// Values, a text, what is seen of it.
type Row = (&'static [&'static str], &'static str, &'static str);

fn check(table: &[Row]) {
    let mut wrong = Vec::new();
    for (values, text, expected) in table {
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        // As it is cut here, whole, byte for byte, and in pieces of three.
        let cut: Vec<&[u8]> = text.split('|').map(str::as_bytes).collect();
        let whole = cut.concat();
        let ways = [
            cut,
            vec![whole.as_slice()],
            whole.chunks(1).collect(),
            whole.chunks(3).collect(),
        ];
        for pieces in ways {
            let seen = exact(&values, &pieces);
            if seen != expected.as_bytes() {
                wrong.push(format!("{text:?}: {:?}", String::from_utf8_lossy(&seen)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// LOG-15: the situations of buildkite/agent's replacer.
#[test]
fn secrets_that_overlap_or_nest_or_almost_match() {
    check(&[
        (&[], "the harbour lights", "the harbour lights"),
        (&["harbour"], "the harbour lights", "the *** lights"),
        (&["the", "lights"], "the harbour lights", "*** harbour ***"),
        // One within the other, whichever is named first.
        (
            &["harbour light", "light"],
            "the harbour lights",
            "the ***s",
        ),
        (
            &["light", "harbour light"],
            "the harbour lights",
            "the ***s",
        ),
        // One begins in the other.
        (&["the harb", "arbour li"], "the harbour lights", "***ghts"),
        // The one between them does not come true.
        (
            &["the harb", "bour Lig", "our lights"],
            "the harbour lights",
            "******",
        ),
        (
            &["the harb", "bour Lig", "lights"],
            "the harbour lights",
            "***our ***",
        ),
        // The longest nearly matches, with two in it that do.
        (
            &["the harbour lightZ", "harb", "ligh"],
            "the harbour lights",
            "the ***our ***ts",
        ),
        (
            &["a", "i", "o", "u", "the harbour lightZ"],
            "the harbour lights",
            "the h***rb******r l***ghts",
        ),
        // A tower, each around the one before.
        (
            &["bo", "rbou", "arbour", "harbour ", " harbour l"],
            "the harbour lights",
            "the***ights",
        ),
        (&["ÿ"], "mooÿnlight", "moo***nlight"),
    ]);
}

// LOG-15: where writes are cut, after buildkite/agent and gitlab-runner.
#[test]
fn where_output_is_cut_changes_nothing() {
    check(&[
        (&[""], "nothing to hide", "nothing to hide"),
        (&["pelican"], "pelican", "***"),
        (&["pelican"], "pelica|n", "***"),
        (&["pelican"], "p|elican", "***"),
        (&["pelican"], "pelicanpelican", "******"),
        (&["pelican"], "ppelican", "p***"),
        (&["pelican"], "p|pelican", "p***"),
        (&["pel"], "pel at the beginning", "*** at the beginning"),
        (&["mid"], "in the mid of it", "in the *** of it"),
        (&["end"], "and at the end", "and at the ***"),
        (
            &["every", "word", "here"],
            "ev|ery w|ord her|e",
            "*** *** ***",
        ),
        (
            &["owl", "cat"],
            "xo|wlx yc|aty oow|l c|att oo|wll ccat|",
            "x***x y***y o*** ***t o***l c***",
        ),
        (
            &["wing", "left_wing"],
            "left_wing wing left_|wing left_wi|ng wi|ng",
            "*** *** *** *** ***",
        ),
        // What was taken for the beginning of one is that of another.
        (
            &["north by night", "ni goes", "ni"],
            "to north by ni| goes",
            "to north by ***",
        ),
        // Some of a secret is decided already, the rest is not.
        (
            &["harbour light", "ur li"],
            "the harbour l|ights",
            "the ***s",
        ),
        (
            &["harbour light", "bour", "li", "light"],
            "the harbour lig|hts",
            "the ***s",
        ),
        (&["token-abc"], "to|ken-|abc tok|en| -abc", "*** token -abc"),
    ]);
}

// LOG-15: what the seeds of a fuzzer are like: one byte again and again, bytes that are no text, cuts anywhere.
#[test]
fn texts_of_one_byte_and_of_no_characters_are_masked_too() {
    let zeros = [b'0'; 130];
    for cut in [0, 1, 10, 64, 129, 130] {
        let pieces = [&zeros[..cut], &zeros[cut..]];
        let table: [(&[&[u8]], Vec<u8>); 5] = [
            (&[b"0"], b"***".repeat(130)),
            (&[b"00", b"0", b"000"], b"***".to_vec()),
            (&[b"0000000", b"00000000"], b"***".to_vec()),
            (&[&[b'0'; 130]], b"***".to_vec()),
            (&[&[b'0'; 131]], zeros.to_vec()),
        ];
        for (values, expected) in table {
            assert_eq!(
                exact(values, &pieces),
                expected,
                "{} cut at {cut}",
                values.len()
            );
        }
    }
    assert_eq!(exact(&[b"\xc6 "], &[b"0\xc6", b" 0"]), b"0***0");
    assert_eq!(exact(&[b"\xc2\x85"], &[b"0\xc2", b"\x850"]), b"0***0");
    assert_eq!(
        exact(&[b"\xff\xfe\xff"], &[b"\xff\xfe", b"\xfe\xff\xfe\xff"]),
        b"\xff\xfe\xfe***"
    );
    assert_eq!(exact(&[b"a\0b"], &[b"a\0", b"b\0"]), b"***\0");
}

// LOG-21: keys of several lines, after buildkite/agent: whatever a terminal or an unquoted variable makes of line ends.
#[test]
fn lines_of_a_key_are_hidden_however_they_are_joined() {
    let key = "----BEGIN A KEY----\nq1w2e3r4\n----END A KEY----\n";
    let table = [
        (
            "before\n----BEGIN A KEY----\n|q1w2e3r4\n|----END A KEY----\n|after",
            "before\n***after",
        ),
        (
            "before\r\n----BEGIN A KEY----\r|\nq1w2e3r4\r\n----END A KEY----\r\nafter",
            "before\r\n***\r\n***\r\n***\r\nafter",
        ),
        (
            "before\r\r\n----BEGIN A KEY----\r\r\nq1w2|e3r4\r\r\n----END A KEY----",
            "before\r\r\n***\r\r\n***\r\r\n***",
        ),
        (
            "----BEGIN A KEY---- q1w2e3r4 ----END A KEY---- after",
            "*** *** *** after",
        ),
        (
            "----BEGIN A KEY----\n\n \n\u{b}q1w2e3r4\n\t\t\n",
            "***\n\n \n\u{b}***\n\t\t\n",
        ),
        (r"----BEGIN A KEY----\nq1w2e3r4\n----END A KEY----\n", "***"),
    ];
    for (text, expected) in table {
        assert_eq!(seen(&[key], text), expected, "{text:?}");
    }
}

// LOG-21: the encoders of actions/runner. Of Base64 at most the two characters at a value's ends are left.
#[test]
fn encoded_values_are_hidden() {
    let table: &[(&str, &str, &str)] = &[
        ("Gr33nTea#", "7Gr33nTea#7", "7***7"),
        ("Gr33nTea#", "gr33ntea#", "gr33ntea#"),
        (r#"Gr"een"Tea#"#, r#"7Gr\"een\"Tea#7"#, "7***7"),
        ("Gr een Tea#", "7Gr%20een%20Tea%237", "7***7"),
        ("Gr<een>Tea#", "7Gr&lt;een&gt;Tea#7", "7***7"),
        ("Gr'een'Tea#", "7Gr''een''Tea#7", "7***7"),
        (r#""GreenTea##""#, "7GreenTea##7", "7***7"),
        (r#""green""#, "7green7", "7green7"),
        (r#""green""#, r#"7"green"7"#, "7***7"),
        // `:Gr33nTea#`, with one to six bytes before it
        ("Gr33nTea#", "OkdyMzNuVGVhIw==", "Ok***w=="),
        ("Gr33nTea#", "eTpHcjMzblRlYSM=", "eTp***M="),
        ("Gr33nTea#", "eXo6R3IzM25UZWEj", "eXo6***"),
        ("Gr33nTea#", "eHl6OkdyMzNuVGVhIw==", "eHl6Ok***w=="),
        ("Gr33nTea#", "d3h5ejpHcjMzblRlYSM=", "d3h5ejp***M="),
        ("Gr33nTea#", "dnd4eXo6R3IzM25UZWEj", "dnd4eXo6***"),
        ("one\ntwo", "one\ntwo one\\ntwo", "*** ***"),
    ];
    for (value, text, expected) in table {
        assert_eq!(seen(&[value], text), *expected, "{value} in {text}");
    }
}

// LOG-23
#[test]
fn what_is_longer_than_a_stretch_is_one_mask() {
    let long = "_".repeat(16_000);
    let text = format!("long: {}|{}", &long[..8_000], &long[8_000..]);
    assert_eq!(seen(&[&long], &text), "long: ***");
    let pem = [
        "first line of it, with some more",
        &"x1".repeat(400),
        "last line",
    ]
    .join("\n");
    assert_eq!(
        seen(&[&pem], &format!("<{}|{}>", &pem[..700], &pem[700..])),
        "<***>"
    );
    let base64 = "bG9uZ2VyIHRoYW4gYSBsaW5lIG9mIEJhc2U2NCBpcywgc28gdGhhdCBpdCBpcyBicm9rZW4gaW50";
    let value = "longer than a line of Base64 is, so that it is broken into two";
    assert_eq!(seen(&[value], &format!("{base64}\nbyB0d28K")), "***\n***8K");
}

// TOOL-43
#[test]
fn a_value_goes_through_a_socket_that_is_the_users_alone() {
    Sandbox::with_commands(&[
        "stat -c 'mode %a' \"$RUNNER_MASK_SOCKET\"",
        "VALUE=$(printf 'of-%s-input' standard); printf '%s\\r\\n' \"$VALUE\" | runner mask",
        "printf '<%s>' \"$VALUE\"",
        "VALUE=$(printf -- '-ano%s' ther-one); runner mask \"$VALUE\"; printf '<%s>' \"$VALUE\"",
    ])
    .run(["run", "--quiet"])
    .expect(0)
    .stdout_has("mode 600\n<***>\n<***>");
}

// TOOL-40 TOOL-41: a process in the background is the build's too, and so are errors and artifacts' names.
#[test]
fn what_is_masked_is_hidden_in_events_and_messages() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    commands:\n      - printf 'na%s' med-value | runner mask\n      - touch named-value; echo named-value >&2\n      - false named-value\nartifacts:\n  files: ['**/*']\n",
    );
    let ran = sandbox
        .run(["run", "--events", "events.json", "--log-file", "log.txt"])
        .expect(1);
    let read = |name: &str| std::fs::read_to_string(sandbox.source().join(name)).unwrap();
    for text in [ran.stdout, ran.stderr, read("events.json"), read("log.txt")] {
        assert!(!text.contains("named-value"), "{text}");
    }
    assert!(read("events.json").contains("false ***"));
}

// TOOL-42
#[test]
fn a_build_hides_so_much_and_no_more() {
    Sandbox::with_commands(&[
        "n=0; while printf '%060000d' $n | runner mask; do n=$((n + 1)); done; echo \"hidden=$n\"",
    ])
    .run(["run", "--quiet"])
    .expect(0)
    .stdout_has("hidden=17")
    .stdout_has("hides as much as it can already");
}

// TOOL-44
#[test]
fn without_a_build_there_is_nothing_to_hide_in() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(["mask", "some-value"]).expect(2);
    let ran = ran.stderr_has("there is no build to hide a value in");
    assert!(!ran.stderr.contains("some-value"));
    Sandbox::with_commands(&["echo value | runner mask || echo \"code $?\""])
        .run(["run", "--quiet", "--no-tools"])
        .expect(0)
        .stdout_has("code 127");
}

// LOG-25
#[test]
fn a_password_that_goes_through_our_docker_is_hidden() {
    let hider = Hider::default();
    let nowhere = Endpoint::Unix("/nowhere/engine.sock".into());
    let settings = Settings::new(Vec::new(), aws::Settings::default());
    let backend =
        Backend::new(nowhere, Logins::in_memory(), settings).with_masks(Masks::new(hider.clone()));
    let around = Surroundings {
        directory: "/".into(),
        environment: Environment::default(),
        stdin: &b"a-long-password\n"[..],
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let words = ["login", "-u", "me", "--password-stdin", "localhost:1"].map(OsString::from);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(tool::run_here(Tool::Docker, &words, &backend, around));
    assert_eq!(hider.take(), redact::forms(b"a-long-password"));
}

/// A build with a secret, `PASSWORD`, that makes these files, and stores all of them.
fn with_secret(commands: &str) -> Sandbox {
    let sandbox = Sandbox::with_buildspec(&format!(
        "version: 0.2\nenv:\n  parameter-store:\n    PASSWORD: /some/name\nphases:\n  build:\n    commands:\n{commands}artifacts:\n  files: ['**/*']\n  base-directory: out\n  name: all\n"
    ));
    std::fs::write(sandbox.path("secrets.env"), "PASSWORD=sesame-open\n")
        .expect("a file can be written");
    sandbox
}

fn run(sandbox: &Sandbox, more: &[&str]) -> support::sandbox::Ran {
    let given = sandbox.path("secrets.env");
    let given = given.to_str().expect("a path of a test is text");
    let stored = sandbox.path("stored");
    let stored = stored.to_str().expect("a path of a test is text");
    let fixed = ["run", "--secrets-file", given, "--artifacts", stored];
    sandbox.run([&fixed, more].concat())
}

// ART-30 ART-31
#[test]
fn files_with_secrets_are_named_and_stored_as_they_are() {
    let sandbox = with_secret(
        "      - mkdir -p out/deep; printf 'key=%s' \"$PASSWORD\" > out/plain.txt; echo clean > out/clean.txt\n      - (head -c 300000 /dev/zero; printf %s \"$PASSWORD\" | base64) > out/deep/blob.bin; touch \"out/$PASSWORD.name\"\n",
    );
    for packaging in ["zip", "none"] {
        // The archive of the first round is in the way of the second one's directory.
        let _ = std::fs::remove_file(sandbox.path("stored/all"));
        let ran = run(
            &sandbox,
            &[
                "--scan-artifacts",
                "--packaging",
                packaging,
                "--events",
                "events.json",
            ],
        )
        .expect(0)
        .stderr_has("`plain.txt` in the artifact contains a secret")
        .stderr_has("`deep/blob.bin` in the artifact contains a secret")
        .stderr_has("`***.name` in the artifact contains a secret");
        let events = std::fs::read_to_string(sandbox.source().join("events.json")).unwrap();
        assert_eq!(events.matches("contains a secret").count(), 3, "{events}");
        for text in [&ran.stdout, &ran.stderr, &events] {
            assert!(
                !text.contains("sesame-open") && !text.contains("clean.txt` in"),
                "{text}"
            );
        }
    }
    let stored = sandbox.path("stored/all/plain.txt");
    assert_eq!(std::fs::read(stored).unwrap(), b"key=sesame-open");
    let without = run(&sandbox, &[]).expect(0);
    assert!(
        !without.stderr.contains("contains a secret"),
        "{}",
        without.stderr
    );
}

// ART-32
#[test]
fn many_files_with_secrets_are_counted() {
    let sandbox = with_secret(
        "      - mkdir out; for n in $(seq 10 34); do printf '%s' \"$PASSWORD\" > \"out/$n\"; done\n",
    );
    let ran = run(&sandbox, &["--scan-artifacts"]).expect(0);
    let ran = ran.stderr_has("5 more files in the artifact contain a secret");
    assert_eq!(
        ran.stderr
            .matches("in the artifact contains a secret")
            .count(),
        20
    );
}

// LOG-24
#[test]
fn what_is_said_beside_the_log_hides_the_same() {
    let sandbox = with_secret("      - mkdir out; touch out/a\n");
    // A log that cannot be written is said after the build, with its name.
    let log = sandbox.path("sesame-open.log");
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let ran = run(&sandbox, &["--log-file", log.to_str().unwrap()]);
    let ran = ran.expect(4).stderr_has("***.log is incomplete");
    assert!(!ran.stderr.contains("sesame-open"), "{}", ran.stderr);
    // Before the build, by way of a buildspec that cannot be used, and of a plan.
    let key = "AKIAIOSFODNN7EXAMPLE";
    let wrong = Sandbox::with_buildspec(&format!("version: 0.2\nphases:\n  build: {key}\n"));
    for command in ["run", "plan"] {
        let mut started = wrong.command([command]);
        let output = started
            .env("AWS_ACCESS_KEY_ID", key)
            .bounded_output()
            .unwrap();
        let ran = wrong.finish(&output);
        assert!(
            ran.stderr.contains("build: ***"),
            "{command}: {}",
            ran.stderr
        );
        assert!(
            !ran.stderr.contains(key) && !ran.stdout.contains(key),
            "{command}"
        );
    }
}
