//! `runner ecr login`

use std::path::Path;

use super::args::EcrLoginArgs;
use super::{aws, complain, mistake, print, start, usage};
use crate::build::ExitCode;
use crate::process;
use crate::registry::credentials::credential;
use crate::registry::ecr::{self, Registry, Token};
use crate::registry::isolated::HELPER_NAME;
use crate::registry::login::{self, Kept};
use crate::registry::{Credential, Credentials, Error};

type Answer = (Registry, Result<Token, Error>);

/// Logs in to registries of ECR's.
pub(super) fn login(args: &EcrLoginArgs) -> ExitCode {
    let registries = match registries(&args.registries) {
        Ok(registries) => registries,
        Err(mistake) => return usage(&mistake),
    };
    if args.print && registries.len() > 1 {
        return usage(&mistake("`--print` prints one password: name one registry"));
    }
    let settings = aws::settings(args.region.as_deref(), args.profile.as_deref());
    let credentials = Credentials::new(aws::registry_settings(settings));
    if args.helper && !registries.is_empty() {
        return register(&credentials, &registries);
    }
    let answers = match start::begin() {
        Ok(runtime) => runtime.block_on(ask(&credentials, registries)),
        Err(code) => return code,
    };
    let (tokens, failed) = sort(answers);
    let code = match (args.print, args.helper) {
        _ if tokens.is_empty() => ExitCode::Succeeded,
        (true, _) => print(format!("{}\n", tokens[0].1.secret.reveal()).as_bytes()),
        (_, true) => {
            let registries: Vec<Registry> =
                tokens.into_iter().map(|(registry, _)| registry).collect();
            register(&credentials, &registries)
        }
        _ => keep(&credentials, tokens),
    };
    if failed { ExitCode::Fault } else { code }
}

/// Every registry that is named, each once, also in the form of an address or of an image.
fn registries(names: &[String]) -> Result<Vec<Registry>, clap::Error> {
    let mut found = Vec::new();
    for name in names {
        let registry = Registry::parse(name).ok_or_else(|| {
            mistake(format!(
                "`{name}` is no registry of Amazon ECR: expected such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com, or {}",
                ecr::PUBLIC
            ))
        })?;
        if !found.contains(&registry) {
            found.push(registry);
        }
    }
    Ok(found)
}

/// Tokens for all of them, asked for at once; registries that one token opens share it.
async fn ask(credentials: &Credentials, registries: Vec<Registry>) -> Vec<Answer> {
    if registries.is_empty() {
        return match ecr::ask_own(&credentials.settings().aws).await {
            Ok((registry, token)) => {
                credentials.keep(&registry, &token);
                vec![(registry, Ok(token))]
            }
            Err(error) => {
                tell(&error);
                Vec::new()
            }
        };
    }
    let asking = registries
        .iter()
        .map(|registry| credentials.fresh_token(registry));
    let answers = futures_util::future::join_all(asking).await;
    registries.into_iter().zip(answers).collect()
}

/// What was got; what was not is said.
fn sort(answers: Vec<Answer>) -> (Vec<(Registry, Token)>, bool) {
    let mut failed = answers.is_empty();
    let mut tokens = Vec::new();
    for (registry, answer) in answers {
        match answer {
            Ok(token) => tokens.push((registry, token)),
            Err(error) => {
                tell(&error);
                failed = true;
            }
        }
    }
    (tokens, failed)
}

fn tell(error: &Error) {
    complain(&format!("error: {error}\n"));
    if let Some(help) = &error.help {
        complain(&format!("  help: {help}\n"));
    }
}

fn keep(credentials: &Credentials, tokens: Vec<(Registry, Token)>) -> ExitCode {
    let Some(directory) = directory(credentials) else {
        return ExitCode::Fault;
    };
    let ends: Vec<(String, u64)> = tokens
        .iter()
        .map(|(registry, token)| (registry.host().to_owned(), token.expires))
        .collect();
    let all: Vec<Credential> = tokens
        .into_iter()
        .map(|(registry, token)| credential(registry.host(), token))
        .collect();
    let kept = match login::keep(directory, credentials.path(), &all) {
        Ok(kept) => kept,
        Err(error) => {
            tell(&error);
            return ExitCode::Fault;
        }
    };
    let lines: Vec<String> = ends
        .iter()
        .zip(&kept)
        .map(|((host, expires), kept)| {
            format!("{host}: logged in until {}, {kept}\n", time(*expires))
        })
        .collect();
    let in_file = kept.iter().any(|kept| matches!(kept, Kept::File(_)));
    if in_file {
        complain(
            "note: these tokens are not encrypted; `runner ecr login --helper REGISTRY` keeps none there\n",
        );
    }
    print(lines.concat().as_bytes())
}

fn register(credentials: &Credentials, registries: &[Registry]) -> ExitCode {
    let Some(directory) = directory(credentials) else {
        return ExitCode::Fault;
    };
    let hosts: Vec<&str> = registries.iter().map(Registry::host).collect();
    let file = match login::register(directory, &hosts) {
        Ok(file) => file,
        Err(error) => {
            tell(&error);
            return ExitCode::Fault;
        }
    };
    if process::find_program(HELPER_NAME, credentials.path()).is_none() {
        complain(&format!(
            "warning: {HELPER_NAME} is not on PATH, so Docker will not find it\n  help: link it to this program, such as with `ln -s \"$(command -v runner)\" /usr/local/bin/{HELPER_NAME}`\n"
        ));
    }
    let line = |host: &&str| {
        format!(
            "{host}: {HELPER_NAME} is its credential helper in {}\n",
            file.display()
        )
    };
    print(hosts.iter().map(line).collect::<String>().as_bytes())
}

fn directory(credentials: &Credentials) -> Option<&Path> {
    let directory = credentials.docker_config();
    if directory.is_none() {
        complain(
            "error: could not find Docker's configuration: HOME is not set\n  help: set HOME or DOCKER_CONFIG\n",
        );
    }
    directory
}

/// A time in seconds since 1970, as people and programs read it.
fn time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).ok();
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a time unknown".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_in_every_form_and_each_once() {
        let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        let names = [
            host,
            &format!("https://{host}"),
            &format!("{host}/app:1"),
            ecr::PUBLIC,
        ];
        let found = registries(&names.map(str::to_owned)).unwrap();
        let hosts: Vec<&str> = found.iter().map(Registry::host).collect();
        assert_eq!(hosts, [host, ecr::PUBLIC]);
        assert!(registries(&["ghcr.io".to_owned()]).is_err());
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(time(1_800_000_000), "2027-01-15T08:00:00Z");
        assert_eq!(time(u64::MAX), "a time unknown");
    }
}
