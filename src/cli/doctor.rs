//! `runner doctor`: what builds need, looked at before a build does (CTR-40 to CTR-43).
//!
//! Every check is by itself and has a limit, and all of them run at once. None changes anything that stays.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{ContainerArchiveInfoOptionsBuilder, CreateContainerOptions};
use serde_json::json;

use super::args::DoctorArgs;
use super::{aws, container, engine, machine, mistake, print, start, terminal, transfer, usage};
use crate::aws::{Settings as AwsSettings, unanswered};
use crate::build::ExitCode;
use crate::credentials::{Keeper, Role, RoleArn, Source};
use crate::engine::chain;
use crate::engine::{Endpoint, Engine};
use crate::exec::container::leftovers;
use crate::process;
use crate::redact::Hider;
use crate::registry::{self, Limits, Pull, Reference};
use crate::sink::PrettyStyle;
use crate::store::{S3Settings, S3Store};
use crate::units::render_size;

/// Longest that one check takes.
const LIMIT: Duration = Duration::from_secs(15);

/// Room on a disk below which builds are likely to fail, in bytes.
const LEAST_ROOM: u64 = 1024 * 1024 * 1024;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it should be.
    Good,
    /// Builds that need it will fail.
    Bad,
    /// Not there, and not needed by what was asked for.
    Absent,
}

/// One line.
#[derive(Clone, Debug)]
struct Check {
    name: String,
    state: State,
    found: String,
    remedy: Option<String>,
}

impl Check {
    fn new(name: &str, state: State, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            state,
            found: found.into(),
            remedy: None,
        }
    }

    fn good(name: &str, found: impl Into<String>) -> Self {
        Self::new(name, State::Good, found)
    }

    fn bad(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..Self::new(name, State::Bad, found)
        }
    }

    fn absent(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..Self::new(name, State::Absent, found)
        }
    }

    /// Bad if it is needed, else absent.
    fn missing(name: &str, needed: bool, found: impl Into<String>, remedy: &str) -> Self {
        if needed {
            Self::bad(name, found, remedy)
        } else {
            Self::absent(name, found, remedy)
        }
    }
}

/// Looks at everything and says what was found.
pub(super) fn doctor(args: &DoctorArgs) -> ExitCode {
    let runtime = match start::begin() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let place = match place(args) {
        Ok(place) => place,
        Err(mistake) => return usage(&mistake),
    };
    let mapped = |image: &String| container::mapped(&args.image_map, image);
    let image = match args.image.as_ref().map(mapped).transpose() {
        Ok(image) => image,
        Err(mistake) => return usage(&mistake),
    };
    let checks = runtime.block_on(look(args, &place, image.as_deref()));
    runtime.shutdown_background();
    let shown = if args.json {
        print(as_json(&checks).as_bytes())
    } else {
        let style = terminal::pretty_style(args.color, false, String::new(), String::new());
        print(as_text(&checks, &style).as_bytes())
    };
    if shown == ExitCode::Succeeded && checks.iter().any(|check| check.state == State::Bad) {
        return ExitCode::Fault;
    }
    shown
}

/// Where artifacts are to go.
enum Place {
    Nowhere,
    Directory(PathBuf),
    Bucket { bucket: String, prefix: String },
}

fn place(args: &DoctorArgs) -> Result<Place, clap::Error> {
    let Some(text) = args.artifacts.as_deref() else {
        return Ok(Place::Nowhere);
    };
    let Some(rest) = text.strip_prefix("s3://") else {
        return Ok(Place::Directory(PathBuf::from(text)));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(mistake(format!(
            "`{text}` names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX"
        )));
    }
    Ok(Place::Bucket {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
    })
}

async fn look(args: &DoctorArgs, place: &Place, image: Option<&str>) -> Vec<Check> {
    let engine = async {
        let (check, engine) = engine_check(image.is_some()).await;
        let mut checks = vec![check];
        if let Some(engine) = &engine {
            if let Some(image) = image {
                checks.extend(
                    limited_all("image", Box::pin(image_checks(args, engine, image))).await,
                );
            }
            checks.extend(engine_disk(engine).await);
        }
        checks
    };
    let aws = async {
        let needed = matches!(place, Place::Bucket { .. });
        let mut settings = aws::settings(args.region.as_deref(), args.profile.as_deref());
        let (mut config, region, credentials) = credentials_check(args, &settings, needed).await;
        let mut checks = vec![region, credentials];
        if let Some(arn) = &args.assume_role {
            let keeper = keeper(args, arn, &settings);
            checks.push(limited("AWS role", role_check(&keeper)).await);
            settings.provider = Some(keeper.provider());
            let mut builder = config.into_builder();
            builder.set_credentials_provider(settings.shared_provider());
            config = builder.build();
        }
        if checks.iter().all(|check| check.state == State::Good) {
            let (identity, ecr) = tokio::join!(
                limited("AWS identity", identity_check(&config)),
                limited("Amazon ECR", ecr_check(&config)),
            );
            checks.extend([identity, ecr]);
        }
        if let Place::Bucket { bucket, prefix } = place {
            checks.push(limited("bucket", Box::pin(bucket_check(&settings, bucket, prefix))).await);
        }
        checks
    };
    let (engine, aws) = tokio::join!(engine, aws);
    let mut checks = engine;
    checks.extend(aws);
    if let Place::Directory(directory) = place {
        checks.push(directory_check(directory));
    }
    checks.extend(disk_checks(args));
    checks.extend(program_checks());
    checks
}

async fn limited(name: &str, work: impl Future<Output = Check>) -> Check {
    tokio::time::timeout(LIMIT, work).await.unwrap_or_else(|_| {
        Check::bad(
            name,
            format!("no answer in {} seconds", LIMIT.as_secs()),
            "look at the network, proxies and firewalls on the way",
        )
    })
}

async fn limited_all(name: &str, work: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(checks) => checks,
        Err(_) => vec![limited(name, std::future::pending()).await],
    }
}

// ── the container engine ─────────────────────────────────────────────────────────────────────────────────────────────

async fn engine_check(needed: bool) -> (Check, Option<Engine>) {
    const NAME: &str = "container engine";
    match engine::connect().await {
        Ok(engine) => {
            let (name, version) = (engine.name(), engine.version());
            let found = format!("{name} {version} at {}", engine.endpoint());
            (Check::good(NAME, found), Some(engine))
        }
        Err(error) => {
            let remedy = "start Docker or Podman, let your user use its socket, or set DOCKER_HOST; builds without `--image` need none";
            (
                Check::missing(NAME, needed, error.to_string(), remedy),
                None,
            )
        }
    }
}

async fn image_checks(args: &DoctorArgs, engine: &Engine, image: &str) -> Vec<Check> {
    let found = match engine.api().inspect_image(image).await {
        Ok(found) => found,
        Err(error) => {
            let error = crate::engine::Error::api(format!("look for {image}"), error);
            return vec![match error.status() {
                Some(404) => registry_check(args, engine, image).await,
                _ => Check::bad("image", error.to_string(), "see what the engine has to say"),
            }];
        }
    };
    let platform = [found.os, found.architecture, found.variant];
    let platform: Vec<String> = platform
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    let found = format!("{image} for {}", platform.join("/"));
    vec![
        Check::good("image", found),
        shell_check(engine, image).await,
    ]
}

/// Whether the first build can pull an image that the engine does not have: the registry is asked for it, by whoever that
/// build is.
async fn registry_check(args: &DoctorArgs, engine: &Engine, image: &str) -> Check {
    const NAME: &str = "image";
    let absent = format!("the engine does not have {image}");
    // It cannot ask without pulling.
    if engine.name() == "Podman" {
        return Check::absent(NAME, absent, "the first build pulls it, if it can");
    }
    let reference = match Reference::parse(image) {
        Ok(reference) => reference,
        Err(error) => return Check::bad(NAME, error.to_string(), "name another image"),
    };
    let mut settings = aws::settings(args.region.as_deref(), args.profile.as_deref());
    if let Some(arn) = &args.assume_role {
        settings.provider = Some(keeper(args, arn, &settings).provider());
    }
    let login = transfer::login_to_pull(&reference, aws::registry_settings(settings)).await;
    let mut login = match login {
        Ok(login) => login,
        Err(error) => {
            let remedy = error.help.clone().unwrap_or_default();
            return Check::bad(NAME, format!("{absent}: {error}"), remedy);
        }
    };
    loop {
        let pull = Pull {
            image: &reference,
            platform: None,
            auth: login.auth(),
            limits: Limits {
                retries: 0,
                silence: LIMIT,
            },
        };
        let Err(error) = registry::is_there(engine, &pull).await else {
            let found = format!("{absent} yet; its registry does, and the first build pulls it");
            return Check::good(NAME, found);
        };
        if let Err(error) = login.renew(&reference, error).await {
            let remedy = error
                .remedy
                .unwrap_or_else(|| "see what the engine and the registry have to say".to_owned());
            return Check::bad(
                NAME,
                format!("{absent}, and cannot pull it: {}", error.reason),
                remedy,
            );
        }
    }
}

/// Whether the image has `/bin/sh`: asked of a container that is never started.
async fn shell_check(engine: &Engine, image: &str) -> Check {
    const NAME: &str = "shell in the image";
    let remedy = "use an image with /bin/sh: commands are run by it";
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["/bin/sh".to_owned()]),
        labels: Some(container::labels("doctor").into_iter().collect()),
        ..Default::default()
    };
    let made = engine
        .api()
        .create_container(None::<CreateContainerOptions>, body);
    let made = match made.await {
        Ok(made) => made.id,
        Err(error) => {
            let error = crate::engine::Error::api("look into the image", error);
            return Check::bad(NAME, error.to_string(), remedy);
        }
    };
    let options = ContainerArchiveInfoOptionsBuilder::default().path("/bin/sh");
    let found = engine
        .api()
        .get_container_archive_info(&made, Some(options.build()));
    let found = found.await;
    let _ = leftovers::remove(engine, &made).await;
    match found.map_err(|error| crate::engine::Error::api("look into the image", error)) {
        Err(error) if error.status() == Some(404) => {
            Check::bad(NAME, "there is no /bin/sh", remedy)
        }
        Err(error) => Check::bad(NAME, error.to_string(), remedy),
        Ok(_) => Check::good(NAME, "/bin/sh"),
    }
}

/// Room where the engine keeps images, if that is on this machine.
async fn engine_disk(engine: &Engine) -> Option<Check> {
    if !matches!(engine.endpoint(), Endpoint::Unix(_)) {
        return None;
    }
    let info = tokio::time::timeout(LIMIT, engine.api().info())
        .await
        .ok()?
        .ok()?;
    let root = PathBuf::from(info.docker_root_dir?);
    let remedy = "`docker system prune` removes images and build caches that nothing uses";
    root.is_dir()
        .then(|| disk_check("disk of the engine", &root, remedy))
}

// ── AWS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

async fn credentials_check(
    args: &DoctorArgs,
    settings: &AwsSettings,
    needed: bool,
) -> (SdkConfig, Check, Check) {
    let region = aws::region(args.region.as_deref(), args.profile.as_deref()).await;
    let named = machine::variable("AWS_PROFILE").is_some() || args.profile.is_some();
    let settings = AwsSettings {
        region: region.clone(),
        ..settings.clone()
    };
    let config = aws::configuration(&settings).await;
    let region = match region {
        Some(region) => Check::good("AWS region", region),
        None => Check::missing(
            "AWS region",
            needed,
            "none is set",
            "pass `--region`, set AWS_REGION, or give the profile a region",
        ),
    };
    let remedy = "run `aws configure` or `aws sso login`, or set AWS_PROFILE; builds that use nothing of AWS need none";
    let missing = |found: String| Check::missing("AWS credentials", needed || named, found, remedy);
    if let Some(profile) = aws::missing_profile(args.profile.as_deref()) {
        return (
            config,
            region,
            missing(format!("there is no profile `{profile}`")),
        );
    }
    let Some(provider) = config.credentials_provider() else {
        return (config, region, missing("there are none".to_owned()));
    };
    let found = tokio::time::timeout(LIMIT, provider.provide_credentials()).await;
    let credentials = match found {
        Ok(Ok(_)) => Check::good("AWS credentials", "found"),
        Ok(Err(_)) => missing("there are none that can be used".to_owned()),
        Err(_) => missing("looking for them took too long".to_owned()),
    };
    (config, region, credentials)
}

/// What has the role's credentials. It asks as a build does, under another name.
fn keeper(args: &DoctorArgs, arn: &RoleArn, settings: &AwsSettings) -> Arc<Keeper> {
    let role = Role {
        arn: arn.clone(),
        session_name: "runner-doctor".to_owned(),
        external_id: args.external_id.clone(),
        duration: None,
    };
    Keeper::new(Source::Role(role), settings.clone(), Hider::default())
}

/// Whether the caller may take the role on (CRED-12).
async fn role_check(keeper: &Arc<Keeper>) -> Check {
    const NAME: &str = "AWS role";
    match keeper.get().await {
        Ok(_) => Check::good(NAME, "can be assumed"),
        Err(error) => {
            let remedy = error.help.clone();
            Check::bad(NAME, error.to_string(), remedy)
        }
    }
}

async fn identity_check(config: &SdkConfig) -> Check {
    const NAME: &str = "AWS identity";
    let asked = aws_sdk_sts::Client::new(config)
        .get_caller_identity()
        .send();
    match asked.await {
        Ok(who) => Check::good(NAME, who.arn().unwrap_or("AWS does not say which")),
        Err(error) => {
            let expired = "the credentials may be wrong or expired: get new ones";
            let (found, remedy) = told(&error, error.as_service_error().is_some(), expired);
            Check::bad(NAME, found, remedy)
        }
    }
}

/// Why AWS is of no use, and what to do: that `remedy` if it answered.
fn told(
    error: &(dyn std::error::Error + 'static),
    answered: bool,
    remedy: &str,
) -> (String, String) {
    if answered {
        return (chain(error), remedy.to_owned());
    }
    let unanswered = unanswered(error, None);
    (unanswered.why, unanswered.help)
}

async fn ecr_check(config: &SdkConfig) -> Check {
    const NAME: &str = "Amazon ECR";
    let asked = aws_sdk_ecr::Client::new(config)
        .get_authorization_token()
        .send();
    match asked.await {
        Ok(answer) => {
            let registry = answer.authorization_data().first();
            let registry = registry
                .and_then(|data| data.proxy_endpoint())
                .unwrap_or("a registry");
            let registry = registry.trim_start_matches("https://");
            Check::good(NAME, format!("lets us in to {registry}"))
        }
        Err(error) => {
            let needed = "builds that use images of ECR need `ecr:GetAuthorizationToken`";
            let (found, remedy) = told(&error, error.as_service_error().is_some(), needed);
            Check::absent(NAME, found, remedy)
        }
    }
}

async fn bucket_check(settings: &AwsSettings, bucket: &str, prefix: &str) -> Check {
    let store = S3Store::new(S3Settings {
        bucket: bucket.to_owned(),
        encryption_key: None,
        always_kms: false,
        is_ours_alone: false,
        aws: settings.clone(),
        custom_endpoint: aws::has_custom_endpoint(),
        proxy: None,
    });
    let name = format!(".runner-doctor-{}", uuid::Uuid::new_v4().simple());
    let key = if prefix.is_empty() {
        name
    } else {
        format!("{prefix}/{name}")
    };
    match store.try_writing(&key).await {
        Ok(()) => Check::good("bucket", format!("s3://{bucket} takes uploads")),
        Err(error) => {
            let remedy = error.help.clone();
            let remedy = remedy.unwrap_or_else(|| {
                "check the bucket's name and what the credentials may do there".to_owned()
            });
            // AWS's words take several lines in a log; here each check has one.
            let found = error.to_string();
            let found: Vec<&str> = found.lines().map(str::trim).collect();
            Check::bad("bucket", found.join(", "), remedy)
        }
    }
}

// ── this machine ─────────────────────────────────────────────────────────────────────────────────────────────────────

fn directory_check(directory: &Path) -> Check {
    let here = machine::directory().unwrap_or_default().join(directory);
    let there = here.ancestors().find(|ancestor| ancestor.exists());
    let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    match there {
        Some(there) if there.is_dir() && writable(there) => {
            Check::good("artifacts", format!("{} can be written", here.display()))
        }
        _ => Check::bad(
            "artifacts",
            format!("{} cannot be written", here.display()),
            "choose another directory, or change its permissions",
        ),
    }
}

fn disk_checks(args: &DoctorArgs) -> Vec<Check> {
    let here = machine::directory().unwrap_or_default();
    let source = match &args.directory {
        Some(directory) => here.join(directory),
        None => here,
    };
    let temporary = machine::temporary_directory();
    vec![
        disk_check(
            "disk of the source",
            &source,
            "remove what is not needed there",
        ),
        disk_check(
            "disk for temporary files",
            &temporary,
            "`runner prune` removes what builds left; TMPDIR names another place",
        ),
    ]
}

fn disk_check(name: &str, path: &Path, remedy: &str) -> Check {
    match rustix::fs::statvfs(path) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let found = format!("{} free at {}", render_size(free), path.display());
            if free < LEAST_ROOM {
                Check::bad(name, found, remedy)
            } else {
                Check::good(name, found)
            }
        }
        Err(error) => Check::bad(name, format!("{}: {error}", path.display()), remedy),
    }
}

fn program_checks() -> Vec<Check> {
    let path = machine::variable("PATH");
    let check = |name: &str, remedy: &str| match process::find_program(name, path.as_deref()) {
        Some(found) => Check::good(name, found.display().to_string()),
        None => Check::absent(name, "not on PATH", remedy),
    };
    vec![
        check(
            "git",
            "install it: without it CODEBUILD_RESOLVED_SOURCE_VERSION is not known",
        ),
        check(
            "shellcheck",
            "install it: with it `runner validate` reads commands more closely",
        ),
    ]
}

// ── how it is shown ──────────────────────────────────────────────────────────────────────────────────────────────────

fn as_text(checks: &[Check], style: &PrettyStyle) -> String {
    let widest = checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (symbol, plain, colour) = match check.state {
            State::Good => ("✔", "ok", "32"),
            State::Bad => ("✘", "!!", "31"),
            State::Absent => ("–", "--", "33"),
        };
        let symbol = if style.unicode { symbol } else { plain };
        let symbol = if style.colour {
            format!("\x1b[{colour}m{symbol}\x1b[0m")
        } else {
            symbol.to_owned()
        };
        text.push_str(&format!(
            "{symbol} {:widest$}  {}\n",
            check.name, check.found
        ));
        if let Some(remedy) = &check.remedy {
            let indent = if style.unicode { 2 } else { 3 } + widest + 2;
            let arrow = if style.unicode { "→" } else { "->" };
            text.push_str(&format!("{:indent$}{arrow} {remedy}\n", ""));
        }
    }
    text.push_str(&summary(checks));
    text
}

fn summary(checks: &[Check]) -> String {
    let bad = checks
        .iter()
        .filter(|check| check.state == State::Bad)
        .count();
    match bad {
        0 => "\nready\n".to_owned(),
        1 => "\n1 thing is not as builds need it\n".to_owned(),
        _ => format!("\n{bad} things are not as builds need them\n"),
    }
}

fn as_json(checks: &[Check]) -> String {
    let rows: Vec<_> = checks
        .iter()
        .map(|check| {
            let state = match check.state {
                State::Good => "good",
                State::Bad => "bad",
                State::Absent => "absent",
            };
            json!({ "name": check.name, "state": state, "found": check.found, "remedy": check.remedy })
        })
        .collect();
    format!("{:#}\n", json!({ "format": 1, "checks": rows }))
}
