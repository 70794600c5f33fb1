//! What is said of images and registries.

use std::path::Path;

use super::Rule;
use crate::diagnostic::{Code, Diagnostic};
use crate::lint::literals::{Literals, is_literal};
use crate::lint::shell::SimpleCommand;
use crate::lint::{Item, Subject};

pub(super) const RULES: &[Rule] = &[push_before_login, login_region_mismatch, latest_only];

/// A registry of ECR: what stands in front of `.dkr.ecr.`, and the region.
#[derive(Debug, PartialEq, Eq)]
struct Registry<'t> {
    account: &'t str,
    region: &'t str,
}

impl<'t> Registry<'t> {
    /// The registry of an image, or of what `docker login` is given.
    fn of(image: &'t str) -> Option<Self> {
        let host = image.trim_start_matches("https://").split('/').next()?;
        let (account, rest) = host.split_once(".dkr.ecr.")?;
        let (region, _) = rest.split_once(".amazonaws.com")?;
        Some(Self { account, region })
    }
}

/// An image that is pushed.
struct Push<'s> {
    item: &'s Item<'s>,
    place: (usize, usize),
    command: &'s SimpleCommand,
    /// With variables resolved where that is possible.
    image: String,
}

fn pushes<'s>(subject: &'s Subject<'s>, literals: &Literals) -> Vec<Push<'s>> {
    let mut found = Vec::new();
    if !subject.source.text().contains("push") {
        return found;
    }
    for (index, (item, script)) in subject.scripts().enumerate() {
        for command in &script.commands {
            let skipped = match command.program() {
                Some("docker" | "podman" | "nerdctl") => match () {
                    () if names(command, &["push"]) => 1,
                    () if names(command, &["image", "push"]) => 2,
                    () => continue,
                },
                _ => continue,
            };
            let all = command.has_option(&["-a", "--all-tags"]);
            if let Some(image) = command.operands().nth(skipped).filter(|_| !all) {
                let place = (index, command.range.start);
                found.push(Push {
                    item,
                    place,
                    command,
                    image: literals.resolve(place, &image.text),
                });
            }
        }
    }
    found
}

fn names(command: &SimpleCommand, names: &[&str]) -> bool {
    let operands = command.operands().map(|word| word.text.as_str());
    operands.take(names.len()).eq(names.iter().copied())
}

/// A push to ECR needs a login. Where a script or a program that we do not know came before, it may have been there.
fn push_before_login(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let literals = subject.literals();
    let Some(push) = pushes(subject, literals)
        .into_iter()
        .find(|push| push.image.contains(".dkr.ecr."))
    else {
        return;
    };
    let before = subject
        .scripts()
        .enumerate()
        .flat_map(|(index, (_, script))| {
            let commands = script.commands.iter();
            commands.map(move |command| ((index, command.range.start), command))
        });
    let mut before = before
        .filter(|(place, _)| *place < push.place)
        .map(|(_, command)| command);
    if !before.any(may_log_in) {
        let span = push.item.span(&push.command.range);
        let message = "nothing logs in to the registry before this push";
        let diagnostic = Diagnostic::new(Code::PushBeforeLogin, span, message).with_help(
            "in `pre_build`: `aws ecr get-login-password | docker login --username AWS --password-stdin REGISTRY`",
        );
        diagnostics.push(diagnostic);
    }
}

/// Whether this is the path of a file that a shell or an interpreter runs.
fn is_script(path: &str) -> bool {
    let kind = Path::new(path).extension().unwrap_or_default();
    ["sh", "bash", "py", "js", "ts", "rb", "pl"]
        .iter()
        .any(|known| kind == *known)
}

/// Whether a command logs in, or could: scripts, makefiles and what else runs commands that cannot be seen.
fn may_log_in(command: &SimpleCommand) -> bool {
    /// Programs that do nothing but what they are called with.
    const TRANSPARENT: &[&str] = &[
        "docker",
        "aws",
        "echo",
        "printf",
        "cat",
        "cd",
        "ls",
        "pwd",
        "export",
        "test",
        "[",
        "true",
        "set",
        "git",
        "cut",
        "sed",
        "grep",
        "awk",
        "tr",
        "head",
        "tail",
        "jq",
        "date",
        "mkdir",
        "cp",
        "mv",
        "rm",
        "chmod",
        "mvn",
        "npm",
        "yarn",
        "pip",
        "pip3",
        "apt-get",
        "apt",
        "yum",
        "dnf",
        "apk",
        "curl",
        "wget",
        "unzip",
        "tar",
        "env",
        "printenv",
        "sleep",
        "touch",
        "uname",
        "which",
        "go",
        "dotnet",
        "./gradlew",
        "gradlew",
        "gradle",
        "./mvnw",
        "mvnw",
        "exit",
        "find",
        "sort",
        "wc",
        "nohup",
        "timeout",
        "dockerd",
        "unset",
        "declare",
        "local",
        "readonly",
        "read",
        "dirname",
        "basename",
        "trivy",
        "hadolint",
        "terraform",
        "kubectl",
        "python",
        "python3",
        "node",
        "sudo",
        "java",
        "whoami",
    ];
    let Some(program) = command.program() else {
        return true;
    };
    let runs_a_file = command
        .words
        .iter()
        .skip(1)
        .any(|word| is_script(&word.text) || word.text == "run");
    let about_login = command.words.iter().any(|word| {
        let text = word.text.to_ascii_lowercase();
        ["login", "credential", "get-authorization-token", ".docker"]
            .iter()
            .any(|part| text.contains(part))
    });
    let builds = program == "docker" || program == "aws";
    !TRANSPARENT.contains(&program) || about_login || (runs_a_file && !builds)
}

/// What a login is good for: the registry that it names.
fn login_region_mismatch(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let literals = subject.literals();
    let mut logins: Vec<(&Item<'_>, &SimpleCommand, String)> = Vec::new();
    let mut unclear = false;
    for (index, (item, script)) in subject.scripts().enumerate() {
        for command in &script.commands {
            let at = (index, command.range.start);
            if command.calls(&["docker", "login"]) {
                let host = command
                    .words
                    .last()
                    .map(|word| literals.resolve(at, &word.text));
                logins.push((item, command, host.unwrap_or_default()));
                let last = &logins[logins.len() - 1];
                token_of_another_region(literals, last, script, index, diagnostics);
            } else {
                // What else logs in says nothing about where.
                unclear |= !["docker", "aws"].contains(&command.program().unwrap_or_default())
                    && may_log_in(command)
                    || command.words.iter().any(|word| {
                        word.text.contains("get-login") && word.text != "get-login-password"
                    });
            }
        }
    }
    let regions: Vec<Option<&str>> = logins
        .iter()
        .map(|(_, _, host)| Registry::of(host).map(|registry| registry.region))
        .map(|region| region.filter(|region| is_literal(region)))
        .collect();
    if unclear || logins.is_empty() || regions.contains(&None) {
        return;
    }
    for push in pushes(subject, literals) {
        let Some(registry) = Registry::of(&push.image).filter(|one| is_literal(one.region)) else {
            continue;
        };
        if !regions.contains(&Some(registry.region)) {
            let (item, login, _) = &logins[0];
            let message = format!(
                "nothing logs in to the registry in {}, where this image goes",
                registry.region
            );
            let span = push.item.span(&push.command.range);
            let region = regions[0].unwrap_or_default();
            diagnostics.push(
                Diagnostic::new(Code::LoginRegionMismatch, span, message).with_secondary(
                    item.span(&login.range),
                    format!("this login is for {region}"),
                ),
            );
        }
    }
}

/// `get-login-password --region A | docker login … B`: the password is good for A only.
fn token_of_another_region(
    literals: &Literals,
    (item, login, host): &(&Item<'_>, &SimpleCommand, String),
    script: &crate::lint::shell::Script,
    index: usize,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let Some(registry) = Registry::of(host).filter(|one| is_literal(one.region)) else {
        return;
    };
    let Some((pipe, _, _)) = login.place.pipe else {
        return;
    };
    let asks = script.commands.iter().find(|command| {
        command.calls(&["aws", "ecr", "get-login-password"])
            && command
                .place
                .pipe
                .is_some_and(|(start, _, _)| start == pipe)
    });
    let region = asks.and_then(|asks| {
        let written = asks.option_value(&["--region"])?;
        Some((asks, literals.resolve((index, asks.range.start), &written)))
    });
    if let Some((asks, region)) = region
        && is_literal(&region)
        && region != registry.region
    {
        let message = format!("a password for {region} is no good in {}", registry.region);
        diagnostics.push(
            Diagnostic::new(Code::LoginRegionMismatch, item.span(&login.range), message)
                .with_secondary(item.span(&asks.range), "this asks for the password"),
        );
    }
}

/// The tag of an image, if it is written out; an image without one is `latest`.
fn tag(image: &str) -> Option<&str> {
    let name = image.rsplit('/').next().unwrap_or_default();
    if image.contains('@') {
        return None;
    }
    match name.split_once(':') {
        Some((_, tag)) => Some(tag),
        None => is_literal(image).then_some("latest"),
    }
}

/// An image that is only known as `latest` cannot be told from the one before, nor brought back.
fn latest_only(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let literals = subject.literals();
    let pushes = pushes(subject, literals);
    let all = pushes.iter().all(|push| tag(&push.image) == Some("latest"));
    if let (Some(push), true) = (pushes.first(), all && !pushes_otherwise(subject)) {
        let span = push.item.span(&push.command.range);
        let message = "images are pushed as `latest` and nothing else";
        diagnostics.push(
            Diagnostic::new(Code::LatestOnly, span, message)
                .with_help("push a tag that is not moved too, such as the commit"),
        );
    }
}

/// Whether images may be pushed in ways that are not looked at: all tags at once, by a build, by a script.
fn pushes_otherwise(subject: &Subject<'_>) -> bool {
    subject.scripts().any(|(_, script)| {
        script.commands.iter().any(|command| {
            let builds = command.program() == Some("docker")
                && command.has_option(&["--push", "-a", "--all-tags"]);
            builds
                || command
                    .program()
                    .is_none_or(|program| is_script(program) || program == "make")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_and_tags_are_known_from_images() {
        let image = "1.dkr.ecr.eu-west-1.amazonaws.com/a/b:c";
        let registry = Registry {
            account: "1",
            region: "eu-west-1",
        };
        assert_eq!(Registry::of(image), Some(registry));
        assert_eq!(Registry::of("docker.io/a:b"), None);
        for (image, expected) in [
            (image, Some("c")),
            ("host:5000/a", Some("latest")),
            ("$A", None),
            ("$A:latest", Some("latest")),
            ("a@sha256:00", None),
            ("$A/b", None),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }
}
