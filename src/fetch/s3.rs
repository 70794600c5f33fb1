//! Archives in buckets (SRC-17 to SRC-19).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::operation::{RequestId as _, RequestIdExt as _};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::archive::{self, unpack};
use super::{ATTEMPTS, EndWithMe, Error, Fetched, Progress, S3Location, Settings, Watch};
use crate::aws;

/// Where a bucket is looked for if nobody has said where it is: the answer then says so.
const SOME_REGION: &str = "us-east-1";

/// In which an answer says where its bucket is.
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// How S3 is reached.
#[derive(Clone, Debug, Default)]
pub struct S3Settings {
    /// Who asks, and where.
    pub aws: aws::Settings,
    /// Whether an endpoint other than AWS's own is set: those want the bucket in the path.
    pub custom_endpoint: bool,
}

/// An object on its way.
struct Download<'d> {
    at: &'d S3Location,
    settings: &'d Settings,
    watch: Watch<'d>,
    /// How many bytes are there.
    received: u64,
    /// What they are of, once that was said.
    object: Option<Object>,
}

/// What an answer said of its object.
#[derive(Clone)]
struct Object {
    size: u64,
    tag: Option<String>,
    version: Option<String>,
}

/// Why a request came to nothing.
enum Trouble {
    /// Another one would, too.
    Final(Error),
    /// The bucket is in this region.
    Elsewhere(String),
    /// The answer broke off.
    BrokenOff(String),
}

/// Fetches an archive and unpacks it.
pub(super) async fn fetch(
    at: &S3Location,
    into: &Path,
    settings: &Settings,
    watch: Watch<'_>,
) -> Result<Fetched, Error> {
    if at.key.ends_with('/') {
        return Err(Error::new(
            format!(
                "s3://{}/{} is a folder, and a source is an archive",
                at.bucket, at.key
            ),
            "name the ZIP archive in it",
        ));
    }
    // Beside the directory: gone with it, and never in it.
    let file = into.with_extension("archive");
    let mut download = Download {
        at,
        settings,
        watch,
        received: 0,
        object: None,
    };
    let received = download.run(&file).await;
    let unpacked = match received {
        Ok(()) => unpack_beside(at, &file, into, &settings.limits).await,
        Err(error) => Err(error),
    };
    let _ = std::fs::remove_file(&file);
    unpacked?;
    let object = download.object;
    Ok(Fetched {
        commit: None,
        object_version: object.and_then(|object| object.version.or(object.tag)),
    })
}

/// In a thread of its own, which ends when nobody waits for it any more.
async fn unpack_beside(
    at: &S3Location,
    file: &Path,
    into: &Path,
    limits: &archive::Limits,
) -> Result<(), Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let _end = EndWithMe(Arc::clone(&stop));
    let (file, into, limits) = (file.to_owned(), into.to_owned(), *limits);
    let unpacking = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&into).map_err(|source| archive::Error::Io {
            doing: "make",
            path: into.clone(),
            source,
        })?;
        unpack(&file, &into, &limits, &stop)
    });
    let place = format!("s3://{}/{}", at.bucket, at.key);
    match unpacking.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::new(
            format!("could not unpack {place}: {error}"),
            error.help(),
        )),
        Err(error) => Err(Error::new(
            format!("could not unpack {place}: {error}"),
            archive::Error::Stopped.help(),
        )),
    }
}

impl Download<'_> {
    async fn run(&mut self, file: &Path) -> Result<(), Error> {
        let mut region = self.settings.s3.aws.region.clone();
        let mut client = self.client(region.clone()).await;
        let mut out = File::create(file)
            .await
            .map_err(|error| self.unwritable(file, &error))?;
        let mut failed = 0;
        loop {
            let before = self.received;
            match self.attempt(&client, &mut out, file).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Elsewhere(other)) if region.as_ref() != Some(&other) => {
                    client = self.client(Some(other.clone())).await;
                    region = Some(other);
                }
                Err(Trouble::Elsewhere(other)) => {
                    return Err(Error::codebuilds(
                        "The bucket you are attempting to access must be addressed using the specified endpoint",
                        format!(
                            "{}: the bucket is in {other}, and does not answer there",
                            self.place()
                        ),
                    ));
                }
                Err(Trouble::BrokenOff(reason)) => {
                    // A line that brings something each time is slow, not dead.
                    failed = if self.received > before {
                        1
                    } else {
                        failed + 1
                    };
                    if failed == ATTEMPTS {
                        return Err(Error::new(
                            format!("could not fetch {}: {reason}", self.place()),
                            "check the network",
                        ));
                    }
                    self.settings.wait(failed, &reason, self.watch).await;
                }
            }
        }
    }

    fn place(&self) -> String {
        format!("s3://{}/{}", self.at.bucket, self.at.key)
    }

    async fn client(&self, region: Option<String>) -> Client {
        let settings = &self.settings.s3;
        let aws = aws::Settings {
            region,
            ..settings.aws.clone()
        };
        // The limits are those of the answer's beginning: what follows may take its time as long as something comes.
        let loader = aws.loader().timeout_config(aws::small_question());
        let shared = loader.load().await;
        let custom = settings.custom_endpoint || shared.endpoint_url().is_some();
        let region = shared.region().cloned();
        let config = aws_sdk_s3::config::Builder::from(&shared)
            .region(region.unwrap_or_else(|| aws_sdk_s3::config::Region::new(SOME_REGION)))
            .force_path_style(custom)
            .build();
        Client::from_conf(config)
    }

    /// Gets what is still to come, from the same object as what is there.
    async fn attempt(
        &mut self,
        client: &Client,
        out: &mut File,
        file: &Path,
    ) -> Result<(), Trouble> {
        let mut request = client
            .get_object()
            .bucket(&self.at.bucket)
            .key(&self.at.key)
            .set_version_id(self.at.version.clone());
        if let (Some(object), true) = (&self.object, self.received > 0) {
            request = request
                .range(format!("bytes={}-", self.received))
                .set_if_match(object.tag.clone());
        }
        let watch = self.watch;
        let say = |waited| watch(Progress::Silence { waited });
        let answer = aws::telling(Box::pin(request.send()), say).await;
        let answer = answer.map_err(|error| self.refused(&error))?;
        let object = self.object_of(&answer).map_err(Trouble::Final)?;
        let size = object.size;
        self.object.get_or_insert(object);
        let mut body = answer.body;
        let mut reason = None;
        while let Some(chunk) = body.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    reason = Some(error.to_string());
                    break;
                }
            };
            let written = out.write_all(&chunk).await;
            written.map_err(|error| Trouble::Final(self.unwritable(file, &error)))?;
            self.received += chunk.len() as u64;
            (self.watch)(Progress::Received {
                bytes: self.received,
                total: Some(size),
            });
        }
        let flushed = out.flush().await;
        flushed.map_err(|error| Trouble::Final(self.unwritable(file, &error)))?;
        match reason {
            Some(reason) => Err(Trouble::BrokenOff(reason)),
            None if self.received < size => Err(Trouble::BrokenOff(
                "the answer ended in the middle".to_owned(),
            )),
            None => Ok(()),
        }
    }

    /// What the answer is a part of.
    fn object_of(&self, answer: &GetObjectOutput) -> Result<Object, Error> {
        let length = answer
            .content_length()
            .and_then(|length| u64::try_from(length).ok());
        // What was asked for from the middle on has to come from there.
        let from = format!("bytes {}-", self.received);
        let is_rest = answer
            .content_range()
            .is_some_and(|range| range.starts_with(&from));
        let size = self.received + length.unwrap_or_default();
        if length.is_none() || (self.received > 0 && !is_rest) {
            return Err(Error::new(
                format!("{} came without saying what of it came", self.place()),
                "check the endpoint of S3",
            ));
        }
        if size > self.settings.limits.bytes {
            let size = crate::units::render_size(size);
            return Err(Error::new(
                format!(
                    "{} has {size}, which is too much for a source",
                    self.place()
                ),
                "make it smaller",
            ));
        }
        Ok(Object {
            size,
            tag: answer.e_tag().map(str::to_owned),
            version: answer.version_id().map(str::to_owned),
        })
    }

    /// What S3 answered, or why it did not, as CodeBuild's log has it.
    fn refused(&mut self, error: &SdkError<GetObjectError, HttpResponse>) -> Trouble {
        let Some(response) = error.raw_response() else {
            let missing = self.settings.s3.aws.missing_profile.as_deref();
            let unanswered = aws::unanswered(error, missing);
            let message = format!("could not fetch {}: {}", self.place(), unanswered.why);
            return Trouble::Final(Error::new(message, unanswered.help));
        };
        let status = response.status().as_u16();
        if let (301 | 307 | 400, Some(region)) = (status, response.headers().get(BUCKET_REGION)) {
            return Trouble::Elsewhere(region.to_owned());
        }
        if status == 412 && self.received > 0 {
            return Trouble::Final(Error::new(
                format!("{} was replaced while it was fetched", self.place()),
                "start the build again",
            ));
        }
        let code = error
            .code()
            .map_or_else(|| format!("HTTP {status}"), str::to_owned);
        let text = error.message().unwrap_or("the service gave no message");
        let request = error.request_id().unwrap_or("none");
        let host = error.extended_request_id().unwrap_or("none");
        Trouble::Final(Error::codebuilds(
            format!(
                "{code}: {text}\n\tstatus code: {status}, request id: {request}, host id: {host}"
            ),
            match status {
                404 => format!(
                    "{}: check the bucket, the key and the version",
                    self.place()
                ),
                401 | 403 => format!(
                    "{}: check the credentials, and that they may s3:GetObject, with a version s3:GetObjectVersion, and s3:ListBucket: without it what is not there is refused",
                    self.place()
                ),
                _ => format!("this is what S3 answered for {}", self.place()),
            },
        ))
    }

    fn unwritable(&self, file: &Path, error: &std::io::Error) -> Error {
        Error::new(
            format!(
                "could not write {} to {}: {error}",
                self.place(),
                file.display()
            ),
            "make room there",
        )
    }
}
