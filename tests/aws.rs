//! Artifacts in buckets, over real HTTP, against a server that `tests/run` starts.

mod support;

use std::fs;
use std::io::{Cursor, Read as _};
use std::path::Path;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest as _, Sha256};
use support::aws::{Bucket, GoBetween, Verdict, command, endpoint, s3_error};
use support::noise;
use support::sandbox::{Ran, Sandbox};
use support::wait::Bounded as _;

/// Bytes that no compression shortens, the same every time.
fn sha256(content: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(content).into();
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.concat()
}

/// A source whose `dist` is the artifact.
fn project(artifact: &str) -> Sandbox {
    Sandbox::with_buildspec(&format!(
        "version: 0.2\nphases:\n  build:\n    commands:\n      - echo \"endpoint $AWS_ENDPOINT_URL\"\nartifacts:\n  base-directory: dist\n  files: ['**/*']\n{artifact}"
    ))
    .file("dist/index.html", "<h1>hello</h1>\n")
    .file("dist/deep/er/data.txt", "data\n")
}

/// Runs a build that learns of its bucket only when it stores; `tests/preflight.rs` has what is found out before.
fn run(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Ran {
    let begin = ["run", "--log-format", "codebuild", "--no-preflight"];
    let arguments = [&begin, arguments].concat();
    let output = command(sandbox, endpoint, &arguments).bounded_output();
    sandbox.finish(&output.expect("the program can be started"))
}

fn names(archive: &[u8]) -> Vec<String> {
    let archive = zip::ZipArchive::new(Cursor::new(archive)).expect("an archive can be read");
    (0..archive.len())
        .filter_map(|index| archive.name_for_index(index)?.ok().map(Into::into))
        .collect()
}

fn entry(archive: &[u8], name: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).expect("an archive can be read");
    let mut content = Vec::new();
    archive
        .by_name(name)
        .expect("the file is in it")
        .read_to_end(&mut content)
        .expect("it can be read");
    content
}

// ART-10, ART-11, ART-12
#[test]
fn an_archive_is_in_its_bucket_with_what_is_known_of_it() {
    let Some(endpoint) = endpoint("an archive in a bucket") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "archives");
    let sandbox = project("  name: site-$CODEBUILD_BUILD_NUMBER.zip\n");
    fs::set_permissions(
        sandbox.source().join("dist/index.html"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("permissions can be set");
    let ran = run(
        &sandbox,
        &endpoint,
        &[
            "--artifacts",
            "s3://archives/some/prefix/",
            "--packaging",
            "zip",
        ],
    )
    .expect(0)
    .stdout_has(&format!("endpoint {endpoint}\n"));
    assert_eq!(bucket.keys(), ["some/prefix/site-1.zip"]);
    let object = bucket.get("some/prefix/site-1.zip");
    assert_eq!(names(&object.content), ["deep/er/data.txt", "index.html"]);
    assert_eq!(entry(&object.content, "index.html"), b"<h1>hello</h1>\n");
    let mut archive = zip::ZipArchive::new(Cursor::new(&object.content)).expect("an archive");
    let mode = |archive: &mut zip::ZipArchive<Cursor<&Vec<u8>>>, name: &str| {
        archive.by_name(name).expect("an entry").unix_mode()
    };
    assert_eq!(
        mode(&mut archive, "index.html").map(|mode| mode & 0o777),
        Some(0o755)
    );
    let digest = sha256(&object.content);
    assert_eq!(object.metadata["codebuild-content-sha256"], digest);
    assert_eq!(object.metadata["codebuild-content-md5"].len(), 32);
    assert!(object.metadata["codebuild-buildarn"].starts_with("arn:aws:codebuild:us-east-1:"));
    assert_eq!(object.content_type.as_deref(), Some("application/zip"));
    let size = object.content.len();
    ran.stderr_has(&format!("({size} B, sha256 {digest})"))
        .stderr_has("artifact: s3://archives/some/prefix/site-1.zip");
    // The same files give the same archive.
    run(
        &sandbox,
        &endpoint,
        &[
            "--artifacts",
            "s3://archives",
            "--packaging",
            "zip",
            "--artifact-name",
            "again",
        ],
    )
    .expect(0);
    assert_eq!(sha256(&bucket.get("again").content), digest);
}

// ART-18, ART-19, ART-22
#[test]
fn secondary_artifacts_are_objects_of_their_own() {
    let Some(endpoint) = endpoint("secondary artifacts in a bucket") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "secondary");
    let secondary = "  secondary-artifacts:\n    data:\n      base-directory: dist/deep\n      files: ['**/*']\n    page:\n      name: v1/page.zip\n      files: [dist/*.html]\n      discard-paths: yes\n";
    let sandbox = project(secondary);
    let arguments = ["--artifacts", "s3://secondary/p", "--packaging", "zip"];
    run(
        &sandbox,
        &endpoint,
        &[&arguments[..], &["--artifact-name", "main"]].concat(),
    )
    .expect(0)
    .stdout_has("Preparing to copy secondary artifacts data")
    .stderr_has("artifact page: s3://secondary/p/page/v1/page.zip (");
    assert_eq!(bucket.keys(), ["p/data", "p/main", "p/page/v1/page.zip"]);
    for (key, files) in [
        ("p/data", &["er/data.txt"][..]),
        ("p/main", &["deep/er/data.txt", "index.html"]),
        ("p/page/v1/page.zip", &["index.html"]),
    ] {
        let object = bucket.get(key);
        assert_eq!(names(&object.content), files, "{key}");
        let digest = sha256(&object.content);
        assert_eq!(object.metadata["codebuild-content-sha256"], digest, "{key}");
    }
}

// ART-11, ART-12
#[test]
fn single_files_keep_their_paths_in_the_bucket() {
    let Some(endpoint) = endpoint("single files in a bucket") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "single-files");
    let sandbox = project("  name: /\n").file("dist/ümläut and blanks+&.txt", "x");
    run(
        &sandbox,
        &endpoint,
        &["--artifacts", "s3://single-files/v1"],
    )
    .expect(0);
    let keys = [
        "v1/deep/er/data.txt",
        "v1/index.html",
        "v1/ümläut and blanks+&.txt",
    ];
    assert_eq!(bucket.keys(), keys);
    assert_eq!(bucket.get("v1/deep/er/data.txt").content, b"data\n");
    let sandbox = project("  s3-prefix: pre\n");
    let ran = run(
        &sandbox,
        &endpoint,
        &[
            "--artifacts",
            "s3://single-files",
            "--packaging",
            "zip",
            "--artifact-namespace",
            "build-id",
            "--artifact-name",
            "n",
        ],
    )
    .expect(0);
    let key = bucket
        .keys()
        .into_iter()
        .find(|key| key.starts_with("pre/"))
        .unwrap_or_else(|| panic!("no key with the prefix\n{}", ran.stderr));
    let parts: Vec<&str> = key.split('/').collect();
    assert_eq!((parts.len(), parts[1].len(), parts[2]), (3, 36, "n.zip"));
}

// ART-11: the parts of a large file are put together in order, also when their size does not divide the file's.
#[test]
fn large_files_arrive_whole() {
    let Some(endpoint) = endpoint("large files in a bucket") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "large-files");
    let sandbox = project("  name: big\n");
    let sizes = [8 * 1024 * 1024, 8 * 1024 * 1024 + 1, 21_000_003];
    for (index, size) in sizes.into_iter().enumerate() {
        let path = sandbox.source().join(format!("dist/{index}.bin"));
        fs::write(path, noise(size)).expect("a file can be written");
    }
    run(&sandbox, &endpoint, &["--artifacts", "s3://large-files"]).expect(0);
    for (index, size) in sizes.into_iter().enumerate() {
        let found = bucket.get(&format!("big/{index}.bin"));
        assert!(
            found.content == noise(size),
            "{size} bytes came back as others"
        );
    }
    run(
        &sandbox,
        &endpoint,
        &[
            "--artifacts",
            "s3://large-files",
            "--packaging",
            "zip",
            "--artifact-name",
            "big.zip",
        ],
    )
    .expect(0);
    let archive = bucket.get("big.zip");
    assert!(entry(&archive.content, "2.bin") == noise(sizes[2]));
    assert_eq!(
        archive.metadata["codebuild-content-sha256"],
        sha256(&archive.content)
    );
    assert_eq!(bucket.unfinished(), 0);
}

// ART-11
#[test]
fn objects_are_encrypted_with_the_key_that_was_asked_for() {
    let Some(endpoint) = endpoint("encryption with KMS") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "encrypted");
    let key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555";
    let sandbox = project("  name: out\n");
    fs::write(sandbox.source().join("dist/large.bin"), noise(9_000_000)).expect("a file");
    let arguments = ["--artifacts", "s3://encrypted", "--kms-key", key];
    run(&sandbox, &endpoint, &arguments).expect(0);
    for name in ["out/index.html", "out/large.bin"] {
        let object = bucket.get(name);
        assert_eq!(object.encryption.as_deref(), Some("aws:kms"), "{name}");
        assert_eq!(object.kms_key.as_deref(), Some(key), "{name}");
    }
}

// ART-14, LOG-13
#[test]
fn what_s3_refuses_is_said_in_its_own_words() {
    let Some(endpoint) = endpoint("refusals of S3") else {
        return;
    };
    let sandbox = project("");
    run(&sandbox, &endpoint, &["--artifacts", "s3://no-such-bucket"])
        .expect(4)
        .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: FAILED\n")
        .stdout_has("Phase context status code: CLIENT_ERROR Message: Error in UPLOAD_ARTIFACTS phase: NoSuchBucket: The specified bucket does not exist\n\tstatus code: 404, request id: ")
        .stderr_has("make the bucket `no-such-bucket`");
    let refuse = |line: &str| {
        if line.starts_with("PUT") {
            return s3_error("403 Forbidden", "AccessDenied", "Access Denied");
        }
        Verdict::Pass
    };
    let between = GoBetween::new(&endpoint, refuse);
    run(&sandbox, &between.endpoint, &["--artifacts", "s3://anyone"])
        .expect(4)
        .stdout_has("Phase context status code: CLIENT_ERROR Message: Error in UPLOAD_ARTIFACTS phase: AccessDenied: Access Denied\n\tstatus code: 403, request id: REQ1, host id: HOST1\n")
        .stderr_has("may s3:PutObject");
    // A refusal is not asked for again and again: one request a file.
    assert_eq!(between.count("PUT"), 2);
}

// ART-14
#[test]
fn an_outage_is_a_fault_and_a_hiccup_is_nothing() {
    let Some(endpoint) = endpoint("outages of S3") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "outages");
    let sandbox = project("  name: out\n");
    let arguments = ["--artifacts", "s3://outages"];
    let first = std::sync::atomic::AtomicUsize::new(0);
    let hiccup = GoBetween::new(&endpoint, move |line| {
        let number = first.fetch_add(
            usize::from(line.starts_with("PUT")),
            std::sync::atomic::Ordering::SeqCst,
        );
        match (line.starts_with("PUT"), number) {
            (true, 0) => s3_error(
                "503 Slow Down",
                "SlowDown",
                "Please reduce your request rate.",
            ),
            (true, 1) => Verdict::Drop,
            _ => Verdict::Pass,
        }
    });
    run(&sandbox, &hiccup.endpoint, &arguments).expect(0);
    assert_eq!(bucket.keys(), ["out/deep/er/data.txt", "out/index.html"]);
    assert_eq!(hiccup.count("PUT"), 4);
    let down = GoBetween::new(&endpoint, |line| {
        Verdict::when(
            line.starts_with("PUT"),
            s3_error(
                "503 Service Unavailable",
                "ServiceUnavailable",
                "Service is not available.",
            ),
        )
    });
    run(&sandbox, &down.endpoint, &arguments)
        .expect(4)
        .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: FAULT\n")
        .stdout_has("ServiceUnavailable: Service is not available.\n\tstatus code: 503");
    // Nobody listens on the port of a listener that is gone.
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    run(&sandbox, &gone, &arguments)
        .expect(4)
        .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: FAULT\n")
        .stderr_has("check the network, the region and AWS_ENDPOINT_URL");
}

// ART-14
#[test]
fn missing_credentials_are_said_as_such() {
    let Some(endpoint) = endpoint("missing credentials") else {
        return;
    };
    let sandbox = project("");
    let output = sandbox
        .command(["run", "--no-preflight", "--artifacts", "s3://anyone"])
        .env("AWS_ENDPOINT_URL", &endpoint)
        .env("AWS_REGION", "us-east-1")
        .bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(4)
        .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: FAILED\n")
        .stderr_has("no AWS credentials were found\n")
        .stderr_has("help: set AWS_PROFILE");
}

// ENV-10: settings of AWS work for the program itself and reach the commands.
#[test]
fn the_settings_of_aws_are_obeyed() {
    let Some(endpoint) = endpoint("the settings of AWS") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "settings");
    let sandbox = project("  name: out\n");
    fs::create_dir(sandbox.path("home/.aws")).expect("a directory can be made");
    fs::write(
        sandbox.path("home/.aws/config"),
        format!("[profile other]\nregion = eu-west-3\nservices = local\n[services local]\ns3 =\n  endpoint_url = {endpoint}\n"),
    )
    .expect("a file can be written");
    fs::write(
        sandbox.path("home/.aws/credentials"),
        "[other]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = not-a-real-secret-key\n",
    )
    .expect("a file can be written");
    // By profile, with its region and its endpoint.
    sandbox
        .run([
            "run",
            "--profile",
            "other",
            "--artifacts",
            "s3://settings/profile",
        ])
        .expect(0);
    // The endpoint of a service wins over the one of all.
    let output = command(
        &sandbox,
        "http://127.0.0.1:9",
        &["run", "--artifacts", "s3://settings/service"],
    )
    .env("AWS_ENDPOINT_URL_S3", &endpoint)
    .bounded_output();
    sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0)
        .stdout_has("endpoint http://127.0.0.1:9\n");
    let mut places: Vec<String> = bucket.keys();
    places.retain(|key| key.ends_with("index.html"));
    assert_eq!(places, ["profile/out/index.html", "service/out/index.html"]);
}

/// A large file beside small ones, for uploads that break.
fn large_project() -> Sandbox {
    let sandbox = project("  name: out\n");
    fs::write(sandbox.source().join("dist/large.bin"), noise(20_000_000)).expect("a file");
    sandbox
}

fn is_part(line: &str) -> bool {
    line.starts_with("PUT") && line.contains("partNumber=2&")
}

// ART-13
#[test]
fn a_failed_upload_removes_nothing_and_leaves_no_parts() {
    let Some(endpoint) = endpoint("a failed upload") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "failed-upload");
    bucket.put("out/index.html", "of an earlier build");
    bucket.put("out/large.bin", "of an earlier build");
    let sandbox = large_project();
    let between = GoBetween::new(&endpoint, |line| {
        Verdict::when(
            is_part(line),
            s3_error("403 Forbidden", "AccessDenied", "Access Denied"),
        )
    });
    let arguments = ["--artifacts", "s3://failed-upload"];
    run(&sandbox, &between.endpoint, &arguments)
        .expect(4)
        .stdout_has("AccessDenied: Access Denied");
    let there: Vec<String> = bucket.keys();
    assert!(there.contains(&"out/index.html".to_owned()), "{there:?}");
    assert_eq!(
        bucket.get("out/large.bin").content,
        b"of an earlier build",
        "what could not be stored replaced something"
    );
    assert_eq!(bucket.unfinished(), 0);
    // Uploads are given up; an object is never removed.
    assert!(between.count("DELETE") >= 1, "nothing was aborted");
    assert_eq!(
        between.count("DELETE"),
        between.counts("DELETE", "uploadId=")
    );
    assert!(sandbox.leftovers().is_empty());
}

// ART-13: also where an older version would come back.
#[test]
fn a_failed_upload_takes_no_version_back() {
    let Some(endpoint) = endpoint("versions of a failed upload") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "versions");
    bucket.keep_versions();
    bucket.put("out/deep/er/data.txt", "before");
    let sandbox = large_project();
    let data = "/out/deep/er/data.txt";
    // What is asked for last fails when the small files are there.
    let between = GoBetween::new(&endpoint, move |line| {
        let refusal = s3_error("403 Forbidden", "AccessDenied", "Access Denied");
        Verdict::when(line.starts_with("HEAD") && line.contains(data), refusal)
    });
    run(
        &sandbox,
        &between.endpoint,
        &["--artifacts", "s3://versions"],
    )
    .expect(4)
    .stderr_has("stays: nothing that is stored is removed");
    assert_eq!(bucket.get("out/deep/er/data.txt").content, b"data\n");
    assert_eq!(
        between.count("DELETE"),
        between.counts("DELETE", "uploadId=")
    );
}

// ART-13, PHASE-9: whether a part is on its way, or an object is there and about to be asked for.
#[test]
fn a_stop_in_the_middle_of_an_upload_removes_nothing() {
    let Some(endpoint) = endpoint("a stop while uploading") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "stopped-upload");
    bucket.put("out/index.html", "of an earlier build");
    bucket.put("kept.txt", "somebody's own");
    for held in [is_part as fn(&str) -> bool, |line| line.starts_with("HEAD")] {
        let sandbox = large_project();
        let between = GoBetween::new(&endpoint, move |line| {
            Verdict::when(held(line), Verdict::Hold)
        });
        let arguments = [
            "run",
            "--log-format",
            "codebuild",
            "--artifacts",
            "s3://stopped-upload",
        ];
        let child = Sandbox::spawn(&mut command(&sandbox, &between.endpoint, &arguments));
        between
            .held
            .recv_timeout(std::time::Duration::from_mins(1))
            .expect("the request is sent");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a pid"), Signal::INT)
            .expect("a child can be signalled");
        let output = support::wait::output(child);
        sandbox
            .finish(&output)
            .expect(130)
            .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: STOPPED\n");
        let keys = bucket.keys();
        for key in ["kept.txt", "out/index.html"] {
            assert!(
                keys.iter().any(|there| there == key),
                "{key} is gone: {keys:?}"
            );
        }
        assert_eq!(bucket.unfinished(), 0);
        assert_eq!(
            between.count("DELETE"),
            between.counts("DELETE", "uploadId=")
        );
        assert!(sandbox.leftovers().is_empty());
    }
}

// ART-11: an object that is not what was sent is no success, whatever PUT said.
#[test]
fn an_object_that_is_found_to_be_another_is_a_fault() {
    let Some(endpoint) = endpoint("an object that is another") else {
        return;
    };
    let bucket = Bucket::new(&endpoint, "another-object");
    bucket.put("out/index.html", "before");
    let sandbox = project("  name: out\n");
    let between = GoBetween::new(&endpoint, |line| {
        let shorter = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
        Verdict::when(
            line.starts_with("HEAD"),
            Verdict::Answer(shorter.to_owned()),
        )
    });
    run(
        &sandbox,
        &between.endpoint,
        &["--artifacts", "s3://another-object"],
    )
    .expect(4)
    .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: FAULT\n")
    .stdout_has(" has 3 bytes where ");
    assert_eq!(between.count("DELETE"), 0);
}

/// Another build stores under the same key between what a build stores and what it asks for.
fn overtaken(endpoint: &str, bucket: Arc<Bucket>, key: &'static str) -> GoBetween {
    GoBetween::new(endpoint, move |line| {
        if line.starts_with("HEAD") && line.contains(key) {
            bucket.put(key, "of a build at the same time");
        }
        Verdict::Pass
    })
}

// ART-33: the last one wins, and nobody fails for it.
#[test]
fn builds_that_store_under_one_key_at_once_all_succeed() {
    let Some(endpoint) = endpoint("builds that store under one key") else {
        return;
    };
    let bucket = Arc::new(Bucket::new(&endpoint, "overtaken"));
    let sandbox = project("  name: out\n");
    let between = overtaken(&endpoint, Arc::clone(&bucket), "out/index.html");
    let arguments = ["--artifacts", "s3://overtaken"];
    run(&sandbox, &between.endpoint, &arguments)
        .expect(0)
        .stdout_has("Phase complete: UPLOAD_ARTIFACTS State: SUCCEEDED\n")
        .stderr_has("s3://overtaken/out/index.html was stored, and then replaced by somebody else");
    assert_eq!(
        bucket.get("out/index.html").content,
        b"of a build at the same time"
    );
    assert_eq!(bucket.get("out/deep/er/data.txt").content, b"data\n");
    assert_eq!(between.count("DELETE"), 0);
    // An archive, and one in parts.
    let bucket = Arc::new(Bucket::new(&endpoint, "overtaken-archive"));
    let sandbox = large_project();
    let between = overtaken(&endpoint, Arc::clone(&bucket), "big.zip");
    let arguments = [
        "--artifacts",
        "s3://overtaken-archive",
        "--packaging",
        "zip",
        "--artifact-name",
        "big.zip",
    ];
    run(&sandbox, &between.endpoint, &arguments)
        .expect(0)
        .stderr_has("and then replaced by somebody else");
    assert_eq!(
        bucket.get("big.zip").content,
        b"of a build at the same time"
    );
    assert_eq!(between.count("DELETE"), 0);
}

// ART-33: with versions, what is asked for is the one that this build stored.
#[test]
fn a_version_is_verified_whatever_comes_after_it() {
    let Some(endpoint) = endpoint("versions at the same time") else {
        return;
    };
    let bucket = Arc::new(Bucket::new(&endpoint, "overtaken-versions"));
    bucket.keep_versions();
    let sandbox = project("  name: out\n");
    let between = overtaken(&endpoint, Arc::clone(&bucket), "out/index.html");
    let ran = run(
        &sandbox,
        &between.endpoint,
        &["--artifacts", "s3://overtaken-versions"],
    )
    .expect(0);
    assert!(!ran.stderr.contains("replaced by"), "{}", ran.stderr);
    assert_eq!(between.counts("HEAD", "versionId="), 2);
    assert_eq!(bucket.versions(), (3, 0));
}

// LOG-15: a secret key of the environment is in no log, no event and no file.
#[test]
fn credentials_are_in_nothing_that_is_written() {
    let Some(endpoint) = endpoint("credentials in logs") else {
        return;
    };
    let _bucket = Bucket::new(&endpoint, "secrecy");
    let sandbox = project("").file("buildspec.yml", "version: 0.2\nphases:\n  build:\n    commands:\n      - env | sort\n      - echo $AWS_SECRET_ACCESS_KEY > leak.txt; cat leak.txt; rm leak.txt\nartifacts:\n  files: dist/**/*\n");
    let arguments = [
        "run",
        "--artifacts",
        "s3://secrecy",
        "--events",
        "../events.jsonl",
        "--log-file",
        "../build.log",
        "-v",
    ];
    let output = command(&sandbox, &endpoint, &arguments).bounded_output();
    let ran = sandbox
        .finish(&output.expect("the program can be started"))
        .expect(0);
    let file = |name: &str| fs::read_to_string(sandbox.path(name)).expect("it was written");
    let written = [
        ran.stdout,
        ran.stderr,
        file("events.jsonl"),
        file("build.log"),
    ]
    .concat();
    assert!(written.contains("AWS_SECRET_ACCESS_KEY=***"), "{written}");
    assert!(!written.contains("not-a-real-secret-key"));
    assert!(sandbox.leftovers().is_empty());
    assert!(!Path::new(&sandbox.path("state")).join("leak.txt").exists());
}
