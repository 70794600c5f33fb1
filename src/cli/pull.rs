//! `runner pull`

use clap::Args as ClapArgs;

use super::layers::Layers;
use super::transfer::{self, Failure, TransferArgs};
use super::{aws, print, usage};
use crate::build::ExitCode;
use crate::registry::{self, Pull, Reference};

#[derive(Debug, ClapArgs)]
pub(super) struct PullArgs {
    /// Images, such as `REGISTRY/REPOSITORY:TAG` or `REPOSITORY@DIGEST`
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    #[command(flatten)]
    transfer: TransferArgs,
}

/// Pulls images, and prints what each is by its digest.
pub(super) fn pull(args: &PullArgs) -> ExitCode {
    match transfer::references(&args.images) {
        Err(mistake) => usage(&mistake),
        Ok(images) => transfer::run(
            async |layers: &mut Layers| pull_all(args, &images, layers).await,
            &args.transfer,
        ),
    }
}

async fn pull_all(
    args: &PullArgs,
    images: &[Reference],
    layers: &mut Layers,
) -> Result<(), Failure> {
    let engine = transfer::connect().await?;
    for (image, written) in images.iter().zip(&args.images) {
        let settings = aws::registry_settings(aws::settings(None, None));
        let mut login = transfer::login_to_pull(image, settings).await?;
        layers.begin("Pulling", written);
        let pulled = loop {
            let pull = Pull {
                image,
                platform: args.transfer.platform.as_ref(),
                auth: login.auth(),
                limits: args.transfer.limits(),
            };
            let mut on_progress = |progress| layers.progress(progress);
            match registry::pull(&engine, &pull, &mut on_progress).await {
                Ok(pulled) => break pulled,
                Err(error) => login.renew(image, error).await?,
            }
        };
        layers.end("Pulled", written);
        print(format!("{}@{}\n", image.name(), pulled.digest).as_bytes());
    }
    Ok(())
}
