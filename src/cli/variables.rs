//! Variables that the command line sets: their types, and values that are shown to nobody (CLI-6, CLI-8, ENV-46 to ENV-51).

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

use super::args::{RequestArgs, TypeArg};
use super::complain::learn;
use super::prompt::{self, NotAsked};
use super::{machine, mistake};
use crate::build::StopSignals;
use crate::env;
use crate::plan::{RequestedValue, RequestedVariable};
use crate::redact::{self, Secrets};
use crate::secret::Fetched;

/// Variables of the project, and of this start.
type Requested = (Vec<RequestedVariable>, Vec<RequestedVariable>);

/// What the flags say of variables.
pub(super) fn requested(args: &RequestArgs) -> Result<Requested, clap::Error> {
    let project = from_files(&args.env_file)?;
    let project = project.into_iter().map(|(name, text)| (name, text.into()));
    let start = start_build_variables(&args.env)?;
    let types = Types(&args.env_type);
    let project = types.apply_to(project)?;
    let mut start = types.apply_to(start.into_iter())?;
    types.check(project.iter().chain(&start))?;
    for name in &args.secret {
        check(name)?;
        if start.iter().any(|known| known.name == *name) {
            return Err(mistake(format!(
                "`{name}` is set twice, by `--secret` and by another flag: keep one of them"
            )));
        }
        start.push(RequestedVariable {
            name: name.clone(),
            value: RequestedValue::Given,
        });
    }
    Ok((project, start))
}

/// Types by the name of the variable; the last word counts.
struct Types<'a>(&'a [(String, TypeArg)]);

impl Types<'_> {
    fn apply_to(
        &self,
        variables: impl Iterator<Item = (String, OsString)>,
    ) -> Result<Vec<RequestedVariable>, clap::Error> {
        variables.map(|one| self.apply(one)).collect()
    }

    fn apply(&self, (name, value): (String, OsString)) -> Result<RequestedVariable, clap::Error> {
        let said = self.0.iter().rfind(|(other, _)| *other == name);
        let kind = said.map_or(TypeArg::Plaintext, |(_, kind)| *kind);
        let value = match kind {
            TypeArg::Plaintext => RequestedValue::Plaintext(value),
            TypeArg::ParameterStore => RequestedValue::ParameterStore(reference(&name, value)?),
            TypeArg::SecretsManager => RequestedValue::SecretsManager(reference(&name, value)?),
        };
        Ok(RequestedVariable { name, value })
    }

    /// A type of what is not there is a slip of the pen.
    fn check<'v>(
        &self,
        variables: impl Iterator<Item = &'v RequestedVariable>,
    ) -> Result<(), clap::Error> {
        let known: HashSet<&str> = variables.map(|known| known.name.as_str()).collect();
        let mut names = self.0.iter().map(|(name, _)| name);
        match names.find(|name| !known.contains(name.as_str())) {
            None => Ok(()),
            Some(name) => Err(mistake(format!(
                "`--env-type {name}=…` is about a variable that no flag sets: add `--env {name}=…` with the name of the parameter or the secret"
            ))),
        }
    }
}

fn reference(name: &str, value: OsString) -> Result<String, clap::Error> {
    match value.into_string() {
        Ok(text) if !text.is_empty() => Ok(text),
        Ok(_) => Err(mistake(format!(
            "`{name}` names no parameter and no secret: it is empty"
        ))),
        Err(_) => Err(mistake(format!(
            "`{name}` names no parameter and no secret: it is not UTF-8"
        ))),
    }
}

/// Values of files, which stand for those that lie with AWS (ENV-28), or are not to be typed (ENV-50). A mistake if somebody
/// would have to be asked and cannot be.
pub(super) fn given(args: &RequestArgs) -> Result<Vec<Fetched>, clap::Error> {
    let given = from_files(&args.secrets_file)?;
    let given: Vec<Fetched> = given
        .into_iter()
        .map(|(name, value)| Fetched { name, value })
        .collect();
    if let Some(name) = untold(args, &given).next() {
        prompt::can_ask(name).map_err(mistake)?;
    }
    hide(&given);
    Ok(given)
}

/// Asks for the values that are typed (ENV-50).
pub(super) async fn typed(
    args: &RequestArgs,
    given: &mut Vec<Fetched>,
    stops: &mut StopSignals,
) -> Result<(), NotGiven> {
    let names: Vec<String> = untold(args, given).cloned().collect();
    for name in names {
        let value = prompt::ask(&name, stops).await;
        let value = value.map_err(|not_asked| match not_asked {
            NotAsked::Stopped(signal) => NotGiven::Stopped(signal),
            NotAsked::Because(why) => NotGiven::Mistake(mistake(why)),
        })?;
        given.push(Fetched { name, value });
        hide(given);
    }
    Ok(())
}

/// Names whose values are to be typed.
fn untold<'a>(args: &'a RequestArgs, given: &[Fetched]) -> impl Iterator<Item = &'a String> {
    let known: HashSet<String> = given.iter().map(|known| known.name.clone()).collect();
    args.secret
        .iter()
        .filter(move |name| !known.contains(*name))
}

fn hide(given: &[Fetched]) {
    let values = given.iter().map(|given| given.value.as_bytes());
    learn(Secrets::new(values.flat_map(redact::forms)));
}

/// Why a value was not handed over.
pub(super) enum NotGiven {
    /// It cannot be.
    Mistake(clap::Error),
    /// Somebody wants the end: the signal.
    Stopped(i32),
}

/// Variables of files of NAME=value lines, in their order.
fn from_files(files: &[PathBuf]) -> Result<Vec<(String, String)>, clap::Error> {
    let mut variables = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| mistake(format!("could not read {}: {error}", file.display())))?;
        let read = env::parse_dotenv(&text)
            .map_err(|error| mistake(format!("{}, {error}", file.display())))?;
        variables.extend(read);
    }
    Ok(variables)
}

fn start_build_variables(texts: &[String]) -> Result<Vec<(String, OsString)>, clap::Error> {
    let mut variables = Vec::new();
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, OsString::from(value)),
            None => {
                let unset = || {
                    mistake(format!(
                        "`{text}` is not set here: write `--env {text}=VALUE`"
                    ))
                };
                (
                    text.as_str(),
                    machine::variable_or_empty(text).ok_or_else(unset)?,
                )
            }
        };
        check(name)?;
        variables.push((name.to_owned(), value));
    }
    Ok(variables)
}

fn check(name: &str) -> Result<(), clap::Error> {
    env::check_name(name).map_err(|problem| {
        mistake(format!(
            "`{name}` cannot be the name of a variable: {problem}"
        ))
    })
}
