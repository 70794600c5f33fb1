//! Values of flags that are more than a word or a number, read from what was written.

use std::time::Duration;

use super::args::TypeArg;
use crate::buildspec::model::Shell;
use crate::credentials::RoleArn;
use crate::exec::container::Ulimit;
use crate::plan::ProjectName;
use crate::units::{parse_duration, parse_size};

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a build needs more time than none".to_owned()),
        positive => Ok(positive),
    }
}

pub(super) fn variable_type(text: &str) -> Result<(String, TypeArg), String> {
    let expected = || "expected NAME=PARAMETER_STORE, SECRETS_MANAGER or PLAINTEXT".to_owned();
    let (name, kind) = text.split_once('=').ok_or_else(expected)?;
    let kind = match kind {
        "PLAINTEXT" => TypeArg::Plaintext,
        "PARAMETER_STORE" => TypeArg::ParameterStore,
        "SECRETS_MANAGER" => TypeArg::SecretsManager,
        _ => return Err(expected()),
    };
    Ok((name.to_owned(), kind))
}

pub(super) fn role(text: &str) -> Result<RoleArn, String> {
    RoleArn::new(text).ok_or_else(|| "expected arn:aws:iam::ACCOUNT:role/NAME".to_owned())
}

/// What STS takes for a session of a role.
pub(super) fn role_duration(text: &str) -> Result<Duration, String> {
    let found = duration(text)?;
    let allowed = Duration::from_mins(15)..=Duration::from_hours(12);
    if allowed.contains(&found) {
        Ok(found)
    } else {
        Err("AWS gives out credentials of a role for 15 minutes to 12 hours".to_owned())
    }
}

/// A share of 100, with or without its sign.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("write a number from 0 to 100, such as 80 or 92.5".to_owned()),
    }
}

/// A size as this program writes them, or with one letter behind the number, as Docker's options have it.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let units = [
        ("b", "B"),
        ("k", "KiB"),
        ("m", "MiB"),
        ("g", "GiB"),
        ("t", "TiB"),
    ];
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[number.len()..].to_ascii_lowercase();
    let unit = units.iter().find(|(letter, _)| *letter == unit);
    let written = unit.map_or_else(|| text.to_owned(), |(_, unit)| format!("{number}{unit}"));
    parse_size(&written).map_err(|error| error.to_string())
}

/// Billionths of a processor.
pub(super) fn processors(text: &str) -> Result<u64, String> {
    let expected = || "expected a number such as 2 or 0.5".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.is_empty() || part.len() > 9 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    let part: u64 = format!("{part:0<9}").parse().map_err(|_| expected())?;
    let whole: u64 = whole.parse().map_err(|_| expected())?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|whole| whole.checked_add(part))
        .filter(|billionths| *billionths > 0)
        .ok_or_else(expected)
}

pub(super) fn ulimit(text: &str) -> Result<Ulimit, String> {
    Ulimit::parse(text).ok_or_else(|| "expected NAME=SOFT or NAME=SOFT:HARD".to_owned())
}

pub(super) fn image_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, image)) if !name.is_empty() && !image.is_empty() => {
            Ok((name.to_owned(), image.to_owned()))
        }
        _ => Err("expected NAME=IMAGE".to_owned()),
    }
}

pub(super) fn host_pair(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => Ok(text.to_owned()),
        _ => Err("expected NAME:ADDRESS".to_owned()),
    }
}

pub(super) fn project_name(text: &str) -> Result<ProjectName, String> {
    let rule = "a project name is 2 to 150 letters, digits, `-` and `_`, a letter or digit first";
    ProjectName::new(text).ok_or_else(|| rule.to_owned())
}

/// A project that agents ask by: CodePipeline's own limits for that hold, beside those of a project.
pub(super) fn queried_project(text: &str) -> Result<String, String> {
    project_name(text)?;
    crate::agent::register::word(text, 50).map(|_| text.to_owned())
}

/// A bus of `EventBridge`: its name, or its ARN.
pub(super) fn event_bus(text: &str) -> Result<String, String> {
    let name = match text.split_once(":event-bus/") {
        Some((arn, name)) if arn.starts_with("arn:") && arn.contains(":events:") => name,
        _ => text,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if (1..=256).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("an event bus is 1 to 256 letters, digits, `.`, `_`, `-` and `/`, or its ARN".to_owned())
}

pub(super) fn shell(text: &str) -> Result<Shell, String> {
    Shell::parse(text).ok_or_else(|| "expected `/bin/sh`, `bash`, `/bin/bash` or `pwsh`".to_owned())
}
