//! Links that builds put where runner writes: nothing of a build goes where they lead (CTR-66, CTR-67). The same builds run on
//! this host and, where there is an engine, in a container.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use support::container::{self, busybox};
use support::sandbox::{Ran, Sandbox};

/// A build that puts a link somewhere, and what is asked of it.
struct Case {
    /// What the build does; `VICTIM` is a directory of the caller's that is none of the build's business.
    command: &'static str,
    flags: &'static [&'static str],
    /// What the rest of the buildspec is.
    rest: &'static str,
    /// What is said, beside the link.
    said: &'static str,
    code: i32,
}

const ARTIFACTS: &str = "artifacts:\n  files: [authorized_keys]\n  name: dir\n";
const REPORTS: &str = "reports:\n  group: {files: [report.xml]}\n";
const EVIL: &str = "echo EVIL > authorized_keys";
const REPORT: &str =
    "printf '<testsuite name=\"a\" tests=\"1\"><testcase name=\"x\"/></testsuite>' > report.xml";

const CASES: &[Case] = &[
    Case {
        command: "mkdir .runner && ln -s VICTIM .runner/artifacts",
        flags: &[],
        rest: ARTIFACTS,
        said: ".runner/artifacts is a link",
        code: 4,
    },
    Case {
        command: "ln -s VICTIM .runner",
        flags: &["--packaging", "zip"],
        rest: ARTIFACTS,
        said: ".runner is a link",
        code: 4,
    },
    Case {
        command: "mkdir -p .runner/artifacts && ln -s VICTIM/dir .runner/artifacts/dir",
        flags: &[],
        rest: ARTIFACTS,
        said: ".runner/artifacts/dir is a link",
        code: 4,
    },
    Case {
        command: "ln -s VICTIM sub",
        flags: &["--artifacts", "sub/dir"],
        rest: ARTIFACTS,
        said: "sub is a link",
        code: 4,
    },
    Case {
        command: "mkdir .runner && ln -s VICTIM .runner/reports",
        flags: &[],
        rest: REPORTS,
        said: ".runner/reports is a link",
        code: 4,
    },
    Case {
        command: "ln -s VICTIM sub",
        flags: &["--reports", "sub/dir"],
        rest: REPORTS,
        said: "sub is a link",
        code: 4,
    },
    Case {
        command: "rm -rf out && ln -s VICTIM out",
        flags: &["--exported", "out/authorized_keys"],
        rest: "env: {exported-variables: [HOME]}\n",
        said: "out is a link",
        code: 4,
    },
    // A cache that cannot be kept is said and fails no build.
    Case {
        command: "ln -s VICTIM sub",
        flags: &["--cache", "sub/dir"],
        rest: "cache: {paths: ['authorized_keys']}\n",
        said: "sub is a link",
        code: 0,
    },
];

/// A sandbox with a directory of the caller's that nothing may be written to.
fn sandbox() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let victim = sandbox.source().with_file_name("victim");
    fs::create_dir_all(victim.join("dir")).expect("a directory can be made");
    for file in ["authorized_keys", "dir/authorized_keys"] {
        fs::write(victim.join(file), "mine\n").expect("a file can be written");
    }
    fs::create_dir(sandbox.source().join("out")).expect("a directory can be made");
    (sandbox, victim)
}

/// Everything in a directory, directories too.
fn below(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).expect("it can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path.clone());
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            found.insert(path, text);
        }
    }
    found
}

fn plant(run: &dyn Fn(&Sandbox, &[&str]) -> Ran) {
    for case in CASES {
        let (sandbox, victim) = sandbox();
        let before = below(&victim);
        let command = case
            .command
            .replace("VICTIM", &victim.display().to_string());
        let sandbox = sandbox.file(
            "buildspec.yml",
            format!(
                "version: 0.2\nphases:\n  build:\n    commands:\n      - {EVIL}\n      - {REPORT}\n      - {command}\n{}",
                case.rest
            ),
        );
        let ran = run(&sandbox, case.flags);
        assert_eq!(below(&victim), before, "{}", case.command);
        let ran = ran.expect(case.code);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(case.said), "{}: {said}", case.command);
    }
}

// CTR-66
#[test]
fn nothing_is_written_through_a_link_of_a_build_on_this_host() {
    plant(&|sandbox, flags| {
        let flags = ["run", "--log-format", "codebuild"].iter().chain(flags);
        sandbox.run(flags)
    });
}

// CTR-66
#[test]
fn nothing_is_written_through_a_link_of_a_build_in_a_container() {
    let Some(image) = busybox("links") else {
        return;
    };
    plant(&|sandbox, flags| {
        let flags: Vec<&str> = ["--log-format", "codebuild"]
            .iter()
            .chain(flags)
            .copied()
            .collect();
        container::run(sandbox, &image, &flags)
    });
}

// CTR-66: what an earlier build left, or came with the source.
#[test]
fn a_link_that_is_there_before_is_no_way_either() {
    for (flag, link, file) in [
        ("--log-file", "sub", "sub/authorized_keys"),
        ("--log-file", "file", "file"),
        ("--events", "sub", "sub/authorized_keys"),
        ("--events", "file", "file"),
        ("--exported", "sub", "sub/authorized_keys"),
        ("--exported", "file", "file"),
        ("--artifacts", "sub", "sub/out"),
        ("--artifacts", "sub", "sub"),
    ] {
        let (sandbox, victim) = sandbox();
        let before = below(&victim);
        let target = match link {
            "file" => victim.join("authorized_keys"),
            _ => victim.clone(),
        };
        symlink(target, sandbox.source().join(link)).unwrap();
        let sandbox = sandbox.file(
            "buildspec.yml",
            format!("version: 0.2\nphases:\n  build:\n    commands:\n      - echo RAN\n      - {EVIL}\n{ARTIFACTS}"),
        );
        let flags = ["run", "--log-format", "codebuild", flag, file];
        let ran = sandbox.run(flags).expect(4);
        assert_eq!(below(&victim), before, "{flag} {file}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        for text in [
            &format!("{link} is a link"),
            "a build could have made that link",
        ] {
            assert!(said.contains(text), "{flag} {file}: {said}");
        }
        assert!(!said.contains("\nRAN\n"), "{flag} {file}: {said}");
        // From elsewhere it is no other way.
        let path = sandbox.source().join(file).display().to_string();
        let source = sandbox.source().display().to_string();
        let flags = ["run", "--quiet", "--source", &source, flag, &path];
        let mut command = sandbox.command(flags);
        command.current_dir(sandbox.path("home"));
        let ran = support::wait::Bounded::bounded_output(&mut command).unwrap();
        sandbox.finish(&ran).expect(4);
        assert_eq!(below(&victim), before, "{flag} {file}");
    }
}

// CTR-67
#[test]
fn a_link_of_the_callers_leads_where_it_led_before_the_build() {
    let (sandbox, victim) = sandbox();
    let place = sandbox.source().with_file_name("place");
    fs::create_dir(&place).unwrap();
    let mine = sandbox.source().with_file_name("mine");
    symlink(&place, &mine).unwrap();
    let sandbox = sandbox.file(
        "buildspec.yml",
        format!(
            "version: 0.2\nenv: {{exported-variables: [HOME]}}\nphases:\n  build:\n    commands:\n      - {EVIL}\n      - {REPORT}\n      - rm {mine} && ln -s {victim} {mine}\n{ARTIFACTS}{REPORTS}",
            mine = mine.display(),
            victim = victim.display(),
        ),
    );
    let before = below(&victim);
    let path = |name: &str| mine.join(name).display().to_string();
    let places = ["artifacts", "reports", "exported.json", "log", "events"].map(path);
    let [artifacts, reports, exported, log, events] = &places;
    sandbox
        .run([
            "run",
            "--quiet",
            "--artifacts",
            artifacts,
            "--reports",
            reports,
            "--exported",
            exported,
            "--log-file",
            log,
            "--events",
            events,
        ])
        .expect(0);
    assert_eq!(below(&victim), before);
    for file in [
        "artifacts/dir/authorized_keys",
        "reports/junit.xml",
        "exported.json",
        "log",
        "events",
    ] {
        let found =
            fs::metadata(place.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(found.len() > 2, "{file}");
    }
}
