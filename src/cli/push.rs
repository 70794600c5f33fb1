//! `runner push`

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueHint};

use super::deploy_files::{Definition, DeployFiles, PushedImage};
use super::layers::Layers;
use super::transfer::{self, Failure, TransferArgs};
use super::{mistake, print, usage};
use crate::build::ExitCode;
use crate::registry::{self, Push, Reference};

#[derive(Debug, ClapArgs)]
pub(super) struct PushArgs {
    /// Images that the engine has, such as `REGISTRY/REPOSITORY:TAG`
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Write imageDetail.json, by digest, for a blue/green deployment
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Deploy stage")]
    image_detail: Option<PathBuf>,

    /// Write imagedefinitions.json, by digest: container NAME gets the image. For several images, once for each, in
    /// their order
    #[arg(long, value_name = "NAME=FILE", value_parser = definition, help_heading = "Deploy stage")]
    image_definitions: Vec<Definition>,

    #[command(flatten)]
    transfer: TransferArgs,
}

fn definition(text: &str) -> Result<Definition, String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok(Definition {
            container: name.to_owned(),
            file: PathBuf::from(file),
        }),
        _ => Err("expected NAME=FILE, such as web=imagedefinitions.json".to_owned()),
    }
}

/// Pushes images, prints what each is by its digest, and writes what the deploy stage wants.
pub(super) fn push(args: &PushArgs) -> ExitCode {
    let checked = images(args).and_then(|images| {
        let files = DeployFiles::new(&images, args.image_detail.clone(), &args.image_definitions);
        Ok((images, files.map_err(mistake)?))
    });
    match checked {
        Err(mistake) => usage(&mistake),
        Ok((images, files)) => transfer::run(
            async |layers: &mut Layers| push_all(args, &images, &files, layers).await,
            &args.transfer,
        ),
    }
}

fn images(args: &PushArgs) -> Result<Vec<Reference>, clap::Error> {
    let images = transfer::references(&args.images)?;
    match args
        .images
        .iter()
        .zip(&images)
        .find(|(_, image)| image.digest().is_some())
    {
        Some((written, _)) => Err(mistake(format!(
            "`{written}` names a digest, which says what an image holds; a push needs a tag"
        ))),
        None => Ok(images),
    }
}

async fn push_all(
    args: &PushArgs,
    images: &[Reference],
    files: &DeployFiles,
    layers: &mut Layers,
) -> Result<(), Failure> {
    // What cannot be written is better known before the push than after it.
    files.check().map_err(Failure::fault)?;
    let engine = transfer::connect().await?;
    let mut pushed = Vec::new();
    for (image, written) in images.iter().zip(&args.images) {
        let mut login = transfer::login(image).await?;
        layers.begin("Pushing", written);
        let done = loop {
            let push = Push {
                image,
                platform: args.transfer.platform.as_ref(),
                auth: login.auth(),
                limits: args.transfer.limits(),
            };
            let mut on_progress = |progress| layers.progress(progress);
            match registry::push(&engine, &push, &mut on_progress).await {
                Ok(done) => break done,
                Err(error) => login.renew(image, error).await?,
            }
        };
        layers.end("Pushed", written);
        print(format!("{}@{}\n", image.name(), done.digest).as_bytes());
        pushed.push(PushedImage {
            image: image.clone(),
            digest: done.digest,
        });
    }
    files.write(&pushed).map_err(Failure::fault)
}
