//! What `runner push` and `runner pull` have in common.

use std::time::Duration;

use clap::Args as ClapArgs;
use tokio::sync::mpsc;

use super::args::When;
use super::layers::Layers;
use super::value;
use super::{aws, complain, engine, machine, mistake, start};
use crate::build::ExitCode;
use crate::engine::{Engine, Platform};
use crate::event::StopReason;
use crate::registry::ecr::Registry;
use crate::registry::{
    self, Credentials, Limits, Reference, RegistryAuth, Settings, TransferError,
};

/// Exit codes as `--help` shows them.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0      every image is there
  1      refused: no such image or repository, no permission, another platform
  2      the command line cannot be used
  4      fault of the environment: the engine, the network, the registry, a file that cannot be written
  128+n  stopped by signal n (130 for Ctrl-C)";

#[derive(Debug, ClapArgs)]
pub(super) struct TransferArgs {
    /// What the images have to be for, such as linux/arm64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = platform, help_heading = "Transfer")]
    pub(super) platform: Option<Platform>,

    /// How often to try again what may go better the next time
    #[arg(
        long,
        value_name = "N",
        default_value_t = Limits::default().retries,
        value_parser = clap::value_parser!(u32).range(0..=20),
        help_heading = "Transfer"
    )]
    pub(super) retries: u32,

    /// How long the engine may say nothing [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = value::duration, help_heading = "Transfer")]
    pub(super) idle_timeout: Option<Duration>,

    /// Show no progress
    #[arg(short, long, help_heading = "Output")]
    pub(super) quiet: bool,

    /// When to use colours
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(super) color: When,
}

impl TransferArgs {
    pub(super) fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            retries: self.retries,
            silence: self.idle_timeout.unwrap_or(default.silence),
        }
    }
}

/// The platform in an argument.
pub(super) fn platform(text: &str) -> Result<Platform, String> {
    let expected = || "expected OS/ARCHITECTURE, such as linux/amd64 or linux/arm/v7".to_owned();
    Platform::parse(text).ok_or_else(expected)
}

/// Names of images; what is none is a mistake on the command line.
pub(super) fn references(images: &[String]) -> Result<Vec<Reference>, clap::Error> {
    let read = |image: &String| Reference::parse(image).map_err(mistake);
    images.iter().map(read).collect()
}

/// Why a command ends early: what to say, and the code.
pub(super) struct Failure {
    pub(super) complaint: String,
    pub(super) code: ExitCode,
}

impl Failure {
    /// Something of the environment is out of order.
    pub(super) fn fault(error: impl std::fmt::Display) -> Self {
        Self {
            complaint: format!("error: {error}\n"),
            code: ExitCode::Fault,
        }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let help = error.remedy.as_ref();
        let help = help.map_or_else(String::new, |remedy| format!("help: {remedy}\n"));
        Self {
            complaint: format!("error: {error}\n{help}"),
            code: if error.kind.is_refusal() {
                ExitCode::BuildFailed
            } else {
                ExitCode::Fault
            },
        }
    }
}

impl From<registry::Error> for Failure {
    fn from(error: registry::Error) -> Self {
        let help = error.help.as_ref();
        let help = help.map_or_else(String::new, |help| format!("help: {help}\n"));
        Self {
            complaint: format!("error: {error}\n{help}"),
            code: ExitCode::Fault,
        }
    }
}

/// Runs work over images to its end, or until a signal comes. The engine stops when nobody listens any more.
pub(super) fn run(
    work: impl AsyncFnOnce(&mut Layers) -> Result<(), Failure>,
    args: &TransferArgs,
) -> ExitCode {
    let runtime = match start::begin() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let mut layers = Layers::new(args.color, args.quiet);
    let ended = runtime.block_on(async {
        let (signals, mut stop) = mpsc::unbounded_channel();
        machine::listen_for_signals(&signals)
            .map_err(|error| Failure::fault(format!("could not listen for signals: {error}")))?;
        tokio::select! {
            biased;
            reason = stop.recv() => Err(stopped(reason)),
            ended = work(&mut layers) => ended,
        }
    });
    layers.clear();
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::Succeeded,
        Err(Failure { complaint, code }) => {
            complain(&complaint);
            code
        }
    }
}

fn stopped(reason: Option<StopReason>) -> Failure {
    let signal = match reason {
        Some(StopReason::Signal(signal)) => signal,
        _ => 2,
    };
    Failure {
        complaint: "stopped\n".to_owned(),
        code: ExitCode::Signal(signal),
    }
}

/// The engine, which has answered.
pub(super) async fn connect() -> Result<Engine, Failure> {
    engine::connect().await.map_err(|error| Failure {
        complaint: engine::complaint(&error),
        code: ExitCode::Fault,
    })
}

/// Who moves an image.
pub(super) struct Login {
    known: Credentials,
    auth: Option<RegistryAuth>,
}

impl Login {
    /// What the registry is told.
    pub(super) const fn auth(&self) -> Option<&RegistryAuth> {
        self.auth.as_ref()
    }

    /// Somebody else after a refusal, to try once more (REG-21); the error where nobody else is to be had.
    pub(super) async fn renew(
        &mut self,
        image: &Reference,
        error: TransferError,
    ) -> Result<(), TransferError> {
        let renewed = self
            .known
            .renewed(image.server(), self.auth.as_ref(), &error)
            .await;
        match renewed {
            Some(auth) => {
                self.auth = Some(auth);
                Ok(())
            }
            None => Err(error),
        }
    }
}

/// Who pushes an image.
pub(super) async fn login(image: &Reference) -> Result<Login, Failure> {
    let known = Credentials::new(aws::registry_settings(aws::settings(None, None)));
    let found = known.for_registry(image.server()).await?;
    let auth = found.map(RegistryAuth::from);
    Ok(Login { known, auth })
}

/// Who pulls an image. Everybody may read what is in Amazon ECR's public registry: where there is no token for it, whoever
/// may not ask for one included, it is read without.
pub(super) async fn login_to_pull(
    image: &Reference,
    settings: Settings,
) -> Result<Login, registry::Error> {
    let server = image.server();
    let known = Credentials::new(settings);
    let auth = match known.for_registry(server).await {
        Ok(found) => found.map(RegistryAuth::from),
        Err(_) if Registry::is_public(server) => None,
        Err(error) => return Err(error),
    };
    Ok(Login { known, auth })
}
