//! Ends that come at a bad time, disks that are full, and texts that somebody means ill with.

#![expect(clippy::disallowed_methods, reason = "tests start programs")]

mod support;

use std::io::{BufRead as _, BufReader, Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use support::aws::{Bucket, GoBetween, Verdict, command, endpoint};
use support::git::Repository;
use support::sandbox::{Ran, Sandbox};
use support::wait::{self, Bounded as _};
use support::{RUNNER, noise, skipped, tree};

// REP-9, PHASE-9: what was begun is not taken for a whole report, and nothing is made of it.
#[test]
fn a_stop_ends_a_build_that_reads_a_long_report() {
    let mut long = "<testsuite name='s'>".to_owned();
    while long.len() < 40_000_000 {
        long.push_str(
            "<testcase classname='example.Suite' name='does what it should' time='0.01'/>\n",
        );
    }
    long.push_str("</testsuite>");
    let sandbox = Sandbox::with_buildspec(
        "version: 0.2\nphases:\n  build:\n    commands: ['true']\nreports:\n  short: {files: short.xml}\n  long: {files: long.xml}\n",
    )
    .file("short.xml", "<testsuite name='s'><testcase name='a'/></testsuite>")
    .file("long.xml", long);
    let mut started = sandbox.command(["run", "--log-format", "json"]);
    let mut child = Sandbox::spawn(&mut started);
    let stdout = child.stdout.take().expect("it writes to a pipe");
    let mut events = wait::within("the first report", move || {
        let mut events = BufReader::new(stdout);
        let mut line = String::new();
        while !line.contains("\"event\":\"report-collected\"") {
            line.clear();
            let read = events.read_line(&mut line).expect("it can be read");
            assert_ne!(read, 0, "it ended before its first report");
        }
        events
    });
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a child has a number"), Signal::INT).expect("it runs");
    let mut rest = String::new();
    events.read_to_string(&mut rest).expect("it can be read");
    let ran = sandbox.finish(&wait::output(child)).expect(130);
    assert!(rest.contains("\"buildStatus\":\"STOPPED\""), "{rest}");
    assert!(!rest.contains("\"reportStatus\":\"SUCCEEDED\""), "{rest}");
    assert!(ran.stderr.contains("stopped by signal"), "{}", ran.stderr);
    assert!(!sandbox.source().join(".runner/reports").exists());
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

/// Runs a build whose temporary files go to a file system of one megabyte; nothing if there can be no such thing.
fn run_without_room(sandbox: &Sandbox, mut program: Command) -> Option<Ran> {
    let arguments: Vec<_> = program.get_args().map(ToOwned::to_owned).collect();
    let variables: Vec<_> = program
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    program = Command::new("unshare");
    program
        .args(["--mount", "--map-root-user", "sh", "-c"])
        .arg("mount -t tmpfs -o size=1m none \"$1\" && shift && exec \"$@\"")
        .arg("sh")
        .arg(sandbox.path("tmp"))
        .arg(RUNNER)
        .args(arguments)
        .current_dir(sandbox.source())
        .env_clear()
        .envs(variables);
    let ran = sandbox.finish(&program.bounded_output().ok()?);
    let is_refused = ran.stderr.contains("unshare:") || ran.stderr.contains("mount:");
    (!is_refused).then_some(ran)
}

/// Bytes that no compression shortens.
const SAYS: &str = "version: 0.2\nphases:\n  build:\n    commands:\n      - echo it began\n";

fn fails_for_want_of_room(ran: Ran) {
    let ran = ran
        .stdout_has("Phase complete: DOWNLOAD_SOURCE State: FA")
        .stderr_has("No space left on device")
        .stderr_has("room");
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(!ran.stdout.contains("it began"), "{}", ran.stdout);
}

// SRC-30: a full disk, which is a small file system of the test's own.
#[test]
fn a_full_disk_while_a_repository_is_fetched_is_told() {
    let pairs: Vec<String> = noise(2_000_000)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let content = pairs.concat();
    let repository = Repository::with(&[("buildspec.yml", SAYS), ("big", &content)]);
    let sandbox = Sandbox::new();
    let form = repository.form();
    let program = sandbox.command(["run", "--log-format", "codebuild", "--source", &form]);
    match run_without_room(&sandbox, program) {
        Some(ran) => fails_for_want_of_room(ran),
        None => skipped("a full disk below a repository", "no mounts of one's own"),
    }
}

/// A ZIP archive of these files.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).expect("it can be begun");
        writer.write_all(content).expect("memory takes everything");
    }
    writer.finish().expect("it can be ended").into_inner()
}

// SRC-17, SRC-30: as the archive comes, and as it is unpacked.
#[test]
fn a_full_disk_while_an_archive_is_fetched_is_told() {
    let Some(services) = endpoint("a full disk below an archive") else {
        return;
    };
    let bucket = Bucket::new(&services, "sources-without-room");
    let (large, empty) = (noise(3_000_000), vec![0; 3_000_000]);
    for content in [&large, &empty] {
        bucket.put_bytes(
            "app.zip",
            zip(&[("buildspec.yml", SAYS.as_bytes()), ("big", content)]),
        );
        let sandbox = Sandbox::new();
        let form = "s3://sources-without-room/app.zip";
        let arguments = ["run", "--log-format", "codebuild", "--source", form];
        let program = command(&sandbox, &services, &arguments);
        match run_without_room(&sandbox, program) {
            Some(ran) => fails_for_want_of_room(ran),
            None => return skipped("a full disk below an archive", "no mounts of one's own"),
        }
    }
}

// CRED-11, SRC-17: the role is had with the caller's keys, the source with those of the role.
#[test]
fn a_source_is_fetched_as_the_role_of_the_build() {
    let Some(services) = endpoint("a source by a role") else {
        return;
    };
    let bucket = Bucket::new(&services, "sources-of-a-role");
    bucket.put_bytes("app.zip", zip(&[("buildspec.yml", SAYS.as_bytes())]));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let between = GoBetween::judging_keys(&services, move |line, key| {
        let asked = (line.to_owned(), key.unwrap_or_default().to_owned());
        log.lock().expect("no thread panics with it").push(asked);
        Verdict::Pass
    });
    let sandbox = Sandbox::new();
    let form = "s3://sources-of-a-role/app.zip";
    let role = "arn:aws:iam::123456789012:role/deploy";
    let arguments = ["run", "--source", form, "--assume-role", role];
    let output = command(&sandbox, &between.endpoint, &arguments).bounded_output();
    let ran = sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0)
        .stdout_has("it began");
    let asked = asked.lock().expect("no thread panics with it").clone();
    let by_caller = |key: &str| key == "AKIDEXAMPLE";
    let (for_objects, for_roles): (Vec<_>, Vec<_>) = asked
        .iter()
        .partition(|(line, _)| line.contains("/sources-of-a-role"));
    assert!(
        !for_objects.is_empty() && !for_roles.is_empty(),
        "{asked:?}"
    );
    assert!(for_roles.iter().all(|(_, key)| by_caller(key)), "{asked:?}");
    for (line, key) in for_objects {
        assert!(!key.is_empty() && !by_caller(key), "{line} as {key}");
        assert!(!ran.stdout.contains(key.as_str()), "{}", ran.stdout);
    }
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}

/// Texts that lead out, mean something to a shell or to a pattern, or fit nowhere.
fn hostile(outside: &Path) -> Vec<String> {
    let touch = format!("touch {}", outside.join("by-shell").display());
    vec![
        "..".to_owned(),
        "../out".to_owned(),
        "../../../../out".to_owned(),
        "a/../../out".to_owned(),
        outside.join("absolute").display().to_string(),
        "~/out".to_owned(),
        "one\ntwo".to_owned(),
        "one\u{0}two".to_owned(),
        "one\u{1b}[2Jtwo".to_owned(),
        "x".repeat(10_240),
        "*".to_owned(),
        "**/*".to_owned(),
        "[".to_owned(),
        "-rf".to_owned(),
        format!("'; {touch}; '"),
        format!("\"; {touch}; \""),
        format!("a; {touch}"),
    ]
}

/// What is beside and above the source, without what belongs to the program there.
fn outside(sandbox: &Sandbox) -> Vec<String> {
    let place = sandbox.source();
    let place = place.parent().expect("it is in the sandbox");
    let mut found = tree::files(place);
    let ours = ["source/", "state/", "cache/", "tmp/"];
    found.retain(|path| !ours.iter().any(|start| path.starts_with(start)));
    found
}

/// Runs a build with a text as the value of a variable, which no quotes of YAML's change, and sees that nothing came to be
/// elsewhere. Whoever cannot use it says so.
fn with_text(buildspec: &str, text: &str, more: &[&str], place: &Path) -> Option<Ran> {
    if text.contains('\0') {
        return None;
    }
    let sandbox = Sandbox::with_buildspec(buildspec).file(
        "d/report.xml",
        "<testsuite name='s'><testcase name='a'/></testsuite>",
    );
    let before = (outside(&sandbox), tree::files(place));
    let given = format!("TEXT={text}");
    let arguments = [&["run", "--log-format", "codebuild", "--env", &given], more].concat();
    let ran = sandbox.run(arguments);
    assert_eq!((outside(&sandbox), tree::files(place)), before, "{text:?}");
    assert_ne!(ran.code, 101, "{text:?}: {}", ran.stderr);
    Some(ran)
}

/// The same text written into the buildspec, as YAML writes any text.
fn written(buildspec: &str, text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a text is JSON");
    buildspec.replace("TEXT", &quoted)
}

fn elsewhere() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("a directory can be made");
    let path = place.path().to_owned();
    (place, path)
}

const BUILD: &str = "version: 0.2\nphases:\n  build:\n    commands: ['true']\n";

// CACHE-22, CACHE-3
#[test]
fn hostile_keys_of_a_cache_lead_nowhere() {
    let (_kept, place) = elsewhere();
    let buildspec = format!("{BUILD}cache:\n  key: $TEXT\n  paths: [d]\n");
    for text in hostile(&place) {
        let cache = ["--cache", "../cache"];
        let Some(ran) = with_text(&buildspec, &text, &cache, &place) else {
            continue;
        };
        let ran = ran.expect(0);
        if text.len() > 512 {
            let said = "`cache.key` has 10240 bytes after expansion";
            assert!(ran.stderr.contains(said), "{}", ran.stderr);
        } else {
            assert!(
                ran.stdout.contains("Cache saved: key "),
                "{text:?}: {}",
                ran.stdout
            );
        }
    }
}

// ART-12, SPEC-18
#[test]
fn hostile_names_of_secondary_artifacts_stay_below_their_place() {
    let (_kept, place) = elsewhere();
    let artifact = "artifacts:\n  secondary-artifacts:\n    one:\n      files: [d/report.xml]\n";
    let buildspec = format!("{BUILD}{artifact}      name: $TEXT\n");
    for text in hostile(&place) {
        let Some(ran) = with_text(&buildspec, &text, &[], &place) else {
            continue;
        };
        let is_said = ran.stderr.contains("error: ") && ran.stderr.len() > 10;
        assert!(ran.code == 0 || is_said, "{text:?}: {}", ran.stderr);
        let leads_out = text.contains("..") || text.contains(['\n', '\u{1b}']);
        assert!(!leads_out || ran.code == 1, "{text:?}: {}", ran.stderr);
    }
    // Identifiers are no more than names.
    let is_name = |text: &String| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    for text in hostile(&place) {
        if text.len() <= 127 && is_name(&text) {
            continue;
        }
        let buildspec = format!(
            "{BUILD}artifacts:\n  secondary-artifacts:\n    {}\n",
            written("TEXT: {files: [d/report.xml]}", &text)
        );
        let sandbox = Sandbox::with_buildspec(&buildspec);
        let ran = sandbox.run(["run"]).expect(3);
        assert!(ran.stderr.contains("error["), "{text:?}: {}", ran.stderr);
    }
}

// REP-2
#[test]
fn hostile_paths_and_names_of_reports_write_nothing_elsewhere() {
    let (_kept, place) = elsewhere();
    for shape in [
        "reports:\n  group:\n    files: [$TEXT]\n",
        "reports:\n  group:\n    base-directory: $TEXT\n    files: ['*']\n",
        "reports:\n  $TEXT:\n    files: [d/report.xml]\n",
    ] {
        let buildspec = format!("{BUILD}{shape}");
        for text in hostile(&place) {
            let Some(ran) = with_text(&buildspec, &text, &[], &place) else {
                continue;
            };
            let is_said = ran.stderr.contains("error") || ran.stderr.contains("warning");
            assert!(ran.code == 0 || is_said, "{shape} {text:?}: {}", ran.stderr);
        }
    }
}

// CACHE-3, REP-2, ART-12: a NUL, which no variable can have, and commands, which a buildspec may have.
#[test]
fn hostile_texts_of_a_buildspec_are_told_or_stay_inside() {
    let (_kept, place) = elsewhere();
    for shape in [
        "cache:\n  key: TEXT\n  paths: [d]\n",
        "cache:\n  paths: [TEXT]\n",
        "reports:\n  group:\n    files: [TEXT]\n",
        "artifacts:\n  files: [d/report.xml]\n  name: TEXT\n",
        "artifacts:\n  secondary-artifacts:\n    one:\n      files: [d/report.xml]\n      name: TEXT\n",
    ] {
        for text in [
            "one\u{0}two",
            "$(",
            "`",
            "${TEXT",
            "$(exit 3)",
            "$(kill $$)",
        ] {
            let sandbox = Sandbox::with_buildspec(&format!("{BUILD}{}", written(shape, text)))
                .file("d/report.xml", "<testsuite name='s'/>");
            let before = (outside(&sandbox), tree::files(&place));
            let ran = sandbox.run(["run", "--cache", "../cache"]);
            assert_eq!((outside(&sandbox), tree::files(&place)), before, "{text:?}");
            let is_said = ran.stderr.contains("error") || ran.stderr.contains("warning");
            // A shell leaves it out.
            let is_dropped = ran.code == 0 && text.contains('\0');
            assert!(
                is_said || is_dropped,
                "{shape} {text:?}: {} {}",
                ran.code,
                ran.stderr
            );
            assert_ne!(ran.code, 101, "{shape} {text:?}: {}", ran.stderr);
        }
    }
}
