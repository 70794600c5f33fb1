//! The image of a build in a container, before the build's first event (CTR-6, CTR-12).
//!
//! It comes as with `runner pull`: with the same credentials, retries, progress and refusals. Whether the build can go on
//! is not decided here: the executor is told why there is no image, and the build ends as it does for any place that
//! cannot be opened.

use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::args::{PullArg, RunArgs};
use super::layers::Layers;
use super::{aws, engine, transfer};
use crate::aws::Settings as AwsSettings;
use crate::build::StopSignals;
use crate::engine::{Engine, Platform};
use crate::event::StopReason;
use crate::exec::ContainerExecutor;
use crate::exec::container::Unavailable;
use crate::registry::{self, Limits, Pull, Reference};

/// The wishes for the end that come meanwhile: where they are heard, and where they are put back for the build.
pub(super) struct Stops<'a> {
    pub(super) heard: &'a mut StopSignals,
    pub(super) back: &'a UnboundedSender<StopReason>,
}

/// Sees to it that the engine has the image, as `--pull` says. Tells the executor why it has not, and what came of reaching
/// the engine: the build does not ask again.
///
/// A signal and the end of the build's time end it. The build, which has both before anything else, then ends by them.
pub(super) async fn image(
    args: &RunArgs,
    executor: &mut ContainerExecutor,
    aws: &AwsSettings,
    deadline: Option<Instant>,
    stops: Stops<'_>,
) {
    let mut layers = Layers::new(args.request.color, args.quiet);
    let ended = tokio::select! {
        biased;
        Some(reason) = stops.heard.recv() => {
            let _ = stops.back.send(reason);
            Err(unavailable("the build was stopped while it was pulled"))
        }
        () = at(deadline) => Err(unavailable("the build's time was over before it was there")),
        ended = ensure(args, executor, aws, &mut layers) => ended,
    };
    layers.clear();
    executor.unavailable = ended.err();
}

pub(super) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

async fn ensure(
    args: &RunArgs,
    executor: &mut ContainerExecutor,
    aws: &AwsSettings,
    layers: &mut Layers,
) -> Result<(), Unavailable> {
    let connected = engine::connect().await;
    executor.connected = Some(connected.clone());
    // The build says it of an engine that is not there.
    let Ok(engine) = connected else {
        return Ok(());
    };
    let policy = args.request.container.pull;
    if policy == PullArg::Always {
        return pull(args, &executor.image, aws, &engine, layers).await;
    }
    let found = engine.inspect(&executor.image).await;
    match (
        found.map_err(|error| unavailable(error.to_string()))?,
        policy,
    ) {
        (Some(found), _) => check_platform(args, &found.platform),
        (None, PullArg::Never) => Err(unavailable(
            "the engine does not have it, and `--pull never` forbids to pull it",
        )),
        (None, _) => pull(args, &executor.image, aws, &engine, layers).await,
    }
}

/// Refuses an image for another platform than the one that was asked for. Not every engine does, and what runs then is not what
/// was asked for.
fn check_platform(args: &RunArgs, found: &Platform) -> Result<(), Unavailable> {
    let wanted = args.request.container.platform.as_ref();
    match wanted.filter(|wanted| !found.architecture.is_empty() && !found.is(wanted)) {
        None => Ok(()),
        Some(wanted) => Err(Unavailable {
            reason: format!("the engine has it for {found}, and not for {wanted}"),
            help: Some(
                "`--pull always` asks its registry for the other one, which takes its place"
                    .to_owned(),
            ),
        }),
    }
}

async fn pull(
    args: &RunArgs,
    image: &str,
    aws: &AwsSettings,
    engine: &Engine,
    layers: &mut Layers,
) -> Result<(), Unavailable> {
    let reference = Reference::parse(image).map_err(|error| unavailable(error.to_string()))?;
    let request = &args.request;
    let settings = aws::registry_settings(aws.clone());
    let login = transfer::login_to_pull(&reference, settings).await;
    let mut login = login.map_err(|error| Unavailable {
        reason: error.to_string(),
        help: error.help,
    })?;
    layers.begin("Pulling", image);
    loop {
        let pull = Pull {
            image: &reference,
            platform: request.container.platform.as_ref(),
            auth: login.auth(),
            limits: Limits::default(),
        };
        let mut on_progress = |progress| layers.progress(progress);
        let Err(error) = registry::pull(engine, &pull, &mut on_progress).await else {
            break;
        };
        let renewed = login.renew(&reference, error).await;
        renewed.map_err(|error| Unavailable {
            reason: error.reason,
            help: error.remedy,
        })?;
    }
    layers.end("Pulled", image);
    Ok(())
}

fn unavailable(reason: impl Into<String>) -> Unavailable {
    Unavailable {
        reason: reason.into(),
        help: None,
    }
}
