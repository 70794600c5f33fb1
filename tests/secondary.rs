//! Secondary artifacts as archives: each with its own content, place and sums (ART-18, ART-19, ART-22).

mod support;

use std::fs;
use std::path::Path;

use md5::{Digest as _, Md5};
use serde_json::Value;
use sha2::Sha256;
use support::events;
use support::sandbox::Sandbox;

fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.concat()
}

/// Names in an archive, links with where they lead.
fn entries(path: &Path) -> Vec<String> {
    use std::io::Read as _;
    let file = fs::File::open(path).expect("an archive that is told of is there");
    let mut archive = zip::ZipArchive::new(file).expect("an archive can be read");
    (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).expect("an entry can be read");
            let name = entry
                .name()
                .expect("a name of ours can be read")
                .into_owned();
            if !entry.is_symlink() {
                return name;
            }
            let mut target = String::new();
            entry
                .read_to_string(&mut target)
                .expect("a target can be read");
            format!("{name} -> {target}")
        })
        .collect()
}

const BUILD: &str = "version: 0.2
phases:
  build:
    commands:
      - mkdir -p app docs && echo app > app/main && ln -s main app/link && cp -P app/* docs
      - KIND=nightly
artifacts:
  base-directory: app
  files: ['**/*']
  secondary-artifacts:
    linked:
      base-directory: docs
      files: ['**/*']
      enable-symlinks: yes
      s3-prefix: $KIND
    named:
      base-directory: docs
      name: docs-$KIND.zip
      files: [main]
";

// ART-18, ART-19, ART-22
#[test]
fn each_is_an_archive_of_its_own_with_its_own_sums() {
    let sandbox = Sandbox::with_buildspec(BUILD);
    let log = sandbox.path("events.jsonl");
    let arguments = [
        "run",
        "--packaging",
        "zip",
        "--artifact-namespace",
        "build-id",
        "--artifact-name",
        "primary",
        "--events",
    ];
    let mut arguments: Vec<&str> = arguments.to_vec();
    arguments.push(log.to_str().expect("a path of ours is text"));
    sandbox.run(arguments).expect(0);
    let events = events::parse(&fs::read_to_string(&log).expect("there are events"));
    events::check_grammar(&events);
    let uuid = events[0]["buildId"].as_str().expect("a build has an id");
    let uuid = uuid.rsplit(':').next().unwrap_or_default();
    let root = sandbox.source().join(".runner/artifacts");
    let stored: Vec<&Value> = events
        .iter()
        .filter(|event| event["event"] == "artifact-stored")
        .collect();
    let expected = [
        (Value::Null, format!("{uuid}/primary"), vec!["link", "main"]),
        (
            "linked".into(),
            format!("nightly/{uuid}/linked.zip"),
            vec!["link -> main", "main"],
        ),
        (
            "named".into(),
            format!("{uuid}/named/docs-nightly.zip"),
            vec!["main"],
        ),
    ];
    assert_eq!(stored.len(), expected.len(), "{stored:#?}");
    for (event, (identifier, place, names)) in stored.into_iter().zip(expected) {
        assert_eq!(event["artifactIdentifier"], identifier);
        let path = root.join(&place);
        assert_eq!(event["location"], path.display().to_string());
        assert_eq!(entries(&path), names, "{place}");
        let content = fs::read(&path).expect("it can be read");
        assert_eq!(event["sha256"], hex(&Sha256::digest(&content)), "{place}");
        assert_eq!(event["md5"], hex(&Md5::digest(&content)), "{place}");
    }
}

// ART-25
#[test]
fn s3_prefixes_without_the_build_id_are_warned_of_wherever_they_stand() {
    let sandbox = Sandbox::with_buildspec(BUILD);
    sandbox
        .run(["run", "--packaging", "zip"])
        .expect(0)
        .stderr_has("`s3-prefix` is not used: it needs the namespace type BUILD_ID")
        .stderr_has("buildspec.yml:15:18");
    assert!(sandbox.source().join(".runner/artifacts/linked").is_file());
}

// ART-22
#[test]
fn a_person_sees_which_files_are_whose() {
    let sandbox = Sandbox::with_buildspec(BUILD);
    let ran = sandbox.run(["run", "--log-format", "pretty"]).expect(0);
    let summary = ran.stdout.split("SUMMARY").nth(1).expect("a summary");
    let lines: Vec<&str> = summary
        .lines()
        .filter(|line| line.contains("artifact") || line.contains("sha256"))
        .map(|line| line.rsplit_once("  ").map_or(line, |(_, file)| file))
        .collect();
    assert_eq!(
        lines,
        [
            "artifact <SRC>/.runner/artifacts/source (2 files, 8 B)",
            "link (4 B)",
            "main (4 B)",
            "artifact linked <SRC>/.runner/artifacts/linked (2 files, 8 B)",
            "link (4 B)",
            "main (4 B)",
            "artifact named <SRC>/.runner/artifacts/named/docs-nightly.zip (1 file, 4 B)",
            "main (4 B)",
        ],
        "{summary}"
    );
}
