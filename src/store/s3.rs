//! A bucket as the place for artifacts.
//!
//! Files up to one part are put at once; larger ones in parts, several at a time. Every request carries the SHA-256 of
//! what it sends, so that the service refuses what was changed on the way, and a HEAD at the end says that all of it is
//! there. Bytes in memory are counted: no more than [`IN_FLIGHT`] at a time.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::{RequestId, RequestIdExt};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::{
    Error, ErrorKind, ObjectMetadata, Progress, ProgressSender, Stop, Stored, Upload, hex,
};
use crate::aws::{self, CONNECT, Unanswered, UnansweredKind};
use crate::proxy::Proxy;

/// Size of a part, and of the largest file that is put at once.
const PART: u64 = 8 * 1024 * 1024;

/// Most parts that S3 takes for one object.
const MAX_PARTS: u64 = 10_000;

/// Bytes of content in memory at a time.
const IN_FLIGHT: usize = 24 * 1024 * 1024;

/// Requests at a time.
const REQUESTS: usize = 24;

/// What a small file counts at least, so that the number of requests stays bounded too.
const LEAST: usize = IN_FLIGHT / REQUESTS;

/// Bytes a second that the slowest line carries on which an upload is not given up: half a megabit.
const SLOWEST_LINE: u64 = 64 * 1024;

/// How long an object that is on its way when the end is asked for may take to arrive. Cut off in the middle, nobody
/// could say whether it is there.
const SETTLE: Duration = Duration::from_secs(5);

/// How long cleaning up after a failure may take.
const CLEAN_UP: Duration = Duration::from_secs(20);

/// How S3 is reached.
#[derive(Clone, Debug, Default)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// KMS key for what is stored; the bucket's own default if not given.
    pub encryption_key: Option<String>,
    /// Whether KMS encrypts also where no key is given: then with the account's own for S3.
    pub always_kms: bool,
    /// Whether nobody else stores there: then what is found afterwards has to be what was sent, by its SHA-256 (AGENT-19).
    pub is_ours_alone: bool,
    /// How AWS is reached.
    pub aws: aws::Settings,
    /// Whether an endpoint other than AWS's own is set: those want the bucket in the path.
    pub custom_endpoint: bool,
    /// What requests to the bucket go through, where that is asked for; nothing else does, such as the search for credentials.
    pub proxy: Option<Proxy>,
}

impl S3Settings {
    /// What encrypts, if that is said.
    fn encryption(&self) -> Option<ServerSideEncryption> {
        let is_said = self.always_kms || self.encryption_key.is_some();
        is_said.then_some(ServerSideEncryption::AwsKms)
    }
}

/// An upload in parts that could be neither finished nor given up. Its parts cost money for as long as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    key: String,
    id: String,
}

/// Keeps artifacts in a bucket.
#[derive(Debug)]
pub struct S3Store {
    pub(super) settings: S3Settings,
    unfinished: Arc<Mutex<Vec<Unfinished>>>,
    /// Made at the first use: a build without artifacts does not look for credentials.
    client: OnceCell<Client>,
}

impl S3Store {
    /// A store with these settings. Nothing is contacted yet.
    #[must_use]
    pub fn new(settings: S3Settings) -> Self {
        Self {
            settings,
            unfinished: Arc::default(),
            client: OnceCell::new(),
        }
    }

    pub(super) fn location(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.settings.bucket)
    }

    pub(super) async fn client(&self) -> &Client {
        self.client
            .get_or_init(|| make_client(&self.settings))
            .await
    }

    /// The client, if there is a region to ask in; `doing` is what it is wanted for.
    pub(super) async fn ready(&self, doing: &str) -> Result<&Client, Error> {
        let client = self.client().await;
        if client.config().region().is_none() {
            let mut error = no_region(&self.settings);
            error.message = error
                .message
                .replacen("store in", &format!("{doing} in"), 1);
            return Err(error);
        }
        Ok(client)
    }

    /// Whether this key could be stored: begins an upload and gives it up. No object comes of it, none is replaced.
    pub async fn try_writing(&self, key: &str) -> Result<(), Error> {
        let client = self.client().await;
        if client.config().region().is_none() {
            return Err(no_region(&self.settings));
        }
        let context = ErrorContext {
            bucket: self.settings.bucket.clone(),
            key: key.to_owned(),
            missing_profile: self.settings.aws.missing_profile.clone(),
        };
        let mut request = client
            .create_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(key);
        if let Some(encryption) = self.settings.encryption() {
            request = request
                .server_side_encryption(encryption)
                .set_ssekms_key_id(self.settings.encryption_key.clone());
        }
        let begun = request.customize().config_override(small()).send().await;
        let begun = begun.map_err(|error| context.service_error("begin to store", error))?;
        let given_up = client
            .abort_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(key)
            .set_upload_id(begun.upload_id().map(str::to_owned))
            .customize()
            .config_override(small())
            .send();
        let given_up = given_up.await;
        given_up.map_err(|error| Error {
            kind: ErrorKind::NotGivenUp,
            ..context.service_error("give up the upload that was begun for", error)
        })?;
        Ok(())
    }

    /// The uploads that were begun here, and could not be given up.
    #[must_use]
    pub fn unfinished(&self) -> Vec<Unfinished> {
        let held = self.unfinished.lock();
        held.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives up uploads that others of this bucket left behind. Those for which that fails again are this store's from now on.
    pub async fn give_up(&self, left: Vec<Unfinished>) {
        let client = self.client().await;
        for upload in left {
            if !give_up(client, &self.settings.bucket, &upload).await {
                let held = self.unfinished.lock();
                held.unwrap_or_else(PoisonError::into_inner).push(upload);
            }
        }
    }

    /// Stores files: all of them are there afterwards, verified, or this fails. Then objects that were stored by then stay:
    /// what they took the place of cannot come back, and may be somebody else's by now (ART-13).
    pub async fn put(
        &self,
        uploads: Vec<Upload>,
        metadata: ObjectMetadata,
        progress: &ProgressSender,
        stop: &Stop,
    ) -> Result<(), Error> {
        let client = self.client().await.clone();
        if client.config().region().is_none() {
            return Err(no_region(&self.settings));
        }
        let job = Arc::new(Job {
            client,
            settings: self.settings.clone(),
            unfinished: Arc::clone(&self.unfinished),
            metadata,
            progress: progress.clone(),
            memory: Arc::new(Semaphore::new(IN_FLIGHT)),
            halt: Stop::default(),
            stored: AtomicUsize::new(0),
        });
        let result = job.put_all(uploads, stop).await;
        let stored = job.stored.load(Ordering::Relaxed);
        if result.is_err() && stored > 0 {
            job.note(format!(
                "what was stored in {} before that ({stored} object{}) stays: nothing that is stored is removed",
                job.bucket_url(),
                if stored == 1 { "" } else { "s" }
            ));
        }
        result
    }
}

/// Without a region no request can even be addressed; the SDK's own words for it are no help.
fn no_region(settings: &S3Settings) -> Error {
    let (what, help) = aws::no_region(settings.aws.missing_profile.as_deref());
    Error {
        kind: ErrorKind::Other,
        message: format!("could not store in s3://{}: {what}", settings.bucket),
        help: Some(help),
        source: None,
    }
}

/// Gives up an upload in parts, and says whether it is gone.
async fn give_up(client: &Client, bucket: &str, upload: &Unfinished) -> bool {
    let request = client
        .abort_multipart_upload()
        .bucket(bucket)
        .key(&upload.key)
        .upload_id(&upload.id);
    match tokio::time::timeout(CLEAN_UP, request.send()).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.code() == Some("NoSuchUpload"),
        Err(_) => false,
    }
}

async fn make_client(settings: &S3Settings) -> Client {
    let shared = settings.aws.loader().load().await;
    let custom = settings.custom_endpoint || shared.endpoint_url().is_some();
    let config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(custom);
    let config = match &settings.proxy {
        Some(proxy) => config.http_client(proxy.client()),
        None => config,
    };
    Client::from_conf(config.build())
}

/// Limits of a request that carries this much. The time until the answer begins counts from the start of the request, so
/// it has to hold the sending too, beside everything else that is under way on the same line: as many as fit in memory. All
/// attempts together have twice that time, so that a service that answers to none of them does not hold a build for long.
fn patience(bytes: u64) -> aws_sdk_s3::config::Builder {
    let beside = (IN_FLIGHT as u64 / bytes.max(LEAST as u64)).max(1);
    let sending = Duration::from_secs((bytes * beside).div_ceil(SLOWEST_LINE));
    let attempt = aws::SMALL + sending;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(attempt)
        .operation_timeout(attempt * 2)
        .build();
    aws_sdk_s3::config::Builder::new().timeout_config(timeouts)
}

/// Limits of a request that carries nothing.
fn small() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::new().timeout_config(aws::small_question())
}

/// What all uploads of one call share.
struct Job {
    client: Client,
    settings: S3Settings,
    unfinished: Arc<Mutex<Vec<Unfinished>>>,
    metadata: ObjectMetadata,
    progress: ProgressSender,
    memory: Arc<Semaphore>,
    /// Tells every upload to end and to give up what it began: after a failure of one, or a wish from outside.
    halt: Stop,
    /// Objects that are there.
    stored: AtomicUsize,
}

/// A part that is read and hashed, ready to go.
struct Part {
    number: i32,
    content: Vec<u8>,
    digest: [u8; 32],
    memory: OwnedSemaphorePermit,
}

/// All parts of an object, sent.
struct Parts {
    completed: Vec<CompletedPart>,
    /// SHA-256 of the parts' digests with their number, as S3 writes it.
    checksum: String,
    /// SHA-256 of the whole, in hexadecimal.
    whole: String,
}

/// An object that is stored, with what the service said of it.
struct Sent {
    /// The checksum that it has to have, as S3 writes it.
    checksum: String,
    /// SHA-256 of the whole, in hexadecimal.
    whole: String,
    /// The checksum that it has, where the answer says so.
    answered: Option<String>,
    /// Which content it is, where the answer says so.
    tag: Option<String>,
    /// Which version it is, where versions are kept.
    version: Option<String>,
}

impl Job {
    /// Runs all uploads, several at a time. After the first failure the others are told to end, and all of them are
    /// waited for: each gives up what it began.
    async fn put_all(self: &Arc<Self>, uploads: Vec<Upload>, stop: &Stop) -> Result<(), Error> {
        let mut running = JoinSet::new();
        let mut uploads = uploads.into_iter();
        let mut result = Ok(());
        loop {
            while running.len() < REQUESTS && result.is_ok() {
                let Some(upload) = uploads.next() else { break };
                let job = Arc::clone(self);
                running.spawn(async move { job.put_one(upload).await });
            }
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => return result,
                    Some(Ok(ended)) => result = result.and(ended),
                    Some(Err(error)) => result = result.and(Err(broke_off(error))),
                },
                () = stop.requested(), if result.is_ok() => result = Err(Error::stopped()),
            }
            if result.is_err() {
                self.halt.request();
            }
        }
    }

    /// Carries work on until it ends or the job is told to.
    async fn unless_halted<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            result = work => result,
            () = self.halt.requested() => Err(Error::stopped()),
        }
    }

    /// Carries the storing of an object to its end even if the job is told to end, for a while.
    async fn settled<T>(
        &self,
        key: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => return result,
            () = self.halt.requested() => {}
        }
        if let Ok(result) = tokio::time::timeout(SETTLE, work).await {
            return result;
        }
        self.note(format!(
            "{}/{key} was being stored when the end was asked for: it may be there or not",
            self.bucket_url()
        ));
        Err(Error::stopped())
    }

    /// Stores one file.
    async fn put_one(&self, upload: Upload) -> Result<(), Error> {
        let opening = upload.clone();
        let size = blocking(move || {
            opening
                .open()
                .and_then(|file| file.metadata())
                .map(|data| data.len())
        })
        .await?
        .map_err(|error| Error::source_file(&upload.source, error))?;
        let sent = if size <= PART {
            self.put_at_once(&upload, size).await?
        } else {
            self.put_in_parts(&upload, size).await?
        };
        self.stored.fetch_add(1, Ordering::Relaxed);
        self.unless_halted(self.verify(&upload.key, size, &sent))
            .await?;
        let location = format!("s3://{}/{}", self.settings.bucket, upload.key);
        let stored = Stored {
            path: upload.path,
            location,
            bytes: size,
            sha256: sent.whole,
        };
        let _ = self.progress.send(Progress::Stored(stored));
        Ok(())
    }

    async fn reserve(&self, bytes: u64) -> OwnedSemaphorePermit {
        let bytes = usize::try_from(bytes)
            .unwrap_or(IN_FLIGHT)
            .clamp(LEAST, IN_FLIGHT);
        let permits = u32::try_from(bytes).expect("invariant: memory in flight is far below 4 GiB");
        let reserved = Arc::clone(&self.memory).acquire_many_owned(permits).await;
        reserved.expect("invariant: the semaphore is never closed")
    }

    async fn put_at_once(&self, upload: &Upload, size: u64) -> Result<Sent, Error> {
        let reserved = async { Ok(self.reserve(size).await) };
        let _memory = self.unless_halted(reserved).await?;
        let opening = upload.clone();
        let (content, digest) = blocking(move || {
            let content = read_exactly(&mut opening.open()?, size)?;
            let digest: [u8; 32] = Sha256::digest(&content).into();
            Ok((content, digest))
        })
        .await?
        .map_err(|error| unreadable(&upload.source, error))?;
        let whole = hex(&digest);
        upload.check(&whole)?;
        let checksum = BASE64.encode(digest);
        let mut request = self
            .client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(&upload.key)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(&checksum)
            .set_content_type(self.metadata.content_type.map(str::to_owned))
            .set_if_none_match(upload.unless_there.then(any))
            .body(ByteStream::from(content));
        for (name, value) in &self.metadata.entries {
            request = request.metadata(*name, value);
        }
        if let Some(encryption) = self.settings.encryption() {
            request = request
                .server_side_encryption(encryption)
                .set_ssekms_key_id(self.settings.encryption_key.clone());
        }
        let sending = async {
            let sent = request
                .customize()
                .config_override(patience(size))
                .disable_payload_signing()
                .send()
                .await;
            sent.map_err(|error| self.service_error("store", &upload.key, error))
        };
        let answer = self.settled(&upload.key, sending).await?;
        let _ = self.progress.send(Progress::Bytes(size));
        Ok(Sent {
            checksum,
            whole,
            answered: answer.checksum_sha256().map(str::to_owned),
            tag: answer.e_tag().map(str::to_owned),
            version: kept_version(answer.version_id()),
        })
    }

    async fn put_in_parts(&self, upload: &Upload, size: u64) -> Result<Sent, Error> {
        let mut request = self
            .client
            .create_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(&upload.key)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_content_type(self.metadata.content_type.map(str::to_owned));
        for (name, value) in &self.metadata.entries {
            request = request.metadata(*name, value);
        }
        if let Some(encryption) = self.settings.encryption() {
            request = request
                .server_side_encryption(encryption)
                .set_ssekms_key_id(self.settings.encryption_key.clone());
        }
        let created = request
            .customize()
            .config_override(small())
            .send()
            .await
            .map_err(|error| self.service_error("begin to store", &upload.key, error))?;
        let Some(id) = created.upload_id() else {
            return Err(self.odd_answer(&upload.key, "began an upload without giving it an id"));
        };
        let result = async {
            let parts = self.unless_halted(self.put_parts(upload, id, size)).await?;
            upload.check(&parts.whole)?;
            self.settled(&upload.key, self.complete(upload, id, parts))
                .await
        }
        .await;
        if result.is_err() {
            // Parts that stay behind cost money for ever.
            let begun = Unfinished {
                key: upload.key.clone(),
                id: id.to_owned(),
            };
            if !give_up(&self.client, &self.settings.bucket, &begun).await {
                self.note(format!(
                    "the upload {id} to {}/{} could not be aborted",
                    self.bucket_url(),
                    upload.key
                ));
                let held = self.unfinished.lock();
                held.unwrap_or_else(PoisonError::into_inner).push(begun);
            }
        }
        result
    }

    /// Reads, hashes and sends the parts.
    async fn put_parts(&self, upload: &Upload, id: &str, size: u64) -> Result<Parts, Error> {
        let part_size = PART.max(size.div_ceil(MAX_PARTS));
        let count = size.div_ceil(part_size);
        let mut reader = Some(PartReader::open(upload, part_size, size)?);
        let mut sending = JoinSet::new();
        let mut completed: Vec<CompletedPart> = Vec::new();
        let mut digests = Sha256::new();
        for number in 1..=count {
            let memory = self.reserve(part_size).await;
            let mut current = reader
                .take()
                .expect("invariant: the reader comes back with every part");
            let (next, part) = blocking(move || {
                let part = current.next_part(number, memory);
                (current, part)
            })
            .await?;
            reader = Some(next);
            let part = part.map_err(|error| unreadable(&upload.source, error))?;
            digests.update(part.digest);
            sending.spawn(self.send_part(&upload.key, id, part));
            while let Some(sent) = sending.try_join_next() {
                completed.push(sent.map_err(broke_off)??);
            }
        }
        while let Some(sent) = sending.join_next().await {
            completed.push(sent.map_err(broke_off)??);
        }
        completed.sort_by_key(CompletedPart::part_number);
        let whole = reader.map(PartReader::finish).unwrap_or_default();
        Ok(Parts {
            checksum: format!("{}-{count}", BASE64.encode(digests.finalize())),
            whole,
            completed,
        })
    }

    /// Asks for one object of all parts.
    async fn complete(&self, upload: &Upload, id: &str, parts: Parts) -> Result<Sent, Error> {
        let completed = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.completed))
            .build();
        let answer = self
            .client
            .complete_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(&upload.key)
            .upload_id(id)
            .set_if_none_match(upload.unless_there.then(any))
            .multipart_upload(completed)
            .send()
            .await
            .map_err(|error| self.service_error("finish storing", &upload.key, error))?;
        Ok(Sent {
            checksum: parts.checksum,
            whole: parts.whole,
            answered: answer.checksum_sha256().map(str::to_owned),
            tag: answer.e_tag().map(str::to_owned),
            version: kept_version(answer.version_id()),
        })
    }

    fn send_part(
        &self,
        key: &str,
        id: &str,
        part: Part,
    ) -> impl Future<Output = Result<CompletedPart, Error>> + use<> {
        let checksum = BASE64.encode(part.digest);
        let size = part.content.len() as u64;
        let request = self
            .client
            .upload_part()
            .bucket(&self.settings.bucket)
            .key(key)
            .upload_id(id)
            .part_number(part.number)
            .checksum_sha256(&checksum)
            .body(ByteStream::from(part.content));
        let context = ErrorContext {
            bucket: self.settings.bucket.clone(),
            key: key.to_owned(),
            missing_profile: self.settings.aws.missing_profile.clone(),
        };
        let progress = self.progress.clone();
        async move {
            let memory = part.memory;
            let answer = request
                .customize()
                .config_override(patience(size))
                .disable_payload_signing()
                .send()
                .await;
            let answer = answer.map_err(|error| context.service_error("store a part of", error))?;
            drop(memory);
            let _ = progress.send(Progress::Bytes(size));
            let done = CompletedPart::builder()
                .part_number(part.number)
                .checksum_sha256(checksum);
            Ok(done.set_e_tag(answer.e_tag().map(str::to_owned)).build())
        }
    }

    /// Looks whether what is there is what was sent: by what the answer to storing it said, and by asking for it. Somebody else
    /// may store under the same key at any time; then theirs is there, and ours was (ART-33). Where nobody else may, that is an
    /// error, and so is a checksum that is missing (AGENT-19).
    async fn verify(&self, key: &str, size: u64, sent: &Sent) -> Result<(), Error> {
        let is_ours = |found: &str| is_same_checksum(found, &sent.checksum);
        if sent
            .answered
            .as_deref()
            .is_some_and(|found| !is_ours(found))
        {
            return Err(self.odd_answer(key, "has another SHA-256 than what was sent"));
        }
        let head = self.head(key, sent.version.as_deref()).await?;
        let there = head
            .content_length()
            .and_then(|length| u64::try_from(length).ok());
        match head.checksum_sha256() {
            Some(found) if there == Some(size) && is_ours(found) => return Ok(()),
            _ if is_another(sent.tag.as_deref(), head.e_tag()) => {
                if self.settings.is_ours_alone {
                    return Err(
                        self.odd_answer(key, "was stored, and then replaced by somebody else")
                    );
                }
                self.note(format!(
                    "{}/{key} was stored, and then replaced by somebody else",
                    self.bucket_url()
                ));
                return Ok(());
            }
            _ => {}
        }
        if there != Some(size) {
            let there = there.map_or("an unknown number of".to_owned(), |there| there.to_string());
            return Err(self.odd_answer(key, &format!("has {there} bytes where {size} were sent")));
        }
        if head.checksum_sha256().is_some() {
            return Err(self.odd_answer(key, "has another SHA-256 than what was sent"));
        }
        if self.settings.is_ours_alone {
            return Err(self.odd_answer(key, "has no SHA-256 by which it could be verified"));
        }
        if sent.answered.is_none() {
            self.note(format!(
                "{} gave no checksum: only the size was verified",
                self.bucket_url()
            ));
        }
        Ok(())
    }

    /// What is there: the version that was stored, where one is known and may be asked for.
    async fn head(&self, key: &str, version: Option<&str>) -> Result<HeadObjectOutput, Error> {
        let asked = |version: Option<&str>| {
            self.client
                .head_object()
                .bucket(&self.settings.bucket)
                .key(key)
                .set_version_id(version.map(str::to_owned))
                .checksum_mode(ChecksumMode::Enabled)
                .customize()
                .config_override(small())
                .send()
        };
        let found = asked(version).await;
        let found = found.map_err(|error| self.service_error("verify", key, error));
        match found {
            // Versions are a permission of their own, s3:GetObjectVersion.
            Err(error) if version.is_some() && error.kind == ErrorKind::Forbidden => asked(None)
                .await
                .map_err(|error| self.service_error("verify", key, error)),
            found => found,
        }
    }

    fn note(&self, note: String) {
        let _ = self.progress.send(Progress::Note(note));
    }

    fn bucket_url(&self) -> String {
        format!("s3://{}", self.settings.bucket)
    }

    fn context(&self, key: &str) -> ErrorContext {
        ErrorContext {
            bucket: self.settings.bucket.clone(),
            key: key.to_owned(),
            missing_profile: self.settings.aws.missing_profile.clone(),
        }
    }

    fn service_error<E>(&self, doing: &str, key: &str, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        SdkError<E, HttpResponse>: RequestId + RequestIdExt,
    {
        self.context(key).service_error(doing, error)
    }

    fn odd_answer(&self, key: &str, what: &str) -> Error {
        let location = format!("{}/{key}", self.bucket_url());
        let message = format!("{location} {what}");
        Error {
            kind: ErrorKind::Mismatch,
            message,
            help: None,
            source: None,
        }
    }
}

pub(super) struct ErrorContext {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) missing_profile: Option<String>,
}

impl ErrorContext {
    /// An error in the form that CodeBuild's log has: the code, the text, then the status and the ids (ART-14).
    pub(super) fn service_error<E>(&self, doing: &str, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        SdkError<E, HttpResponse>: RequestId + RequestIdExt,
    {
        let location = format!("s3://{}/{}", self.bucket, self.key);
        let Some(status) = error
            .raw_response()
            .map(|response| response.status().as_u16())
        else {
            return unreachable_service(doing, &location, error, self.missing_profile.as_deref());
        };
        let code = error
            .code()
            .map_or_else(|| code_of_status(status), str::to_owned);
        let text = error
            .message()
            .unwrap_or("the service gave no message")
            .to_owned();
        let request_id = error.request_id().unwrap_or("none");
        let host_id = error.extended_request_id().unwrap_or("none");
        let message = format!(
            "{code}: {text}\n\tstatus code: {status}, request id: {request_id}, host id: {host_id}"
        );
        let kind = kind_of(&code, status);
        let help = match kind {
            ErrorKind::NotFound => Some(format!(
                "make the bucket `{}`, or name another with `--artifacts`",
                self.bucket
            )),
            ErrorKind::Forbidden => Some(format!(
                "check the credentials, and that they may s3:PutObject and s3:GetObject for {location}"
            )),
            _ => Some(format!("this is what S3 answered for {location}")),
        };
        Error {
            kind,
            message,
            help,
            source: Some(Box::new(error)),
        }
    }
}

/// No answer came: no credentials, no network, no service.
fn unreachable_service<E>(
    doing: &str,
    location: &str,
    error: SdkError<E, HttpResponse>,
    profile: Option<&str>,
) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    let Unanswered {
        kind, why, help, ..
    } = aws::unanswered(&error, profile);
    let kind = match kind {
        UnansweredKind::NoCredentials => ErrorKind::Forbidden,
        UnansweredKind::BadCredentials | UnansweredKind::Network => ErrorKind::Unreachable,
    };
    let message = format!("could not {doing} {location}: {why}");
    Error {
        kind,
        message,
        help: Some(help),
        source: Some(Box::new(error)),
    }
}

/// Answers to HEAD have no body, and so no code.
fn code_of_status(status: u16) -> String {
    match status {
        403 => "AccessDenied".to_owned(),
        404 => "NotFound".to_owned(),
        _ => format!("HTTP {status}"),
    }
}

/// The version that an object is and stays: where none are kept, or no longer, all are called `null`.
fn kept_version(version: Option<&str>) -> Option<String> {
    version
        .filter(|version| *version != "null")
        .map(str::to_owned)
}

/// For `If-None-Match`: nothing may be there.
fn any() -> String {
    "*".to_owned()
}

/// Whether two checksums are of the same content. That of an object in parts is that of its parts' checksums, with their number,
/// which not every service writes.
fn is_same_checksum(one: &str, other: &str) -> bool {
    let bare = |text: &str| text.split('-').next().unwrap_or_default().to_owned();
    bare(one) == bare(other)
}

/// Whether entity tags are of two objects. What has none says nothing.
fn is_another(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.trim_matches('"') != other.trim_matches('"'),
        _ => false,
    }
}

fn kind_of(code: &str, status: u16) -> ErrorKind {
    match (code, status) {
        // Answers to `If-None-Match`.
        ("PreconditionFailed" | "ConditionalRequestConflict", _) | (_, 412) => ErrorKind::Exists,
        (
            "BadDigest"
            | "InvalidDigest"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch",
            _,
        ) => ErrorKind::Mismatch,
        (_, 404) => ErrorKind::NotFound,
        (_, 401 | 403) => ErrorKind::Forbidden,
        (_, 500..) => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

/// Reads a file part by part, and hashes all of it on the way.
struct PartReader {
    file: File,
    part_size: u64,
    left: u64,
    whole: Sha256,
}

impl PartReader {
    fn open(upload: &Upload, part_size: u64, size: u64) -> Result<Self, Error> {
        let file = upload
            .open()
            .map_err(|error| Error::source_file(&upload.source, error))?;
        Ok(Self {
            file,
            part_size,
            left: size,
            whole: Sha256::new(),
        })
    }

    fn next_part(&mut self, number: u64, memory: OwnedSemaphorePermit) -> std::io::Result<Part> {
        let size = self.part_size.min(self.left);
        let content = read_exactly(&mut self.file, size)?;
        self.left -= size;
        if self.left == 0 {
            nothing_more(&mut self.file)?;
        }
        self.whole.update(&content);
        let digest = Sha256::digest(&content).into();
        let number = i32::try_from(number).expect("invariant: at most 10,000 parts");
        Ok(Part {
            number,
            content,
            digest,
            memory,
        })
    }

    fn finish(self) -> String {
        hex(&self.whole.finalize())
    }
}

/// Exactly so many bytes; a file that has fewer is being changed.
fn read_exactly(file: &mut File, size: u64) -> std::io::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_exact(&mut content)?;
    Ok(content)
}

/// The end of the file; one that goes on is being changed.
fn nothing_more(file: &mut File) -> std::io::Result<()> {
    match file.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        Error::changed(path)
    } else {
        Error::source_file(path, error)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(broke_off)
}

pub(super) fn broke_off(error: tokio::task::JoinError) -> Error {
    Error {
        kind: ErrorKind::Other,
        message: "storing artifacts broke off".to_owned(),
        help: None,
        source: Some(error.into()),
    }
}
