//! Sources that are fetched, and sources beside the primary one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::support::container::{busybox, containers, docker, run};
use crate::support::git::Repository;
use crate::support::sandbox::Sandbox;

/// SRC-4, CTR-4: secondary sources come back changed, and belong to the caller, mounted and copied.
#[test]
fn secondary_sources_come_back() {
    let Some(image) = busybox("container") else {
        return;
    };
    for how in ["bind", "copy"] {
        let sandbox = Sandbox::with_commands(&[
            "echo in $CODEBUILD_SRC_DIR_lib",
            "cat $CODEBUILD_SRC_DIR_lib/kept",
            "cd $CODEBUILD_SRC_DIR_lib && echo new > made && echo changed > kept && rm gone",
            "echo primary > $CODEBUILD_SRC_DIR/made",
        ]);
        let lib = sandbox.path("lib");
        fs::create_dir(&lib).expect("it is new");
        for name in ["kept", "gone"] {
            fs::write(lib.join(name), "before\n").expect("it can be written");
        }
        let arguments = ["--quiet", "--source", "lib=../lib", "--mount-source", how];
        let ran = run(&sandbox, &image, &arguments).expect(0);
        assert_eq!(ran.stdout, "in <SRC>\nbefore\n", "{how}");
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        assert_eq!(read(&lib.join("made")), "new\n", "{how}");
        assert_eq!(read(&lib.join("kept")), "changed\n", "{how}");
        assert!(!lib.join("gone").exists(), "{how}");
        assert_eq!(read(&sandbox.source().join("made")), "primary\n", "{how}");
        let owner = fs::metadata(lib.join("made")).expect("it is there").uid();
        assert_eq!(owner, rustix::process::getuid().as_raw(), "{how}");
        assert_eq!(sandbox.leftovers(), Vec::<String>::new(), "{how}");
    }
}

/// SRC-3, SRC-4: a fetched source is there in a container, and a container that is kept has its own copy of it.
#[test]
fn a_fetched_source_is_in_the_container() {
    let Some(image) = busybox("container") else {
        return;
    };
    let buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - ls\n      - echo made > made.txt\n      - exit $FAIL\nartifacts:\n  files: [made.txt]\n";
    let repository = Repository::with(&[("buildspec.yml", buildspec), ("there", "")]);
    let sandbox = Sandbox::new();
    let form = repository.form();
    let ran = run(
        &sandbox,
        &image,
        &["--quiet", "--env", "FAIL=0", "--source", &form],
    )
    .expect(0);
    assert_eq!(ran.stdout, "buildspec.yml\nthere\n");
    let artifact = sandbox
        .source()
        .join(".runner/artifacts")
        .join(sandbox.project())
        .join("made.txt");
    assert_eq!(
        fs::read_to_string(artifact).expect("it is stored"),
        "made\n"
    );
    let keep = ["--keep", "on-failure", "--env", "FAIL=1", "--source", &form];
    run(
        &sandbox,
        &image,
        &[&keep[..], &["--mount-source", "bind"]].concat(),
    )
    .expect(2);
    run(&sandbox, &image, &keep).expect(1);
    let kept = containers(&sandbox);
    assert_eq!(kept.len(), 1);
    let listed = docker(&[
        "exec",
        &kept[0],
        "sh",
        "-c",
        "cat /codebuild/output/src*/src/made.txt",
    ]);
    assert_eq!(listed, "made");
    docker(&["rm", "--force", &kept[0]]);
    assert_eq!(sandbox.leftovers(), Vec::<String>::new());
}
