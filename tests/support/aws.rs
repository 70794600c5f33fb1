//! Buckets on the server that `tests/run` starts, and a go-between that makes requests fail.

use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::types::{BucketVersioningStatus, ChecksumMode, VersioningConfiguration};
use tokio::runtime::Runtime;

use super::sandbox::Sandbox;

/// Region of every test.
pub(crate) const REGION: &str = "us-east-1";

/// Address of the services, unless they are not there, which is said.
pub(crate) fn endpoint(test: &str) -> Option<String> {
    let found = std::env::var("RUNNER_TEST_AWS").ok();
    if found.is_none() {
        super::skipped(test, "no AWS services; tests/run starts them");
    }
    found
}

/// A command of the program with credentials and an endpoint.
pub(crate) fn command(sandbox: &Sandbox, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(arguments);
    command
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "not-a-real-secret-key")
        .env("AWS_REGION", REGION)
        .env("AWS_ENDPOINT_URL", endpoint);
    command
}

/// A bucket of one test.
pub(crate) struct Bucket {
    runtime: Runtime,
    client: Client,
    pub(crate) name: String,
}

/// An object as it is found.
pub(crate) struct Object {
    pub(crate) content: Vec<u8>,
    pub(crate) metadata: std::collections::HashMap<String, String>,
    pub(crate) content_type: Option<String>,
    pub(crate) encryption: Option<String>,
    pub(crate) kms_key: Option<String>,
}

impl Bucket {
    /// A new one. Names are the tests', so that no two meet.
    pub(crate) fn new(endpoint: &str, name: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
            .region(Region::new(REGION))
            .endpoint_url(endpoint)
            .force_path_style(true)
            .build();
        let bucket = Self {
            runtime,
            client: Client::from_conf(config),
            name: name.to_owned(),
        };
        let made = bucket.client.create_bucket().bucket(name).send();
        bucket.runtime.block_on(made).expect("a bucket can be made");
        bucket
    }

    /// Keeps every version from now on.
    pub(crate) fn keep_versions(&self) {
        let status = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        let request = self
            .client
            .put_bucket_versioning()
            .bucket(&self.name)
            .versioning_configuration(status);
        self.runtime
            .block_on(request.send())
            .expect("versions can be kept");
    }

    pub(crate) fn put(&self, key: &str, content: &str) {
        let request = self.client.put_object().bucket(&self.name).key(key);
        let request = request.body(content.as_bytes().to_vec().into());
        self.runtime
            .block_on(request.send())
            .expect("an object can be stored");
    }

    /// Stores bytes; gives the version, where versions are kept.
    pub(crate) fn put_bytes(&self, key: &str, content: Vec<u8>) -> String {
        let stored = self.store(key, content);
        stored.version_id().unwrap_or_default().to_owned()
    }

    /// Stores bytes; gives the entity tag.
    pub(crate) fn put_bytes_tag(&self, key: &str, content: Vec<u8>) -> String {
        self.store(key, content)
            .e_tag()
            .unwrap_or_default()
            .to_owned()
    }

    fn store(&self, key: &str, content: Vec<u8>) -> PutObjectOutput {
        let request = self.client.put_object().bucket(&self.name).key(key);
        let stored = self.runtime.block_on(request.body(content.into()).send());
        stored.expect("an object can be stored")
    }

    /// Keys, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let request = self.client.list_objects_v2().bucket(&self.name).send();
        let listed = self.runtime.block_on(request).expect("keys can be listed");
        let mut keys: Vec<String> = listed
            .contents()
            .iter()
            .filter_map(|object| object.key().map(str::to_owned))
            .collect();
        keys.sort();
        keys
    }

    /// How many versions and delete markers there are.
    pub(crate) fn versions(&self) -> (usize, usize) {
        let request = self.client.list_object_versions().bucket(&self.name).send();
        let listed = self
            .runtime
            .block_on(request)
            .expect("versions can be listed");
        (listed.versions().len(), listed.delete_markers().len())
    }

    /// How many uploads were begun and neither finished nor aborted.
    pub(crate) fn unfinished(&self) -> usize {
        let request = self.client.list_multipart_uploads().bucket(&self.name);
        let listed = self.runtime.block_on(request.send());
        listed.expect("uploads can be listed").uploads().len()
    }

    pub(crate) fn get(&self, key: &str) -> Object {
        let request = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .checksum_mode(ChecksumMode::Enabled);
        let object = self
            .runtime
            .block_on(request.send())
            .unwrap_or_else(|error| panic!("{key}: {error:?}"));
        let content = self.runtime.block_on(object.body.collect());
        Object {
            content: content.expect("a body can be read").to_vec(),
            metadata: object.metadata.unwrap_or_default(),
            content_type: object.content_type,
            encryption: object
                .server_side_encryption
                .map(|kind| kind.as_str().to_owned()),
            kms_key: object.ssekms_key_id,
        }
    }
}

/// What the go-between does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Passes it on.
    Pass,
    /// Passes it on, and takes this header (in small letters) out of the answer.
    Without(&'static str),
    /// Answers with this, a whole HTTP response.
    Answer(String),
    /// Never answers.
    Hold,
    /// Never answers, and takes nothing of what is sent.
    Stall,
    /// Closes the connection.
    Drop,
}

impl Verdict {
    /// This one for some requests, and the others pass.
    pub(crate) fn when(applies: bool, verdict: Self) -> Self {
        if applies { verdict } else { Self::Pass }
    }
}

type Judge = dyn Fn(&str, Option<&str>) -> Verdict + Send + Sync;

/// A server on loopback that passes requests on, one a connection, unless its judge says otherwise. The judge sees the
/// request line.
pub(crate) struct GoBetween {
    /// Its address, as an endpoint.
    pub(crate) endpoint: String,
    /// Request lines that were held.
    pub(crate) held: Receiver<String>,
    /// All request lines.
    seen: Arc<Mutex<Vec<String>>>,
}

impl GoBetween {
    pub(crate) fn new(
        upstream: &str,
        judge: impl Fn(&str) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self::judging_keys(upstream, move |line, _| judge(line))
    }

    /// One whose judge also sees the id of the key that a request is signed with.
    pub(crate) fn judging_keys(
        upstream: &str,
        judge: impl Fn(&str, Option<&str>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let judge: Arc<Judge> = Arc::new(judge);
        let (tell, held) = channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (judge, upstream) = (Arc::clone(&judge), upstream.clone());
                let (tell, log) = (tell.clone(), Arc::clone(&log));
                thread::spawn(move || {
                    let _ = serve(stream, &upstream, &*judge, &tell, &log);
                });
            }
        });
        Self {
            endpoint: format!("http://{address}"),
            held,
            seen,
        }
    }

    /// How many requests began like this.
    pub(crate) fn count(&self, start: &str) -> usize {
        let seen = self.seen.lock().expect("no thread panics with it");
        seen.iter().filter(|line| line.starts_with(start)).count()
    }

    /// How many of these had this in them.
    pub(crate) fn counts(&self, start: &str, part: &str) -> usize {
        let seen = self.seen.lock().expect("no thread panics with it");
        let is_meant = |line: &&String| line.starts_with(start) && line.contains(part);
        seen.iter().filter(is_meant).count()
    }
}

fn serve(
    client: TcpStream,
    upstream: &str,
    judge: &Judge,
    tell: &Sender<String>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim_end().to_owned();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && head != "\r\n" {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let key = head
        .split_once("Credential=")
        .and_then(|(_, rest)| rest.split('/').next());
    log.lock()
        .expect("no thread panics with it")
        .push(line.clone());
    let mut client = client;
    match judge(&line, key) {
        verdict @ (Verdict::Pass | Verdict::Without(_)) => {
            let mut server = TcpStream::connect(upstream)?;
            // One request a connection, so that none goes by unseen.
            server.write_all(format!("{line}\r\nConnection: close\r\n{head}").as_bytes())?;
            let mut back = BufReader::new(server.try_clone()?);
            let mut to_client = client.try_clone()?;
            let answer = thread::spawn(move || {
                if let Verdict::Without(header) = verdict {
                    let _ = without(header, &mut back, &mut to_client);
                }
                let _ = std::io::copy(&mut back, &mut to_client);
                let _ = to_client.shutdown(Shutdown::Both);
            });
            let _ = std::io::copy(&mut reader, &mut server);
            let _ = answer.join();
        }
        Verdict::Answer(response) => {
            client.write_all(response.as_bytes())?;
            client.shutdown(Shutdown::Write)?;
            // What the client still sends is taken, or it would see a reset in place of the answer.
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        }
        Verdict::Hold => {
            let _ = tell.send(line);
            let _ = reader.read_to_end(&mut Vec::new());
        }
        Verdict::Stall => {
            let _ = tell.send(line);
            // Closed, the connection would be no stall: it is open for as long as the test runs.
            std::mem::forget((client, reader));
        }
        Verdict::Drop => {}
    }
    Ok(())
}

/// Passes on the head of an answer but for one header.
fn without(header: &str, from: &mut impl BufRead, to: &mut impl Write) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        let is_last = from.read_line(&mut line)? <= "\r\n".len();
        let name = line.split(':').next().unwrap_or_default();
        if !name.eq_ignore_ascii_case(header) {
            to.write_all(line.as_bytes())?;
        }
        if is_last {
            return Ok(());
        }
    }
}

/// An error of S3's as a whole response.
pub(crate) fn s3_error(status: &str, code: &str, message: &str) -> Verdict {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Verdict::Answer(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nx-amz-request-id: REQ1\r\nx-amz-id-2: HOST1\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}
