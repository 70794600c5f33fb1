//! What is said of what differs between CodeBuild and this program.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Rule;
use crate::buildspec::Buildspec;
use crate::buildspec::ast::{BatchEnv, BatchStrategy};
use crate::diagnostic::{self, Code, Diagnostic};
use crate::lint::shell::{Script, SimpleCommand, Word};
use crate::lint::{Item, Profile, Subject, written};
use crate::plan;
use crate::source::Spanned;

pub(super) const RULES: &[Rule] = &[
    unsupported_here,
    curated_image_name,
    metadata_endpoint,
    absolute_codebuild_path,
    host_mutation,
    codebuild_only_command,
    proxy_section_ignored,
];

/// What `runner run` would refuse or warn of, in its own words (SPEC-22).
fn unsupported_here(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    // A file with errors is not run at all.
    if subject.profile != Profile::Runner || diagnostic::has_error(diagnostics) {
        return;
    }
    if let Ok((buildspec, _)) = Buildspec::from_ast(subject.buildspec.clone(), Vec::new()) {
        diagnostics.extend(plan::limits(&buildspec));
    }
}

/// What goes through a proxy only where there is one (ENV-56, ENV-57).
fn proxy_section_ignored(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(proxy) = &subject.buildspec.proxy else {
        return;
    };
    let flags = [
        (
            "upload-artifacts",
            &proxy.upload_artifacts,
            "behind a proxy, where artifacts go to S3",
        ),
        (
            "logs",
            &proxy.logs,
            "behind a proxy, for an agent that sends logs",
        ),
    ];
    for (key, flag, place) in flags {
        let is_on = |flag: &&Spanned<bool>| flag.value && subject.profile == Profile::Runner;
        if let Some(flag) = flag.as_ref().filter(is_on) {
            let message = format!("`proxy.{key}` only matters {place}");
            diagnostics.push(
                Diagnostic::new(Code::ProxySectionIgnored, flag.span, message)
                    .with_help("name the proxy with HTTP_PROXY and HTTPS_PROXY, in a pipeline in the agent's own environment"),
            );
        }
    }
}

/// Images of a batch that only CodeBuild has.
fn curated_image_name(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if subject.profile != Profile::Runner {
        return;
    }
    let strategies = subject
        .buildspec
        .batch
        .iter()
        .flat_map(|batch| &batch.strategies);
    for image in strategies.flat_map(|strategy| images(&strategy.value)) {
        if image.value.starts_with("aws/codebuild/") {
            let message = format!(
                "`{}` is an image of CodeBuild: here, commands run on the machine itself",
                image.value
            );
            diagnostics.push(Diagnostic::new(Code::CuratedImageName, image.span, message));
        }
    }
}

fn images(strategy: &BatchStrategy) -> Vec<&Spanned<String>> {
    fn of(env: &BatchEnv) -> Option<&Spanned<String>> {
        env.image.as_ref()
    }
    match strategy {
        BatchStrategy::List(tasks) | BatchStrategy::Graph(tasks) => {
            tasks.iter().filter_map(|task| of(&task.env)).collect()
        }
        BatchStrategy::Matrix(matrix) => of(&matrix.static_env)
            .into_iter()
            .chain(&matrix.images)
            .collect(),
        BatchStrategy::Fanout(_) => Vec::new(),
    }
}

/// Words that programs are called with and values of variables: what is said by `echo` and `printf` left out.
fn words(script: &Script) -> impl Iterator<Item = (&str, &Range<usize>)> {
    let commands = script.commands.iter();
    let commands = commands.filter(|one| !matches!(one.program(), Some("echo" | "printf")));
    let words = commands.flat_map(|command| &command.words);
    let words = words.map(|word: &Word| (word.text.as_str(), &word.range));
    words.chain(
        script
            .assigned
            .iter()
            .map(|one| (one.value.as_str(), &one.range)),
    )
}

/// The address where machines of EC2 learn of themselves, and the one where tasks of ECS fetch credentials. A build of
/// CodeBuild has the second one: its address is in a variable, but for the host.
fn metadata_endpoint(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    const INSTANCE: &str = "169.254.169.254";
    const TASK: &str = "169.254.170.2";
    for (item, script) in subject.scripts() {
        let mut said = BTreeSet::new();
        for (_, range) in words(script).filter(|(text, _)| text.contains("169.254.")) {
            for (address, message) in [
                (INSTANCE, "a build has no instance metadata"),
                (TASK, "this address answers on machines of AWS only"),
            ] {
                let Some(at) = item.text()[range.clone()].find(address) else {
                    continue;
                };
                let start = range.start + at;
                let risky = subject.profile == Profile::Runner || address == INSTANCE;
                if risky && said.insert(start) {
                    let span = item.span(&(start..start + address.len()));
                    diagnostics.push(
                        Diagnostic::new(Code::MetadataEndpoint, span, message).with_help(
                            "leave it to the AWS command line and the SDKs to find credentials and the region",
                        ),
                    );
                }
            }
        }
    }
}

/// Where a path of CodeBuild's machines stands in a text: for CodeBuild itself the source of one build, whose number is
/// another one in every build.
fn codebuild_path(text: &str, profile: Profile) -> Option<Range<usize>> {
    const PLACES: &[&str] = &["output/", "image/", "readonly/", "local-cache/"];
    let starts = text.match_indices("/codebuild/").map(|(at, _)| at);
    let mut starts = starts.filter(|at| {
        let before = text[..*at].chars().next_back();
        let whole = before.is_none_or(|c| !c.is_alphanumeric() && !"/._-)}".contains(c));
        let below = &text[at + "/codebuild/".len()..];
        let source = below.strip_prefix("output/src");
        let wanted = match (profile, source) {
            (_, Some(source)) => source.starts_with(|c: char| c.is_ascii_digit()),
            (Profile::Codebuild, None) => false,
            (Profile::Runner, None) => PLACES.iter().any(|place| below.starts_with(place)),
        };
        whole && wanted
    });
    let start = starts.next()?;
    let length = text[start..].find([' ', ':', ';', '"', '\'', ',', ')']);
    Some(start..length.map_or(text.len(), |length| start + length))
}

/// Paths that one build of CodeBuild had.
fn absolute_codebuild_path(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if !subject.source.text().contains("/codebuild/") {
        return;
    }
    let find = |text: &str| codebuild_path(text, subject.profile);
    let mut say = |span, path: &str| {
        let message = format!("`{path}` is a path of CodeBuild's machines");
        let mut diagnostic = Diagnostic::new(Code::AbsoluteCodebuildPath, span, message);
        if path.starts_with("/codebuild/output/src") {
            diagnostic.help = Some("the source is in `$CODEBUILD_SRC_DIR`".to_owned());
        }
        diagnostics.push(diagnostic);
    };
    for (item, script) in subject.scripts() {
        let mut said = BTreeSet::new();
        for (text, range) in words(script) {
            let written = &item.text()[range.clone()];
            if let (Some(_), Some(path)) = (find(text), find(written)) {
                let place = range.start + path.start..range.start + path.end;
                if said.insert(place.start) {
                    say(item.span(&place), &written[path]);
                }
            }
        }
    }
    for text in texts(subject) {
        if let Some(path) = find(&text.value) {
            say(text.span, &text.value[path]);
        }
    }
}

/// Paths and values outside of commands.
fn texts<'s>(subject: &'s Subject<'_>) -> impl Iterator<Item = &'s Spanned<String>> {
    let buildspec = subject.buildspec;
    let variables = buildspec
        .env
        .variables
        .iter()
        .map(|variable| &variable.value);
    let artifacts = buildspec.artifacts.iter().flat_map(|artifacts| {
        let secondary = artifacts.secondary.iter().map(|(_, artifact)| artifact);
        std::iter::once(&artifacts.primary).chain(secondary)
    });
    let artifacts = artifacts.flat_map(|artifact| {
        artifact
            .files
            .iter()
            .flatten()
            .chain(&artifact.base_directory)
    });
    let reports = buildspec.reports.iter();
    let reports =
        reports.flat_map(|report| report.files.iter().flatten().chain(&report.base_directory));
    let cache = buildspec
        .cache
        .iter()
        .flat_map(|cache| cache.paths.iter().flatten());
    variables.chain(artifacts).chain(reports).chain(cache)
}

/// Commands that change the machine for good, each program once.
fn host_mutation(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if subject.profile != Profile::Runner {
        return;
    }
    let mut said = BTreeSet::new();
    for (item, script) in subject.scripts() {
        for command in &script.commands {
            let Some((program, word)) = changes_machine(command) else {
                continue;
            };
            if said.insert(program.to_owned()) {
                say_mutation(item, &word.range, &format!("`{program}`"), diagnostics);
            }
        }
    }
    let literals = subject.literals();
    for file in written::files(subject, literals) {
        if is_system_path(&file.path) && said.insert(file.path.clone()) {
            let what = format!("writing to `{}`", file.path);
            say_mutation(file.item, &file.range, &what, diagnostics);
        }
    }
}

fn say_mutation(
    item: &Item<'_>,
    range: &Range<usize>,
    what: &str,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let message = format!("{what} changes this machine, and the change stays");
    diagnostics.push(
        Diagnostic::new(Code::HostMutation, item.span(range), message)
            .with_help("prepare the machine once, and leave this out here"),
    );
}

fn is_system_path(path: &str) -> bool {
    ["/etc/", "/usr/", "/lib/", "/boot/", "/bin/", "/sbin/"]
        .iter()
        .any(|start| path.starts_with(start))
}

/// The program that changes the machine, and where it is named; behind `sudo` too.
fn changes_machine(command: &SimpleCommand) -> Option<(&str, &Word)> {
    const ALWAYS: &[&str] = &[
        "modprobe",
        "sysctl",
        "useradd",
        "usermod",
        "groupadd",
        "adduser",
        "update-alternatives",
        "dockerd",
        "update-ca-certificates",
    ];
    const PACKAGES: &[&str] = &[
        "apt-get", "apt", "yum", "dnf", "microdnf", "apk", "zypper", "snap",
    ];
    const CHANGES: &[&str] = &[
        "install",
        "update",
        "upgrade",
        "dist-upgrade",
        "remove",
        "purge",
        "autoremove",
        "add",
        "del",
        "reinstall",
        "localinstall",
        "groupinstall",
        "full-upgrade",
    ];
    let behind = ["sudo", "nohup"].contains(&command.program()?);
    let mut words = command.words.iter().skip(usize::from(behind));
    let first = words.find(|word| !word.text.starts_with('-') && !word.text.contains('='))?;
    let program = first.text.rsplit('/').next()?;
    let mut rest = words.filter(|word| !word.text.starts_with('-'));
    let changes = match program {
        "systemctl" | "service" => rest.any(|word| {
            ["start", "stop", "restart", "enable", "disable", "reload"]
                .contains(&word.text.as_str())
        }),
        _ if PACKAGES.contains(&program) => rest.any(|word| CHANGES.contains(&word.text.as_str())),
        _ => ALWAYS.contains(&program),
    };
    changes.then_some((program, first))
}

/// Programs that CodeBuild brings along, and this program does not.
fn codebuild_only_command(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    const PROGRAMS: &[&str] = &["codebuild-tests-run"];
    if subject.profile != Profile::Runner {
        return;
    }
    for (item, script) in subject.scripts() {
        for command in &script.commands {
            if let Some(program) = command
                .program()
                .filter(|program| PROGRAMS.contains(program))
            {
                let message =
                    format!("`{program}` comes with CodeBuild, and the runner does not provide it");
                let span = item.span(&command.words[0].range);
                diagnostics.push(Diagnostic::new(Code::CodebuildOnlyCommand, span, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_codebuild_are_told_from_others() {
        for (text, codebuild, runner) in [
            ("/codebuild/output/src012/src", true, true),
            ("--dir=/codebuild/output/src1/a", true, true),
            ("/codebuild/output/tmp", false, true),
            ("/codebuild/image/config", false, true),
            ("$CODEBUILD_SRC_DIR/codebuild/output/src", false, false),
            ("s|/codebuild/output/src[^/]+/|/x|", false, false),
            ("--secret-id /codebuild/github/token", false, false),
            ("ci/codebuild/build.sh", false, false),
            ("./codebuild/output/src", false, false),
            ("aws/codebuild/standard:7.0", false, false),
        ] {
            let found = |profile| codebuild_path(text, profile).is_some();
            assert_eq!(found(Profile::Codebuild), codebuild, "{text}");
            assert_eq!(found(Profile::Runner), runner, "{text}");
        }
    }

    #[test]
    fn programs_that_change_the_machine_are_known_behind_sudo_too() {
        for (text, expected) in [
            ("sudo -E apt-get -y install jq", Some("apt-get")),
            ("yum install -y jq", Some("yum")),
            ("apt-get --version", None),
            ("service docker restart", Some("service")),
            ("systemctl status docker", None),
            ("nohup /usr/local/bin/dockerd --host=x", Some("dockerd")),
            ("echo apt-get install", None),
        ] {
            let script = Script::parse(text);
            let found = changes_machine(&script.commands[0]).map(|(program, _)| program);
            assert_eq!(found, expected, "{text}");
        }
    }
}
