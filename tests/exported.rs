//! `--exported FILE`: what comes after a build reads it (ENV-44, ENV-45).

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use support::sandbox::Sandbox;

const BUILD: &str = r#"version: 0.2
env:
  exported-variables: [VERSION, TITLE, MISSING]
phases:
  build:
    commands:
      - VERSION=1.2.3
      - |
        TITLE="it's \"\$5\" \`here\` \\ and
        there"
      - test ! -e fail
"#;

const TITLE: &str = "it's \"$5\" `here` \\ and\nthere";

// ENV-44
#[test]
fn the_file_is_json_or_lines_as_its_name_says_and_private() {
    let sandbox = Sandbox::with_buildspec(BUILD);
    for name in ["out.json", "out.env", "OUT.JSON"] {
        sandbox
            .run(["run", "--quiet", "--exported", name])
            .expect(0);
        let mode = fs::metadata(sandbox.source().join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
    }
    let json = fs::read_to_string(sandbox.source().join("out.json")).unwrap();
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        read,
        serde_json::json!({ "VERSION": "1.2.3", "TITLE": TITLE })
    );
    let upper = fs::read_to_string(sandbox.source().join("OUT.JSON")).unwrap();
    assert_eq!(upper, json);
    // The next build reads it with `--env-file`, and a shell as it is.
    let next = Sandbox::with_commands(&[
        "printf '[%s]' \"$VERSION\" \"$TITLE\"",
        "(unset VERSION TITLE; . \"$OUT\"; printf '{%s}' \"$VERSION\" \"$TITLE\")",
    ]);
    let out = sandbox.source().join("out.env");
    let out = out.to_str().unwrap();
    next.run([
        "run",
        "--quiet",
        "--env-file",
        out,
        "--env",
        &format!("OUT={out}"),
    ])
    .expect(0)
    .stdout_has(&format!("[1.2.3][{TITLE}]"))
    .stdout_has(&format!("{{1.2.3}}{{{TITLE}}}"));
}

// ENV-44
#[test]
fn values_of_another_build_are_not_left_behind() {
    let sandbox = Sandbox::with_buildspec(BUILD).file("out.env", "VERSION=old\n");
    let out = sandbox.source().join("out.env");
    // Found before anything runs, whatever becomes of the build.
    let spec = sandbox.source().join("buildspec.yml");
    fs::write(&spec, "version: 0.2\nphases: {test: {}}\n").unwrap();
    sandbox
        .run(["run", "--quiet", "--exported", "out.env"])
        .expect(3);
    assert_eq!(fs::read_to_string(&out).unwrap(), "");
    fs::write(&spec, BUILD).unwrap();
    fs::write(sandbox.source().join("fail"), "").unwrap();
    sandbox
        .run(["run", "--quiet", "--exported", "out.env"])
        .expect(1);
    assert!(
        fs::read_to_string(&out)
            .unwrap()
            .starts_with("VERSION=1.2.3\n")
    );
    // What it is written to beside the file is gone, and neither is an artifact.
    let files: Vec<String> = support::tree::files(&sandbox.source());
    assert_eq!(files, ["buildspec.yml", "fail", "out.env"]);
}

// ENV-44 CLI-11
#[test]
fn a_place_that_cannot_be_written_is_said_before_anything_runs() {
    let sandbox =
        Sandbox::with_buildspec(&BUILD.replace("VERSION=1.2.3", "touch ran")).file("dir/x", "");
    let ran = |place: &str, code: i32, text: &str| {
        let ran = sandbox.run(["run", "--exported", place]);
        ran.expect(code).stderr_has(text);
        assert!(!sandbox.source().join("ran").exists(), "{place}");
    };
    ran("missing/out.env", 4, "missing/out.env: No such file");
    ran("dir", 4, "it is no regular file");
    ran("/dev/null", 4, "it is no regular file");
    ran("-", 2, "`--exported -` is no file");
    ran("buildspec.yml", 2, "would overwrite the buildspec");
    let null = fs::metadata("/dev/null").unwrap();
    assert!(null.file_type().is_char_device());
    sandbox
        .run(["run", "--events", "out", "--exported", "out"])
        .expect(2)
        .stderr_has("would overwrite what `--events` writes");
}

// ENV-44
#[test]
fn a_link_is_followed_and_stays_one() {
    let sandbox = Sandbox::with_buildspec(BUILD).file("real.env", "");
    let link = sandbox.source().join("link.env");
    std::os::unix::fs::symlink("real.env", &link).unwrap();
    sandbox
        .run(["run", "--quiet", "--exported", "link.env"])
        .expect(0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let text = fs::read_to_string(sandbox.source().join("real.env")).unwrap();
    assert!(text.starts_with("VERSION=1.2.3\n"), "{text}");
}

// ENV-45
#[test]
fn exported_variables_are_in_the_summary_and_too_large_ones_are_warned_of() {
    let sandbox = Sandbox::with_buildspec(
        r"version: 0.2
env:
  exported-variables: [A, ESCAPE, B]
phases:
  build:
    commands:
      - A=$(head -c 100000 /dev/zero | tr '\0' a)
      - ESCAPE=$(printf '\033[31mred')
      - B=$A
",
    );
    let ran = sandbox.run(["run", "--log-format", "pretty"]).expect(0);
    let ran = ran
        .stdout_has(&format!("exported A={}…\n", "a".repeat(200)))
        .stdout_has("exported ESCAPE=\\u{1b}[31mred\n")
        .stdout_has("CodePipeline takes at most 122880");
    assert!(!ran.stdout.contains(&"a".repeat(201)));
}

// ENV-40
#[test]
fn a_build_that_is_stopped_exports_nothing() {
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nenv: {exported-variables: [A]}\nphases:\n  build:\n    commands:\n      - A=1\n      - exec tail -f /dev/null\n",
    );
    sandbox
        .run([
            "run",
            "--quiet",
            "--timeout",
            "1s",
            "--exported",
            "out.json",
        ])
        .expect(5);
    let text = fs::read_to_string(sandbox.source().join("out.json")).unwrap();
    assert_eq!(text, "{}\n");
}
